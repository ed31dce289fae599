"""Pre- and post-processing hooks for your own code.

The class below defines no hooks. Prefer operators in the model's graph if they can do the work: they are
versioned with the model. docs/models.md compares the two; `examples/` has both.

To add your own code, replace the class. Define what a request contains in `inputs` and what a response
contains in `outputs`: validation, the API's description, samples, the self-test and the try-it page use them.
`before` and `after` convert to and from the model's own inputs and outputs:

    class Transform:
        inputs = (TensorSpec("text", "STRING", ("batch",)),)
        outputs = None

        def __init__(self, package: Package) -> None:
            self.words = json.loads((package.path / "words.json").read_text())

        def before(self, inputs: NamedValues) -> NamedValues:
            numbers = [[self.words.get(word, 0) for word in text.split()] for text in inputs["text"]]
            return {"x": np.array(numbers)}

        after = None

Several threads call the hooks at the same time. Raise `app.errors.InvalidRequest` for an error that the
caller can correct: the response has status 400 and your message. Any other exception results in status 500
and is written to the log.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model_loader.package import Package, TensorSpec

# Name → array in the spec's dtype and shape; strings are arrays of objects.
NamedValues = Mapping[str, Any]


class Transform:
    """No pre- or post-processing.

    Attributes:
        inputs: specs of a request's inputs; None: the model's inputs.
        outputs: specs of a response's outputs; None: the model's outputs.
        before: converts a request's inputs to the model's; None: they are the same.
        after: converts the model's outputs to the response's, as arrays or lists; None: they are the same.
    """

    inputs: Sequence[TensorSpec] | None = None
    outputs: Sequence[TensorSpec] | None = None
    before: Callable[[NamedValues], NamedValues] | None = None
    after: Callable[[NamedValues], NamedValues] | None = None

    def __init__(self, package: Package) -> None:
        """
        Args:
            package: the model package, with its other files and its manifest (`package.manifest.classes`).
        """

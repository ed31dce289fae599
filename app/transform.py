"""The seam for your own code: what a request carries, and what is done before and after the model.

As shipped nothing is, and that costs nothing. What can be done in the graph is better done there, since it
then travels with the model; docs/models.md says how to choose, and `examples/` has both.

A transform of your own replaces the class below. Say what a request carries and what is answered, and do the
rest in `before` and `after`; validation, the API's description, samples, self-test and page follow it:

    class Transform:
        inputs = (TensorSpec("text", "STRING", ("batch",)),)
        outputs = None

        def __init__(self, package: Package) -> None:
            self.words = json.loads((package.path / "words.json").read_text())

        def before(self, inputs: Named) -> Named:
            numbers = [[self.words.get(word, 0) for word in text.split()] for text in inputs["text"]]
            return {"x": np.array(numbers)}

        after = None

Both run in a thread, of several requests at once. Raise `app.errors.InvalidRequest` for what the caller has
to mend; whatever else is raised is answered with status 500 and stands in the log.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model_loader.package import Package, TensorSpec

# Name → array in the spec's dtype and shape; strings in arrays of objects.
NamedValues = Mapping[str, Any]


class Transform:
    """The identity.

    Attributes:
        inputs: what a request carries; None: what the model takes.
        outputs: what is answered; None: what the model gives.
        before: makes the model's inputs of a request's.
        after: makes what is answered of the model's outputs; it may give lists for arrays.
    """

    inputs: Sequence[TensorSpec] | None = None
    outputs: Sequence[TensorSpec] | None = None
    before: Callable[[NamedValues], NamedValues] | None = None
    after: Callable[[NamedValues], NamedValues] | None = None

    def __init__(self, package: Package) -> None:
        """
        Args:
            package: the model's, for what else lies in it; its manifest may hold `classes`.
        """

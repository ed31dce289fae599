"""Your own pre- and post-processing.

The class below has none. Prefer operators in the model's graph if they can do the work: they are versioned
with the model. docs/models.md compares the two; `examples/` has both.

To add your own code, override the hooks. Define what a request contains in `inputs` and what a response
contains in `outputs`: validation, the API's description, samples, the self-test and the try-it page use them.
`before` and `after` convert to and from the model's own inputs and outputs:

    class OwnTransform(Transform):
        inputs = (TensorSpec("text", "STRING", ("batch",)),)

        def __init__(self, package: Package) -> None:
            self.words = json.loads((package.path / "words.json").read_text())

        def before(self, inputs: NamedValues) -> NamedValues:
            numbers = [[self.words.get(word, 0) for word in text.split()] for text in inputs["text"]]
            return {"x": np.array(numbers)}

Several threads call the hooks at the same time. Raise `app.errors.InvalidRequest` for an error that the
caller can correct: the response has status 400 and your message. Any other exception results in status 500
and is written to the log.
"""

from app.model.transform import Transform


class OwnTransform(Transform):
    """No pre- or post-processing."""

"""The scoring service: one ONNX model behind `POST /score`."""

import os
from typing import TYPE_CHECKING

# ONNX Runtime reads this when it initializes, so it is set before anything here can import it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from flask import Flask

    from app.model.transform import Transform
    from app.settings import Settings


def create_app(settings: "Settings | None" = None, transform: "type[Transform] | None" = None) -> "Flask":
    """Create the service as a Flask application, with its model loaded and verified.

    Args:
        settings: read from the environment by default.
        transform: pre- and post-processing; that of app/transform.py by default.

    Raises:
        StartupError: a setting, `service.toml`, the package or the model is invalid; see the message.
    """
    # Imported here to keep `import app` small: gunicorn's master imports it too.
    from flask import Flask

    from app.routes import (
        docs,
        errors,
        feedback,
        health,
        home,  # part: page
        metrics,
        model,
        open_inference,  # part: v2
        open_inference_extensions,  # part: v2
        predict,
        recent,
        score,
    )
    from app.service import start
    from app.settings import Settings
    from app.transform import OwnTransform

    service = start(settings or Settings.from_environ(os.environ), transform or OwnTransform)
    app = Flask(__name__, static_folder=None)
    # Match paths exactly and redirect none: `//score` must not be routed like `/score`.
    app.url_map.merge_slashes = False
    # Flask's own response to OPTIONS would have no id and no model headers.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.extensions["service"] = service
    errors.init_app(app, service)
    exporter = service.metrics.init_app(app)
    app.register_blueprint(score.blueprint(service, exporter))
    app.register_blueprint(open_inference.blueprint(service))  # part: v2
    app.register_blueprint(open_inference_extensions.blueprint(service))  # part: v2
    app.register_blueprint(predict.blueprint(service))
    app.register_blueprint(feedback.blueprint(service))
    app.register_blueprint(model.blueprint(service))
    app.register_blueprint(metrics.blueprint(service, exporter))
    app.register_blueprint(home.blueprint())  # part: page
    app.register_blueprint(health.blueprint(service))
    app.register_blueprint(recent.blueprint(service))
    app.register_blueprint(docs.blueprint(service))
    return app

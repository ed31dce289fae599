"""The scoring service: one ONNX model behind `POST /score`."""

import os
from typing import TYPE_CHECKING

# ONNX Runtime reads this when it initializes, so it is set before anything here can import it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings


def create_app(settings: "Settings | None" = None) -> "Flask":
    """Create the service as a Flask application, with its model loaded and verified.

    Args:
        settings: read from the environment by default.

    Raises:
        StartupError: a setting, the package or the model is invalid; the message has the details.
    """
    # Imported here to keep `import app` small: gunicorn's master imports it too.
    from flask import Flask

    from app.routes import (
        docs,
        errors,
        health,
        home,
        metrics,
        model,
        open_inference,
        open_inference_extensions,
        predict,
        score,
    )
    from app.service import start
    from app.settings import Settings

    service = start(settings or Settings.from_environ(os.environ))
    app = Flask(__name__, static_folder=None)
    # Match paths exactly and redirect none: `//score` must not be routed like `/score`.
    app.url_map.merge_slashes = False
    # Flask's own response to OPTIONS would have no id and no model headers.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.extensions["scorebox"] = service
    errors.init_app(app, service)
    exporter = service.metrics.init_app(app)
    app.register_blueprint(score.blueprint(service, exporter))
    app.register_blueprint(open_inference.blueprint(service))
    app.register_blueprint(open_inference_extensions.blueprint(service))
    app.register_blueprint(predict.blueprint(service))
    app.register_blueprint(model.blueprint(service))
    app.register_blueprint(metrics.blueprint(service, exporter))
    app.register_blueprint(health.blueprint(service))
    app.register_blueprint(home.blueprint())
    app.register_blueprint(docs.blueprint(service))
    return app

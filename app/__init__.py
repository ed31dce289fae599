"""The scoring service: one ONNX model behind `POST /score`."""

import os
from typing import TYPE_CHECKING

# Read by ONNX Runtime when it initialises, so it is set before anything here can import it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings


def create_app(settings: "Settings") -> "Flask":
    """The service as a Flask application, its model loaded and proven.

    Raises:
        StartupError: a setting, the package or the model is not right; the message says what and where.
    """
    # Imported here, so that `import app` alone, as gunicorn's master does it, stays small.
    from flask import Flask

    from app.routes import docs, errors, health, home, model, open_inference, score
    from app.service import start

    service = start(settings)
    app = Flask(__name__, static_folder=None)
    # Every reply is one of ours: Flask's own to OPTIONS has no id and no model in it.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.extensions["scorebox"] = service
    errors.init_app(app, service)
    service.metrics.init_app(app)
    app.register_blueprint(score.blueprint(service))
    app.register_blueprint(open_inference.blueprint(service))
    app.register_blueprint(model.blueprint(service))
    app.register_blueprint(health.blueprint(service))
    app.register_blueprint(home.blueprint())
    app.register_blueprint(docs.blueprint(service))
    return app

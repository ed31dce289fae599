"""`/`: a sign of life for a probe; for a browser the page, see `app/routes/static/home.html`."""

import base64
import hashlib
import re
from pathlib import Path

from flask import Blueprint, Response, request

from app.routes.static_files import asset

PAGE = Path(__file__).parent / "static/home.html"


def blueprint() -> Blueprint:
    """The root."""
    routes = Blueprint("home", __name__)
    page = PAGE.read_bytes()
    policy = _policy(page.decode())

    @routes.get("/")
    def home() -> Response:
        if "text/html" in request.headers.get("accept", ""):
            response = asset(page, "text/html", policy)
        else:
            response = Response("Healthy", content_type="text/plain; charset=utf-8")
        response.headers["vary"] = "accept"
        return response

    return routes


def _policy(page: str) -> str:
    """Lets run what stands in the page itself, by its hash, and lets it ask this host alone."""
    script, style = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for tag in ("script", "style")
        for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    )
    return (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

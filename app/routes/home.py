"""`/`: a health check, and for browsers the page `app/routes/static/home.html`."""

import base64
import hashlib
import re
from pathlib import Path

from flask import Blueprint, Response, request

from app.routes.static_files import asset

PAGE = Path(__file__).parent / "static/home.html"


def blueprint() -> Blueprint:
    """Return the route `/`."""
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
    """Allow the page's own script and style, by hash, and requests to this host, and nothing else."""
    script, style = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for tag in ("script", "style")
        for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    )
    return (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

"""`/`: a health check, and for browsers the page whose files are in `app/routes/static/page/`."""

import base64
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from flask import Blueprint, Response, abort, request

from app.routes.static_files import asset

DIRECTORY = Path(__file__).parent / "static/page"
# A policy allows styles of another file by their origin only, so the page gets the style sheet inline.
STYLE_LINK = '<link rel="stylesheet" href="page/style.css">'
FILE_POLICY = "default-src 'none'"


def blueprint() -> Blueprint:
    """Return the route `/`, and those of the page's files."""
    routes = Blueprint("home", __name__)
    files = {path.name: path.read_bytes() for path in sorted(DIRECTORY.glob("*.js"))}
    html = (DIRECTORY / "home.html").read_text(encoding="utf-8")
    html = html.replace(STYLE_LINK, f"<style>{(DIRECTORY / 'style.css').read_text(encoding='utf-8')}</style>")
    html = with_integrity(html, {name: hash_source(content) for name, content in files.items()})
    page, policy = html.encode(), page_policy(html)

    @routes.get("/")
    def home() -> Response:
        if "text/html" in request.headers.get("accept", ""):
            response = asset(page, "text/html", policy)
        else:
            response = Response("Healthy", content_type="text/plain; charset=utf-8")
        response.headers["vary"] = "accept"
        return response

    @routes.get("/page/<name>")
    def static_file(name: str) -> Response:
        if name not in files:
            abort(404)
        return asset(files[name], "text/javascript", FILE_POLICY)

    return routes


def hash_source(content: bytes) -> str:
    """Return the hash of a script or style, as a policy and the attribute `integrity` have it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}"


def with_integrity(html: str, hashes: dict[str, str]) -> str:
    """Add the hash of each file to the element that loads it.

    A browser runs a script of another file only if the element has the file's hash, and the policy too.
    https://www.w3.org/TR/CSP3/#external-hash
    """
    return re.sub(
        r'((?:href|src)="page/([^"]+)")', lambda match: f'{match[1]} integrity="{hashes[match[2]]}"', html
    )


def page_policy(html: str) -> str:
    """Allow the page's own scripts and style, by hash, and requests to this host, and nothing else."""
    inline = {
        tag: [hash_source(text.encode()) for text in re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)]
        for tag in ("script", "style")
    }
    scripts = [*inline["script"], *re.findall(r'integrity="([^"]+)"', html)]
    return (
        f"default-src 'none'; script-src {_sources(scripts)}; style-src {_sources(inline['style'])}; "
        "connect-src 'self'; img-src data:; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
    )


def _sources(hashes: Iterable[str]) -> str:
    return " ".join(f"'{value}'" for value in hashes)

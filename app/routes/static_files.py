"""Static files for browsers."""

from flask import Response, request


def asset(data: bytes, media_type: str, policy: str) -> Response:
    """Return a file that browsers revalidate on each use and download again only if it has changed.

    Args:
        policy: its `Content-Security-Policy`, https://www.w3.org/TR/CSP3/.
    """
    response = Response(data, content_type=f"{media_type}; charset=utf-8")
    response.headers["content-security-policy"] = policy
    response.headers["x-content-type-options"] = "nosniff"
    response.headers["cache-control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response

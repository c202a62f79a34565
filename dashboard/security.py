"""Security headers of every reply, and the refusal of changes that come from other sites."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Request, Response, abort, request

from dashboard.sessions import Session

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with it browsers send "Origin: null" on the dashboard's own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def secure(app: Flask) -> None:
    """Add the headers to every reply, and refuse changes that another site sent."""
    app.before_request(refuse_foreign_changes)
    app.after_request(add_headers)


def add_headers(response: Response) -> Response:
    """Add the security headers to a reply; let no cache store a page."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def refuse_foreign_changes() -> None:
    """Abort with 403 if the browser says that a change comes from a page of another origin."""
    if request.method not in SAFE_METHODS and not same_origin(request):
        abort(403, "This request came from another site; nothing was changed.")


def same_origin(incoming: Request) -> bool:
    """Return whether a request comes from the dashboard's own pages.

    Source: W3C Fetch Metadata (Sec-Fetch-Site), where the browser sends it; RFC 6454 (Origin).
    """
    if incoming.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = incoming.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == incoming.host


def check_csrf(session: Session) -> None:
    """Abort with 403 unless the form carries the session's CSRF token."""
    if not session.accepts(request.form.get("csrf", "")):
        abort(403, "The form's token is not this session's; load the page again and repeat.")

"""The web server of the metaserver and the dashboard: gunicorn with one gevent worker.

server    `Server` and `Site`: gunicorn around one WSGI app
direct    calls that are answered without the app, and may be held for long
tls       certificates of a server
worker    the worker: time limits for replies, and errors in the site's own format
body      a request's body: time limits, and broken framing as the sender's error
"""

from __future__ import annotations

from cachemesh.serving.direct import DirectCalls
from cachemesh.serving.server import Server, Site, bind
from cachemesh.serving.tls import TlsFileError, TlsFiles

__all__ = ["DirectCalls", "Server", "Site", "TlsFileError", "TlsFiles", "bind"]

"""The web server that the metaserver and the dashboard share: gunicorn with one gevent worker.

It adds what gunicorn leaves open: a request's body has to arrive in time, a broken one is the
sender's error, a reply has to be taken in time, and errors that gunicorn itself finds are worded
by the site, in its own format.
"""

from __future__ import annotations

from cachemesh.serving.server import Server, Site, bind

__all__ = ["Server", "Site", "bind"]

"""The form of a page, filled in and sent as a browser does, without one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse


class _Fields(HTMLParser):
    """Reads what the fields of the form in a page's main part hold."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.invalid: list[str] = []
        self._main = False
        self._select = self._textarea = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name = given.get("name", "")
        self._main = self._main or tag == "main"
        if not self._main:
            return
        if "aria-invalid" in given:
            self.invalid.append(name)
        if tag == "select":
            self._select = name
        elif tag == "textarea":
            self._textarea = name
            self.fields[name] = ""
        elif tag == "option" and ("selected" in given or self._select not in self.fields):
            self.fields[self._select] = given.get("value", "\0")
        elif tag == "input" and (given.get("type") != "checkbox" or "checked" in given):
            self.fields[name] = given.get("value", "on" if given.get("type") == "checkbox" else "")

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.fields[self._textarea] += data
        elif self.fields.get(self._select) == "\0":
            self.fields[self._select] = data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._textarea = ""
        elif tag == "select":
            self._select = ""


@dataclass
class Shown:
    """A page that was received, and the form in it."""

    client: FlaskClient
    path: str
    reply: TestResponse

    @property
    def text(self) -> str:
        """What the page says, without its tags, in one line."""
        return " ".join(unescape(re.sub("<[^>]*>", " ", self.reply.text)).split())

    @property
    def fields(self) -> dict[str, str]:
        """What the fields of the page's form hold, by name."""
        return self._read().fields

    @property
    def invalid(self) -> list[str]:
        """The fields that are marked as wrong."""
        return self._read().invalid

    def _read(self) -> _Fields:
        parser = _Fields()
        parser.feed(self.reply.text)
        return parser

    def send(self, step: str, **typed: str) -> Shown:
        """Press a button of the form, after something was typed into its fields.

        Args:
            step: the button's value.
            typed: by the fields' names, with _ for -.
        """
        fields = self.fields
        names = {name.replace("-", "_"): name for name in fields}
        fields |= {names[name]: value for name, value in typed.items()}
        reply = self.client.post(self.path, data=fields | {"step": step})
        return Shown(self.client, self.path, reply)


class Visitor:
    """Somebody who is signed in to a dashboard, which runs in the test's process.

    Args:
        app: the dashboard.
        token: to sign in with.
    """

    def __init__(self, app: Flask, token: str) -> None:
        self._client = app.test_client()
        signed_in = self.open("/login").send("", token=token)
        assert signed_in.reply.status_code == 303, signed_in.text

    def open(self, path: str) -> Shown:
        """Go to a path."""
        return Shown(self._client, path, self._client.get(path))

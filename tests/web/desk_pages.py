"""A person at the operator's pages: looks at one, fills in a form of it, sends it; no script."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from tests.web.client import Answer, Client

VOID = {"meta", "link", "input", "br"}
NASTY = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(1)>"


@dataclass
class Form:
    """A form as a browser would send it."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


class Page(HTMLParser):
    """A page that is whole and has nothing that its policy would not run."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        assert "text/html; charset=utf-8" == answer.headers["content-type"], answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert NASTY not in answer.text
        assert IMAGE not in answer.text
        self.status = answer.status
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.alert = ""
        self._opened: list[str] = []
        self._alert_depth = 0
        self._texts: list[str] = []
        self.feed(answer.text)
        assert [] == self._opened
        self.text = " ".join(" ".join(self._texts).split())
        self.alert = " ".join(self.alert.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert not any(name == "style" or name.startswith("on") for name in given)
        assert "http" not in (given.get("src") or given.get("href") or "")
        assert tag != "script" or given["src"]
        if tag not in VOID:
            self._opened.append(tag)
        if given.get("role") == "alert":
            self._alert_depth = len(self._opened)
        if tag == "a":
            self.links.append(given["href"])
        if tag == "form" and given.get("method") == "post":
            self.forms.append(Form(given["action"]))
        if tag in ("input", "textarea", "select") and self.forms:
            is_off = given.get("type") == "checkbox"
            if "name" in given and not is_off:
                self.forms[-1].fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        assert tag == self._opened.pop()
        if len(self._opened) < self._alert_depth:
            self._alert_depth = 0

    def handle_data(self, data: str) -> None:
        self._texts.append(data)
        if self._alert_depth:
            self.alert += data

    def form(self, action: str, **fields: str) -> Form:
        """The one form that goes there and holds these values."""
        [found] = [
            form
            for form in self.forms
            if form.action == action and fields.items() <= form.fields.items()
        ]
        return found


def look(client: Client, target: str) -> Page:
    """A page, as a browser asks for it."""
    return Page(client.get(target, accept="text/html"))


def send(client: Client, form: Form, **fields: Any) -> Page:
    """Send a form with these fields filled in, and look at where it leads."""
    answer = post(client, form, **fields)
    return look(client, answer.headers["location"]) if answer.status == 303 else Page(answer)


def post(client: Client, form: Form, **fields: Any) -> Answer:
    """Send a form; the answer itself."""
    body = urlencode({**form.fields, **fields}).encode()
    kind = {"content-type": "application/x-www-form-urlencoded", "accept": "text/html"}
    return client.ask("POST", form.action, [body], kind)

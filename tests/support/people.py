"""People at the pages: a signed-in client that sends the token of its page with every form."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import argon2
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from wa_dashboard import security
from wa_dashboard.services import tenants

PASSWORD = "o parola destul de lunga"
HTMX = {"HX-Request": "true"}


class Somebody:
    """Who decides: an editor of the organisation."""

    def __init__(self, ready: Any) -> None:
        self.tenant, self.actor = ready.tenant, "user:usr_1"


class Visitor:
    """A browser without a script. Each request gets an application context of its own, as in a server."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.client = app.test_client()

    def get(self, url: str, **what: Any) -> TestResponse:
        with self.app.app_context():
            return self.client.get(url, **what)

    def fragment(self, url: str) -> TestResponse:
        """What htmx would get."""
        return self.get(url, headers=HTMX)

    def post(self, url: str, *, page: str = "/sign-in", headers: Any = None, **form: str) -> TestResponse:
        """Send a form that stood on ``page``."""
        token = re.search(r'name="csrf-token" content="([^"]+)"', self.get(page).text)
        assert token
        with self.app.app_context():
            return self.client.post(url, data={"csrf_token": token[1], **form}, headers=headers)

    def sign_in(self, email: str, password: str = PASSWORD, **more: str) -> TestResponse:
        return self.post("/sign-in", email=email, password=password, **more)


def visitor_of(app: Flask, ready: Any, role: str = "owner", email: str = "") -> Visitor:
    """Somebody of the tenant, signed in."""
    email = email or f"{role}-{ready.id[-6:]}@example.org"
    tenants.create_user(ready.tenant, email, role, PASSWORD)
    visitor = Visitor(app)
    answer = visitor.sign_in(email)
    assert answer.status_code == 303, answer.text
    return visitor


@contextmanager
def light_passwords() -> Iterator[None]:
    """Hash quickly inside the block: what is tested is who is let in, not how long a guess takes."""
    light = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(security, "_hasher", light)
        patch.setattr(security, "_NOBODY", light.hash("nobody's"))
        yield

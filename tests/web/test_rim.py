"""The HTML rim by itself: headers, files, language, protection, errors. No database is needed for these."""

import gzip

import pytest
from flask import Flask, jsonify

from wa_dashboard import web
from wa_dashboard.domain.text import T
from wa_dashboard.web.assets import FILES, YEAR, asset, asset_url
from wa_dashboard.web.headers import CSP
from wa_dashboard.web.htmx import render, session_ended, with_toast
from wa_dashboard.web.i18n import translate

BUDGET_GZ = {
    "app.css": 10_240, "app.js": 3_072, "editor.css": 3_072, "editor.js": 1_024, "icons.svg": 3_072, "icon.svg": 1_024,
    "htmx.js": 17_000,
}  # fmt: skip


@pytest.fixture
def app():
    app = Flask("rim")
    app.secret_key = "only for this test"
    web.init_app(app)
    app.add_url_rule("/api/wa/thing", "thing", lambda: jsonify(ok=True), methods=["GET", "POST"])
    app.add_url_rule("/part", "part", lambda: render("errors/404.html", "errors/429.html"))
    app.add_url_rule("/private", "private", lambda: session_ended("/sign-in?next=%2Fprivate"))
    app.add_url_rule("/done", "done", lambda: with_toast("<p>ok</p>", "Șters, gata"))
    return app


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.mark.parametrize("path", ["/nowhere", "/api/wa/thing", "/api/wa/nowhere", "/part"])
def test_every_answer_carries_the_headers(client, path):
    headers = client.get(path).headers
    assert headers["Content-Security-Policy"] == CSP
    assert "unsafe" not in CSP
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "HX-Request" in headers["Vary"]


@pytest.mark.parametrize("name", list(FILES))
def test_a_file_is_kept_for_a_year_under_its_hash_only(app, client, name):
    with app.test_request_context():
        url = asset_url(name)
    answer = client.get(url, headers={"Accept-Encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == YEAR
    assert gzip.decompress(answer.data) == asset(name).body == client.get(url).data
    assert len(answer.data) <= BUDGET_GZ[name]
    assert "Set-Cookie" not in answer.headers
    stale = client.get(url.replace(asset(name).version, "0" * 12))
    assert stale.headers["Cache-Control"] == "no-cache"


def test_no_other_file_is_served(client):
    assert client.get("/assets/x/app.py").status_code == 404
    assert client.get("/assets/x/..%2Fapp.css").status_code == 404


def test_the_script_is_under_three_kilobytes():
    assert len(asset("app.js").body) <= 3_072
    assert len(asset("editor.js").body) <= 2_048  # and only where texts are written


def test_htmx_is_the_version_the_pages_are_written_for():
    assert b'version:"2.0.3"' in asset("htmx.js").body


def test_htmx_gets_the_fragment_and_back_gets_the_page(client):
    assert "<!doctype html>" in client.get("/part").text
    assert "Too many tries" in client.get("/part", headers={"HX-Request": "true"}).text
    back = {"HX-Request": "true", "HX-History-Restore-Request": "true"}
    assert "This page does not exist" in client.get("/part", headers=back).text


def test_an_ended_session_leads_to_the_sign_in(client):
    plain = client.get("/private")
    assert (plain.status_code, plain.location) == (303, "/sign-in?next=%2Fprivate")
    polled = client.get("/private", headers={"HX-Request": "true"})
    assert (polled.status_code, polled.headers["HX-Redirect"]) == (401, "/sign-in?next=%2Fprivate")


def test_a_toast_travels_as_ascii(client):
    header = client.get("/done").headers["HX-Trigger"]
    assert header.isascii()
    assert "\\u0218ters" in header


class TestLanguage:
    @pytest.mark.parametrize(
        ("wish", "lang"), [("ro-RO,ro;q=0.9,en;q=0.8", "ro"), ("en-GB,en", "en"), ("de", "en"), ("", "en")]
    )
    def test_first_guess(self, client, wish, lang):
        assert f'<html lang="{lang}">' in client.get("/nowhere", headers={"Accept-Language": wish}).text

    def test_the_switch_is_remembered_and_stays_on_this_site(self, client):
        token = self.token(client)
        for wanted, expected in [("/messages?q=ana", "/messages?q=ana"), ("//evil.example", "/"), ("/\\evil", "/")]:
            answer = client.post("/language", data={"language": "ro", "next": wanted, "csrf_token": token})
            assert (answer.status_code, answer.location) == (303, expected)
        assert '<html lang="ro">' in client.get("/nowhere", headers={"Accept-Language": "en"}).text

    def test_an_unknown_language_changes_nothing(self, client):
        answer = client.post("/language", data={"language": "xx", "csrf_token": self.token(client)})
        assert "wa_lang" not in answer.headers.get("Set-Cookie", "")

    def test_what_python_says_is_translated_where_it_is_shown(self):
        assert translate(T("Messages"), "ro") == "Mesaje"
        assert translate(T("%(done)s of %(all)s done", done=2, all=5), "ro-RO") == "2 din 5 gata"
        assert translate(T("Messages"), "en") == "Messages"
        assert translate("Messages", "ro") == "Messages"

    @staticmethod
    def token(client):
        page = client.get("/nowhere").text
        return page.split('name="csrf-token" content="')[1].split('"')[0]


class TestProtection:
    def test_a_form_without_the_token_does_nothing(self, client):
        answer = client.post("/language", data={"language": "ro"})
        assert answer.status_code == 400
        assert "open for too long" in answer.text

    def test_another_site_cannot_post_even_with_a_token(self, client):
        data = {"language": "ro", "csrf_token": TestLanguage.token(client)}
        assert client.post("/language", data=data, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert client.post("/language", data=data, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303

    def test_the_api_needs_no_token(self, client):
        assert client.post("/api/wa/thing", json={}).status_code == 200

    def test_the_api_keeps_its_own_errors(self, client):
        assert "This page does not exist" not in client.get("/api/wa/nowhere").text
        assert "This page does not exist" in client.get("/nowhere").text

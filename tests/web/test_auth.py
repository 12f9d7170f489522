"""The door: one welcome, signing in and out, who is let in where."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.support.people import HTMX, PASSWORD, Visitor, visitor_of
from wa_dashboard import clock
from wa_dashboard.db import db
from wa_dashboard.models import User
from wa_dashboard.services import tenants
from wa_dashboard.web.access import OPEN, ROLES

STRANGERS_MAY = {"web.welcome", "web.accept_welcome", "web.sign_in", "web.check_sign_in", "web.switch_language"}
WELCOME = {"organisation": "Teatrul Mare", "name": "Ana Pop", "email": "Ana@Example.org", "password": PASSWORD}


def web_rules(app):
    return [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("web.")]


def url_of(rule):
    return re.sub(r"<[^>]+>", "x", rule.rule)


class TestWhoIsLetIn:
    def test_every_view_says_what_it_needs(self, app):
        needs = {rule.endpoint: getattr(app.view_functions[rule.endpoint], "wa_needs", None) for rule in web_rules(app)}
        assert {endpoint for endpoint, need in needs.items() if need is None} == STRANGERS_MAY == OPEN
        assert {need for need in needs.values() if need} <= {word for words in ROLES.values() for word in words}

    def test_a_stranger_is_sent_to_the_sign_in_everywhere(self, app, visitor):
        asked = 0
        for rule in web_rules(app):
            if rule.endpoint in OPEN:
                continue
            for method in rule.methods - {"HEAD", "OPTIONS"}:
                url = url_of(rule)
                answer = visitor.get(url) if method == "GET" else visitor.post(url)
                assert answer.status_code == 303, (method, url)
                assert answer.location.startswith("/sign-in"), (method, url)
                asked += 1
        assert asked >= 15

    def test_what_a_viewer_may_not_do(self, app, viewer):
        for rule in web_rules(app):
            need = getattr(app.view_functions[rule.endpoint], "wa_needs", "see")
            if need == "see":
                continue
            for method in rule.methods - {"HEAD", "OPTIONS"}:
                url = url_of(rule)
                answer = viewer.get(url) if method == "GET" else viewer.post(url, page="/overview")
                assert answer.status_code == 403, (method, url)
                assert ("owner" if need == "keys" else "editor") in answer.text

    def test_only_an_owner_touches_keys(self, app, tenant):
        editor = visitor_of(app, tenant, "editor")
        asked = set()
        for rule in web_rules(app):
            if getattr(app.view_functions[rule.endpoint], "wa_needs", "see") != "keys":
                continue
            for method in rule.methods - {"HEAD", "OPTIONS"}:
                url = url_of(rule)
                answer = editor.get(url) if method == "GET" else editor.post(url, page="/overview")
                assert answer.status_code == 403, (method, url)
                assert "owner" in answer.text
                asked.add((rule.endpoint, method))
        assert asked == {
            ("web.new_sender", "GET"), ("web.add_sender", "POST"), ("web.sender_keys", "GET"),
            ("web.replace_keys", "POST"), ("web.sender_off", "GET"), ("web.switch_sender", "POST"),
            ("web.go_live", "POST"),
        }  # fmt: skip

    def test_no_form_works_without_its_token(self, app, owner):
        for rule in web_rules(app):
            if "POST" in rule.methods:
                with app.app_context():
                    assert owner.client.post(url_of(rule), data={}).status_code == 400, rule

    def test_a_fragment_leads_to_the_sign_in_too(self, visitor):
        answer = visitor.get(
            "/overview/numbers", headers={**HTMX, "HX-Current-URL": "http://localhost/messages?status=failed"}
        )
        assert answer.status_code == 401
        assert answer.headers["HX-Redirect"] == "/sign-in?next=%2Fmessages%3Fstatus%3Dfailed"


class TestWelcome:
    def test_it_makes_the_account_and_opens_the_overview(self, visitor, tenant):
        page = visitor.get(f"/welcome/{tenant.welcome_token}")
        assert page.status_code == 200
        assert 'value="Teatrul Mic"' in page.text

        answer = visitor.post(f"/welcome/{tenant.welcome_token}", **WELCOME)

        assert (answer.status_code, answer.location) == (303, "/overview")
        overview = visitor.get("/overview").text
        assert "Teatrul Mare" in overview
        assert "Ana Pop" in overview
        assert "Test mode" in overview

    def test_the_link_works_once(self, app, visitor, tenant):
        visitor.post(f"/welcome/{tenant.welcome_token}", **WELCOME)
        for answer in (
            Visitor(app).get(f"/welcome/{tenant.welcome_token}"),
            Visitor(app).post(f"/welcome/{tenant.welcome_token}", **WELCOME),
            Visitor(app).get("/welcome/nonsense"),
        ):
            assert answer.status_code == 404
            assert "welcome-link" in answer.text

    def test_all_that_is_wrong_is_said_at_once(self, visitor, tenant):
        answer = visitor.post(f"/welcome/{tenant.welcome_token}", organisation="", name="", email="", password="")
        assert answer.status_code == 422
        for field in ("organisation", "email", "password"):
            assert f'id="{field}-error"' in answer.text

    @pytest.mark.parametrize(
        ("field", "value", "says"),
        [
            ("password", "short", "at least 12"),
            ("password", "passwordpassword", "first that are guessed"),
            ("email", "nonsense", "e-mail address"),
            ("organisation", " ", "Give the organisation a name"),
        ],
    )
    def test_what_is_wrong_stands_at_its_field_and_nothing_typed_is_lost(self, visitor, tenant, field, value, says):
        answer = visitor.post(f"/welcome/{tenant.welcome_token}", **(WELCOME | {field: value}))
        assert answer.status_code == 422
        assert "<title>Error: " in answer.text
        assert says in answer.text
        assert f'href="#{field}"' in answer.text
        assert 'value="Ana Pop"' in answer.text
        assert PASSWORD not in answer.text
        assert visitor.get(f"/welcome/{tenant.welcome_token}").status_code == 200


class TestSignIn:
    def test_in_and_out(self, app, tenant):
        visitor = visitor_of(app, tenant, email="ana@theatre.ro")
        assert visitor.get("/").location == "/overview"
        with app.app_context():
            stolen = visitor.client.get_cookie("wa-session").value
        assert visitor.post("/sign-out", page="/overview").location == "/sign-in"
        assert visitor.get("/overview").status_code == 303

        thief = Visitor(app)
        thief.client.set_cookie("wa-session", stolen)
        assert thief.get("/overview").status_code == 303

    def test_the_cookie(self, app, tenant):
        tenants.create_user(tenant.tenant, "ana@theatre.ro", "owner", PASSWORD)
        cookie = Visitor(app).sign_in("ana@theatre.ro").headers["Set-Cookie"]
        assert cookie.startswith("wa-session=")
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie

    def test_wrong_address_and_wrong_password_look_alike(self, app, visitor, tenant):
        tenants.create_user(tenant.tenant, "ana@theatre.ro", "owner", PASSWORD)
        wrong = visitor.sign_in("ana@theatre.ro", "wrong wrong wrong")
        unknown = visitor.sign_in("nobody@theatre.ro", PASSWORD)
        assert wrong.status_code == unknown.status_code == 422
        said = [
            re.sub(r"(ana|nobody)@|content=\"[^\"]+\"|value=\"[^\"]+\"", "", each.text) for each in (wrong, unknown)
        ]
        assert said[0] == said[1]
        assert "not right" in said[0]

    def test_the_sixth_try_in_a_minute_waits(self, app, visitor, tenant):
        tenants.create_user(tenant.tenant, "ana@theatre.ro", "owner", PASSWORD)
        for _ in range(5):
            assert visitor.sign_in("ana@theatre.ro", "wrong wrong wrong").status_code == 422
        answer = visitor.sign_in("Ana@Theatre.ro ", PASSWORD)
        assert answer.status_code == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        assert f"{answer.headers['Retry-After']} seconds" in answer.text
        tenants.create_user(tenant.tenant, "other@theatre.ro", "owner", PASSWORD)
        assert Visitor(app).sign_in("other@theatre.ro").status_code == 303

    def test_one_address_tries_many_accounts(self, app, visitor):
        for number in range(20):
            assert visitor.sign_in(f"user{number}@theatre.ro", "wrong wrong wrong").status_code == 422
        assert visitor.sign_in("user20@theatre.ro", "wrong wrong wrong").status_code == 429

    @pytest.mark.parametrize(
        ("wish", "leads"),
        [("/messages?q=ana", "/messages?q=ana"), ("//evil.example", "/overview"), ("/\\evil", "/overview"),
         ("https://evil.example/", "/overview"), ("", "/overview")],
    )  # fmt: skip
    def test_it_leads_back_to_where_one_was_but_never_elsewhere(self, app, visitor, tenant, wish, leads):
        tenants.create_user(tenant.tenant, "ana@theatre.ro", "owner", PASSWORD)
        assert visitor.sign_in("ana@theatre.ro", next=wish).location == leads

    def test_a_planted_session_is_worth_nothing_afterwards(self, app, tenant):
        tenants.create_user(tenant.tenant, "ana@theatre.ro", "owner", PASSWORD)
        visitor = Visitor(app)
        visitor.get("/sign-in")
        planted = visitor.client.get_cookie("wa-session").value
        visitor.sign_in("ana@theatre.ro")
        attacker = Visitor(app)
        attacker.client.set_cookie("wa-session", planted)
        assert attacker.get("/overview").status_code == 303

    def test_twelve_idle_hours_end_it(self, app, owner):
        with clock.at(clock.now() + timedelta(hours=11)):
            assert owner.get("/overview").status_code == 200
        with clock.at(clock.now() + timedelta(hours=24)):
            assert owner.get("/overview").status_code == 303

    def test_a_role_that_was_taken_away_ends_it(self, app, tenant, owner):
        from wa_dashboard.db import tenant_scope, transaction
        from wa_dashboard.models import Membership

        with tenant_scope(tenant.id), transaction():
            for member in db.session.scalars(select(Membership)):
                db.session.delete(member)
        assert owner.get("/overview").status_code == 303

    def test_empty_fields_are_no_try(self, visitor):
        for _ in range(7):
            answer = visitor.post("/sign-in", email="", password="")
            assert answer.status_code == 422
        assert "Write your password." in answer.text


def test_the_language_is_kept_with_the_person(app, tenant, owner):
    owner.post("/language", page="/overview", language="ro", next="/overview")
    with app.app_context():
        assert "ro" in set(db.session.scalars(select(User.locale)))
    elsewhere = Visitor(app)
    elsewhere.sign_in(f"owner-{tenant.id[-6:]}@example.org")
    assert '<html lang="ro">' in elsewhere.get("/overview").text


def test_a_lost_page_keeps_the_frame_of_whoever_is_signed_in(owner, visitor):
    lost = owner.get("/nowhere")
    assert lost.status_code == 404
    assert "Sign out" in lost.text
    assert "Sign out" not in visitor.get("/nowhere").text


def test_behind_https_the_cookie_is_bound_to_this_host(base_settings):
    from wa_dashboard.factory import create_app

    app = create_app(replace(base_settings, public_url="https://bilete.example.org"))
    with app.app_context():
        answer = app.test_client().get("/sign-in", base_url="https://bilete.example.org")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-wa-session=")
    for part in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
        assert part in cookie
    assert "Domain=" not in cookie
    assert answer.headers["Strict-Transport-Security"]

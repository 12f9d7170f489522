"""The alarms themselves: a planted inline script does not run and is noticed, so is a bad page."""

import pytest
from flask import Flask, render_template_string

from tests.browser.conftest import Server, overflow, violations
from wa_dashboard import web

PLANTED = """{% extends "layout.html" %}{% block title %}x{% endblock %}{% block main %}<h1>x</h1>
<script>document.title = "it ran"</script><p style="color: red">x</p>{% endblock %}"""
BAD = """{% extends "layout.html" %}{% block title %}x{% endblock %}{% block main %}<h1>x</h1><img src="data:,">
<div><table class="nowrap"><tr><td>{{ "wide " * 200 }}</table></div>{% endblock %}"""


@pytest.fixture(scope="module")
def server():
    app = Flask("alarm")
    app.secret_key = "only for this test"
    web.init_app(app)
    app.add_url_rule("/planted", "planted", lambda: render_template_string(PLANTED))
    app.add_url_rule("/bad", "bad", lambda: render_template_string(BAD))
    server = Server(app)
    yield server
    server.close()


def test_an_inline_script_is_blocked_and_noticed(page, watcher, server):
    page.goto(server.url + "/planted")
    assert "it ran" not in page.title()
    noticed, watcher.seen = watcher.seen, []
    assert any("script" in line and "Content Security Policy" in line for line in noticed)
    assert any("style" in line and "Content Security Policy" in line for line in noticed)


def test_a_bad_page_is_noticed(page, server, watcher):
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(server.url + "/bad")
    assert "image-alt" in [rule for rule, _, _ in violations(page)]
    assert overflow(page) > 0
    watcher.seen = []


def test_a_page_that_does_not_exist_is_still_a_good_page(page, server, watcher):
    watcher.allowed.append("404")
    page.goto(server.url + "/nowhere")
    assert page.title() == "Pagina nu a fost găsită · Notificări WhatsApp"
    assert violations(page) == []
    assert overflow(page) == 0


def test_the_language_switch_works_and_lasts(page, server, watcher):
    watcher.allowed.append("404")
    page.goto(server.url + "/nowhere?x=1")
    page.get_by_role("button", name="English").click()
    page.wait_for_url("**/nowhere?x=1")
    assert page.locator("html").get_attribute("lang") == "en"
    page.reload()
    assert page.get_by_role("heading", level=1).inner_text() == "This page does not exist"

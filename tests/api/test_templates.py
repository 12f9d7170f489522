"""`/api/wa/templates` as a caller sees it, on both databases."""

import copy

import pytest

from tests.factories import make_account, make_template
from tests.services.template_world import world_of
from wa_dashboard.db import tenant_scope
from wa_dashboard.services import templates, tenants

BODY = {
    "name": "order_confirm",
    "type": "order_confirm",
    "language": "ro",
    "category": "utility",
    "header": {"format": "text", "text": "Comanda {order_id}"},
    "body": "Bună, {first_name}! Comanda {order_id} la {event_name} ({event_date}) este confirmată. Ne vedem acolo curând.",  # noqa: E501
    "footer": "Răspunde STOP pentru a opri mesajele",
    "buttons": [
        {"type": "url", "text": "Vezi biletele", "url": "https://t.example.org/o/{order_token}"},
        {"type": "quick_reply", "text": "Ajutor"},
    ],
    "examples": {
        "first_name": "Ana",
        "order_id": "A-1001",
        "event_name": "Concert",
        "event_date": "4 aprilie, 20:00",
        "order_token": "abc",
    },
    "ttl_seconds": 43200,
    "submit": True,
    "allow_category_change": False,
}


def body(**changes):
    return copy.deepcopy(BODY) | changes


@pytest.fixture
def post(client, tenant):
    def send(json, ready=tenant, **headers):
        return client.post("/api/wa/templates", json=json, headers=ready.headers | headers)

    return send


def pointers(answer):
    return {(error["pointer"], error["code"]) for error in answer.json["errors"]}


def test_a_new_template_is_submitted(post, tenant):
    answer = post(body(accounts=[tenant.account.id]))
    assert answer.status_code == 201, answer.json
    found = answer.json
    assert found["id"].startswith("tpl_")
    assert (found["name"], found["language"], found["version"]) == ("order_confirm", "ro", 1)
    assert (found["changed"], found["type"], found["category"], found["sendable"]) == (
        True,
        "order_confirm",
        "utility",
        False,
    )
    assert found["lint"]["ok"] is True
    assert [(line["rule"], line["level"]) for line in found["lint"]["findings"]] == [("T021", "hint")]
    assert found["category_advice"]["predicted"] == "utility"
    assert found["category_advice"]["cost_difference"] is None
    first, last = found["variables"][0], found["variables"][-1]
    assert first == {
        "name": "order_id", "where": ["header", "body"], "type": "text", "filled_from": "order", "default": None,
    }  # fmt: skip
    assert last == {
        "name": "order_token", "where": ["buttons"], "type": "text", "filled_from": "caller", "default": None,
    }  # fmt: skip
    (approval,) = found["approvals"]
    assert (approval["account"], approval["provider"]) == (tenant.account.id, "meta_cloud")
    assert (approval["status"], approval["external_id"]) == ("submitting", None)
    assert found["links"] == {"self": f"/api/wa/templates/{found['id']}"}


def test_the_same_again_an_edited_draft_and_a_new_version(post):
    draft = post(body(submit=False))
    assert (draft.status_code, draft.json["draft"], draft.json["approvals"]) == (201, True, [])
    edited = post(body(submit=False, footer="STOP oprește mesajele"))
    assert (edited.status_code, edited.json["changed"], edited.json["id"]) == (200, True, draft.json["id"])
    same = post(body(submit=False, footer="STOP oprește mesajele"))
    assert (same.status_code, same.json["changed"]) == (200, False)
    sent = post(body())
    assert (sent.status_code, sent.json["version"], sent.json["draft"]) == (200, 1, False)
    again = post(body())
    assert (again.status_code, again.json["changed"], len(again.json["approvals"])) == (200, False, 1)
    new = post(body(footer=None))
    assert (new.status_code, new.json["version"], new.json["changed"]) == (201, 2, True)


def test_lint_errors_refuse_a_submission_with_every_finding(post, client, tenant):
    bad = body(
        name="Comandă",
        body="{first_name} {order_id}\n{x}",
        footer="a" * 61,
        language="ro_RO",
        examples={"first_name": "a\nb"},
    )
    answer = post(bad)
    assert answer.status_code == 422
    assert answer.json["code"] == "lint_failed"
    assert answer.content_type == "application/problem+json"
    assert {
        ("/name", "T001"), ("/body", "T005"), ("/body", "T006"), ("/footer", "T004"), ("/language", "T013"),
        ("/examples/first_name", "T012"), ("/examples/order_id", "T007"),
    } <= pointers(answer)  # fmt: skip
    assert all(error["level"] in ("error", "warning", "hint") and error["fix"] for error in answer.json["errors"])
    assert client.get("/api/wa/templates", headers=tenant.headers).json["data"] == []
    kept = post(bad | {"submit": False})
    assert kept.status_code == 201
    assert kept.json["lint"]["ok"] is False
    assert {finding["rule"] for finding in kept.json["lint"]["findings"]} >= {
        "T001",
        "T004",
        "T005",
        "T006",
        "T007",
        "T012",
        "T013",
    }


def test_findings_speak_the_callers_language(post):
    english = post(body(name="Nu"), **{"Accept-Language": "en"}).json["errors"][0]["detail"]
    assert english.startswith("A template's name")


@pytest.mark.parametrize("field", ["name", "language", "footer"])
def test_what_is_too_long_to_keep_is_refused_even_as_a_draft(post, field):
    answer = post(body(submit=False, **{field: "a" * 600}))
    assert (answer.status_code, answer.json["code"]) in ((422, "lint_failed"), (422, "validation_failed"))


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"boddy": "x"}, "/boddy", "unknown_field"),
        ({"header": {"format": "text", "txt": "x"}}, "/header/txt", "unknown_field"),
        ({"buttons": [{"type": "url", "text": "x", "link": "y"}]}, "/buttons/0/link", "unknown_field"),
        ({"type": "emergency"}, "/type", "not_one_of"),
        ({"category": "UTILITY"}, "/category", "not_one_of"),
        ({"category": "marketing"}, "/category", "category_mismatch"),
        ({"body": 7}, "/body", "wrong_type"),
        ({"submit": "yes"}, "/submit", "wrong_type"),
        ({"examples": {"a": 1}}, "/examples/a", "wrong_type"),
        ({"ttl_seconds": 5}, "/ttl_seconds", "ttl_out_of_range"),
        ({"accounts": ["acc_nope"]}, "/accounts/0", "account_not_found"),
    ],
)
def test_wrong_fields_are_named(post, changes, pointer, code):
    answer = post(body(**changes))
    assert answer.status_code == 422
    assert (pointer, code) in pointers(answer)


def test_did_you_mean(post):
    (error,) = [e for e in post(body(boddy="x")).json["errors"] if e["pointer"] == "/boddy"]
    assert error["did_you_mean"] == "body"


def test_the_category_follows_from_the_type(post):
    promo = body(
        name="promo", type="promo", body="Salut {first_name}! Avem oferte noi pentru tine.", header=None, buttons=[]
    )
    del promo["category"], promo["ttl_seconds"]
    answer = post(promo)
    assert (answer.status_code, answer.json["category"]) == (201, "marketing")


def test_advice_names_advertising_words(post):
    found = post(body(body=BODY["body"] + " Ai 20% reducere la următoarea comandă.")).json
    assert found["category_advice"]["predicted"] == "marketing"
    assert "reducere" in found["category_advice"]["signals"]
    assert [finding["rule"] for finding in found["lint"]["findings"]] == ["T014", "T021"]
    assert found["category_advice"]["confidence"] == "high"
    assert found["category_advice"]["cost_difference"] == {
        "amount": "0.0473", "currency": "EUR", "market": "RO", "per": "message",
    }  # fmt: skip


def lint_of(client, tenant, json, **headers):
    return client.post("/api/wa/templates/lint", json=json, headers=tenant.headers | headers)


def test_the_lint_says_what_saving_would_say_and_stores_nothing(post, client, tenant):
    bad = body(name="Comandă", footer="a" * 61, examples=BODY["examples"] | {"first_name": "Ana\nMaria"})

    asked = lint_of(client, tenant, bad, **{"Idempotency-Key": "t-lint"})

    assert asked.status_code == 200
    assert set(asked.json) == {"lint", "category_advice", "variables"}
    assert client.get("/api/wa/templates", headers=tenant.headers).json["data"] == []
    refused = post(bad)
    assert pointers(refused) == {(line["pointer"], line["rule"]) for line in asked.json["lint"]["findings"]}
    kept = post(bad | {"submit": False}).json
    assert kept["lint"] == asked.json["lint"]
    assert (kept["category_advice"], kept["variables"]) == (asked.json["category_advice"], asked.json["variables"])


def test_a_finding_carries_what_mends_it(client, tenant):
    bad = body(name="Comandă", examples=BODY["examples"] | {"first_name": "Ana\nMaria"})

    found = {line["rule"]: line for line in lint_of(client, tenant, bad).json["lint"]["findings"]}

    assert found["T001"]["mend"] == {"pointer": "/name", "value": "comanda"}
    assert found["T012"]["mend"] == {"pointer": "/examples/first_name", "value": "Ana Maria"}
    assert (found["T021"]["level"], found["T021"]["mend"]) == ("hint", None)


def test_the_lint_says_even_a_wrong_category_and_life(client, tenant):
    answer = lint_of(client, tenant, body(category="marketing", ttl_seconds=5))

    assert {"T024", "T025"} <= {line["rule"] for line in answer.json["lint"]["findings"]}
    assert answer.json["lint"]["ok"] is False


def test_the_lint_refuses_what_it_cannot_read(client, tenant):
    answer = lint_of(client, tenant, body(boddy="x"))

    assert (answer.status_code, pointers(answer)) == (422, {("/boddy", "unknown_field")})


def test_a_text_whatsapp_has_is_refused_under_another_name(post, client, tenant, other_tenant):
    assert post(body()).status_code == 201

    again = post(body(name="order_again"))

    assert (again.status_code, pointers(again)) == (422, {("/body", "T019"), ("/language", "T021")})
    assert "T019" not in str(lint_of(client, tenant, body()).json["lint"])  # the very same version is no second one
    assert "T019" not in str(lint_of(client, other_tenant, body(name="order_again")).json["lint"])


def test_headers_with_files(post):
    missing = post(body(header={"format": "document"}))
    assert (missing.status_code, ("/header/example", "T003") in pointers(missing)) == (422, True)
    for header in (
        {"format": "document", "example": {"link": "https://t.example.org/bilet.pdf"}},
        {"format": "image", "example": {"handle": "4::aW"}},
        {"format": "location"},
    ):
        assert post(body(header=header, submit=False)).json["lint"]["ok"] is True


def test_own_words_of_a_code_message_are_named_not_used(client, tenant):
    otp = {"name": "cod", "type": "otp", "language": "ro", "body": "Codul meu: {code}",
           "header": {"format": "text", "text": "Cod"}}  # fmt: skip

    found = lint_of(client, tenant, otp).json["lint"]

    assert [(line["rule"], line["level"], line["pointer"]) for line in found["findings"]] == [
        ("T015", "error", "/header"), ("T015", "warning", "/body"), ("T021", "hint", "/language"),
    ]  # fmt: skip


def test_a_code_message_has_metas_words(post):
    otp = {"name": "cod", "type": "otp", "language": "ro", "body": "Codul meu: {code}", "submit": True,
           "buttons": [{"type": "otp", "text": "Copiază", "code_expiration_minutes": 5}]}  # fmt: skip
    found = post(otp)
    assert found.status_code == 201, found.json
    assert found.json["body"].startswith("*{code}* este codul tău de verificare")
    assert found.json["footer"] == "Acest cod expiră în 5 minute."
    assert found.json["category"] == "authentication"
    assert post(otp).json["changed"] is False


def test_the_same_key_has_its_effect_once(post, client, tenant):
    first = post(body(), **{"Idempotency-Key": "t-1"})
    again = post(body(), **{"Idempotency-Key": "t-1"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.data == first.data
    assert again.headers["Idempotency-Replayed"] == "true"
    assert post(body(footer=None), **{"Idempotency-Key": "t-1"}).json["code"] == "idempotency_key_reused"
    assert len(client.get("/api/wa/templates", headers=tenant.headers).json["data"]) == 1


def test_listed_newest_first_of_each_with_filters(post, client, tenant):
    post(body())
    second = post(body(footer=None)).json
    post(body(language="en"))
    post(body(name="reminder_d1", type="reminder", footer="Pe mâine!"))

    def names(query=""):
        answer = client.get(f"/api/wa/templates{query}", headers=tenant.headers)
        assert answer.status_code == 200
        return [(line["name"], line["language"], line["version"]) for line in answer.json["data"]]

    assert names() == [("order_confirm", "en", 1), ("order_confirm", "ro", 2), ("reminder_d1", "ro", 1)]
    assert names("?type=reminder") == [("reminder_d1", "ro", 1)]
    assert names("?name=order_confirm&language=ro&versions=all") == [
        ("order_confirm", "ro", 2),
        ("order_confirm", "ro", 1),
    ]
    wrong = client.get("/api/wa/templates?nme=x", headers=tenant.headers)
    assert (wrong.status_code, wrong.json["code"]) == (400, "bad_filter")
    shown = client.get(second["links"]["self"], headers=tenant.headers).json
    assert shown["version"] == 2
    assert [event["status"] for event in shown["events"]] == ["submitting"]


def test_other_tenants_templates_do_not_exist(post, client, other_tenant):
    found = post(body()).json
    assert client.get(found["links"]["self"], headers=other_tenant.headers).status_code == 404
    assert client.get("/api/wa/templates", headers=other_tenant.headers).json["data"] == []
    theirs = post(body(footer=None), ready=other_tenant)
    assert (theirs.status_code, theirs.json["version"]) == (201, 1)


def test_the_scope_is_needed(client, tenant):
    key = tenants.create_api_key(tenant.tenant, "Narrow", ["stats:read"], live=False)
    headers = {"Authorization": f"Bearer {key}"}
    for answer in (
        client.post("/api/wa/templates", json=BODY, headers=headers),
        client.post("/api/wa/templates/lint", json=BODY, headers=headers),
        client.get("/api/wa/templates", headers=headers),
        client.get("/api/wa/templates/tpl_x", headers=headers),
    ):
        assert (answer.status_code, answer.json["code"]) == (403, "scope_missing")


def test_several_accounts_are_told_apart(post, client, tenant):
    twilio = make_account(tenant.tenant, "twilio")
    found = post(body()).json
    assert {(line["account"], line["provider"]) for line in found["approvals"]} == {
        (tenant.account.id, "meta_cloud"),
        (twilio.id, "twilio"),
    }


def test_approved_is_sendable_and_has_a_format(client, tenant):
    template = make_template(tenant, parameter_map={"first_name": "1"})
    shown = client.get(f"/api/wa/templates/{template.id}", headers=tenant.headers).json
    assert shown["sendable"] is True
    assert shown["approvals"][0]["external_format"] == "positional"


def test_from_the_post_to_the_approval(app, client, tenant, post, tmp_path):
    with world_of(app, tmp_path) as world:
        world.known(tenant)
        found = post(body()).json
        templates.submit_due()
        world.event(tenant.account, "order_confirm", "APPROVED")
        world.news(tenant)
        shown = client.get(found["links"]["self"], headers=tenant.headers).json
    assert shown["sendable"] is True
    assert shown["approvals"][0]["external_format"] == "named"
    assert [event["status"] for event in shown["events"]] == ["submitting", "pending", "approved"]
    assert [event["source"] for event in shown["events"]] == ["submit", "submit", "webhook"]
    with tenant_scope(tenant.id):
        assert templates.approval_rate().approved == 1

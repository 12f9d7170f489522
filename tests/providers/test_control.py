"""The control plane over a real socket: templates, look-ups, probes, registering webhooks."""

import json
from datetime import UTC, datetime

import pytest

from wa_dashboard.providers.base import CannotBuild, ProviderError, WireRequest, explain, provider_named
from wa_dashboard.providers.transport import carry

from .far_end import asked, closed_port, far_end, http, ok, script
from .samples import CONTENT_SID, DRAFT, OTP_DRAFT, PAYLOADS, account, needs_contracts

META, TWILIO, DIALOG = provider_named("meta_cloud"), provider_named("twilio"), provider_named("dialog360")


def published(name):
    (path,) = PAYLOADS.glob(f"{name}*")
    return json.loads(path.read_bytes())


def test_meta_submits_and_reads_another_category():
    with far_end(ok({"id": "5461", "status": "PENDING", "category": "MARKETING"})) as (url, seen):
        provider = account(META, url)
        answer = provider.submit_template(DRAFT)

    method, path, _, body = asked(seen[0])
    assert (method, path) == ("POST", f"/api/v24.0/{provider.keys['waba_id']}/message_templates")
    assert body["name"] == DRAFT.name
    assert (answer.status, answer.external_id, answer.category) == ("pending", "5461", "marketing")
    assert answer.parameter_map["first_name"] == "first_name"
    assert (answer.name, answer.language) == (DRAFT.name, "ro")


def test_meta_says_what_is_wrong_with_a_template():
    error = {"error": {"code": 100, "error_subcode": 2388299, "error_user_title": "Variabile la margine"}}
    with far_end(ok(error, 400)) as (url, _), pytest.raises(ProviderError) as problem:
        account(META, url).submit_template(DRAFT)

    outcome = problem.value.outcome
    assert (outcome.kind, outcome.code) == ("rejected", "2388299")
    assert "Variabile" in outcome.detail
    assert "begin or end" in explain("meta_cloud", outcome.code).reason


def test_meta_lists_every_page():
    rows = [{"id": str(n), "name": f"t{n}", "language": "ro", "status": "APPROVED"} for n in range(3)]
    paging = {"cursors": {"after": "AAA"}, "next": "http://elsewhere.example.org/"}
    pages = [ok({"data": rows[:2], "paging": paging}), ok({"data": rows[2:], "paging": {"cursors": {"after": "BBB"}}})]
    with script(pages) as (url, seen):
        answers = account(META, url).list_templates()

    assert [answer.external_id for answer in answers] == ["0", "1", "2"]
    assert asked(seen[1])[2]["after"] == ["AAA"]
    assert len(seen) == 2


@needs_contracts
def test_published_lists_are_read():
    for name in ("fbopenapi_example", "metadocs_template_management"):
        with far_end(ok(published(f"meta/response__list_templates__{name}"))) as (url, _):
            answers = account(META, url).list_templates()
        assert {answer.status for answer in answers} <= {"approved", "rejected", "pending"}
        assert all(answer.name and answer.external_id for answer in answers)
    for name, status in (("kairon_list", "approved"), ("third_party_minimal", "approved")):
        with far_end(ok(published(f"dialog360/response__list_templates__{name}"))) as (url, _):
            (answer,) = account(DIALOG, url).list_templates()
        assert answer.status == status
    with far_end(ok(published("twilio/response__template_list__oai_content_v1_ContentAndApprovals_readResults"))) as (
        url,
        _,
    ):
        answers = account(TWILIO, url).list_templates()
    assert [answer.status for answer in answers] == ["draft", "approved", "rejected"]
    assert answers[2].rejected_reason.startswith("INVALID_FORMAT")
    assert answers[1].category == "utility"


def test_one_template_is_found_by_name_and_language():
    rows = [
        {"id": "1", "name": "order_confirmed_2", "language": "ro", "status": "APPROVED"},
        {"id": "2", "name": "order_confirmed", "language": "en_US", "status": "APPROVED"},
        {"id": "3", "name": "order_confirmed", "language": "ro", "status": "REJECTED", "rejected_reason": "SCAM"},
    ]
    for kind, page in ((META, {"data": rows}), (DIALOG, {"waba_templates": rows})):
        with far_end(ok(page)) as (url, seen):
            provider = account(kind, url)
            answer = provider.template_status(None, "order_confirmed", "ro")
            missing = provider.template_status("9", "order_confirmed", "de")

        assert (answer.external_id, answer.status, answer.rejected_reason) == ("3", "rejected", "SCAM")
        assert missing is None
        assert "order_confirmed" in str(asked(seen[0])[2])


def test_dialog360_prefers_metas_id_since_webhooks_name_it():
    row = {"id": "GVse", "external_id": "1072", "name": "a", "language": "en", "status": "submitted"}
    with far_end(ok({"waba_templates": [row]})) as (url, _):
        (answer,) = account(DIALOG, url).list_templates()

    assert (answer.external_id, answer.status) == ("1072", "pending")

    with far_end(ok({**row, "category": "UTILITY"}, 201)) as (url, _):
        created = account(DIALOG, url).submit_template(DRAFT)

    assert (created.external_id, created.status) == ("1072", "pending")


def test_dialog360_pages_by_offset():
    rows = [{"id": str(n), "name": f"t{n}", "language": "ro", "status": "APPROVED"} for n in range(130)]
    pages = [ok({"waba_templates": rows[:100], "total": 130}), ok({"waba_templates": rows[100:], "total": 130})]
    with script(pages) as (url, seen):
        answers = account(DIALOG, url).list_templates()

    assert len(answers) == 130
    assert [asked(raw)[2]["offset"] for raw in seen] == [["0"], ["100"]]


def test_dialog360_cannot_edit_and_says_so():
    with pytest.raises(ProviderError) as problem:
        account(DIALOG, closed_port()).edit_template("1", DRAFT)

    assert problem.value.outcome.code == "cannot_edit"


def test_webhooks_are_registered_with_our_secret():
    with far_end(ok({})) as (url, seen):
        provider = account(DIALOG, url)
        sentence = provider.register_webhook("https://wa.example.org/hook")
    headers = {"X-WA-Webhook-Secret": provider.keys["webhook_secret"]}

    assert [asked(raw)[1] for raw in seen] == ["/api/v1/configs/webhook", "/api/waba_webhook"]
    assert asked(seen[0])[3] == {"url": "https://wa.example.org/hook", "headers": headers}
    assert asked(seen[1])[3]["override_all"] is False
    assert "https://wa.example.org/hook" in sentence

    with far_end(ok({"success": True})) as (url, seen):
        provider = account(META, url)
        provider.register_webhook("https://wa.example.org/hook")
    assert asked(seen[0])[1] == f"/api/v24.0/{provider.keys['waba_id']}/subscribed_apps"
    assert asked(seen[0])[3]["verify_token"] == provider.keys["verify_token"]


def test_twilio_submits_in_two_steps_and_resumes_the_second():
    created = ok({"sid": CONTENT_SID}, 201)
    approved = ok({"name": DRAFT.name, "category": "UTILITY", "status": "received", "rejection_reason": ""}, 201)
    with script([created, http(500, b"<html>"), approved]) as (url, seen):
        provider = account(TWILIO, url)
        with pytest.raises(ProviderError) as problem:
            provider.submit_template(DRAFT)
        answer = provider.submit_template(DRAFT, external_id=problem.value.outcome.external_id)

    assert problem.value.outcome.kind == "ambiguous"
    assert [asked(raw)[1] for raw in seen] == [
        "/content/v1/Content",
        f"/content/v1/Content/{CONTENT_SID}/ApprovalRequests/whatsapp",
        f"/content/v1/Content/{CONTENT_SID}/ApprovalRequests/whatsapp",
    ]
    assert asked(seen[2])[3] == {"name": DRAFT.name, "category": "UTILITY"}
    assert (answer.status, answer.external_id, answer.category) == ("pending", CONTENT_SID, "utility")
    assert answer.parameter_map == {"order": "1", "first_name": "2", "event": "3", "ticket": "4"}


@needs_contracts
def test_twilio_polls_the_approval():
    approval = published("twilio/response__template_approval__oai_content_v1_ContentSidApprovalRequests_getApproval")
    with script([ok(approval), ok({"code": 20404, "message": "gone"}, 404)]) as (url, _):
        provider = account(TWILIO, url)
        answer = provider.template_status(CONTENT_SID, "tree_fiddy", "en")
        gone = provider.template_status(CONTENT_SID, "tree_fiddy", "en")

    assert (answer.status, answer.category, answer.language) == ("approved", "utility", "en")
    assert answer.rejected_reason is None
    assert gone is None


def message(sid, minute, status="sent", **more):
    stamp = f"Mon, 23 Nov 2026 12:{minute:02d}:00 +0000"
    return {"sid": sid, "status": status, "date_created": stamp, "direction": "outbound-api", **more}


def test_twilio_finds_what_it_really_sent():
    following = "/2010-04-01/Accounts/AC1/Messages.json?Page=1&PageToken=PT"
    first = {"messages": [message("SM3", 9, "queued"), message("SM2", 7)], "next_page_uri": following}
    second = {
        "messages": [
            message("SM1", 5, "undelivered", error_code=63024),
            message("SMx", 5, "received", direction="inbound"),
            message("SM0", 1),
        ],
        "next_page_uri": following,
    }
    with script([ok(first), ok(second)]) as (url, seen):
        provider = account(TWILIO, url)
        found = provider.find_sent("+40722000001", datetime(2026, 11, 23, 12, 5, tzinfo=UTC))

    assert [record[:2] for record in found] == [("SM3", "accepted"), ("SM2", "sent"), ("SM1", "failed")]
    assert found[2].fault.error_class == "recipient"
    assert found[0].at == datetime(2026, 11, 23, 12, 9, tzinfo=UTC)
    assert asked(seen[0])[2]["To"] == ["whatsapp:+40722000001"]
    assert asked(seen[1])[1] == "/api/2010-04-01/Accounts/AC1/Messages.json"
    assert len(seen) == 2, "it stops where the messages are older than asked"


def test_twilio_next_pages_never_lead_to_another_host():
    evil = {"contents": [], "meta": {"next_page_url": "https://evil.example.org/content/v1/ContentAndApprovals?Page=1"}}
    with script([ok(evil), ok({"contents": [], "meta": {}})]) as (url, seen):
        account(TWILIO, url).list_templates()

    assert asked(seen[1])[:3] == ("GET", "/content/v1/ContentAndApprovals", {"Page": ["1"]})


@needs_contracts
def test_twilio_fetches_one_message():
    resource = published("twilio/response__message_fetch__composed_whatsapp_priced")
    with script([ok(resource), ok({"code": 20404}, 404)]) as (url, _):
        provider = account(TWILIO, url)
        record = provider.fetch_message(resource["sid"])
        gone = provider.fetch_message("SM1")

    assert (record.external_id, record.status) == (resource["sid"], "read")
    assert gone is None


@pytest.mark.parametrize("kind", [META, DIALOG, TWILIO], ids=lambda kind: kind.name)
def test_a_draft_without_samples_is_refused_before_the_wire(kind):
    draft = type(DRAFT)(name="a", language="ro", category="utility", body="Salut {{cine}}!")

    with pytest.raises(CannotBuild) as problem:
        account(kind, closed_port()).submit_template(draft)
    assert problem.value.reason.params == {"name": "cine"}


@pytest.mark.parametrize("kind", [META, DIALOG, TWILIO], ids=lambda kind: kind.name)
def test_code_templates_need_no_samples(kind):
    with far_end(ok({"id": "1", "sid": CONTENT_SID, "status": "PENDING"})) as (url, seen):
        answer = account(kind, url).submit_template(OTP_DRAFT)

    assert answer.parameter_map == {"code": "1"}
    assert b"COPY_CODE" in seen[0]


@pytest.mark.parametrize(
    ("kind", "answer", "words"),
    [
        (META, ok({"error": {"code": 190, "message": "expired"}}, 401), "access token"),
        (DIALOG, ok({"meta": {"developer_message": "Invalid api_key", "success": False}}, 401), "API key"),
        (TWILIO, ok({"code": 20003, "message": "Authenticate"}, 401), "Account SID"),
        (META, http(502, b"<html>"), "Try again"),
    ],
)
def test_a_failed_probe_says_what_is_wrong(kind, answer, words):
    with far_end(answer) as (url, _):
        probe = account(kind, url).probe()

    assert probe.ok is False
    assert words in probe.sentence


def test_tls_that_fails_before_the_request_is_surely_not_sent():
    with far_end(b"this is no TLS\r\n") as (url, _):
        reply = carry(WireRequest("POST", url.replace("http://", "https://") + "/x", {}, b"secret"))

    assert (reply.status, reply.request_started) == (None, False)


@pytest.mark.parametrize("url", ["http://no-such-host.invalid/", "http://[::1", "nonsense", "http://127.0.0.1:0/"])
def test_addresses_that_lead_nowhere_are_surely_not_sent(url):
    reply = carry(WireRequest("GET", url, {}))

    assert (reply.status, reply.request_started) == (None, False)
    assert reply.error


def test_the_environment_does_not_choose_the_way(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login stranger password stranger\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", closed_port())
    with far_end(ok({"id": "1"})) as (url, seen):
        provider = account(META, url)
        assert provider.probe().ok

    assert f"Bearer {provider.keys['access_token']}".encode() in seen[0]


def test_an_endless_answer_is_cut_off(monkeypatch):
    monkeypatch.setattr("wa_dashboard.providers.transport.LARGEST", 1000)
    with far_end(http(200, b'"' + b"x" * 200_000 + b'"')) as (url, _):
        reply = carry(WireRequest("GET", url, {}))

    assert reply.status is None
    assert reply.request_started
    assert "too long" in reply.error

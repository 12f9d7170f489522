"""The control plane over a real socket: templates, look-ups, probes, registering webhooks."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from wa_dashboard.providers.base import CannotBuild, Header, ProviderError, WireRequest, explain, provider_named
from wa_dashboard.providers.transport import carry

from .far_end import closed_port, far_end, http, script
from .samples import CONTENT_SID, DRAFT, OTP_DRAFT, PAYLOADS, account, needs_contracts

META, TWILIO, DIALOG = provider_named("meta_cloud"), provider_named("twilio"), provider_named("dialog360")


def ok(data, status=200):
    return http(status, json.dumps(data).encode())


def published(name):
    (path,) = PAYLOADS.glob(f"{name}*")
    return json.loads(path.read_bytes())


def asked(raw):
    """Method, path and query, JSON body of a request the far end saw."""
    head, _, body = raw.partition(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    parts = urlsplit(target)
    return method, parts.path, parse_qs(parts.query), json.loads(body) if body.startswith(b"{") else body


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


def present(status, **changed):
    return ok({"id": "5461", "name": DRAFT.name, "language": "ro", "status": status, "category": "UTILITY", **changed})


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        ("REJECTED", {"category", "components"}),
        ("PAUSED", {"category", "components"}),
        ("APPROVED", {"components"}),  # its category stays
    ],
)
def test_meta_edits_by_id_without_renaming(status, sent):
    with script([present(status), ok({"success": True})]) as (url, seen):
        answer = account(META, url).edit_template("5461", DRAFT)

    _, path, _, body = asked(seen[1])
    assert (asked(seen[0])[0], path) == ("GET", "/api/v24.0/5461")
    assert set(body) == sent
    assert (answer.status, answer.external_id) == ("pending", "5461")


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (present("PENDING"), "present state"),
        (present("IN_APPEAL"), "present state"),
        (present("DISABLED"), "present state"),
        (present("APPROVED", category="MARKETING"), "category of an approved"),
        (present("REJECTED", name="order_confirmed_v1"), "keeps its name"),
        (present("REJECTED", language="en"), "keeps its name"),
    ],
)
def test_meta_is_not_asked_for_an_edit_it_would_refuse(there, words):
    with script([there]) as (url, seen), pytest.raises(ProviderError) as problem:
        account(META, url).edit_template("5461", DRAFT)

    assert problem.value.outcome.code == "cannot_edit"
    assert words in problem.value.outcome.detail
    assert len(seen) == 1


def test_meta_begins_its_list_again_when_the_cursor_is_no_longer_valid():
    rows = [{"id": str(n), "name": f"t{n}", "language": "ro", "status": "APPROVED"} for n in range(3)]
    first = ok({"data": rows[:2], "paging": {"cursors": {"after": "OLD"}, "next": "http://elsewhere.example.org/"}})
    stale = ok({"error": {"code": 131059, "message": "(#131059) Invalid cursor"}}, 400)
    with script([first, stale, ok({"data": rows})]) as (url, seen):
        answers = account(META, url).list_templates()

    assert [answer.external_id for answer in answers] == ["0", "1", "2"], "nothing twice"
    assert [asked(raw)[2].get("after") for raw in seen] == [None, ["OLD"], None]


def test_meta_gives_up_when_no_cursor_ever_is_valid():
    stale = ok({"error": {"code": 131059, "message": "Invalid cursor"}}, 400)
    with far_end(stale) as (url, seen), pytest.raises(ProviderError) as problem:
        account(META, url).list_templates()

    assert problem.value.outcome.code == "131059"
    assert len(seen) == 3


def test_meta_deletes_one_language_by_name_and_id():
    with script([ok({"success": True})]) as (url, seen):
        provider = account(META, url)
        provider.delete_template("5461", DRAFT.name, "ro")

    method, path, query, _ = asked(seen[0])
    assert (method, path) == ("DELETE", f"/api/v24.0/{provider.keys['waba_id']}/message_templates")
    assert query == {"name": [DRAFT.name], "hsm_id": ["5461"]}


def test_meta_looks_for_the_id_before_it_deletes_and_never_deletes_by_name_alone():
    rows = [
        {"id": n, "name": DRAFT.name, "language": lang, "status": "APPROVED"} for n, lang in (("1", "en"), ("2", "ro"))
    ]
    with script([ok({"data": rows}), ok({"success": True})]) as (url, seen):
        account(META, url).delete_template(None, DRAFT.name, "ro")
    with script([ok({"data": rows[:1]})]) as (url, unseen):
        account(META, url).delete_template(None, DRAFT.name, "ro")

    assert asked(seen[1])[2]["hsm_id"] == ["2"]
    assert [asked(raw)[0] for raw in unseen] == ["GET"], "what is not there is deleted already"


def test_meta_counts_a_template_that_is_gone_as_deleted_but_not_one_it_keeps():
    no = ok({"error": {"code": 100, "error_subcode": 2593002, "message": "Message Template Not Found"}}, 400)
    row = {"id": "5461", "name": DRAFT.name, "language": "ro", "status": "DISABLED"}
    with script([no, ok({"data": []})]) as (url, _):
        account(META, url).delete_template("5461", DRAFT.name, "ro")
    with script([no, ok({"data": [{**row, "status": "PENDING_DELETION"}]})]) as (url, _):
        account(META, url).delete_template("5461", DRAFT.name, "ro")
    with script([no, ok({"data": [row]})]) as (url, _), pytest.raises(ProviderError) as problem:
        account(META, url).delete_template("5461", DRAFT.name, "ro")

    assert problem.value.outcome.kind == "rejected"


def test_meta_asks_a_paused_template_back_and_reads_a_soft_no():
    with script([ok({"success": True}), ok({"success": False, "reason": "low quality"})]) as (url, seen):
        provider = account(META, url)
        provider.unpause_template("5461")
        with pytest.raises(ProviderError) as problem:
            provider.unpause_template("5461")

    assert asked(seen[0])[:2] == ("POST", "/api/v24.0/5461/unpause")
    assert (problem.value.outcome.error_class, problem.value.outcome.detail) == ("template", "low quality")


@pytest.mark.parametrize("kind", [DIALOG, TWILIO], ids=lambda kind: kind.name)
def test_where_a_pause_cannot_be_ended_we_say_so_without_asking(kind):
    with pytest.raises(ProviderError) as problem:
        account(kind, closed_port()).unpause_template("1")

    assert (kind.can_unpause, problem.value.outcome.code) == (False, "cannot_unpause")


def test_dialog360_deletes_only_a_name_that_has_one_language():
    def row(language, status="approved"):
        return {"id": language, "name": DRAFT.name, "language": language, "status": status}

    with script([ok({"waba_templates": [row("ro"), row("de", "deleted")]}), ok({"meta": {"success": True}})]) as (
        url,
        seen,
    ):
        account(DIALOG, url).delete_template("ro", DRAFT.name, "ro")
    assert asked(seen[1])[:2] == ("DELETE", f"/api/v1/configs/templates/{DRAFT.name}")

    with (
        script([ok({"waba_templates": [row("ro"), row("en")]})]) as (url, seen),
        pytest.raises(ProviderError) as problem,
    ):
        account(DIALOG, url).delete_template("ro", DRAFT.name, "ro")
    assert problem.value.outcome.code == "all_languages"
    assert problem.value.outcome.detail.params["languages"] == "en"
    assert [asked(raw)[0] for raw in seen] == ["GET"]

    with script([ok({"waba_templates": [row("en")]})]) as (url, seen):
        account(DIALOG, url).delete_template(None, DRAFT.name, "ro")
    assert [asked(raw)[0] for raw in seen] == ["GET"], "the other language stays"


def test_twilio_deletes_the_content():
    with script([http(204, b""), ok({"code": 20404, "message": "gone"}, 404), ok({"code": 20003}, 401)]) as (url, seen):
        provider = account(TWILIO, url)
        provider.delete_template(CONTENT_SID, DRAFT.name, "ro")
        provider.delete_template(CONTENT_SID, DRAFT.name, "ro")
        with pytest.raises(ProviderError):
            provider.delete_template(CONTENT_SID, DRAFT.name, "ro")

    assert asked(seen[0])[:2] == ("DELETE", f"/content/v1/Content/{CONTENT_SID}")


def test_twilio_finds_the_content_to_delete_by_name_and_language():
    rows = [{"sid": f"HX{n}", "friendly_name": DRAFT.name, "language": lang} for n, lang in ((1, "en"), (2, "ro"))]
    with script([ok({"contents": rows, "meta": {}}), http(204, b"")]) as (url, seen):
        account(TWILIO, url).delete_template(None, DRAFT.name, "ro")
    with script([ok({"contents": rows[:1], "meta": {}})]) as (url, unseen):
        account(TWILIO, url).delete_template(None, DRAFT.name, "ro")

    assert asked(seen[1])[:2] == ("DELETE", "/content/v1/Content/HX2")
    assert len(unseen) == 1


def test_twilio_changes_what_nobody_has_seen_and_copies_the_rest():
    def approval(status):
        return ok({"sid": CONTENT_SID, "whatsapp": {"name": DRAFT.name, "status": status}})

    taken = ok({"status": "received"}, 201)
    with script([approval("unsubmitted"), ok({"sid": CONTENT_SID}), taken]) as (url, seen):
        changed = account(TWILIO, url).edit_template(CONTENT_SID, DRAFT)
    with script([approval("approved"), ok({"sid": "HX2"}, 201), taken]) as (url, copied):
        copy = account(TWILIO, url).edit_template(CONTENT_SID, DRAFT)

    assert [asked(raw)[0] for raw in seen] == ["GET", "PUT", "POST"]
    assert asked(seen[1])[1] == f"/content/v1/Content/{CONTENT_SID}"
    assert asked(seen[1])[3]["variables"]["1"] == "8841"
    assert [asked(raw)[:2] for raw in copied][1] == ("POST", "/content/v1/Content")
    assert (changed.external_id, copy.external_id) == (CONTENT_SID, "HX2")


def test_twilio_leaves_nothing_out_silently():
    for header in (Header("location"), Header("image", handle="4::aW")):
        with pytest.raises(CannotBuild):
            account(TWILIO, closed_port()).submit_template(replace(DRAFT, header=header))


@pytest.mark.parametrize("kind", [META, DIALOG], ids=lambda kind: kind.name)
def test_a_media_header_needs_its_sample(kind):
    with pytest.raises(CannotBuild):
        account(kind, closed_port()).submit_template(replace(DRAFT, header=Header("document")))


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

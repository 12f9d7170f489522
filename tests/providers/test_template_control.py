"""Templates changed, deleted and asked back, over a real socket: what each provider allows, and nothing more."""

from dataclasses import replace

import pytest

from wa_dashboard.providers.base import CannotBuild, Header, ProviderError, provider_named

from .far_end import asked, closed_port, far_end, http, ok, script
from .samples import CONTENT_SID, DRAFT, account

META, TWILIO, DIALOG = provider_named("meta_cloud"), provider_named("twilio"), provider_named("dialog360")


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

"""Templates from the first draft to the provider's approval, against the simulator, on both databases."""

import threading
from dataclasses import replace
from datetime import UTC, timedelta

import pytest
from sqlalchemy import select

from tests.factories import make_account, make_template, make_tenant
from tests.services.template_world import world_of
from wa_dashboard import clock
from wa_dashboard.db import db, db_now, end_read, tenant_scope, transaction
from wa_dashboard.domain.rendering import TemplateText
from wa_dashboard.domain.starters import starters
from wa_dashboard.errors import Conflict, Invalid, NotFound, NotReady
from wa_dashboard.models import Template, TemplateApproval, TemplateEvent
from wa_dashboard.providers.base import TemplateStatusItem
from wa_dashboard.services import accounts, template_submission, templates

PROVIDERS = ["meta_cloud", "twilio", "dialog360"]
WEBHOOKS = ["meta_cloud", "dialog360"]

TEXT = TemplateText(
    name="order_confirm",
    type="order_confirm",
    language="ro",
    category="utility",
    header={"format": "text", "text": "Comanda ta"},
    body="Bună, {first_name}! Comanda {order_id} pentru {event_name} este confirmată. Te așteptăm cu drag.",
    footer="Răspunde STOP pentru a opri mesajele",
    buttons=[
        {"type": "url", "text": "Vezi biletele", "url": "https://t.example.org/o/{order_token}"},
        {"type": "quick_reply", "text": "Ajutor"},
    ],
    examples={"first_name": "Ana", "order_id": "A-1", "event_name": "Hamlet", "order_token": "abc"},
)
OTHER = replace(TEXT, body=TEXT.body.replace("Te așteptăm cu drag.", "Ne vedem acolo curând."))


@pytest.fixture
def world(app, tmp_path):
    with world_of(app, tmp_path) as found:
        yield found


@pytest.fixture(params=PROVIDERS)
def ready(request, world):
    found = make_tenant(provider=request.param)
    world.known(found)
    return found


def save(ready, text=TEXT, *, submit=True, **more):
    return templates.save(ready.tenant, text, submit=submit, live=False, **more)


def approval(ready, template):
    end_read()  # what other threads committed meanwhile counts
    with tenant_scope(ready.id):
        (row,) = templates.approvals_of([template.id])[template.id]
        return row


def due(ready, template, account=None):
    """Let the next look at the provider be now."""
    with tenant_scope(ready.id):
        templates.look_again(template.id, (account or ready.account).id)


def story(ready, template):
    with tenant_scope(ready.id):
        return [(event.status, event.source) for event, _ in templates.story_of(template.id)]


def submitted(ready, text=TEXT):
    saved = save(ready, text)
    assert [row.status for row in saved.approvals] == ["submitting"]
    assert templates.submit_due() == 1
    return saved.template


# --- keeping ----------------------------------------------------------------------------------------------------


def test_drafts_are_edited_in_place_and_submitted_versions_never(tenant):
    first = save(tenant, submit=False)
    assert (first.template.version, first.changed, first.created, first.approvals) == (1, True, True, [])
    same = save(tenant, submit=False)
    assert (same.template.id, same.changed, same.created) == (first.template.id, False, False)
    edited = save(tenant, OTHER, submit=False)
    assert (edited.template.id, edited.changed, edited.created) == (first.template.id, True, False)
    sent = save(tenant, OTHER)
    assert (sent.template.id, sent.changed, sent.created) == (first.template.id, True, False)
    assert [row.status for row in sent.approvals] == ["submitting"]
    again = save(tenant, OTHER)
    assert (again.changed, again.created, len(again.approvals)) == (False, False, 1)
    second = save(tenant)
    assert (second.template.version, second.changed, second.created) == (2, True, True)
    with tenant_scope(tenant.id):
        assert templates.find(first.template.id).body == OTHER.body
        assert [template.version for template in templates.listed()] == [2]
        assert [template.version for template in templates.listed(all_versions=True)] == [2, 1]


def test_lint_errors_stop_a_submission_and_store_nothing(tenant):
    bad = replace(TEXT, name="Nu Merge", body="{first_name}{order_id}", footer="{x}", language="xx")
    with pytest.raises(Invalid) as caught:
        save(tenant, bad)
    assert caught.value.code == "lint_failed"
    rules = {(finding.code, finding.pointer) for finding in caught.value.findings}
    assert {
        ("T001", "/name"),
        ("T004", "/footer"),
        ("T005", "/body"),
        ("T006", "/body"),
        ("T013", "/language"),
    } <= rules
    with tenant_scope(tenant.id):
        assert templates.listed() == []
    kept = save(tenant, bad, submit=False)
    assert {finding.rule for finding in kept.findings} >= {"T001", "T004", "T005", "T006", "T013"}


def test_a_category_that_does_not_fit_is_refused(tenant):
    for kind, category in (("promo", "utility"), ("order_confirm", "marketing"), ("otp", "utility")):
        with pytest.raises(Invalid) as caught:
            save(tenant, replace(TEXT, type=kind, category=category), submit=False)
        assert caught.value.findings[0].pointer == "/category"


@pytest.mark.parametrize(("seconds", "good"), [(30, True), (43_200, True), (-1, True), (29, False), (43_201, False)])
def test_time_to_live_has_limits(tenant, seconds, good):
    text = replace(TEXT, ttl_seconds=seconds)
    if good:
        assert save(tenant, text, submit=False).template.ttl_seconds == seconds
        return
    with pytest.raises(Invalid) as caught:
        save(tenant, text, submit=False)
    assert caught.value.findings[0].code == "ttl_out_of_range"


def test_accounts_must_be_the_tenants_own(tenant, other_tenant):
    with pytest.raises(Invalid) as caught:
        save(tenant, account_ids=[tenant.account.id, other_tenant.account.id])
    assert [(f.pointer, f.code) for f in caught.value.findings] == [("/accounts/1", "account_not_found")]
    with pytest.raises(Invalid) as caught:
        templates.save(tenant.tenant, TEXT, submit=True, live=True)
    assert caught.value.findings[0].code == "no_account"
    with tenant_scope(tenant.id):
        assert templates.listed() == []


def test_chosen_accounts_only_and_more_later(tenant):
    second = make_account(tenant.tenant, "twilio")
    first = save(tenant, account_ids=[second.id])
    assert [row.account_id for row in first.approvals] == [second.id]
    later = save(tenant)
    assert {row.account_id for row in later.approvals} == {tenant.account.id, second.id}
    assert (later.changed, later.created, later.template.id) == (True, False, first.template.id)


def test_the_name_of_a_version_at_the_provider_is_kept_free(tenant):
    save(tenant)
    save(tenant, OTHER)
    with pytest.raises(Invalid) as caught:
        save(tenant, replace(TEXT, name="order_confirm_v2"), submit=False)
    assert caught.value.findings[0].code == "name_taken"
    assert save(tenant, replace(TEXT, name="order_confirm_v2", language="en"), submit=False).created
    assert save(tenant, replace(TEXT, name="reminder_v2"), submit=False).created
    save(tenant, replace(TEXT, name="reminder", footer="Pe curând"))
    assert save(tenant, replace(OTHER, name="reminder", footer="Pe curând")).template.version == 3


def test_many_at_once_make_one_version_of_each_text(app, tenant):
    errors = []

    def one(text):
        try:
            with app.app_context():
                save(tenant, text)
        except Exception as error:
            errors.append(error)

    texts = [replace(TEXT, body=TEXT.body.replace("Te așteptăm", f"Locul {n % 4}")) for n in range(12)]
    threads = [threading.Thread(target=one, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with tenant_scope(tenant.id):
        versions = templates.listed(all_versions=True)
        assert [template.version for template in versions] == list(range(len(versions), 0, -1))
        assert len({template.content_hash for template in versions}) == 4


def test_starters_once_and_nobody_elses(tenant, other_tenant):
    made = templates.install_starters(tenant.tenant)
    assert len(made) == 12
    assert all(one.created and not one.template.draft for one in made)
    assert templates.install_starters(tenant.tenant) == []
    with tenant_scope(other_tenant.id):
        assert templates.listed() == []
        with pytest.raises(NotFound):
            templates.find(made[0].template.id)


# --- approval ---------------------------------------------------------------------------------------------------


def test_submission_then_approval_by_poll(world, ready):
    template = submitted(ready)
    row = approval(ready, template)
    assert row.status == "pending"
    (far,) = world.templates(ready.account)
    assert (far["id"], far["name"], far["language"], far["category"]) == (
        row.external_id,
        "order_confirm",
        "ro",
        "UTILITY",
    )
    assert set(row.parameter_map) == {"first_name", "order_id", "event_name", "order_token"}
    assert templates.poll_due() == 0, "not before its time"
    due(ready, template)
    assert templates.poll_due() == 1
    assert approval(ready, template).status == "pending"
    world.event(ready.account, "order_confirm", "APPROVED")
    due(ready, template)
    assert templates.poll_due() == 1
    assert approval(ready, template).status == "approved"
    assert story(ready, template) == [("submitting", "submit"), ("pending", "submit"), ("approved", "poll")]
    with tenant_scope(ready.id):
        assert templates.approval_rate().share == 1.0


@pytest.mark.parametrize("provider", WEBHOOKS)
def test_approval_pause_and_new_category_by_webhook(world, provider):
    ready = make_tenant(provider=provider)
    world.known(ready)
    template = submitted(ready)
    world.event(ready.account, "order_confirm", "APPROVED")
    (item,) = world.news(ready)
    assert approval(ready, template).status == "approved"
    with tenant_scope(ready.id), transaction():
        assert templates.apply_news(ready.account, item) == approval(ready, template).id, "twice is once"
    world.event(ready.account, "order_confirm", "FLAGGED")
    world.news(ready)
    assert approval(ready, template).status == "flagged"
    world.event(ready.account, "order_confirm", "PAUSED")
    world.news(ready)
    assert approval(ready, template).status == "paused"
    world.event(ready.account, "order_confirm", "CATEGORY", category="MARKETING")
    world.news(ready)
    assert approval(ready, template).category == "marketing"
    assert [status for status, source in story(ready, template) if source == "webhook"] == [
        "approved", "flagged", "paused", "paused",
    ]  # fmt: skip


def test_rejected_with_the_providers_reason(world, ready):
    template = submitted(ready)
    world.event(ready.account, "order_confirm", "REJECTED", reason="TAG_CONTENT_MISMATCH")
    due(ready, template)
    templates.poll_due()
    row = approval(ready, template)
    assert row.status == "rejected"
    assert "TAG_CONTENT_MISMATCH" in row.rejected_reason
    with tenant_scope(ready.id):
        assert templates.approval_rate().share == 0.0
        with pytest.raises(Invalid) as caught:
            templates.choose(ready.tenant, "order_confirm", False, languages=["ro"])
    assert "TAG_CONTENT_MISMATCH" in caught.value.detail


@pytest.mark.parametrize("language", ["ro", "en"])
def test_every_starter_is_accepted_and_approved(world, ready, language):
    made = templates.install_starters(ready.tenant, [language])
    assert templates.submit_due() == 6
    for text in starters(language):
        world.event(ready.account, text.name, "APPROVED", language)
    for one in made:
        due(ready, one.template)
    templates.poll_due()
    states = {one.template.name: approval(ready, one.template) for one in made}
    assert {name: (row.status, row.rejected_reason) for name, row in states.items()} == {
        text.name: ("approved", None) for text in starters(language)
    }
    code = states["otp_code"]
    assert set(code.parameter_map) == {"code"}


def test_one_version_goes_on_while_the_next_is_reviewed(world, ready):
    first = submitted(ready)
    world.event(ready.account, "order_confirm", "APPROVED")
    due(ready, first)
    templates.poll_due()
    second = submitted(ready, OTHER)
    assert approval(ready, second).status == "pending"
    with tenant_scope(ready.id):
        assert templates.choose(ready.tenant, "order_confirm", False, languages=["ro"]).template.id == first.id
    assert {line["name"] for line in world.templates(ready.account)} == {"order_confirm", "order_confirm_v2"}
    world.event(ready.account, "order_confirm_v2", "APPROVED")
    due(ready, second)
    templates.poll_due()
    with tenant_scope(ready.id):
        assert templates.choose(ready.tenant, "order_confirm", False, languages=["ro"]).template.id == second.id


# --- doubt ------------------------------------------------------------------------------------------------------


def test_a_lost_answer_is_looked_up_and_nothing_is_created_twice(world, ready):
    world.wire.lose_answers = 1
    template = submitted(ready)
    assert approval(ready, template).status == "submit_unknown"
    assert templates.submit_due() == 0, "not at once: the request may still be under way"
    due(ready, template)
    assert templates.submit_due() == 1
    assert approval(ready, template).status == "pending"
    assert len(world.templates(ready.account)) == 1
    world.event(ready.account, "order_confirm", "APPROVED")
    due(ready, template)
    templates.poll_due()
    assert approval(ready, template).status == "approved"


def test_lost_answers_again_and_again(world, ready):
    world.wire.lose_answers = 3
    template = submitted(ready)
    for _ in range(4):
        due(ready, template)
        templates.submit_due()
    assert approval(ready, template).status == "pending"
    assert len(world.templates(ready.account)) == 1


def test_a_lost_request_is_looked_for_and_then_sent_again(world, ready):
    world.wire.lose_requests = 1
    template = submitted(ready)
    assert approval(ready, template).status == "submit_unknown"
    del world.wire.seen[:]
    due(ready, template)
    templates.submit_due()
    assert world.wire.seen[0].startswith("GET ")
    assert any(line.startswith("POST ") for line in world.wire.seen)
    assert approval(ready, template).status == "pending"
    assert len(world.templates(ready.account)) == 1


def test_a_worker_that_died_during_the_call_leaves_a_mark(world, ready):
    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    template = save(ready).template
    with tenant_scope(ready.id):
        provider = accounts.provider_of(ready.account)
    with pytest.MonkeyPatch.context() as patch:
        # The far end got everything; the process never came to write it down.
        patch.setattr("wa_dashboard.services.template_submission._settle", die)
        with pytest.raises(Killed):
            templates.submit_due()
    assert approval(ready, template).status == "submitting"
    assert provider.list_templates() != []
    assert templates.submit_due() == 0, "the dead worker's lease still runs"
    due(ready, template)
    templates.submit_due()
    assert approval(ready, template).status == "pending"
    assert len(world.templates(ready.account)) == 1
    assert story(ready, template) == [("submitting", "submit"), ("pending", "submit")]


def test_several_workers_submit_once(app, world, ready):
    template = save(ready).template

    def one():
        with app.app_context():
            templates.submit_due()

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert approval(ready, template).status == "pending"
    posts = [line for line in world.wire.seen if line.startswith("POST ") and not line.endswith("/whatsapp")]
    assert len(posts) == 1


def test_a_provider_that_is_away_is_tried_again(world, ready):
    world.wire.to = 1  # nothing listens there: the wire itself breaks the call
    template = save(ready).template
    templates.submit_due()
    assert approval(ready, template).status in ("submitting", "submit_unknown")
    assert approval(ready, template).rejected_reason


def test_a_refused_account_waits_for_its_owner(world, ready):
    good = ready.account.credentials
    with tenant_scope(ready.id), transaction():
        account = accounts.find_account(ready.account.id)
        secret = {"meta_cloud": "access_token", "twilio": "auth_token", "dialog360": "api_key"}[account.provider]
        account.credentials = account.credentials | {secret: "wrong" * 8}
    template = submitted(ready)
    row = approval(ready, template)
    assert row.status == "submitting"
    assert row.rejected_reason
    with tenant_scope(ready.id), transaction():
        account = accounts.find_account(ready.account.id)
        account.credentials = good
    due(ready, template)
    templates.submit_due()
    assert approval(ready, template).status == "pending"
    assert approval(ready, template).rejected_reason is None


def test_a_definite_refusal_is_told_and_may_be_tried_again(world):
    ready = make_tenant(provider="meta_cloud")
    world.known(ready)
    with tenant_scope(ready.id):
        provider = accounts.provider_of(ready.account)
    foreign = replace(TEXT, body="Salut {first_name}, acesta este al altcuiva și nu al nostru.", buttons=[])
    with tenant_scope(ready.id):
        draft = save(ready, foreign, submit=False).template
        provider.submit_template(templates.to_provider_draft(draft))
    template = submitted(
        ready, replace(TEXT, buttons=[], examples={k: v for k, v in TEXT.examples.items() if k != "order_token"})
    )
    row = approval(ready, template)
    assert (row.status, row.external_id) == ("rejected", None)
    assert "already" in row.rejected_reason
    assert save(
        ready, replace(TEXT, buttons=[], examples={k: v for k, v in TEXT.examples.items() if k != "order_token"})
    ).changed
    assert templates.submit_due() == 1


# --- news in any order ------------------------------------------------------------------------------------------


def item(status, at, **more):
    values = {"key": f"{status}{at}", "at": at, "change": "status", "external_id": None, "name": "order_confirm"}
    return TemplateStatusItem(**(values | {"language": "ro", "status": status} | more))


def tell(ready, news):
    with tenant_scope(ready.id), transaction():
        return templates.apply_news(ready.account, news)


def test_older_news_changes_nothing(tenant):
    template = make_template(tenant, status="pending")
    start = clock.now().replace(microsecond=0)
    tell(tenant, item("approved", start + timedelta(seconds=20), external_id="ext-" + template.id))
    tell(tenant, item("paused", start + timedelta(seconds=10)))
    assert approval(tenant, template).status == "approved"
    tell(tenant, item("paused", start + timedelta(seconds=20)))
    assert approval(tenant, template).status == "paused", "in the same second the later arrival counts"


def test_a_poll_never_undoes_a_newer_webhook(world, ready):
    template = submitted(ready)
    tell(
        ready, item("approved", clock.now() + timedelta(seconds=30), external_id=approval(ready, template).external_id)
    )
    due(ready, template)
    templates.poll_due()
    assert approval(ready, template).status == "approved", "the simulator still says pending"


def test_a_webhook_may_overtake_the_answer_of_the_submission(world, ready):
    template = save(ready).template
    seen = []

    def overtake(work, answer, settle=template_submission._settle):
        seen.append(tell(ready, item("approved", clock.now(), external_id=answer.external_id)))
        settle(work, answer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wa_dashboard.services.template_submission._settle", overtake)
        templates.submit_due()
    row = approval(ready, template)
    assert seen == [row.id]
    assert row.status == "approved"
    assert row.parameter_map


@pytest.mark.parametrize("language", ["en_US", "en-US"])
def test_unknown_ids_are_matched_by_name_and_language(tenant, language):
    template = make_template(tenant, language="en_US", status="pending", version=2)
    assert tell(tenant, item("approved", clock.now(), language=language, external_id="777")) is None, "version 1"
    found = tell(tenant, item("approved", clock.now(), language=language, external_id="777", name="order_confirm_v2"))
    assert found == approval(tenant, template).id
    assert approval(tenant, template).status == "approved"


def test_news_about_nobodys_template(tenant, other_tenant):
    template = make_template(other_tenant, status="pending")
    assert tell(tenant, item("approved", clock.now(), external_id=f"ext-{template.id}")) is None
    assert approval(other_tenant, template).status == "pending"


@pytest.mark.parametrize("status", [None, "unknown", "something_new"])
def test_words_we_do_not_know_change_nothing(tenant, status):
    template = make_template(tenant)
    assert tell(tenant, item(status, clock.now()))
    assert approval(tenant, template).status == "approved"


def test_announced_category_quality_and_components(tenant):
    template = make_template(tenant)
    later = clock.now() + timedelta(days=1)
    tell(tenant, item(None, clock.now(), change="announced", category="marketing", effective_at=later))
    tell(tenant, item(None, clock.now(), change="quality", quality="red"))
    row = approval(tenant, template)
    assert (row.category, row.quality, row.next_check_at) == ("utility", "red", None)
    tell(tenant, item(None, clock.now(), change="components"))
    with tenant_scope(tenant.id):
        overdue = select(TemplateApproval.id).where(TemplateApproval.next_check_at <= db_now())
        assert db.session.scalar(overdue) == row.id
        events = db.session.scalars(select(TemplateEvent).order_by(TemplateEvent.id)).all()
    assert events[0].detail["announced"] == "marketing"


def test_a_template_deleted_at_the_provider_is_noticed(world, ready):
    template = submitted(ready)
    world.event(ready.account, "order_confirm", "DELETED")
    due(ready, template)
    templates.poll_due()
    assert approval(ready, template).status == "pending", "too new to be believed gone"
    with clock.at(clock.now() + timedelta(minutes=11)):
        due(ready, template)
        templates.poll_due()
    assert approval(ready, template).status == "deleted"


# --- choosing ---------------------------------------------------------------------------------------------------


def chain(recipient=None, event=None, tenant="ro"):
    return templates.language_chain(recipient, event, tenant)


def test_the_chain_goes_from_the_person_to_the_house():
    assert [code for code, _ in chain("de-AT", "en_GB", "ro")] == ["de_AT", "de", "en_GB", "en", "ro"]
    assert [code for code, _ in chain(None, None, "ro")] == ["ro"]


@pytest.mark.parametrize(
    ("have", "recipient", "event", "want"),
    [
        (["ro", "en"], "ro-RO", None, "ro"),
        (["ro", "en"], "en-GB", None, "en"),
        (["ro", "en_US"], "en-GB", None, "en_US"),
        (["ro", "en_GB", "en"], "en-GB", None, "en_GB"),
        (["ro", "en"], "de", "en", "en"),
        (["ro", "en"], "de", "fr", "ro"),
    ],
)
def test_choice_of_language(tenant, have, recipient, event, want):
    for language in have:
        make_template(tenant, language=language)
    with tenant_scope(tenant.id):
        choice = templates.choose(tenant.tenant, "order_confirm", False, languages=chain(recipient, event))
    assert choice.template.language == want
    assert choice.approval.account_id == tenant.account.id
    assert want in " ".join(choice.why)


def test_newest_sendable_version_wins(tenant):
    for version, status in ((1, "approved"), (2, "flagged"), (3, "pending"), (4, "rejected"), (5, "paused")):
        make_template(tenant, version=version, status=status)
    with tenant_scope(tenant.id):
        assert templates.choose(tenant.tenant, "order_confirm", False, languages=["ro"]).template.version == 2


def test_the_first_account_with_an_approval_is_chosen(tenant):
    second = make_account(tenant.tenant, "twilio")
    template = make_template(tenant)
    with tenant_scope(tenant.id):
        choose = templates.choose(
            tenant.tenant, "order_confirm", False, [second.id, tenant.account.id], languages=["ro"]
        )
    assert (choose.template.id, choose.approval.account_id) == (template.id, tenant.account.id)


def test_a_template_called_like_its_type_is_the_default(tenant):
    make_template(tenant, name="order_confirm")
    make_template(tenant, name="zz_other")
    with tenant_scope(tenant.id):
        assert (
            templates.choose(tenant.tenant, "order_confirm", False, languages=["ro"]).template.name == "order_confirm"
        )
        named = templates.choose(tenant.tenant, "order_confirm", False, name="zz_other", languages=["ro"])
        assert named.template.name == "zz_other"


@pytest.mark.parametrize(
    ("status", "says"),
    [("pending", "waiting for approval"), ("submitting", "being sent"), ("paused", "paused"), ("disabled", "disabled")],
)
def test_why_nothing_can_be_sent(tenant, status, says):
    make_template(tenant, status=status)
    with tenant_scope(tenant.id), pytest.raises(Invalid) as caught:
        templates.choose(tenant.tenant, "order_confirm", False, languages=["ro"])
    assert caught.value.code == "template_not_sendable"
    assert says in caught.value.detail
    assert caught.value.extra["candidates"][0]["status"] == status


def test_nothing_at_all_a_draft_and_the_wrong_language(tenant, other_tenant):
    make_template(other_tenant)

    def refusal(**more):
        with tenant_scope(tenant.id), pytest.raises(Invalid) as caught:
            templates.choose(tenant.tenant, "order_confirm", False, **({"languages": ["ro"]} | more))
        return caught.value.detail

    assert "no template order_confirm" in refusal()
    save(tenant, submit=False)
    assert "draft" in refusal()
    assert "exists in ro, but not in de" in refusal(languages=["de"])


# --- test mode --------------------------------------------------------------------------------------------------


def test_approve_now(world, ready):
    template = save(ready).template
    (row,) = templates.approve_now(ready.tenant, "order_confirm", "ro")
    assert (row.template_id, row.status) == (template.id, "approved")
    assert templates.approve_now(ready.tenant, "order_confirm", "ro")[0].id == row.id


def test_approve_now_says_what_is_wrong(world, app):
    ready = make_tenant()
    with pytest.raises(NotFound):
        templates.approve_now(ready.tenant, "order_confirm", "ro")
    world.known(ready)
    save(ready)
    app.extensions["wa_settings"] = replace(app.extensions["wa_settings"], simulator_port=1)
    with pytest.raises((NotReady, Conflict)):
        templates.approve_now(ready.tenant, "order_confirm", "ro", patience_s=2)


def test_times_are_aware_utc(tenant):
    template = save(tenant).template
    with tenant_scope(tenant.id):
        row = db.session.scalars(select(Template).where(Template.id == template.id)).one()
        assert row.updated_at.tzinfo is UTC


# --- what must not go wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", WEBHOOKS)
def test_a_foreign_template_of_the_same_name_is_never_taken_for_ours(world, provider):
    ready = make_tenant(provider=provider)
    world.known(ready)
    foreign = replace(TEXT, body="Salut {first_name}, acesta este al altcuiva și nu al nostru.", buttons=[])
    with tenant_scope(ready.id):
        draft = templates.to_provider_draft(save(ready, foreign, submit=False).template)
        accounts.provider_of(ready.account).submit_template(draft)
    template = submitted(ready, replace(TEXT, buttons=[]))
    world.event(ready.account, "order_confirm", "APPROVED")
    with tenant_scope(ready.id), transaction():
        by_name = item("approved", clock.now())
        assert templates.apply_news(ready.account, by_name) is None
    due(ready, template)
    templates.poll_due()
    assert approval(ready, template).status == "rejected"


@pytest.mark.parametrize("provider", WEBHOOKS)
def test_two_numbers_of_one_business_account_share_their_templates(world, provider):
    ready = make_tenant(provider=provider)
    world.known(ready)
    kind = {"meta_cloud": "phone_number_id", "dialog360": "api_key"}[provider]
    other = {kind: "1099999999999", "display_phone_number": "+40317654321", "phone_number": "+40317654321"}
    credentials = {key: other.get(key, value) for key, value in ready.account.credentials.items()}
    twin = accounts.create_account(ready.tenant, provider, credentials)
    world.known(ready, twin)
    template = save(ready).template
    assert templates.submit_due() == 2
    with tenant_scope(ready.id):
        rows = templates.approvals_of([template.id])[template.id]
    assert [row.status for row in rows] == ["pending", "pending"]
    assert len({row.external_id for row in rows}) == 1
    assert len(world.templates(ready.account)) == 1
    tell(ready, item("approved", clock.now(), external_id=rows[0].external_id))
    with tenant_scope(ready.id):
        assert [row.status for row in templates.approvals_of([template.id])[template.id]] == ["approved", "approved"]


def test_credentials_that_do_not_open_stop_nobody_else(world, ready):
    broken = make_tenant(email="b@example.org")
    bad = save(broken).template
    with tenant_scope(broken.id), transaction():
        accounts.find_account(broken.account.id).credentials_sealed = b"no ciphertext at all"
    template = save(ready).template
    end_read()
    assert templates.submit_due() == 2
    assert approval(ready, template).status == "pending"
    assert approval(broken, bad).status == "submitting"
    assert templates.submit_due() == 0, "not again at once"

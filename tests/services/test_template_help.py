"""Packs, advice, copies and what stands around a template, on both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.factories import make_account, make_template
from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.domain.packs import NOTICES, texts_of
from wa_dashboard.domain.rendering import TemplateText
from wa_dashboard.domain.starters import starters
from wa_dashboard.errors import Invalid, NotFound
from wa_dashboard.models import ProviderAccount, Template, TemplateApproval
from wa_dashboard.services import reminders, template_advice, template_copy, templates

ORDER = next(text for text in starters("ro") if text.name == "order_confirm")


def save(tenant, text, *, submit=False):
    return templates.save(tenant.tenant, text, submit=submit, live=False).template


def rules(tenant, text):
    return {finding.rule for finding in templates.check(tenant.tenant, text, live=False)}


# --- packs ------------------------------------------------------------------------------------------------------


def test_a_pack_is_installed_once_and_for_nobody_else(tenant, other_tenant):
    made = templates.install_pack(tenant.tenant, "theatre", submit=True, live=False)

    assert len(made) == 10
    assert all(one.created and not one.template.draft for one in made)
    assert templates.install_pack(tenant.tenant, "theatre", submit=True, live=False) == []
    with tenant_scope(other_tenant.id):
        assert templates.listed() == []


def test_all_packs_live_side_by_side_with_the_starters(tenant):
    templates.install_starters(tenant.tenant)
    for key in ("concerts", "conferences", "theatre", "sport", "recurring", "emergencies"):
        assert templates.install_pack(tenant.tenant, key, ["ro"], submit=True, live=False)


def test_a_text_the_organiser_changed_stays(tenant):
    mine = replace(texts_of("sport", "ro")[0], body="Bună, {first_name}! Acesta este textul nostru, nu al vostru.",
                   examples={"first_name": "Ana"})  # fmt: skip
    save(tenant, mine)

    templates.install_pack(tenant.tenant, "sport", ["ro"], submit=False, live=False)

    with tenant_scope(tenant.id):
        (kept,) = templates.listed(name=mine.name)
        assert (kept.body, kept.version) == (mine.body, 1)


def test_another_pack_does_not_exist(tenant):
    with pytest.raises(NotFound):
        templates.install_pack(tenant.tenant, "weddings", submit=False, live=False)


def test_a_notice_is_never_an_orders_confirmation_by_itself(tenant):
    make_template(tenant, "theatre_confirm")
    for name in sorted(NOTICES):
        make_template(tenant, name)

    with tenant_scope(tenant.id):
        assert templates.choose(tenant.tenant, "order_confirm", False, languages=["ro"]).template.name == (
            "theatre_confirm"
        )
        named = templates.choose(tenant.tenant, "order_confirm", False, name="event_moved", languages=["ro"])
        assert named.template.name == "event_moved"


def test_with_notices_alone_nothing_is_confirmed(tenant):
    make_template(tenant, "event_cancelled")

    with tenant_scope(tenant.id), pytest.raises(Invalid) as refused:
        templates.choose(tenant.tenant, "order_confirm", False, languages=["ro"])
    assert refused.value.code == "template_not_sendable"


def test_a_packs_reminder_is_used_for_its_own_day_only(tenant):
    make_template(tenant, "concert_reminder_d1", type="reminder")
    make_template(tenant, "concert_reminder_d7", type="reminder")

    with tenant_scope(tenant.id):
        assert reminders.template_for("D-7") == "concert_reminder_d7"
        assert reminders.template_for("D-1") == "concert_reminder_d1"
        assert reminders.template_for("D-3") == "reminder_d3"  # there is none: nothing is sent
    make_template(tenant, "reminder_d7", type="reminder")
    make_template(tenant, "our_reminder", type="reminder")
    with tenant_scope(tenant.id):
        assert reminders.template_for("D-7") == "reminder_d7"
        assert reminders.template_for("D-3") == "our_reminder"


# --- what stands around -----------------------------------------------------------------------------------------


def test_a_draft_is_no_text_whatsapp_has(tenant):
    other = replace(ORDER, name="another")
    save(tenant, other)
    assert "T019" not in rules(tenant, ORDER)
    save(tenant, other, submit=True)
    assert "T019" in rules(tenant, ORDER)


def test_a_refused_text_may_be_used_again(tenant):
    other = save(tenant, replace(ORDER, name="another"), submit=True)
    with tenant_scope(tenant.id), transaction():
        for approval in templates.approvals_of([other.id])[other.id]:
            approval.status = "rejected"
    assert "T019" not in rules(tenant, ORDER)


def test_the_same_words_in_a_next_version_are_a_warning(tenant):
    save(tenant, ORDER, submit=True)
    with_button = replace(ORDER, buttons=[{"type": "quick_reply", "text": "Ajutor"}])

    (finding,) = [f for f in templates.check(tenant.tenant, with_button, live=False) if f.rule == "T019"]

    assert finding.level == "warning"
    assert templates.save(tenant.tenant, with_button, submit=True, live=False).template.version == 2
    assert "T019" not in rules(tenant, ORDER.__class__(**vars(replace(ORDER, body=ORDER.body + " Pe curând!"))))


def test_twins_and_categories_of_a_name(tenant, other_tenant):
    save(other_tenant, replace(starters("en")[0]))
    assert "T021" in rules(tenant, ORDER)
    save(tenant, starters("en")[0])
    assert "T021" not in rules(tenant, ORDER)
    promo = replace(ORDER, type="promo", category="marketing")
    assert "T026" in rules(tenant, promo)
    assert "T026" not in rules(other_tenant, replace(promo, language="en"))


def fill(tenant, account, count, *, age=timedelta(0)):
    """``count`` templates that were sent for approval to the account so long ago."""
    template = make_template(tenant, "filler")
    with tenant_scope(tenant.id), transaction():
        made = clock.now() - age
        for index in range(count):
            one = Template(id=f"tpl_{account.id[-8:]}_{index}", tenant_id=tenant.id, name=f"filler_{index}",
                           language="ro", version=1, type="reminder", category="utility", body=f"Text {index}.",
                           content_hash=f"{index}", draft=False, updated_at=made, created_at=made)  # fmt: skip
            db.session.add(one)
            db.session.flush()
            db.session.add(TemplateApproval(id=f"tap_{account.id[-8:]}_{index}", tenant_id=tenant.id,
                                            template_id=one.id, account_id=account.id, status="approved",
                                            status_at=made, created_at=made))  # fmt: skip
    return template


@pytest.mark.parametrize(("count", "age", "near"), [(78, 0, False), (80, 0, True), (120, 2, False), (200, 2, True)])
def test_t020_counts_the_hour_and_the_whole(tenant, other_tenant, count, age, near):
    fill(other_tenant, other_tenant.account, 200)
    fill(tenant, tenant.account, count, age=timedelta(hours=age))

    assert ("T020" in rules(tenant, ORDER)) is near


def test_t020_knows_that_a_verified_business_may_have_more(tenant):
    fill(tenant, tenant.account, 240, age=timedelta(hours=2))
    assert "T020" in rules(tenant, ORDER)
    with tenant_scope(tenant.id), transaction():
        db.session.get_one(ProviderAccount, tenant.account.id).tier_limit = 2000
    assert "T020" not in rules(tenant, ORDER)


def test_t020_is_metas_rule_not_twilios(other_tenant):
    twilio = make_account(other_tenant.tenant, "twilio")
    fill(other_tenant, twilio, 200)

    assert "T020" not in rules(other_tenant, ORDER)


# --- advice -----------------------------------------------------------------------------------------------------


def advise(tenant, **changes):
    with tenant_scope(tenant.id):
        return template_advice.advise(tenant.tenant, replace(ORDER, **changes))


def test_an_order_is_utility(tenant):
    advice = advise(tenant)

    assert (advice.predicted, advice.confidence, advice.signals) == ("utility", "high", ())
    assert (advice.difference_micros, advice.market) == (None, "RO")


@pytest.mark.parametrize(
    ("more", "confidence", "signals"),
    [
        (" Ai 20% reducere la următorul.", "high", ("20%", "reducere")),
        (" Vezi și ofertele noastre.", "low", ("ofertele",)),
        (" Folosește codul {discount_code} data viitoare.", "high", ("{discount_code}",)),
    ],
)
def test_advertising_in_an_order_costs_more(tenant, more, confidence, signals):
    advice = advise(tenant, body=ORDER.body + more)

    assert (advice.predicted, advice.confidence, advice.signals) == ("marketing", confidence, signals)
    assert (advice.difference_micros, advice.currency, advice.market) == (71_200 - 23_900, "EUR", "RO")
    assert "costs more" in advice.sentence


def test_romanian_sale_is_no_sale(tenant):
    assert (
        advise(tenant, body="Bună, {first_name}! Orașul și teatrele sale te așteaptă mâine cu biletul tău.").signals
        == ()
    )
    english = advise(tenant, language="en", body="Hello {first_name}! Your ticket is here. The sale begins tomorrow.")
    assert english.signals == ("sale",)


def test_a_text_for_everybody_is_probably_advertising(tenant):
    advice = advise(tenant, header=None, body="Bună! Avem o veste bună pentru toți prietenii noștri.", examples={})

    assert (advice.predicted, advice.confidence) == ("marketing", "low")


def test_a_promotion_that_reads_like_an_order_would_be_cheaper(tenant):
    advice = advise(tenant, type="promo", category="marketing")

    assert (advice.predicted, advice.confidence) == ("utility", "low")
    assert advice.difference_micros == 23_900 - 71_200


def test_a_promotion_is_a_promotion(tenant):
    promo = next(text for text in starters("ro") if text.type == "promo")
    with tenant_scope(tenant.id):
        advice = template_advice.advise(tenant.tenant, promo)

    assert (advice.predicted, advice.difference_micros) == ("marketing", None)


@pytest.mark.parametrize("language", ["ro", "en"])
def test_our_own_texts_are_what_they_say(tenant, language):
    for key in ("concerts", "conferences", "theatre", "sport", "recurring", "emergencies"):
        for text in texts_of(key, language):
            with tenant_scope(tenant.id):
                advice = template_advice.advise(tenant.tenant, text)
            assert (advice.predicted, advice.difference_micros) == (text.category, None), text.name


# --- copies -----------------------------------------------------------------------------------------------------

MINE = TemplateText(
    name="party", type="order_confirm", language="ro", category="utility",
    header={"format": "text", "text": "Petrecerea noastră"},
    body="Bună, {first_name}! Te așteptăm la petrecere cu tort și muzică bună.",
    footer="Răspunde STOP ca să nu mai primești mesaje",
    buttons=[{"type": "url", "text": "Vezi biletele", "url": "https://t.example/o/{order_token}"},
             {"type": "quick_reply", "text": "Aduc și tort"}],
    examples={"first_name": "Ana", "order_token": "abc"}, ttl_seconds=3600,
)  # fmt: skip


def test_a_copy_says_what_we_can_and_names_what_is_missing(tenant, other_tenant):
    source = save(tenant, MINE)
    with tenant_scope(tenant.id):
        copied = template_copy.copy_to(tenant.tenant, source.id, "en")
        assert [row.language for row in templates.listed()] == ["ro"]  # nothing is written

    assert copied.text == replace(
        MINE, language="en", footer="Reply STOP to get no more messages",
        buttons=[{"type": "url", "text": "View tickets", "url": "https://t.example/o/{order_token}"},
                 {"type": "quick_reply", "text": "Aduc și tort"}],
    )  # fmt: skip
    assert [missing.pointer for missing in copied.missing] == ["/header/text", "/body", "/buttons/1/text"]
    assert all("ro" in missing.sentence for missing in copied.missing)
    with tenant_scope(other_tenant.id), pytest.raises(NotFound):
        template_copy.copy_to(other_tenant.tenant, source.id, "en")


@pytest.mark.parametrize(("source", "target"), [("ro", "en"), ("en", "ro")])
def test_our_own_texts_are_copied_whole(tenant, source, target):
    theirs = {text.name: text for text in texts_of("theatre", target) + starters(target)}
    for text in texts_of("theatre", source) + starters(source):
        saved = save(tenant, text)
        with tenant_scope(tenant.id):
            copied = template_copy.copy_to(tenant.tenant, saved.id, target)
        assert (copied.text, copied.missing) == (theirs[text.name], ())


def test_a_language_we_do_not_speak_is_all_missing(tenant):
    source = save(tenant, MINE)
    with tenant_scope(tenant.id):
        copied = template_copy.copy_to(tenant.tenant, source.id, "hu")

    assert copied.text == replace(MINE, language="hu")
    assert [missing.pointer for missing in copied.missing] == [
        "/header/text", "/body", "/footer", "/buttons/0/text", "/buttons/1/text",
    ]  # fmt: skip


def test_another_country_needs_no_translator_and_the_same_language_no_copy(tenant):
    source = save(tenant, replace(MINE, language="en"))
    with tenant_scope(tenant.id):
        assert template_copy.copy_to(tenant.tenant, source.id, "en_GB").missing == ()
        with pytest.raises(Invalid) as refused:
            template_copy.copy_to(tenant.tenant, source.id, "en")
    assert refused.value.findings[0].code == "same_language"


def test_twins_are_the_newest_of_each_language(tenant, other_tenant):
    make_template(tenant, "party", "ro")
    make_template(tenant, "party", "ro", version=2)
    make_template(tenant, "party", "en")
    make_template(tenant, "other", "hu")
    make_template(other_tenant, "party", "de")

    with tenant_scope(tenant.id):
        found = {language: row.version for language, row in template_copy.twins("party").items()}
    assert found == {"ro": 2, "en": 1}

"""The editor, its preview, sending for approval, and the ready-made texts."""

import re
from html import unescape

import pytest
from sqlalchemy import select

from tests import factories
from tests.support.people import HTMX, visitor_of
from wa_dashboard import clock
from wa_dashboard.db import all_tenants, db, end_read, tenant_scope, transaction
from wa_dashboard.domain.lint import lint
from wa_dashboard.domain.packs import PACKS, texts_of
from wa_dashboard.domain.rendering import TemplateText
from wa_dashboard.models import ProviderAccount, Template, TemplateApproval, User
from wa_dashboard.services import template_review, templates
from wa_dashboard.web.template_form import Typed, changed, field_of, mended_form, read, slug_of, typed_of

BUBBLE = HTMX | {"HX-Target": "bubble"}
SAMPLES = HTMX | {"HX-Target": "samples"}
WORDS = {
    "title": "Porțile se deschid!",
    "name": "",
    "type": "reminder",
    "language": "ro",
    "header": "text",
    "header_text": "Ne vedem curând",
    "body": "Bună, {first_name}! Porțile pentru {event_name} se deschid la ora șapte. Te așteptăm cu drag.",
    "footer": "Răspunde STOP ca să nu mai primești mesaje",
    "button-0-type": "url",
    "button-0-text": "Vezi biletele",
    "button-0-value": "https://bilete.example.org/c/{order_token}",
    "button-1-type": "quick_reply",
    "button-1-text": "Vin sigur",
    "sample-first_name": "Ioana",
}


def rows_of(ready):
    with tenant_scope(ready.id):
        end_read()
        fresh = select(Template).order_by(Template.version).execution_options(populate_existing=True)
        return list(db.session.scalars(fresh))


def text_of(page):
    return unescape(page.text)


def speak(language):
    with all_tenants("test"), transaction():
        for user in db.session.scalars(select(User)):
            user.locale = language


def draft_of(ready, language="ro"):
    with tenant_scope(ready.id):
        return templates.install_starters(ready.tenant, [language], submit=False)[0].template


def move(ready, template, status, **detail):
    with tenant_scope(ready.id), transaction():
        row = db.session.scalars(select(TemplateApproval).where(TemplateApproval.template_id == template.id)).one()
        row.rejected_reason = detail.get("reason")
        template_review.move(row, status, "webhook", clock.now(), **detail)
        db.session.flush()


class TestForm:
    def test_a_title_becomes_a_name(self):
        assert slug_of("Confirmare comandă – Țuțea 2!") == "confirmare_comanda_tutea_2"
        assert Typed(title="Porțile se deschid").slug == "portile_se_deschid"
        assert Typed(title="Porțile", name="gates").slug == "gates"

    @pytest.mark.parametrize("key", sorted(PACKS))
    @pytest.mark.parametrize("language", ["ro", "en"])
    def test_a_text_survives_the_form(self, key, language):
        for text in texts_of(key, language):
            assert typed_of(text).as_text() == text

    def test_every_part_of_a_text_survives_the_form(self):
        text = TemplateText(
            "gates", "reminder", "en", "utility", "Hello {first_name}, the gates are open.",
            header={"format": "document", "example": {"link": "https://example.org/t.pdf"}}, footer="Reply STOP",
            buttons=[{"type": "quick_reply", "text": "Fine"}, {"type": "url", "text": "Map", "url": "https://a.ro/{x}"},
                     {"type": "phone", "text": "Call", "phone": "+40722123456"},
                     {"type": "copy_code", "text": "Copy", "example": "SPRING"}],
            examples={"first_name": "Ana", "x": "1"}, ttl_seconds=600,
        )  # fmt: skip
        typed = typed_of(text)
        form = {"name": typed.name, "type": typed.type, "language": typed.language, "header": typed.header,
                "header_link": typed.header_link, "body": typed.body, "footer": typed.footer, "ttl": typed.ttl,
                "shown": " ".join(typed.shown)}  # fmt: skip
        form |= {f"sample-{name}": value for name, value in typed.samples.items()}
        for at, button in enumerate(typed.buttons):
            form |= {f"button-{at}-type": button.kind, f"button-{at}-text": button.text,
                     f"button-{at}-value": button.value}  # fmt: skip
        assert read(form).as_text() == text

    def test_its_own_buttons_change_it(self):
        typed = Typed(body="Hello")
        assert changed(typed, "insert:first_name").body == "Hello {first_name}"
        assert changed(typed, "insert:__class__") == typed
        two = changed(changed(typed, "add"), "add")
        assert len(changed(two, "remove:0").buttons) == 1
        full = typed
        for _ in range(12):
            full = changed(full, "add")
        assert len(full.buttons) == 10

    def test_a_remedy_changes_only_what_it_is_about(self):
        typed = Typed(title="Ofertă", type="promo", language="ro", look="dark", ttl="many",
                      body="Bună, {first_name}! Bilete la {event_name} cu reducere.")  # fmt: skip
        remedies = [finding for finding in lint(typed.as_text()) if finding.mend]
        assert remedies
        done = mended_form(typed, remedies[0])
        assert (done.title, done.look, done.ttl, done.body) == (typed.title, "dark", "many", typed.body)
        assert remedies[0].rule not in {finding.rule for finding in lint(done.as_text())}

    @pytest.mark.parametrize(
        ("pointer", "field"),
        [("/body", "body"), ("/header/text", "header_text"), ("/header/example/link", "header_link"),
         ("/examples/first_name", "sample-first_name"), ("/examples/gone", "body"), ("/buttons", "add-button"),
         ("/buttons/0/url", "button-0-value"), ("/buttons/0/text", "button-0-text"), ("/buttons/7/text", "add-button"),
         ("/ttl_seconds", "ttl"), ("/category", "type-promo"), ("/name", "title")],
    )  # fmt: skip
    def test_every_finding_leads_to_its_field(self, pointer, field):
        typed = Typed(type="promo", header="text", body="{first_name}", buttons=Typed().buttons)
        typed = changed(typed, "add")
        if pointer == "/header/example/link":
            typed = Typed(type="promo", header="image")
        assert field_of(pointer, typed) == field


class TestNew:
    def test_how_to_begin(self, tenant, owner):
        mine = factories.make_template(tenant, name="mine")
        page = owner.get("/templates/new").text
        assert "With an empty page" in page
        assert page.count("/templates/packs#") == 6
        assert f'value="{mine.id}"' in page

    def test_an_empty_page_complains_of_nothing_yet(self, owner):
        page = owner.get("/templates/new?start=empty&language=en").text
        assert "Nothing written yet" in page
        assert '<option value="en" selected' in page
        assert 'class="bad"' not in page.split("<main")[1]

    def test_it_is_kept_as_a_draft_under_a_name_made_from_the_title(self, tenant, owner):
        answer = owner.post("/templates/new", page="/templates/new?start=empty", **WORDS, do="save")
        assert answer.status_code == 303
        (row,) = rows_of(tenant)
        assert answer.location == f"/templates/{row.id}"
        assert (row.name, row.type, row.category, row.draft) == ("portile_se_deschid", "reminder", "utility", True)
        assert row.header == {"format": "text", "text": "Ne vedem curând"}
        assert [button["type"] for button in row.buttons] == ["url", "quick_reply"]
        assert row.examples == {"first_name": "Ioana", "event_name": "Concertul de primăvară", "order_token": "A-1001"}
        assert "Saved as a draft." in owner.get(answer.location).text

    def test_sending_asks_first_and_names_the_senders(self, tenant, owner):
        factories.make_account(tenant.tenant, "twilio")
        answer = owner.post("/templates/new", page="/templates/new?start=empty", **WORDS, do="send")
        (row,) = rows_of(tenant)
        assert answer.location == f"/templates/{row.id}/send"
        assert row.draft
        page = owner.get(answer.location).text
        assert "Send to 2 senders" in page
        assert tenant.account.label in page
        assert "Twilio" in page
        answer = owner.post(f"/templates/{row.id}/submit", page=f"/templates/{row.id}/send")
        assert "Sent for approval." in owner.get(answer.location).text
        assert "Every sender has had exactly this text" in owner.get(f"/templates/{row.id}/send").text

    def test_wrong_input_loses_nothing(self, tenant, owner):
        wrong = WORDS | {"title": "", "name": "Nume Greșit", "body": "{first_name}", "ttl": "mâine", "footer": "x" * 61}
        answer = owner.post("/templates/new", page="/templates/new?start=empty", **wrong, do="send")
        assert answer.status_code == 422
        page = text_of(answer)
        assert "<title>Error: " in page
        assert 'href="#name"' in page
        for typed in ("Nume Greșit", "{first_name}", "mâine", "x" * 61, "Vin sigur", "Ne vedem curând", "Ioana",
                      "https://bilete.example.org/c/{order_token}"):  # fmt: skip
            assert typed in page.split("<form id")[1], typed
        assert rows_of(tenant) == []

    def test_what_whatsapp_would_refuse_is_not_sent_but_may_be_a_draft(self, tenant, owner):
        short = WORDS | {"body": "{first_name} {event_name}"}
        answer = owner.post("/templates/new", page="/templates/new?start=empty", **short, do="send")
        assert answer.status_code == 422
        assert 'href="#body"' in answer.text
        assert rows_of(tenant) == []
        assert owner.post("/templates/new", page="/overview", **short, do="save").status_code == 303
        (row,) = rows_of(tenant)
        page = owner.get(f"/templates/{row.id}/send").text
        assert "WhatsApp would refuse this text" in page
        assert f'action="/templates/{row.id}/submit"' not in page

    def test_a_taken_name_is_not_written_over(self, tenant, owner):
        factories.make_template(tenant, name="gates", language="ro", type="order_confirm")
        taken = owner.post("/templates/new", page="/overview", **WORDS | {"name": "gates"}, do="save")
        assert taken.status_code == 422
        assert "There is a text called gates in this language already" in taken.text
        other = WORDS | {"name": "gates", "language": "en"}
        assert "of another type" in owner.post("/templates/new", page="/overview", **other, do="save").text
        twin = other | {"type": "order_confirm"}
        assert owner.post("/templates/new", page="/overview", **twin, do="save").status_code == 303
        assert len(rows_of(tenant)) == 2

    def test_a_code_needs_no_words(self, tenant, owner):
        form = {"title": "Cod", "type": "otp", "language": "ro", "code_minutes": "5"}
        answer = owner.post("/templates/new", page="/overview", **form, do="save")
        (row,) = rows_of(tenant)
        assert answer.location == f"/templates/{row.id}"
        assert row.category == "authentication"
        assert row.buttons[0]["code_expiration_minutes"] == 5
        wrong = owner.post("/templates/new", page="/overview", **form | {"code_minutes": "100"}, do="save")
        assert wrong.status_code == 422
        assert 'value="100"' in wrong.text

    def test_a_ready_made_text_and_a_copy_fill_the_form(self, tenant, owner):
        text = texts_of("theatre", "en")[0]
        page = text_of(owner.get(f"/templates/new?pack=theatre&text={text.name}&language=en"))
        assert text.body.splitlines()[0] in page
        mine = factories.make_template(tenant, body="Bună, {first_name}! Un text numai al nostru, {event_name}.")
        page = text_of(owner.get(f"/templates/new?copy={mine.id}&language=en"))
        assert "Un text numai al nostru" in page
        assert "Still to do in this language" in page
        assert 'href="#body"' in page
        assert owner.get(f"/templates/new?copy={mine.id}&language=ro").status_code == 303

    def test_in_romanian(self, tenant, owner):
        speak("ro")
        page = text_of(owner.get("/templates/new?start=empty"))
        assert "Text nou" in page
        assert "Trimite spre aprobare (1 expeditor)" in page
        assert "Nothing written yet" not in page
        wrong = text_of(owner.post("/templates/new", page="/overview", **WORDS | {"title": ""}, do="save"))
        assert "Dă-i textului un titlu" in wrong


class TestEdit:
    def test_a_draft_is_edited_in_place(self, tenant, owner):
        draft = draft_of(tenant)
        url = f"/templates/{draft.id}/edit"
        base = re.search(r'name="base" value="(\w+)"', owner.get(url).text)[1]
        answer = owner.post(url, page=url, **WORDS | {"base": base, "name": "else"}, do="save")
        assert answer.location == f"/templates/{draft.id}"
        kept = next(row for row in rows_of(tenant) if row.id == draft.id)
        assert (kept.name, kept.version, kept.body) == (draft.name, 1, WORDS["body"])

    def test_what_was_submitted_becomes_the_start_of_the_next_version(self, tenant, owner):
        first = factories.make_template(tenant)
        page = text_of(owner.get(f"/templates/{first.id}/edit"))
        assert "becomes version 2" in page
        assert "Version 1 keeps sending until the new one is approved" in page
        assert "once in 24 hours and ten times in 30 days" in page
        assert first.body in page
        answer = owner.post(f"/templates/{first.id}/edit", page="/overview", **WORDS, do="save")
        old, new = rows_of(tenant)
        assert answer.location == f"/templates/{new.id}"
        assert (old.version, old.draft, new.version, new.draft) == (1, False, 2, True)
        assert owner.get(f"/templates/{first.id}/edit").location == f"/templates/{new.id}/edit"
        assert "Keeps sending until version 2 is approved." in owner.get(answer.location).text

    def test_somebody_else_was_faster(self, tenant, owner):
        draft = draft_of(tenant)
        url = f"/templates/{draft.id}/edit"
        answer = owner.post(url, page=url, **WORDS | {"base": "0" * 64}, do="save")
        assert answer.status_code == 422
        assert "Somebody else changed this text" in answer.text
        assert WORDS["body"] in text_of(answer)
        again = re.search(r'name="base" value="(\w+)"', answer.text)[1]
        assert owner.post(url, page=url, **WORDS | {"base": again}, do="save").status_code == 303

    def test_a_rejection_stands_on_top_with_its_reason(self, tenant, owner):
        template = factories.make_template(tenant, status="pending")
        move(tenant, template, "rejected", reason="PROMOTIONAL")
        shown = owner.get(f"/templates/{template.id}").text
        assert f'href="/templates/{template.id}/edit"' in shown
        assert "Fix and send again" in shown
        page = text_of(owner.get(f"/templates/{template.id}/edit"))
        assert "refused this text. It advertises" in page
        assert template.body in page


class TestPreview:
    def test_htmx_gets_the_bubble_and_the_checks(self, owner):
        answer = owner.post("/templates/preview", page="/overview", headers=BUBBLE, **WORDS)
        page = text_of(answer)
        assert "<html" not in page
        assert "Bună, Ioana! Porțile pentru Concertul de primăvară" in page
        assert 'id="lint"' in page
        assert page.count("hx-swap-oob") == 1
        assert "Vezi biletele" in page
        assert "/ 1,024" in page

    def test_the_last_pressed_button_comes_along_and_is_not_pressed_again(self, owner):
        page = owner.post("/templates/preview", page="/overview", headers=BUBBLE, **WORDS, do="add").text
        assert 'id="lint"' in page
        assert "<form" not in page

    def test_new_variables_ask_for_their_samples_once(self, owner):
        first = owner.post("/templates/preview", page="/overview", headers=BUBBLE, **WORDS)
        assert first.headers["HX-Trigger"] == '{"variables": true}'
        samples = owner.post("/templates/preview", page="/overview", headers=SAMPLES, **WORDS).text
        assert 'name="sample-order_token"' in samples
        shown = re.search(r'name="shown" value="([^"]*)"', samples)[1]
        again = owner.post("/templates/preview", page="/overview", headers=BUBBLE, **WORDS | {"shown": shown})
        assert "HX-Trigger" not in again.headers
        fewer = owner.post("/templates/preview", page="/overview", headers=SAMPLES, body="Hello there",
                           shown=shown, **{"sample-first_name": "Ioana"}).text  # fmt: skip
        assert '<input type="hidden" name="sample-first_name" value="Ioana">' in fewer

    def test_a_sample_that_was_taken_out_is_missing(self, owner):
        form = WORDS | {
            "shown": "first_name event_name order_token",
            "sample-event_name": "",
            "sample-order_token": "x",
        }
        page = text_of(owner.post("/templates/preview", page="/overview", headers=BUBBLE, **form))
        assert "The variable event_name has no example." in page
        assert 'href="#sample-event_name"' in page

    def test_advertising_is_said_with_what_it_costs(self, owner):
        form = WORDS | {"body": "Bună, {first_name}! Reducere 50% la {event_name}, ofertă de nerefuzat pentru tine."}
        page = text_of(owner.post("/templates/preview", page="/overview", headers=BUBBLE, **form))
        assert "What Meta will make of it" in page
        assert "probably take this for advertising" in page
        assert re.search(r"\+0[.,]\d{4}", page)

    def test_a_remedy_is_one_press(self, owner):
        form = WORDS | {"type": "promo", "footer": "", "button-1-text": "Poate", "body": WORDS["body"]}
        page = owner.post("/templates/preview", page="/overview", headers=BUBBLE, **form).text
        act = re.search(r'value="(mend:\d+:T017)"', page)[1]
        done = text_of(owner.post("/templates/preview", page="/overview", headers=HTMX, **form, do=act))
        assert done.lstrip().startswith('<form id="editor"')
        assert 'value="Răspunde STOP ca să nu mai primești oferte"' in done
        assert "T017" not in done
        stale = owner.post("/templates/preview", page="/overview", headers=HTMX, **form, do="mend:99:T017").text
        assert "T017" in stale

    def test_without_a_script_the_whole_page_comes_back(self, tenant, owner):
        answer = owner.post("/templates/preview", page="/overview", **WORDS, do="insert:venue_name")
        page = text_of(answer)
        assert answer.status_code == 200
        assert "<html" in page
        assert WORDS["body"] + " {venue_name}" in page
        assert "Sala" in page
        page = text_of(owner.post("/templates/preview", page="/overview", **WORDS, do="add"))
        assert 'name="button-2-type"' in page
        page = text_of(owner.post("/templates/preview", page="/overview", **WORDS, do="remove:0"))
        assert 'name="button-1-type"' not in page
        assert "Vin sigur" in page
        draft = draft_of(tenant)
        page = owner.post("/templates/preview", page="/overview", **WORDS | {"id": draft.id}).text
        assert f'action="/templates/{draft.id}/edit"' in page
        assert rows_of(tenant)[0].body == draft.body

    def test_nothing_typed_becomes_markup(self, owner):
        evil = '<img src=x onerror="alert(1)">{first_name}'
        form = WORDS | {"body": evil, "header_text": evil, "footer": evil, "button-0-text": evil, "title": evil,
                        "sample-first_name": evil, "name": evil, "language": "<b>"}  # fmt: skip
        for headers in (None, BUBBLE, HTMX):
            page = owner.post("/templates/preview", page="/overview", headers=headers, **form).text
            assert "<img src=x" not in page
            assert "&lt;img src=x" in page


class TestOthers:
    def test_somebody_elses_text_is_not_there(self, tenant, other_tenant, owner):
        mine = factories.make_template(tenant)
        theirs = factories.make_template(other_tenant, name="secret_text", body="Their secret words {first_name} here.")
        for path in ("edit", "send"):
            assert owner.get(f"/templates/{mine.id}/{path}").status_code == 200
            assert owner.get(f"/templates/{theirs.id}/{path}").status_code == 404
        assert owner.post(f"/templates/{theirs.id}/edit", page="/overview", **WORDS, do="save").status_code == 404
        assert owner.get(f"/templates/new?copy={mine.id}&language=en").status_code == 200
        assert owner.get(f"/templates/new?copy={theirs.id}&language=en").status_code == 404
        assert owner.post("/templates/preview", page="/overview", **WORDS | {"id": theirs.id}).status_code == 404
        assert "secret" not in owner.get("/templates/new").text.lower()
        assert [row.body for row in rows_of(other_tenant)] == ["Their secret words {first_name} here."]

    def test_a_viewer_looks_and_writes_nothing(self, tenant, owner, viewer):
        mine = factories.make_template(tenant, status="rejected")
        assert f"/templates/{mine.id}/edit" in owner.get(f"/templates/{mine.id}").text
        page = viewer.get(f"/templates/{mine.id}").text
        assert f"/templates/{mine.id}/edit" not in page
        assert "/templates/new" not in page
        assert "/templates/new" in owner.get("/templates").text
        assert "/templates/new" not in viewer.get("/templates").text
        assert 'value="draft"' in owner.get("/templates/packs").text
        assert 'value="draft"' not in viewer.get("/templates/packs").text
        assert viewer.post("/templates/packs/theatre", page="/overview", language="ro", do="draft").status_code == 403
        assert len(rows_of(tenant)) == 1

    def test_an_editor_may(self, app, tenant):
        editor = visitor_of(app, tenant, "editor")
        assert editor.post("/templates/new", page="/overview", **WORDS, do="save").status_code == 303


class TestPacks:
    def test_six_cards_in_either_language(self, tenant, owner):
        page = text_of(owner.get("/templates/packs?language=ro"))
        assert page.count('class="card flush pack"') == 6 == page.count('<figure class="chat"')
        assert texts_of("theatre", "ro")[0].header["text"] in page
        assert texts_of("theatre", "en")[0].header["text"] in text_of(owner.get("/templates/packs?language=en"))

    def test_added_as_drafts_and_marked(self, tenant, owner):
        answer = owner.post("/templates/packs/theatre", page="/overview", language="en", do="draft")
        assert answer.location == "/templates"
        rows = rows_of(tenant)
        assert {row.name for row in rows} == {text.name for text in texts_of("theatre", "en")}
        assert all(row.draft and row.language == "en" for row in rows)
        page = text_of(owner.get("/templates/packs?language=en"))
        assert "You have all of them in this language." in page
        assert page.count("You have it") == len(rows)
        assert "You have it" not in owner.get("/templates/packs?language=ro").text
        again = owner.post("/templates/packs/theatre", page="/overview", language="en", do="draft")
        assert "there already" in owner.get(again.location).text
        assert len(rows_of(tenant)) == len(rows)

    def test_added_and_sent(self, tenant, owner):
        owner.post("/templates/packs/sport", page="/overview", language="ro", do="send")
        with tenant_scope(tenant.id):
            approvals = db.session.scalars(select(TemplateApproval)).all()
        assert {row.status for row in approvals} == {"submitting"}
        assert len(approvals) == len(texts_of("sport", "ro"))

    def test_without_a_sender_only_drafts_are_offered(self, tenant, owner):
        with tenant_scope(tenant.id), transaction():
            db.session.scalars(select(ProviderAccount)).one().status = "disabled"
            db.session.flush()
        page = owner.get("/templates/packs").text
        assert 'value="draft"' in page
        assert 'value="send"' not in page
        answer = owner.post("/templates/packs/sport", page="/overview", language="ro", do="send")
        assert "/templates/packs" in answer.location
        assert rows_of(tenant) == []

    def test_there_are_no_others(self, owner):
        assert owner.post("/templates/packs/circus", page="/overview", do="draft").status_code == 404


class TestMatrix:
    def test_versions_languages_and_senders(self, tenant, owner):
        old = factories.make_template(tenant, version=1)
        new = factories.make_template(tenant, version=2, status="pending")
        english = factories.make_template(tenant, language="en", status="approved")
        page = text_of(owner.get(f"/templates/{new.id}"))
        matrix = page.split('id="approvals"')[1].split("</table>")[0]
        assert tenant.account.label in matrix
        assert matrix.count('<th scope="row">') == 3
        assert f'href="/templates/{old.id}"' in matrix
        assert f'href="/templates/{english.id}"' in matrix
        assert "Keeps sending until version 2 is approved." in matrix
        assert "Messages use version 1 meanwhile." in matrix
        assert "data-poll" in page
        polled = re.search(r'hx-get="([^"]+)"', page.split('id="approvals"')[1])[1]
        assert owner.fragment(polled).status_code == 204
        move(tenant, new, "approved")
        fragment = owner.fragment(polled)
        assert fragment.status_code == 200
        assert "<html" not in fragment.text
        assert "data-poll" not in fragment.text

    def test_quality_and_category_are_said_in_words(self, tenant, owner):
        template = factories.make_template(tenant)
        with tenant_scope(tenant.id), transaction():
            row = db.session.scalars(select(TemplateApproval)).one()
            row.quality, row.category, row.previous_category = "RED", "marketing", "utility"
            row.announced_category, row.announced_at = "authentication", clock.now()
            db.session.flush()
        page = text_of(owner.get(f"/templates/{template.id}"))
        assert "Quality low: people block or report it" in page
        assert "(was Utility)" in page
        assert "Becomes Authentication on" in page
        listed = text_of(owner.get("/templates"))
        assert "Quality low: people block or report it" in listed
        assert "changed by the provider" in listed

    def test_the_missing_twin_is_one_press_away(self, tenant, owner):
        template = factories.make_template(tenant)
        page = text_of(owner.get(f"/templates/{template.id}"))
        assert "English is missing: copy" in page
        assert f"/templates/new?copy={template.id}&language=en" in page
        factories.make_template(tenant, language="en_GB")
        assert "is missing: copy" not in owner.get(f"/templates/{template.id}").text

    def test_what_the_checks_find_stands_on_the_page(self, tenant, owner):
        template = factories.make_template(tenant, type="promo", body="{first_name}")
        page = text_of(owner.get(f"/templates/{template.id}")).split('id="checks-title"')[1]
        assert page.count("Problem:") >= 1
        assert "Mend it" not in page

    def test_older_versions_are_kept_apart(self, tenant, owner):
        oldest = factories.make_template(tenant, version=1, status="deleted")
        newest = factories.make_template(tenant, version=2)
        page = owner.get(f"/templates/{newest.id}").text
        assert "Older versions" in page
        assert f'href="/templates/{oldest.id}"' in page


def test_what_stands_around_a_text_is_seen_too(tenant, owner):
    draft_of(tenant, "en")
    named = WORDS | {"name": "order_confirm", "type": "order_confirm"}
    other = named | {"name": "another"}
    beside, alone = (
        owner.post("/templates/preview", page="/overview", headers=BUBBLE, **form).text for form in (named, other)
    )
    assert "There is no English version" in alone
    assert "There is no English version" not in beside

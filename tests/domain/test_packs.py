"""The six packs: every text passes the lint, in both languages, with real letters, and none is another's twin."""

import re

import pytest

from wa_dashboard.domain.lint import Around, Existing, lint
from wa_dashboard.domain.packs import LANGUAGES, NOTICES, PACKS, texts_of
from wa_dashboard.domain.rendering import all_variables, preview
from wa_dashboard.domain.starters import starters
from wa_dashboard.domain.variables import VARIABLES
from wa_dashboard.i18n import translate

EVERY = [(key, text) for key in PACKS for language in LANGUAGES for text in texts_of(key, language)]
IDS = [f"{text.name}-{text.language}" for _, text in EVERY]


def test_the_packs_of_the_brief():
    assert list(PACKS) == ["concerts", "conferences", "theatre", "sport", "recurring", "emergencies"]
    assert len(EVERY) == 66
    for pack in PACKS.values():
        assert translate(pack.sentence, "ro") != translate(pack.sentence, "en")


@pytest.mark.parametrize(("key", "text"), EVERY, ids=IDS)
def test_nothing_to_mend(key, text):
    """Not even beside all the others, which WhatsApp has already."""
    others = [(k, t) for k, t in EVERY if t is not text] + [("", t) for each in LANGUAGES for t in starters(each)]
    around = Around(
        languages=frozenset(LANGUAGES),
        categories=frozenset(t.category for _, t in EVERY if t.name == text.name),
        existing=[Existing(t.name, t.language, t.body, t.footer) for _, t in others],
    )

    assert [finding for finding in lint(text, around) if finding.level != "hint"] == []
    assert {finding.rule for finding in lint(text, around)} <= {"T016"}


@pytest.mark.parametrize(("key", "text"), EVERY, ids=IDS)
def test_a_reader_sees_no_bracket(key, text):
    shown = preview(text, text.examples)

    assert not re.search(r"[{}]", shown.header + shown.body + shown.footer)
    assert set(all_variables(text)) == set(text.examples) <= set(VARIABLES)


def test_the_languages_say_the_same():
    for key in PACKS:
        both = [
            [(t.name, t.type, t.category, sorted(t.examples), bool(t.footer)) for t in texts_of(key, language)]
            for language in LANGUAGES
        ]
        assert both[0] == both[1]


def test_names_are_used_once():
    names = [text.name for _, text in EVERY if text.language == "ro"] + [text.name for text in starters("ro")]

    assert len(names) == len(set(names))


def test_what_each_pack_holds():
    for key in set(PACKS) - {"emergencies"}:
        texts = texts_of(key, "ro")
        assert [t.type for t in texts if t.name not in NOTICES].count("order_confirm") == 1, key
        assert {"d7", "d3", "d1"} <= {t.name.rpartition("_")[2] for t in texts if t.type == "reminder"}, key
        promos = [t for t in texts if t.type == "promo"]
        assert promos, key
        assert all("STOP" in t.footer for t in promos), key


def test_emergencies_are_utility_and_never_advertise():
    texts = texts_of("emergencies", "ro")

    assert {text.category for text in texts} == {"utility"}
    assert {text.name for text in texts} <= NOTICES
    assert not any(re.search("STOP|ofert|reducer", f"{text.body}{text.footer}") for text in texts)


def test_confirmations_and_reminders_ask_only_for_what_every_order_tells():
    """Apart from the one for match day, which says what only the organiser knows, and notices."""
    for _, text in EVERY:
        if text.type != "promo" and text.name not in NOTICES | {"match_reminder_h5"}:
            assert set(text.examples) <= {"first_name", "order_id", "event_name", "event_date"}, text.name


def test_romanian_letters_have_commas_not_cedillas():
    words = " ".join(f"{text.header} {text.body} {text.footer}" for _, text in EVERY if text.language == "ro")

    assert not set(words) & set("şţŞŢ")
    assert set("șțăîâ") <= set(words)


def test_another_pack_or_language_is_an_error():
    for key, language in (("weddings", "ro"), ("sport", "hu")):
        with pytest.raises(KeyError):
            texts_of(key, language)

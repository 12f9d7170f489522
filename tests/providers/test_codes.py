"""Our tables of errors against the published ones, and the words people read."""

import json

import pytest

from wa_dashboard.domain.text import T
from wa_dashboard.providers.base import explain
from wa_dashboard.providers.codes_dialog360 import TEXTS
from wa_dashboard.providers.codes_meta import CODES as META
from wa_dashboard.providers.codes_meta import SUBCODES
from wa_dashboard.providers.codes_twilio import CODES as TWILIO
from wa_dashboard.providers.words import BY_CLASS, SPECIFIC

from .samples import SPECS, needs_contracts


def published(part):
    rows = {}
    for row in json.loads((SPECS / "error_codes.json").read_text())[part]:
        first, _, last = str(row["code"]).partition("-")
        codes = range(int(first), int(last or first) + 1) if first.isdigit() else [row["code"]]
        rows |= {str(code): (row["cls"], row["scope"]) for code in codes}
    return rows


@needs_contracts
@pytest.mark.parametrize(
    ("part", "ours"), [("meta", META), ("twilio", TWILIO), ("dialog360_text_match", TEXTS)], ids=lambda x: str(x)[:10]
)
def test_tables_equal_the_published_ones(part, ours):
    assert {code: tuple(row) for code, row in ours.items()} == published(part)


@needs_contracts
def test_subcodes_equal_the_published_ones():
    assert set(json.loads((SPECS / "error_codes.json").read_text())["meta_template_create_subcodes"]) == SUBCODES


@needs_contracts
def test_every_class_has_words():
    assert set(json.loads((SPECS / "error_codes.json").read_text())["classes"]) | {"network"} == set(BY_CLASS)


COMMON = {
    "meta_cloud": "131026 131049 131050 131042 190 132001 132015 130429 131056 131047 131048 368 131031",
    "dialog360": "131026 131049 131050 131042 132001 132015 130429 131056",
    "twilio": "63024 63016 21610 20003 63003 63049 63041 63018 63007 21211",
}


@pytest.mark.parametrize(("provider", "code"), [(p, c) for p, codes in COMMON.items() for c in codes.split()])
def test_the_common_codes_have_words_of_their_own(provider, code):
    reason, advice = explain(provider, code)

    assert SPECIFIC[provider][code] == (reason, advice)
    assert reason != advice


def test_words_are_sentences_without_jargon():
    every = [*BY_CLASS.values(), *(words for table in SPECIFIC.values() for words in table.values())]
    for sentence in {sentence for words in every for sentence in words}:
        assert isinstance(sentence, T)
        assert sentence[0].isupper() or sentence.startswith("360dialog")
        assert sentence.endswith(".")
        assert len(sentence) < 160
        for jargon in ("HTTP", "API error", "OAuth", "payload", "webhook", "JSON", "BSUID", "WABA"):
            assert jargon not in sentence


def test_a_code_nobody_knows_still_gets_an_answer():
    assert explain("meta_cloud", "987654").reason == explain("no_such", None).reason
    assert explain("meta_cloud", None, "recipient") == BY_CLASS["recipient"]
    assert explain("twilio", "http_502", "ambiguous") == BY_CLASS["ambiguous"]

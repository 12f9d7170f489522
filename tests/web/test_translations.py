"""Romanian is complete, compiled, and written with its own letters.

After changing a sentence:
    pybabel extract -F babel.cfg -k T --no-location --sort-output -o messages.pot .
    pybabel update -N --ignore-obsolete --no-wrap -D messages -i messages.pot -d wa_dashboard/translations -l ro
    (translate what is new) and: pybabel compile -d wa_dashboard/translations
"""

import io
import re
from pathlib import Path

import pytest
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from wa_dashboard.domain.text import T
from wa_dashboard.i18n import translate

ROOT = Path(__file__).resolve().parents[2]
PO = ROOT / "wa_dashboard/translations/ro/LC_MESSAGES/messages.po"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%%")


@pytest.fixture(scope="module")
def catalogue():
    with PO.open("rb") as file:
        return read_po(file, locale="ro")


@pytest.fixture(scope="module")
def said():
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    keywords = DEFAULT_KEYWORDS | {"T": None}
    found = set()
    for folder in ("wa_dashboard", "templates"):
        rows = extract_from_dir(
            ROOT / folder,
            [(pattern.removeprefix(f"{folder}/"), method) for pattern, method in methods],
            {pattern.removeprefix(f"{folder}/"): value for pattern, value in options.items()},
            keywords=keywords,
        )
        found |= {message[0] if isinstance(message, tuple) else message for _, _, message, _, _ in rows}
    return found


def test_every_sentence_has_its_romanian(said, catalogue):
    assert len(said) > 50
    missing = sorted(text for text in said if not (text in catalogue and _filled(catalogue[text].string)))
    assert missing == []


def test_nothing_is_translated_that_nobody_says(said, catalogue):
    ours = {m.id[0] if isinstance(m.id, tuple) else m.id for m in catalogue if m.id}
    assert sorted(ours - said) == []


def test_placeholders_survive(catalogue):
    for message in catalogue:
        if not message.id:
            continue
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        wanted = set(PLACEHOLDER.findall(ids[-1]))
        for string in strings:
            assert set(PLACEHOLDER.findall(string)) <= wanted, message.id
        assert set(PLACEHOLDER.findall(strings[-1])) == wanted, message.id


def test_no_sentence_is_a_guess(catalogue):
    assert [m.id for m in catalogue if m.fuzzy and m.id] == []


def test_letters_with_comma_below(catalogue):
    assert not re.search("[şţŞŢ]", PO.read_text())


def test_the_compiled_file_is_this_one(catalogue):
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    assert PO.with_suffix(".mo").read_bytes() == compiled.getvalue()


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "1 zile"), (19, "19 zile"), (20, "20 de zile"), (101, "101 zile"), (119, "119 zile"), (120, "120 de zile")],
)
def test_numbers_take_de_as_romanians_say_it(count, said):
    assert translate(T("%(count)s days before", count=count), "ro") == f"cu {said} înainte"
    assert translate(T("%(count)s days before", count=count), "en") == f"{count} days before"


def _filled(string):
    return all(string) if isinstance(string, tuple) else bool(string)

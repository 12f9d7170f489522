"""Every collected payload of the providers, file by file: what must come out of it stands in payloads.txt."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wa_dashboard.providers.base import provider_named

from .calls import calls_of
from .samples import PAYLOADS, needs_contracts
from .understood import items_of, lines_of, request_of

EXPECTED = Path(__file__).with_name("payloads.txt")
FILES = sorted(path for path in PAYLOADS.glob("*/*") if path.is_file())
pytestmark = needs_contracts


def table() -> dict[str, list[str]]:
    """File → the lines that must come out of it."""
    found: dict[str, list[str]] = {}
    for line in EXPECTED.read_text().splitlines():
        if line.startswith("    "):
            found[next(reversed(found))].append(line.strip())
        elif line:
            found[line] = []
    return found


TABLE = table()


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def test_the_table_has_every_file_and_no_other():
    assert sorted(TABLE) == sorted(map(name_of, FILES))
    assert len(FILES) == 237


@pytest.mark.parametrize("path", FILES, ids=map(name_of, FILES))
def test_what_must_come_out_of_it_does(path):
    assert lines_of(path) == TABLE[name_of(path)]


WEBHOOKS = [path for path in FILES if path.name.startswith("webhook__")]
# What stands around the items of a post; it is kept with the post, and its accounts and people are in the items.
ENVELOPE = {"messaging_product", "metadata", "contacts"}
LISTS = ("messages", "statuses", "user_preferences", "errors")


@pytest.mark.parametrize("path", WEBHOOKS, ids=map(name_of, WEBHOOKS))
def test_nothing_of_it_is_lost(path):
    kind = provider_named({"meta": "meta_cloud"}.get(path.parent.name, path.parent.name))
    raws = [item.raw for item in items_of(kind, path)]

    if path.suffix == ".txt":
        assert raws == [dict(request_of(path).fields)]
        return
    assert list(left_over(json.loads(path.read_bytes()), raws)) == []


def left_over(body: dict[str, Any], raws: list[Any]) -> Iterator[Any]:
    """Whatever of a post of Meta's is in no item and no envelope."""
    yield from (key for key in body if key not in ("object", "entry"))
    for entry in body["entry"]:
        yield from (key for key in entry if key not in ("id", "time", "changes"))
        for change in entry["changes"]:
            yield from (key for key in change if key not in ("field", "value"))
            value = change["value"]
            if value in raws:
                continue
            for key in value.keys() - ENVELOPE:
                yield from ([one for one in value[key] if one not in raws] if key in LISTS else [key])


def test_the_loss_of_one_key_would_be_noticed():
    (path,) = PAYLOADS.glob("meta/webhook__status_played*")
    body = json.loads(path.read_bytes())
    raw = dict(body["entry"][0]["changes"][0]["value"]["statuses"][0])

    assert list(left_over(body, [raw])) == []
    raw.pop("pricing")
    assert len(list(left_over(body, [raw]))) == 1


def test_figures(record_property):
    """Not one is failing; the figures stand at the end of the test run."""
    read = {name_of(path): lines_of(path) for path in FILES}
    failing = sorted(name for name, lines in read.items() if any(line.startswith("failing") for line in lines))
    kinds = map(provider_named, ("meta_cloud", "dialog360", "twilio"))
    judged = [verdict for kind in kinds for call in calls_of(kind) for verdict in call.judged(kind)]
    wrong = [problems for _, problems in judged if problems]

    record_property(
        "figure", f"payload files: {len(FILES)} read, {len(read) - len(failing)} understood, {len(failing)} failing"
    )
    record_property("figure", f"requests judged by published specifications: {len(judged)}, {len(wrong)} failing")
    assert (failing, wrong) == ([], [])
    assert len(judged) > 100

"""What the papers of the repository say must be there, and what is there must be said."""

import re
from pathlib import Path

import pytest

from wa_dashboard import cli, config

from .source import ROOT

REPOSITORY = ROOT.parent
PAPERS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:|#)([^)#\s]+)")


def all_papers() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in PAPERS)


def test_there_is_a_readme() -> None:
    assert REPOSITORY / "README.md" in PAPERS


def test_every_variable_is_written_down() -> None:
    """An operator must be able to read of each variable the program reads."""
    text = all_papers()

    assert {name for name in config._KNOWN if name not in text} == set()


def test_every_command_is_written_down() -> None:
    text = all_papers()

    assert {name for name in cli.commands.commands if name not in text and not name.startswith("_")} == set()


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_links_lead_somewhere(paper: Path) -> None:
    links = _LINK.findall(paper.read_text(encoding="utf-8"))

    assert [link for link in links if not (paper.parent / link).exists()] == []


def test_every_decision_is_listed_once() -> None:
    """docs/decisions: numbered, without gaps, each with context, decision and consequence."""
    decisions = sorted((REPOSITORY / "docs" / "decisions").glob("[0-9]*.md"))

    assert decisions
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        text = path.read_text(encoding="utf-8").lower()
        assert all(f"## {part}" in text for part in ("context", "decision", "consequence")), path.name

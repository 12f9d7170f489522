"""What may not stand in a template, because the Content-Security-Policy or a library would silently drop it."""

import re
from pathlib import Path

import pytest

from wa_dashboard.web.looks import MESSAGE_LOOKS, TEMPLATE_LOOKS
from wa_dashboard.web.shell import PLACES

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
FORBIDDEN = {
    "inline style": r"\sstyle\s*=",
    "inline script": r"<script(?![^>]*\ssrc=)",
    "inline handler": r"\son[a-z]+\s*=",
    "htmx handler": r"hx-on",
    "evaluated value": r"=[\"']js(?:on)?:|javascript:",
    "trigger filter": r"hx-trigger=\"[^\"]*\[",
    "unescaped output": r"\|\s*safe\b",
    "boost": r"hx-boost",
    "cedilla letters (ş ţ) instead of comma-below": r"[şţŞŢ]",
}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: str(p.relative_to(ROOT / "templates")))
def test_nothing_that_the_policy_forbids(path):
    text = path.read_text()
    assert [name for name, pattern in FORBIDDEN.items() if re.search(pattern, text)] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: str(p.relative_to(ROOT / "templates")))
def test_every_htmx_element_names_its_own_target_and_swap(path):
    for tag in re.findall(r"<[a-z][^>]*\shx-(?:get|post)=[^>]*>", path.read_text()):
        assert "hx-target=" in tag or "data-poll" in tag, tag
        assert "hx-swap=" in tag, tag


def test_every_icon_that_is_named_is_drawn():
    drawn = set(re.findall(r'symbol id="([a-z-]+)"', (ROOT / "static" / "icons.svg").read_text()))
    named = {look.icon for look in (*MESSAGE_LOOKS.values(), *TEMPLATE_LOOKS.values())}
    named |= {place.icon for place in PLACES}
    for path in TEMPLATES:
        named |= set(re.findall(r'icon\("([a-z-]+)"', path.read_text()))
    assert len(named) > 20
    assert named <= drawn

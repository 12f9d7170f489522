"""What our lint lets pass, the strict far end takes: two sets of rules written apart, compared on random templates."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from wa_dashboard.domain.lint import LANGUAGES, lint, mended
from wa_dashboard.domain.rendering import TemplateText, all_variables
from wa_dashboard.models import Template
from wa_dashboard.providers import meta_bodies
from wa_dashboard.services.template_drafts import to_provider_draft
from wa_dashboard.simulator import rules

WORDS = "Bună ziua comanda ta de azi este gata vino mâine cu drag , ! *tare* 😀 _x_ ~".split()
VARIABLES = ["{first_name}", "{order_id}", "{event_name}", "{x}"]
TRAPS = ["{", "}", "{{1}}", "{1}", "{{x}}", "{X}", "*", "\n", "\t", "a" * 61, "a" * 1025]


def words(rng, least, most):
    """A text of plain words with some variables, now and then with a trap."""
    parts = rng.choices(WORDS, k=rng.randint(least, most))
    for _ in range(rng.choice([0, 0, 1, 2, 3])):
        parts.insert(rng.randint(0, len(parts)), rng.choice(VARIABLES))
    if rng.random() < 0.05:
        parts.insert(rng.randint(0, len(parts)), rng.choice(TRAPS))
    return rng.choice([" ", " ", " ", "\n"]).join(parts)


def button(rng):
    kind = rng.choice(["quick_reply", "url", "phone", "copy_code"])
    text = rng.choice(["Vezi", "Ajutor", "Da"] * 4 + ["", "a" * 26, "{x}"])
    if kind == "url":
        base = rng.choice(["https://t.example.org/o/"] * 5 + ["http://t.example.org/", "t.example", "https://bit.ly/"])
        return {
            "type": kind,
            "text": text,
            "url": base + rng.choice(["", "{x}", "?a={x}", "{x}/y", "{x}{order_id}", "{"]),
        }
    if kind == "phone":
        return {"type": kind, "text": text, "phone": rng.choice(["+40722123456"] * 4 + ["0722", ""])}
    if kind == "copy_code":
        return {"type": kind, "text": text, "example": rng.choice(["EARLY10"] * 4 + ["", "a" * 16])}
    return {"type": kind, "text": text}


def draft(rng):
    header = rng.choice([None, {"format": "text", "text": " ".join(rng.choices([*WORDS[:12], "{order_id}"], k=4))}])
    kind, category = rng.choice([("order_confirm", "utility"), ("promo", "marketing")])
    text = TemplateText(
        name=rng.choice(["order_confirm", "a", "a" * 512] * 6 + ["A", "a-b", "", "a" * 513]),
        type=kind,
        language=rng.choice(["ro", "en", "en_US"] * 6 + ["ro_RO", "xx"]),
        category=category,
        header=header,
        body=words(rng, 8, 30).strip(),
        footer=rng.choice([None, None, "Răspunde STOP", "a" * 60, "a" * 61, "{x}"]),
        buttons=[button(rng) for _ in range(rng.choice([0, 0, 0, 1, 2, 3, 11]))],
    )
    examples = {name: rng.choice(["Ana"] * 30 + ["", "a\nb"]) for name in all_variables(text)}
    return TemplateText(**(vars(text) | {"examples": examples}))


def test_what_has_no_finding_is_accepted():
    rng = random.Random(20261123)
    accepted = 0
    for _ in range(3000):
        text = draft(rng)
        if any(finding.level == "error" or finding.rule == "T011" for finding in lint(text)):
            continue
        template = Template(version=1, **vars(text))
        rules.check_draft(meta_bodies.create_body(to_provider_draft(template)))  # raises what Meta would answer
        accepted += 1
    assert accepted > 300


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=60),
    st.text(max_size=1100),
    st.text(max_size=70),
    st.dictionaries(st.text(max_size=9), st.text(max_size=9)),
)
def test_no_text_breaks_the_lint(name, body, footer, examples):
    text = TemplateText(name, "order_confirm", name, "utility", body, {"format": "text", "text": footer}, footer,
                        [{"type": "url", "text": name, "url": body}], examples)  # fmt: skip
    for finding in lint(text):
        assert finding.message
        assert finding.fix
        lint(mended(text, finding))


def test_both_know_the_same_languages():
    assert LANGUAGES == rules.LANGUAGES

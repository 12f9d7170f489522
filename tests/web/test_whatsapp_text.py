"""WhatsApp's marks as HTML: what people wrote must come out as they wrote it, and never as markup of ours."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_dashboard.web.whatsapp_text import to_html, to_plain


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Bună, *Ana*!", "Bună, <strong>Ana</strong>!"),
        ("_încet_ ~vechi~", "<em>încet</em> <s>vechi</s>"),
        ("```cod *nu*```", "<code>cod *nu*</code>"),
        ("2*3*4", "2*3*4"),
        ("* nu *", "* nu *"),
        ("snake_case_name", "snake_case_name"),
        ("*două\nrânduri*", "*două\nrânduri*"),
        ("*_amândouă_*", "<strong><em>amândouă</em></strong>"),
        ("<script>*x*</script>", "&lt;script&gt;<strong>x</strong>&lt;/script&gt;"),
        ('" & <', "&#34; &amp; &lt;"),
    ],
)
def test_marks(text, html):
    assert str(to_html(text)) == html


@given(st.text(alphabet="*_~`<>&\"'ab \n", max_size=60))
def test_only_our_five_tags_ever_come_out(text):
    assert set(re.findall(r"<[^>]*>", str(to_html(text)))) <= {
        f"<{slash}{tag}>" for slash in ("", "/") for tag in ("strong", "em", "s", "code")
    }


def test_plain():
    assert to_plain("*Bună*\n_Ana_ & co") == "Bună Ana & co"

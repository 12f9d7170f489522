"""WhatsApp's own formatting as HTML, and its absence as plain text.

Marks, as WhatsApp documents them: ``*bold*``, ``_italic_``, ``~struck~``, ```` ```code``` ````. A mark counts only
when it hugs its words. Everything is escaped before a tag is added, so no input can become markup.
"""

import re

from markupsafe import Markup, escape

_CODE = re.compile(r"```(.+?)```", re.DOTALL)
_MARKS = (("*", "strong"), ("_", "em"), ("~", "s"))


def _marked(text: str) -> str:
    for mark, tag in _MARKS:
        sign = re.escape(mark)
        pattern = rf"(?<![\w{sign}]){sign}(?=\S)([^{sign}\n]+?)(?<=\S){sign}(?![\w{sign}])"
        text = re.sub(pattern, rf"<{tag}>\1</{tag}>", text)
    return text


def to_html(text: str) -> Markup:
    """Safe HTML of a message's text. Line breaks stay line breaks (the page shows them with ``pre-line``)."""
    pieces = _CODE.split(str(escape(text)))
    done = [_marked(piece) if i % 2 == 0 else f"<code>{piece}</code>" for i, piece in enumerate(pieces)]
    return Markup("".join(done))  # noqa: S704 – built from escaped pieces only


def to_plain(text: str) -> str:
    """The same text on one line and without marks, for previews in lists."""
    return to_html(text).striptags()

"""What a caller may say about the header of one message, and which templates it fits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from .rendering import Written
from .text import T

FILES = frozenset({"image", "video", "document"})
KIND_WORDS = {
    "image": T("picture"),
    "video": T("video"),
    "document": T("PDF"),
    "location": T("place on the map"),
}
MEDIA_PATH = "media_path"  # the variable by which a provider that takes addresses is told which file


@dataclass(frozen=True)
class MediaWish:
    """``kind``: image, video, document (with ``url``) or location (with ``location``: latitude, longitude, name,
    address as texts). ``optional``: rather the words without the file than nothing."""

    kind: str
    url: str = ""
    filename: str = ""
    optional: bool = False
    location: Mapping[str, str] = field(default_factory=dict)

    def said(self) -> dict[str, Any]:
        """What a message keeps of it (sealed); the address is its source's."""
        if self.kind == "location":
            return {"kind": self.kind, "location": dict(self.location)}
        name = self.filename or (name_in(self.url) if self.kind == "document" else "")
        return {"kind": self.kind, "filename": name, "optional": self.optional}


def name_in(url: str) -> str:
    """The file's name as the address has it, ``""`` if it has none."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    return name[:240] if name.isprintable() else ""


def format_of(template: Written) -> str:
    """The header's format if it is a file or a place, else ``""``."""
    found = str((template.header or {}).get("format") or "")
    return found if found in FILES or found == "location" else ""


def own_file(template: Written) -> MediaWish | None:
    """The file that is the same in every message of the template (``header.link``), None when there is none."""
    link = (template.header or {}).get("link")
    kind = format_of(template)
    return MediaWish(kind, url=str(link)) if link and kind in FILES else None


def split_link(url: str) -> tuple[str, str]:
    """``https://host`` with its closing slash, and the rest: only the rest may differ from message to message."""
    parts = urlsplit(url)
    base = f"{parts.scheme}://{parts.netloc}/"
    return base, url[len(base) :]


def misfit(template: Written, wish: MediaWish | None) -> tuple[str, T] | None:
    """Why the wish and the template do not belong together (code, sentence), None when they do."""
    wanted = format_of(template)
    if wish is None:
        if not wanted or own_file(template) is not None:
            return None
        sentence = T(
            "The template %(name)s has a %(kind)s in its header: say which in media.",
            name=_name(template),
            kind=KIND_WORDS[wanted],
        )
        return "media_missing", sentence
    if not wanted:
        sentence = T(
            "The template %(name)s has no place for a file: leave media out, or name a template whose header is "
            "a %(kind)s.",
            name=_name(template),
            kind=KIND_WORDS[wish.kind],
        )
        return "media_mismatch", sentence
    if wanted != wish.kind:
        sentence = T(
            "The header of the template %(name)s is a %(wanted)s, not a %(kind)s.",
            name=_name(template),
            wanted=KIND_WORDS[wanted],
            kind=KIND_WORDS[wish.kind],
        )
        return "media_mismatch", sentence
    return None


def _name(template: Written) -> str:
    return str(getattr(template, "name", ""))

"""A request as a judge sees it, and the published specifications it is held against."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from openapi_core import OpenAPI

from wa_dashboard.providers.base import Provider, WireRequest

from .samples import SPECS

VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True)
class Seen:
    """A request at its official address, header names in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def built(cls, wire: WireRequest) -> "Seen":
        return cls(wire.method, wire.url, {key.lower(): value for key, value in wire.headers.items()}, wire.body)

    @classmethod
    def arrived(cls, raw: bytes, kind: type[Provider]) -> "Seen":
        """What a far end saw, whose address stood in for ``kind.official_urls`` (`samples.account`)."""
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        part, _, rest = target.removeprefix("/").partition("/")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return cls(method, f"{kind.official_urls[part]}/{rest}", headers, body)

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.url).path)

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.url).query, keep_blank_values=True)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@lru_cache
def openapi(name: str) -> tuple[dict[str, Any], OpenAPI]:
    raw = json.loads((SPECS / name).read_text())
    return raw, OpenAPI.from_dict(raw)

"""Web addresses that strangers name and we open: which are well-formed, and which machines may be behind them.

The rules of security.md §4.6. Two spellings of one address must not mean two machines, so whatever a resolver or a
library could read differently (``0x7f.1``, ``2130706433``, a zone, a user name) is no address here.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from .text import T

LONGEST = 2048
HTTPS = 443
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
_SPACE = re.compile(r"[\x00-\x20\x7f-\x9f\\\u2028\u2029]")
_NUMBER_LIKE = re.compile(r"(0x[0-9a-f]*|[0-9]+)\Z")
# Global in the registries, yet a door to somewhere else: translation and tunnels (RFC 6052, 8215, 3056, 4380).
_TUNNELS = tuple(
    ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "fec0::/10")
)


class BadLink(ValueError):
    """It cannot be opened as it is written. ``sentence`` says what is wrong."""

    def __init__(self, sentence: T) -> None:
        super().__init__(sentence)
        self.sentence = sentence


@dataclass(frozen=True)
class Link:
    """``host`` in ASCII and small letters, ``target`` what follows it: ``/a%20b?c``. ``private``: the operator has
    named this host, so it may be a machine that is not public."""

    host: str
    port: int
    target: str
    private: bool = False

    @property
    def authority(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == HTTPS else f"{name}:{self.port}"


def read_link(url: str, allowed: Mapping[str, int] | None = None) -> Link:
    """The address, if it is https, on port 443, with a public-looking name and nothing hidden in it.

    ``allowed``: hosts the operator has named, each with its port. Raises BadLink.
    """
    if len(url) > LONGEST:
        raise BadLink(T("The address is longer than %(most)s characters.", most=LONGEST))
    if _SPACE.search(url):
        raise BadLink(T("The address holds a space, a line break or a backslash."))
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BadLink(T("This is not a web address.")) from None
    if parts.scheme != "https":
        raise BadLink(T("The address must begin with https://."))
    if "@" in parts.netloc:
        raise BadLink(T("The address must not hold a user name or a password."))
    host = _ascii(host)
    wanted = (allowed or {}).get(host)
    if wanted is not None and (port or HTTPS) == wanted:
        return Link(host, wanted, _target(parts), private=True)
    if port not in (None, HTTPS):
        raise BadLink(T("The address must not name a port."))
    _check_name(host)
    return Link(host, HTTPS, _target(parts))


def _ascii(host: str) -> str:
    if host.isascii():
        return host.lower().removesuffix(".")
    try:
        return host.encode("idna").decode().lower().removesuffix(".")
    except UnicodeError:
        raise BadLink(T("The name of the machine in the address is not well-formed.")) from None


def _check_name(host: str) -> None:
    """A name with a dot and a last part that is no number, so never an address in disguise."""
    if ":" in host or _NUMBER_LIKE.match(host.rpartition(".")[2]):
        raise BadLink(T("The address must name the machine, not give its number."))
    labels = host.split(".")
    if len(host) > 253 or len(labels) < 2 or not all(_LABEL.match(label) for label in labels):
        raise BadLink(T("The name of the machine in the address is not well-formed."))


def _target(parts: Any) -> str:
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._") or "/"
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    return f"{path}?{query}" if query else path


def is_public(address: str) -> bool:
    """May a machine with this IP address be opened for a stranger? Only what the whole internet can reach."""
    if "%" in address:
        return False
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if any(ip in tunnel for tunnel in _TUNNELS):
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_link_local)


def is_never_private(address: str) -> bool:
    """Not even for a host the operator has named: a cloud's metadata lives on link-local addresses."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    ip = mapped or ip
    return ip.is_link_local or ip.is_multicast or ip.is_unspecified

"""Secrets: encryption at rest, keys and tokens, passwords. Knows nothing of tables or requests."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import zlib
from collections.abc import Sequence
from typing import Any

import argon2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12
_KID = 4
_hasher = argon2.PasswordHasher()  # the library's default: 64 MiB, 3 passes (RFC 9106's second choice)


class Undecryptable(Exception):
    """No key of ours opens it, or it was moved to another row, column or tenant."""


class KeyRing:
    """AES-256-GCM under several keys: the first writes, all read. ``context`` binds a text to its place."""

    def __init__(self, keys: Sequence[str]) -> None:
        """``keys``: 32 bytes each, base64 url-safe. Raises ValueError for any other length."""
        self._keys: dict[bytes, AESGCM] = {}
        for key in keys:
            raw = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
            if len(raw) != 32:
                raise ValueError("a key of the ring is 32 bytes")
            self._keys.setdefault(hashlib.sha256(raw).digest()[:_KID], AESGCM(raw))
        self._first = next(iter(self._keys))

    def seal(self, plain: bytes, context: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return self._first + nonce + self._keys[self._first].encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises Undecryptable."""
        cipher = self._keys.get(sealed[:_KID])
        if cipher is None:
            raise Undecryptable("sealed with a key that is not in WA_ENCRYPTION_KEYS")
        try:
            return cipher.decrypt(sealed[_KID : _KID + _NONCE], sealed[_KID + _NONCE :], context.encode())
        except (InvalidTag, ValueError) as error:  # ValueError: too short to hold a nonce
            raise Undecryptable("the text was changed or belongs to another row") from error


_ring: KeyRing | None = None


def use_keys(keys: Sequence[str]) -> None:
    """Choose the ring of this process (at start)."""
    global _ring
    _ring = KeyRing(keys)


def seal_json(value: Any, context: str) -> bytes:
    return _the_ring().seal(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), context)


def open_json(sealed: bytes, context: str) -> Any:
    """Raises Undecryptable."""
    return json.loads(_the_ring().open(sealed, context))


def seal_bytes(value: bytes, context: str) -> bytes:
    return _the_ring().seal(value, context)


def open_bytes(sealed: bytes, context: str) -> bytes:
    """Raises Undecryptable."""
    return _the_ring().open(sealed, context)


def _the_ring() -> KeyRing:
    if _ring is None:
        raise RuntimeError("use_keys() was not called at start")
    return _ring


def blind_index(pepper: bytes, text: str) -> str:
    """A keyed fingerprint for finding an encrypted value by equality: 32 hexadecimal letters."""
    return hmac.digest(pepper, text.encode(), "sha256").hex()[:32]


def keyed_hash(key: str, *parts: str) -> str:
    """HMAC-SHA256 of the parts, each held apart: 64 hexadecimal letters that nobody can try out without ``key``."""
    return hmac.digest(key.encode(), json.dumps(parts).encode(), "sha256").hex()


# --- API keys: wak_live_<8 letters>_<43 letters><6 letters checksum> (security.md §4.3) -------------------------


def new_api_key(live: bool) -> tuple[str, str, str]:
    """A fresh key: (the whole key, shown once; its public id; the hash to keep)."""
    public = secrets.token_hex(4)
    secret = secrets.token_urlsafe(32)
    body = f"wak_{'live' if live else 'test'}_{public}_{secret}"
    return body + _checksum(body), public, hash_token(secret)


def read_api_key(key: str) -> tuple[str, str, bool] | None:
    """(public id, hash of the secret, live) of a well-formed key; None for anything else."""
    if not key.isascii():
        return None
    parts = key.split("_", 3)
    if len(parts) != 4 or parts[0] != "wak" or parts[1] not in ("live", "test") or len(parts[3]) != 49:
        return None
    if not hmac.compare_digest(_checksum(key[:-6]).encode(), key[-6:].encode()):
        return None
    return parts[2], hash_token(parts[3][:-6]), parts[1] == "live"


def _checksum(text: str) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    number, letters = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, rest = divmod(number, 36)
        letters += digits[rest]
    return letters


def hash_token(token: str) -> str:
    """SHA-256: right for tokens of 256 random bits, never for passwords."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    return secrets.token_urlsafe(32)


def same(one: str, other: str) -> bool:
    """Equal, in a time that does not tell where they differ; any characters."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


# --- passwords --------------------------------------------------------------------------------------------------

_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$Hw0wcjwPWPOKLFAVK8wLg0y+Cjb8cLbW6oJHQDc4yMw"


def hash_password(password: str) -> str:
    return _hasher.hash(password)


def password_matches(password: str, stored: str | None) -> bool:
    """Takes as long for an unknown person (``stored`` None) as for a wrong password."""
    try:
        return _hasher.verify(stored or _NOBODY, password) and stored is not None
    except (argon2.exceptions.Argon2Error, ValueError):  # ValueError: what is stored is no hash
        return False

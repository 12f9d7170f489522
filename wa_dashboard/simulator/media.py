"""Files given to a provider: Meta's `/media` (also behind 360dialog) and the Resumable Upload of sample files."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from .graph import GraphError, missing
from .times import now

KEPT_S = 30 * 86_400.0
_MEGA = 1024 * 1024
# Meta's "supported media types": what it takes and how large it may be, in bytes.
_LARGEST = {
    "image/jpeg": 5 * _MEGA, "image/png": 5 * _MEGA, "video/mp4": 16 * _MEGA, "video/3gpp": 16 * _MEGA,
    "application/pdf": 100 * _MEGA, "text/plain": 100 * _MEGA,
}  # fmt: skip
_KIND = {"image": "IMAGE", "video": "VIDEO", "application": "DOCUMENT", "text": "DOCUMENT"}
_FIRST_BYTES = {
    "image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n", "application/pdf": b"%PDF-",
}  # fmt: skip


@dataclass
class StoredFile:
    """A file under one account (or, for samples, under one app). The bytes themselves are not kept."""

    id: str
    owner: str
    mime_type: str
    sha256: str
    size: int
    filename: str
    at: float

    @property
    def format(self) -> str:
        """The header's format it fits."""
        return _KIND[self.mime_type.split("/")[0]]


class Files:
    """All files of the world, in memory: after a restart the provider has lost them, as it may at any time."""

    def __init__(self) -> None:
        self.stored: dict[str, StoredFile] = {}
        self.handles: dict[str, StoredFile] = {}
        self._sessions: dict[str, dict[str, Any]] = {}

    def upload(self, owner: str, content_type: str, body: bytes) -> StoredFile:
        """`POST /media`: a form with `messaging_product`, `type` and `file`. Raises GraphError."""
        fields, file = _form(content_type, body)
        if fields.get("messaging_product") != "whatsapp":
            raise GraphError(100, message="(#100) The parameter messaging_product is required.")
        if file is None:
            raise missing("file")
        filename, mime_type, content = file
        mime_type = fields.get("type") or mime_type
        _check(mime_type, content)
        stored = StoredFile(
            "".join(secrets.choice("123456789") for _ in range(15)), owner, mime_type,
            hashlib.sha256(content).hexdigest(), len(content), filename, now(),
        )  # fmt: skip
        self.stored[stored.id] = stored
        return stored

    def usable(self, owner: str, media_id: str, wanted: str) -> StoredFile:
        """The file of a send's header. Raises GraphError when this account has none such, or it is over."""
        found = self.stored.get(media_id)
        if found is None or found.owner != owner or now() - found.at > KEPT_S:
            text = f"Param template['components'][0]['parameters'][0]['{wanted.lower()}']['id'] is not a valid "
            raise GraphError(100, text + "whatsapp business account media attachment ID")
        if found.format != wanted:
            raise GraphError(132012, f"header: Format mismatch, expected {wanted}, received {found.format}")
        return found

    def open_session(self, app: str, query: dict[str, str]) -> str:
        """`POST /{app}/uploads`. Raises GraphError."""
        for name in ("file_name", "file_length", "file_type"):
            if not query.get(name):
                raise missing(name)
        if query["file_type"] not in _LARGEST or not query["file_length"].isdigit():
            raise GraphError(100, "Param file_type or file_length is not supported.")
        session = f"upload:{secrets.token_urlsafe(24)}"
        self._sessions[session] = {"app": app, **query}
        return session

    def fill_session(self, session: str, offset: str, body: bytes) -> str:
        """`POST /upload:…`: the bytes; returns the handle. Raises GraphError."""
        known = self._sessions.get(session)
        if known is None or offset != "0":
            raise GraphError(100, "The upload session does not exist, or file_offset is not where it stands.")
        if len(body) != int(known["file_length"]):
            raise GraphError(100, "The file is not as long as file_length said.")
        _check(known["file_type"], body)
        handle = f"4::{secrets.token_urlsafe(48)}"
        self.handles[handle] = StoredFile(
            handle, known["app"], known["file_type"], hashlib.sha256(body).hexdigest(), len(body),
            known["file_name"], now(),
        )  # fmt: skip
        return handle

    def check_sample(self, sample: str, wanted: str) -> None:
        """The sample of a media header: one of our handles, or an address. Raises GraphError."""
        if re.match(r"https?://[^/]+/", sample):
            return
        found = self.handles.get(sample)
        if found is not None and found.format != wanted:
            raise GraphError(100, "Invalid parameter")


def as_json(file: StoredFile, url: str) -> dict[str, Any]:
    """`GET /{media id}`."""
    return {
        "messaging_product": "whatsapp", "url": url, "mime_type": file.mime_type, "sha256": file.sha256,
        "file_size": file.size, "id": file.id,
    }  # fmt: skip


def _check(mime_type: str, content: bytes) -> None:
    if mime_type not in _LARGEST:
        raise GraphError(100, f"Param file must be a file with one of the following types; received {mime_type}.")
    if not content or len(content) > _LARGEST[mime_type]:
        raise GraphError(131053, f"A file of {mime_type} has 1 to {_LARGEST[mime_type]} bytes.")
    if not content.startswith(_FIRST_BYTES.get(mime_type, b"")):
        raise GraphError(131053, f"The bytes are not {mime_type}.")


def _form(content_type: str, body: bytes) -> tuple[dict[str, str], tuple[str, str, bytes] | None]:
    if not content_type.lower().startswith("multipart/form-data"):
        raise GraphError(100, "The request must be multipart/form-data.")
    parsed = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields: dict[str, str] = {}
    file = None
    for part in parsed.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        content = payload if isinstance(payload, bytes) else b""
        if name == "file":
            file = (str(part.get_filename() or ""), part.get_content_type(), content)
        else:
            fields[str(name)] = content.decode("utf-8", "replace")
    return fields, file

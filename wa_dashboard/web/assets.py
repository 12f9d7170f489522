"""The few files a browser needs: ours from ``static/`` and htmx from its Python package.

Every URL carries a hash of the content, so a browser may keep the file for a year and still gets a new one
after a change. Files are compressed once and served from memory.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from flask import Blueprint, Response, abort, request, url_for

STATIC = Path(__file__).resolve().parents[2] / "static"
HTMX = Path(str(resources.files("js_lib_htmx"))) / "static" / "htmx" / "htmx.min.js"
FILES = {
    "app.css": (STATIC / "app.css", "text/css"),
    "app.js": (STATIC / "app.js", "text/javascript"),
    "editor.css": (STATIC / "editor.css", "text/css"),
    "editor.js": (STATIC / "editor.js", "text/javascript"),
    "icons.svg": (STATIC / "icons.svg", "image/svg+xml"),
    "icon.svg": (STATIC / "icon.svg", "image/svg+xml"),
    "htmx.js": (HTMX, "text/javascript"),
}
YEAR = "public, max-age=31536000, immutable"

assets = Blueprint("assets", __name__)


@dataclass(frozen=True)
class Asset:
    body: bytes
    packed: bytes
    mimetype: str
    version: str


@lru_cache(maxsize=32)
def _read(name: str, _changed_ns: int) -> Asset:
    path, mimetype = FILES[name]
    body = path.read_bytes()
    return Asset(body, gzip.compress(body, 9, mtime=0), mimetype, hashlib.sha256(body).hexdigest()[:12])


def asset(name: str) -> Asset:
    """The file called ``name`` (a key of FILES), read again only when it changed on disk."""
    return _read(name, FILES[name][0].stat().st_mtime_ns)


def asset_url(name: str) -> str:
    """Path of a file under its content's hash. Raises KeyError for a name that is not in FILES."""
    return url_for("assets.serve", version=asset(name).version, name=name)


@assets.get("/assets/<version>/<name>")
def serve(version: str, name: str) -> Response:
    if name not in FILES:
        abort(404)
    found = asset(name)
    packed = request.accept_encodings.quality("gzip") > 0
    answer = Response(found.packed if packed else found.body, mimetype=found.mimetype)
    if packed:
        answer.content_encoding = "gzip"
    answer.vary.add("Accept-Encoding")
    answer.headers["Cache-Control"] = YEAR if version == found.version else "no-cache"
    return answer

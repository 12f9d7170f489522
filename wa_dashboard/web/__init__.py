"""The HTML rim: pages for people. Forms and links work without JavaScript; htmx makes them quicker."""

from importlib import import_module
from urllib.parse import urlsplit

from flask import Blueprint, Flask, abort, request
from flask_wtf.csrf import CSRFProtect
from htmx_flask import Htmx
from htmx_flask.requests import HtmxAwareRequest

from ..config import Settings
from ..extensions import login_manager
from ..services.tenants import SESSION_LIFE
from .assets import STATIC, asset_url, assets
from .calendar import calendar
from .errors import install_errors
from .formats import install_formats
from .headers import install_headers
from .i18n import install_i18n
from .looks import MESSAGE_LOOKS, TEMPLATE_LOOKS
from .shell import links, shell
from .tries import install_tries

VIEWS = (
    "auth", "connect", "going_live", "language", "messages", "overview", "problems", "send_test", "sender_keys",
    "sender_page", "senders", "settings", "template_editor", "template_packs", "templates", "test_phone",
)  # fmt: skip
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

web = Blueprint("web", __name__, template_folder=str(STATIC.parent / "templates"))
csrf = CSRFProtect()


@web.before_request
def only_from_our_own_pages() -> None:
    """Two independent locks on every unsafe request: the browser's own word, and the token of the session."""
    if request.method in SAFE:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        abort(403)
    csrf.protect()


def local_path(url: str | None, otherwise: str) -> str:
    """``url`` if it is a path of this site, else ``otherwise``: nobody is sent elsewhere by a crafted link."""
    if not url or not url.startswith("/") or url.startswith("//") or "\\" in url or any(c < " " for c in url):
        return otherwise
    parts = urlsplit(url)
    return url if not parts.scheme and not parts.netloc else otherwise


def init_app(app: Flask) -> None:
    """Put the pages, their look, language, headers and protection on ``app``.

    An https ``public_url`` in the settings adds HSTS, secure cookies and the Referer check. Only views of the
    ``web`` blueprint are CSRF-checked: the API authenticates by key and reads no cookie.
    """
    settings: Settings | None = app.extensions.get("wa_settings")
    https = settings is not None and settings.public_url.startswith("https://")
    app.config.update(
        SESSION_COOKIE_NAME="__Host-wa-session" if https else "wa-session",
        SESSION_COOKIE_SECURE=https,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=SESSION_LIFE,
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=https,
    )
    if not issubclass(app.request_class, HtmxAwareRequest):
        Htmx(app)
    csrf.init_app(app)
    login_manager.init_app(app)
    install_i18n(app)
    install_formats(app)
    install_headers(app, https)
    install_errors(app)
    app.jinja_env.globals.update(
        asset_url=asset_url, shell=shell, links=links, message_looks=MESSAGE_LOOKS, template_looks=TEMPLATE_LOOKS
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    _load_views()
    if settings is not None:
        install_tries(app, settings)
    app.register_blueprint(assets)
    app.register_blueprint(calendar)
    app.register_blueprint(web)


def _load_views() -> None:
    """Import the modules whose views register themselves on the blueprint; they in turn import this one."""
    for name in VIEWS:
        import_module(f"{__name__}.{name}")

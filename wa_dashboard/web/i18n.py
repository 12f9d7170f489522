"""Two languages. Words come from our catalogue, formats from CLDR.

English is written in the code; Romanian lives in ``wa_dashboard/translations``. English formats are European
(``en_150``: 23/11/2026, 17:05), since CLDR's plain ``en`` is American.
"""

from zoneinfo import ZoneInfo

from flask import Flask, Response, has_request_context, request
from flask_babel import Babel, get_locale

from ..domain.text import T
from ..i18n import TRANSLATIONS
from ..i18n import translate as in_language
from .shell import shell

LANGUAGES = {"ro": "Română", "en": "English"}
FORMATS = {"ro": "ro", "en": "en_150"}
COOKIE = "wa_lang"
YEAR_S = 365 * 24 * 3600


def choose_language() -> str:
    """``ro`` or ``en``: the signed-in person's choice, else this browser's, else the best of Accept-Language."""
    for wish in (shell().language, request.cookies.get(COOKIE)):
        if wish in LANGUAGES:
            return str(wish)
    return request.accept_languages.best_match(list(LANGUAGES), "en")


def language() -> str:
    """Language of the running request, as for ``<html lang>``; English outside of one."""
    locale = get_locale() if has_request_context() else None
    return locale.language if locale else "en"


def formats() -> str:
    """CLDR locale for dates and numbers of the running request."""
    return FORMATS.get(language(), "en_150")


def zone() -> ZoneInfo:
    """The tenant's time zone."""
    return ZoneInfo(shell().timezone)


def translate(text: str, locale: str | None = None) -> str:
    """``text`` in ``locale`` (``ro``, ``ro-RO``, ``en``…), by default the request's language.

    A plain string comes back as it is; a T is looked up and its parameters, which may be T too, are filled in.
    """
    if not isinstance(text, T):
        return text
    return in_language(text, locale or language())


def say(text: object) -> object:
    """Jinja ``finalize``: every T that reaches a page is translated without being asked."""
    return translate(text) if isinstance(text, T) else text


def remember_language(response: Response, code: str) -> None:
    """Keep the choice in this browser for a year. ``code`` must be one of LANGUAGES (ValueError)."""
    if code not in LANGUAGES:
        raise ValueError(code)
    response.set_cookie(COOKIE, code, max_age=YEAR_S, secure=request.is_secure, httponly=True, samesite="Lax")


def install_i18n(app: Flask) -> None:
    """Flask-Babel with our choice of language and zone, and T spoken by every template."""
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = str(TRANSLATIONS)
    Babel(app, locale_selector=lambda: FORMATS[choose_language()], timezone_selector=lambda: shell().timezone)
    app.jinja_env.finalize = say
    app.jinja_env.filters["tr"] = translate
    app.jinja_env.globals.update(language=language, languages=LANGUAGES)

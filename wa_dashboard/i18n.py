"""Saying a `T` in Romanian or English, for every rim. Knows no request: the caller names the language.

English stands in the code; Romanian lives in ``wa_dashboard/translations`` as compiled gettext catalogues.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from babel.support import NullTranslations, Translations

from .domain.text import T

TRANSLATIONS = Path(__file__).resolve().parent / "translations"
LANGUAGES = ("ro", "en")
DEFAULT = "en"
_OF = re.compile(r"%\((\w+)\)s de ")


def language_of(locale: str | None) -> str:
    """``ro`` or ``en`` for any locale such as ``ro-RO`` or ``ro_MD``; English for everything else."""
    code = (locale or DEFAULT).replace("_", "-").split("-")[0].lower()
    return code if code in LANGUAGES else DEFAULT


def best_of(wishes: Iterable[str]) -> str:
    """Our language for somebody's wishes (``Accept-Language``), best first. ``ro-RO`` is content with ``ro``."""
    codes = (wish.replace("_", "-").split("-")[0].lower() for wish in wishes)
    return next((code for code in codes if code in LANGUAGES), DEFAULT)


@lru_cache(maxsize=len(LANGUAGES))
def _catalogue(code: str) -> NullTranslations:
    return Translations.load(str(TRANSLATIONS), [code])


def translate(text: str, locale: str | None = None) -> str:
    """``text`` in the language of ``locale``. A plain string comes back as it is; parameters may be T themselves."""
    if not isinstance(text, T):
        return text
    code = language_of(locale)
    words = _catalogue(code).gettext(text.msgid)
    params = {name: translate(value, code) if isinstance(value, T) else value for name, value in text.params.items()}
    return _counted(words, params) % params if params else words


def _counted(words: str, params: Mapping[str, object]) -> str:
    """Romanian says „20 de zile”, but „19 zile”: the catalogue holds the form with *de*, which small numbers drop."""
    return _OF.sub(lambda found: found[0] if _takes_de(params.get(found[1])) else found[0].removesuffix("de "), words)


def _takes_de(value: object) -> bool:
    return not isinstance(value, int) or not (value == 0 or 0 < abs(value) % 100 < 20)

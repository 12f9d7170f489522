"""What languages are called, in the language of the page."""

from functools import lru_cache

from babel import Locale, UnknownLocaleError

from ..domain.lint import LANGUAGES
from .i18n import formats

COMMON = ("ro", "en", "hu", "de")  # what organisers here write in, first in every list


def language_name(code: str, *, inside: bool = False) -> str:
    """``ro`` is “Română” on a Romanian page (``inside`` a sentence “română”) and “Romanian” on an English one.

    An unknown code stays as it is.
    """
    name = _name(code, formats())
    return name if inside else f"{name[:1].upper()}{name[1:]}"


def language_choices() -> list[tuple[str, str]]:
    """Every language WhatsApp takes templates in, with its name: the common ones first, then by the alphabet."""
    rest = sorted(((code, language_name(code)) for code in LANGUAGES - set(COMMON)), key=lambda each: each[1])
    return [(code, language_name(code)) for code in COMMON] + rest


@lru_cache(maxsize=512)
def _name(code: str, shown_in: str) -> str:
    try:
        return Locale.parse(code).get_display_name(shown_in) or code
    except (ValueError, UnknownLocaleError):
        return code

"""One text of a pack, before it becomes a template: the same message in Romanian and English."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """``ro`` and ``en``: (header, body). ``kind``: the type of message. ``exit``: with a line on how to stop."""

    name: str
    kind: str
    ro: tuple[str, str]
    en: tuple[str, str]
    exit: bool = True

    def says(self, language: str) -> tuple[str, str]:
        """(header, body). Raises KeyError for a language that is neither ``ro`` nor ``en``."""
        return {"ro": self.ro, "en": self.en}[language]

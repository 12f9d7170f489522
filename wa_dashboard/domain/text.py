"""Sentences for people, written once in English and translated where they are shown."""

from typing import Self


class T(str):
    """An English sentence that remembers what it was made of, so that a rim can say it in another language.

    ``T("%(count)s messages", count=3)`` *is* the string ``"3 messages"`` (it can be stored, logged, put into
    JSON) and keeps ``msgid`` and ``params``. Placeholders are ``%(name)s``; a parameter may itself be a T.
    """

    msgid: str
    params: dict[str, object]

    def __new__(cls, msgid: str, **params: object) -> Self:
        self = super().__new__(cls, msgid % params if params else msgid)
        self.msgid = msgid
        self.params = params
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, object]]:
        return (self.msgid,), self.params

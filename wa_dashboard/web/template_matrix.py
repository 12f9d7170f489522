"""One text in all its versions, languages and senders: what each provider thinks of it, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..domain.statuses import SENDABLE, TemplateStatus
from ..domain.story import PROVIDERS
from ..domain.text import T
from ..models import ProviderAccount, Template, TemplateApproval
from ..services import accounts
from ..services import templates as texts
from .looks import TEMPLATE_LOOKS

S = TemplateStatus
PENDING = frozenset({S.SUBMITTING, S.SUBMIT_UNKNOWN, S.PENDING, S.IN_APPEAL})
REFUSED = frozenset({S.REJECTED, S.DISABLED, S.PAUSED, S.FLAGGED, S.LOCKED})
# The status that a row of many approvals shows: the one that most needs to be known.
_WORST_FIRST = (S.REJECTED, S.DISABLED, S.PAUSED, S.LOCKED, S.LIMIT_EXCEEDED, S.SUBMIT_UNKNOWN, S.SUBMITTING, S.PENDING,
                S.IN_APPEAL, S.FLAGGED, S.APPROVED, S.ARCHIVED, S.DELETED, S.DRAFT)  # fmt: skip

CATEGORIES: dict[str, T] = {
    "utility": T("Utility"),
    "marketing": T("Marketing"),
    "authentication": T("Authentication"),
}
# Meta's colour of a template's quality: how much people block or report it.
QUALITIES: dict[str, tuple[T, str]] = {
    "green": (T("Quality high"), "good"),
    "yellow": (T("Quality medium: some people block it"), "warn"),
    "red": (T("Quality low: people block or report it"), "bad"),
}
_WORST_QUALITY = ("red", "yellow", "green")
_SOURCES: dict[str, T] = {
    "submit": T("when it was sent for approval"),
    "webhook": T("the provider told us"),
    "poll": T("we asked the provider"),
    "user": T("somebody here"),
}


@dataclass(frozen=True)
class Step:
    """A line of an approval's story, for `components/timeline.html`."""

    title: T
    icon: str
    tone: str
    at: datetime
    gap: timedelta | None
    detail: T | None
    ahead: bool = False


@dataclass(frozen=True)
class Cell:
    """One version at one sender. ``raw``: (what, the provider's own word) for those who want to look it up."""

    approval: TemplateApproval
    account: ProviderAccount
    category: T | str
    was: T | str | None
    announced: T | str | None
    quality: tuple[T, str] | None
    reason: T | None
    steps: Sequence[Step]
    raw: Sequence[tuple[T, str]]

    @property
    def fixable(self) -> bool:
        """Would other words help?"""
        return self.approval.status in (S.REJECTED, S.PAUSED, S.DISABLED)


@dataclass(frozen=True)
class Line:
    """One version in one language; a cell for each sender of the matrix, None where it was never sent."""

    template: Template
    status: str
    cells: Sequence[Cell | None]
    here: bool
    note: T | None


@dataclass(frozen=True)
class Matrix:
    senders: Sequence[ProviderAccount]
    lines: Sequence[Line]
    older: Sequence[Template]

    @property
    def pending(self) -> bool:
        return any(cell.approval.status in PENDING for line in self.lines for cell in line.cells if cell)

    @property
    def seen(self) -> list[object]:
        """What changes when the matrix does."""
        cells = [cell.approval for line in self.lines for cell in line.cells if cell]
        return [
            (row.id, row.status, row.status_at, row.quality, row.category, row.announced_category) for row in cells
        ] + [len(self.lines)]


def matrix_of(shown: Template) -> Matrix:
    """All languages of the text: in each the newest version, what still sends, and the one that is looked at."""
    every = texts.listed(name=shown.name, all_versions=True)
    approvals = texts.approvals_of([row.id for row in every])
    newest: dict[str, Template] = {}
    for row in every:
        newest.setdefault(row.language, row)
    sends = {code: _sending(rows, approvals) for code, rows in _by_language(every).items()}
    kept = [row for row in every if row in (newest[row.language], sends[row.language]) or row.id == shown.id]
    kept.sort(key=lambda row: (row.language != shown.language, row.language, -row.version))
    ids = list(dict.fromkeys(each.account_id for row in kept for each in approvals[row.id]))
    senders = [accounts.find_account(account_id) for account_id in ids]
    lines = [
        Line(
            row, status_of(approvals[row.id]), _cells(row, approvals[row.id], senders), row.id == shown.id,
            _note(row, newest[row.language], sends[row.language]),
        )
        for row in kept
    ]  # fmt: skip
    return Matrix(senders, lines, [row for row in every if row not in kept])


def sending_version(template: Template) -> Template | None:
    """The version of this language that messages use now; None when there is none."""
    rows = texts.listed(name=template.name, language=template.language, all_versions=True)
    return _sending(rows, texts.approvals_of([row.id for row in rows]))


def status_of(approvals: Sequence[TemplateApproval]) -> str:
    """The one word for a version on all its accounts: sendable anywhere counts, else the worst."""
    statuses = {approval.status for approval in approvals}
    if not statuses:
        return S.DRAFT
    if statuses & {S.APPROVED} and not statuses & {S.REJECTED, S.PAUSED, S.DISABLED}:
        return S.APPROVED
    return next((word for word in _WORST_FIRST if word in statuses), S.DRAFT)


def quality_of(approvals: Sequence[TemplateApproval]) -> tuple[T, str] | None:
    """The worst colour at any sender, in words; None while nobody has said one."""
    said = {(approval.quality or "").lower() for approval in approvals}
    return next((QUALITIES[colour] for colour in _WORST_QUALITY if colour in said), None)


def category_of(template: Template, approvals: Sequence[TemplateApproval]) -> tuple[T | str, bool]:
    """The category that counts, in words: the provider's where it has decided on another; and whether it did."""
    other = next((row.category for row in approvals if row.category and row.category != template.category), None)
    return _category(other or template.category), other is not None


def rejections_of(template: Template) -> list[tuple[str, T]]:
    """(sender, reason in words) of each provider that refuses or has stopped this version."""
    return [
        (accounts.find_account(row.account_id).label, reason)
        for row in texts.approvals_of([template.id])[template.id]
        if (reason := _rejection(row)) is not None
    ]


def _by_language(rows: Sequence[Template]) -> dict[str, list[Template]]:
    found: dict[str, list[Template]] = {}
    for row in rows:
        found.setdefault(row.language, []).append(row)
    return found


def _sending(rows: Sequence[Template], approvals: dict[str, list[TemplateApproval]]) -> Template | None:
    """The newest of these versions that may be sent somewhere."""
    return next((row for row in rows if any(each.status in SENDABLE for each in approvals[row.id])), None)


def _note(row: Template, newest: Template, sends: Template | None) -> T | None:
    if sends is None or sends.version == newest.version:
        return None
    if row.id == sends.id:
        return T("Keeps sending until version %(number)s is approved.", number=newest.version)
    if row.id == newest.id:
        return T("Messages use version %(number)s meanwhile.", number=sends.version)
    return None


def _cells(row: Template, approvals: Sequence[TemplateApproval], senders: Sequence[ProviderAccount]) -> list[Any]:
    known = {approval.account_id: approval for approval in approvals}
    stories, raws = _stories(row)
    return [
        _cell(row, known[account.id], account, stories.get(account.id, []), raws.get(account.id, []))
        if account.id in known else None
        for account in senders
    ]  # fmt: skip


def _cell(
    row: Template, approval: TemplateApproval, account: ProviderAccount, steps: list[Step], raw: list[tuple[T, str]]
) -> Cell:
    was = approval.previous_category if approval.previous_category != approval.category else None
    ids = [(T("Provider"), PROVIDERS.get(account.provider, account.provider)),
           (T("Provider's id"), approval.external_id or ""),
           (T("Category there"), approval.category or ""), (T("Quality"), approval.quality or ""),
           (T("Reason"), approval.rejected_reason or "")]  # fmt: skip
    return Cell(
        approval,
        account,
        _category(approval.category or row.category),
        _category(was) if was else None,
        _category(approval.announced_category) if approval.announced_category else None,
        QUALITIES.get((approval.quality or "").lower()),
        _rejection(approval),
        steps,
        [each for each in (*ids, *raw) if each[1]],
    )


def _category(word: str) -> T | str:
    return CATEGORIES.get(word.lower(), word)


def _rejection(approval: TemplateApproval) -> T | None:
    """Why it was refused or stopped, while it is."""
    said = approval.rejected_reason or ""
    if approval.status not in REFUSED:
        return None
    if not said or said.upper() == "NONE":
        return T("No reason was given.") if approval.status == S.REJECTED else None
    return rejection_in_words(said)


def _stories(template: Template) -> tuple[dict[str, list[Step]], dict[str, list[tuple[T, str]]]]:
    """What happened at each account, oldest first, in words; and in the provider's own words."""
    found: dict[str, list[Step]] = {}
    raws: dict[str, list[tuple[T, str]]] = {}
    for event, account_id in texts.story_of(template.id):
        detail: dict[str, Any] = event.detail or {}
        before = found.setdefault(account_id, [])
        look = TEMPLATE_LOOKS.get(event.status, TEMPLATE_LOOKS[S.DRAFT])
        title, reason = look.word, detail.get("reason")
        if detail.get("category") and detail.get("was"):
            title = T("Category changed from %(was)s to %(now)s", was=_category(str(detail["was"])),
                      now=_category(str(detail["category"])))  # fmt: skip
        said = rejection_in_words(str(reason)) if reason and str(reason).upper() != "NONE" else None
        gap = event.at - before[-1].at if before else None
        before.append(Step(title, look.icon, look.tone, event.at, gap, said or _SOURCES.get(event.source)))
        if detail.get("raw"):
            raws.setdefault(account_id, []).append((T("Told"), str(detail["raw"])))
    return found, raws


_REASONS: dict[str, T] = {
    "INVALID_FORMAT": T("Its form is not as WhatsApp wants it: look at the variables and special characters."),
    "TAG_CONTENT_MISMATCH": T("The language or category does not fit the text."),
    "INCORRECT_CATEGORY": T("It is in the wrong category for what it says."),
    "PROMOTIONAL": T("It advertises, but is not in the marketing category."),
    "ABUSIVE_CONTENT": T("WhatsApp found it abusive or against its policy."),
    "SCAM": T("WhatsApp took it for a scam."),
}


def rejection_in_words(reason: str) -> T:
    """Meta's reason for a rejection as a sentence; the provider's own words when there is none."""
    return _REASONS.get(reason.upper()) or T("The provider says: %(reason)s", reason=reason)

"""New receipts by the hundred: their items written down, their attempts and messages changed, in a few statements."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from .. import clock
from ..bulk import insert_table
from ..domain.ids import new_id
from ..domain.statuses import RANK_OF_RECEIPT
from ..models import ProviderAccount, WebhookEvent, WebhookItem
from ..providers.base import StatusItem
from . import evidence, news
from .news import Verdict

_ROW = ("account_id", "item_key", "id", "event_id", "external_id", "at", "state", "message_id", "detail")
_SAID = {status: {"status": status} for status in RANK_OF_RECEIPT}


def apply(receipts: Sequence[tuple[WebhookEvent, ProviderAccount, StatusItem, str]]) -> list[Verdict]:
    """As `claim`, `apply` and `record`, for hundreds of new receipts of one organiser in a few statements; raises,
    all undone, when one of them is at fault. Each comes with its post, its account and its `key_of`."""
    merged = [
        evidence.Receipt(account.id, news.believed(item, event.received_at)) for event, account, item, _ in receipts
    ]
    found = evidence.look_up(merged)
    verdicts = [_verdict(attempt, item) for attempt, (_, item) in zip(found.attempts, merged, strict=True)]
    rows = [
        (
            account.id,
            key,
            new_id("whi"),
            event.id,
            news.id_of(item),
            item.at,
            said.state,
            said.message_id,
            said.detail,
        )
        for (event, account, item, key), said in zip(receipts, verdicts, strict=True)
    ]
    ours = _inserted(receipts[0][0].tenant_id, rows)
    evidence.merge(merged, found, receipts[0][0].tenant_id, ours)
    return [said if index in ours else Verdict("repeated") for index, said in enumerate(verdicts)]


def _inserted(tenant_id: str, rows: Sequence[tuple[Any, ...]]) -> dict[int, str]:
    """Write the items down; those whose position is not in the answer had been dealt with by somebody else."""
    inserted = insert_table(
        WebhookItem,
        _ROW,
        # In the order of the keys: two who insert the same ones then wait for each other in one direction only.
        sorted(rows, key=itemgetter(0, 1)),
        once=("account_id", "item_key"),
        tenant_id=tenant_id,
        kind="status",
        recorded_at=clock.now(),
    )
    new = set(inserted)
    return {index: row[2] for index, row in enumerate(rows) if row[2] in new}


def _verdict(attempt: evidence.AttemptNow | None, item: StatusItem) -> Verdict:
    if attempt is None:
        return Verdict("parked", detail=news.keep(item))
    return Verdict("applied", attempt.message_id, detail=_SAID[item.status])

"""The simulator's world: who may send, what was approved, what was accepted and what happens next."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .fates import Settings, script
from .faults import FaultBook
from .hookforms import meta_category_event, meta_status, meta_template_event, twilio_status
from .ledger import Ledger
from .media import Files
from .records import Account, Inbound, Message, Template
from .shape import Shape, shape_of
from .store import Store
from .times import iso, now
from .webhooks import Form, Outbox

log = logging.getLogger(__name__)

KEPT_IN_MEMORY = 50_000
_FLUSH_S = 0.2
_WINDOW_S = 24 * 3600.0


class World:
    """Everything the providers' doors share. All methods are called from one event loop."""

    def __init__(self, folder: Path, settings: Settings, seed: int | None = None) -> None:
        """Opens the files in `folder`. Raises LedgerBusy, OSError or sqlite3.Error when that is impossible."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.settings = settings
        self.faults = FaultBook(seed)
        self.outbox = Outbox(settings, self.faults)
        self.files = Files()
        self.ledger = Ledger(folder / "ledger.jsonl")
        self._store = Store(folder / "state.sqlite3")
        self.started_at = now()
        self.accounts: dict[tuple[str, str], Account] = {}
        self._logins: dict[tuple[str, str], list[Account]] | None = None
        self.templates: dict[str, Template] = {}
        self._by_name: dict[tuple[str, str, str, str], Template] = {}
        self._shapes: dict[int, tuple[list[dict[str, Any]], Shape]] = {}
        self.messages: dict[str, Message] = {}
        self.threads: dict[str, list[Message | Inbound]] = {}
        self.deleted_names: dict[str, float] = self._store.fact("deleted_names", {})
        self.stopped: set[str] = set(self._store.fact("stopped", []))
        self._dirty: dict[str, Message] = {}
        self._flush_planned = False
        self._closed = False
        self._load()

    # -- start and stop ---------------------------------------------------------------------------

    def _load(self) -> None:
        for account in self._store.accounts():
            self.accounts[(account.provider, account.key)] = account
        for template in self._store.templates():
            self._index(template)
        records: list[Message | Inbound] = [*self._store.messages(KEPT_IN_MEMORY)]
        records += self._store.inbounds(KEPT_IN_MEMORY)
        for record in sorted(records, key=lambda r: r.at):
            self._remember(record)
        known = int(self._store.fact("ledger_lines", 0))
        for entry in self.ledger.entries_after(known):
            if entry["provider_id"] not in self.messages:
                self._rebuild(entry)

    def _rebuild(self, entry: dict[str, Any]) -> None:
        """A send that is in the ledger but was not yet in the store when the process was killed."""
        message = Message(
            provider=entry["provider"], account=entry["account"], id=entry["provider_id"],
            correlation_id=entry["correlation_id"] or "", recipient=entry["recipient"],
            template=entry["template"] or "", language=entry["language"] or "", category="UTILITY",
            at=now(), status="accepted", shown={"text": "", "buttons": []},
            script=script(self.settings, entry["provider"], entry["recipient"], 0),
        )  # fmt: skip
        self._remember(message)
        self._touch(message)

    async def start(self) -> None:
        """Takes up what was under way: reviews and statuses that are due later, or were due while it was down."""
        await self.outbox.open()
        for template in self.templates.values():
            self._plan_review(template)
        for message in self.messages.values():
            self._plan_step(message)
        if self._dirty:
            self._plan_flush()

    async def stop(self) -> None:
        """Stops callbacks, writes what is not written, closes the files."""
        await self.outbox.close()
        self._flush()
        self._closed = True
        self._store.close()
        self.ledger.close()

    def _touch(self, message: Message) -> None:
        self._dirty[message.id] = message

    def _plan_flush(self) -> None:
        if not self._flush_planned:
            self._flush_planned = True
            asyncio.get_running_loop().call_later(_FLUSH_S, self._flush)

    def _flush(self) -> None:
        if self._closed:
            return
        self._flush_planned = False
        dirty, self._dirty = self._dirty, {}
        if dirty:
            self._store.save(messages=dirty.values(), facts={"ledger_lines": self.ledger.count})

    # -- accounts ---------------------------------------------------------------------------------

    def put_account(self, account: Account) -> bool:
        """Registers or replaces an account; says whether it is new."""
        key = (account.provider, account.key)
        new = key not in self.accounts
        self.accounts[key] = account
        self._logins = None
        self._store.save(accounts=[account])
        return new

    def accounts_of(self, provider: str) -> Iterator[Account]:
        """Every account of one provider."""
        return (a for a in self.accounts.values() if a.provider == provider)

    def login(self, provider: str, name: str) -> list[Account]:
        """Accounts by what a request shows: Meta's token, Twilio's Account or API key SID, 360dialog's key."""
        if self._logins is None:
            self._logins = {}
            shown = {"meta_cloud": ("access_token",), "twilio": ("account_sid", "api_key"), "dialog360": ("api_key",)}
            for account in self.accounts.values():
                for key in shown[account.provider]:
                    if key in account.credentials:
                        self._logins.setdefault((account.provider, account.credentials[key]), []).append(account)
        return self._logins.get((provider, name), []) if name else []

    def find_account(self, provider: str, name: str) -> Account | None:
        """By key first, then by any other public identifier."""
        exact = self.accounts.get((provider, name))
        return exact or next((a for a in self.accounts_of(provider) if a.answers_to(name)), None)

    # -- templates --------------------------------------------------------------------------------

    def _index(self, template: Template) -> None:
        self.templates[template.id] = template
        if template.status != "DELETED" and template.provider != "twilio":
            self._by_name[(template.provider, template.owner, template.name, template.language)] = template

    def template(self, provider: str, owner: str, name: str, language: str) -> Template | None:
        """The living template of that name and language (not Twilio: there only the ContentSid is unique)."""
        return self._by_name.get((provider, owner, name, language))

    def templates_of(self, provider: str, owner: str) -> list[Template]:
        """Living templates of one owner, oldest first."""
        return [
            t for t in self.templates.values()
            if t.provider == provider and t.owner == owner and t.status != "DELETED"
        ]  # fmt: skip

    def shape(self, template: Template) -> Shape:
        """The template taken apart; kept until its components are replaced."""
        kept = self._shapes.get(id(template))
        if kept is None or kept[0] is not template.components:
            kept = (template.components, shape_of(template.components))
            self._shapes[id(template)] = kept
        return kept[1]

    def put_template(self, template: Template) -> None:
        """Remembers a new or changed template."""
        template.updated_at = now()
        self._index(template)
        self._store.save(templates=[template])

    def submit(self, template: Template, finding: str = "") -> None:
        """Puts a template under review. With a finding the review will reject it, in those words."""
        template.status = "PENDING"
        template.review_finding = finding
        wait = self.settings.approve_after_s
        template.review_at = None if wait is None else now() + wait
        self.put_template(template)
        self._plan_review(template)

    def _plan_review(self, template: Template) -> None:
        if template.review_at is None:
            return
        delay = max(0.0, template.review_at - now())
        asyncio.get_running_loop().call_later(delay, self._review, template, template.review_at)

    def _review(self, template: Template, planned: float) -> None:
        if self._closed or template.review_at != planned or template.status != "PENDING":
            return
        if template.review_finding:
            self.template_event(template, "REJECTED", template.review_finding)
        else:
            self.template_event(template, "APPROVED", None)

    def template_event(self, template: Template, event: str, reason: str | None) -> None:
        """Changes the state now and tells the owner's accounts. FLAGGED and REINSTATED leave it sendable."""
        status = {"FLAGGED": "APPROVED", "REINSTATED": "APPROVED", "UNARCHIVED": "APPROVED"}.get(event, event)
        template.status = status
        template.review_at = None
        template.rejected_reason = (reason or "INVALID_FORMAT") if event == "REJECTED" else "NONE"
        template.quality = {"FLAGGED": "RED", "PAUSED": "RED", "DISABLED": "RED", "REINSTATED": "GREEN"}.get(
            event, template.quality
        )
        self.put_template(template)
        self._tell_owner(template, lambda: meta_template_event(template, event, reason))

    def change_category(self, template: Template, category: str) -> None:
        """The provider re-classes a template and says so."""
        template.previous_category, template.category = template.category, category
        self.put_template(template)
        self._tell_owner(template, lambda: meta_category_event(template, template.previous_category))

    def _tell_owner(self, template: Template, make: Any) -> None:
        if template.provider == "twilio":
            return
        told: set[str] = set()
        for account in self.accounts_of(template.provider):
            url, _ = account.destination("message_template_status_update")
            if account.owner == template.owner and url not in told:
                told.add(url)
                self.outbox.put(account, make())

    def delete_template(self, template: Template) -> None:
        """Takes a template out of use; its name stays blocked at Meta when it had been approved."""
        if template.status == "APPROVED":
            self.deleted_names[f"{template.provider}/{template.owner}/{template.name}"] = now()
            self._store.save(facts={"deleted_names": self.deleted_names})
        self._by_name.pop((template.provider, template.owner, template.name, template.language), None)
        template.status = "DELETED"
        template.review_at = None
        self.put_template(template)

    # -- messages ---------------------------------------------------------------------------------

    def accept(self, account: Account, message: Message, problem: int = 0) -> Message:
        """Writes the ledger line, then takes the message up. Raises OSError when the ledger cannot be written."""
        self.ledger.append(
            {
                "n": self.ledger.count + 1,
                "at": iso(message.at),
                "provider": message.provider,
                "account": message.account,
                "correlation_id": message.correlation_id or None,
                "recipient": message.recipient,
                "template": message.template or None,
                "language": message.language or None,
                "provider_id": message.id,
            }
        )
        message.script = script(self.settings, account.provider, message.recipient, problem)
        self._remember(message)
        self._touch(message)
        self._plan_flush()
        self._plan_step(message)
        return message

    def _remember(self, record: Message | Inbound) -> None:
        if isinstance(record, Message):
            self.messages[record.id] = record
            phone = record.recipient
        else:
            phone = record.sender
        self.threads.setdefault(phone, []).append(record)

    def _plan_step(self, message: Message) -> None:
        if message.step < len(message.script):
            due = message.at + message.script[message.step][0]
            asyncio.get_running_loop().call_later(max(0.0, due - now()), self._take_step, message)

    def _take_step(self, message: Message) -> None:
        if self._closed:
            return
        _, status, code = message.script[message.step]
        message.step += 1
        message.status, message.status_at, message.error_code = status, now(), code
        if status == "sent":
            message.sent_at = message.status_at
        if status in ("delivered", "read"):
            message.reached_phone = True
            message.sent_at = message.sent_at or message.status_at
        self._touch(message)
        self._plan_flush()
        account = self.accounts.get((message.provider, message.account))
        if account is not None:
            if message.provider == "twilio":
                self.outbox.put(account, Form(message.callback, twilio_status(account, message, status, code)))
            else:
                self.outbox.put(account, meta_status(account, message, status, code))
        self._plan_step(message)

    def forget_message(self, message: Message) -> None:
        """Takes the text out of a message, as Twilio's redaction does."""
        message.shown = {**message.shown, "text": "", "header": "", "buttons": []}
        self._touch(message)
        self._plan_flush()

    def put_inbound(self, inbound: Inbound) -> None:
        """Remembers what a person wrote."""
        self._remember(inbound)
        self._store.save(inbounds=[inbound])

    def window_open(self, account: Account, phone: str) -> bool:
        """Whether the person wrote to this account in the last 24 hours."""
        since = now() - _WINDOW_S
        return any(
            isinstance(r, Inbound) and r.account == account.key and r.at >= since and r.kind != "preference"
            for r in self.threads.get(phone, [])
        )

    def is_stopped(self, account: Account, phone: str) -> bool:
        """Whether the person stopped this account (marketing at Meta and 360dialog, everything at Twilio)."""
        return f"{account.provider}/{account.key}/{phone}" in self.stopped

    def set_stopped(self, account: Account, phone: str, stopped: bool) -> None:
        """Remembers a stop or its end."""
        key = f"{account.provider}/{account.key}/{phone}"
        (self.stopped.add if stopped else self.stopped.discard)(key)
        self._store.save(facts={"stopped": sorted(self.stopped)})

    def last_to(self, account: Account, phone: str) -> Message | None:
        """The newest message that went from this account to this phone."""
        for record in reversed(self.threads.get(phone, [])):
            if isinstance(record, Message) and (record.provider, record.account) == (account.provider, account.key):
                return record
        return None

    def counts(self) -> dict[str, int]:
        """Messages in memory by status."""
        return dict(Counter(m.status for m in self.messages.values()))


def numeric_id(length: int = 16) -> str:
    """A random decimal id without a leading zero."""
    return str(secrets.choice(range(1, 10))) + "".join(secrets.choice("0123456789") for _ in range(length - 1))

"""Tables, their keys, and properties of a row by itself."""

from .accounts import AccountEvent, AccountRef, Breaker, ProviderAccount
from .codes import Code
from .contacts import ChainHead, ConsentEvent, Contact, OptIn
from .media import Media, MediaSource, MediaUpload
from .messages import Attempt, Message, MessageEvent, Outbox, Problem
from .operations import AuditEntry, Heartbeat, IdempotencyKey, InstanceFact, RateBucket
from .schedules import Event, Schedule
from .templates import Template, TemplateApproval, TemplateEvent
from .tenants import ApiKey, Membership, SignInLink, Tenant, User, UserSession
from .webhooks import WebhookEvent, WebhookItem

__all__ = [
    "AccountEvent", "AccountRef", "ApiKey", "Attempt", "AuditEntry", "Breaker", "ChainHead", "Code", "ConsentEvent",
    "Contact", "Event", "Heartbeat", "IdempotencyKey", "InstanceFact", "Media", "MediaSource", "MediaUpload",
    "Membership", "Message", "MessageEvent", "OptIn", "Outbox",
    "Problem", "ProviderAccount", "RateBucket", "Schedule", "SignInLink", "Template", "TemplateApproval",
    "TemplateEvent", "Tenant", "User", "UserSession", "WebhookEvent", "WebhookItem",
]  # fmt: skip

"""Tenants and whoever acts for them: organisers who sign in, checkouts with a key."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update

from .. import clock, security
from ..config import Settings
from ..db import all_tenants, db, tenant_scope, transaction
from ..domain.ids import new_id
from ..domain.text import T
from ..errors import Conflict, Forbidden, NotFound, Unauthenticated, invalid
from ..models import ApiKey, Membership, SignInLink, Tenant, User, UserSession
from ..prepared import copy_of
from ..remembered import Remembered
from . import audit

SCOPES = (
    "templates:write",
    "send:confirm",
    "send:promo",
    "schedule:write",
    "consent:write",
    "stats:read",
    "messages:read",
    "pii:read",
)
ROLES = ("owner", "editor", "viewer")
PASSWORD_MIN = 12
LINK_LIFE = timedelta(minutes=30)
SESSION_IDLE = timedelta(hours=12)
SESSION_LIFE = timedelta(days=14)
_COMMON = frozenset(
    {"password1234", "passwordpassword", "123456789012", "qwertyuiop12", "parolaparola", "111111111111", "whatsapp1234"}
)


@dataclass(frozen=True)
class Caller:
    """Who asks through the API: one key of one tenant. ``live`` decides between people and the simulator."""

    tenant: Tenant
    key_id: str
    live: bool
    scopes: frozenset[str]

    @property
    def actor(self) -> str:
        return f"key:{self.key_id}"

    def may_see_numbers(self) -> bool:
        return "pii:read" in self.scopes


@dataclass(frozen=True)
class NewTenant:
    """What `create_tenant` made. Keys and the welcome token are shown here and never again."""

    tenant: Tenant
    welcome_token: str
    test_key: str
    live_key: str | None


# --- making -----------------------------------------------------------------------------------------------------


def create_tenant(settings: Settings, name: str, email: str, *, live: bool = False, demo: bool = False) -> NewTenant:
    """A tenant, its owner (who sets a password through the welcome link), and a key for each mode it may use.

    Raises Invalid for an empty name or an address that cannot be one.
    """
    if not name.strip():
        raise invalid("/name", "name_missing", T("Give the organisation a name."))
    email = clean_email(email)
    tenant = Tenant(
        id=new_id("ten"),
        name=name.strip(),
        live=live,
        is_demo=demo,
        rate_per_minute=settings.rate_per_minute,
        rate_per_hour=settings.rate_per_hour,
        reminder_intervals=list(settings.reminder_intervals),
        cost_tracking=settings.cost_tracking,
    )
    tenant.index_pepper = secrets.token_hex(32)
    with all_tenants("a new tenant has no scope yet"), transaction():
        db.session.add(tenant)
        db.session.flush()
        with tenant_scope(tenant.id):
            user = _user_with(email)
            db.session.add(Membership(id=new_id("mem"), tenant_id=tenant.id, user_id=user.id, role="owner"))
            token = _new_link("welcome", tenant.id, user.id)
            audit.record(tenant.id, "command", "tenant.created", tenant.id)
            test_key = create_api_key(tenant, "Test", SCOPES, live=False)
            live_key = create_api_key(tenant, "Live", SCOPES, live=True) if live else None
    return NewTenant(tenant, token, test_key, live_key)


def create_user(tenant: Tenant, email: str, role: str, password: str) -> User:
    """A person who can sign in for the tenant. Raises Invalid (role, e-mail, password) or Conflict (member already)."""
    if role not in ROLES:
        raise invalid("/role", "role_unknown", T("The role is one of %(roles)s.", roles=", ".join(ROLES)))
    check_password(password)
    with tenant_scope(tenant.id), transaction():
        user = _user_with(clean_email(email))
        member = db.session.scalar(select(Membership).where(Membership.user_id == user.id))
        if member is not None and user.password_hash:
            raise Conflict(T("%(email)s belongs to this organisation already.", email=user.email), "member_exists")
        user.password_hash = user.password_hash or security.hash_password(password)
        if member is None:
            db.session.add(Membership(id=new_id("mem"), tenant_id=tenant.id, user_id=user.id, role=role))
        else:  # an owner who never opened the welcome link
            member.role = role
        audit.record(tenant.id, "command", "user.created", user.id, role=role)
    return user


def create_api_key(tenant: Tenant, name: str, scopes: Collection[str], *, live: bool) -> str:
    """A new key, whole, shown this once. Raises Invalid for an unknown scope, Forbidden for a live key in test mode."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        detail = T("Unknown scope %(scope)s. Choose from: %(all)s.", scope=unknown[0], all=", ".join(SCOPES))
        raise invalid("/scopes", "scope_unknown", detail)
    if live and not tenant.live:
        raise Forbidden(T("This organisation is in test mode: it cannot have live keys."), "tenant_in_test_mode")
    key, public_id, secret_hash = security.new_api_key(live)
    with tenant_scope(tenant.id), transaction():
        row = ApiKey(
            id=new_id("key"),
            tenant_id=tenant.id,
            public_id=public_id,
            secret_hash=secret_hash,
            name=name,
            live=live,
            scopes=sorted(scopes),
        )
        db.session.add(row)
        audit.record(tenant.id, "command", "api_key.created", row.id, live=live, scopes=sorted(scopes))
    return key


def find_tenant(tenant_id: str) -> Tenant:
    """Raises NotFound."""
    tenant = db.session.scalar(select(Tenant).where(Tenant.id == tenant_id))
    if tenant is None:
        raise NotFound(T("There is no such organisation."), "tenant_not_found")
    return tenant


def clean_email(email: str) -> str:
    """The address in lower case. Raises Invalid when it cannot be one."""
    clean = email.strip().lower()
    name, _, host = clean.rpartition("@")
    if not name or "." not in host or " " in clean or len(clean) > 254:
        raise invalid("/email", "email_invalid", T("Give an e-mail address such as ana@example.org."))
    return clean


def check_password(password: str) -> None:
    """Raises Invalid with the reason (ASVS 5.0 6.2: length and a list of common ones, no rules of composition)."""
    if len(password) < PASSWORD_MIN:
        detail = T("Use at least %(count)s characters. A short sentence is fine.", count=PASSWORD_MIN)
        raise invalid("/password", "password_short", detail)
    if len(password) > 256:
        raise invalid("/password", "password_long", T("Use at most 256 characters."))
    if password.lower() in _COMMON or len(set(password)) < 4:
        raise invalid("/password", "password_common", T("This password is among the first that are guessed."))


def _user_with(email: str) -> User:
    user = db.session.scalar(select(User).where(User.email == email))
    if user is None:
        user = User(id=new_id("usr"), email=email)
        db.session.add(user)
        db.session.flush()
    return user


# --- checkouts --------------------------------------------------------------------------------------------------


# A key that another process revokes is refused here within so many seconds; one revoked here, at once.
KEYS_REMEMBERED_S = 5.0
_callers: Remembered[tuple[Caller, datetime | None]] = Remembered("callers", KEYS_REMEMBERED_S, ApiKey, Tenant)


def authenticate(key_text: str) -> Caller:
    """The caller behind an API key. Raises Unauthenticated, as slowly for an unknown id as for a wrong secret, and
    Forbidden for a live key in test mode.

    Remembered for `KEYS_REMEMBERED_S` under the key's hash; ``tenant`` is a copy, to be read only.
    """
    found, expires_at = _callers.get(security.hash_token(key_text), lambda: _caller_of(key_text))
    _refuse_ended(expires_at)
    return found


def _caller_of(key_text: str) -> tuple[Caller, datetime | None]:
    read = security.read_api_key(key_text)
    public_id, secret_hash, live = read or ("", "0" * 64, False)
    with all_tenants("the key tells whose request it is"):
        key = db.session.scalar(select(ApiKey).where(ApiKey.public_id == public_id))
        good = security.same(key.secret_hash if key else "1" * 64, secret_hash)
        if not read or key is None or not good or key.live != live:
            raise Unauthenticated(T("Send a valid key: Authorization: Bearer wak_test_… or wak_live_…"))
        if key.revoked_at is not None:
            raise _ended()
        _refuse_ended(key.expires_at)
        tenant = copy_of(find_tenant(key.tenant_id))
        if key.live and not tenant.live:
            raise Forbidden(T("In test mode live keys reach nobody. Use a test key."), "tenant_in_test_mode")
        now = clock.now()
        if key.last_used_at is None or now - key.last_used_at > timedelta(minutes=1):
            _note_use(key.id)
    return Caller(tenant, key.id, key.live, frozenset(key.scopes)), key.expires_at


def _refuse_ended(ended_at: datetime | None) -> None:
    if ended_at is not None and ended_at <= clock.now():
        raise _ended()


def _ended() -> Unauthenticated:
    return Unauthenticated(T("This key was revoked or has expired. Ask for a new one in Settings."))


def _note_use(key_id: str) -> None:
    with transaction():
        db.session.execute(
            update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=clock.now()),
            execution_options={"wa_changes_nothing_remembered": True},
        )


# --- people -----------------------------------------------------------------------------------------------------


def first_account_missing() -> bool:
    """Has nobody ever signed up? (Then the welcome link is what to print.)"""
    return db.session.scalar(select(User.id).where(User.password_hash.is_not(None)).limit(1)) is None


def owner_without_password(tenant: Tenant) -> bool:
    """Has the tenant's owner never opened a welcome link?"""
    with tenant_scope(tenant.id):
        wanted = (
            select(User.password_hash)
            .join(Membership, Membership.user_id == User.id)
            .where(Membership.role == "owner", Membership.tenant_id == tenant.id)
            .order_by(Membership.id)
        )
        return db.session.scalars(wanted).first() is None


def new_welcome_link(tenant: Tenant) -> str:
    """A fresh single-use token by which the tenant's owner makes the first account."""
    with tenant_scope(tenant.id), transaction():
        owner = db.session.scalars(select(Membership).where(Membership.role == "owner").order_by(Membership.id)).first()
        return _new_link("welcome", tenant.id, owner.user_id if owner else None)


def _new_link(purpose: str, tenant_id: str, user_id: str | None) -> str:
    token = security.new_token()
    link = SignInLink(
        id=new_id("lnk"),
        purpose=purpose,
        token_hash=security.hash_token(token),
        for_tenant_id=tenant_id,
        user_id=user_id,
        expires_at=clock.now() + LINK_LIFE,
    )
    db.session.add(link)
    return token


def open_welcome(token: str) -> tuple[Tenant, User | None]:
    """Whom a welcome link is for. Raises NotFound when it is unknown, used or over 30 minutes old."""
    link = _valid_link(token)
    user = db.session.scalar(select(User).where(User.id == link.user_id)) if link.user_id else None
    return find_tenant(link.for_tenant_id), user


def accept_welcome(token: str, *, organisation: str, name: str, email: str, password: str) -> tuple[User, Tenant]:
    """Make the first account and spend the link. Raises NotFound (link), Invalid (a field), Conflict (e-mail taken)."""
    check_password(password)
    email = clean_email(email)
    if not organisation.strip():
        raise invalid("/organisation", "name_missing", T("Give the organisation a name."))
    with all_tenants("the link tells whose account it is"), transaction():
        link = _valid_link(token)
        spent = db.session.scalar(
            update(SignInLink)
            .where(SignInLink.id == link.id, SignInLink.used_at.is_(None))
            .values(used_at=clock.now())
            .returning(SignInLink.id)
        )
        if spent is None:
            raise NotFound(T("This link was used already."), "link_used")
        tenant = find_tenant(link.for_tenant_id)
        tenant.name = organisation.strip()
        user = db.session.scalar(select(User).where(User.id == link.user_id)) or _user_with(email)
        other = db.session.scalar(select(User).where(User.email == email, User.id != user.id))
        if other is not None or (user.password_hash and user.email != email):
            raise Conflict(T("Somebody uses this e-mail address already."), "email_taken")
        user.email, user.name = email, name.strip()
        user.password_hash = security.hash_password(password)
        with tenant_scope(tenant.id):
            if not db.session.scalar(select(Membership).where(Membership.user_id == user.id)):
                db.session.add(Membership(id=new_id("mem"), tenant_id=tenant.id, user_id=user.id, role="owner"))
            audit.record(tenant.id, f"user:{user.id}", "user.welcomed", user.id)
    return user, tenant


def _valid_link(token: str) -> SignInLink:
    link = db.session.scalar(select(SignInLink).where(SignInLink.token_hash == security.hash_token(token)))
    if link is None or link.used_at is not None or link.expires_at <= clock.now():
        raise NotFound(T("This link is not valid any more. Print a new one: python3 app.py welcome-link"), "link_spent")
    return link


def sign_in(email: str, password: str) -> User | None:
    """The person, or None for a wrong address or a wrong password: the two take the same time."""
    user = db.session.scalar(select(User).where(User.email == email.strip().lower()))
    stored = user.password_hash if user else None
    return user if security.password_matches(password, stored) else None


def open_session(user: User, user_agent: str, tenant_id: str | None = None) -> str:
    """A new signed-in browser; returns the token for its cookie. Raises Forbidden for a person without a tenant."""
    with all_tenants("a person may belong to several tenants"), transaction():
        mine = db.session.scalars(
            select(Membership).where(Membership.user_id == user.id).order_by(Membership.created_at)
        ).all()
        chosen = next((m.tenant_id for m in mine if tenant_id in (None, m.tenant_id)), None)
        if chosen is None:
            raise Forbidden(T("You do not belong to any organisation here."), "no_tenant")
        token = security.new_token()
        now = clock.now()
        session = UserSession(
            id=new_id("ses"),
            token_hash=security.hash_token(token),
            user_id=user.id,
            chosen_tenant_id=chosen,
            last_seen_at=now,
            expires_at=now + SESSION_LIFE,
            user_agent=user_agent[:300],
        )
        db.session.add(session)
        with tenant_scope(chosen):
            audit.record(chosen, f"user:{user.id}", "user.signed_in", user.id)
    return token


@dataclass(frozen=True)
class SignedIn:
    """Who sits at the browser, for which tenant, in which role."""

    user: User
    tenant: Tenant
    role: str
    session_id: str

    @property
    def actor(self) -> str:
        return f"user:{self.user.id}"


def session_of(token: str) -> SignedIn | None:
    """The signed-in person behind a cookie, or None when it ended (signed out, idle, role taken away)."""
    now = clock.now()
    row = db.session.scalar(select(UserSession).where(UserSession.token_hash == security.hash_token(token)))
    if row is None or row.revoked_at or row.expires_at <= now or now - row.last_seen_at > SESSION_IDLE:
        return None
    with all_tenants("the session tells whose pages these are"):
        member = db.session.scalar(
            select(Membership).where(Membership.user_id == row.user_id, Membership.tenant_id == row.chosen_tenant_id)
        )
        user = db.session.scalar(select(User).where(User.id == row.user_id))
        if member is None or user is None:
            return None
        if now - row.last_seen_at > timedelta(minutes=1):
            with transaction():
                db.session.execute(update(UserSession).where(UserSession.id == row.id).values(last_seen_at=now))
        return SignedIn(user, find_tenant(row.chosen_tenant_id), member.role, row.id)


def close_session(session_id: str) -> None:
    """Sign this browser out for good."""
    with transaction():
        db.session.execute(update(UserSession).where(UserSession.id == session_id).values(revoked_at=clock.now()))


def set_locale(user_id: str, locale: str) -> None:
    """Remember the language a person reads."""
    with transaction():
        db.session.execute(update(User).where(User.id == user_id).values(locale=locale))

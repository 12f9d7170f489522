"""What goes into a new message: a value for each variable, and the file or place of its header."""

from collections.abc import Mapping
from typing import Any, Protocol

from ..domain import rendering
from ..domain.media import MediaWish, misfit, own_file
from ..domain.orders import OrderEvent
from ..domain.text import T
from ..errors import Finding, Invalid, invalid
from ..models import Message, Template, Tenant
from ..providers.base import provider_named
from . import calendars, media, planning


class Wished(Protocol):
    """What is asked of a message (`sending.Wish`)."""

    @property
    def media(self) -> MediaWish | None: ...
    @property
    def values(self) -> Mapping[str, str]: ...
    @property
    def event(self) -> OrderEvent | None: ...


def values_for(tenant: Tenant, wish: Wished, template: Template) -> Mapping[str, str]:
    """The wish's values and, under them, the standard ones of its event in the template's language. Raises Invalid
    naming every variable of the template that has none."""
    values = dict(wish.values)
    if wish.event is not None:
        values = {**planning.event_values(wish.event, template.language), **values}
        if calendars.VARIABLE in rendering.all_variables(template):
            values.setdefault(calendars.VARIABLE, calendars.token_of(tenant, wish.event))
    missing = rendering.missing_values(template, values)
    if missing:
        findings = [_missing(template, name) for name in missing]
        raise Invalid(T("%(count)s fields need attention", count=len(findings)), findings=findings)
    return values


def _missing(template: Template, name: str) -> Finding:
    detail = T(
        "Template %(template)s (%(language)s, v%(version)s) needs %(name)s.",
        template=template.name,
        language=template.language,
        version=template.version,
        name=name,
    )
    return Finding(f"/variables/{name}", "variable_missing", detail)


def enclose(tenant: Tenant, wish: Wished, template: Template, row: dict[str, Any]) -> media.Planned | None:
    """Note the file in the row of a new message, in its transaction; None for a template without file or place.

    ``row`` must have its account and provider. A template's own file stands in for one that is not named. Raises
    Invalid ``media_missing`` or ``media_mismatch`` where the two do not belong together.
    """
    problem = misfit(template, wish.media)
    if problem is not None:
        raise invalid("/media", problem[0], problem[1])
    wanted = wish.media or own_file(template)
    if wanted is None:
        return None
    kind = provider_named(row["provider"]) if row["provider"] else None
    if kind is not None and not kind.uploads_media:
        media.check_place(template, wanted)
    planned = media.plan(tenant, wanted, row["account_id"], kind)
    row["media_source_id"] = planned.source_id
    row["media_sealed"] = Message.media.seal(Message, tenant.id, row["id"], planned.said)
    if planned.waits:
        row["reason"] = media.PENDING
    if wanted.optional:  # its text-only twin may say more than it does
        said = {name: rendering.clean_value(value) for name, value in wish.values.items()}
        row["variables_sealed"] = Message.variables.seal(Message, tenant.id, row["id"], said)
    return planned

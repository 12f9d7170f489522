"""Calling a message back: before it leaves, and while nobody knows yet whether it has left."""

import pytest

from tests import factories
from tests.services.health_world import message_of, outbox_of, queue, story_of
from wa_dashboard.db import tenant_scope
from wa_dashboard.providers.base import Outcome
from wa_dashboard.services import cancelling, delivery, settlement


@pytest.fixture
def template(tenant):
    return factories.make_template(tenant)


def test_a_message_called_back_while_it_was_under_way_does_not_go_when_it_comes_back(tenant, template):
    kept, stopped = queue(tenant, template, 2)
    lane = delivery.open_lane(tenant.account.id)
    with tenant_scope(tenant.id):
        begun = delivery.begin(lane, delivery.claim(lane, 2))
        assert cancelling.cancel(tenant.tenant, stopped, "user:test") is False
        assert cancelling.cancel(tenant.tenant, stopped, "user:test") is False
        busy = Outcome("not_sent", "transient", "131016", "busy", scope="provider")
        settlement.settle(lane.account, [(each, busy) for each in begun], delivery.pace())

    assert message_of(kept).status == "queued"
    assert (message_of(stopped).status, message_of(stopped).reason) == ("cancelled", "cancelled_by_user")
    assert outbox_of(stopped) is None
    assert [kind for kind in story_of(stopped) if kind.startswith("cancel")] == ["cancel_requested", "cancelled"]

"""`POST /api/wa/send/confirm`, from outside."""

from flask.testing import FlaskClient

from tests import factories
from tests.factories import ReadyTenant


def post(client: FlaskClient, tenant: ReadyTenant, body: object, **headers: str):
    return client.post("/api/wa/send/confirm", json=body, headers=tenant.headers | headers)


def test_an_order_is_accepted_and_queued(client: FlaskClient, tenant: ReadyTenant) -> None:
    factories.make_template(tenant)

    answer = post(client, tenant, factories.order())

    assert answer.status_code == 202, answer.text
    message = answer.json["message"]
    assert answer.json["duplicate"] is False
    assert message["status"] == "queued"
    assert message["lane"] == "high"
    assert message["order_id"] == "A-1001"
    assert message["template"]["name"] == "order_confirm"
    assert message["template"]["version"] == 1
    assert message["price_estimate"]["market"] == "RO"
    assert message["links"]["self"].endswith(f"/api/wa/messages/{tenant.id}/{message['id']}")
    assert answer.json["consent"]["changed"] is True

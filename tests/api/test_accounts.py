"""Senders and limits in the API: health without secrets, the drill, the live use; and the drill on the command line."""

import json

import pytest
from sqlalchemy import update

from tests import factories
from tests.web.test_settings_pages import change, open_breaker, set_tenant, used, waiting_messages
from wa_dashboard.db import db as database
from wa_dashboard.db import tenant_scope, transaction
from wa_dashboard.models import ProviderAccount
from wa_dashboard.services import tenants


def get(client, ready, url, **headers):
    return client.get(url, headers=ready.headers | headers)


class TestAccounts:
    def test_health_without_secrets(self, client, tenant, other_tenant):
        change(other_tenant, label="Al altcuiva")
        secrets = tenant.account.credentials
        waiting_messages(tenant, 2)
        answer = get(client, tenant, f"/api/wa/accounts/{tenant.id}")
        assert answer.status_code == 200
        (entry,) = answer.json["data"]
        assert (entry["id"], entry["state"], entry["waiting"]) == (tenant.account.id, "healthy", 2)
        assert entry["sender"] == tenant.account.sender
        assert [name for name in ("access_token", "app_secret", "verify_token") if secrets[name] in answer.text] == []
        assert tenant.account.webhook_token not in answer.text
        assert "Al altcuiva" not in answer.text

    def test_what_is_wrong_in_the_callers_language(self, client, tenant):
        open_breaker(tenant, tenant.account)
        (entry,) = get(client, tenant, f"/api/wa/accounts/{tenant.id}", **{"Accept-Language": "en"}).json["data"]
        assert entry["state"] == "open"
        assert entry["word"] == "Out of order at the provider"
        assert entry["down_since"] < entry["retry_at"]
        assert entry["reason"] == "network:timeout"

    def test_a_key_sees_the_senders_of_its_own_mode(self, client, tenant):
        with tenant_scope(tenant.id), transaction():
            database.session.execute(update(ProviderAccount).values(live=True))
        assert get(client, tenant, f"/api/wa/accounts/{tenant.id}").json["data"] == []
        assert get(client, tenant, f"/api/wa/accounts/{tenant.id}/{tenant.account.id}/drill").status_code == 404

    @pytest.mark.parametrize("url", ["accounts/{id}", "limits/{id}", "accounts/{id}/{account}/drill"])
    def test_somebody_elses_are_not_found_and_the_scope_is_needed(self, client, tenant, other_tenant, url):
        path = "/api/wa/" + url
        theirs = path.format(id=other_tenant.id, account=other_tenant.account.id)
        mixed = path.format(id=tenant.id, account=other_tenant.account.id)
        assert get(client, other_tenant, theirs).status_code == 200
        assert get(client, tenant, theirs).status_code == 404
        assert get(client, tenant, mixed).status_code == (404 if "{account}" in url else 200)
        blind = tenants.create_api_key(tenant.tenant, "blind", ["consent:write"], live=False)
        mine = path.format(id=tenant.id, account=tenant.account.id)
        assert client.get(mine, headers={"Authorization": f"Bearer {blind}"}).status_code == 403


class TestLimits:
    def test_what_is_used_and_what_binds(self, client, tenant, other_tenant):
        set_tenant(tenant, rate_per_minute=0, rate_per_hour=1000)
        used(other_tenant, "hour", 900)
        used(tenant, "hour", 1000)
        waiting_messages(tenant, 30)
        found = get(client, tenant, f"/api/wa/limits/{tenant.id}").json
        assert (found["rate_per_minute"], found["rate_per_hour"], found["waiting"]) == (0, 1000, 30)
        assert [(each["rule"], each["limit"], each["used"], each["seconds"]) for each in found["use"]] == [
            ("hour", 1000, 1000, 3600)
        ]
        assert found["binding"]["rule"] == "hour"
        assert found["last_leaves_at"] > found["as_of"]

    def test_nothing_binds_where_nothing_waits(self, client, tenant):
        set_tenant(tenant, rate_per_minute=100, rate_per_hour=0)
        found = get(client, tenant, f"/api/wa/limits/{tenant.id}").json
        assert (found["waiting"], found["binding"], found["last_leaves_at"]) == (0, None, None)


class TestDrill:
    def test_in_the_api(self, client, tenant):
        factories.make_template(tenant)
        second = factories.make_account(tenant.tenant, "twilio")
        waiting_messages(tenant, 3)
        found = get(client, tenant, f"/api/wa/accounts/{tenant.id}/{tenant.account.id}/drill").json
        assert found["account"]["id"] == tenant.account.id
        assert [each["id"] for each in found["standbys"]] == [second.id]
        assert (found["ready"], found["moves"], found["stays"]) == (False, 0, 3)
        assert len(found["sentences"]) > 2

    def test_on_the_command_line(self, app, tenant, other_tenant):
        run = app.test_cli_runner()
        good = run.invoke(
            args=["wa", "failover-drill", "--tenant", tenant.id, "--account", tenant.account.id, "--json"]
        )
        assert good.exit_code == 0, good.output
        facts = json.loads(good.stdout)
        assert facts["account_id"] == tenant.account.id
        assert facts["standbys"] == []
        spoken = run.invoke(args=["wa", "failover-drill", "--tenant", tenant.id, "--account", tenant.account.id])
        assert facts["sentences"][0] in spoken.output
        foreign = run.invoke(args=["wa", "failover-drill", "--tenant", tenant.id, "--account", other_tenant.account.id])
        assert foreign.exit_code == 1

"""The far end's doors for files, as the adapters use them: what it takes, what it refuses, what it remembers."""

import hashlib

import pytest
import requests

from tests import factories
from tests.support.files import PDF, PNG
from wa_dashboard.providers.base import CannotBuild, ProviderError
from wa_dashboard.services import accounts


@pytest.fixture(params=["meta_cloud", "dialog360"])
def uploading(request, app, simulator, web):
    """An adapter whose account the simulator knows."""
    made = factories.make_tenant(provider=request.param)
    return accounts.provider_of(made.account)


@pytest.fixture
def meta(app, simulator, web):
    return accounts.provider_of(factories.make_tenant().account)


def test_a_file_gets_an_id_and_is_described(uploading):
    media_id = uploading.upload_media(PDF, "application/pdf")

    url = f"{uploading.graph if uploading.name == 'meta_cloud' else uploading.urls['api']}/{media_id}"
    found = requests.get(url, headers=uploading.auth_headers(), timeout=5).json()
    assert (found["mime_type"], found["file_size"]) == ("application/pdf", len(PDF))
    assert found["sha256"] == hashlib.sha256(PDF).hexdigest()
    assert found["url"].startswith("http")


def test_what_is_not_what_it_says_is_refused(uploading):
    with pytest.raises(ProviderError) as refusal:
        uploading.upload_media(PNG, "application/pdf")
    assert refusal.value.outcome.code == "131053"

    with pytest.raises(ProviderError) as refusal:
        uploading.upload_media(b"<html>", "text/html")
    assert refusal.value.outcome.code == "100"


def test_a_file_of_another_account_is_not_there(meta, app):
    other = accounts.provider_of(factories.make_tenant(name="Alt", email="b@example.org").account)
    media_id = other.upload_media(PDF, "application/pdf")

    answer = requests.get(f"{meta.graph}/{media_id}", headers=meta.auth_headers(), timeout=5)

    assert answer.status_code == 400
    assert requests.get(f"{meta.graph}/{media_id}", headers=other.auth_headers(), timeout=5).status_code == 200


def test_a_sample_gets_a_handle(meta):
    handle = meta.upload_sample(PDF, "application/pdf", "bilet ă.pdf")

    assert len(handle) > 40


def test_a_sample_without_an_app_says_what_is_missing(meta):
    del meta.keys["app_id"]

    with pytest.raises(CannotBuild) as refusal:
        meta.upload_sample(PDF, "application/pdf", "bilet.pdf")

    assert "app" in str(refusal.value.reason)


def test_a_session_takes_exactly_what_was_announced(meta):
    about = {"file_name": "a.pdf", "file_length": "5", "file_type": "application/pdf"}
    url = f"{meta.graph}/{meta.keys['app_id']}/uploads"
    session = requests.post(url, params=about, headers=meta.auth_headers(), timeout=5).json()["id"]
    token = {"Authorization": f"OAuth {meta.keys['access_token']}", "file_offset": "0"}

    answer = requests.post(f"{meta.graph}/{session}", data=PDF, headers=token, timeout=5)
    assert answer.status_code == 400
    bearer = requests.post(f"{meta.graph}/{session}", data=b"%PDF-", headers=meta.auth_headers(), timeout=5)
    assert bearer.status_code in (400, 401)

    assert requests.post(f"{meta.graph}/{session}", data=b"%PDF-", headers=token, timeout=5).json()["h"]

"""A ticket in the header: fetched once, uploaded once, never sent without, and a person told when it cannot be had."""

import json
import time
import urllib.request
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from tests import factories
from tests.support import children
from tests.support.files import PDF, PNG
from wa_dashboard import clock
from wa_dashboard.db import all_tenants, db, db_now, tenant_scope, transaction
from wa_dashboard.domain.rendering import TemplateText
from wa_dashboard.models import (
    Attempt,
    Media,
    MediaSource,
    MediaUpload,
    Message,
    Outbox,
    Problem,
    ProviderAccount,
)
from wa_dashboard.services import media_age, media_work, template_submission, templates
from wa_dashboard.services.requeueing import requeue

BODY = "Bună, {first_name}! Comanda {order_id} este confirmată, iar biletele sunt atașate. Te așteptăm."
PHONE = "+40700000001"


@pytest.fixture
def shop(app, files):
    """The file server, which the operator has named."""
    settings = app.extensions["wa_settings"]
    settings.media_hosts["localhost"] = files.port
    files.put("/sample.pdf", PDF)
    files.put("/sample.png", PNG)
    yield files
    settings.media_hosts.clear()


def approve(ready, text):
    templates.save(ready.tenant, text, submit=True, live=False, actor="test")
    template_submission.submit_due()
    return template_submission.approve_now(ready.tenant, text.name, text.language)


def ticket_template(shop, name="bilet", **changes):
    header = {"format": "document", "example": {"link": shop.url("/sample.pdf")}}
    values = {"first_name": "Ana", "order_id": "A-1001"}
    return TemplateText(
        **{"name": name, "type": "order_confirm", "language": "ro", "category": "utility",
           "body": BODY if name == "bilet" else f"{BODY} Acesta este șablonul {name}, ca să fie altfel.",
           "header": header, "examples": values, **changes}
    )  # fmt: skip


@pytest.fixture
def tickets(ready, shop):
    """The tenant, whose ticket template is approved."""
    approve(ready, ticket_template(shop))
    return ready


def post(client, ready, order_id="A-1", phone=PHONE, **changes):
    body = factories.order(order_id, phone, template={"name": "bilet"}, **changes)
    return client.post("/api/wa/send/confirm", json=body, headers=ready.headers)


def pdf(shop, path="/A-1.pdf", content=PDF + b"A-1", **more):
    return {"kind": "document", "url": shop.put(path, content), "filename": "Bilete A-1.pdf", **more}


def one(message_id):
    with all_tenants("test"):
        wanted = select(Message).where(Message.id == message_id)
        return db.session.scalars(wanted, execution_options={"populate_existing": True}).one()


def attempts_of(message_id):
    with all_tenants("test"):
        return len(db.session.scalars(select(Attempt).where(Attempt.message_id == message_id)).all())


def everything(model):
    with all_tenants("test"):
        return db.session.scalars(select(model), execution_options={"populate_existing": True}).all()


def due_now():
    """The pause between two tries is over."""
    with all_tenants("test"), transaction():
        db.session.execute(update(MediaSource).where(MediaSource.state == "waiting").values(next_at=db_now()))
        db.session.execute(update(MediaUpload).where(MediaUpload.external_id == "").values(expires_at=db_now()))


def on_phone(simulator, phone=PHONE):
    with urllib.request.urlopen(f"{simulator}/_sim/phone?to={phone[1:]}") as answer:
        return json.load(answer)


def last_message(simulator, message_id, phone=PHONE):
    lines = on_phone(simulator, phone)
    lines = lines["messages"] if isinstance(lines, dict) else lines
    return [line for line in lines if (line.get("correlation_id") or "").startswith(message_id)]


def test_a_ticket_arrives_with_the_order(client, tickets, shop, work, until, simulator):
    answer = post(client, tickets, media=pdf(shop))

    assert answer.status_code == 202, answer.json
    message_id = answer.json["message"]["id"]
    assert one(message_id).reason == "media_pending"
    until(lambda: (work(), one(message_id).status)[1] in ("delivered", "read"))
    (line,) = last_message(simulator, message_id)
    assert line["header_format"] == "DOCUMENT"
    assert line["media"] == ("A-1.pdf" if tickets.account.provider == "twilio" else "Bilete A-1.pdf")
    assert shop.count("/A-1.pdf") == 1
    assert one(message_id).reason is None


def test_fifty_messages_fetch_and_upload_one_file_once(client, tickets, shop, work, until):
    media = pdf(shop, "/poster.pdf")
    ids = [post(client, tickets, f"A-{n}", f"+40700{n:05}1", media=media).json["message"]["id"] for n in range(50)]

    until(lambda: (work(), all(one(each).status in ("delivered", "read", "sent", "accepted") for each in ids))[1], 40)

    uploads = everything(MediaUpload)
    assert shop.count("/poster.pdf") == 1
    assert len(everything(MediaSource)) == len(everything(Media)) == 1
    assert len(uploads) == (0 if tickets.account.provider == "twilio" else 1)


def test_the_same_bytes_at_two_addresses_are_uploaded_once(client, tickets, shop, work, until):
    first = post(client, tickets, "A-1", media=pdf(shop, "/one.pdf", PDF)).json["message"]["id"]
    second = post(client, tickets, "A-2", media=pdf(shop, "/two.pdf", PDF)).json["message"]["id"]

    until(lambda: (work(), {one(each).status for each in (first, second)} <= {"delivered", "read"})[1])

    assert (len(everything(MediaSource)), len(everything(Media))) == (2, 1)
    assert len(everything(MediaUpload)) <= 1


def test_a_file_that_is_there_makes_nobody_wait(client, tickets, shop, work, until):
    media = pdf(shop)
    first = post(client, tickets, "A-1", media=media).json["message"]["id"]
    until(lambda: (work(), one(first).status in ("delivered", "read"))[1])

    second = post(client, tickets, "A-2", media=media).json["message"]["id"]

    assert one(second).reason is None
    until(lambda: (work(), one(second).status in ("delivered", "read"))[1])
    assert shop.count("/A-1.pdf") == 1


@pytest.fixture
def quick(app, simulator, web, shop):
    """As `tickets`, at Meta alone: for what does not differ between providers."""
    made = factories.make_tenant(provider="meta_cloud")
    approve(made, ticket_template(shop))
    return made


def test_a_server_that_is_down_is_asked_again_and_nothing_leaves_meanwhile(client, quick, shop, work, until):
    media = pdf(shop)
    shop.down = True
    message_id = post(client, quick, media=media).json["message"]["id"]
    for _ in range(3):
        work()
    (source,) = everything(MediaSource)
    assert (source.state, source.tries, source.error_code) == ("waiting", 1, "media_unreachable")
    assert (one(message_id).status, attempts_of(message_id)) == ("queued", 0)

    shop.down = False
    due_now()

    until(lambda: (work(), one(message_id).status in ("delivered", "read"))[1])
    assert attempts_of(message_id) == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"%PDF-" + b"0" * (16 * 1024 * 1024), "media_too_large"), (b"<html>sign in</html>", "media_wrong_type")],
    ids=["too large", "wrong type"],
)
def test_a_file_that_cannot_be_sent_is_a_problem_at_once(client, quick, shop, work, until, content, code):
    message_id = post(client, quick, media=pdf(shop, content=content)).json["message"]["id"]

    until(lambda: (work(), one(message_id).status == "dead_letter")[1])

    assert (one(message_id).error_code, attempts_of(message_id)) == (code, 0)
    with all_tenants("test"):
        assert db.session.scalars(select(Problem.cause)).all() == ["media"]
        assert db.session.scalars(select(Outbox.message_id)).all() == []


def test_once_the_file_is_mended_trying_again_fetches_anew(client, quick, shop, work, until):
    message_id = post(client, quick, media=pdf(shop, content=b"no pdf")).json["message"]["id"]
    until(lambda: (work(), one(message_id).status == "dead_letter")[1])
    shop.put("/A-1.pdf", PDF)

    class Person:
        tenant, actor = quick.tenant, "user:test"

    with tenant_scope(quick.id):
        assert requeue(Person(), [message_id]) == {message_id: None}

    until(lambda: (work(), one(message_id).status in ("delivered", "read"))[1])
    assert shop.count("/A-1.pdf") == 2


def test_five_tries_and_then_a_person_decides(client, quick, shop, work):
    url = shop.url("/never.pdf")
    message_id = post(client, quick, media={"kind": "document", "url": url}).json["message"]["id"]

    for number in range(1, 6):
        work()
        due_now()
        assert shop.count("/never.pdf") == number

    work()
    assert shop.count("/never.pdf") == 5
    assert (one(message_id).status, one(message_id).error_code) == ("dead_letter", "media_http_status")


def test_optional_goes_as_text_when_there_is_a_twin(client, quick, shop, work, until, simulator):
    approve(quick, ticket_template(shop, "bilet_text", header=None))
    media = {"kind": "document", "url": shop.url("/gone.pdf"), "optional": True}
    message_id = post(client, quick, media=media).json["message"]["id"]

    for _ in range(5):
        work()
        due_now()
    until(lambda: (work(), one(message_id).status in ("delivered", "read"))[1])

    (line,) = last_message(simulator, message_id)
    assert (line["template"], line["header_format"]) == ("bilet_text", "")


def test_optional_without_a_twin_waits_for_a_person(client, quick, shop, work, until):
    media = pdf(shop, content=b"no pdf", optional=True)
    message_id = post(client, quick, media=media).json["message"]["id"]

    until(lambda: (work(), one(message_id).status == "dead_letter")[1])

    assert attempts_of(message_id) == 0


def test_a_file_the_provider_lost_is_uploaded_once_more(client, quick, shop, work, until, simulator):
    first = post(client, quick, "A-1", media=pdf(shop)).json["message"]["id"]
    until(lambda: (work(), one(first).status in ("delivered", "read"))[1])
    with all_tenants("test"), transaction():
        db.session.execute(update(MediaUpload).values(external_id="999999999999999"))

    second = post(client, quick, "A-2", media=pdf(shop)).json["message"]["id"]

    until(lambda: (work(), one(second).status in ("delivered", "read"))[1])
    assert attempts_of(second) == 2
    assert shop.count("/A-1.pdf") == 1
    assert everything(MediaUpload)[0].external_id != "999999999999999"


def test_old_files_are_erased_and_can_be_had_again(client, quick, shop, work, until, other_tenant):
    media = pdf(shop)
    first = post(client, quick, "A-1", media=media).json["message"]["id"]
    until(lambda: (work(), one(first).status in ("delivered", "read"))[1])
    assert everything(Media)[0].content_sealed
    assert everything(MediaSource)[0].url_sealed
    assert media_age.erase_old() == 0

    with clock.at(clock.now() + timedelta(days=31)):
        assert media_age.erase_old() == 1

    assert everything(Media)[0].content_sealed is None
    assert everything(MediaSource)[0].url_sealed is None
    assert everything(MediaUpload) == []
    second = post(client, quick, "A-2", media=media).json["message"]["id"]
    until(lambda: (work(), one(second).status in ("delivered", "read"))[1])
    assert shop.count("/A-1.pdf") == 2


def test_two_organisers_share_no_file(client, quick, shop, work, until):
    other = factories.make_tenant(name="Alt", email="b@example.org")
    approve(other, ticket_template(shop))
    media = pdf(shop)
    ids = [post(client, each, media=media).json["message"]["id"] for each in (quick, other)]

    until(lambda: (work(), all(one(each).status in ("delivered", "read") for each in ids))[1])

    assert len({row.tenant_id for row in everything(Media)}) == 2
    assert shop.count("/A-1.pdf") == 2


def test_a_location_needs_no_file(client, quick, shop, work, until, simulator):
    approve(quick, ticket_template(shop, "loc", header={"format": "location"}))
    place = {"kind": "location", "latitude": 44.4268, "longitude": 26.1025, "name": "Sala"}
    body = factories.order("A-9", PHONE, template={"name": "loc"}, media=place)
    answer = client.post("/api/wa/send/confirm", json=body, headers=quick.headers)

    assert answer.status_code == 202, answer.json
    message_id = answer.json["message"]["id"]
    until(lambda: (work(), one(message_id).status in ("delivered", "read"))[1])
    assert last_message(simulator, message_id)[0]["media"] == "44.4268,26.1025"


def test_a_picture_of_the_event_goes_with_every_message(client, quick, shop, work, until):
    link = shop.put("/event.png", PNG)
    approve(quick, ticket_template(shop, "afis", header={"format": "image", "link": link}))
    body = factories.order("A-9", PHONE, template={"name": "afis"})

    answer = client.post("/api/wa/send/confirm", json=body, headers=quick.headers)

    assert answer.status_code == 202, answer.json
    message_id = answer.json["message"]["id"]
    until(lambda: (work(), one(message_id).status in ("delivered", "read"))[1])
    assert everything(Media)[0].mime_type == "image/png"


@pytest.mark.parametrize(
    ("template", "media", "pointer", "code"),
    [
        ("bilet", None, "/media", "media_missing"),
        ("bilet", {"kind": "image", "url": "https://tickets.example/a.png"}, "/media", "media_mismatch"),
        ("simplu", {"kind": "document", "url": "https://tickets.example/a.pdf"}, "/media", "media_mismatch"),
        ("bilet", {"kind": "document", "url": "http://tickets.example/a.pdf"}, "/media/url", "media_url_refused"),
        ("bilet", {"kind": "document", "url": "https://127.0.0.1/a.pdf"}, "/media/url", "media_url_refused"),
        ("bilet", {"kind": "document"}, "/media", "media_incomplete"),
        ("bilet", {"kind": "location", "latitude": 1.0}, "/media", "media_incomplete"),
        ("bilet", {"kind": "document", "url": "https://t.example/a.pdf", "latitude": 1}, "/media", "media_incomplete"),
    ],
)
def test_what_does_not_fit_is_said_at_once(client, quick, shop, template, media, pointer, code):
    approve(quick, ticket_template(shop, "simplu", header=None))
    body = factories.order("A-9", PHONE, template={"name": template}, media=media)

    answer = client.post("/api/wa/send/confirm", json=body, headers=quick.headers)

    assert answer.status_code == 422
    assert [(each["pointer"], each["code"]) for each in answer.json["errors"]] == [(pointer, code)]
    assert everything(Message) == []
    assert everything(MediaSource) == []


def test_who_dies_with_a_file_in_hand_leaves_it_to_the_next(client, quick, shop, work, until):
    message_id = post(client, quick, media=pdf(shop)).json["message"]["id"]
    with tenant_scope(quick.id), transaction():
        (source,) = db.session.scalars(select(MediaSource.id)).all()
        taken = media_work._claim_source(source)
    work()
    assert shop.count("/A-1.pdf") == 0, "somebody has it in hand"
    due_now()

    until(lambda: (work(), one(message_id).status in ("delivered", "read"))[1])
    from wa_dashboard.services.fetching import Fetched

    with tenant_scope(quick.id):
        media_work._settle_fetch(taken, Fetched(b"%PDF- late", "application/pdf"))

    assert (shop.count("/A-1.pdf"), len(everything(Media)), attempts_of(message_id)) == (1, 1, 1)


def test_an_account_that_is_off_is_left_alone(client, quick, shop, work):
    post(client, quick, media=pdf(shop))
    with tenant_scope(quick.id), transaction():
        db.session.execute(update(ProviderAccount).values(status="disabled"))

    work()

    assert [row.external_id for row in everything(MediaUpload)] == [""]


@pytest.mark.parametrize("point", ["F20", "F21", "F22"], ids=["fetching", "fetched", "uploaded"])
def test_a_worker_killed_with_a_file_in_hand_loses_and_doubles_nothing(client, quick, shop, work, until, app, point):
    message_id = post(client, quick, media=pdf(shop)).json["message"]["id"]

    children.killed(app, media_work.work_due, f"{point}=kill")

    assert (one(message_id).status, one(message_id).reason, attempts_of(message_id)) == ("queued", "media_pending", 0)
    work()
    assert attempts_of(message_id) == 0, "its lease is not over yet"
    due_now()
    until(lambda: (work(), one(message_id).status in ("delivered", "read"))[1])
    assert attempts_of(message_id) == 1
    assert shop.count("/A-1.pdf") == {"F20": 1, "F21": 2, "F22": 1}[point]


def test_a_slow_server_holds_up_its_own_files_only(client, quick, shop, work, until, monkeypatch):
    slow = {"kind": "document", "url": shop.put("/slow.pdf", PDF + b"slow", delay=4.0)}
    slow_id = post(client, quick, "A-1", media=slow).json["message"]["id"]
    quick_id = post(client, quick, "A-2", media=pdf(shop, "/quick.pdf")).json["message"]["id"]
    begun = time.monotonic()
    seen = {}

    def settled(errand, result, real=media_work._settle_fetch):
        seen[errand.url.rpartition("/")[2]] = time.monotonic() - begun
        real(errand, result)

    monkeypatch.setattr(media_work, "_settle_fetch", settled)
    media_work.work_due()

    assert seen["quick.pdf"] < 2 < 4 <= seen["slow.pdf"]
    until(lambda: (work(), {one(each).status for each in (slow_id, quick_id)} <= {"delivered", "read"})[1])


def test_an_order_that_comes_while_its_file_arrives_is_let_go_with_the_others(client, quick, shop, work, until):
    media = pdf(shop)
    first = post(client, quick, "A-1", media=media).json["message"]["id"]
    with tenant_scope(quick.id), transaction():
        taken = media_work._claim_source(db.session.scalars(select(MediaSource.id)).one())
    result = media_work._fetch(taken, {"localhost": shop.port})
    second = post(client, quick, "A-2", media=media).json["message"]["id"]
    with tenant_scope(quick.id):
        media_work._settle_fetch(taken, result)

    until(lambda: (work(), {one(each).status for each in (first, second)} <= {"delivered", "read"})[1])

    assert shop.count("/A-1.pdf") == 1


def test_trying_again_after_a_lost_file_uploads_it_anew(client, quick, shop, work, until):
    """A receipt said 131053: the file we had uploaded was of no use."""
    message_id = post(client, quick, media=pdf(shop)).json["message"]["id"]
    until(lambda: (work(), one(message_id).status in ("delivered", "read"))[1])
    (before,) = [row.external_id for row in everything(MediaUpload)]
    with tenant_scope(quick.id), transaction():
        db.session.execute(update(Message).values(status="failed", error_code="131053", error_class="transient"))

    class Person:
        tenant, actor = quick.tenant, "user:test"

    with tenant_scope(quick.id):
        assert requeue(Person(), [message_id]) == {message_id: None}

    until(lambda: (work(), attempts_of(message_id) == 2)[1])
    (after,) = [row.external_id for row in everything(MediaUpload)]
    assert after not in ("", before)


def test_a_rehearsal_fetches_nothing(client, quick, shop, work):
    answer = post(client, quick, media=pdf(shop), dry_run=True)

    work()

    assert (answer.status_code, answer.json["would_send"]) == (200, True)
    assert everything(MediaSource) == []
    assert shop.count("/A-1.pdf") == 0


def test_who_opts_out_while_the_file_is_fetched_gets_nothing(client, quick, shop, work):
    message_id = post(client, quick, media=pdf(shop)).json["message"]["id"]
    said = {"phone": PHONE, "status": "opted_out", "source": "checkout"}
    assert client.post("/api/wa/optin", json=said, headers=quick.headers).status_code in (200, 201)

    for _ in range(3):
        work()

    assert (one(message_id).status, attempts_of(message_id)) == ("cancelled", 0)

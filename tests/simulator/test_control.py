"""The controls, the phone, and what survives a restart or a kill."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.simulator.conftest import DIALOG360, META, TWILIO, Lab, Receiver, wait_for
from wa_dashboard import simulator

ROOT = Path(__file__).resolve().parents[2]


def put_account(lab: Any, provider: str, credentials: dict[str, Any], **more: Any) -> requests.Response:
    wanted = {"provider": provider, "credentials": credentials, "webhook_url": "http://127.0.0.1:1/x", **more}
    return lab.http.put(f"{lab.sim.url}/_sim/accounts", json=wanted)


def test_registering_an_account_again_changes_nothing_and_says_so(lab):
    answer = put_account(lab, "meta_cloud", META)
    assert (answer.status_code, answer.json()["created"]) == (200, False)
    other = {**META, "phone_number_id": "200200200"}
    answer = put_account(lab, "meta_cloud", other)
    assert (answer.status_code, answer.json()) == (
        201, {"provider": "meta_cloud", "account": "200200200", "created": True}
    )  # fmt: skip
    state = lab.control("GET", "state")
    assert len(state["accounts"]) == 4
    text = json.dumps(state)
    assert not any(secret in text for secret in (META["access_token"], META["app_secret"], TWILIO["api_secret"]))


@pytest.mark.parametrize(("provider", "credentials", "word"), [
    ("meta_cloud", {k: v for k, v in META.items() if k != "app_secret"}, "app_secret is missing"),
    ("meta_cloud", {**META, "colour": "x"}, "colour is unknown"),
    ("meta_cloud", {**META, "waba_id": "a b"}, "waba_id is not well-formed"),
    ("twilio", {"account_sid": TWILIO["account_sid"], "auth_token": "x"}, "from or messaging_service_sid"),
    ("twilio", {**TWILIO, "account_sid": "AC1"}, "account_sid"),
    ("dialog360", {**DIALOG360, "api_key": ""}, "api_key"),
    ("sms", {}, "provider"),
])  # fmt: skip
def test_wrong_accounts_are_refused_by_name(lab, provider, credentials, word):
    answer = put_account(lab, provider, credentials)
    assert answer.status_code == 400
    assert word in answer.json()["error"]


@pytest.mark.parametrize(("path", "body", "status"), [
    ("templates", {"provider": "twilio", "account": TWILIO["account_sid"], "name": "x", "language": "ro",
                   "event": "APPROVED"}, 404),
    ("templates", {"provider": "meta_cloud", "account": "1", "name": "x", "language": "ro", "event": "APPROVED"}, 404),
    ("templates", {"provider": "x"}, 400),
    ("inbound", {"provider": "meta_cloud", "account": META["waba_id"], "from": "12", "text": "x"}, 400),
    ("inbound", {"provider": "meta_cloud", "account": META["waba_id"], "from": "+40700000001"}, 400),
    ("inbound", {"provider": "meta_cloud", "account": META["waba_id"], "from": "40700000001", "preference": "no"}, 400),
    ("inbound", [], 400),
])  # fmt: skip
def test_wrong_controls_are_refused_in_a_sentence(lab, path, body, status):
    answer = lab.http.post(f"{lab.sim.url}/_sim/{path}", json=body)
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example:8001"}])
def test_a_browser_page_cannot_use_the_controls(lab, headers):
    answer = lab.http.put(f"{lab.sim.url}/_sim/faults", json={"refuse": True}, headers=headers)
    assert answer.status_code == 403
    assert lab.control("GET", "faults")["twilio"]["refuse"] is False


def test_unknown_event_and_setting(lab):
    lab.template()
    wanted = {"provider": "meta_cloud", "account": META["waba_id"], "name": "order_confirmed", "language": "ro"}
    assert lab.http.post(f"{lab.sim.url}/_sim/templates", json={**wanted, "event": "LOVED"}).status_code == 400
    for bad in ({"scale": -1}, {"nope": 1}, {"twilio_retries": 1.5}, {"webhook_batch": 0}, {"reject_duplicates": 1}):
        assert lab.http.put(f"{lab.sim.url}/_sim/settings", json=bad).status_code == 400
    assert lab.http.get(f"{lab.sim.url}/_sim/ledger?after=x").status_code == 400
    assert lab.http.get(f"{lab.sim.url}/_sim/phone?to=x").status_code == 400


def test_templates_are_approved_after_the_delay_and_announced(lab):
    lab.control("PUT", "settings", {"approve_after_s": 0.1})
    url = f"{lab.meta}/{META['waba_id']}/message_templates"
    assert lab.http.post(url, headers=lab.bearer, json=lab.draft()).json()["status"] == "PENDING"
    call = lab.wait_for(lambda: lab.receiver.calls and lab.receiver.calls[0])
    value = call.json["entry"][0]["changes"][0]["value"]
    assert (value["event"], value["message_template_name"], value["reason"]) == ("APPROVED", "order_confirmed", "NONE")
    assert isinstance(value["message_template_id"], int)
    lab.send()
    lab.control("POST", "templates", {"provider": "meta_cloud", "account": META["waba_id"], "name": "order_confirmed",
                                      "language": "ro", "event": "REJECTED", "reason": "ABUSIVE_CONTENT"})  # fmt: skip
    lab.wait_for(lambda: any(b"ABUSIVE_CONTENT" in c.body for c in lab.receiver.calls))


def test_the_phone_shows_both_sides(lab):
    lab.template()
    lab.send()
    lab.control("POST", "inbound", {"provider": "meta_cloud", "account": META["phone_number_id"],
                                    "from": "+40700000001", "text": "STOP"})  # fmt: skip
    out, back = lab.phone("40700000001")
    assert (out["direction"], out["text"]) == ("outbound", "Salut Ana, biletele pentru Concert / Arenă sunt gata.")
    assert (out["template"], out["correlation_id"], out["provider"]) == ("order_confirmed", "msg_1.1", "meta_cloud")
    assert (back["direction"], back["text"], back["kind"]) == ("inbound", "STOP", "text")
    phones = lab.control("GET", "phones")["phones"]
    assert [(p["phone"], p["messages"]) for p in phones] == [("+40700000001", 2)]


def test_ledger_after_n(lab):
    lab.template()
    for number in range(5):
        lab.send(lab.message(biz_opaque_callback_data=f"msg_{number}.1"))
    assert [line["correlation_id"] for line in lab.ledger(3)] == ["msg_3.1", "msg_4.1"]
    assert lab.ledger(5) == lab.ledger(99) == []
    assert [line["n"] for line in lab.ledger()] == [1, 2, 3, 4, 5]


def test_restart_keeps_accounts_templates_messages_and_ledger(tmp_path, receiver):
    with simulator.in_thread(tmp_path, approve_after_s=None, scale=0.01) as sim:
        lab = Lab(sim, receiver)
        lab.register()
        lab.template()
        sid = lab.twilio_content()
        lab.send()
        made = lab.send_twilio(lab.form(sid)).json()
        wait_for(lambda: lab.phone("+40700000001")[1]["status"] == "read")
        lab.control("PUT", "settings", {"scale": 1})
        late = lab.send_twilio(lab.form(sid, to="+40700000002")).json()
        lab.http.close()
    receiver.calls.clear()
    with simulator.in_thread(tmp_path, approve_after_s=None, scale=0.01) as sim:
        lab = Lab(sim, receiver)
        assert len(lab.ledger()) == 3
        assert [m["text"][:9] for m in lab.phone("+40700000001")] == ["Salut Ana"] * 2
        kept = lab.http.get(f"{lab.twilio}/Messages/{made['sid']}.json", auth=lab.basic).json()
        assert kept["status"] == "read"
        assert lab.send().status_code == 200
        assert lab.ledger(3)[0]["n"] == 4
        wait_for(lambda: [f["MessageStatus"] for f in receiver.forms()] == ["sent", "delivered", "read"])
        assert {f["MessageSid"] for f in receiver.forms()} == {late["sid"]}
        lab.http.close()


def start(folder: Path, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "wa_dashboard.simulator", "--data-dir", str(folder), "--port", str(port),
               "--approve-after", "0.05", "--scale", "0.02"]  # fmt: skip
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def up(process: subprocess.Popen[str], port: int) -> bool:
    if process.poll() is not None:
        raise AssertionError(process.stderr.read() if process.stderr else "")
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class At:
    """Looks like a started simulator: its address is enough for the lab."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.base_urls = {
            "meta": f"{self.url}/meta", "twilio": f"{self.url}/twilio", "dialog360": f"{self.url}/dialog360",
            "twilio_content": f"{self.url}/twilio-content",
        }  # fmt: skip


def test_own_process_killed_and_stopped(tmp_path: Path, receiver: Receiver):
    port = free_port()
    process = start(tmp_path, port)
    try:
        wait_for(lambda: up(process, port), 20)
        lab = Lab(At(port), receiver)  # type: ignore[arg-type]
        lab.register()
        lab.template()
        answered = [lab.send().json()["messages"][0]["id"] for _ in range(25)]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with (tmp_path / "simulator/ledger.jsonl").open("a") as file:
            file.write('{"torn":')
        process = start(tmp_path, port)
        wait_for(lambda: up(process, port), 20)
        lab = Lab(At(port), receiver)  # type: ignore[arg-type]
        assert [line["provider_id"] for line in lab.ledger()] == answered
        wait_for(lambda: {s["id"] for s in receiver.statuses() if s["status"] == "read"} == set(answered), 10)
        assert lab.send().status_code == 200
        second = start(tmp_path / "other", port)
        _, complaint = second.communicate(timeout=20)
        assert second.returncode == 1
        assert complaint == f"Port {port} is already in use: set WA_SIMULATOR_PORT to a free one.\n"
        third = start(tmp_path, free_port())
        _, complaint = third.communicate(timeout=20)
        assert third.returncode == 1
        assert complaint.startswith("Another simulator already writes ")
        lab.control("PUT", "faults", {"slow": 1, "slow_s": 30})
        with pytest.raises(requests.Timeout):
            lab.send(timeout=0.2)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
        assert process.returncode == 0
        assert time.monotonic() - started < 2
        lab.http.close()
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(simulator.CannotStart, match="cannot write"), simulator.in_thread(tmp_path / "file"):
        raise AssertionError("must not start")


def test_it_imports_nothing_else_of_the_product():
    code = (
        "import sys, wa_dashboard.simulator\n"
        "print([m for m in sys.modules if m.startswith('wa_dashboard.') and 'simulator' not in m])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

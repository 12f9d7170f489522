"""Every fault, one at a time, and the fates of the numbers."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
import requests

from wa_dashboard import simulator

PROVIDERS = ["meta_cloud", "twilio", "dialog360"]


@pytest.fixture(params=PROVIDERS)
def way(request: pytest.FixtureRequest, lab: Any) -> Any:
    """(provider, send one message) for each provider in turn."""
    if request.param == "twilio":
        sid = lab.twilio_content()
        return request.param, lambda to="+40700000001": lab.send_twilio(lab.form(sid, to=to))
    if request.param == "dialog360":
        lab.template360()
        return request.param, lambda to="+40700000001": lab.send360(lab.message(to=to))
    lab.template()
    return request.param, lambda to="+40700000001": lab.send(lab.message(to=to))


@pytest.mark.parametrize("fault", ["drop_before", "refuse"])
def test_cut_before_acceptance(lab, way, fault):
    provider, send = way
    lab.control("PUT", "faults", {"provider": provider, fault: True if fault == "refuse" else 1})
    with pytest.raises(requests.ConnectionError):
        send()
    assert lab.ledger() == []
    lab.control("PUT", "faults", {})
    assert send().ok


def test_refuse_also_cuts_what_is_not_a_send(lab):
    lab.control("PUT", "faults", {"provider": "twilio", "refuse": True})
    with pytest.raises(requests.ConnectionError):
        lab.http.get(f"{lab.content}/Content", auth=lab.basic)
    assert lab.http.get(f"{lab.d360}/v1/configs/webhook", headers=lab.key).ok


def test_cut_after_acceptance(lab, way):
    provider, send = way
    lab.control("PUT", "faults", {"provider": provider, "drop_after": 1})
    with pytest.raises(requests.ConnectionError):
        send()
    assert len(lab.ledger()) == 1
    lab.wait_for(lambda: lab.phone("+40700000001")[0]["status"] == "read")


def test_502_after_acceptance_is_html(lab, way):
    provider, send = way
    lab.control("PUT", "faults", {"provider": provider, "http_502_after_accept": 1})
    answer = send()
    assert answer.status_code == 502
    assert answer.headers["Content-Type"].startswith("text/html")
    assert len(lab.ledger()) == 1


def test_503_and_429_are_the_providers_own_and_not_accepted(lab, way):
    provider, send = way
    lab.control("PUT", "faults", {"provider": provider, "http_503": 1})
    answer = send()
    assert answer.status_code == 503
    if provider == "meta_cloud":
        assert (answer.json()["error"]["code"], answer.json()["error"]["is_transient"]) == (2, True)
    elif provider == "twilio":
        assert answer.json()["code"] == 20503
    else:
        assert "not available" in answer.json()["error"]
    lab.control("PUT", "faults", {"provider": provider, "http_503": 0, "http_429": 1})
    answer = send()
    if provider == "meta_cloud":
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, 130429)
    elif provider == "twilio":
        assert (answer.status_code, answer.json()["code"]) == (429, 20429)
    else:
        assert answer.status_code == 400
        assert "exceeded the endpoint rate limit" in answer.json()["meta"]["developer_message"]
    assert lab.ledger() == []


def test_slow_answers_are_accepted_first(lab, way):
    provider, send = way
    lab.control("PUT", "faults", {"provider": provider, "slow": 1, "slow_s": 0.4})
    started = time.monotonic()
    assert send().ok
    assert time.monotonic() - started >= 0.4
    assert len(lab.ledger()) == 1


def test_who_does_not_wait_for_a_slow_answer_was_accepted_all_the_same(lab):
    lab.template()
    lab.control("PUT", "faults", {"slow": 1, "slow_s": 5})
    with pytest.raises(requests.Timeout):
        lab.send(timeout=0.3)
    assert len(lab.ledger()) == 1
    lab.wait_for(lambda: lab.phone("+40700000001")[0]["status"] == "read")


def test_latency(lab, way):
    provider, send = way
    lab.control("PUT", "faults", {"provider": provider, "latency_ms": 200})
    started = time.monotonic()
    assert send().ok
    assert time.monotonic() - started >= 0.2


def test_faults_without_provider_meet_all_and_others_stay_untouched(lab, way):
    provider, send = way
    lab.control("PUT", "faults", {"http_429": 1})
    assert not send().ok
    others = {p: 0 for p in PROVIDERS if p != provider}
    lab.control("PUT", "faults", {"provider": provider})
    assert send().ok
    state = lab.control("GET", "faults")
    assert state[provider]["http_429"] == 0
    assert all(state[p]["http_429"] == 1 for p in others)
    lab.control("PUT", "faults", {})
    assert all(state["http_429"] == 0 for p, state in lab.control("GET", "faults").items() if p != "seed")


@pytest.mark.parametrize(("body", "word"), [
    ({"drop_before": 1.5}, "drop_before"), ({"drop_after": -0.1}, "drop_after"), ({"slow_s": "12"}, "slow_s"),
    ({"refuse": 1}, "refuse"), ({"webhooks_off": "no"}, "webhooks_off"), ({"nonsense": 1}, "nonsense"),
    ({"provider": "sms", "slow": 1}, "provider"), ({"seed": "x"}, "seed"), ({"slow": True}, "slow"),
    ({"slow": 0.5, "latency_ms": 1e9}, "latency_ms"),
])  # fmt: skip
def test_wrong_faults_are_refused_whole(lab, body, word):
    before = lab.control("GET", "faults")
    answer = lab.http.put(f"{lab.sim.url}/_sim/faults", json=body)
    assert answer.status_code == 400
    assert word in answer.json()["error"]
    assert lab.control("GET", "faults") == before


def test_a_seed_makes_it_repeatable(lab):
    lab.template()

    def run() -> list[bool]:
        lab.control("PUT", "faults", {"seed": 42, "http_503": 0.5})
        return [lab.send().ok for _ in range(20)]

    first = run()
    assert run() == first
    assert 0 < sum(first) < 20


def ending(lab: Any, provider: str, number: str) -> list[str]:
    """Statuses of the callbacks about one number, in order of arrival."""
    if provider == "twilio":
        return [f["MessageStatus"] for f in lab.receiver.forms() if f["To"] == f"whatsapp:{number}"]
    return [s["status"] for s in lab.receiver.statuses() if s["recipient_id"] == number[1:]]


def test_fates_by_number(lab, way):
    provider, send = way
    for digit in "0678":
        send(f"+4070000123{digit}")
    send("+40700001239")
    send("+40722123458")
    bad = "undelivered" if provider == "twilio" else "failed"
    full = ["sent", "delivered", "read"]
    lab.wait_for(lambda: ending(lab, provider, "+40700001239") == [bad, "delivered"])
    lab.wait_for(lambda: ending(lab, provider, "+40722123458") == full)
    assert ending(lab, provider, "+40700001230") == full
    assert ending(lab, provider, "+40700001236") == full
    assert ending(lab, provider, "+40700001237") == ["sent", "delivered"]
    assert ending(lab, provider, "+40700001238") == [bad]
    if provider == "twilio":
        codes = {f.get("ErrorCode") for f in lab.receiver.forms() if f["MessageStatus"] == bad}
        assert codes == {"63024"}
    else:
        codes = {s["errors"][0]["code"] for s in lab.receiver.statuses() if s["status"] == bad}
        assert codes == {131026}
    on_phone = {n: lab.phone(f"+4070000123{n}")[0]["on_phone"] for n in "0789"}
    assert on_phone == {"0": True, "7": True, "8": False, "9": True}


def test_webhooks_lost(lab, way):
    provider, send = way
    before = len(lab.receiver.calls)
    lab.wait_for(lambda: lab.control("GET", "state")["webhooks"]["pending"] == 0)
    lab.control("PUT", "faults", {"webhook_lost": 1})
    send()
    lab.wait_for(lambda: lab.control("GET", "state")["webhooks"].get("lost") == 3)
    assert len(ending(lab, provider, "+40700000001")) == 0
    assert before <= 1


def test_webhooks_twice(lab, way):
    provider, send = way
    lab.control("PUT", "faults", {"webhook_duplicate": 1})
    send()
    twice = sorted(["sent", "delivered", "read"] * 2)
    lab.wait_for(lambda: sorted(ending(lab, provider, "+40700000001")) == twice)


def test_webhooks_late(lab, way):
    provider, send = way
    lab.control("PUT", "faults", {"webhook_delay_ms": 500})
    started = time.monotonic()
    send()
    lab.wait_for(lambda: ending(lab, provider, "+40700000001"))
    assert time.monotonic() - started >= 0.5


def test_webhooks_shuffled(lab, way):
    provider, send = way
    lab.control("PUT", "settings", {"scale": 0.05})
    lab.control("PUT", "faults", {"webhook_shuffle": 0.5})
    numbers = [f"+4070000200{n}" for n in range(7)]
    for number in numbers:
        send(number)
    full = ["delivered", "read", "sent"]
    lab.wait_for(lambda: all(sorted(ending(lab, provider, n)) == full for n in numbers))
    assert any(ending(lab, provider, n) != ["sent", "delivered", "read"] for n in numbers)


def test_webhooks_off_are_kept_and_come_later(lab, way):
    provider, send = way
    lab.control("PUT", "faults", {"webhooks_off": True})
    send()
    lab.wait_for(lambda: lab.phone("+40700000001")[0]["status"] == "read")
    assert ending(lab, provider, "+40700000001") == []
    assert lab.control("GET", "state")["webhooks"]["pending"] >= 3
    lab.control("PUT", "faults", {"webhooks_off": False})
    lab.wait_for(lambda: sorted(ending(lab, provider, "+40700000001")) == ["delivered", "read", "sent"])


def test_refused_callbacks_come_again_with_the_same_bytes(lab, way):
    provider, send = way
    lab.wait_for(lambda: lab.control("GET", "state")["webhooks"]["pending"] == 0)
    lab.receiver.calls.clear()
    lab.receiver.answers = [500, 503]
    send()
    lab.wait_for(lambda: set(ending(lab, provider, "+40700000001")) == {"sent", "delivered", "read"})
    first = lab.receiver.calls[0]
    lab.wait_for(lambda: len([c for c in lab.receiver.calls if c.body == first.body]) >= 2)
    name = "X-Twilio-Signature" if provider == "twilio" else "X-Hub-Signature-256"
    assert len({c.headers[name] for c in lab.receiver.calls if c.body == first.body}) == 1


def test_twilio_gives_up_after_a_few_tries_and_obeys_the_fragment(lab):
    sid = lab.twilio_content()
    lab.receiver.answers = [500] * 100
    lab.send_twilio(lab.form(sid, to="+40700000008"))
    lab.wait_for(lambda: lab.control("GET", "state")["webhooks"].get("given_up") == 1)
    assert len(lab.receiver.calls) == 4
    url = f"{lab.receiver.url}/x?mid=m#rc=1&rp=all"
    lab.send_twilio(lab.form(sid, to="+40700000008", StatusCallback=url))
    lab.wait_for(lambda: lab.control("GET", "state")["webhooks"].get("given_up") == 2)
    assert [c.path for c in lab.receiver.calls[4:]] == ["/x?mid=m"] * 2
    lab.send_twilio(lab.form(sid, to="+40700000008", StatusCallback=url.replace("all", "ct")))
    lab.wait_for(lambda: lab.control("GET", "state")["webhooks"].get("given_up") == 3)
    assert len(lab.receiver.calls) == 7


def test_callbacks_wait_for_a_receiver_that_is_down(tmp_path, receiver):
    from tests.simulator.conftest import META, Lab

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with simulator.in_thread(tmp_path, approve_after_s=None, scale=0.01) as sim:
        lab = Lab(sim, receiver)
        lab.control("PUT", "settings", {"retry_base_s": 0.05})
        account = {"provider": "meta_cloud", "credentials": META, "webhook_url": f"http://127.0.0.1:{port}/late"}
        lab.control("PUT", "accounts", account)
        lab.template()
        lab.send()
        lab.wait_for(lambda: lab.control("GET", "state")["webhooks"].get("unreachable", 0) >= 4)
        import http.server
        import threading

        got: list[bytes] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                lab.wait_for(lambda: b'"status":"read"' in b"".join(got) and b"APPROVED" in b"".join(got))
            finally:
                server.shutdown()
                thread.join()
        lab.http.close()

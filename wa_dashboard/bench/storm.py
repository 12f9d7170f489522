"""A whole installation of real processes that can be killed, and a judge outside of it: the simulator's ledger."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from .servers import DOOR, clean_environ, free_port, wait_until

PACE = (
    "lease=6,connect=1,read=1.5,grace=3,margin=8,hold=120,long_hold=180,look_first=2,look_again=3,look_last=10,"
    "base=0.3,cap=4,tick=0.5"
)

CONFIRMATION: dict[str, Any] = {
    "name": "order_confirm",
    "type": "order_confirm",
    "language": "ro",
    "category": "utility",
    "body": "Bună, {first_name}! Comanda {order_id} este confirmată. Mulțumim.",
    "examples": {"first_name": "Ana", "order_id": "A-1"},
    "submit": True,
}


class Process:
    """One command of the product as a session of its own, killed whole and started again."""

    def __init__(self, words: list[str], env: dict[str, str], log: Path) -> None:
        self.words, self.env, self.log = words, env, log
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(DOOR), *self.words],
                env=clean_environ(self.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, *, only_parent: bool = False) -> None:
        """SIGKILL the whole session (RQ's horse is in a group of its own), or only the process we started."""
        for pid in [self.process.pid] if only_parent else session_of(self.process.pid):
            with_suppressed_kill(pid)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
        for pid in session_of(self.process.pid):
            with_suppressed_kill(pid)


def insist(holds: bool, otherwise: str) -> None:
    """Raises AssertionError saying ``otherwise`` unless it ``holds``."""
    if not holds:
        raise AssertionError(otherwise)


def with_suppressed_kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def session_of(leader: int) -> list[int]:
    """Every process of the leader's session, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader:
                found.append(int(entry.name))
    return found


class Installation:
    """Web, workers, a tick, the simulator; a tenant without limits whose templates are approved."""

    templates: tuple[dict[str, Any], ...] = (CONFIRMATION,)
    parts = {"web": "web", "worker1": "worker", "worker2": "worker", "tick": "tick"}

    def __init__(self, folder: Path, database_url: str | None, redis_url: str, seed: int, provider: str) -> None:
        self.folder, self.rng, self.provider = folder, random.Random(seed), provider
        self.port, self.sim_port = free_port(), free_port()
        self.env = {
            "WA_DATA_DIR": str(folder / "data"),
            "WA_PORT": str(self.port),
            "WA_SIMULATOR_PORT": str(self.sim_port),
            "REDIS_URL": redis_url,
            "WA_DEMO": "0",
            "WA_LOG_LEVEL": "warning",
            "WA_PACE": PACE,
            "WA_RATE_PER_MINUTE": "0",
            "WA_RATE_PER_HOUR": "0",
            "WHATSAPP_PROVIDER": provider,
        }
        if database_url:
            self.env["DATABASE_URL"] = database_url
        self.url = f"http://127.0.0.1:{self.port}"
        self.sim = f"http://127.0.0.1:{self.sim_port}"
        self.processes: dict[str, Process] = {}

    def command(self, *words: str) -> dict[str, Any]:
        """One command of the product with ``--json``; what it answered."""
        done = subprocess.run(
            [sys.executable, str(DOOR), *words, "--json"],
            env=clean_environ(self.env),
            capture_output=True,
            text=True,
            check=False,
        )
        insist(bool(done.stdout.strip()), f"{words}: {done.stderr[-2000:]}")
        return dict(json.loads(done.stdout))

    def begin(self, name: str, *words: str) -> None:
        self.processes[name] = Process(list(words), self.env, self.folder / f"{name}.log")

    def start(self) -> None:
        self.begin("simulator", "simulator")
        wait_until(lambda: self._answers(f"{self.sim}/_sim/state"), 15, "the simulator answers")
        # A provider repeats a lost webhook within the margin, or the watermark would pass it by (docs/decisions).
        quick = {"retry_base_s": 0.3, "retry_cap_s": 1.5}
        insist(requests.put(f"{self.sim}/_sim/settings", json=quick, timeout=5).status_code == 200, "settings")
        self.command("upgrade")
        made = self.command("tenant-create", "Furtuna", "--email", "furtuna@example.org")
        self.tenant, self.key, self.account = made["tenant_id"], made["api_keys"]["test"], made["account_id"]
        self.headers = {"Authorization": f"Bearer {self.key}"}
        for name, word in self.parts.items():
            self.begin(name, word)
        wait_until(lambda: self._answers(f"{self.url}/healthz"), 20, "the web answers")
        for template in self.templates:
            self._make_template(template)

    def _answers(self, url: str) -> bool:
        try:
            return requests.get(url, timeout=1).status_code == 200
        except requests.RequestException:
            return False

    def _make_template(self, template: dict[str, Any]) -> None:
        answer = requests.post(f"{self.url}/api/wa/templates", json=template, headers=self.headers, timeout=10)
        insist(answer.status_code == 201, answer.text)
        self.command("template-approve", "--tenant", self.tenant, template["name"], "ro")

    def faults(self, **what: object) -> None:
        body = {"provider": self.provider, **what} if what else {}
        insist(requests.put(f"{self.sim}/_sim/faults", json=body, timeout=5).status_code == 200, "faults")

    def post(self, number: int) -> None:
        """One order, posted until it is answered: what a careful checkout does."""
        body = {
            "order_id": f"S-{number}",
            "recipient": {"phone": f"+4070000{number % 10000:04d}", "first_name": "Ana"},
            "consent": {
                "status": "opted_in",
                "purposes": ["transactional"],
                "source": "checkout",
                "wording_id": "v1",
                "occurred_at": "2026-11-20T10:00:00Z",
            },
        }
        headers = self.headers | {"Idempotency-Key": f"storm-{number}"}
        answer, problem = None, None
        end = time.monotonic() + 90
        while time.monotonic() < end:
            try:
                answer = requests.post(f"{self.url}/api/wa/send/confirm", json=body, headers=headers, timeout=10)
            except requests.RequestException as error:
                problem = error
                time.sleep(0.2)
                continue
            if answer.status_code in (200, 202):
                return
            insist(answer.status_code in (409, 429, 503), answer.text)
            time.sleep(0.1)
        raise AssertionError(f"the order was never accepted: {answer.status_code if answer is not None else problem}")

    def post_all(self, count: int, threads: int = 4) -> threading.Thread:
        def run() -> None:
            with ThreadPoolExecutor(threads) as pool:
                self.posted = list(pool.map(self.post, range(count)))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def kill_some(self, kills: int, flush: Callable[[], object], flushes: int, pause: float) -> None:
        """Kills in random order, spread out; some only the parent, so that RQ's horse lives on as an orphan."""
        plan = ["kill"] * kills + ["flush"] * flushes
        self.rng.shuffle(plan)
        for what in plan:
            time.sleep(self.rng.uniform(pause / 2, pause))
            if what == "flush":
                flush()
                continue
            name = self.rng.choice([each for each in self.processes if each != "simulator"])
            self.processes[name].kill(only_parent=name.startswith("worker") and self.rng.random() < 0.3)
            self.processes[name].start()

    def story(self, message_id: str) -> list[str]:
        """The message's events, for whoever reads a failure."""
        url = f"{self.url}/api/wa/messages/{self.tenant}/{message_id}"
        answer = requests.get(url, headers=self.headers, timeout=30).json()
        return [json.dumps(each, ensure_ascii=False) for each in answer.get("events", [answer])]

    def ledger(self) -> Counter[str]:
        """How often the provider accepted each message, by our id."""
        lines = requests.get(f"{self.sim}/_sim/ledger", timeout=30).text.splitlines()
        return Counter(json.loads(line)["correlation_id"].rpartition(".")[0] for line in lines)

    def counts(self) -> Counter[str]:
        """Messages by status, as the API tells."""
        found: Counter[str] = Counter()
        url = f"{self.url}/api/wa/messages/{self.tenant}?limit=200"
        ids: dict[str, str] = {}
        cursor = None
        while True:
            page = self._get(url, {"cursor": cursor} if cursor else {})
            data = page.json()
            for item in data["data"]:
                found[item["status"]] += 1
                ids[item["id"]] = item["status"]
            cursor = data["page"]["next"]
            if not cursor:
                self.ids = ids
                return found

    def _get(self, url: str, params: dict[str, str]) -> requests.Response:
        """Asked again while the web is coming back from its last kill."""
        end = time.monotonic() + 60
        while True:
            with suppress(requests.RequestException):
                page = requests.get(url, params=params, headers=self.headers, timeout=30)
                if page.status_code == 200:
                    return page
            insist(time.monotonic() < end, "the web does not come back")
            time.sleep(0.5)

    def ids_with(self, *statuses: str) -> list[str]:
        """Messages that were in one of these statuses when `counts` last looked."""
        return [message_id for message_id, status in self.ids.items() if status in statuses]

    def stop(self) -> None:
        for name in [n for n in self.processes if n != "simulator"] + ["simulator"]:
            if name in self.processes:
                self.processes[name].stop()


@contextmanager
def installation(
    folder: Path,
    database_url: str | None,
    redis_url: str,
    seed: int,
    provider: str,
    kind: type[Installation] = Installation,
) -> Iterator[Installation]:
    """A whole installation for the time of the block."""
    made = kind(folder, database_url, redis_url, seed, provider)
    try:
        made.start()
        yield made
    finally:
        made.stop()

"""The commands as an operator's scripts see them: stdout, stderr and exit code (operations.md is the contract)."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.servers import DOOR, app_process, clean_environ, free_port, wait_until
from wa_dashboard import cli, queues, security

META = {
    "phone_number_id": "106540352242922",
    "waba_id": "102290129340398",
    "access_token": "EAAGm0PX4ZCpsBAKZC1x2y3z4a5b6c7d8",
    "app_secret": "0123456789abcdef0123456789abcdef",
    "verify_token": "a-verify-token-of-ours",
    "display_phone_number": "+40316300000",
}
TWILIO = {"account_sid": "AC" + "0" * 32, "auth_token": "f" * 32, "from": "+40316300001"}
DIALOG360 = {"api_key": "a1B2c3D4e5F6g7H8i9J0", "phone_number": "+40316300002", "webhook_secret": "hush-hush-hush-hush"}


@dataclass
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@contextmanager
def restored() -> Iterator[None]:
    """What a start chooses for its whole process is put back: logging, the key ring, Redis being away."""
    root = logging.getLogger()
    handlers, level, ring = root.handlers[:], root.level, security._ring
    queues._away_until = 0.0
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        security._ring = ring
        queues._away_until = 0.0


class Shell:
    """One installation on SQLite. Most commands run in this process, some as processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.simulator_port = free_port(), free_port()
        self.env = {
            "WA_DATA_DIR": str(folder / "data"),
            "WA_PORT": str(self.port),
            "WA_SIMULATOR_PORT": str(self.simulator_port),
            "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
            "WA_DEMO": "0",
        }

    def run(self, *words: str, typed: str = "", **env: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, restored(), redirect_stdout(out), redirect_stderr(err):
            for name in set(os.environ) - set(clean_environ({})):
                patch.delenv(name)
            for name, value in {**self.env, **env}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.StringIO(typed))
            code = cli.main(list(words))
        return Done(code, out.getvalue(), err.getvalue())

    def process(self, *words: str, flask: bool = False, **env: str) -> Done:
        program = [sys.executable, "-m", "flask", "--app", "app", "wa"] if flask else [sys.executable, str(DOOR)]
        done = subprocess.run(
            [*program, *words],
            env=clean_environ({**self.env, **env}),
            cwd=DOOR.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def ask(self, *words: str, code: int = 0, how: Callable[..., Done] | None = None, **more: Any) -> dict[str, Any]:
        """The one JSON object on stdout, and nothing but log lines on stderr when it went well."""
        done = (how or self.run)(*words, "--json", **more)
        assert done.returncode == code, done.stderr
        assert len(done.stdout.splitlines()) == 1, done.stdout
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        if code == 0:
            for line in done.stderr.splitlines():
                assert json.loads(line)["level"]
        return answer

    def file(self, name: str, content: object) -> str:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(path)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    made = Shell(tmp_path_factory.mktemp("shell"))
    with app_process("simulator", env=made.env, log=made.folder / "simulator.log"):
        wait_until(lambda: _answers(made.simulator_port), 30, "the simulator answers")
        made.upgraded = made.ask("upgrade")
        made.tenant = made.ask("tenant-create", "Teatrul Mic", "--email", "Ana@Example.org", how=made.process)
        yield made


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/_sim/state", timeout=1).status_code == 200
    except requests.RequestException:
        return False


# --- making things ----------------------------------------------------------------------------------------------


def test_upgrade_begins_from_nothing_and_then_keeps_a_copy(shell: Shell) -> None:
    assert shell.upgraded == {"backup": None, "from": None, "to": "0003"}

    again = shell.ask("upgrade")

    assert set(again) == {"backup", "from", "to"}
    assert again["from"] == again["to"]
    assert Path(again["backup"]).is_file()
    assert Path(again["backup"]).stat().st_mode & 0o077 == 0


def test_a_tenant_with_its_owner_keys_and_account(shell: Shell) -> None:
    made = shell.tenant

    assert set(made) == {"tenant_id", "owner", "api_keys", "account_id"}
    assert re.fullmatch(r"ten_[0-9a-z]{26}", made["tenant_id"])
    assert made["owner"]["email"] == "ana@example.org"
    assert set(made["owner"]) == {"email", "welcome_url"}
    assert re.fullmatch(rf"http://127\.0\.0\.1:{shell.port}/welcome/[\w-]{{43}}", made["owner"]["welcome_url"])
    assert set(made["api_keys"]) == {"test", "live"}
    assert made["api_keys"]["test"].startswith("wak_test_")
    assert made["api_keys"]["live"] is None
    assert re.fullmatch(r"acc_[0-9a-z]{26}", made["account_id"])


def test_a_live_tenant_has_both_keys_and_no_account_when_none_is_wanted(shell: Shell) -> None:
    made = shell.ask("tenant-create", "Opera", "--email", "opera@example.org", "--live", "--no-account")

    assert made["account_id"] is None
    assert made["api_keys"]["live"].startswith("wak_live_")
    assert made["api_keys"]["test"].startswith("wak_test_")
    live = shell.ask("api-key-create", "--tenant", made["tenant_id"], "--scopes", "all", "--live")
    assert live["api_key"].startswith("wak_live_")
    where = shell.file("meta.json", META)
    account = shell.ask(
        "account-create", "--tenant", made["tenant_id"], "--provider", "meta_cloud", "--credentials", where, "--live"
    )
    assert set(account) == {"account_id", "webhook_url"}


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("tenant-create", " ", "--email", "a@example.org"), "name_missing"),
        (("tenant-create", "X", "--email", "nobody"), ""),
    ],
)
def test_a_tenant_needs_a_name_and_an_address(shell: Shell, words: tuple[str, ...], field: str) -> None:
    answer = shell.ask(*words, code=1)

    assert set(answer) == {"error"}
    assert field in json.dumps(answer)
    assert answer["error"]["errors"]


def test_the_password_of_a_user_is_read_from_stdin(shell: Shell) -> None:
    words = ("user-create", "--tenant", shell.tenant["tenant_id"], "--role", "editor", "--password-stdin", "--email")

    made = shell.ask(*words, "ion@example.org", typed="o propoziție scurtă\n")
    assert set(made) == {"user_id", "email", "role"}
    assert (made["email"], made["role"]) == ("ion@example.org", "editor")

    assert (
        shell.ask(*words, "ion@example.org", typed="o propoziție scurtă\n", code=1)["error"]["code"] == "member_exists"
    )
    short = shell.ask(*words, "eva@example.org", typed="short\n", code=1)
    assert short["error"]["errors"][0]["pointer"] == "/password"
    without = shell.run(*words[:5], "--email", "eva@example.org")
    assert without.returncode == 2
    assert "--password-stdin" in without.stderr


def test_scopes_of_a_key_are_checked_by_name(shell: Shell) -> None:
    tenant = shell.tenant["tenant_id"]

    made = shell.ask("api-key-create", "--tenant", tenant, "--scopes", "send:confirm, messages:read")
    assert made["scopes"] == ["messages:read", "send:confirm"]
    assert made["live"] is False
    wrong = shell.ask("api-key-create", "--tenant", tenant, "--scopes", "send:confirm,fly", code=1)
    assert "fly" in json.dumps(wrong)
    assert shell.ask("api-key-create", "--tenant", tenant, "--live", code=1)["error"]["code"] == "tenant_in_test_mode"
    assert shell.ask("api-key-create", "--tenant", "ten_nobody", code=1)["error"]["code"]


@pytest.mark.parametrize(("provider", "right"), [("meta_cloud", META), ("twilio", TWILIO), ("dialog360", DIALOG360)])
def test_an_account_from_a_file_of_credentials(shell: Shell, provider: str, right: dict[str, str]) -> None:
    words = ("account-create", "--tenant", shell.tenant["tenant_id"], "--provider", provider, "--credentials")

    made = shell.ask(*words, shell.file("right.json", right), "--priority", "5")

    assert set(made) == {"account_id", "webhook_url"}
    assert made["webhook_url"].startswith(f"http://127.0.0.1:{shell.port}/api/wa/webhook/")

    missing = dict(right)
    gone = next(iter(missing))
    del missing[gone]
    wrong = shell.ask(*words, shell.file("wrong.json", missing | {"colour": "blue"}), code=1)
    assert wrong["error"]["code"] == "credentials_invalid"
    assert {each["pointer"] for each in wrong["error"]["errors"]} == {f"/credentials/{gone}", "/credentials/colour"}
    assert gone in wrong["error"]["detail"]
    assert "colour" in wrong["error"]["detail"]
    spoken = shell.run(*words, shell.file("wrong.json", missing | {"colour": "blue"}))
    assert spoken.returncode == 1
    assert gone in spoken.stderr
    assert "colour" in spoken.stderr
    assert "Traceback" not in spoken.stderr


@pytest.mark.parametrize("content", ["no json", "[1]", None], ids=["not JSON", "not an object", "no file"])
def test_a_file_that_holds_no_credentials(shell: Shell, content: str | None) -> None:
    path = str(shell.folder / "absent.json") if content is None else shell.file("broken.json", content)
    words = ("account-create", "--tenant", shell.tenant["tenant_id"], "--provider", "twilio", "--credentials", path)

    assert shell.ask(*words, code=1)["error"]["errors"][0]["pointer"] == "/credentials"


def test_a_live_account_of_a_tenant_in_test_mode_is_refused(shell: Shell) -> None:
    words = ("account-create", "--tenant", shell.tenant["tenant_id"], "--provider", "twilio", "--live", "--credentials")

    assert shell.ask(*words, shell.file("twilio.json", TWILIO), code=1)["error"]["code"] == "tenant_in_test_mode"


def test_an_unknown_provider_is_told_which_there_are(shell: Shell) -> None:
    words = ("account-create", "--tenant", shell.tenant["tenant_id"], "--provider", "pigeon", "--credentials")

    answer = json.dumps(shell.ask(*words, shell.file("twilio.json", TWILIO), code=1))

    assert all(name in answer for name in ("pigeon", "meta_cloud", "twilio", "dialog360"))


def test_the_welcome_link_of_an_installation_without_an_account(shell: Shell, tmp_path: Path) -> None:
    fresh = Shell(tmp_path)
    fresh.ask("upgrade")
    assert set(fresh.ask("welcome-link", code=1)) == {"welcome_url", "sign_in_url"}
    made = fresh.ask("tenant-create", "Gol", "--email", "gol@example.org", "--no-account")

    again = fresh.ask("welcome-link")

    assert set(again) == {"welcome_url"}
    assert again["welcome_url"] != made["owner"]["welcome_url"]
    fresh.ask(
        *(
            "user-create",
            "--tenant",
            made["tenant_id"],
            "--role",
            "owner",
            "--password-stdin",
            "--email",
            "gol@example.org",  # the owner, whose link was lost
        ),
        typed="o propoziție scurtă\n",
    )
    assert fresh.ask("welcome-link", code=1)["welcome_url"] is None


# --- looking after ----------------------------------------------------------------------------------------------


def test_invariants_hold_and_are_listed(shell: Shell) -> None:
    answer = shell.ask("invariants")

    assert set(answer) == {"ok", "checked"}
    assert answer["ok"] is True
    assert len(answer["checked"]) >= 10
    assert shell.run("invariants").stdout.startswith("ok: True")


def test_the_doctor_says_what_is_wrong_and_what_to_do(shell: Shell) -> None:
    answer = shell.ask("doctor", code=1)

    assert set(answer) == {"ok", "checks"}
    assert all(set(check) == {"name", "ok", "sentence"} for check in answer["checks"])
    found = {check["name"]: check for check in answer["checks"]}
    assert found["database"]["ok"]
    assert found["python"]["ok"]
    assert found["secrets"]["ok"]
    assert not found["queue"]["ok"]
    assert "REDIS_URL" in found["queue"]["sentence"]
    assert not found["webhooks"]["ok"]
    assert "WA_PUBLIC_URL" in found["webhooks"]["sentence"]
    spoken = shell.run("doctor")
    assert spoken.returncode == 1
    assert "BAD queue" in spoken.stderr
    assert "ok  database" in spoken.stderr


def test_the_doctor_of_an_empty_database(tmp_path: Path) -> None:
    answer = Shell(tmp_path).ask("doctor", code=1)

    sentence = next(check["sentence"] for check in answer["checks"] if check["name"] == "database")
    assert "python3 app.py upgrade" in sentence


def test_one_round_of_everything(shell: Shell) -> None:
    assert shell.ask("tick", "--once") == {"ticked": True}


def test_a_round_without_tables_says_that_it_failed(tmp_path: Path) -> None:
    fresh = Shell(tmp_path)

    answer = fresh.ask("tick", "--once", code=1)

    assert answer["ticked"] is False
    assert answer["failed"] == ["epoch"]  # nothing else is begun: it cannot tell which database this is


def test_replaying_webhooks(shell: Shell) -> None:
    answer = shell.ask("webhooks-replay", "--since", "2026-11-01T00:00:00+02:00", "--dry-run")
    assert answer
    assert shell.ask("webhooks-replay", "--since", "2026-11-01T00:00:00Z", "--provider", "twilio")

    for words in (
        (),
        ("--since", "yesterday"),
        ("--since", "2026-11-01T00:00:00"),
        ("--since", "2026-11-01T00:00:00Z", "--id", "whe_1"),
    ):
        wrong = shell.run("webhooks-replay", *words)
        assert wrong.returncode == 2, wrong.stderr
        assert "Traceback" not in wrong.stderr
        assert "--since" in wrong.stderr


def test_a_template_is_approved_now(shell: Shell) -> None:
    words = ("template-approve", "--tenant", shell.tenant["tenant_id"], "order_confirm", "ro")
    assert shell.ask(*words, code=1)["error"]["code"]

    with app_process("web", env=shell.env, log=shell.folder / "web.log"):
        wait_until(lambda: _status(f"http://127.0.0.1:{shell.port}/healthz") == 200, 30, "the web answers")
        template = {
            "name": "order_confirm",
            "type": "order_confirm",
            "language": "ro",
            "category": "utility",
            "body": "Bună, {first_name}! Comanda {order_id} este confirmată. Mulțumim.",
            "examples": {"first_name": "Ana", "order_id": "A-1"},
            "submit": True,
        }
        key = {"Authorization": f"Bearer {shell.tenant['api_keys']['test']}"}
        url = f"http://127.0.0.1:{shell.port}/api/wa/templates"
        assert requests.post(url, json=template, headers=key, timeout=20).status_code == 201
        answer = shell.ask(*words)

    assert set(answer) == {"name", "language", "approved"}
    assert (answer["name"], answer["language"]) == ("order_confirm", "ro")
    assert shell.tenant["account_id"] in answer["approved"]


def _status(url: str) -> int:
    try:
        return requests.get(url, timeout=2).status_code
    except requests.RequestException:
        return 0


# --- ways to call them ------------------------------------------------------------------------------------------


def test_the_same_commands_under_flask(shell: Shell) -> None:
    under_flask = partial(shell.process, flask=True)
    assert shell.ask("api-key-create", "--tenant", shell.tenant["tenant_id"], how=under_flask)["api_key"]
    assert shell.ask("api-key-create", "--tenant", "ten_nobody", how=under_flask, code=1)["error"]["code"]
    listed = under_flask("--help").stdout
    for name in (
        "tenant-create", "user-create", "api-key-create", "account-create", "template-approve", "doctor",
        "invariants", "webhooks-replay", "welcome-link", "upgrade", "tick", "worker", "scheduler",
    ):  # fmt: skip
        assert name in listed


def test_without_json_a_person_reads_it(shell: Shell) -> None:
    done = shell.run("api-key-create", "--tenant", shell.tenant["tenant_id"])

    assert done.returncode == 0
    assert done.stdout.startswith("api key: wak_test_")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WA_PORT", "eighty"),
        ("DATABASE_URL", "mysql://x"),
        ("REDIS_URL", "http://x"),
        ("WA_ENCRYPTION_KEYS", "short"),
        ("WHATSAPP_PROVIDER", "pigeon"),
        ("WA_PACE", "leese=1"),
        ("WA_FAILPOINTS", "F1=explode"),
        ("WA_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(shell: Shell, variable: str, value: str) -> None:
    done = shell.run("invariants", "--json", **{variable: value})

    assert done.returncode == 1
    (said,) = done.stderr.strip().splitlines()
    assert variable in said
    assert json.loads(done.stdout) == {"error": {"code": "wrong_setting", "detail": said, "errors": []}}
    assert shell.run("invariants", **{variable: value}).stdout == ""


@pytest.mark.parametrize("words", [["--nonsense"], ["--tenant"], ["stray"], []])
def test_a_wrong_call_is_json_too(shell: Shell, words: list[str]) -> None:
    done = shell.run("api-key-create", "--json", *words)

    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "wrong_usage"
    assert "Error: " in done.stderr


@pytest.mark.parametrize("flask", [False, True], ids=["app.py", "flask"])
def test_a_process_with_a_wrong_setting_ends_with_it(shell: Shell, flask: bool) -> None:
    done = shell.process("invariants", flask=flask, WA_PORT="eighty")

    assert done.returncode == 1
    assert "WA_PORT" in done.stderr.strip().splitlines()[-1]
    assert flask or "Traceback" not in done.stderr


def test_failpoints_are_refused_with_live_accounts(shell: Shell, tmp_path: Path) -> None:
    fresh = Shell(tmp_path)
    fresh.ask("upgrade")
    made = fresh.ask("tenant-create", "Opera", "--email", "opera@example.org", "--live", "--no-account")
    assert fresh.ask("tick", "--once", WA_FAILPOINTS="F1=raise") == {"ticked": True}
    words = ("account-create", "--tenant", made["tenant_id"], "--provider", "twilio", "--live", "--credentials")
    fresh.ask(*words, fresh.file("twilio.json", TWILIO))

    for command in (("tick", "--once"), ("worker",), ("scheduler",)):
        done = fresh.run(*command, WA_FAILPOINTS="F1=raise")
        assert done.returncode == 1
        assert "WA_FAILPOINTS" in done.stderr


def test_an_unknown_command_is_not_a_crash(shell: Shell) -> None:
    done = shell.run("tenant-creat")

    assert done.returncode == 2
    assert "tenant-creat" in done.stderr


def test_a_database_that_is_away_is_one_sentence(shell: Shell) -> None:
    url = f"postgresql://wa:secret-word@127.0.0.1:{free_port()}/wa"

    done = shell.run("invariants", DATABASE_URL=url)

    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret-word" not in done.stderr


def test_no_secret_of_a_command_is_logged(shell: Shell) -> None:
    done = shell.process("tenant-create", "Jurnal", "--email", "jurnal@example.org", "--json", WA_LOG_LEVEL="debug")
    made = json.loads(done.stdout)

    for secret in (made["api_keys"]["test"], made["owner"]["welcome_url"].rpartition("/")[2]):
        assert secret not in done.stderr

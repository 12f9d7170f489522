"""The papers tell the truth: what they list exists, what they show works. (What must be listed: test_docs.py.)"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests import factories
from wa_dashboard import cli, config
from wa_dashboard.api.catalogue import PROBLEMS
from wa_dashboard.domain.pace import Pace
from wa_dashboard.providers.base import all_providers
from wa_dashboard.services.tenants import SCOPES
from wa_dashboard.simulator.fates import Settings as SimulatorSettings
from wa_dashboard.simulator.faults import Faults

from .source import ROOT

REPOSITORY = ROOT.parent
PAPERS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
# Commands that are a part or the door itself: app.py knows them, not cli.py.
PARTS = {"run", "test", "web", "simulator"}
_COMMAND = re.compile(r"python3 app\.py(?: ([a-z][a-z-]*))?")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)\s]+)\)|(?:src|href)=\"(?!https?:)([^\"]+)\"")


def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def paper_id(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


# --- commands and variables ----------------------------------------------------------------------------------------


def test_operations_lists_every_command_and_no_other() -> None:
    section = text_of("docs/operations.md").partition("## Commands")[2].partition("## Environment")[0]
    listed = set(_COMMAND.findall(section)) | set(re.findall(r"· `([a-z-]+)`", section))
    visible = {name for name, command in cli.commands.commands.items() if not command.hidden and name[0] != "_"}

    assert listed - {""} == visible | PARTS - {"run"}


@pytest.mark.parametrize("paper", PAPERS, ids=paper_id)
def test_no_paper_names_a_command_that_is_not_there(paper: Path) -> None:
    named = set(_COMMAND.findall(paper.read_text(encoding="utf-8"))) - {""}

    assert named - set(cli.commands.commands) - PARTS == set()


def test_operations_lists_every_variable_and_its_default() -> None:
    table = text_of("docs/operations.md").partition("## Environment")[2].partition("### WA_PACE")[0]
    rows = [[cell.strip() for cell in line.split(" | ")] for line in table.splitlines() if line.startswith("| `")]
    defaults = {}
    for names, default, *_ in rows:
        variables = re.findall(r"`([A-Z0-9_]+)`", names)
        values = re.findall(r"`([^`]*)`", default) if len(variables) > 1 else [default.strip("`")]
        defaults |= dict(zip(variables, values if len(values) == len(variables) else [default] * 9, strict=False))

    assert set(defaults) == config._KNOWN
    assert defaults["WA_PORT"] == "8000"
    assert (defaults["WA_RATE_PER_MINUTE"], defaults["WA_RATE_PER_HOUR"]) == ("100", "1000")
    assert defaults["WHATSAPP_PROVIDER"] == "twilio"
    assert defaults["WA_REMINDER_INTERVALS"] == "D-7,D-3,D-1"


def test_written_defaults_are_the_real_ones(tmp_path: Path) -> None:
    """What the table says is what an empty environment gives."""
    text = text_of("docs/operations.md")
    settings = config.Settings.from_env({}, data_dir=tmp_path)

    assert f"| `WA_API_PER_MINUTE` | `{settings.api_per_minute}` |" in text
    assert f"| `WA_SEND_CONCURRENCY` | `{settings.send_concurrency}` |" in text
    assert f"| `{settings.host}`, `{settings.port}` |" in text
    assert settings.simulator_port == settings.port + 1


def test_operations_lists_every_pace_with_its_default() -> None:
    section = text_of("docs/operations.md").partition("### WA_PACE")[2].partition("## Health")[0]
    written: dict[str, str] = {}
    for names, values in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", section, re.MULTILINE):
        written |= dict(zip(re.findall(r"`(\w+)`", names), re.findall(r"[0-9.]+", values), strict=True))

    assert {name: float(value) for name, value in written.items()} == vars(Pace())


def test_operations_lists_every_credential() -> None:
    text = text_of("docs/operations.md")
    for name, provider in all_providers().items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` | `"))
        assert {credential.name for credential in provider.credentials} <= set(re.findall(r"`(\w+)`", row)), name


def test_operations_lists_every_simulator_control() -> None:
    text = text_of("docs/operations.md")
    routes = re.findall(r"\"(/_sim/\w+)\"", (ROOT / "simulator" / "control.py").read_text(encoding="utf-8"))

    assert len(routes) > 8
    assert {route for route in routes if f"{route}" not in text} == set()
    assert {fault for fault in vars(Faults()) if f'"{fault}"' not in text} == set()
    assert {name for name in vars(SimulatorSettings()) if f'"{name}"' not in text} == set()


# --- the API -------------------------------------------------------------------------------------------------------


def test_every_error_code_is_explained_with_its_status() -> None:
    text = text_of("docs/api.md").partition("## Errors")[2]
    table = {code: status for status, code in re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.MULTILINE)}
    aside = set(re.findall(r"`(\w+)`", text.rpartition("The catalogue also knows")[2]))

    assert {code: str(entry.status) for code, entry in PROBLEMS.items() if code not in aside} == table
    assert aside <= set(PROBLEMS)


def test_every_call_and_scope_is_described(sqlite_app: Flask) -> None:
    text = text_of("docs/api.md")
    rules = {rule.rule for rule in sqlite_app.url_map.iter_rules() if rule.rule.startswith("/api/wa")}
    names = {"<tenant_id>": "{tenantId}", "<message_id>": "{id}", "<template_id>": "{id}", "<account_id>": "{id}"}
    for rule in rules:
        written = rule
        for argument, name in names.items():
            written = written.replace(argument, name)
        if "webhook" not in rule:
            assert f"{written}`" in text, rule
    assert {scope for scope in SCOPES if f"`{scope}`" not in text} == set()


def curl_bodies(name: str) -> list[tuple[str, str]]:
    """(path, body) of each ``curl`` with a JSON body that a paper shows."""
    found = []
    for language, block in _FENCE.findall(text_of(name)):
        for line in block.replace("\\\n", " ").split("\ncurl") if language == "sh" else []:
            if "/api/wa/" in line and "-d " in line and "…" not in line:
                words = shlex.split(f"curl {line.partition('curl')[2] or line}", comments=False)
                url = next(word for word in words if "/api/wa/" in word)
                found.append((url[url.index("/api/wa/") :], words[words.index("-d") + 1]))
    return found


@pytest.mark.parametrize("paper", ["README.md", "docs/api.md"])
def test_the_curl_lines_work(app: Flask, client: FlaskClient, tenant: factories.ReadyTenant, paper: str) -> None:
    for language in ("ro", "en"):
        factories.make_template(tenant, language=language)
    factories.make_template(tenant, "otp_code", type="otp", body="{code} este codul tău de verificare.")
    shown = curl_bodies(paper)

    answers = {
        path: client.post(path, data=body, content_type="application/json", headers=tenant.headers)
        for path, body in shown
    }

    assert {"README.md": 1, "docs/api.md": 5}[paper] == len(shown)
    wanted = {"/api/wa/send/confirm": 202, "/api/wa/optin": 200, "/api/wa/templates": 201}
    wanted |= {"/api/wa/send/otp": 202, "/api/wa/verify/otp": 200}
    assert {path: answer.status_code for path, answer in answers.items()} == {path: wanted[path] for path, _ in shown}
    assert answers["/api/wa/send/confirm"].json["message"]["status"] == "queued"


def test_the_snippets_in_other_languages_send_the_same_order() -> None:
    """They are not run here; what they send is compared with the curl line, which is."""
    blocks = _FENCE.findall(text_of("docs/api.md"))
    (_, body), *_ = curl_bodies("docs/api.md")
    wanted = set(_leaves(json.loads(body))) - {"A-20391", "+40700000123", "Ana"}
    for language in ("php", "python", "js"):
        block = next(text for name, text in blocks if name == language)
        assert {leaf for leaf in wanted if leaf not in block} == set(), language
    compile(next(text for name, text in blocks if name == "python"), "docs/api.md", "exec")


def _leaves(value: object) -> list[str]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [str(value)]


# --- the README and what surrounds it --------------------------------------------------------------------------------


def test_the_readmes_two_commands_are_what_ci_runs() -> None:
    first = next(block for language, block in _FENCE.findall(text_of("README.md")) if language == "sh")
    commands = [line.partition("#")[0].strip() for line in first.splitlines()]
    called = [line.strip() for line in text_of(".ci/run").splitlines() if line.strip().startswith("python3 ")]

    assert commands == ["python3 app.py", "python3 app.py test"]
    assert called
    assert all(line.startswith(commands[1]) for line in called)


@pytest.mark.parametrize("paper", PAPERS, ids=paper_id)
def test_links_lead_to_files_and_headings(paper: Path) -> None:
    broken = []
    for link, source in _LINK.findall(_FENCE.sub("", paper.read_text(encoding="utf-8"))):
        name, _, anchor = (link or source).partition("#")
        target = (paper.parent / name).resolve() if name else paper
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link or source)

    assert broken == []


def _anchors(paper: Path) -> set[str]:
    """The anchors of a paper's headings, as GitHub and others make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", paper.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_decision_is_in_the_list() -> None:
    folder = REPOSITORY / "docs" / "decisions"
    text = text_of("docs/decisions/README.md")
    listed = re.findall(r"^\| (\d+) \| \[(.+)\]\((\d{4}-[a-z0-9-]+\.md)\) \|$", text, re.MULTILINE)

    assert [name for _, _, name in listed] == [path.name for path in sorted(folder.glob("[0-9]*.md"))]
    for number, title, name in listed:
        assert text_of(f"docs/decisions/{name}").startswith(f"# {number}. {title}\n"), name


def test_pictures_are_there_and_light() -> None:
    pictures = sorted((REPOSITORY / "docs" / "pictures").glob("*.png"))

    assert [path.name for path in pictures] == ["message.png", "overview.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size < 200 * 1024 for path in pictures)


def test_the_picture_script_says_what_it_needs(tmp_path: Path) -> None:
    """Without a browser: one sentence and 1, nothing started."""
    script = REPOSITORY / "docs" / "pictures" / "take.py"
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )

    assert (run.returncode, run.stderr) == (1, "There is no Chromium here: install one, or name it in CHROMIUM.\n")

"""Every benchmark runs at a tiny size, on loopback, and says what it should; how fast it was is only printed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import DOOR, clean_environ
from wa_dashboard.bench import ceiling, command, crash, far_end, gates
from wa_dashboard.bench.servers import has_postgresql


def run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DOOR), "bench", *words],
        env=clean_environ(env or {}),
        capture_output=True,
        text=True,
        timeout=170,
    )


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("name", "scale"), [("delivery", "0.005"), ("stats", "0.01"), ("schedule", "0.02")])
def test_a_tiny_benchmark_tells_figures_and_ratios(name: str, scale: str, capsys: pytest.CaptureFixture) -> None:
    done = run(name, "--json", "--scale", scale, "--rounds", "1", "--database", "sqlite")

    told = json.loads(done.stdout)
    result = told["benches"][name]
    with capsys.disabled():
        print(f"\n{name}: " + ", ".join(f"{each['name']} {each['value']:.3g}" for each in result["ratios"]))
    assert "error" not in result, done.stderr[-2000:]
    assert (told["database"], told["rounds"]) == ("sqlite", 1)
    assert all(each["value"] >= 0 and each["unit"] for each in result["figures"])
    assert {each["name"] for each in result["ratios"]} <= set(gates.GATES)
    assert {each["verdict"] for each in result["ratios"]} <= {"fail", "pass", "aim"}
    assert done.returncode == (0 if told["ok"] else 1)
    rows = result["rows"]
    if name == "delivery":
        assert {row["who"] for row in rows} >= {"ceiling", "product", "requests", "simple", "fork"}
        assert {row["twice"] for row in rows} == {0}
        assert [row["different"] for row in rows] == [row["count"] for row in rows]


@pytest.mark.full
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["latency", "footprint", "crash"])
def test_the_slower_benchmarks_run_too(name: str, capsys: pytest.CaptureFixture) -> None:
    database = "postgresql" if has_postgresql() else "sqlite"

    done = subprocess.run(
        [
            sys.executable,
            str(DOOR),
            "bench",
            name,
            "--json",
            "--scale",
            "0.03",
            "--rounds",
            "1",
            "--database",
            database,
        ],
        env=clean_environ({}),
        capture_output=True,
        text=True,
        timeout=380,
    )

    result = json.loads(done.stdout)["benches"][name]
    with capsys.disabled():
        print(f"\n{name}: " + ", ".join(f"{each['name']} {each['value']:.3g}" for each in result["ratios"]))
    assert "error" not in result, done.stderr[-2000:]
    assert result["ratios"]


def test_a_wrong_name_is_one_sentence_and_one_object() -> None:
    done = run("nothing", "--json")

    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "wrong_usage"
    assert "nothing" in done.stderr


def test_nothing_is_written_where_the_installation_lives(tmp_path: Path) -> None:
    data = tmp_path / "data"

    done = run("stats", "--scale", "0.01", "--rounds", "1", "--database", "sqlite", env={"WA_DATA_DIR": str(data)})

    assert "deepest list page" in done.stdout, done.stderr[-2000:]
    assert not data.exists()


def test_an_unknown_database_is_refused() -> None:
    done = run("stats", "--database", "mysql://somewhere/db")

    assert done.returncode == 1
    assert "mysql" in done.stderr
    assert done.stdout == ""


def test_a_verdict_follows_gate_and_aim() -> None:
    reached = [gates.judged("delivery_0_of_requests", [value])["verdict"] for value in (3.9, 4, 9.9, 10)]
    waited = [gates.judged("otp_under_load_ms", [value])["verdict"] for value in (101, 100, 51, 50)]

    assert reached == ["fail", "pass", "pass", "aim"]
    assert waited == ["fail", "pass", "pass", "aim"]
    assert gates.judged("twice", [0])["verdict"] == "aim"
    assert gates.judged("twice", [1])["verdict"] == "fail"


def test_the_median_of_the_rounds_is_judged() -> None:
    judged = gates.judged("delivery_0_of_requests", [1.0, 5.0, 30.0])

    assert (judged["value"], judged["verdict"], judged["rounds"]) == (5.0, "pass", [1.0, 5.0, 30.0])


def test_a_tally_counts_what_came_more_than_once() -> None:
    seen = far_end.tally([("msg_1.1", 10.0), ("msg_2.1", 10.5), ("msg_1.2", 11.0)])

    assert (seen["arrived"], seen["different"], seen["twice"], seen["rate"]) == (3, 2, 1, 2.0)


def test_a_storm_is_judged_by_the_ledger() -> None:
    from collections import Counter

    messages = {
        "sent": ["must_deliver", "read"],
        "lost": ["must_deliver", "read"],
        "twice": ["never_twice", "read"],
        "said": ["never_twice", "unconfirmed"],
        "unsaid": ["never_twice", "failed"],
        "doubted": ["never_twice", "unconfirmed"],
    }

    judged = crash._judge(messages, Counter({"sent": 1, "twice": 2, "doubted": 1}))

    assert (judged["lost"], judged["twice"]) == (1, 1)
    assert (judged["unconfirmed"], judged["unconfirmed_but_sent"], judged["unsent_but_unsaid"]) == (2, 1, 1)


def test_the_ceiling_sends_what_the_product_would() -> None:
    request = ceiling.sample_request("http://127.0.0.1:1")

    before, after = ceiling.request_bytes(request, "127.0.0.1:1")

    assert before.startswith(b"POST /v24.0/")
    assert before.rstrip(b' "').endswith(b'"biz_opaque_callback_data":')
    assert f"Content-Length: {len(request.body)}\r\n".encode() in before
    assert after.startswith(b'"')


def test_the_table_names_gate_and_verdict() -> None:
    ratio = gates.judged("delivery_0_of_requests", [5.0])
    figure = {"what": "product at 0 ms", "unit": "msg/s", "value": 1234.0}
    summary = {
        "database": "sqlite",
        "scale": 0.1,
        "rounds": 3,
        "seconds": 1.0,
        "benches": {"delivery": {"figures": [figure], "ratios": [ratio], "notes": ["a note"]}},
    }

    text = command.table(summary)

    assert "product at 0 ms" in text
    assert "1,234 msg/s" in text
    assert "a note" in text
    assert [line.split()[-1] for line in text.splitlines() if "plain requests loop" in line] == ["pass"]

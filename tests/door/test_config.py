"""Settings: every variable, its default, its refusals; the secrets that are made once."""

import base64
import concurrent.futures
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from wa_dashboard.config import PROJECT, ConfigError, Settings, queue_socket, unknown_variables

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
OTHER = base64.urlsafe_b64encode(bytes(32)).decode()


@pytest.fixture
def read(tmp_path):
    def from_env(**environ: str) -> Settings:
        return Settings.from_env({"WA_DATA_DIR": str(tmp_path / "data"), **environ})

    return from_env


def test_defaults_are_those_of_the_contract(read, tmp_path):
    s = read()
    assert (s.host, s.port, s.public_url) == ("127.0.0.1", 8000, "http://127.0.0.1:8000")
    assert s.database_url == f"sqlite:///{tmp_path}/data/wa.db"
    assert s.database_path == tmp_path / "data" / "wa.db"
    assert s.embedded_queue
    assert s.redis_url.startswith("unix:///")
    assert (s.default_provider, s.reminder_intervals) == ("twilio", ("D-7", "D-3", "D-1"))
    assert (s.rate_per_minute, s.rate_per_hour, s.cost_tracking) == (100, 1000, True)
    assert (s.simulator_port, s.demo, s.log_level, s.failpoints) == (8001, True, "info", "")
    assert s.workers >= 1
    assert s.send_concurrency >= 1


def test_the_default_data_folder_is_beside_the_door_wherever_one_stands(tmp_path):
    code = "from wa_dashboard.config import _Env, PROJECT; print(_Env({}).folder('WA_DATA_DIR', PROJECT / 'instance'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(PROJECT)}, text=True, capture_output=True
    )
    assert done.stdout.strip() == str(PROJECT / "instance")


def test_an_empty_value_counts_as_unset(read):
    assert read(WA_PORT="", DATABASE_URL=" ", REDIS_URL="").port == 8000


def test_live_accounts_go_to_the_providers_and_test_accounts_to_the_simulator(read):
    s = read(WA_PORT="9000")
    assert s.provider_urls("meta_cloud", live=True) == {"api": "https://graph.facebook.com"}
    assert s.provider_urls("dialog360", live=True) == {"api": "https://waba-v2.360dialog.io"}
    assert s.provider_urls("twilio", live=True) == {
        "api": "https://api.twilio.com",
        "content": "https://content.twilio.com",
    }
    base = "http://127.0.0.1:9001"
    assert s.provider_urls("meta_cloud", live=False) == {"api": f"{base}/meta"}
    assert s.provider_urls("dialog360", live=False) == {"api": f"{base}/dialog360"}
    assert s.provider_urls("twilio", live=False) == {"api": f"{base}/twilio", "content": f"{base}/twilio-content"}
    with pytest.raises(KeyError):
        s.provider_urls("carrier_pigeon", live=False)


def test_base_urls_can_be_set_one_by_one(read):
    s = read(
        WA_META_BASE_URL="http://127.0.0.1:7000/",
        WA_TWILIO_CONTENT_BASE_URL="https://content.example.org",
        WA_TEST_DIALOG360_BASE_URL="http://sim.example.org:1/x",
        WA_SIMULATOR_PORT="9999",
    )
    assert s.provider_urls("meta_cloud", live=True)["api"] == "http://127.0.0.1:7000"
    assert s.provider_urls("twilio", live=True)["content"] == "https://content.example.org"
    assert s.provider_urls("dialog360", live=False)["api"] == "http://sim.example.org:1/x"
    assert s.provider_urls("meta_cloud", live=False)["api"] == "http://127.0.0.1:9999/meta"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WA_PORT", "http"),
        ("WA_PORT", "0"),
        ("WA_PORT", "65536"),
        ("WA_PORT", "-1"),
        ("WA_PORT", "８000"),
        ("WA_SIMULATOR_PORT", "8000"),
        ("WA_SIMULATOR_PORT", "x"),
        ("WA_HOST", "http://localhost"),
        ("WA_HOST", "bad host"),
        ("WA_PUBLIC_URL", "wa.example.org"),
        ("WA_PUBLIC_URL", "ftp://wa.example.org"),
        ("WA_PUBLIC_URL", "https://user@wa.example.org"),
        ("WA_PUBLIC_URL", "https://wa.example.org?x=1"),
        ("WA_PUBLIC_URL", "https://wa.example.org:99999"),
        ("DATABASE_URL", "mysql://x/y"),
        ("DATABASE_URL", "postgresql://"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("REDIS_URL", "http://localhost"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://host:99999"),
        ("WHATSAPP_PROVIDER", "sandbox"),
        ("WA_REMINDER_INTERVALS", "D-7;D-3"),
        ("WA_REMINDER_INTERVALS", "7"),
        ("WA_REMINDER_INTERVALS", "D-7,D-7"),
        ("WA_REMINDER_INTERVALS", "D-7,"),
        ("WA_RATE_PER_MINUTE", "-1"),
        ("WA_RATE_PER_HOUR", "1e3"),
        ("WA_COST_TRACKING", "maybe"),
        ("WA_DEMO", "2"),
        ("WA_WORKERS", "0"),
        ("WA_SEND_CONCURRENCY", "0"),
        ("WA_LOG_LEVEL", "loud"),
        ("WA_SECRET_KEY", "short"),
        ("WA_ENCRYPTION_KEYS", "secret"),
        ("WA_ENCRYPTION_KEYS", f"{KEY},"),
        ("WA_ENCRYPTION_KEYS", KEY[:-8]),
        ("WA_META_BASE_URL", "http://graph.example.org"),
        ("WA_TEST_TWILIO_BASE_URL", "nowhere"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_begins_with_its_variable(read, variable, value):
    with pytest.raises(ConfigError) as caught:
        read(**{variable: value})
    sentence = str(caught.value)
    assert caught.value.variable == variable
    assert sentence.startswith(f"{variable} ")
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h:5433/d?sslmode=require", "postgresql+psycopg://u:p@h:5433/d?sslmode=require"),
        ("postgresql+psycopg://wa_app@/wa?host=/run/pg", "postgresql+psycopg://wa_app@/wa?host=/run/pg"),
        ("sqlite:////srv/a file.db", "sqlite:////srv/a file.db"),
    ],
)
def test_database_urls_become_one_spelling(read, given, kept):
    assert read(DATABASE_URL=given).database_url == kept


def test_a_relative_sqlite_file_means_the_folder_one_stands_in(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read(DATABASE_URL="sqlite:///x.db").database_path == tmp_path / "x.db"


def test_postgres_has_no_database_file(read):
    assert read(DATABASE_URL="postgresql://h/d").database_path is None


def test_a_given_queue_is_used(read):
    s = read(REDIS_URL="rediss://:p@h:6380/3")
    assert (s.redis_url, s.embedded_queue) == ("rediss://:p@h:6380/3", False)


def test_words_are_read_kindly(read):
    s = read(WHATSAPP_PROVIDER="Meta_Cloud", WA_LOG_LEVEL="DEBUG", WA_COST_TRACKING="off", WA_DEMO="0")
    assert (s.default_provider, s.log_level, s.cost_tracking, s.demo) == ("meta_cloud", "debug", False, False)
    assert read(WA_REMINDER_INTERVALS="d-14, H-3 ,D+1").reminder_intervals == ("D-14", "H-3", "D+1")
    assert read(WA_HOST="[::1]", WA_PORT="81").public_url == "http://[::1]:81"


# --- secrets --------------------------------------------------------------------------------------------------------


def test_secrets_are_made_once_and_kept_private(read, tmp_path):
    first, second = read(), read()
    path = tmp_path / "data" / "secrets.env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (first.secret_key, first.encryption_keys) == (second.secret_key, second.encryption_keys)
    assert len(base64.urlsafe_b64decode(first.encryption_keys[0])) == 32
    assert sorted(p.name for p in path.parent.iterdir()) == ["secrets.env"]


def test_loose_rights_on_the_secrets_are_tightened(read, tmp_path):
    read()
    path = tmp_path / "data" / "secrets.env"
    path.chmod(0o644)
    read()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_many_processes_starting_at_once_agree_on_the_secrets(tmp_path):
    code = "from wa_dashboard.config import Settings; s = Settings.from_env(); print(s.secret_key, s.encryption_keys)"
    environ = {"WA_DATA_DIR": str(tmp_path / "d"), "PYTHONPATH": str(PROJECT)}

    def start(_: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", code], env=environ, text=True, capture_output=True, check=True
        ).stdout

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(start, range(8)))
    assert len(answers) == 1


def test_secrets_given_by_hand_win_and_nothing_is_written(read, tmp_path):
    s = read(WA_SECRET_KEY="x" * 40, WA_ENCRYPTION_KEYS=f"{KEY}, {OTHER}")
    assert (s.secret_key, s.encryption_keys) == ("x" * 40, (KEY, OTHER))
    assert not (tmp_path / "data" / "secrets.env").exists()


def test_secrets_may_come_from_files(read, tmp_path):
    for name, text in (("k", "y" * 32), ("e", KEY), ("d", "postgres://h/d"), ("r", "redis://h/1")):
        (tmp_path / name).write_text(text + "\n")
    s = read(
        WA_SECRET_KEY_FILE=f"{tmp_path}/k",
        WA_ENCRYPTION_KEYS_FILE=f"{tmp_path}/e",
        DATABASE_URL_FILE=f"{tmp_path}/d",
        REDIS_URL_FILE=f"{tmp_path}/r",
    )
    assert (s.secret_key, s.encryption_keys) == ("y" * 32, (KEY,))
    assert (s.database_url, s.redis_url) == ("postgresql+psycopg://h/d", "redis://h/1")


def test_a_file_that_cannot_be_read_or_is_one_too_many_is_named(read, tmp_path):
    with pytest.raises(ConfigError, match=r"^WA_SECRET_KEY_FILE cannot be read"):
        read(WA_SECRET_KEY_FILE=str(tmp_path / "none"))
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigError, match=r"^REDIS_URL_FILE names an empty file"):
        read(REDIS_URL_FILE=str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match=r"^DATABASE_URL and DATABASE_URL_FILE are both set"):
        read(DATABASE_URL="postgres://h/d", DATABASE_URL_FILE="x")


def test_a_damaged_secrets_file_is_not_replaced(read, tmp_path):
    read()
    path = tmp_path / "data" / "secrets.env"
    path.write_text("WA_SECRET_KEY=" + "z" * 40 + "\n")
    with pytest.raises(ConfigError, match=r"^WA_ENCRYPTION_KEYS is missing from "):
        read()
    assert "WA_ENCRYPTION_KEYS" not in path.read_text()


def test_another_host_than_loopback_demands_secrets_set_by_hand(read):
    for host in ("0.0.0.0", "::", "192.0.2.7", "wa.example.org"):
        with pytest.raises(ConfigError, match=r"^WA_SECRET_KEY must be set by hand"):
            read(WA_HOST=host)
        with pytest.raises(ConfigError, match=r"^WA_ENCRYPTION_KEYS must be set by hand"):
            read(WA_HOST=host, WA_SECRET_KEY="s" * 32)
        assert read(WA_HOST=host, WA_SECRET_KEY="s" * 32, WA_ENCRYPTION_KEYS=KEY).host == host
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert read(WA_HOST=host).host == host


def test_no_secret_in_a_print_or_a_sentence(read):
    s = read(WA_SECRET_KEY="very-secret-value-1", DATABASE_URL="postgres://u:hunter22@h/d", WA_ENCRYPTION_KEYS=KEY)
    for secret in ("very-secret", "hunter22", KEY):
        assert secret not in repr(s)
    with pytest.raises(ConfigError) as caught:
        read(WA_ENCRYPTION_KEYS="leaky-secret-text")
    assert "leaky" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        Settings.from_env({"WA_DATA_DIR": str(tmp_path / "file" / "d")})


# --- the queue's socket, strangers ------------------------------------------------------------------------------------


def test_the_queue_socket_fits_a_unix_address_whatever_the_folder():
    assert queue_socket(Path("/srv/wa")) == Path("/srv/wa/queue/valkey.sock")
    deep = Path("/srv") / ("ă" * 60)
    assert len(os.fsencode(queue_socket(deep))) < 100
    assert queue_socket(deep) == queue_socket(deep) != queue_socket(deep / "x")
    assert " " not in str(queue_socket(Path("/srv/my shows")))


def test_a_space_in_the_folder_survives_the_queue_url(tmp_path):
    import redis

    s = Settings.from_env({"WA_DATA_DIR": str(tmp_path / "a b")})
    pool = redis.ConnectionPool.from_url(s.redis_url)
    assert pool.connection_kwargs["path"] == str(queue_socket(s.data_dir))


def test_unknown_variables_are_found_with_the_name_they_resemble():
    found = unknown_variables({"WA_PROT": "1", "WA_PORT": "1", "WA_SECRET_KEY_FILE": "x", "WA_QQ": "", "PATH": "/"})
    assert found == [("WA_PROT", "WA_PORT"), ("WA_QQ", None)]

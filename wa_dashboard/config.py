"""Everything an operator can set, read once from the environment and checked. Standard library only.

The names and defaults are a contract (the table "Environment" of the README). A wrong value raises ConfigError
with one sentence that begins with the variable's name and never repeats a secret.
"""

import base64
import binascii
import contextlib
import hashlib
import ipaddress
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

PROJECT = Path(__file__).resolve().parent.parent
PROVIDERS = ("meta_cloud", "twilio", "dialog360")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

# Where a live account's requests go, and the path below the simulator for a test account's.
_BASE_URLS = {
    "META": ("https://graph.facebook.com", "/meta"),
    "TWILIO": ("https://api.twilio.com", "/twilio"),
    "TWILIO_CONTENT": ("https://content.twilio.com", "/twilio-content"),
    "DIALOG360": ("https://waba-v2.360dialog.io", "/dialog360"),
}
_PROVIDER_URLS = {
    "meta_cloud": {"api": "META"},
    "twilio": {"api": "TWILIO", "content": "TWILIO_CONTENT"},
    "dialog360": {"api": "DIALOG360"},
}
_SECRETS = ("WA_SECRET_KEY", "WA_ENCRYPTION_KEYS", "DATABASE_URL", "REDIS_URL", "WA_METRICS_TOKEN")
_KNOWN = frozenset(
    "WA_DATA_DIR WA_HOST WA_PORT WA_PUBLIC_URL DATABASE_URL REDIS_URL WA_SECRET_KEY WA_ENCRYPTION_KEYS"
    " WHATSAPP_PROVIDER WA_REMINDER_INTERVALS WA_RATE_PER_MINUTE WA_RATE_PER_HOUR WA_COST_TRACKING WA_SIMULATOR_PORT"
    " WA_DEMO WA_WORKERS WA_SEND_CONCURRENCY WA_LOG_LEVEL WA_FAILPOINTS WA_PACE"
    " WA_API_PER_MINUTE WA_CODES_PER_HOUR WA_METRICS_TOKEN WA_NO_VENV WA_MEDIA_ALLOW_HOSTS".split()
) | {f"WA_{test}{name}_BASE_URL" for name in _BASE_URLS for test in ("", "TEST_")}
_TEST_SWITCHES = ("WA_TEST_FULL", "WA_TEST_DATABASE_URL", "WA_NEED_BROWSER", "WA_NEED_POSTGRES")
# A unix socket's path fits 104 (macOS) or 108 bytes (Linux), the closing zero included (unix(7)).
_SOCKET_PATH_BYTES = 100


class ConfigError(ValueError):
    """A variable is wrong. ``str()`` is one sentence for the operator; ``variable`` its name."""

    def __init__(self, variable: str, sentence: str) -> None:
        super().__init__(f"{variable} {sentence}")
        self.variable = variable


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The operator's choices, checked. Make it with ``from_env``."""

    data_dir: Path
    host: str
    port: int
    public_url: str
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    embedded_queue: bool
    secret_key: str = field(repr=False)
    encryption_keys: tuple[str, ...] = field(repr=False)
    default_provider: str
    reminder_intervals: tuple[str, ...]
    rate_per_minute: int
    rate_per_hour: int
    cost_tracking: bool
    live_urls: Mapping[str, str]
    test_urls: Mapping[str, str]
    simulator_port: int
    demo: bool
    workers: int
    send_concurrency: int
    log_level: str
    failpoints: str
    pace: str
    api_per_minute: int
    codes_per_hour: int
    metrics_token: str = field(repr=False)
    media_hosts: Mapping[str, int] = field(default_factory=dict)
    human_logs: bool
    root: Path = PROJECT

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, data_dir: Path | None = None) -> "Settings":
        """Read ``environ`` (default: this process's). An empty value counts as unset.

        Makes the data folder and, once, the secrets in it. Raises ConfigError for a wrong value and OSError when
        the data folder cannot be written.
        """
        env = _Env(os.environ if environ is None else environ)
        data_dir = (data_dir or env.folder("WA_DATA_DIR", PROJECT / "instance")).absolute()
        host, port = env.host("WA_HOST", "127.0.0.1"), env.whole("WA_PORT", 8000, 1, 65535)
        simulator_port = _simulator_port(env, port)
        database_url = _database_url(env, data_dir)
        redis_url = _redis_url(env)
        reminder_intervals = env.intervals("WA_REMINDER_INTERVALS", "D-7,D-3,D-1")
        secret_key, encryption_keys = _secrets(env, data_dir, _is_loopback(host))
        return cls(
            data_dir=data_dir,
            host=host,
            port=port,
            public_url=env.url("WA_PUBLIC_URL", f"http://{_bracketed(host)}:{port}"),
            database_url=database_url,
            redis_url=redis_url or f"unix://{quote(str(queue_socket(data_dir)))}",
            embedded_queue=not redis_url,
            secret_key=secret_key,
            encryption_keys=encryption_keys,
            default_provider=env.one_of("WHATSAPP_PROVIDER", "twilio", PROVIDERS),
            reminder_intervals=reminder_intervals,
            rate_per_minute=env.whole("WA_RATE_PER_MINUTE", 100, 0, 10_000_000),
            rate_per_hour=env.whole("WA_RATE_PER_HOUR", 1000, 0, 100_000_000),
            cost_tracking=env.yes_no("WA_COST_TRACKING", True),
            live_urls={n: env.url(f"WA_{n}_BASE_URL", live, secure=True) for n, (live, _) in _BASE_URLS.items()},
            test_urls={
                n: env.url(f"WA_TEST_{n}_BASE_URL", f"http://127.0.0.1:{simulator_port}{path}")
                for n, (_, path) in _BASE_URLS.items()
            },
            simulator_port=simulator_port,
            demo=env.yes_no("WA_DEMO", True),
            workers=env.whole("WA_WORKERS", _sensible_workers(database_url), 1, 64),
            send_concurrency=env.whole("WA_SEND_CONCURRENCY", 64, 1, 4096),
            log_level=env.one_of("WA_LOG_LEVEL", "info", LOG_LEVELS),
            failpoints=env.text("WA_FAILPOINTS"),
            pace=env.text("WA_PACE"),
            api_per_minute=env.whole("WA_API_PER_MINUTE", 12_000, 1, 10_000_000),
            codes_per_hour=env.whole("WA_CODES_PER_HOUR", 1000, 0, 10_000_000),
            metrics_token=env.secret("WA_METRICS_TOKEN"),
            media_hosts=env.hosts("WA_MEDIA_ALLOW_HOSTS"),
            human_logs=sys.stderr is not None and sys.stderr.isatty(),
        )

    @property
    def database_path(self) -> Path | None:
        """The file of an SQLite database; None on PostgreSQL."""
        prefix = "sqlite:///"
        return Path(self.database_url[len(prefix) :]) if self.database_url.startswith(prefix) else None

    @property
    def queue_dir(self) -> Path:
        """Where the embedded queue keeps its file."""
        return self.data_dir / "queue"

    @property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"

    @property
    def demo_file(self) -> Path:
        """Where the demo tenant's test key is kept between starts (0600)."""
        return self.data_dir / "demo.json"

    @property
    def simulator_url(self) -> str:
        return f"http://127.0.0.1:{self.simulator_port}"

    def provider_urls(self, provider: str, live: bool) -> dict[str, str]:
        """Base URLs of one provider: {"api": …}, for Twilio also "content". Raises KeyError for an unknown name."""
        urls = self.live_urls if live else self.test_urls
        return {role: urls[name] for role, name in _PROVIDER_URLS[provider].items()}


def start_sentence(error: Exception) -> str:
    """What the operator reads for an error of the start: one sentence, the place and the reason."""
    if isinstance(error, OSError) and error.errno is not None:
        place = f"{error.filename}: " if error.filename else ""
        hint = {
            13: "the folder is not writable for you; choose another with WA_DATA_DIR",
            30: "the folder is read-only; choose another with WA_DATA_DIR",
            28: "the disk is full",
            122: "the disk quota is used up",
        }.get(error.errno, error.strerror)
        return f"{place}{hint}."
    return str(error)


def unknown_variables(environ: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """WA_* variables that mean nothing here, each with the known name it resembles. For ``doctor``."""
    import difflib

    known = sorted(_KNOWN | {f"{name}_FILE" for name in _SECRETS})
    strangers = [n for n in environ if n.startswith("WA_") and n not in known and n not in _TEST_SWITCHES]
    return [(name, next(iter(difflib.get_close_matches(name, known, 1)), None)) for name in sorted(strangers)]


def queue_socket(data_dir: Path) -> Path:
    """The embedded queue's unix socket: in the data folder, or, where its path will not do, in a short private
    folder whose name follows from the data folder's. It will not do when it is too long for a socket, or holds a
    space or "=": the queue reports the path of a connection, and its client (redis 8.1) splits there."""
    path = data_dir / "queue" / "valkey.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES and not re.search(r"[\s=]", str(path)):
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    user = os.getuid() if hasattr(os, "getuid") else 0
    # Not tempfile.gettempdir(): every process must find the same folder, whatever its TMPDIR.
    return Path(f"/tmp/wa-{user}-{digest}/valkey.sock")  # noqa: S108 — embedded.py makes it 0700 and checks the owner


class _Env:
    """Typed reading of one mapping. Every method raises ConfigError naming the variable."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str = "") -> str:
        return self._environ.get(name, "").strip() or default

    def secret(self, name: str) -> str:
        """The value of ``name`` or the contents of the file that ``name``_FILE names; empty when neither is set."""
        value, path = self.text(name), self.text(f"{name}_FILE")
        if not path:
            return value
        if value:
            raise ConfigError(name, f"and {name}_FILE are both set: keep one of them.")
        try:
            content = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name}_FILE", f"cannot be read: {path} ({_reason(error)}).") from error
        if not content:
            raise ConfigError(f"{name}_FILE", f"names an empty file: {path}.")
        return content

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        value = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,12}", value) or not low <= int(value) <= high:
            raise ConfigError(name, f"must be a whole number from {low} to {high}, not {value!r}.")
        return int(value)

    def yes_no(self, name: str, default: bool) -> bool:
        value = self.text(name, "1" if default else "0").lower()
        if value in ("1", "true", "yes", "on"):
            return True
        if value in ("0", "false", "no", "off"):
            return False
        raise ConfigError(name, f"must be 1 or 0 (or true, false), not {value!r}.")

    def one_of(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name, default).lower()
        if value not in allowed:
            raise ConfigError(name, f"must be one of {', '.join(allowed)}, not {value!r}.")
        return value

    def folder(self, name: str, default: Path) -> Path:
        value = self.text(name)
        return Path(value).expanduser() if value else default

    def host(self, name: str, default: str) -> str:
        value = self.text(name, default).removeprefix("[").removesuffix("]")
        try:
            ipaddress.ip_address(value)
        except ValueError:
            if not re.fullmatch(r"(?=.{1,253}$)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*", value):
                raise ConfigError(name, f"must be an address or a host name without port, not {value!r}.") from None
        return value

    def intervals(self, name: str, default: str) -> tuple[str, ...]:
        """Steps before (D-n days, H-n hours) or after (D+n days) an event, in the order given."""
        value = self.text(name, default)
        steps = tuple(step.strip().upper() for step in value.split(","))
        wrong = [step for step in steps if not re.fullmatch(r"D[-+][0-9]{1,3}|H-[1-9][0-9]{0,2}", step)]
        if wrong or len(set(steps)) < len(steps):
            raise ConfigError(name, f"must be a comma list of different steps like D-7,D-3,D-1 or H-3, not {value!r}.")
        return steps

    def hosts(self, name: str) -> dict[str, int]:
        """Machines by name, each with its port (443 when not said), from a comma list."""
        found: dict[str, int] = {}
        for part in filter(None, (piece.strip().lower() for piece in self.text(name).split(","))):
            host, _, port = part.partition(":")
            number = int(port or 443) if re.fullmatch(r"[0-9]{0,5}", port) else 0
            if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", host) or not 0 < number < 65_536:
                raise ConfigError(name, f"must list names like files.lan or files.lan:8443, not {part!r}.")
            found[host] = number
        return found

    def url(self, name: str, default: str, *, secure: bool = False) -> str:
        """An http(s) base without closing slash; ``secure`` refuses plain http to another machine."""
        value = self.text(name, default).rstrip("/")
        try:
            parts = urlsplit(value)
            good = bool(parts.hostname) and parts.port != 0
        except ValueError:
            raise ConfigError(name, "is not a well-formed URL.") from None
        if not good or parts.scheme not in ("http", "https") or parts.username or parts.query or parts.fragment:
            raise ConfigError(name, "must be a plain URL like https://wa.example.org, without user, query or fragment.")
        if secure and parts.scheme == "http" and not _is_loopback(str(parts.hostname)):
            raise ConfigError(name, "must begin with https://, because live credentials travel there.")
        return value


def _simulator_port(env: _Env, port: int) -> int:
    simulator_port = env.whole("WA_SIMULATOR_PORT", min(port + 1, 65535), 1, 65535)
    if simulator_port == port:
        raise ConfigError("WA_SIMULATOR_PORT", f"must differ from WA_PORT ({port}).")
    return simulator_port


def _database_url(env: _Env, data_dir: Path) -> str:
    value = env.secret("DATABASE_URL")
    if not value:
        return f"sqlite:///{data_dir / 'wa.db'}"
    scheme, _, rest = value.partition("://")
    if scheme in ("postgres", "postgresql", "postgresql+psycopg") and rest:
        return f"postgresql+psycopg://{rest}"
    path = rest.removeprefix("/")
    if scheme == "sqlite" and rest.startswith("/") and path and path != ":memory:" and "?" not in path:
        return f"sqlite:///{Path(path).absolute()}"
    raise ConfigError("DATABASE_URL", "must be postgresql://user:password@host/name or sqlite:///a/file.db.")


def _redis_url(env: _Env) -> str:
    value = env.secret("REDIS_URL")
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        good = bool(parts.path if parts.scheme == "unix" else parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.scheme not in ("redis", "rediss", "unix"):
        raise ConfigError("REDIS_URL", "must begin with redis://host, rediss://host or unix:///path.")
    return value


def _secrets(env: _Env, data_dir: Path, loopback: bool) -> tuple[str, tuple[str, ...]]:
    secret_key, keys = env.secret("WA_SECRET_KEY"), env.secret("WA_ENCRYPTION_KEYS")
    missing = [name for name, value in (("WA_SECRET_KEY", secret_key), ("WA_ENCRYPTION_KEYS", keys)) if not value]
    if missing and not loopback:
        raise ConfigError(
            missing[0], "must be set by hand when WA_HOST is not this machine alone: see `python3 app.py doctor`."
        )
    _make_private(data_dir)
    if missing:
        kept = _kept_secrets(data_dir)
        secret_key, keys = secret_key or kept["WA_SECRET_KEY"], keys or kept["WA_ENCRYPTION_KEYS"]
    if len(secret_key) < 16:
        raise ConfigError("WA_SECRET_KEY", "is too short: at least 16 characters, better 43 random ones.")
    ring = tuple(key.strip() for key in keys.split(","))
    if not all(map(_is_key, ring)):
        raise ConfigError("WA_ENCRYPTION_KEYS", "must be a comma list of keys of 32 bytes in url-safe base64.")
    return secret_key, ring


def _is_key(text: str) -> bool:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(raw) == 32


def _make_private(data_dir: Path) -> None:
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise PermissionError(13, "Permission denied", str(data_dir))


def _kept_secrets(data_dir: Path) -> dict[str, str]:
    """What ``secrets.env`` holds; made by whichever process comes first, all others read the winner's."""
    path = data_dir / "secrets.env"
    if not path.exists():
        _write_secrets(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    for name in ("WA_SECRET_KEY", "WA_ENCRYPTION_KEYS"):
        if not found.get(name):
            raise ConfigError(name, f"is missing from {path}: put it back from a backup, or set it by hand.")
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return found


def _write_secrets(path: Path) -> None:
    """Write the file whole or not at all, and never over another process's (link(2) fails if the name exists)."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".secrets-")  # 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("# Made once. Without these nothing that is encrypted can be read: keep a copy.\n")
            file.write(f"WA_SECRET_KEY={secrets.token_urlsafe(32)}\n")
            file.write(f"WA_ENCRYPTION_KEYS={base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _sensible_workers(database_url: str) -> int:
    """SQLite has one writer, so a second process only waits; on PostgreSQL one per processor, at most four."""
    return 1 if database_url.startswith("sqlite") else max(1, min(4, os.cpu_count() or 1))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__

"""From a bare Python to the project's virtual environment. Standard library only, readable by old Pythons.

``prepare`` returns when the running Python has the packages, else makes ``.venv`` beside app.py from the lock and
starts it in this process's place. Nothing but Python with pip (or ensurepip, or uv) is needed: no root, no make. A
stamp in ``.venv`` holds the lock's fingerprint, so that a later start only compares two lines.
"""

from __future__ import print_function

import hashlib
import os
import sys

OLDEST = (3, 11)
LOCKS = {"runtime": "requirements.txt", "dev": "requirements-dev.txt"}
STAMP = "wa-lock"
# What a person's shell may hold that would change what the tests see.
_DISTURBING = ("DATABASE_URL", "REDIS_URL", "WHATSAPP_PROVIDER", "FLASK_APP", "FLASK_DEBUG", "DATABASE_URL_FILE")
_KEPT_FOR_TESTS = ("WA_TEST_FULL", "WA_TEST_DATABASE_URL", "WA_NEED_BROWSER", "WA_NEED_POSTGRES", "WA_NO_VENV")


def prepare(root, command, argv):
    """Make sure that the Python running after this call has the packages ``command`` needs.

    Ends the process with one sentence on stderr and code 1 when that cannot be had.
    """
    if sys.version_info < OLDEST:
        _refuse(_too_old())
    kind = "dev" if command == "test" else "runtime"
    home = os.path.join(root, ".venv")
    if os.environ.pop("_WA_PREPARED", None):
        return
    if os.environ.get("WA_NO_VENV") == "1":
        if not _has_packages():
            _refuse("The packages of %s are not installed for this Python: install them, or leave WA_NO_VENV unset."
                    % LOCKS[kind])  # fmt: skip
        return
    if _same(sys.prefix, home):
        if kind == "dev" and "runtime" in _stamp(home) and "dev" not in _stamp(home):
            _refuse("This environment has no test packages yet: run `python3 app.py test` with the system's Python.")
        return
    if sys.prefix != sys.base_prefix and _has_packages():
        return  # somebody's own environment, with everything in it
    if not _is_ready(root, home, kind):
        _build(root, home, kind)
    _become(_python_of(home), root, argv)


def run_tests(root, words):
    """pytest in this process, with an environment that does not depend on the person's. Returns its exit code."""
    if "--full" in words:
        words = [word for word in words if word != "--full"]
        os.environ["WA_TEST_FULL"] = "1"
    for name in list(os.environ):
        if name in _DISTURBING or (name.startswith("WA_") and name not in _KEPT_FOR_TESTS):
            del os.environ[name]
    os.chdir(root)
    import pytest

    if all(word.startswith("-") for word in words) and not {"-x", "--pdb", "-s"} & set(words):
        # The whole suite on two processors; a file stays with one process, so that its servers are started once.
        words = ["-n", str(min(os.cpu_count() or 1, 4)), "--dist", "loadfile", *words]
    return int(pytest.main(words))


def _too_old():
    found = ""
    which = getattr(__import__("shutil"), "which", None) or (lambda _: None)
    for minor in range(14, OLDEST[1] - 1, -1):
        if which("python3.%d" % minor):
            found = ": try `python3.%d app.py`" % minor
            break
    version = "%d.%d.%d" % tuple(sys.version_info[:3])
    return "wa_dashboard needs Python %d.%d or newer and this is %s%s." % (OLDEST[0], OLDEST[1], version, found)


def _has_packages():
    import importlib.util

    return all(importlib.util.find_spec(name) for name in ("flask", "flask_sqlalchemy", "rq", "granian", "pytest"))


def _same(one, other):
    return os.path.realpath(one) == os.path.realpath(other)


def _python_of(home):
    return os.path.join(home, "Scripts", "python.exe") if os.name == "nt" else os.path.join(home, "bin", "python")


def _fingerprint(root, kind):
    with open(os.path.join(root, LOCKS[kind]), "rb") as lock:
        return hashlib.sha256(lock.read()).hexdigest()


def _stamp(home):
    """{"runtime": sha256, "dev": sha256} of the locks that are installed; empty when none is known."""
    try:
        with open(os.path.join(home, STAMP)) as stamp:
            return dict(line.split() for line in stamp.read().splitlines())
    except (OSError, ValueError):
        return {}


def _is_ready(root, home, kind):
    return os.path.exists(_python_of(home)) and _stamp(home).get(kind) == _fingerprint(root, kind)


def _build(root, home, kind):
    if not os.access(home if os.path.isdir(home) else root, os.W_OK):
        _refuse("%s is not writable for you, so the packages cannot be put there: copy the project to a folder of"
                " your own and start it again." % root)  # fmt: skip
    with open(os.path.join(root, LOCKS[kind]), "rb") as lock:
        _wait_for_turn(lock)
        if _is_ready(root, home, kind):
            return  # another start has just done it
        packages = sum(1 for line in lock.read().splitlines() if b"==" in line and not line.startswith((b" ", b"#")))
        _say("First run: making .venv and installing %d locked packages (about half a minute)..." % packages)
        try:
            _make_venv(home)
            _install(home, os.path.join(root, LOCKS[kind]))
            _write_stamp(root, home, kind)
        except OSError as error:
            _refuse("The packages could not be put into %s: %s." % (home, error.strerror or error))


def _wait_for_turn(file):
    """Two first starts at once: the second waits for the first, then finds everything ready."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
    except (ImportError, OSError):
        pass  # Windows, or a file system without locks: installing twice does no harm


def _make_venv(home):
    import subprocess

    if os.path.exists(_python_of(home)):
        works = subprocess.call([_python_of(home), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"])
        if works == 0:
            return
    import venv

    venv.create(home, clear=True, symlinks=os.name != "nt", with_pip=False)


def _install(home, lock):
    """Try every installer there is, the quick one first. Ends the process when none works."""
    import subprocess

    environ = {k: v for k, v in os.environ.items() if k not in ("PIP_TARGET", "PIP_PREFIX", "PYTHONHOME")}
    environ.update(PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    problem = None
    for command in _installers(home, lock):
        run = subprocess.run(command, env=environ, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)  # fmt: skip
        if run.returncode == 0:
            return
        problem = run.stdout.decode("utf-8", "replace")
    if problem is None:
        problem = ""
        _refuse("This Python has neither pip nor ensurepip: install one of them first (Debian, Ubuntu:"
                " `sudo apt install python3-pip`), then start again.")  # fmt: skip
    if "No space left on device" in problem or "os error 28" in problem:
        _refuse("The disk is full: the packages need about 300 MB in %s." % home)
    _say("\n".join(problem.strip().splitlines()[-15:]))
    _refuse("The locked packages could not be installed (the reason is above): is the package index reachable?")


def _installers(home, lock):
    """Yield one command line after another; each is tried only when those before it failed."""
    import shutil
    import subprocess

    python = _python_of(home)
    wanted = ["--require-hashes", "-r", lock]
    if shutil.which("uv"):
        # Without its cache where the home folder is missing or cannot be written.
        keep = [] if os.access(os.path.expanduser("~"), os.W_OK) else ["--no-cache"]
        yield [shutil.which("uv"), "pip", "install", "-q", "--compile-bytecode", "--python", python] + keep + wanted  # noqa: RUF005
    if _pip_version(sys.executable) >= (22, 3):  # the first with --python
        yield [sys.executable, "-m", "pip", "--python", python, "install", "-q"] + wanted  # noqa: RUF005
    if subprocess.call([python, "-c", "import ensurepip"], stderr=subprocess.DEVNULL) == 0 and (
        subprocess.call([python, "-m", "ensurepip"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    ):
        yield [python, "-m", "pip", "install", "-q"] + wanted  # noqa: RUF005


def _pip_version(python):
    import subprocess

    run = subprocess.run([python, "-m", "pip", "--version"], check=False, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL)  # fmt: skip
    words = run.stdout.decode("utf-8", "replace").split()
    try:
        return tuple(int(part) for part in words[1].split(".")[:2])
    except (IndexError, ValueError):
        return (0, 0)


def _write_stamp(root, home, kind):
    """The development lock holds the runtime lock at the same versions, so it stamps for both."""
    kinds = ("runtime", "dev") if kind == "dev" else ("runtime",)
    draft = os.path.join(home, STAMP + ".new")
    with open(draft, "w") as stamp:
        stamp.write("".join("%s %s\n" % (each, _fingerprint(root, each)) for each in kinds))
    os.replace(draft, os.path.join(home, STAMP))


def _become(python, root, argv):
    """Go on as ``python`` with the same words: the process, its parent and its signals stay the same."""
    words = [python, os.path.join(root, "app.py")] + list(argv)  # noqa: RUF005
    os.environ["_WA_PREPARED"] = "1"  # never twice, whatever that Python calls its prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every start compiles the whole project again
    sys.stdout.flush()
    if os.name == "nt":  # there execv starts a stranger and ends us
        import subprocess

        sys.exit(subprocess.call(words))
    os.execv(python, words)


def _say(text):
    print(text, file=sys.stderr)
    sys.stderr.flush()


def _refuse(sentence):
    _say(sentence)
    sys.exit(1)

"""The way from a bare Python to the locked environment, on a small project of its own with a wheel as its index."""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from wa_dashboard import bootstrap
from wa_dashboard.config import PROJECT

BASE_PYTHON = Path(sys._base_executable).resolve()
SYSTEM_PYTHON = Path("/usr/bin/python3")
DOOR = """
import sys
sys.path.insert(0, {root!r})
from wa_dashboard import bootstrap
bootstrap.prepare({root!r}, "{command}", sys.argv[1:])
import door_probe
print(sys.prefix, door_probe.VERSION, sys.argv[1:])
"""


class House:
    """A project folder with the real bootstrap, a lock of one local wheel, and a door that tells where it got to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "wa_dashboard").mkdir(parents=True)
        for name in ("__init__.py", "bootstrap.py"):
            shutil.copy(PROJECT / "wa_dashboard" / name, root / "wa_dashboard")
        self.command("doctor")
        self.lock("1")

    def command(self, name: str) -> None:
        (self.root / "app.py").write_text(DOOR.format(root=str(self.root), command=name))

    def lock(self, version: str, *, kinds: tuple[str, ...] = ("requirements.txt", "requirements-dev.txt")) -> None:
        wheel = _wheel(self.root, version)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        for kind in kinds:
            (self.root / kind).write_text(f"door-probe @ {wheel.as_uri()} --hash=sha256:{digest}\n")

    def start(self, *words: str, python: Path = BASE_PYTHON, **env: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(self.root / "nowhere"), **env}
        return subprocess.run(
            [str(python), str(self.root / "app.py"), *words],
            env={k: v for k, v in environ.items() if v != "-"},
            cwd="/",
            text=True,
            capture_output=True,
            timeout=100,
        )


def _wheel(folder: Path, version: str) -> Path:
    path = folder / f"door_probe-{version}-py3-none-any.whl"
    info = f"door_probe-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("door_probe.py", f"VERSION = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: door-probe\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def house(tmp_path) -> House:
    return House(tmp_path / "a project ă")


def _arrived(house: House, done: subprocess.CompletedProcess[str], version: str = "1") -> None:
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{house.root / '.venv'} {version} ")


def _bare_python(folder: Path) -> Path:
    """A host Python without pip."""
    subprocess.run([str(BASE_PYTHON), "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def _without_ensurepip(folder: Path) -> str:
    """A PYTHONPATH under which ensurepip cannot be imported, as on a Debian without python3-venv."""
    folder.mkdir()
    (folder / "ensurepip.py").write_text("raise ImportError('not here')\n")
    return str(folder)


def test_a_path_with_a_space_no_home_no_uv(house):
    done = house.start("one", "--two")
    _arrived(house, done)
    assert "['one', '--two']" in done.stdout
    assert done.stderr.startswith("First run: making .venv and installing")
    again = house.start(HOME="-")
    _arrived(house, again)
    assert again.stderr == ""


def test_the_second_start_only_compares_a_stamp(house):
    _arrived(house, house.start())
    began = time.monotonic()
    _arrived(house, house.start())
    assert time.monotonic() - began < 2  # twice a bare Python's start


def test_a_changed_lock_is_installed(house):
    _arrived(house, house.start())
    house.lock("2")
    done = house.start()
    _arrived(house, done, "2")
    assert "installing" in done.stderr


def test_the_development_lock_stamps_for_both_and_a_runtime_start_keeps_it(house):
    house.command("test")
    _arrived(house, house.start())
    house.command("doctor")
    assert house.start().stderr == ""
    house.lock("2", kinds=("requirements.txt",))
    _arrived(house, house.start(), "2")
    house.command("test")
    assert "installing" in house.start().stderr


def test_without_pip_ensurepip_helps(house, tmp_path):
    _arrived(house, house.start(python=_bare_python(tmp_path / "bare")))


@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="no /usr/bin/python3 here")
def test_the_systems_own_python_which_forbids_pip_to_touch_it(house, tmp_path):
    version = subprocess.run([SYSTEM_PYTHON, "--version"], capture_output=True, text=True).stdout.split()[1]
    done = house.start(python=SYSTEM_PYTHON, PYTHONPATH=_without_ensurepip(tmp_path / "shadow"))
    if tuple(map(int, version.split(".")[:2])) < (3, 11):
        assert "needs Python 3.11 or newer" in done.stderr
    else:
        _arrived(house, done)


def test_with_neither_pip_nor_ensurepip_one_sentence_names_the_package(house, tmp_path):
    python = _bare_python(tmp_path / "bare")
    done = house.start(python=python, PYTHONPATH=_without_ensurepip(tmp_path / "shadow"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("This Python has neither pip nor ensurepip")
    assert "apt install python3-pip" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_that_is_not_what_the_lock_says_is_refused(house):
    wheel = house.root / "door_probe-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "a") as changed:
        changed.writestr("more.py", "")
    done = house.start()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("The locked packages could not be installed")
    assert not (house.root / ".venv" / bootstrap.STAMP).exists()
    house.lock("1")
    _arrived(house, house.start())


def test_an_environment_whose_python_is_gone_is_made_again(house):
    _arrived(house, house.start())
    python = house.root / ".venv" / "bin" / "python"
    for link in python.parent.glob("python*"):
        link.unlink()
    python.symlink_to("/nowhere/python")
    _arrived(house, house.start())


def test_two_first_starts_at_once_install_once(house):
    environ = {"PATH": "/usr/bin:/bin", "HOME": "/nowhere"}
    words = [str(BASE_PYTHON), str(house.root / "app.py")]
    both = [
        subprocess.Popen(words, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    answers = [one.communicate(timeout=100) for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sum("installing" in errors for _, errors in answers) == 1


def test_no_venv_means_no_venv(house):
    done = house.start(WA_NO_VENV="1", PYTHONPATH=str(house.root))
    assert done.returncode == 1
    assert done.stderr.startswith("The packages of requirements.txt are not installed for this Python")
    assert not (house.root / ".venv").exists()


def test_inside_an_environment_that_has_the_packages_nothing_is_made(house):
    if not bootstrap._has_packages() or sys.prefix == sys.base_prefix:
        pytest.fail("these tests run inside an environment with the packages")
    done = house.start(python=Path(sys.executable), PYTHONPATH=str(house.root))
    assert "No module named 'door_probe'" in done.stderr  # went straight on in the Python that was there
    assert not (house.root / ".venv").exists()


def test_a_folder_that_is_not_ours_is_one_sentence(house, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SystemExit) as stop:
        bootstrap._build(str(house.root), str(house.root / ".venv"), "runtime")
    assert stop.value.code == 1
    assert "is not writable for you" in capsys.readouterr().err


def test_a_full_disk_is_one_sentence(house, monkeypatch, capsys):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SystemExit) as stop:
        bootstrap._build(str(house.root), str(house.root / ".venv"), "runtime")
    assert stop.value.code == 1
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["app.py", "wa_dashboard/__init__.py", "wa_dashboard/bootstrap.py"])
def test_the_door_can_be_read_by_old_pythons(name):
    ast.parse((PROJECT / name).read_text(), feature_version=(3, 4))


def test_an_old_python_is_told_in_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 8, 18, "final", 0))
    with pytest.raises(SystemExit) as stop:
        bootstrap.prepare(str(PROJECT), "run", [])
    told = capsys.readouterr().err
    assert stop.value.code == 1
    assert told.startswith("wa_dashboard needs Python 3.11 or newer and this is 3.8.18")
    assert told.count("\n") == 1


@pytest.mark.parametrize("python", [p for p in map(shutil.which, ("python2", "python3.8", "python3.9")) if p])
def test_real_old_pythons_that_are_here(python):
    version = subprocess.run([python, "--version"], capture_output=True)
    if version.returncode:
        return  # a shim without a Python behind it
    done = subprocess.run([python, PROJECT / "app.py"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("wa_dashboard needs Python 3.11 or newer")


def test_only_the_door_stands_at_the_top():
    assert [path.name for path in PROJECT.glob("*.py")] == ["app.py"]


def test_the_environment_of_the_tests_holds_nothing_of_the_persons(monkeypatch, tmp_path):
    (tmp_path / "test_env.py").write_text(
        "import os\ndef test_it():\n    assert {k for k in os.environ if k.startswith(('WA_', 'DATABASE'))} =="
        " {'WA_TEST_FULL', 'WA_NO_VENV'}\n"
    )
    done = subprocess.run(
        [sys.executable, PROJECT / "app.py", "test", "--full", "-q", "-p", "no:cacheprovider", "-c", "/dev/null",
         "--rootdir", tmp_path, tmp_path / "test_env.py"],
        env={"PATH": os.environ["PATH"], "WA_PORT": "1", "DATABASE_URL": "x", "WA_NO_VENV": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


if os.environ.get("WA_TEST_FULL") == "1":  # it downloads the whole lock

    def test_the_whole_lock_on_a_copy_of_the_project(tmp_path):
        copy = tmp_path / "a clone"
        for name in ("app.py", "requirements.txt", "wa_dashboard", "migrations"):
            source = PROJECT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, _made(copy) / name)
        environ = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV" and not k.startswith("WA_")}
        done = subprocess.run(
            [str(BASE_PYTHON), copy / "app.py", "doctor", "--json"],
            env={**environ, "WA_DATA_DIR": str(tmp_path / "d")},
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert (copy / ".venv" / bootstrap.STAMP).exists(), done.stderr


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder

"""The Makefile installs once, starts again after an interruption, and refuses what cannot work in a sentence."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAND_IN = """#!/bin/sh
# A Python that makes an environment of stand-ins, each of which writes down how it was called.
case "$*" in
  *version_info*) exit ${OLD:-0} ;;
  --version) echo "Python ${FAKE_VERSION:-3.11.7}" ;;
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0" "$3/bin/evolm" ;;
  "-m pip "*) echo "pip $*" >>"$LOG"; echo "what pip says"; exit ${PIP_FAILS:-0} ;;
  "-m pytest"*|"book "*) echo "$(basename "$0") $* threads=$OMP_NUM_THREADS" >>"$LOG" ;;
esac
"""


class Checkout:
    """A copy of what make reads, with a stand-in for Python; `log` is what was really called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Makefile", "pyproject.toml", "requirements.lock"):
            shutil.copyfile(ROOT / name, folder / name)
        self.python = folder / "stand-in"
        self.python.write_text(STAND_IN)
        self.python.chmod(0o755)

    def make(self, *targets: str, **environment: str) -> subprocess.CompletedProcess[str]:
        log = self.folder / "log"
        variables = {"PATH": os.environ["PATH"], "LOG": str(log), **environment}
        command = ["make", *targets, f"PYTHON={self.python}"]
        return subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True)

    @property
    def log(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def installs(self) -> int:
        return sum("pip install" in line for line in self.log)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_make_alone_lists_the_targets(checkout: Checkout) -> None:
    listed = re.findall(r"^  make ([a-z]+) ", checkout.make().stdout, re.MULTILINE)
    assert listed == ["help", "book", "test", "lint", "lab", "bench", "clean"]
    assert checkout.log == []


def test_make_installs_once_with_torch_first_and_the_lock(checkout: Checkout) -> None:
    for _ in range(2):
        assert checkout.make("book").returncode == 0
        assert checkout.make("test").returncode == 0
    assert checkout.installs == 1
    assert checkout.log[0] == "pip -m pip install -c requirements.lock torch==2.13.0 -e .[book,test,paper,energy]"
    assert checkout.log[1].startswith("evolm book --preset smoke")
    assert checkout.log[2] == "python -m pytest -n 2 --dist loadfile --no-loadscope-reorder threads=1"


def test_make_installs_again_when_the_lock_changes(checkout: Checkout) -> None:
    checkout.make("test")
    later = (checkout.folder / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(checkout.folder / "requirements.lock", (later, later))
    checkout.make("test")
    assert checkout.installs == 2


def test_what_pip_says_goes_to_a_log_and_is_shown_where_the_install_fails(checkout: Checkout) -> None:
    failed = checkout.make("test", PIP_FAILS="1")
    assert failed.returncode != 0
    assert "what pip says" in failed.stderr
    assert "all that pip said is in .venv/install.log" in failed.stderr
    done = checkout.make("test")
    assert done.returncode == 0
    assert "what pip says" not in done.stdout + done.stderr
    assert (checkout.folder / ".venv" / "install.log").read_text() == "what pip says\n"


def test_make_trusts_nothing_of_an_interrupted_install(checkout: Checkout) -> None:
    assert checkout.make("test", PIP_FAILS="130").returncode != 0
    half_installed = checkout.folder / ".venv" / "half-installed"
    half_installed.touch()
    assert checkout.make("test").returncode == 0
    assert checkout.installs == 2
    assert not half_installed.exists()


def test_make_replaces_an_environment_of_another_python(checkout: Checkout) -> None:
    checkout.make("test")
    (checkout.folder / ".venv" / ".installed").unlink()
    stale = checkout.folder / ".venv" / "stale"
    stale.touch()
    (checkout.folder / ".venv" / "bin" / "python").write_text("#!/bin/sh\necho Python 3.10.1\n")
    assert checkout.make("test").returncode == 0
    assert not stale.exists()


def test_make_refuses_an_old_python_in_a_sentence(checkout: Checkout) -> None:
    done = checkout.make("book", OLD="1", FAKE_VERSION="3.9.2")
    assert done.returncode != 0
    assert "is Python 3.9.2; 3.11 or newer is needed" in done.stderr
    assert not (checkout.folder / ".venv").exists()


def test_make_says_so_when_there_is_no_python(checkout: Checkout) -> None:
    checkout.python.unlink()
    assert "install Python 3.11 or newer" in checkout.make("book").stderr

"""Throw-away virtual environments that borrow the running one's packages, so that nothing is fetched.

    python = borrowing_environment(tmp_path / "venv")
    pip_into(python, "--no-deps", wheel, cwd=tmp_path)

An editable install in the running environment is not borrowed: it hangs on a `.pth` file, and those are
read in an environment's own folder only.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path


def borrowing_environment(folder: Path) -> Path:
    """The interpreter of a fresh environment in `folder` that sees the running environment's packages."""
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    (own,) = folder.glob("lib/python3*/site-packages")
    borrowed = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (own / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return folder / "bin" / "python"


def pip_into(python: Path, *arguments: str | Path, cwd: Path) -> None:
    """Run `pip install` for another environment; raises with pip's own words when it fails."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"pip install {' '.join(map(str, arguments))} failed:\n{done.stdout}{done.stderr}")

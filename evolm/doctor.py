"""Is this machine ready? One line per thing that is needed: what was found, and the command that mends it.

    checks = doctor.examine()
    doctor.healthy(checks)        False when something required is missing

Only looks: nothing is installed, fetched or written, but for one empty file in the store, removed at once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from evolm import asset_catalogue, paths
from evolm.finding import findings

OLDEST_PYTHON = (3, 11)
#: Below this a run can stop for want of space; the `gpu` records are tens of megabytes.
FREE_BYTES_NEEDED = 500_000_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Check:
    """One finding of the doctor; `mend` is a command or a sentence, empty where nothing is wrong."""

    name: str
    ok: bool
    required: bool
    detail: str
    mend: str = ""


def examine() -> list[Check]:
    """Every check, required ones first within their group."""
    return [
        _python(),
        *_packages(),
        _device(),
        _writable("store", paths.store(), "EVOLM_STORE"),
        _writable("cache", paths.cache(), "EVOLM_CACHE"),
        _disk(),
        *_notebooks(),
        *_vendored(),
        *_assets(),
        _browser(),
    ]


def healthy(checks: Iterable[Check]) -> bool:
    return all(check.ok for check in checks if check.required)


def _python() -> Check:
    oldest = ".".join(map(str, OLDEST_PYTHON))
    ok = sys.version_info[:2] >= OLDEST_PYTHON
    found = f"{sys.version.split()[0]} at {sys.executable}"
    return Check("python", ok, True, found, "" if ok else f"install Python {oldest} or newer")


def requirements() -> list[Requirement]:
    """What the project declares: from the checkout's pyproject.toml, else from the installed package."""
    root = paths.checkout()
    if root and (root / "pyproject.toml").is_file():
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        declared = [Requirement(line) for line in project["dependencies"]]
        for extra, lines in project.get("optional-dependencies", {}).items():
            declared += [_of_extra(line, extra) for line in lines]
        return declared
    try:
        return [Requirement(line) for line in metadata.requires("evolm") or []]
    except metadata.PackageNotFoundError:
        return [Requirement("evolm")]


def _of_extra(line: str, extra: str) -> Requirement:
    requirement = Requirement(line)
    requirement.marker = Requirement(f"{requirement.name}; extra == '{extra}'").marker
    return requirement


def _packages() -> Iterator[Check]:
    """The base packages as one required check, each extra as an optional one."""
    missing: dict[str, list[str]] = {"": []}
    for requirement in requirements():
        extra = str(requirement.marker).split('"')[1] if "extra" in str(requirement.marker or "") else ""
        missing.setdefault(extra, [])
        if problem := _problem(requirement):
            missing[extra].append(problem)
    what, editable = (".", "-e ") if paths.checkout() else ("evolm", "")
    for extra, problems in missing.items():
        target = f"'{what}[{extra}]'" if extra else what
        yield Check(
            f"packages [{extra}]" if extra else "packages",
            not problems,
            not extra,
            "; ".join(problems) or "all there",
            f"{sys.executable} -m pip install {editable}{target}" if problems else "",
        )


def _problem(requirement: Requirement) -> str:
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{requirement.name} {found} is not {requirement.specifier}"


def _device() -> Check:
    try:
        import torch
    except Exception as error:  # a broken installation raises OSError or worse from its libraries
        return Check("torch", False, True, f"torch does not import: {error}", "reinstall torch, see the README")
    if torch.cuda.is_available():
        return Check("device", True, False, f"{torch.cuda.get_device_name()} (torch {torch.__version__})")
    return Check("device", True, False, f"CPU only (torch {torch.__version__}): preset gpu takes days here")


def _writable(name: str, folder: Path, variable: str) -> Check:
    existing = _nearest_existing(folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Check(
            name, False, True, f"cannot write to {folder}: {error.strerror}", f"set {variable} to another folder"
        )
    return Check(name, True, True, str(folder))


def _disk() -> Check:
    free = shutil.disk_usage(_nearest_existing(paths.store())).free
    ok = free >= FREE_BYTES_NEEDED
    mend = "" if ok else "free some space, `evolm record gc` removes what interrupted runs left"
    return Check("disk", ok, True, f"{free / 1e9:.1f} GB free at {paths.store()}", mend)


def _notebooks() -> Iterator[Check]:
    absent = [name for name in findings() if not (paths.resource("notebooks") / f"{name}.ipynb").is_file()]
    mend = "restore them: git checkout notebooks" if paths.checkout() else "reinstall evolm"
    detail = f"missing for {', '.join(absent)}" if absent else str(paths.resource("notebooks"))
    yield Check("notebooks", not absent, True, detail, mend if absent else "")


def _vendored() -> Iterator[Check]:
    """MathJax and plotly of the book; a wheel has no book and so no such check."""
    root = paths.checkout()
    if root is None:
        return
    folder = root / "book" / "_vendor"
    try:
        listing = json.loads((folder / "vendored.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        yield Check("book assets", False, True, f"{folder / 'vendored.json'} is not there", "python book/vendor.py")
        return
    expected = {name: digest for package in listing.values() for name, digest in package["files"].items()}
    wrong = [name for name, digest in expected.items() if _sha256(folder / name) != digest]
    detail = f"missing or altered: {', '.join(wrong[:3])}" if wrong else f"{len(expected)} files, as listed"
    yield Check("book assets", not wrong, True, detail, "python book/vendor.py" if wrong else "")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _assets() -> Iterator[Check]:
    for row in asset_catalogue.status():
        size = f"{row['download_bytes'] / 1e6:.0f} MB to fetch"
        detail = "here" if row["present"] else f"not here ({size}, {row['licence']}); pages show the kept record"
        yield Check(f"asset {row['name']}", row["present"], False, detail, "" if row["present"] else row["command"])


def _browser() -> Check:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    mend = "" if found else "apt install chromium, or: playwright install chromium"
    return Check("browser", bool(found), False, found or "none found; only the test of the built pages needs one", mend)


def _nearest_existing(folder: Path) -> Path:
    return next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())

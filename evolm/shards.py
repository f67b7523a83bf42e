"""The finished units of a run under way: what lets an interrupted run resume where it stopped.

    shards = store.shards(finding, key)
    shards.save("seed=100", tables, cost)      # whole or not at all
    tables, cost = shards.load("seed=100")     # None when that unit is not finished

Each unit is one checksummed folder of tables (`evolm.tables`) under `.partial-<key>/`; committing the record
removes them all.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from evolm import tables as folders
from evolm.tables import DamagedRecord, StoreError

ATTEMPTS = 3
_UNIT = re.compile(r"[A-Za-z0-9_.=-]{1,200}")


class Shards:
    """The finished units of a run under way, each saved whole. Empty until the first `save`."""

    def __init__(self, folder: Path, finding: str, key: str) -> None:
        self.folder = folder
        self._identity = {"finding": finding, "key": key}

    def load(self, unit: str) -> tuple[dict[str, pd.DataFrame], dict[str, Any]] | None:
        """The unit's tables and cost, or None when it is not finished. Raises `DamagedRecord`."""
        folder = self._unit(unit)
        mend = f"delete the folder {folder} and run the same command again: only this unit is recomputed"
        if not folder.is_dir():
            return None
        try:
            manifest = folders.read_manifest(folder, mend)
            if {name: manifest.get(name) for name in (*self._identity, "unit")} != {**self._identity, "unit": unit}:
                raise DamagedRecord.at(folder / folders.MANIFEST, "belongs to another unit or run", mend)
            return folders.read_tables(folder, manifest, mend), manifest["cost"]
        except DamagedRecord:
            if folder.is_dir():
                raise
            return None  # the run was finished, and its shards removed, by another process while this one read

    def save(self, unit: str, tables: Mapping[str, pd.DataFrame], cost: Mapping[str, Any]) -> None:
        """Save one finished unit; when another process has saved it meanwhile, theirs stays."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                folders.write(self._unit(unit), tables, {**self._identity, "unit": unit, "cost": dict(cost)})
                return
            except StoreError as error:
                # The folder was there when it was to be made and gone when it was looked at: another process finished
                # this run and removed its shards in between.
                if not isinstance(error.__cause__, FileExistsError) or attempt == ATTEMPTS:
                    raise

    def discard(self) -> None:
        folders.discard(self.folder)

    def _unit(self, unit: str) -> Path:
        if not _UNIT.fullmatch(unit):
            raise StoreError(f"{unit!r} cannot name a unit: use letters, digits and '_.=-'.")
        return self.folder / f"unit-{unit}"


def last_touched(folder: Path) -> float:
    """When anything in a folder was last written, in seconds since the epoch; 0 when it is gone."""
    touched = [0.0]
    for item in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # removed by another process while this one looks
            touched.append(item.stat().st_mtime)
    return max(touched)

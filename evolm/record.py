"""Records: what one run produced, in a content-addressed store that survives crashes and two writers.

    store = Store(paths.store())
    key = record_key(finding, params, sources, data, device, dtype)
    record = store.find(finding, key) or store.commit(finding, key, tables, manifest)
    record.tables()["loss"]                       # checksums verified first

Layout: `<root>/<finding>/<key>/manifest.json` and one Parquet file per table (`evolm.tables`). A run under way
keeps its finished units in `<root>/<finding>/.partial-<key>/unit-<name>/`; temporaries are `.tmp-<random>`.
A record is never edited. A damaged one is refused by name (`DamagedRecord`), never quietly recomputed over;
what the disk refuses is a `StoreError`. Reading works on a read-only store.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from evolm import tables as folders
from evolm.shards import Shards, last_touched
from evolm.tables import DamagedRecord, StoreError, canonical_json, sha256

__all__ = ["DamagedRecord", "Record", "Shards", "Store", "StoreError", "record_key"]

KEY_LENGTH = 16
SHORTEST_PREFIX = 6
ONE_DAY = 86_400.0  # seconds
_FINDING = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
_PARTIAL = ".partial-"


def record_key(
    finding: str,
    params: Mapping[str, Any],
    sources: Mapping[str, str],
    data: Mapping[str, Any],
    device: str,
    dtype: str,
) -> str:
    """The record's name: 16 hex digits of the sha256 of everything that decides its content."""
    inputs = [finding, dict(params), dict(sources), dict(data), device, dtype]
    return sha256(canonical_json(inputs))[:KEY_LENGTH]


@dataclass(frozen=True)
class Record:
    """One finished run: a folder whose manifest has been verified; tables are verified as they are read."""

    path: Path
    manifest: dict[str, Any]
    mend: str = field(repr=False, compare=False)

    @classmethod
    def open(cls, path: Path, mend: str | None = None) -> Record:
        """The record in folder `path`. Raises `DamagedRecord` naming the file that is not what it should be.

        `mend` completes the message's "to mend it, ..."; by default it says how to recompute the record.
        """
        mend = mend or _mend(path)
        manifest = folders.read_manifest(path, mend)
        missing = {"finding", "key", "preset", "params", "seeds"} - set(manifest)
        if missing:
            what = f"is not a record's: it lacks {', '.join(sorted(missing))}"
            raise DamagedRecord.at(path / folders.MANIFEST, what, mend)
        _check_names(manifest["finding"], manifest["key"])
        return cls(path, manifest, mend)

    @property
    def key(self) -> str:
        return str(self.manifest["key"])

    @property
    def finding(self) -> str:
        return str(self.manifest["finding"])

    @property
    def preset(self) -> str:
        return str(self.manifest["preset"])

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.manifest["params"])

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table, after its checksum. Raises `DamagedRecord` naming the file."""
        return folders.read_tables(self.path, self.manifest, self.mend)

    def verify(self) -> None:
        """Check every file, and that the key is the one its inputs give. Raises `DamagedRecord`."""
        folders.read_table_bytes(self.path, self.manifest, self.mend)
        inputs = self.manifest.get("key_inputs")
        if inputs is None:
            return
        if set(inputs) != {"sources", "data", "device", "dtype"}:
            raise DamagedRecord.at(self.path / folders.MANIFEST, f"has key_inputs {sorted(inputs)}", self.mend)
        true_key = record_key(self.finding, self.params, **inputs)
        if true_key != self.key:
            what = f"says key {self.key}, but its inputs give {true_key}"
            raise DamagedRecord.at(self.path / folders.MANIFEST, what, self.mend)


class Store:
    """Records under one root folder, which is made by the first write."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def find(self, finding: str, key: str) -> Record | None:
        """The record of this finding and key, or None. Raises `DamagedRecord`."""
        folder = self._folder(finding, key)
        return self._open(folder) if folder.is_dir() else None

    def records(self, finding: str | None = None) -> list[Record]:
        """Every readable record, sorted by finding and key; a damaged one is named in a warning (see `verify`)."""
        found = []
        for folder in self._record_folders():
            if finding in (None, folder.parent.name):
                try:
                    found.append(self._open(folder))
                except StoreError as error:
                    warnings.warn(str(error), stacklevel=2)
        return found

    def find_by_prefix(self, prefix: str) -> Record:
        """The one record whose key starts with `prefix` (6 digits or more), else a `StoreError` naming candidates."""
        if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_PREFIX},{KEY_LENGTH}}}", prefix):
            raise StoreError(f"{prefix!r} starts no key: give {SHORTEST_PREFIX} to {KEY_LENGTH} of the digits 0-9a-f.")
        everything = self._record_folders()
        matches = [folder for folder in everything if folder.name.startswith(prefix)]
        if len(matches) == 1:
            return self._open(matches[0])
        named = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in matches or everything[:10])
        problem = "fits several records" if matches else "fits no record"
        raise StoreError(f"key {prefix!r} {problem} in {self.root}. There are: {named or 'no records at all'}.")

    def shards(self, finding: str, key: str) -> Shards:
        """The finished units of the run of this finding and key."""
        folder = self._folder(finding, key)
        return Shards(folder.parent / f"{_PARTIAL}{key}", finding, key)

    def commit(
        self,
        finding: str,
        key: str,
        tables: Mapping[str, pd.DataFrame],
        manifest: Mapping[str, Any],
        *,
        replace: bool = False,
    ) -> Record:
        """Save a finished run, whole or not at all, and drop its shards.

        When another writer won, theirs is verified and returned; with `replace` it gives way to this one.
        Raises `StoreError` when the disk refuses, `DamagedRecord` when the record that is there is damaged.
        """
        folder = self._folder(finding, key)
        whole = {"preset": "custom", "params": {}, "seeds": [], **manifest, "finding": finding, "key": key}
        folders.write(folder, tables, whole, replace=replace)
        record = self._verified(folder)
        self.shards(finding, key).discard()
        return record

    def remove(self, record: Record) -> None:
        """Remove a record of this store."""
        folders.discard(self._folder(record.finding, record.key))

    def import_(self, path: Path) -> Record:
        """Copy a record folder from elsewhere into this store, verified before and after.

        Symbolic links and damaged records are refused; a record that is here already stays, verified.
        """
        path = Path(path)
        if not path.is_dir():
            raise StoreError(f"{path} is not a folder: name the record's folder, the one that holds manifest.json.")
        links = [item for item in (path, *path.iterdir()) if item.is_symlink()]
        if links:
            raise StoreError(f"{links[0]} is a symbolic link, which is not imported: copy the files themselves.")
        source = Record.open(path, mend="copy the folder again from the machine that made it")
        source.verify()
        contents = folders.read_table_bytes(path, source.manifest, source.mend)
        files = {f"{name}.parquet": data for name, data in contents.items()}
        files[folders.MANIFEST] = folders.manifest_text(source.manifest)
        folder = self._folder(source.finding, source.key)
        folders.write_files(folder, files)
        return self._verified(folder)

    def copy_to(self, other: Store, record: Record) -> Record:
        """Copy a record of this store into another, verified before and after."""
        return other.import_(record.path)

    def gc(self, older_than: float = ONE_DAY) -> list[Path]:
        """Remove temporaries and partial runs not touched for `older_than` seconds; returns what was removed."""
        removed = []
        for folder in sorted(self.root.glob("*/.*")):
            leftover = folder.name.startswith((folders.TEMPORARY, _PARTIAL))
            if leftover and folder.is_dir() and time.time() - last_touched(folder) >= older_than:
                folders.discard(folder)
                removed.append(folder)
        return removed

    def verify(self) -> list[str]:
        """Read every record in full; one sentence per problem, none when all is well."""
        problems = []
        for folder in self._record_folders():
            try:
                self._verified(folder)
            except StoreError as error:
                problems.append(str(error))
        return problems

    def _open(self, folder: Path) -> Record:
        record = Record.open(folder)
        if (record.finding, record.key) != (folder.parent.name, folder.name):
            what = f"says {record.finding}/{record.key}: the folder was renamed or moved"
            raise DamagedRecord.at(folder / folders.MANIFEST, what, "move it back or delete the folder")
        return record

    def _verified(self, folder: Path) -> Record:
        record = self._open(folder)
        record.verify()
        return record

    def _record_folders(self) -> list[Path]:
        return sorted(folder for folder in self.root.glob("[!.]*/[!.]*") if folder.is_dir())

    def _folder(self, finding: str, key: str) -> Path:
        _check_names(finding, key)
        return self.root / finding / key


def _check_names(finding: Any, key: Any) -> None:
    if not (isinstance(finding, str) and _FINDING.fullmatch(finding)):
        raise StoreError(f"{finding!r} cannot name a finding: use lower-case letters, digits and '-'.")
    if not (isinstance(key, str) and _KEY.fullmatch(key)):
        raise StoreError(f"{key!r} is no record key: expected {KEY_LENGTH} of the digits 0-9a-f.")


def _mend(folder: Path) -> str:
    again = f"`evolm run {folder.parent.name} --fresh` with the same parameters"
    return f"run {again}, or restore the folder {folder} from a copy (a kept record: from git)"

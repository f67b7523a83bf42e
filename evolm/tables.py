"""A folder of Parquet tables with a checksummed manifest: written whole or not at all, never half believed.

    write(folder, tables, manifest)       True when this call wrote it, False when it was there already
    manifest = read_manifest(folder, mend="delete it")
    tables = read_tables(folder, manifest, mend="delete it")

Records and their shards are such folders (`evolm.record`). `manifest.json` names each table's file, sha256,
rows and bytes, and carries the sha256 of its own canonical JSON as `checksum`. The files are written to a
temporary sibling, flushed to disk, and appear by one rename, so that a reader or a second writer meets a
whole folder or none.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

MANIFEST = "manifest.json"
SCHEMA = 1
TEMPORARY = ".tmp-"
_TABLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class StoreError(RuntimeError):
    """The store cannot do what was asked: no space, no permission, a bad name. The message says what to do."""


class DamagedRecord(StoreError):
    """A record or shard is not what its manifest says. The message names the file and how to mend it."""

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path

    @classmethod
    def at(cls, path: Path, what: str, mend: str) -> DamagedRecord:
        return cls(f"{path} {what}. It is left as it is; to mend it, {mend}.", path)


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, ASCII. Raises ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(
    folder: Path, tables: Mapping[str, pd.DataFrame], manifest: Mapping[str, Any], *, replace: bool = False
) -> bool:
    """Write `folder` whole. False when another writer's is there already; `StoreError` when the disk refuses.

    With `replace`, what is there gives way, but only once the new files are safe on disk.
    """
    files, entries = {}, {}
    for name, frame in sorted(tables.items()):
        check_table_name(name)
        data = _parquet(name, frame)
        files[f"{name}.parquet"] = data
        entries[name] = {"file": f"{name}.parquet", "sha256": sha256(data), "rows": len(frame), "bytes": len(data)}
    body = {**manifest, "schema": SCHEMA, "tables": entries}
    body.pop("checksum", None)
    body["checksum"] = sha256(canonical_json(body))
    files[MANIFEST] = manifest_text(body)
    return write_files(folder, files, replace=replace)


def manifest_text(manifest: Mapping[str, Any]) -> bytes:
    """The manifest as it is stored: JSON that a person can read and a diff can show."""
    return json.dumps(manifest, indent=1, sort_keys=True).encode("ascii") + b"\n"


def write_files(folder: Path, files: Mapping[str, bytes], *, replace: bool = False) -> bool:
    """Make `folder` with exactly these files, by one rename. False when it was there already."""
    temporary = scratch(folder)
    try:
        temporary.mkdir(parents=True)
        for name, data in files.items():
            with (temporary / name).open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        _sync_folder(temporary)
        if replace:
            discard(folder)
        won = _rename(temporary, folder)
        _sync_folder(folder.parent)
        return won
    except OSError as error:
        raise refused(error, f"{folder} was not saved") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def scratch(folder: Path) -> Path:
    """A new temporary name in the finding's folder, outside any partial run, which may vanish when it is done."""
    parent = folder.parent.parent if folder.parent.name.startswith(".") else folder.parent
    return parent / f"{TEMPORARY}{secrets.token_hex(8)}"


def discard(folder: Path) -> None:
    """Remove a folder so that no reader sees it half gone."""
    temporary = scratch(folder)
    try:
        os.rename(folder, temporary)
        shutil.rmtree(temporary)
    except FileNotFoundError:
        return
    except OSError as error:
        raise refused(error, f"{folder} was not removed") from error


def refused(error: OSError, what: str) -> StoreError:
    """The sentence for an operating-system error: what did not happen, why, what to do."""
    advice = "look at the disk and the folder's permissions, then run the same command again"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        advice = "free some space (`evolm record gc` removes leftovers) or point EVOLM_STORE elsewhere, then run again"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "point EVOLM_STORE at a folder that you may write to"
    return StoreError(f"{what}: {error.strerror or error}. No partial record is left behind; {advice}.")


def read_manifest(folder: Path, mend: str) -> dict[str, Any]:
    """The manifest of `folder`, checked against its own checksum. Raises `DamagedRecord`."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(_read(path, mend))
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise DamagedRecord.at(path, "is not JSON (truncated or altered)", mend) from None
    if not isinstance(manifest, dict) or "checksum" not in manifest:
        raise DamagedRecord.at(path, "is no manifest: it carries no checksum", mend)
    body = {name: value for name, value in manifest.items() if name != "checksum"}
    try:
        true_checksum = sha256(canonical_json(body))
    except ValueError:
        true_checksum = ""
    if true_checksum != manifest["checksum"]:
        raise DamagedRecord.at(path, "was altered: its content does not match its checksum", mend)
    if manifest.get("schema") != SCHEMA:
        raise StoreError(
            f"{path} has schema {manifest.get('schema')!r}; this evolm reads schema {SCHEMA}. Upgrade evolm."
        )
    for name, entry in manifest["tables"].items():
        check_table_name(name)
        if set(entry) != {"file", "sha256", "rows", "bytes"} or entry["file"] != f"{name}.parquet":
            raise DamagedRecord.at(path, f"describes table {name!r} as {entry!r}", mend)
    return manifest


def read_tables(folder: Path, manifest: Mapping[str, Any], mend: str) -> dict[str, pd.DataFrame]:
    """Every table of `folder`, each checked against the manifest before it is parsed. Raises `DamagedRecord`."""
    return {
        name: pq.read_table(pa.BufferReader(data)).to_pandas()
        for name, data in read_table_bytes(folder, manifest, mend).items()
    }


def read_table_bytes(folder: Path, manifest: Mapping[str, Any], mend: str) -> dict[str, bytes]:
    """The verified bytes of every table's file, by table name. Raises `DamagedRecord`."""
    verified = {}
    for name, entry in manifest["tables"].items():
        path = folder / entry["file"]
        data = _read(path, mend)
        if len(data) != entry["bytes"]:
            what = f"has {len(data)} bytes where its manifest says {entry['bytes']} (truncated or replaced)"
            raise DamagedRecord.at(path, what, mend)
        if sha256(data) != entry["sha256"]:
            raise DamagedRecord.at(path, "was altered: its sha256 is not the one in its manifest", mend)
        verified[name] = data
    return verified


def check_table_name(name: str) -> None:
    if not _TABLE_NAME.fullmatch(name):
        raise StoreError(f"{name!r} cannot name a table: use letters, digits, '-' and '_', starting with no sign.")


def _parquet(name: str, frame: pd.DataFrame) -> bytes:
    index = frame.index
    if len(frame) and (isinstance(index, pd.MultiIndex) or index.name is not None or index.dtype.kind not in "iu"):
        raise StoreError(
            f"table {name!r} keeps data in its index, which is not stored: call .reset_index() on it first."
        )
    plain = frame.copy(deep=False)
    plain.attrs = {}
    for column in plain.columns[[isinstance(dtype, pd.CategoricalDtype) for dtype in plain.dtypes]]:
        plain[column] = plain[column].astype(plain[column].cat.categories.dtype)
    try:
        table = pa.Table.from_pandas(plain, preserve_index=False)
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise StoreError(f"table {name!r} does not fit Parquet: {error}. Give each column one plain type.") from error
    return sink.getvalue()


def _read(path: Path, mend: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DamagedRecord.at(path, "is missing", mend) from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}. Look at the disk and its permissions.") from error


def _rename(temporary: Path, folder: Path, attempts: int = 3) -> bool:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(temporary, folder)
    except FileNotFoundError:  # another process finished this run and removed the parent in between
        if attempts == 1:
            raise
        return _rename(temporary, folder, attempts - 1)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY) and folder.is_dir():
            return False
        raise
    return True


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder; its rename is durable without
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

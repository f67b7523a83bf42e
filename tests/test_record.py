"""Records: what is written is read back, damage is refused by name, a full disk leaves nothing half done."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolm import tables as folders
from evolm.record import DamagedRecord, Record, Store, StoreError, record_key

ROOT = Path(__file__).resolve().parent.parent
KEY = "0123456789abcdef"
TABLES = {
    "loss": pd.DataFrame({"seed": [100, 101], "arm": ["strong", "weak"], "loss": [0.25, float("nan")]}),
    "empty": pd.DataFrame({"seed": pd.Series([], dtype="int64"), "arm": pd.Series([], dtype="str")}),
}
FILES = ("manifest.json", "loss.parquet", "empty.parquet")


def committed(root: Path) -> tuple[Store, Record]:
    store = Store(root)
    return store, store.commit("toy", KEY, TABLES, {"preset": "cpu", "params": {"widths": [4, 8]}, "seeds": [100, 101]})


def visible(root: Path) -> list[str]:
    """Everything under a store but empty finding folders."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() or path.name[0] == ".")


# --- what is written is read back -------------------------------------------------------------------------


def test_a_committed_record_is_found_with_its_tables_and_facts(tmp_path: Path) -> None:
    store, record = committed(tmp_path)
    found = store.find("toy", KEY)
    assert found == record
    assert (found.finding, found.key, found.preset, found.params) == ("toy", KEY, "cpu", {"widths": [4, 8]})
    for name, frame in found.tables().items():
        pd.testing.assert_frame_equal(frame, TABLES[name], check_exact=True)
    assert store.verify() == []
    assert store.find("toy", "f" * 16) is None


def frames() -> st.SearchStrategy[pd.DataFrame]:
    def build(rows: int) -> st.SearchStrategy[pd.DataFrame]:
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
        column = st.one_of(
            st.lists(st.integers(-(2**63), 2**63 - 1), min_size=rows, max_size=rows).map(
                lambda v: pd.Series(v, dtype="int64")
            ),
            st.lists(st.floats(), min_size=rows, max_size=rows).map(lambda v: pd.Series(v, dtype="float64")),
            st.lists(st.floats(width=32), min_size=rows, max_size=rows).map(lambda v: pd.Series(v, dtype="float32")),
            st.lists(st.booleans(), min_size=rows, max_size=rows).map(lambda v: pd.Series(v, dtype="bool")),
            st.lists(text, min_size=rows, max_size=rows).map(lambda v: pd.Series(v, dtype="str")),
        )
        names = st.lists(text, unique=True, min_size=1, max_size=4)
        return names.flatmap(
            lambda n: st.tuples(*[column] * len(n)).map(lambda cs: pd.DataFrame(dict(zip(n, cs, strict=True))))
        )

    return st.integers(0, 6).flatmap(build)


@settings(max_examples=60, deadline=None)
@given(frames())
def test_any_tidy_table_round_trips_with_its_dtypes_empty_ones_too(frame: pd.DataFrame) -> None:
    with tempfile.TemporaryDirectory() as folder:
        record = Store(Path(folder)).commit("toy", KEY, {"t": frame}, {})
        pd.testing.assert_frame_equal(record.tables()["t"], frame, check_exact=True)


def test_a_categorical_column_is_stored_as_its_plain_values(tmp_path: Path) -> None:
    frame = pd.DataFrame({"arm": pd.Categorical(["b", "a", "b"])})
    stored = Store(tmp_path).commit("toy", KEY, {"t": frame}, {}).tables()["t"]
    assert stored["arm"].tolist() == ["b", "a", "b"]
    assert stored["arm"].dtype == "str"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"x": [1.0]}, index=pd.Index(["strong"], name="arm")), "reset_index"),
        (pd.DataFrame({"x": [1, "a", None]}), "one plain type"),
        (pd.DataFrame({"x": [1j]}), "one plain type"),
    ],
)
def test_a_table_that_would_lose_something_is_refused(tmp_path: Path, frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        Store(tmp_path).commit("toy", KEY, {"t": frame}, {})
    assert visible(tmp_path) == []


def test_the_key_depends_on_every_input_and_not_on_their_order() -> None:
    base = ("toy", {"a": 1, "b": [2.0]}, {"m": "x"}, {"d": "y"}, "cpu", "float32")
    key = record_key(*base)
    assert record_key("toy", {"b": [2.0], "a": 1}, {"m": "x"}, {"d": "y"}, "cpu", "float32") == key
    others = ["toz", {"a": 1, "b": [2.5]}, {"m": "z"}, {"d": "z"}, "cuda", "float64"]
    changed = {record_key(*base[:i], other, *base[i + 1 :]) for i, other in enumerate(others)}
    assert len(changed | {key}) == 7
    assert len(key) == 16


def test_the_later_writer_of_one_key_gets_the_first_ones_record(tmp_path: Path) -> None:
    store, first = committed(tmp_path)
    second = store.commit("toy", KEY, {"loss": TABLES["loss"] * 1}, {"preset": "smoke"})
    assert second == first
    assert visible(tmp_path) == sorted(f"toy/{KEY}/{file}" for file in FILES)


def test_replacing_swaps_the_record_and_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    store, _ = committed(tmp_path)
    new = store.commit("toy", KEY, {"other": TABLES["loss"]}, {}, replace=True)
    assert list(new.tables()) == ["other"]
    assert visible(tmp_path) == [f"toy/{KEY}/manifest.json", f"toy/{KEY}/other.parquet"]


# --- damage is refused by name ------------------------------------------------------------------------------

DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "emptied": lambda path: path.write_bytes(b""),
    "altered": lambda path: path.write_bytes(path.read_bytes()[:60] + b"\x07" + path.read_bytes()[61:]),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_damage_to_any_file_is_named_with_the_command_that_mends_it(tmp_path: Path, file: str, damage: str) -> None:
    store, record = committed(tmp_path)
    DAMAGES[damage](record.path / file)
    with pytest.raises(DamagedRecord, match=rf"{file}.*evolm run toy --fresh") as caught:
        store.find("toy", KEY).tables()
    assert caught.value.path == record.path / file
    [problem] = store.verify()
    assert file in problem
    with pytest.raises(DamagedRecord, match=file):  # and is not written over
        store.commit("toy", KEY, TABLES, {})


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(0, 255))
def test_no_single_altered_byte_changes_what_is_read(file: str, where: float, byte: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, record = committed(Path(folder))
        data = bytearray((record.path / file).read_bytes())
        data[int(where * len(data))] = byte
        (record.path / file).write_bytes(data)
        try:
            found = store.find("toy", KEY)
            tables = found.tables()
        except DamagedRecord:
            return
        # Only a byte that means nothing, such as a space between two JSON fields, goes unnoticed.
        assert found.manifest == record.manifest
        pd.testing.assert_frame_equal(tables["loss"], TABLES["loss"], check_exact=True)


def test_a_manifest_edited_with_a_new_checksum_no_longer_fits_its_key(tmp_path: Path) -> None:
    inputs = {"sources": {"m": "x"}, "data": {}, "device": "cpu", "dtype": "float32"}
    params = {"seeds": 5}
    key = record_key("toy", params, **inputs)
    store = Store(tmp_path)
    record = store.commit("toy", key, TABLES, {"params": params, "key_inputs": inputs})
    edited = {**record.manifest, "params": {"seeds": 50}}
    del edited["checksum"]
    edited["checksum"] = folders.sha256(folders.canonical_json(edited))
    (record.path / "manifest.json").write_text(json.dumps(edited))
    assert "its inputs give" in store.verify()[0]


def test_a_record_moved_to_another_key_is_refused(tmp_path: Path) -> None:
    store, record = committed(tmp_path)
    record.path.rename(record.path.with_name("f" * 16))
    with pytest.raises(DamagedRecord, match="renamed or moved"):
        store.find("toy", "f" * 16)


def test_a_listing_names_a_damaged_record_and_shows_the_others(tmp_path: Path) -> None:
    store, record = committed(tmp_path)
    other = store.commit("toy", "f" * 16, TABLES, {})
    (record.path / "manifest.json").unlink()
    with pytest.warns(UserWarning, match=KEY):
        assert store.records() == [other]
    assert store.records("another") == []


def test_a_newer_schema_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "SCHEMA", 2)
    Store(tmp_path).commit("toy", KEY, {}, {})
    monkeypatch.undo()
    with pytest.raises(StoreError, match="Upgrade evolm"):
        Store(tmp_path).find("toy", KEY)


# --- names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finding", "key"), [("..", KEY), ("a/b", KEY), ("toy\n", KEY), ("", KEY), ("toy", "../x"), ("toy", KEY + "\n")]
)
def test_names_that_leave_the_store_are_refused(tmp_path: Path, finding: str, key: str) -> None:
    for call in (Store(tmp_path).find, Store(tmp_path).shards, lambda f, k: Store(tmp_path).commit(f, k, {}, {})):
        with pytest.raises(StoreError, match=r"cannot name a finding|no record key"):
            call(finding, key)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x\n", "é"])
def test_table_and_unit_names_that_leave_their_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="cannot name a table"):
        Store(tmp_path).commit("toy", KEY, {name: TABLES["loss"]}, {})
    if name != ".hidden":
        with pytest.raises(StoreError, match="cannot name a unit"):
            Store(tmp_path).shards("toy", KEY).save(name, {}, {})
    assert visible(tmp_path) == []


def test_short_keys_find_one_record_or_name_the_candidates(tmp_path: Path) -> None:
    store, record = committed(tmp_path)
    store.commit("toy", "0123456000000000", TABLES, {})
    assert store.find_by_prefix("01234567") == record
    with pytest.raises(StoreError, match=rf"several records.*toy/0123456000000000, toy/{KEY}"):
        store.find_by_prefix("012345")
    with pytest.raises(StoreError, match=rf"no record.*toy/{KEY}"):
        store.find_by_prefix("ffffff")
    for bad in ("01234", "../../", "0123456789abcdef0"):
        with pytest.raises(StoreError, match="give 6 to 16"):
            store.find_by_prefix(bad)


# --- import and copy ------------------------------------------------------------------------------------------


def test_a_record_is_imported_from_any_folder_and_verified(tmp_path: Path) -> None:
    _, record = committed(tmp_path / "there")
    moved = shutil.copytree(record.path, tmp_path / "from-gpu")
    here = Store(tmp_path / "here")
    assert here.import_(moved).manifest == record.manifest
    assert here.import_(moved).path == here.root / "toy" / KEY  # twice does no harm
    assert here.verify() == []
    assert Store(tmp_path / "there").copy_to(Store(tmp_path / "kept"), record).manifest == record.manifest


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_tampered_record_is_not_imported(tmp_path: Path, file: str, damage: str) -> None:
    _, record = committed(tmp_path / "there")
    DAMAGES[damage](record.path / file)
    with pytest.raises(DamagedRecord, match=rf"{file}.*copy the folder again"):
        Store(tmp_path / "here").import_(record.path)
    assert not (tmp_path / "here").exists()


def test_symbolic_links_are_not_imported(tmp_path: Path) -> None:
    _, record = committed(tmp_path / "there")
    (record.path / "loss.parquet").rename(tmp_path / "elsewhere")
    (record.path / "loss.parquet").symlink_to(tmp_path / "elsewhere")
    here = Store(tmp_path / "here")
    with pytest.raises(StoreError, match=r"loss.parquet is a symbolic link"):
        here.import_(record.path)
    (tmp_path / "link").symlink_to(record.path)
    with pytest.raises(StoreError, match="link is a symbolic link"):
        here.import_(tmp_path / "link")


def test_a_manifest_that_points_outside_its_folder_is_not_imported(tmp_path: Path) -> None:
    _, record = committed(tmp_path / "there")
    manifest = json.loads((record.path / "manifest.json").read_text())
    manifest["tables"]["loss"]["file"] = "../../secret.parquet"
    del manifest["checksum"]
    manifest["checksum"] = folders.sha256(folders.canonical_json(manifest))
    (record.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DamagedRecord, match="secret"):
        Store(tmp_path / "here").import_(record.path)


# --- shards, removal, leftovers ---------------------------------------------------------------------------------


def test_shards_come_back_until_the_record_is_committed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shards = store.shards("toy", KEY)
    assert shards.load("seed=100") is None
    shards.save("seed=100", TABLES, {"cpu_s": 1.5})
    tables, cost = Store(tmp_path).shards("toy", KEY).load("seed=100")
    pd.testing.assert_frame_equal(tables["loss"], TABLES["loss"], check_exact=True)
    assert cost == {"cpu_s": 1.5}
    assert store.records() == []
    store.commit("toy", KEY, TABLES, {})
    assert shards.load("seed=100") is None
    assert visible(tmp_path) == sorted(f"toy/{KEY}/{file}" for file in FILES)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_shard_is_named_with_the_folder_to_delete(tmp_path: Path, file: str, damage: str) -> None:
    shards = Store(tmp_path).shards("toy", KEY)
    shards.save("seed=100", TABLES, {})
    folder = shards.folder / "unit-seed=100"
    DAMAGES[damage](folder / file)
    with pytest.raises(DamagedRecord, match=rf"{file}.*delete the folder {folder}"):
        shards.load("seed=100")


def test_a_shard_is_saved_though_another_process_removes_the_runs_folder_as_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, made, lost = Store(tmp_path).shards("toy", "0" * 16), os.mkdir, []

    def racing(path: Any, mode: int = 0o777, **more: Any) -> None:
        if Path(path) == shards.folder and len(lost) < 2:
            lost.append(path)
            raise FileExistsError(errno.EEXIST, "File exists", str(path))  # and gone when pathlib looks
        made(path, mode, **more)

    monkeypatch.setattr(os, "mkdir", racing)
    shards.save("only", {"table": pd.DataFrame({"a": [1]})}, {})
    assert len(lost) == 2
    assert shards.load("only") is not None


def test_a_shard_under_another_units_name_is_refused(tmp_path: Path) -> None:
    shards = Store(tmp_path).shards("toy", KEY)
    shards.save("seed=100", TABLES, {})
    (shards.folder / "unit-seed=100").rename(shards.folder / "unit-seed=101")
    with pytest.raises(DamagedRecord, match="another unit"):
        shards.load("seed=101")


def test_gc_removes_old_leftovers_only(tmp_path: Path) -> None:
    store, record = committed(tmp_path)
    old, new = tmp_path / "toy" / ".tmp-old", tmp_path / "toy" / ".tmp-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "loss.parquet").write_bytes(b"half")
    for unit in ("seed=100", "seed=101"):
        store.shards("toy", "f" * 16).save(unit, TABLES, {})
    two_days_ago = time.time() - 2 * 86_400
    partial = store.shards("toy", "f" * 16).folder
    for path in (old, old / "loss.parquet", partial, partial / "unit-seed=100"):
        os.utime(path, (two_days_ago, two_days_ago))
    assert store.gc() == [old]  # one unit of the partial run is recent, so the run may be alive
    assert store.gc(older_than=0.0) == [partial, new]
    assert store.records() == [record]
    assert store.verify() == []


def test_removing_a_record_leaves_nothing(tmp_path: Path) -> None:
    store, record = committed(tmp_path)
    store.remove(record)
    assert store.find("toy", KEY) is None
    assert visible(tmp_path) == []


# --- what the disk refuses ----------------------------------------------------------------------------------------


def failing_at(call: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """`real`, but a full disk at its `call`-th call."""
    calls = iter(range(1000))

    def maybe_full(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **options)

    return maybe_full


#: Calls of each function in one commit into an empty root: three files, the temporary folder, the finding's folder.
STEPS = [("fsync", i) for i in range(5)] + [("mkdir", i) for i in range(2)] + [("rename", 0), ("open", 0), ("open", 1)]


@pytest.mark.parametrize(("function", "call"), STEPS)
def test_a_full_disk_at_any_step_leaves_no_partial_record(tmp_path: Path, function: str, call: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, function, failing_at(call, getattr(os, function)))
        with pytest.raises(StoreError, match=r"No space left.*free some space"):
            committed(tmp_path)
    assert [name for name in visible(tmp_path) if "/." in name] == []
    assert Store(tmp_path).verify() == []  # whole, or not there
    committed(tmp_path)  # and the same command works once there is space


def test_a_full_disk_while_replacing_keeps_the_old_record(tmp_path: Path) -> None:
    store, record = committed(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", failing_at(2, os.fsync))
        with pytest.raises(StoreError, match="No space left"):
            store.commit("toy", KEY, {"new": TABLES["loss"]}, {}, replace=True)
    assert store.find("toy", KEY) == record
    assert store.verify() == []


def in_subprocess(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    header = "import sys\nfrom pathlib import Path\nimport pandas as pd\nfrom evolm.record import *\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", header + code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is POSIX")
def test_a_write_that_the_kernel_cuts_short_leaves_no_partial_record(tmp_path: Path) -> None:
    """A file-size limit of 4 kB makes the write itself fail half-way, as a full disk does."""
    code = """
import resource
import numpy as np
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
big = pd.DataFrame({"x": np.random.default_rng(0).normal(size=5000)})
store = Store(Path(sys.argv[1]))
for attempt in (lambda: store.commit("toy", "0" * 16, {"big": big}, {}),
                lambda: store.shards("toy", "0" * 16).save("seed=1", {"big": big}, {})):
    try:
        attempt()
    except StoreError as error:
        print(error)
store.commit("toy", "f" * 16, {"small": big.head(3)}, {})
"""
    done = in_subprocess(code, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("was not saved: File too large") == 2
    assert [record.key for record in Store(tmp_path).records()] == ["f" * 16]
    assert len(visible(tmp_path)) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_read_only_store_is_read_and_says_so_when_written() -> None:
    code = """
import os
store = Store(Path(sys.argv[1]))
store.find("toy", sys.argv[2]).tables()  # as root, so that lazy imports are done
if os.geteuid() == 0:
    os.seteuid(65534)
assert store.find("toy", sys.argv[2]).tables()["loss"]["seed"].tolist() == [100, 101]
assert len(store.records()) == 1 and store.verify() == [] and store.gc(0.0) == []
for attempt in (lambda: store.commit("toy", "f" * 16, {}, {}), lambda: store.remove(store.records()[0])):
    try:
        attempt()
    except StoreError as error:
        print(error)
"""
    with tempfile.TemporaryDirectory() as folder:
        committed(Path(folder))
        everything = [Path(folder), *Path(folder).rglob("*")]
        for path in everything:
            path.chmod(0o555 if path.is_dir() else 0o444)
        done = in_subprocess(code, folder, KEY)
        for path in everything:
            path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("you may write to") == 2


def test_a_value_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        Store(tmp_path).commit("toy", KEY, {}, {"params": {"x": float("nan")}})
    assert visible(tmp_path) == []


def test_float_bits_survive(tmp_path: Path) -> None:
    values = np.array([0.1 + 0.2, 5e-324, -0.0, np.inf, np.nextafter(1.0, 2.0)])
    stored = Store(tmp_path).commit("toy", KEY, {"t": pd.DataFrame({"x": values})}, {}).tables()["t"]["x"]
    assert stored.to_numpy().tobytes() == values.tobytes()

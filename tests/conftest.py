"""What every test runs under: one thread, no network, no display and no deadline."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import settings

# Before anything imports torch or a hub client; child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# The same tree gives the same answer on a busy machine and on an idle one.
settings.register_profile("evolm", deadline=None, derandomize=True)
settings.load_profile("evolm")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several processes (pytest -n) a file's tests stay together; so do book and notebooks, which share runs."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            pages = item.path.parent.name in ("book", "notebooks")
            item.add_marker(pytest.mark.xdist_group("pages" if pages else item.path.name))


@pytest.fixture
def drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two drawings of a figure, wide and narrow, instead of four that are written out."""
    from matplotlib.figure import Figure as Canvas

    from evolm import plotting
    from evolm.plotting import theme

    def pictures(draw: Any, name: str, alt: str, size: tuple[float, float], panels: int, narrow_height: float) -> str:
        for inches, grid in ((size, (1, panels)), ((3.9, narrow_height), (panels, 1))):
            with theme("light"):
                axes = list(Canvas(figsize=inches).subplots(*grid, squeeze=False).flat)
                draw(axes[0] if panels == 1 else axes)
        return name

    monkeypatch.setattr(plotting, "_pictures", pictures)

"""What every test runs under: one thread, no network, no display and no deadline."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Before anything imports torch or a hub client; child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The processes of pytest -n are told a terminal's width, and would wrap what is printed at it.
os.environ.pop("COLUMNS", None)

# The same tree gives the same answer on a busy machine and on an idle one.
settings.register_profile("evolm", deadline=None, derandomize=True)
settings.load_profile("evolm")


@pytest.fixture(scope="session")
def one_at_a_time() -> Callable[[], AbstractContextManager[None]]:
    """Holds off other processes (pytest -n) while a test runs chapters into the checkout's own store of records."""

    @contextmanager
    def held() -> Iterator[None]:
        folder = Path(__file__).resolve().parents[1] / ".evolm"
        folder.mkdir(exist_ok=True)
        with (folder / "tests.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    return held


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

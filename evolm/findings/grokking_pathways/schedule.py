"""When a run is measured: evenly, and more often while groups are memorised."""

from __future__ import annotations

#: Checkpoints before the evenly spaced ones begin: they date memorisation and enter no window.
EARLY = 4


def measured_steps(steps: int, checkpoints: int) -> list[int]:
    """The start, the end, and updates that are evenly spaced; the first spaces are cut into halves."""
    spacing = steps / checkpoints
    early = [round(spacing * i / 2) for i in range(2 * EARLY)]
    return sorted({*early, *(round(spacing * i) for i in range(EARLY, checkpoints + 1))})

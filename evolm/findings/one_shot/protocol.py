"""The selection protocol: settings are chosen on some seeds and problems, and reported on others.

Seeds below `FIRST_REPORT_SEED` are for development. They see validation problems alone (`splits_of`), and only they may
choose settings (`evolm.findings.one_shot.choose`). Seeds 1000 to 1004 reported an earlier state of the chapter, whose
review changed claims and draw; so they count as development now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evolm.lm.tasks.base import Split

FIRST_REPORT_SEED = 2000


def splits_of(seed: int) -> tuple[Split, ...]:
    """The held-out splits that a seed may be measured on."""
    return ("validation", "test") if seed >= FIRST_REPORT_SEED else ("validation",)


def check_development(seed: int) -> None:
    """Refuse to choose anything on a report seed."""
    if seed >= FIRST_REPORT_SEED:
        raise ValueError(f"seed {seed} is a report seed; settings are chosen on seeds below {FIRST_REPORT_SEED}")

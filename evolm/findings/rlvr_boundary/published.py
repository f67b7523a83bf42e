"""Numbers of Yue et al. (2025) that the chapter draws or counts: Tables 2 and 3, in per cent.

Cells are (pass@1, pass@256) on Omni-MATH train, Omni-MATH test and MATH500; Qwen2.5-7B.
"""

from __future__ import annotations

from types import MappingProxyType

SETS = ("Omni-MATH train", "Omni-MATH test", "MATH500")
BASE = ((9.9, 67.2), (10.2, 69.1), (34.5, 96.2))
#: Table 2: six algorithms at the same number of samples.
ALGORITHMS = MappingProxyType(
    {
        "GRPO": ((26.1, 66.3), (25.1, 68.3), (74.4, 97.2)),
        "PPO": ((27.2, 65.8), (26.8, 69.2), (75.2, 97.2)),
        "ReMax": ((24.4, 65.5), (23.8, 67.5), (73.5, 96.6)),
        "RLOO": ((28.6, 66.4), (28.1, 69.2), (75.0, 97.4)),
        "Reinforce++": ((28.2, 67.7), (28.0, 69.7), (75.4, 96.8)),
        "DAPO": ((31.4, 66.1), (26.5, 67.0), (75.6, 96.4)),
    }
)
#: Table 3: GRPO after so many steps.
LONGER = MappingProxyType(
    {
        150: ((26.1, 66.3), (25.1, 68.3), (74.4, 97.2)),
        300: ((33.6, 65.3), (27.1, 66.6), (75.4, 96.0)),
        450: ((42.5, 64.3), (28.3, 63.9), (76.3, 95.4)),
    }
)


def base_behind() -> tuple[int, int]:
    """In how many cells of Table 2 reinforcement is at or above the base at k = 256, of how many."""
    cells = [(tuned[1], base[1]) for row in ALGORITHMS.values() for tuned, base in zip(row, BASE, strict=True)]
    return sum(tuned >= base for tuned, base in cells), len(cells)


def base_behind_at_the_ceiling() -> int:
    """How many of those cells are on MATH500, where the base has 96 % already."""
    return sum(row[2][1] >= BASE[2][1] for row in ALGORITHMS.values())


def gaps(problems: int) -> tuple[float, float]:
    """Least and largest gap on the set with this index: the base's pass@256 less an algorithm's pass@1."""
    found = [round(BASE[problems][1] - row[problems][0], 1) for row in ALGORITHMS.values()]
    return min(found), max(found)

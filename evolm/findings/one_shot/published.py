"""Numbers of Wang et al. (2025) that the chapter draws beside its own, in per cent.

MATH500, greedy decoding, Qwen2.5-Math-1.5B, the best of up to 100 checkpoints chosen on the test sets.
"""

from __future__ import annotations

from types import MappingProxyType

#: Table 8: the untrained base.
BASE = 36.0
#: Arm here -> values there. Where the paper has several comparable runs, all of them.
MATH500 = MappingProxyType(
    {
        "one": (72.8, 73.6),  # Tab. 8: examples pi_1 and pi_13
        "full": (73.6,),  # Tab. 8: the 1,209 examples
        "format": (65.4, 61.6),  # Tab. 14: reward for form on pi_1, with and without entropy bonus
        "format-full": (65.0,),  # Tab. 14: reward for form on the 1,209 examples
        "zero": (39.8,),  # Tab. 5, first row: no loss at all, the same choice of checkpoint
    }
)
#: Table 5, on pi_1: which terms the loss has. The paper has no run of weight decay alone; KL was on beside it.
LOSS = MappingProxyType(
    {
        "one": (71.8,),  # policy gradient alone
        "one-decay": (71.4,),
        "one-entropy": (75.6,),
        "entropy-only": (63.4,),
        "decay-only": (39.0,),
    }
)
#: The same paper on labels, with the full loss: the right one's neighbours, a guessable wrong one, an unguessable one.
LABELS = MappingProxyType({"near": (73.4, 74.8), "guessable": (57.0,), "unguessable": (64.4,)})


def gains(values: MappingProxyType[str, tuple[float, ...]]) -> dict[str, list[float]]:
    """What each arm gained over the base, as shares of problems."""
    return {arm: [(value - BASE) / 100 for value in found] for arm, found in values.items()}

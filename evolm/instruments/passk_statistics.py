"""What counts of correct samples say of two models: curves, where they cross, which problems each can solve.

    curve_rows(base, ks, settings)                  pass@k with its interval
    crossover_rows(base, tuned, settings)           first k where the base overtakes
    set_rows(base, tuned, settings)                 2 x 2 of solved problems, against a second draw of the base
    guess_rows(answers, ks, settings)               what guessing would reach

Intervals are percentiles of a bootstrap over problems. All statistics of a table see the same resamples, so
differences between models are paired. Each row is {quantity, k, value, low, high, note}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from evolm.instruments.passk_files import Outcomes
from evolm.lm.passk import Array, Counts, pass_at_k_curve, pass_at_k_from_p

Row = dict[str, Any]
#: Resamples are drawn in blocks of this many numbers.
BLOCK = 2**22
#: Below this many problems an interval from a bootstrap is too short to be trusted.
FEW_PROBLEMS = 20
SETS = ("solved by both", "solved by base only", "solved by tuned only", "solved by neither")


@dataclass(frozen=True)
class Settings:
    """How sure: `level` of intervals, `draws` of the bootstrap; `margin` by which one curve must pass another."""

    level: float = 0.95
    draws: int = 2000
    margin: float = 0.005
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.level < 1 and self.draws >= 1 and 0 <= self.margin < 1):
            found = f"level {self.level}, draws {self.draws}, margin {self.margin}"
            raise ValueError(f"{found}: expected a level between 0 and 1, at least one draw, a margin in [0, 1)")


class Sets(NamedTuple):
    """What k samples of each model solve: the probability of each of the four outcomes, (problems,)."""

    both: Array
    base_only: Array
    tuned_only: Array
    neither: Array


def resampled_means(values: Array, settings: Settings) -> Array:
    """Means over problems of `values` (problems, columns) in each bootstrap draw: (draws, columns)."""
    rng, problems = np.random.default_rng(settings.seed), len(values)
    # The block depends on the number of problems alone, so that every statistic sees the same resamples.
    block, parts = max(1, BLOCK // problems), []
    for first in range(0, settings.draws, block):
        count = min(block, settings.draws - first)
        weights = rng.multinomial(problems, np.full(problems, 1 / problems), size=count)  # (draws, problems)
        parts.append(weights @ values / problems)
    return np.concatenate(parts)


def curve_rows(outcomes: Outcomes, ks: Sequence[int], settings: Settings) -> list[Row]:
    """pass@k, mean over problems."""
    note = "no correct sample" if not outcomes.c.any() else ""
    return mean_rows("pass@k", ks, pass_at_k_curve(outcomes.n, outcomes.c, ks), settings, note)


def difference_rows(base: Outcomes, tuned: Outcomes, ks: Sequence[int], settings: Settings) -> list[Row]:
    """pass@k of the tuned model less that of the base, paired by problem."""
    difference = pass_at_k_curve(tuned.n, tuned.c, ks) - pass_at_k_curve(base.n, base.c, ks)
    return mean_rows("pass@k, less base", ks, difference, settings)


def crossover_rows(base: Outcomes, tuned: Outcomes, settings: Settings) -> list[Row]:
    """The first k at which the base leads by more than the margin, after the tuned model led by more than it.

    Where that does not happen the value is NaN and the note says which model leads. The interval's ends are
    percentiles over all draws, those without a crossing counted as infinite.
    """
    ks = _dense_ks(int(min(base.n.min(), tuned.n.min())))
    lead = pass_at_k_curve(base.n, base.c, ks) - pass_at_k_curve(tuned.n, tuned.c, ks)  # (problems, ks)
    value = float(_crossing(lead.mean(0)[None], ks, settings.margin)[0])
    found = _crossing(resampled_means(lead, settings), ks, settings.margin)  # (draws,)
    low, high = _percentiles(found, settings, len(lead))
    share = f"{100 * np.isfinite(found).mean():.0f} % of draws cross"
    note = share if np.isfinite(value) else f"none up to k = {ks[-1]}: {_who_leads(lead.mean(0), settings)}; {share}"
    return [table_row("crossover k", ks[-1], value if np.isfinite(value) else np.nan, low, high, note)]


def set_rows(base: Outcomes, tuned: Outcomes, settings: Settings) -> list[Row]:
    """Which problems k samples solve: of both models, of either, of neither, as shares of the problems.

    At the largest k, with McNemar's exact test on the problems that only one solved where every problem had k samples
    of both; and at half of it, where a second draw of the base is the null: what it solves and the first does not.
    """
    most = int(min(base.n.min(), tuned.n.min()))
    shares = dict(zip(SETS, solved_sets(base, tuned, most), strict=True))
    rows = [row for name, share in shares.items() for row in mean_rows(name, [most], share, settings)]
    if bool((base.n == most).all() and (tuned.n == most).all()):
        only = [int(((a.c > 0) & (b.c == 0)).sum()) for a, b in ((base, tuned), (tuned, base))]
        note = f"solved only by base: {only[0]}, only by tuned: {only[1]}"
        rows.append(table_row("McNemar p", most, mcnemar_p(*only), note=note))
    half = int(min(base.n.min() // 2, tuned.n.min()))
    if half < 1:
        rows.append(table_row("second draw of base only", 1, note="one sample per problem: there is no second draw"))
        return rows
    shares = dict(zip(SETS, solved_sets(base, tuned, half), strict=True))
    second = second_draw(base, half)
    shares |= {"second draw of base only": second, "base only, less second draw": shares[SETS[1]] - second}
    shares |= {"tuned only, less second draw": shares[SETS[2]] - second}
    return rows + [row for name, share in shares.items() for row in mean_rows(name, [half], share, settings)]


def solved_sets(base: Outcomes, tuned: Outcomes, k: int) -> Sets:
    """Each problem's probability of each outcome when k samples are drawn from each model; unbiased for k <= n."""
    a, b = (pass_at_k_curve(model.n, model.c, k)[:, 0] for model in (base, tuned))
    return Sets(a * b, a * (1 - b), (1 - a) * b, (1 - a) * (1 - b))


def second_draw(base: Outcomes, k: int) -> Array:
    """Probability that k samples of the base solve a problem which k others of its samples do not; needs 2 k <= n.

    P(one of all 2 k is correct) - P(one of the second k is) = pass@2k - pass@k, (problems,): no random halves needed.
    """
    curve = pass_at_k_curve(base.n, base.c, [k, 2 * k])
    return curve[:, 1] - curve[:, 0]


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Exact two-sided p value that problems solved by one of two models only are as often the one's as the other's."""
    return float(min(1.0, 2 * stats.binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)))


def guess_rows(answers: Sequence[str], ks: Sequence[int], settings: Settings) -> list[Row]:
    """What guessing from the gold answers of the other problems reaches; (problems,) answers.

    `answer marginal` draws an answer as often as it occurs; `majority answer` always gives the most frequent one.
    """
    if len(answers) < 2:
        return []
    marginal, majority = guess_levels(answers)
    rows = mean_rows("guess: answer marginal", ks, pass_at_k_from_p(marginal[:, None], np.array(ks)[None]), settings)
    return rows + mean_rows("guess: majority answer", [1], majority[:, None], settings, "the same at every k")


def guess_levels(answers: Sequence[str]) -> tuple[Array, Array]:
    """Success probability, (problems,), of a draw from the other problems' answers, and of their most frequent one."""
    texts = [" ".join(answer.lower().split()) for answer in answers]
    counts, ranked = Counter(texts), Counter(Counter(texts).values())
    marginal = np.array([(counts[text] - 1) / (len(texts) - 1) for text in texts])
    majority = []
    for text in texts:
        mine = counts[text]
        # Without this problem its answer occurs once less; the others' largest count, and how many share it.
        others = ranked - Counter([mine])
        top = max([mine - 1, *others])
        tied = others[top] + (mine - 1 == top)
        majority.append(1 / tied if mine - 1 == top and mine > 1 else 0.0)
    return marginal, np.array(majority)


def mean_rows(quantity: str, ks: Sequence[int], values: Array, settings: Settings, note: str = "") -> list[Row]:
    """Means over problems of `values`, (problems, ks), with their intervals: a row for each k."""
    values = values.reshape(len(values), len(ks))
    lows, highs = _percentiles(resampled_means(values, settings), settings, len(values))
    if len(values) < FEW_PROBLEMS:
        few = f"only {len(values)} problem{'s' if len(values) > 1 else ''}: the interval says little"
        note = f"{note}; {few}" if note else few
    table = zip(ks, values.mean(0), lows, highs, strict=True)
    return [table_row(quantity, k, float(mean), float(low), float(high), note) for k, mean, low, high in table]


def _percentiles(draws: Array, settings: Settings, problems: int) -> tuple[Any, Any]:
    """Ends of the interval, along the first axis; NaN for a single problem, which no resampling varies."""
    if problems < 2:
        return (np.full(draws.shape[1:], np.nan),) * 2
    tail = (1 - settings.level) / 2
    # Order statistics, not interpolations: those of infinite values would be undefined.
    return np.quantile(draws, tail, axis=0, method="lower"), np.quantile(draws, 1 - tail, axis=0, method="higher")


def _crossing(lead: Array, ks: Counts, margin: float) -> Array:
    """For each row of `lead`, base less tuned, (rows, ks): the crossing k, infinite where there is none."""
    tuned_led = np.logical_or.accumulate(lead < -margin, axis=1)
    crossed = tuned_led & (lead > margin)
    return np.where(crossed.any(1), ks[crossed.argmax(1)], np.inf)


def _who_leads(lead: Array, settings: Settings) -> str:
    if (lead < -settings.margin).any():
        return "the tuned model is not overtaken"
    return "the base leads" if (lead > settings.margin).any() else "the two are within the margin"


def _dense_ks(most: int) -> Counts:
    """Every k up to 256, then in steps of 2 %, `most` included."""
    if most <= 256:
        return np.arange(1, most + 1)
    grid: Counts = np.unique(
        [*range(1, 257), *np.geomspace(256, most, 2 + int(50 * np.log(most / 256))).astype(int), most]
    )
    return grid


def table_row(
    quantity: str, k: int, value: float = np.nan, low: float = np.nan, high: float = np.nan, note: str = ""
) -> Row:
    """One row of the table; NaN where there is no number."""
    return {"quantity": quantity, "k": int(k), "value": value, "low": float(low), "high": float(high), "note": note}

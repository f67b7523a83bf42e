"""What each claim estimates, one number per seed and arm, from the tables of a record.

Functions named by the claims take `(tables, params)` and return the frame of their kind (see `evolm.evidence`). Unless
said otherwise a value is held-out pass@1 at temperature 1, exact, at the fixed last step, as the mean over a seed's
examples. Examples are drawn within kinds, so that seeds differ by what they hold and not by how many of each kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from evolm.findings.one_shot import curves
from evolm.findings.one_shot.examples import FIRST_RANKED

if TYPE_CHECKING:
    from evolm.findings.one_shot.parameters import OneShotParams

Tables = dict[str, pd.DataFrame]
NO_EVIDENCE = pd.DataFrame()
LATENT = "latent"
#: A share of a smaller gain than this says nothing.
WORTH = 0.05


def last(tables: Tables, **where: Any) -> pd.DataFrame:
    """Held-out pass@1 of every run at its last step: seed, base, arm, example, step, value."""
    return curves.final(curves.heldout(tables, **where))


def gains(tables: Tables, **where: Any) -> pd.DataFrame:
    """Held-out pass@1 of every run at its last step less that of its base."""
    return curves.final(curves.gain(tables, **where))


def by_seed(arms: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """seed, arm, value: means over examples of the rows under each name."""
    named = [part.groupby("seed")["value"].mean().reset_index().assign(arm=name) for name, part in arms.items()]
    found = pd.concat(named, ignore_index=True)
    return found[["seed", "arm", "value"]] if len(found) else NO_EVIDENCE


def of_both(frame: pd.DataFrame, *arms: str) -> pd.DataFrame:
    """The frame of an equivalence where both arms are there: one alone would be compared with nothing at all."""
    return frame if len(frame) and set(arms) <= set(frame["arm"]) else NO_EVIDENCE


def of(rows: pd.DataFrame, arm: str, params: OneShotParams | None = None) -> pd.DataFrame:
    """The rows of an arm; with `params`, of the control examples only, so that arms are compared on the same ones."""
    rows = rows[rows["arm"] == arm]
    return rows if params is None else rows[rows["example"] < params.control_examples]


def one_and_full(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """pass@1 after one example and after the full set; the control is the base."""
    rows = last(tables, base=LATENT)
    return of_both(by_seed({"one": of(rows, "one"), "full": of(rows, "full"), "base": of(rows, "base")}), "one", "full")


def share(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """Gain as a share of the full set's, in seeds where that is worth sharing (`WORTH`).

    Coin tosses count at the best of their measured steps, the start included.
    """
    rows = gains(tables, base=LATENT)
    every = curves.gain(tables, base=LATENT, arm=["base", "random"])
    tossed = every.groupby(["seed", "example"])["value"].max().clip(lower=0).reset_index()
    return _of_full(rows, by_seed({"one": of(rows, "one"), "random": tossed}))


def share_by_kind(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """The same for the examples that only the careful mode solves, and for those that both modes do."""
    return _of_full(gains(tables, base=LATENT), informative(tables, params))


def _of_full(rows: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    full = of(rows, "full").set_index("seed")["value"]
    full = full[full > WORTH]
    if found.empty:
        return NO_EVIDENCE
    found = found[found["seed"].isin(full.index)]
    return found.assign(value=found["value"] / found["seed"].map(full))


def beyond_form(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """Gain on the control examples, and with a reward for form on the same ones and on all prompts."""
    rows = gains(tables, base=LATENT)
    arms = {"one": of(rows, "one", params), "format": of(rows, "format"), "format-full": of(rows, "format-full")}
    return by_seed(arms)


def alignment(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """Gain from the same examples on bases that have the skill with a switch, without one, and not at all."""
    rows = of(gains(tables), "one", params)
    return by_seed({base: rows[rows["base"] == base] for base in (LATENT, "scattered", "absent")})


def full_without_switch(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """Gain on the base that has the skill without a switch, from the full set and from one example."""
    rows = gains(tables, base="scattered")
    return by_seed({"full": of(rows, "full"), "one": of(rows, "one", params)})


def post_saturation(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """Change of pass@1 from saturation to the last step, for examples that had something to teach.

    The control is a reward for form on the same examples over the same steps.
    """
    runs = curves.of_kind(tables, curves.after_saturation(tables, params.saturation, base=LATENT, arm="one"), "switch")
    form = curves.over_same_steps(tables, runs, "format")
    return by_seed({"one": curves.final(runs), "format": curves.final(form)})


def cross_category(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """Gain on problems that need another method than the example does; the control is the reward for form."""
    one, form = (_on_others(tables, arm) for arm in ("one", "format"))
    return by_seed({"one": one[one["example"] < params.control_examples], "format": form})


def _on_others(tables: Tables, arm: str) -> pd.DataFrame:
    rows = curves.transfer(tables, LATENT, arm)
    rows = rows[(rows["trained"] != rows["tested"]) & (rows["tested"] != curves.ABSENT)]
    return rows.groupby(["seed", "example"])["value"].mean().reset_index()


def greedy(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """Gain of greedy accuracy, and what cooling the base to temperature 0.2 gains on its greedy accuracy."""
    rows = curves.final(curves.gain(tables, "greedy", base=LATENT))
    base = curves.heldout(tables, "greedy", base=LATENT, arm="base").set_index("seed")["value"]
    levels = curves.kept(tables["levels"], base=LATENT, quantity="cooled").set_index("seed")["value"]
    cooled = (levels - base).rename("value").reset_index()
    return by_seed({"one": of(rows, "one", params), "format": of(rows, "format"), "cooled": cooled})


def informative(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """Gain from examples that only the careful mode solves, and from those that both modes do."""
    rows = of(gains(tables, base=LATENT), "one")
    return by_seed({kind: curves.of_kind(tables, rows, kind) for kind in ("switch", "either")})


def imitation(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """Gain by imitating the base's own right completions of the example, all its own, and by reinforcement on it."""
    rows = gains(tables, base=LATENT)
    arms = {arm: of(rows, arm, params) for arm in ("imitate", "one", "imitate-any")}
    return of_both(by_seed(arms), "imitate", "one")


def best_of(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """pass@1 at the checkpoint that validation picks less that at the last step; the control makes no update."""
    rows = curves.heldout(tables, base=LATENT)
    picked = rows.merge(curves.best_checkpoint(tables), on=[*curves.RUN, "step"])
    both = picked.merge(curves.final(rows), on=curves.RUN, suffixes=("", "_last"))
    both["value"] -= both["value_last"]
    return by_seed({"one": of(both, "one"), "zero": of(both, "zero")})


def _variant(tables: Tables, params: OneShotParams, *arms: str) -> pd.DataFrame:
    """Gains of arms on the control examples."""
    rows = gains(tables, base=LATENT)
    return by_seed({arm: of(rows, arm, params) for arm in arms})


def policy_gradient(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    return _variant(tables, params, "one", "decay-only")


def worked(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    return _variant(tables, params, "worked", "one")


def coin_tosses(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    return _variant(tables, params, "random-updates", "random")


def longer(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    return _variant(tables, params, "one-long", "one")


def entropy_helps(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    return _variant(tables, params, "one-entropy", "one")


def entropy_alone(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    return _variant(tables, params, "entropy-only", "decay-only")


def optimisers(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    return _variant(tables, params, "one", "one-other")


def updates(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    return of_both(_variant(tables, params, "one", "one-updates"), "one", "one-updates")


def scaling(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    return of_both(_variant(tables, params, "one", "one-no-std"), "one", "one-no-std")


def guessable_label(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """Loss of pass@1 from a wrong label that the base often guesses, and from one that it never does."""
    found = _variant(tables, params, "guessable", "unguessable")
    return found.assign(value=-found["value"]) if len(found) else NO_EVIDENCE


def ranked(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """Gain from examples that the historical variance picks, and from those drawn at random."""
    rows = gains(tables, base=LATENT)
    return by_seed({"ranked": rows[rows["example"] >= FIRST_RANKED], "random": of(rows, "one")})


def measured(tables: Tables, params: OneShotParams) -> pd.DataFrame:
    """Gains of open models on examples drawn at random, with an interval over examples."""
    if "open_models" not in tables:
        return NO_EVIDENCE
    rows = tables["open_models"]
    rows = rows[rows["quantity"] == "expected gain (random), pass@1"]
    rows = rows.dropna(subset=["value", "low", "high"]).rename(columns={"model": "unit"})
    return rows[["unit", "value", "low", "high"]]

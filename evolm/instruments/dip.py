"""The stability gap: how deep a metric dips after a change of data, how large the gap is, when and whether it is over.

    evolm measure dip run.csv                                      columns step and a metric; run, n or stderr
    evolm measure dip run.csv -p metric=accuracy -p plot=dip.svg
    evolm measure dip ckpt-0 ckpt-100 ckpt-200 -p probes=domain.jsonl -p save=answers.csv
    measure_dip(frame)                                             the same from a table in memory

Guo et al. (2024): continued pretraining first lowers a model's accuracy, then raises it. A noisy flat curve has a
lowest point too, so every depth and area here is read from other data than its step was chosen on: from the run left
out, from the other half of the test items, or from a noise-split curve. What never comes back is forgetting, and its
share is told apart from the gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from evolm.instruments import dip_tables, dip_words
from evolm.instruments.dip_inference import measure_series
from evolm.instruments.dip_results import Settings
from evolm.instruments.dip_tables import Reading, Series

SUMMARY = {"quantity": "quantity", "value": "value", "note": "note"}
PLOTS = (".svg", ".png", ".pdf", ".html")


def measure_models(
    models: Iterable[str | Path],
    *,
    metric: str | Sequence[str] | None = None,
    lower_is_better: bool | None = None,
    baseline_step: float | None = None,
    step: str = "step",
    probes: str | Sequence[str] | None = None,
    tasks: str | Sequence[str] | None = None,
    steps: float | Sequence[float] | None = None,
    limit: int | None = None,
    device: str | None = None,
    save: str | None = None,
    plot: str | None = None,
    log_steps: bool = False,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Tables of (step, metric), or checkpoints of one run that answer `probes` or `tasks`; a block of rows per metric.

    Tables: .csv, .parquet, .jsonl (see `evolm.instruments.dip_tables`). `metric`: a column or several, default every
    numeric one. `lower_is_better`: guessed from the metric's name, and said so. The baseline is step 0, or
    `baseline_step`. `step`: the column of steps.

    Checkpoints: folders, assets or hub ids; steps are the numbers that their names end in, or `steps`. `probes`: JSONL
    files whose lines have prompt, choices and answer (the index of the right one), scored by log-likelihood per token.
    `tasks`: those of lm_eval, where it is installed. `limit`: so many items of each. `save`: a .csv or .parquet file
    for the answers, which this reads again.

    `plot`: .svg, .png, .pdf, or .html with a light, a dark and a narrow drawing. `log_steps`: the area over log10 of
    the step too. Depths and areas are positive where the metric gets worse. Columns: model, metric, quantity, value,
    low, high, level, p (of no dip), censored (recovery beyond the last step), points, runs, items, lower_is_better,
    note, sentence.
    """
    names, settings = [str(model) for model in models], Settings(level, draws, seed, log_steps)
    if plot is not None and Path(plot).suffix not in PLOTS:
        raise ValueError(f"cannot draw {plot!r}; name a file that ends in {', '.join(PLOTS)}")
    reading = Reading(_listed(metric), lower_is_better, baseline_step, step)
    if probes is not None or tasks is not None:
        from evolm.instruments import dip_series

        given = None if steps is None else [steps] if isinstance(steps, (int, float)) else list(steps)
        asked = dip_series.Questions(_listed(probes) or [], _listed(tasks) or [], limit, device)
        if save is not None and Path(save).suffix not in (".csv", ".parquet"):
            raise ValueError(f"cannot save answers as {save!r}; name a file that ends in .csv or .parquet")
        answers = dip_series.answers(names, asked, given, save)
        found = dip_tables.from_table(answers, reading, f"{names[0]} to {names[-1]}")
    else:
        _refuse_checkpoint_options(names, {"steps": steps, "limit": limit, "device": device, "save": save})
        found = [series for name in names for series in dip_tables.read_series(name, reading)]
    return _measured(found, settings, plot)


def measure_dip(
    table: pd.DataFrame,
    *,
    metric: str | Sequence[str] | None = None,
    lower_is_better: bool | None = None,
    baseline_step: float | None = None,
    step: str = "step",
    plot: str | None = None,
    log_steps: bool = False,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """The dips of a table in memory; columns, options and result as for `measure_models`."""
    reading = Reading(_listed(metric), lower_is_better, baseline_step, step)
    return _measured(dip_tables.from_table(table, reading), Settings(level, draws, seed, log_steps), plot)


def _measured(found: Sequence[Series], settings: Settings, plot: str | None) -> pd.DataFrame:
    if not found:
        raise ValueError("there are no tables; give at least one, or checkpoints with probes=FILE.jsonl")
    dips = [measure_series(series, settings) for series in found]
    if plot is not None:
        from evolm.instruments import dip_plot

        dip_plot.save(list(zip(found, dips, strict=True)), settings, Path(plot))
    tables = [dip_words.rows(series, dip, settings) for series, dip in zip(found, dips, strict=True)]
    return pd.concat(tables, ignore_index=True)


def _refuse_checkpoint_options(names: Sequence[str], options: dict[str, Any]) -> None:
    if strangers := [name for name in names if Path(name).suffix not in dip_tables.SUFFIXES]:
        raise ValueError(
            f"{strangers[0]} is not a table ({', '.join(dip_tables.SUFFIXES)}); to measure it as a checkpoint, say "
            "what to ask: probes=FILE.jsonl, or tasks=NAME of lm_eval"
        )
    if given := [name for name, value in options.items() if value is not None]:
        raise ValueError(
            f"{', '.join(given)} is about checkpoints: say what to ask them, probes=FILE.jsonl or tasks=NAME"
        )


def _listed(names: str | Sequence[str] | None) -> list[str] | None:
    """`a,b` or [a, b] as a list."""
    if names is None:
        return None
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else [str(name) for name in names]

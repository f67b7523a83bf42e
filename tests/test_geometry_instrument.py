"""The geometry instrument: nulls, growth of a series, files of examples, bad input, the command line."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from evolm import describe, measurements
from evolm.cli import main
from evolm.instruments import geometry_null
from evolm.instruments.geometry import measure_geometry, measure_models
from evolm.instruments.geometry_files import open_head, read_examples, series_steps
from evolm.instruments.geometry_growth import norm_growth, slope
from evolm.instruments.geometry_measures import effective_rank, explained_variance, simplex

FAST: dict[str, Any] = {"draws": 40}


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ring(classes: int = 17, width: int = 6) -> Tensor:
    angle = 2 * math.pi * 3 * torch.arange(classes, dtype=torch.float64) / classes
    return torch.stack([angle.cos(), angle.sin()], -1) @ gaussian(2, width)


def examples(classes: int = 5, each: int = 12, width: int = 6, noise: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    """Non-negative features, their labels, and the class means as the head."""
    labels = torch.arange(classes).repeat(each)
    features = (3 * torch.eye(width).double()[labels] + noise * gaussian(len(labels), width)).abs()
    return features, labels, torch.stack([features[labels == c].mean(0) for c in range(classes)])


def quantities(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index("quantity")


def saved_head(path: Path, w: Tensor) -> str:
    np.save(path, w.numpy())
    return str(path)


# The null


def test_random_heads_lie_where_their_null_says_and_a_ring_does_not() -> None:
    names = ["variance in 2 PCs", "variance at the best frequency", "effective rank, entropy"]
    random = [quantities(measure_geometry(gaussian(12, 7, seed=s + 100), draws=60)).loc[names] for s in range(20)]
    p = np.array([table["p"] for table in random])  # (heads, names)
    assert ((p.mean(0) > 0.3) & (p.mean(0) < 0.7)).all()
    assert (p < 0.05).mean() < 0.15
    for table in random[:2]:
        assert ((table["null_low"] < table["null"]) & (table["null"] < table["null_high"])).all()
    planted = quantities(measure_geometry(ring(12, 7), draws=60)).loc[names]
    assert planted["p"].tolist() == pytest.approx([1 / 61] * 3)


def test_the_spectrum_that_is_drawn_is_that_of_random_rows() -> None:
    for classes, width in ((40, 5), (6, 30)):
        rows, drawn = (
            gaussian(700, classes, width, seed=1),
            geometry_null.random_spectrum(classes, width, 700, seed=2),
        )
        torch.testing.assert_close(drawn.sum(-2), torch.zeros(700, drawn.shape[-1]).double(), atol=1e-9, rtol=0)
        for measure in (explained_variance, lambda w: effective_rank(w).participation):
            ours, theirs = measure(drawn), measure(rows)
            assert float(ours.mean()) == pytest.approx(float(theirs.mean()), rel=0.015)
            assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.15)


def test_the_null_of_a_vocabulary_is_that_of_all_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry_null, "PAIRED_ROWS", 300)
    null = geometry_null.random_rows.__wrapped__(600, 4, draws=20, seed=0)
    rows = gaussian(20, 600, 4, seed=5)
    rows = rows - rows.mean(-2, keepdim=True)
    assert "radius" not in null
    assert float(null["explained_variance"].mean()) == pytest.approx(float(explained_variance(rows).mean()), abs=0.006)
    for name, value in simplex(rows).items():
        assert float(null[name].mean()) == pytest.approx(float(value.mean()), rel=0.03), name


# Growth


def test_a_planted_power_grows_and_a_constant_is_bounded() -> None:
    steps = [100, 200, 400, 800, 1600, 3200]
    grown = norm_growth(steps, [s**0.5 for s in steps], level=0.95, bound=0.02)
    assert grown.verdict == "growing"
    assert grown.whole.value == pytest.approx(0.5)
    assert grown.later is not None
    assert (grown.later.points, grown.later.first) == (3, 800)
    assert norm_growth(steps, [7.0] * 6, level=0.95, bound=0.02).verdict == "bounded"
    logarithmic = norm_growth(steps, [math.log(s) for s in steps], level=0.95, bound=0.02)
    assert logarithmic.verdict == "growing"  # as cross-entropy on separable data


def test_a_norm_that_has_settled_is_bounded_whatever_came_before() -> None:
    steps = [1, 3, 10, 30, 100, 300, 1000, 3000]
    norms = [min(1 + s / 50, 3.0) for s in steps]
    growth = norm_growth(steps, norms, level=0.95, bound=0.02)
    assert growth.whole.value > 0.1
    assert growth.verdict == "bounded"
    assert norm_growth(steps[:4], norms[:4], level=0.95, bound=0.02).verdict == "undecided"
    assert norm_growth(steps, norms, level=0.95, bound=0.02, start=100).whole.value == pytest.approx(0)


def test_too_few_checkpoints_are_not_assessable() -> None:
    for steps in ([5.0], [0.0], [0.0, 5.0], [5.0, 9.0]):
        growth = norm_growth(steps, [1.0] * len(steps), level=0.95, bound=0.02)
        assert growth.verdict == "not assessable"
        assert math.isnan(growth.judged.low)
    assert "step 0 has no logarithm" in norm_growth([0, 5, 9, 20], [1.0] * 4, level=0.95, bound=0.02).note
    assert norm_growth([5, 9, 20], [0.0, 1, 1], level=0.95, bound=0.02).verdict == "not assessable"


def test_intervals_of_a_slope_hold_it_under_independent_and_under_serial_noise() -> None:
    rng, steps = np.random.default_rng(0), np.geomspace(10, 10_000, 24)
    for memory, least in ((0.0, 0.93), (0.6, 0.84)):
        hits = 0
        for _ in range(400):
            noise = rng.normal(size=24)
            for i in range(1, 24):
                noise[i] = memory * noise[i - 1] + math.sqrt(1 - memory**2) * noise[i]
            found = slope(steps, steps**0.3 * np.exp(0.05 * noise), 0.95)
            hits += found.low <= 0.3 <= found.high
        assert hits / 400 > least


def test_a_series_of_tiny_checkpoints_gives_growth_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = transformers.GPT2Config(vocab_size=29, n_embd=8, n_layer=1, n_head=1, n_positions=8)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    names = []
    for step in (100, 1000, 10_000):
        names.append(str(tmp_path / f"ckpt-{step}"))
        model.save_pretrained(names[-1])
        with torch.no_grad():
            model.transformer.wte.weight.mul_(10**0.4)
    rows = measure_models(names, **FAST)
    growth = rows[rows["quantity"] == "slope of log norm"]
    assert growth["value"].tolist() == pytest.approx([0.4], rel=1e-4)
    assert growth["verdict"].tolist() == ["growing"]
    assert growth["model"].tolist() == [f"{names[0]} to {names[-1]}"]
    assert rows.groupby("step")["model"].nunique().to_dict() == {100: 1, 1000: 1, 10_000: 1}
    assert rows.loc[0, "tensor"] == "transformer.wte.weight"
    with pytest.raises(SystemExit) as stopped:
        main(["measure", "geometry", *names, "-p", "draws=40"])
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "The norm goes as step^0.4 [0.4, 0.4]" in shown
    assert "growing" in shown
    assert shown.count("give features=FILE") == 3  # no share without a word on accuracy


def test_growth_is_read_only_from_checkpoints_of_one_run(tmp_path: Path) -> None:
    heads = [saved_head(tmp_path / name, gaussian(6, 4)) for name in ("a-1.npy", "a-2.npy", "b-3.npy")]
    apart = measure_models(heads, **FAST)
    assert apart["step"].isna().all()
    assert (apart.loc[apart["quantity"] == "slope of log norm", "note"].str.contains("one checkpoint")).all()
    together = measure_models(heads, series=True, **FAST)
    assert together["step"].dropna().unique().tolist() == [1, 2, 3]
    given = measure_models(heads[:2], steps=[5, 50], **FAST)
    assert given["step"].dropna().unique().tolist() == [5, 50]
    assert given["verdict"].iloc[-1] == "not assessable"
    assert series_steps(["gpt2", "gpt3x"], None, None) is None
    assert series_steps(["run/step10", "run/step20"], None, False) is None


# Examples


def test_heads_of_means_and_of_large_logits_differ_in_hull_and_norm_but_not_in_accuracy() -> None:
    features, labels, means = examples()
    harmonic = quantities(
        measure_geometry(means, features=features, labels=labels, predictions=torch.cdist(features, means).argmin(1))
    )
    hull = "distance from the hull / from the mean"
    assert harmonic.value["accuracy"] == 1
    assert harmonic.value[hull] == pytest.approx(0, abs=1e-6)
    assert harmonic.value["negative weights"] == 0
    assert harmonic.value["NC3 head from class means"] == pytest.approx(0, abs=1e-12)
    assert harmonic.value["NC4 not the nearest mean"] == 0
    assert harmonic.high["NC4 not the nearest mean"] < 0.07
    pushed = 50 * (means - means.mean(0))
    linear = quantities(measure_geometry(pushed, features=features, labels=labels))
    assert linear.value["accuracy"] == 1
    assert linear.value[hull] > 0.9
    assert linear.value["negative weights"] > 0.3
    assert linear.value["norm"] > 10 * harmonic.value["norm"]
    assert linear.value["NC3 head from class means"] == pytest.approx(0, abs=1e-12)
    collapsed = "NC1 within/between classes"
    assert linear.value[collapsed] < 0.1 * linear.null[collapsed]
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    wrong = quantities(measure_geometry(means, features=features, labels=labels[order]))
    assert 0.2 < wrong.value[collapsed] / wrong.null[collapsed] < 5


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet", "lists.parquet"])
def test_every_kind_of_file_gives_the_same_examples(tmp_path: Path, suffix: str) -> None:
    features, labels, _ = examples()
    path = tmp_path / f"test{suffix}"
    if suffix == ".npz":
        np.savez(path, features=features.numpy(), labels=labels.numpy(), predictions=labels.numpy())
    elif suffix == ".safetensors":
        save_file({"features": features, "labels": labels.to(torch.uint8), "predictions": labels}, path)
    else:
        columns = dict(zip("abcdef", features.T.numpy(), strict=True))
        found = {"features": list(features.numpy())} if suffix == "lists.parquet" else columns
        pd.DataFrame({**found, "label": labels.numpy(), "prediction": labels.numpy()}).to_parquet(path)
    read = read_examples(path)
    torch.testing.assert_close(read.features, features)
    assert read.labels.equal(labels)
    assert read.predictions is not None
    assert read.predictions.equal(labels)


def test_the_head_chooses_by_inner_product_bias_or_distance(tmp_path: Path) -> None:
    labels = torch.arange(3).repeat(20)
    centres = (
        torch.arange(1.0, 4)[:, None].double() * torch.ones(3, 2).double()
    )  # on a line: w.h is largest for the last
    features = centres[labels] + 0.1 * gaussian(60, 2)
    head, path = saved_head(tmp_path / "head.npy", centres), tmp_path / "test.npz"
    np.savez(path, features=features.numpy(), labels=labels.numpy())
    assert quantities(measure_models([head], features=str(path), **FAST)).value["accuracy"] == pytest.approx(1 / 3)
    near = quantities(measure_models([head], features=str(path), head="distance", **FAST))
    assert near.value["accuracy"] == 1
    bias = -(centres**2).sum(1) / 2  # the nearest centre, as an inner product
    np.savez(path, features=features.numpy(), labels=labels.numpy(), bias=bias.numpy())
    assert quantities(measure_models([head], features=str(path), **FAST)).value["accuracy"] == 1
    with pytest.raises(ValueError, match="leave head=distance out"):
        measure_models([head], features=str(path), head="distance", **FAST)


def test_classes_without_examples_are_left_out_and_said(tmp_path: Path) -> None:
    features, labels, means = examples()
    seen = labels < 3
    table = quantities(measure_geometry(means, features=features[seen], labels=labels[seen]))
    assert "3 of 5 classes" in table.note["NC1 within/between classes"]
    assert "3 classes" in table.note["negative weights"]
    one = quantities(measure_geometry(means, features=features[labels == 2], labels=labels[labels == 2]))
    assert one.value["accuracy"] == 1
    assert not any(name.startswith("NC1") for name in one.index)


def test_a_classifiers_head_is_found_before_its_vocabulary(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=8,
        id2label={i: str(i) for i in range(4)},
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    source = open_head(tmp_path / "bert")
    assert (source.tensor, source.n, source.m) == ("classifier.weight", 4, 8)
    assert source.provenance["role"] == "classifier head"
    assert open_head(tmp_path / "bert", tensor="bert.embeddings.word_embeddings.weight").n == 50


def test_rows_are_measured_in_the_order_that_is_asked(tmp_path: Path) -> None:
    order = torch.randperm(17, generator=torch.Generator().manual_seed(0))
    head = saved_head(tmp_path / "head.npy", ring()[order])
    name = "variance at the best frequency"
    assert quantities(measure_models([head], **FAST)).value[name] < 0.6
    found = quantities(measure_models([head], rows=order.argsort().tolist(), **FAST))
    assert found.value[name] == pytest.approx(1)
    assert found.note[name] == "frequency 3 of 17 rows"


def test_the_table_is_an_instruments_and_reads_on_a_terminal(tmp_path: Path) -> None:
    assert "geometry" in describe.instruments()
    assert {"features", "head", "rows", "bound"} <= set(describe.options("geometry") or [])
    features, labels, means = examples()
    table = measure_geometry(means, features=features, labels=labels, name="mine")
    assert {"model", "quantity", "value", "low", "high", "null", "p", "note", "sentence"} <= set(table)
    assert "Accuracy is" in table["sentence"][0]
    shown = measurements.summary(table, {"quantity": "quantity", "value": "value", "beside": "beside"})
    assert "random rows" in shown
    assert not measurements.warnings(table)  # a head has fewer rows than columns, and is not transposed


# Bad input


def test_heads_without_a_geometry_are_refused(tmp_path: Path) -> None:
    bad = {
        "one.npy": (gaussian(1, 4), "at least two class vectors"),
        "nan.npy": (torch.tensor([[1.0, 2], [math.nan, 1]]), "row 1 of .* not finite"),
        "same.npy": (torch.ones(3, 4), "all 3 rows .* the same"),
        "none.npy": (torch.empty(0, 4), "0 rows"),
    }
    for name, (w, said) in bad.items():
        with pytest.raises(ValueError, match=said):
            measure_models([saved_head(tmp_path / name, w)], **FAST)
    good = saved_head(tmp_path / "good-1.npy", gaussian(4, 3))
    other = saved_head(tmp_path / "good-2.npy", gaussian(4, 5))
    for options, said in (
        ({"rows": [0, 0, 1]}, "different rows"),
        ({"rows": [0, 4]}, "0 to 3"),
        ({"rows": [0, 1], "features": "x.npz"}, "not both"),
        ({"features": ["a.npz", "b.npz"]}, "2 files of features for 1 models"),
        ({"features": "absent.npz"}, "no file of features"),
        ({"k": 0}, "k is 0"),
        ({"draws": 10}, "gives no interval"),
        ({"bound": 0.0}, "bound is 0"),
        ({"steps": [1, 2]}, "2 steps for 1 checkpoints"),
    ):
        with pytest.raises(ValueError, match=said):
            measure_models([good], **{**FAST, **options})
    with pytest.raises(ValueError, match="not checkpoints of one run"):
        measure_models([good, other], **FAST)
    with pytest.raises(ValueError, match="rising order"):
        measure_models([other, good], **FAST)
    with pytest.raises(ValueError, match="no models"):
        measure_models([], **FAST)
    with pytest.raises(ValueError, match="ends in no step"):
        series_steps(["gpt-x", "gpt-y"], None, True)
    with pytest.raises(ValueError, match="both or neither"):
        measure_geometry(gaussian(3, 4), features=gaussian(5, 4))


def bad_files() -> dict[str, tuple[dict[str, np.ndarray], str]]:
    features, labels, _ = (x.numpy() for x in examples())
    hole = features.copy()
    hole[7, 2] = np.nan
    return {
        "missing": ({"features": features}, "no labels"),
        "empty": ({"features": features[:0], "labels": labels[:0]}, "n >= 1"),
        "flat": ({"features": labels, "labels": labels}, "features have shape"),
        "hole": ({"features": hole, "labels": labels}, "example 7: a feature is not a finite number"),
        "short": ({"features": features, "labels": labels[:9]}, "for 60 examples"),
        "half": ({"features": features, "labels": labels + 0.5}, "example 0: labels is 0.5"),
        "negative": ({"features": features, "labels": labels - 1}, "example 0: labels is -1"),
        "range": ({"features": features, "labels": labels + 1}, "labels go from 1 to 5, and the head has 5 classes"),
        "wide": ({"features": features[:, :4], "labels": labels}, "features are 4 wide and class vectors 6"),
        "bias": ({"features": features, "labels": labels, "bias": np.ones(3)}, "bias has shape"),
        "words": ({"features": features, "labels": np.array(["cat"] * 60)}, "expected numbers"),
        "pickled": ({"features": features, "labels": np.array([{}] * 60)}, "cannot be read as arrays"),
    }


@pytest.mark.parametrize("kind", list(bad_files()))
def test_files_that_hold_no_examples_of_the_head_are_refused(tmp_path: Path, kind: str) -> None:
    arrays, said = bad_files()[kind]
    head, path = saved_head(tmp_path / "head.npy", examples()[2]), tmp_path / "test.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + said):
        measure_models([head], features=str(path), **FAST)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_damaged_files_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    for content in (b"", b"no such thing"):
        path = tmp_path / f"bad{suffix}"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"bad{suffix} cannot be read"):
            read_examples(path)
    with pytest.raises(ValueError, match="no file of features"):
        read_examples(tmp_path / "features.csv")


def test_tables_whose_features_are_no_numbers_or_of_many_widths_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    pd.DataFrame({"label": [0, 1], "a": ["x", "y"]}).to_parquet(path)
    with pytest.raises(ValueError, match="column a holds"):
        read_examples(path)
    pd.DataFrame({"label": [0, 1], "features": [[1.0], [1.0, 2.0]]}).to_parquet(path)
    with pytest.raises(ValueError, match="1 to 2 numbers"):
        read_examples(path)
    pd.DataFrame({"label": [0, 1]}).to_parquet(path)
    with pytest.raises(ValueError, match="no features"):
        read_examples(path)


def test_the_command_line_refuses_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = saved_head(tmp_path / "head.npy", gaussian(4, 3))
    for arguments, said in ((["-p", "head=cosine"], "head = cosine is refused"), (["-p", "row=3"], "rows")):
        with pytest.raises(SystemExit) as stopped:
            main(["measure", "geometry", head, *arguments])
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err

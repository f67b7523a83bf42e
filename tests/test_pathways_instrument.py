"""The instrument pathways: three architectures and more, planted series, what is refused, the command line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV2Config,
    DeepseekV3Config,
    MixtralConfig,
    OlmoeForCausalLM,
    PreTrainedModel,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
)
from transformers.models.olmoe.modeling_olmoe import OlmoeTopKRouter

from evolm import describe
from evolm.cli import main
from evolm.instruments import pathway_checkpoints, pathway_texts
from evolm.instruments.pathway_models import Moe, open_moe, route
from evolm.instruments.pathway_table import BETWEEN
from evolm.instruments.pathways import COLUMNS, measure_models
from evolm.lm.architecture import tiny_llama, tiny_olmoe
from evolm.lm.vocabulary import word_tokenizer

WORDS = [f"w{i}" for i in range(30)]
SIZES: dict[str, Any] = {
    "vocab_size": 34,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "num_experts_per_tok": 2,
    "initializer_range": 0.3,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), None),
}
LATENT = {"q_lora_rank": None, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16}
DEEPSEEK: dict[str, Any] = {**LATENT, "n_routed_experts": 8, "moe_intermediate_size": 16, "first_k_dense_replace": 1}


def library_model(config: Any) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model


MODELS: dict[str, tuple[Callable[[], PreTrainedModel], list[int], int]] = {
    "olmoe": (lambda: tiny_olmoe(34, layers=3, init_std=0.3, seed=0), [0, 1, 2], 8),
    "mixtral": (lambda: library_model(MixtralConfig(**SIZES, num_hidden_layers=3, num_local_experts=4)), [0, 1, 2], 4),
    "qwen2-moe": (
        lambda: library_model(
            Qwen2MoeConfig(
                **SIZES, num_hidden_layers=4, num_experts=6, moe_intermediate_size=16, mlp_only_layers=[0],
                shared_expert_intermediate_size=16,
            )
        ),
        [1, 2, 3],
        6,
    ),
    "qwen3-moe": (
        lambda: library_model(
            Qwen3MoeConfig(**SIZES, num_hidden_layers=3, num_experts=6, moe_intermediate_size=16, head_dim=16)
        ),
        [0, 1, 2],
        6,
    ),
    "deepseek-v2": (
        lambda: library_model(DeepseekV2Config(**SIZES, **DEEPSEEK, num_hidden_layers=4, topk_method="greedy")),
        [1, 2, 3],
        8,
    ),
}  # fmt: skip


def saved(model: PreTrainedModel, folder: Path, tokenizer: bool = True, words: list[str] = WORDS) -> str:
    model.save_pretrained(folder)
    if tokenizer:
        word_tokenizer(words).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts with and without groups and answers, and tiny models by name."""
    place = tmp_path_factory.mktemp("pathways")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=int(rng.integers(3, 9)))) for _ in range(24)]
    (place / "texts.txt").write_text("\n".join(texts) + "\n\n")
    rows = [{"text": text, "group": "ab"[i % 2]} for i, text in enumerate(texts)]
    (place / "groups.jsonl").write_text("\n".join(map(json.dumps, rows)))
    parts = [text.rsplit(" ", 2) for text in texts]
    rows = [{"prompt": prompt, "answer": f"{one} {two}"} for prompt, one, two in parts]
    (place / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name, (make, _, _) in MODELS.items():
        saved(make(), place / name)
    return place


def pick(table: pd.DataFrame, metric: str, **where: Any) -> pd.DataFrame:
    rows = table[table["metric"] == metric]
    for column, value in {"layer": "all", "group": "all texts", "tokens": "all", **where}.items():
        rows = rows[rows[column] == value]
    assert len(rows), metric
    return rows


def value(table: pd.DataFrame, metric: str, **where: Any) -> float:
    rows = pick(table, metric, **where)
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


def encoded(folder: Path, file: str, moe: Moe, *readings: Any) -> pathway_texts.Encoded:
    return pathway_texts.encode(pathway_texts.read_texts(str(folder / file)), moe.tokenizer, 512, readings)


# --- architectures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_routing_is_the_models_own_whatever_the_architecture_and_the_batch(folder: Path, name: str) -> None:
    moe = open_moe(str(folder / name))
    _, layers, experts = MODELS[name]
    texts = encoded(folder, "texts.txt", moe, "all", "last")
    routing = route(moe, texts, batch_size=7)
    assert list(moe.layers) == layers
    assert routing.k == 2
    assert moe.router_rows.shape == (3, experts, moe.base.config.hidden_size)
    load = torch.zeros(3, experts)
    for i, ids in enumerate(texts.ids):  # one text at a time, no padding; what its routers chose
        found: list[Any] = []
        hooks = [
            router.register_forward_hook(lambda _, __, out, keep=found: keep.append(out)) for router in moe.routers
        ]
        with torch.no_grad():
            moe.base(torch.tensor([ids]), use_cache=False)
        for hook in hooks:
            hook.remove()
        for layer, (logits, _, chosen) in enumerate(found):
            weights = logits.float().softmax(-1)
            assert torch.allclose(routing.average["all"][i, layer], weights.mean(0), atol=1e-5)
            assert torch.allclose(routing.average["last"][i, layer], weights[-1], atol=1e-5)
            entropy = -(weights * weights.log()).sum(-1)
            assert torch.allclose(routing.entropy["all"][i, layer], entropy.mean(), atol=1e-4)
            assert torch.equal(weights.topk(2).indices.sort(-1).values, chosen.sort(-1).values)
            load[layer] += torch.bincount(chosen.flatten(), minlength=experts)
    assert torch.allclose(routing.load.float(), load / load.sum(-1, keepdim=True), atol=1e-6)
    assert getattr(moe.base.config, "output_router_logits", False) is False


@pytest.mark.parametrize("name", MODELS)
def test_half_precision_routes_alike_and_is_not_taken_for_another_routing(folder: Path, name: str) -> None:
    moe = open_moe(str(folder / name))
    texts = encoded(folder, "texts.txt", moe, "all")
    wanted = route(moe, texts, batch_size=24)
    moe.base.to(torch.bfloat16)
    found = route(moe, texts, batch_size=24)
    assert found.average["all"].dtype == torch.float32
    assert (found.average["all"] - wanted.average["all"]).abs().mean() < 0.02


def test_every_architecture_gives_a_whole_table(folder: Path) -> None:
    for name, (_, layers, experts) in MODELS.items():
        table = measure_models([folder / name], texts=str(folder / "texts.txt"), layers="each", max_pairs=100)
        assert tuple(table.columns) == COLUMNS
        assert set(table["layer"]) == {"all", *map(str, layers)}
        assert pick(table, "distance, top-k, indices, raw")["items"].tolist() == [100]
        normalised = [f"distance, {kind}, indices, normalised" for kind in ("cumulative", "top-k")]
        assert all(0 < value(table, metric) < 1 for metric in normalised)
        by_layer = table[(table["metric"] == "path length") & (table["layer"] != "all")]["value"]
        assert by_layer.sum() == pytest.approx(value(table, "path length"))
        assert by_layer.between(1, experts).all()
        assert value(table, "S = 1 - C") == pytest.approx(1 - value(table, "C"), nan_ok=True)
        assert 0 < value(table, "routing entropy") < math.log(experts)
        assert table["sentence"].str.contains("one checkpoint: measured, without statistics").all()
        assert table["pearson"].isna().all()


def test_uniform_routers_have_the_closed_forms(folder: Path, tmp_path: Path) -> None:
    model = tiny_olmoe(34, layers=3, seed=0)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.gate.weight.zero_()
    table = measure_models([saved(model, tmp_path / "ckpt")], texts=str(folder / "texts.txt"))
    assert value(table, "path length") == 3 * 6  # six of eight experts hold more than .7
    assert value(table, "routing entropy") == pytest.approx(math.log(8))
    assert value(table, "distinct pathways") == pytest.approx(1 / 24)
    assert value(table, "distance, cumulative, characters, raw") == 0
    assert pick(table, "cosine")["items"].tolist() == [0]  # router rows are zero: no direction
    assert "100 % of the samples" in pick(table, "C")["note"].iloc[0]
    eighth = measure_models([tmp_path / "ckpt"], texts=str(folder / "texts.txt"), threshold=0.1, k=5)
    assert value(eighth, "path length") == 3


def test_groups_have_rows_of_their_own_and_pairs_between(folder: Path) -> None:
    table = measure_models([folder / "olmoe"], texts=str(folder / "groups.jsonl"), max_pairs=10**6)
    items = {g: pick(table, "distance, top-k, indices, raw", group=g)["items"].iloc[0] for g in ("all texts", "a", "b")}
    assert items == {"all texts": 276, "a": 66, "b": 66}
    metric = "distance, cumulative, indices, normalised"
    every, within = value(table, metric), [value(table, metric, group=g) for g in "ab"]
    assert value(table, metric, group=BETWEEN) == pytest.approx((276 * every - 66 * sum(within)) / 144, abs=0.01)
    assert value(table, "path length") == pytest.approx(
        np.mean([value(table, "path length", group=group) for group in "ab"])
    )


def test_answer_tokens_are_the_positions_that_predict_them(folder: Path) -> None:
    moe = open_moe(str(folder / "olmoe"))
    texts = encoded(folder, "answers.jsonl", moe, "all", "answer", "last")
    for ids, (first, end) in zip(texts.ids, texts.spans["answer"], strict=True):
        assert (first, end) == (len(ids) - 3, len(ids) - 1)
    table = measure_models([folder / "olmoe"], texts=str(folder / "answers.jsonl"), tokens="all,answer")
    assert value(table, "routing entropy", tokens="answer") != value(table, "routing entropy")


def test_texts_are_cut_and_it_is_said(folder: Path) -> None:
    long = folder / "long.txt"
    long.write_text("\n".join(" ".join(WORDS[i:] * 3) for i in range(3)))  # the models read 64 tokens
    table = measure_models([folder / "olmoe"], texts=str(long))
    assert table["sentence"].str.contains("3 of 3 texts are cut").all()
    short = measure_models([folder / "olmoe"], texts=str(long), max_tokens=40)
    assert value(short, "routing entropy") != value(table, "routing entropy")


# --- series -----------------------------------------------------------------------------------------------

SHARES = [0.0, 0.3, 0.1, 0.5, 0.2, 0.6, 0.3, 0.8, 0.5, 0.9, 0.6, 1.0]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Twelve checkpoints whose layers share a share of their router, so that consistency follows `SHARES`."""
    place = tmp_path_factory.mktemp("series")
    model: OlmoeForCausalLM = tiny_olmoe(34, layers=4, init_std=0.3, seed=0)
    rows = [layer.mlp.gate.weight.detach().clone() for layer in model.model.layers]
    names = []
    for step, share in enumerate(SHARES):
        with torch.no_grad():
            for layer, own in zip(model.model.layers, rows, strict=True):
                layer.mlp.gate.weight.copy_((1 - share) * own + share * rows[0])
        names.append(saved(model, place / f"ckpt-{100 * step}", tokenizer=step == 0))
    return names


def accuracy_file(folder: Path, accuracy: list[float], loss: list[float] | None = None, key: str = "step") -> str:
    table = pd.DataFrame({"step": 100 * np.arange(len(accuracy)), "accuracy": accuracy})
    if loss is not None:
        table["loss"] = loss
    if key == "model":
        table["model"] = [f"ckpt-{step}" for step in table.pop("step")]
    path = folder / "accuracy.csv"
    table.sample(frac=1, random_state=0).to_csv(path, index=False)  # in no order
    return str(path)


def test_a_planted_relation_beyond_the_step_is_found(folder: Path, tmp_path: Path, series: list[str]) -> None:
    accuracy = [0.1 + 0.03 * at + 0.3 * share for at, share in enumerate(SHARES)]
    trend = [1 / (1 + at) for at in range(12)]
    table = measure_models(
        [*series[5:], *series[:5]],
        texts=str(folder / "texts.txt"),
        accuracy=accuracy_file(tmp_path, accuracy, trend),
        layers="each",
        max_pairs=50,
    )
    cosine = pick(table, "cosine")
    assert cosine["step"].tolist() == [100 * at for at in range(12)]
    assert cosine["accuracy"].tolist() == pytest.approx(accuracy)
    assert cosine["value"].iloc[-1] > cosine["value"].iloc[0] + 0.5
    first = cosine.iloc[0]
    assert first["pearson"] > 0.8
    assert first["partial_curve"] > 0.7
    assert first["p_partial_curve"] == pytest.approx(1 / 12)
    assert first["difference"] > 0.8
    assert "over 12 checkpoints no p is below 0.083" in first["sentence"]
    loss = pick(table, "loss").iloc[0]
    assert loss["pearson"] < -0.5
    assert abs(loss["difference"]) < 0.5
    assert len(pick(table, "cosine", layer="3")) == 12


@pytest.mark.parametrize("key", ["step", "model"])
def test_accuracies_are_found_by_step_or_by_name(tmp_path: Path, key: str) -> None:
    chosen = pathway_checkpoints.checkpoints(["run/ckpt-100", "run/ckpt-0/", "run/ckpt-200"], None, None)
    path = accuracy_file(tmp_path, [0.1, 0.2, 0.3, 0.4], [4, 3, 2, 1], key)
    found = pathway_checkpoints.read_accuracy(path, chosen)
    assert found["accuracy"].tolist() == [0.1, 0.2, 0.3]
    assert found["loss"].tolist() == [4, 3, 2]


def test_an_accuracy_that_only_trends_is_not_related_beyond_the_step(
    folder: Path, tmp_path: Path, series: list[str]
) -> None:
    rng = np.random.default_rng(3)
    accuracy = [0.1 + 0.06 * at + 0.02 * float(rng.normal()) for at in range(12)]
    table = measure_models(
        series, texts=str(folder / "texts.txt"), accuracy=accuracy_file(tmp_path, accuracy), max_pairs=50
    )
    cosine = pick(table, "cosine").iloc[0]
    assert cosine["pearson"] > 0.6
    assert cosine["p_partial_curve"] > 0.1  # twelve shifts: .083 is the least
    assert "loss" not in set(table["metric"])


def test_few_checkpoints_are_not_assessable(folder: Path, tmp_path: Path, series: list[str]) -> None:
    table = measure_models(
        series[:3], texts=str(folder / "texts.txt"), accuracy=accuracy_file(tmp_path, [0.1, 0.2, 0.3])
    )
    assert table["pearson"].isna().all()
    assert table["sentence"].str.contains("not assessable: 3 checkpoints, and a relation needs 5 or more").all()
    plain = measure_models(series[:3], texts=str(folder / "texts.txt"))
    assert plain["sentence"].str.contains("no accuracies given").all()


def test_the_same_seed_gives_the_same_table(folder: Path, series: list[str]) -> None:
    def once(**options: Any) -> pd.DataFrame:
        return measure_models(series[:2], texts=str(folder / "texts.txt"), max_pairs=20, **options)

    pd.testing.assert_frame_equal(once(), once())
    metric = "distance, cumulative, indices, raw"
    assert pick(once(), metric)["value"].tolist() != pick(once(seed=1), metric)["value"].tolist()


# --- what is refused --------------------------------------------------------------------------------------


def test_a_dense_model_is_refused_by_what_it_is(folder: Path, tmp_path: Path) -> None:
    saved(tiny_llama(34, seed=0), tmp_path / "dense")
    with pytest.raises(ValueError, match=r"dense is a dense model \(LlamaForCausalLM\).*names no experts"):
        measure_models([tmp_path / "dense"], texts=str(folder / "texts.txt"))
    config = Qwen2MoeConfig(**SIZES, num_hidden_layers=2, num_experts=4, mlp_only_layers=[0, 1])
    saved(library_model(config), tmp_path / "no-routers")
    with pytest.raises(ValueError, match="Qwen2MoeForCausalLM, none of whose layers has a router"):
        measure_models([tmp_path / "no-routers"], texts=str(folder / "texts.txt"))


def test_a_model_that_routes_by_sigmoids_is_refused_not_measured_wrongly(folder: Path, tmp_path: Path) -> None:
    config = DeepseekV3Config(**SIZES, **DEEPSEEK, num_hidden_layers=3, n_group=1, topk_group=1)
    saved(library_model(config), tmp_path / "v3")
    with pytest.raises(ValueError, match=r"DeepseekV3Model.* does not route by a softmax"):
        measure_models([tmp_path / "v3"], texts=str(folder / "texts.txt"))


def test_routers_that_return_probabilities_are_refused_or_measured_alike(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = str(folder / "texts.txt")
    wanted = measure_models([folder / "olmoe"], texts=texts)
    usual = OlmoeTopKRouter.forward

    def probabilities(self: Any, hidden_states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits, scores, indices = usual(self, hidden_states)
        return logits.softmax(-1), scores, indices

    monkeypatch.setattr(OlmoeTopKRouter, "forward", probabilities)
    with pytest.raises(ValueError, match=r"already .* say already_probabilities=True"):
        measure_models([folder / "olmoe"], texts=texts)
    found = measure_models([folder / "olmoe"], texts=texts, already_probabilities=True)
    assert found["value"].to_numpy(float) == pytest.approx(wanted["value"].to_numpy(float), rel=1e-4, nan_ok=True)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="do not return probabilities"):
        measure_models([folder / "olmoe"], texts=texts, already_probabilities=True)


def test_two_layers_have_a_cosine_and_no_c(folder: Path, tmp_path: Path) -> None:
    name = saved(tiny_olmoe(34, layers=2, seed=0), tmp_path / "two")
    table = measure_models([name], texts=str(folder / "texts.txt"))
    assert math.isfinite(value(table, "cosine"))
    assert math.isnan(value(table, "C"))
    assert "two layers" in pick(table, "C")["note"].iloc[0]
    one = measure_models([saved(tiny_olmoe(34, layers=1, seed=0), tmp_path / "one")], texts=str(folder / "texts.txt"))
    assert math.isnan(value(one, "cosine"))
    assert "no consecutive layers" in pick(one, "cosine")["note"].iloc[0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.txt", "", "holds no text"),
        ("t.txt", "\n  \n", "holds no text"),
        ("t.txt", "w1 w2 w3\n", "has a single text, and a distance needs two"),
        ("t.txt", "w1 w2 w3\n\nw4\n", "t.txt, line 3 has 1 token; expected 2 or more"),
        ("t.jsonl", '{"text": "w1 w2"}\n{"text": ""}\n', 'line 2: "text" is missing, empty or no text'),
        ("t.jsonl", '{"text": "w1 w2"}\n{"prompt": "w1"}\n', 'line 2: "text", or "prompt" and "answer" is missing'),
        ("t.jsonl", '{"text": "w1 w2"}\n["w1"]\n', "line 2: expected an object"),
        ("t.jsonl", '{"text": "w1 w2"}\n{"text"\n', "line 2: this is not JSON"),
        ("t.jsonl", '{"text": "w1 w2", "group": "a"}\n{"text": "w1 w2"}\n', "line 2 has no group, and others have"),
        ("t.jsonl", '{"text": "w1 w2", "group": ["a"]}\n', "the group is ['a']"),
        (
            "t.jsonl",
            '{"text": "w1 w2", "group": "a"}\n{"text": "w3 w4", "group": "a"}\n{"text": "w5 w6", "group": "b"}\n',
            "group 'b' of",
        ),
        ("t.csv", "text\nw1 w2\n", "no file of texts"),
    ],
)
def test_bad_texts_are_refused_by_line(folder: Path, tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the words are checked below
        measure_models([folder / "olmoe"], texts=str(tmp_path / name))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"texts": None}, "say what to route"),
        ({"texts": "missing.txt"}, "no file of texts missing.txt"),
        ({"tokens": "answer"}, "line 1: the answer is missing"),
        ({"tokens": "first"}, "tokens is 'first'; expected all, answer, last"),
        ({"threshold": 1.5}, "the threshold is 1.5"),
        ({"k": 9}, "k is 9 of 8 experts"),
        ({"layers": "3"}, "layers is '3'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_tokens": 1}, "max_tokens is 1"),
        ({"accuracy": "none.csv"}, "no table of accuracies none.csv"),
        ({"steps": [0, 1]}, "there are 2 steps for 1 checkpoints"),
    ],
)
def test_bad_options_are_refused(folder: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the words are checked below
        measure_models([folder / "olmoe"], **{"texts": str(folder / "texts.txt"), **options})
    assert words in str(refused.value)


def test_an_answer_that_is_cut_off_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="the answer is cut off by max_tokens"):
        measure_models([folder / "olmoe"], texts=str(folder / "answers.jsonl"), tokens="answer", max_tokens=2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "needs a column accuracy and one of step and model; its columns are none"),
        ("step,acuracy\n0,.5\n", "its columns are step, acuracy - did you mean"),
        ("step,accuracy\n0,.5\n0,.6\n100,.7\n", "row 2: 0.0 is there already"),
        ("step,accuracy\n0,.5\n200,.6\n", "no row for"),
        ("step,accuracy\n0,.5\n100,good\n", "row 2: accuracy is 'good'"),
        ("step,accuracy,loss\n0,.5,1\n100,.6,\n", "row 2: loss is empty or NaN"),
        ("model,accuracy\nckpt-0,.5\nckpt-1,.6\n", "no row for"),
    ],
)
def test_bad_accuracies_are_refused(folder: Path, tmp_path: Path, series: list[str], content: str, words: str) -> None:
    path = tmp_path / "accuracy.csv"
    path.write_text(content)
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the words are checked below
        measure_models(series[:2], texts=str(folder / "texts.txt"), accuracy=str(path))
    assert words in str(refused.value)


def test_checkpoints_of_different_runs_are_refused(folder: Path, tmp_path: Path, series: list[str]) -> None:
    texts = str(folder / "texts.txt")
    other = saved(tiny_olmoe(34, layers=4, seed=0), tmp_path / "ckpt-100", words=WORDS[::-1])
    with pytest.raises(ValueError, match="different tokenizers"):
        measure_models([series[0], other], texts=texts)
    other = saved(tiny_olmoe(34, layers=3, seed=0), tmp_path / "ckpt-200", tokenizer=False)
    with pytest.raises(ValueError, match="different layers, experts or widths"):
        measure_models([series[0], other], texts=texts)
    with pytest.raises(ValueError, match="has no tokenizer; save one with it"):
        measure_models([series[1]], texts=texts)
    with pytest.raises(ValueError, match="both of step 100"):
        measure_models([series[1], other], texts=texts, steps=[100, 100])
    with pytest.raises(ValueError, match="given twice"):
        measure_models([series[0], series[0]], texts=texts)
    with pytest.raises(ValueError, match="holds no step; rename it"):
        measure_models([folder / "olmoe", folder / "mixtral"], texts=texts)
    with pytest.raises(ValueError, match="there are no models"):
        measure_models([], texts=texts)


def test_a_model_that_is_not_here_is_named_with_the_command_that_gets_it(folder: Path) -> None:
    texts = str(folder / "texts.txt")
    with pytest.raises(ValueError, match=r"nobody/moe cannot be opened .* hf download nobody/moe$"):
        measure_models(["nobody/moe"], texts=texts)
    with pytest.raises(ValueError, match=r"nobody/moe at step7 .* hf download nobody/moe --revision step7$"):
        measure_models(["nobody/moe"], texts=texts, revisions="step7")


# --- revisions --------------------------------------------------------------------------------------------

REPO = "allenai/OLMoE-1B-7B-0924"


def hub_with(monkeypatch: pytest.MonkeyPatch, branches: list[str] | None) -> list[str]:
    """A hub that has these branches, or none that can be reached; what was asked of it."""
    asked: list[str] = []

    def list_repo_refs(_: Any, name: str) -> Any:
        asked.append(name)
        if branches is None:
            raise ConnectionError("no network")
        return SimpleNamespace(branches=[SimpleNamespace(name=branch) for branch in branches])

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_refs", list_repo_refs)
    return asked


def test_the_papers_revisions_follow_from_steps_and_tokens() -> None:
    assert pathway_checkpoints.paper_revisions() == [
        "step5000-tokens20B",
        "step125000-tokens524B",
        "step245000-tokens1027B",
        "step370000-tokens1551B",
        "step490000-tokens2055B",
        "step615000-tokens2579B",
        "step735000-tokens3082B",
        "step855000-tokens3586B",
        "step980000-tokens4110B",
        "step1100000-tokens4613B",
    ]


def test_the_papers_revisions_say_their_cost_first_and_go_on_only_when_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = pathway_checkpoints.paper_revisions()
    asked = hub_with(monkeypatch, ["main", *wanted, "step10000-tokens41B"])
    with pytest.raises(ValueError, match=r"10 x 14 GB = 140 GB .* -p yes=true"):
        pathway_checkpoints.checkpoints([REPO], "paper", None)
    assert asked == []
    chosen = pathway_checkpoints.checkpoints([REPO], "paper", None, yes=True)
    assert "140 GB" in capsys.readouterr().err
    assert [checkpoint.revision for checkpoint in chosen] == wanted
    assert [checkpoint.step for checkpoint in chosen] == [1000.0 * k for k in pathway_checkpoints.PAPER_STEPS]


def test_a_missing_revision_is_named_and_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    branches = [r for r in pathway_checkpoints.paper_revisions() if not r.startswith("step370000")]
    hub_with(monkeypatch, [*branches, "step370000-tokens1552B"])
    with pytest.raises(ValueError, match=r"no revision step370000-tokens1551B \(1 of 10 are missing\); of the same"):
        pathway_checkpoints.checkpoints([REPO], "paper", None, yes=True)


def test_without_a_network_the_papers_revisions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hub_with(monkeypatch, None)
    with pytest.raises(ValueError, match=f"not on this machine: step5000-tokens20B, .*hf download {REPO} --revision"):
        pathway_checkpoints.checkpoints([REPO], "paper", None, yes=True)


def test_revisions_are_of_one_hub_id(folder: Path) -> None:
    for names in (["a/b", "a/c"], [str(folder / "olmoe")]):
        with pytest.raises(ValueError, match="revisions are those of one hub id"):
            pathway_checkpoints.checkpoints(names, "step1", None)
    with pytest.raises(ValueError, match="revisions=paper are those of allenai/OLMoE-1B-7B-0924, not of a/b"):
        pathway_checkpoints.checkpoints(["a/b"], "paper", None, yes=True)
    chosen = pathway_checkpoints.checkpoints(["a/b"], "step20-x, step3", None)
    assert [(c.shown, c.step) for c in chosen] == [("step3", 3), ("step20-x", 20)]


# --- command line -----------------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    """`evolm measure` with these arguments: its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["measure", *arguments])
    return int(ended.value.code or 0)


def test_the_command_line_prints_and_writes(
    folder: Path, tmp_path: Path, series: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "pathways" in describe.instruments()
    options = [f"texts={folder / 'texts.txt'}", f"accuracy={accuracy_file(tmp_path, SHARES[:6])}", "max_pairs=40"]
    arguments = [part for option in options for part in ("-p", option)]
    assert run("pathways", *series[:6], *arguments) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "distance, cumulative, indices, normalised is 0." in printed
    assert "its raw r with accuracy is" in printed
    assert "--wide prints every column" in printed
    out = tmp_path / "table.csv"
    assert run("pathways", *series[:2], *arguments, "-p", "layers=each", "-o", str(out)) == 0
    table = pd.read_csv(out)
    assert tuple(table.columns) == COLUMNS
    assert set(table["layer"]) == {"all", "0", "1", "2", "3"}
    assert run("pathways", series[0], *arguments[:2], "-p", "threshhold=0.5") != 0
    assert "did you mean 'threshold'" in capsys.readouterr().err
    assert run("pathways", REPO, *arguments[:2], "-p", "revisions=paper") != 0
    assert "140 GB" in " ".join(capsys.readouterr().err.split())

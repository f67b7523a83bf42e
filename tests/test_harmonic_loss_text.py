"""The language model of the harmonic-loss chapter at a tiny scale: its heads, its loss, and steady gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from hypothesis import given
from hypothesis import strategies as st

from evolm.findings.harmonic_loss import text
from evolm.findings.harmonic_loss.replicas import Head
from evolm.findings.harmonic_loss.text import LOGGED, Size, language_model, steadiness, token_loss, trained
from evolm.findings.stability_gap import text_world
from evolm.findings.stability_gap.corpora import as_data
from evolm.heads.head import DistanceHead
from evolm.lm.ngram import NGram
from evolm.lm.token_data import TokenData

HEADS = {"cross-entropy": Head("dot"), "harmonic": Head("harmonic", 4.0), "cosine": Head("harmonic", 8.0, "cosine")}
SIZE = Size(width=16, layers=1, steps=40)
PARTS = {"train": slice(0, 200), "validation": slice(200, 224), "test": slice(224, 260)}


@cache
def rows(domain: str, part: str, length: int) -> TokenData:
    """A few rows of real text instead of all of them."""
    return as_data(text_world.text_rows(domain, "validation", length).tokens[PARTS[part]])


def stream(domain: str, part: str) -> np.ndarray:
    return rows(domain, part, text.LENGTH).tokens.flatten().numpy()


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "text_rows", rows)
        patch.setattr(text, "text_stream", stream)
        patch.setattr(text, "ROWS", 4)
        text._trigram.cache_clear()
        yield
    text._trigram.cache_clear()


@cache
def run(name: str, test: bool = True) -> dict[str, pd.DataFrame]:
    return trained(name, HEADS[name], 2e-2, 3, SIZE, test=test)


# --- heads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_token_vectors_are_the_class_vectors(name: str) -> None:
    model = language_model(HEADS[name], 16, 1, 0)
    head = model.get_output_embeddings()
    assert isinstance(head, DistanceHead) == (name != "cross-entropy")
    assert head.weight is model.get_input_embeddings().weight
    tokens = rows("general", "train", 64).tokens[:2]
    token_loss(model, tokens).backward()
    unread = torch.ones(len(head.weight), dtype=torch.bool)
    unread[tokens] = False
    assert head.weight.grad[unread].abs().max() > 0  # from the head alone: no row reads these tokens


def test_heads_of_a_seed_share_all_their_first_weights() -> None:
    plain, distance = (
        dict(language_model(HEADS[name], 16, 1, 5).named_parameters()) for name in ("cross-entropy", "harmonic")
    )
    assert plain.keys() == distance.keys()
    assert all(torch.equal(plain[name], distance[name]) for name in plain)


@pytest.mark.parametrize("form", ["softmax", "normalised"])
def test_a_head_that_no_language_model_has_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match=f"{form!r}; expected 'dot' or 'harmonic'"):
        language_model(Head(form), 16, 1, 0)  # type: ignore[arg-type]


# --- loss ------------------------------------------------------------------------------------------------------


def test_the_plain_heads_loss_is_that_of_transformers() -> None:
    model = language_model(HEADS["cross-entropy"], 16, 2, 0).eval()
    tokens = rows("general", "test", 64).tokens[:5]
    with torch.no_grad():
        theirs = float(model(input_ids=tokens, labels=tokens).loss)
        assert float(token_loss(model, tokens)) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(("name", "distance"), [("harmonic", "euclidean"), ("cosine", "cosine")])
def test_the_harmonic_loss_is_that_of_the_distances_written_out(name: str, distance: str) -> None:
    model = language_model(HEADS[name], 16, 1, 0).eval()
    tokens = rows("general", "test", 64).tokens[:2]
    with torch.no_grad():
        hidden = model.model(tokens[:, :-1]).last_hidden_state.double().flatten(0, 1)
        vectors = model.get_input_embeddings().weight.double()
        d = (
            torch.cdist(hidden, vectors)
            if distance == "euclidean"
            else 1 - F.normalize(hidden) @ F.normalize(vectors).T
        )
        powers = d ** -HEADS[name].knob
        chosen = powers.gather(1, tokens[:, 1:].flatten()[:, None])[:, 0]
        expected = -(chosen / powers.sum(1)).log().mean()
        assert float(token_loss(model, tokens)) == pytest.approx(float(expected), rel=1e-4)


# --- steadiness ------------------------------------------------------------------------------------------------


@given(st.floats(1e-6, 1e6), st.integers(LOGGED, 300))
def test_norms_that_stand_still_are_steady_at_any_scale(scale: float, count: int) -> None:
    assert steadiness(np.full(count, scale)) == pytest.approx({"unsteadiness": 0, "jumps": 0}, abs=1e-12)


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_scale_changes_neither_number(seed: int, scale: float) -> None:
    norms = np.exp(np.random.default_rng(seed).standard_normal(200))
    assert steadiness(scale * norms) == pytest.approx(steadiness(norms), rel=1e-9)


def test_a_planted_spread_of_the_log_norm_is_found() -> None:
    logs = np.random.default_rng(0).normal(0, 0.3, 40_000)
    found = steadiness(np.exp(logs))
    # The median of 20 follows its own values a little, hence the tolerance.
    assert found["unsteadiness"] == pytest.approx(0.3, rel=0.05)
    beyond = 0.5 * math.erfc(math.log(2) / 0.3 / math.sqrt(2))
    assert found["jumps"] == pytest.approx(beyond, abs=0.004)


def test_a_trend_over_windows_is_no_unsteadiness() -> None:
    falling = np.repeat(10.0 ** -np.arange(20), LOGGED)
    assert steadiness(falling) == pytest.approx({"unsteadiness": 0, "jumps": 0}, abs=1e-12)


def test_jumps_are_the_updates_at_over_twice_the_median() -> None:
    norms = np.ones(10 * LOGGED)
    norms[[3, 50, 51, 120]] = 2.1
    norms[[7, 90]] = 1.9
    found = steadiness(norms)
    assert found["jumps"] == pytest.approx(4 / 200)
    expected = math.sqrt((4 * math.log(2.1) ** 2 + 2 * math.log(1.9) ** 2) / 200)
    assert found["unsteadiness"] == pytest.approx(expected)


def test_what_fills_no_window_is_left_out() -> None:
    norms = np.ones(2 * LOGGED + 5)
    norms[-5:] = 100
    assert steadiness(norms)["jumps"] == 0


# --- a whole run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_a_run_learns_and_says_what_it_measured(name: str) -> None:
    tables = run(name)
    row = tables["text"].iloc[0]
    assert (row["arm"], row["seed"]) == (name, 3)
    assert np.isfinite(row.drop("arm").to_numpy(float)).all()
    training = tables["text_training"]
    assert training["step"].tolist() == [20, 40]
    assert max(training["loss"].iloc[-1], row["nats"]) < training["loss"].iloc[0]
    assert 1 <= row["vector_rank"] <= 16
    assert 1 <= row["feature_rank"] <= 16


def test_a_run_gives_the_same_bits_twice() -> None:
    again = trained("harmonic", HEADS["harmonic"], 2e-2, 3, SIZE)
    for name, table in run("harmonic").items():
        pd.testing.assert_frame_equal(table, again[name], check_exact=True)


def test_held_out_loss_is_per_token_of_the_part_asked_for_and_so_is_the_trigrams() -> None:
    test, validation = (run("harmonic", part).get("text").iloc[0] for part in (True, False))
    assert test["nats"] != validation["nats"]
    assert test["vector_norm"] == validation["vector_norm"]  # the same training
    trigram = NGram.count(stream("general", "train"), 2048).fitted(rows("general", "validation", 64).tokens)
    for part, row in (("test", test), ("validation", validation)):
        held_out = rows("general", part, 64)
        assert row["trigram"] == pytest.approx(float(trigram.nats_per_token(held_out.tokens, held_out.mask)), rel=1e-9)


def test_loss_over_blocks_is_loss_over_all_rows_at_once() -> None:
    model = language_model(HEADS["harmonic"], 16, 1, 0)
    everything = as_data(text_world.text_rows("general", "validation", 64).tokens[:150])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "text_rows", lambda domain, part, length: everything)
        patch.setattr(text, "_trigram", lambda part: 0.0)
        found = text._end(model, "test")["nats"]
    with torch.no_grad():
        assert found == pytest.approx(float(token_loss(model, everything.tokens)), rel=1e-5)

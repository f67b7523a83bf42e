"""Sampling against transformers' forward and generate, and against the enumerated law of the model's completions."""

from __future__ import annotations

import math
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from enumeration import EOS, PAD, Narrow, completion_counts, completion_law, fit, reference_logprobs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.generation.logits_process import TopPLogitsWarper

from evolm.lm import lockstep, recorded_step
from evolm.lm.architecture import tiny_llama, tiny_olmoe
from evolm.lm.completions import Samples, Sampling
from evolm.lm.forward import decoder_for
from evolm.lm.memory import SmallerBatch
from evolm.lm.recorded_step import RecordedStep
from evolm.lm.sample import sample

SIGNIFICANCE = 1e-4
PROMPTS = [[1, 4, 5, 3], [1], [1, 5, 4, 4, 3, 3], [1, 4, 5, 3], [1, 3]]
MODEL = tiny_llama(6, width=16, heads=2, hidden=24, context=32, init_std=0.25, seed=0)


def draw(model: Any = MODEL, prompts: list[list[int]] = PROMPTS, n: int = 8, **options: Any) -> Samples:
    return sample(model, prompts, n, **{"max_new_tokens": 6, "eos": EOS, "pad": PAD, "seed": 0, **options})


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.7), (2.0, 0.9)])
def test_completions_follow_the_models_enumerated_law(temperature: float, top_p: float) -> None:
    prompts = [[1, 4, 5], [1]]
    samples = draw(
        prompts=prompts, n=4000, max_new_tokens=3, temperature=temperature, top_p=top_p, method="lockstep", seed=3
    )
    for index, prompt in enumerate(prompts):
        law = completion_law(MODEL, prompt, 3, temperature=temperature, top_p=top_p)
        assert fit(completion_counts(samples, index), law) > SIGNIFICANCE


@pytest.mark.parametrize("method", ["lockstep", "tree"])
def test_completions_are_distributed_as_those_of_transformers_generate(method: Any) -> None:
    torch.manual_seed(0)
    prompt, n = [1, 4, 5], 4000
    options = {"do_sample": True, "top_k": 0, "max_new_tokens": 3, "temperature": 0.8, "top_p": 0.9}
    generated = MODEL.generate(
        torch.tensor([prompt]), num_return_sequences=n, eos_token_id=EOS, pad_token_id=PAD, **options
    )
    theirs: dict[tuple[int, ...], int] = {}
    for row in generated[:, len(prompt) :].tolist():
        key = tuple(row[: row.index(EOS) + 1] if EOS in row else row)
        theirs[key] = theirs.get(key, 0) + 1
    ours = completion_counts(
        draw(prompts=[prompt], n=n, max_new_tokens=3, temperature=0.8, top_p=0.9, method=method, seed=1)
    )
    common = [key for key in theirs if theirs[key] + ours[key] >= 10]
    table = [[counts[key] for key in common] for counts in (theirs, ours)]
    for row in table:
        row.append(n - sum(row))
    table = [row for row in zip(*table, strict=True) if sum(row)]
    assert stats.chi2_contingency(table).pvalue > SIGNIFICANCE


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.3, 0.8)])
@pytest.mark.parametrize("method", ["lockstep", "tree"])
def test_logprobs_equal_those_of_the_transformers_forward(method: Any, temperature: float, top_p: float) -> None:
    samples = draw(temperature=temperature, top_p=top_p, method=method)
    expected = reference_logprobs(MODEL, samples, PROMPTS, Sampling(6, EOS, PAD, temperature, top_p))
    torch.testing.assert_close(samples.logprobs, expected, atol=1e-4, rtol=0)


def other_models() -> list[Any]:
    olmoe = tiny_olmoe(6, width=16, hidden=16, experts=4, context=32, init_std=0.3, seed=0)
    torch.manual_seed(0)
    gpt2 = GPT2Config(vocab_size=6, n_positions=32, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3)
    return [olmoe, GPT2LMHeadModel(gpt2)]


@pytest.mark.parametrize("method", ["lockstep", "tree"])
@pytest.mark.parametrize("model", other_models(), ids=["olmoe", "gpt2"])
def test_other_architectures_are_sampled_through_their_own_forward(model: Any, method: Any) -> None:
    samples = draw(model.eval(), method=method)
    expected = reference_logprobs(model, samples, PROMPTS, Sampling(6, EOS, PAD))
    torch.testing.assert_close(samples.logprobs, expected, atol=1e-4, rtol=0)


def test_left_padding_leaves_the_logits_of_a_prompt_unchanged() -> None:
    together = lockstep.prefill(decoder_for(MODEL), PROMPTS, 4)[1]
    alone = torch.cat([lockstep.prefill(decoder_for(MODEL), [prompt], 4)[1] for prompt in PROMPTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_greedy_decoding_equals_that_of_transformers_with_logprobs_of_the_model() -> None:
    for method in ("lockstep", "tree"):
        samples = draw(n=2, temperature=0.0, method=method)
        for tokens, owner, length in zip(samples.tokens, samples.prompt.tolist(), samples.lengths, strict=True):
            prompt = torch.tensor([PROMPTS[owner]])
            theirs = MODEL.generate(prompt, max_new_tokens=6, do_sample=False, eos_token_id=EOS, pad_token_id=PAD)
            assert tokens[:length].tolist() == theirs[0, prompt.shape[1] :].tolist()
        expected = reference_logprobs(MODEL, samples, PROMPTS, Sampling(6, EOS, PAD))
        torch.testing.assert_close(samples.logprobs, expected, atol=1e-4, rtol=0)


def test_rows_are_padded_after_their_eos_and_say_where_they_end() -> None:
    samples = draw(n=40, method="lockstep")
    assert samples.ended.any()
    assert not samples.ended.all()
    for tokens, logprobs, length, ended in zip(
        samples.tokens, samples.logprobs, samples.lengths.tolist(), samples.ended.tolist(), strict=True
    ):
        assert (tokens[: length - 1] != EOS).all()
        assert ended == (tokens[length - 1] == EOS)
        assert ended or length == 6
        assert (tokens[length:] == PAD).all()
        assert (logprobs[length:] == 0).all()
    assert samples.prompt.tolist() == [i for i in range(len(PROMPTS)) for _ in range(40)]
    endless = draw(n=40, eos=None, method="lockstep")
    assert not endless.ended.any()
    assert (endless.lengths == 6).all()


def test_retiring_rows_does_not_change_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for pays in (False, True):
        monkeypatch.setattr(lockstep, "retiring_pays", lambda dead, rows, steps, pays=pays: pays)
        narrow = Narrow(decoder_for(MODEL))
        drawn.append(draw(narrow, n=20, max_new_tokens=12, method="lockstep"))
        assert (min(narrow.stepped) < 100) == pays
    assert (drawn[0].tokens == drawn[1].tokens).all()
    torch.testing.assert_close(drawn[0].logprobs, drawn[1].logprobs, atol=1e-5, rtol=0)


def test_the_step_recorded_on_a_gpu_computes_the_decoders_step(monkeypatch: pytest.MonkeyPatch) -> None:
    # On the CPU the same operations run one by one. Retiring at every chance also goes through its copies.
    monkeypatch.setattr(lockstep, "retiring_pays", lambda dead, rows, steps: True)
    plain = draw(n=20, max_new_tokens=24, method="lockstep")
    monkeypatch.setattr(lockstep, "stepper_for", RecordedStep)
    monkeypatch.setattr(recorded_step, "stepper_for", RecordedStep)
    recorded = draw(n=20, max_new_tokens=24, method="lockstep")
    assert torch.equal(plain.tokens, recorded.tokens)
    torch.testing.assert_close(plain.logprobs, recorded.logprobs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("max_rows", [1, 7, 39])
def test_chunks_do_not_change_the_samples(max_rows: int) -> None:
    whole, cut = draw(method="lockstep"), draw(method="lockstep", max_rows=max_rows)
    assert (whole.tokens == cut.tokens).all()
    assert (whole.prompt == cut.prompt).all()
    torch.testing.assert_close(whole.logprobs, cut.logprobs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["lockstep", "tree", "auto"])
def test_a_seed_decides_the_samples_and_the_global_state_nothing(method: Any) -> None:
    state = torch.get_rng_state()
    first = draw(n=64, method=method, seed=5)
    assert (torch.get_rng_state() == state).all()
    torch.manual_seed(99)
    again, other = draw(n=64, method=method, seed=5), draw(n=64, method=method, seed=6)
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.logprobs, again.logprobs)
    assert not torch.equal(first.expand(0).tokens, other.expand(0).tokens)


def test_samples_can_be_trained_on() -> None:
    samples, decoder = draw(n=2), decoder_for(MODEL)
    new = decoder.logits(samples.tokens).log_softmax(-1).gather(2, samples.tokens[..., None])[..., 0]
    ((new - samples.logprobs).exp() * samples.logprobs).sum().backward()
    assert all(parameter.grad is not None for parameter in MODEL.parameters())
    MODEL.zero_grad()


def test_equal_prompts_share_one_prefill() -> None:
    narrow = Narrow(decoder_for(MODEL))
    draw(narrow, n=10, method="lockstep")
    assert narrow.prefilled == [4]  # two of the five prompts are equal


@pytest.mark.parametrize("method", ["lockstep", "tree"])
def test_out_of_memory_halves_the_batch_and_says_so(method: Any) -> None:
    narrow = Narrow(decoder_for(MODEL), limit=11)
    with pytest.warns(SmallerBatch, match="out of memory"):
        samples = draw(narrow, n=20, method=method)
    assert max(narrow.stepped) <= 11
    assert [int(samples.count[samples.prompt == i].sum()) for i in range(len(PROMPTS))] == [20] * len(PROMPTS)
    if method == "lockstep":
        assert (samples.tokens == draw(n=20, method=method).tokens).all()


def test_out_of_memory_with_one_row_is_an_error() -> None:
    with pytest.warns(SmallerBatch), pytest.raises(MemoryError, match="one row"):
        draw(Narrow(decoder_for(MODEL), limit=0), method="lockstep")


def test_auto_takes_lockstep_for_few_samples_and_a_tree_for_many() -> None:
    assert [draw(n=n).method for n in (1, 16, 1024)] == ["lockstep", "lockstep", "tree"]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 1.0), st.floats(0.2, 3.0))
def test_the_nucleus_is_that_of_transformers(seed: int, top_p: float, temperature: float) -> None:
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(seed)) * 2
    theirs = TopPLogitsWarper(top_p)(None, logits / temperature)
    ours = Sampling(1, EOS, PAD, temperature, top_p).logprobs(logits)
    torch.testing.assert_close(ours, theirs.log_softmax(-1))


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    logits = torch.full((2, 500), -math.inf)
    logits[:, [3, 250, 400]] = torch.tensor([0.0, 1.0, 2.0])
    for uniform, token in ((0.0, 3), (1 - 2.0**-53, 400)):
        drawn, logprob = Sampling(1, EOS, PAD).draw(logits, torch.full((2,), uniform, dtype=torch.float64))
        assert drawn.tolist() == [token] * 2
        torch.testing.assert_close(logprob, logits.log_softmax(-1)[:, token])


def test_expand_gives_each_sample_a_row_shuffled_within_its_prompt() -> None:
    samples = draw(n=200, method="tree")
    rows = samples.expand(seed=1)
    assert rows.prompt.tolist() == [i for i in range(len(PROMPTS)) for _ in range(200)]
    assert (rows.count == 1).all()
    for index in range(len(PROMPTS)):
        assert completion_counts(rows, index) == completion_counts(samples, index)
    assert torch.equal(rows.tokens, samples.expand(seed=1).tokens)
    assert not torch.equal(rows.tokens, samples.expand(seed=2).tokens)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"prompts": []}, "there are no prompts"),
        ({"prompts": [[1], []]}, "prompt 1 is empty"),
        ({"prompts": [[1, 6]]}, "another tokenizer"),
        ({"prompts": [[-1]]}, "another tokenizer"),
        ({"prompts": [[1], [1] * 40]}, "prompt 1 has 40 tokens and the model's context 32"),
        ({"prompts": [[1] * 30]}, "ask for at most 2 new tokens"),
        ({"n": 0}, "n is 0; expected at least one"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"max_rows": 0}, "max_rows is 0"),
        ({"method": "beam"}, "expected one of auto, lockstep, tree, vllm"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        draw(**wrong)


def test_a_diverged_model_is_named_as_such() -> None:
    model = tiny_llama(6, seed=0)
    torch.nn.init.constant_(model.model.norm.weight, math.nan)
    with pytest.raises(ValueError, match="diverged"):
        draw(model)


class StubLLM:
    """The part of `vllm.LLM` that is used: answers token 4 and then the eos, whatever the prompt."""

    def __init__(self, model: str, seed: int, logprobs_mode: str) -> None:
        self.loaded = (model, seed, logprobs_mode)

    def generate(self, requests: list[Any], settings: list[Any], use_tqdm: bool) -> list[Any]:
        StubLLM.asked = (requests, settings)
        entries = [{4: SimpleNamespace(logprob=-0.5)}, {EOS: SimpleNamespace(logprob=-0.25)}]
        output = SimpleNamespace(token_ids=(4, EOS), logprobs=entries)
        return [SimpleNamespace(outputs=[output] * asked.n) for _, asked in zip(requests, settings, strict=True)]


def test_vllm_answers_the_same_call(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = ModuleType("vllm")
    stub.LLM, stub.SamplingParams = StubLLM, SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", stub)
    samples = draw("some/model", PROMPTS, 3, method="vllm", temperature=0.6, top_p=0.95, seed=7)
    requests, asked = StubLLM.asked
    assert requests == [{"prompt_token_ids": prompt} for prompt in PROMPTS]
    expected = {"n": 3, "temperature": 0.6, "top_p": 0.95, "max_tokens": 6, "stop_token_ids": [EOS]}
    assert all(expected.items() <= vars(one).items() for one in asked)
    assert len({one.seed for one in asked}) == len(PROMPTS)  # equal prompts get samples of their own
    assert samples.method == "vllm"
    assert samples.prompt.tolist() == [i for i in range(5) for _ in range(3)]
    assert samples.tokens[0].tolist() == [4, EOS, PAD, PAD, PAD, PAD]
    assert samples.logprobs[0].tolist() == [-0.5, -0.25, 0, 0, 0, 0]
    assert samples.lengths.tolist() == [2] * 15
    assert samples.ended.all()
    loaded = StubLLM("some/model", 0, "processed_logprobs")
    assert draw(loaded, n=2, method="vllm").count.sum() == 10
    with pytest.raises(TypeError, match="cannot sample from a LlamaForCausalLM"):
        draw(MODEL, method="vllm")


def test_without_vllm_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ImportError, match="pip install vllm"):
        draw("some/model", method="vllm")

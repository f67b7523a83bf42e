"""Tiny models are transformers' own, drawn from their seed alone; word tokenizers invert and refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, LlamaForCausalLM, OlmoeForCausalLM

from evolm.lm.architecture import parameter_count, tiny_llama, tiny_olmoe
from evolm.lm.vocabulary import BOS_ID, EOS_ID, PAD_ID, SEP_ID, encode_words, vocabulary_hash, word_tokenizer


def test_the_documented_sizes_are_the_models_sizes() -> None:
    # Tied embedding, per layer four d x d projections, three d x f of the feed-forward and two norms, one last norm.
    def expected(vocab: int, d: int, layers: int, f: int) -> int:
        return vocab * d + layers * (4 * d * d + 3 * d * f + 2 * d) + d

    assert parameter_count(tiny_llama(34, seed=0)) == expected(34, 64, 2, 192) == 108_992
    assert parameter_count(tiny_llama(64, 128, 4, 4, 512, seed=0)) == expected(64, 128, 4, 512) == 1_057_920


@pytest.mark.parametrize("build", [tiny_llama, tiny_olmoe])
def test_weights_are_a_function_of_the_seed_and_leave_the_global_random_state_alone(build: object) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build(20, seed=3)  # type: ignore[operator]
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    again, other = build(20, seed=3).state_dict(), build(20, seed=4).state_dict()  # type: ignore[operator]
    assert all(torch.equal(weight, again[name]) for name, weight in first.state_dict().items())
    matrices = [name for name, weight in again.items() if weight.dim() > 1]
    assert not any(torch.equal(again[name], other[name]) for name in matrices)


def test_models_are_the_librarys_classes_with_tied_embeddings() -> None:
    llama, olmoe = tiny_llama(20, seed=0), tiny_olmoe(20, experts=4, experts_per_token=2, seed=0)
    assert type(llama) is LlamaForCausalLM
    assert type(olmoe) is OlmoeForCausalLM
    assert (olmoe.config.num_experts, olmoe.config.num_experts_per_tok) == (4, 2)
    for model in (llama, olmoe):
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert (model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id) == (0, 1, 2)
        assert model(torch.tensor([[1, 5, 3]])).logits.shape == (1, 3, 20)
    assert llama.model.rotary_emb.inv_freq[1].item() == pytest.approx(1000 ** (-2 / 32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 2}, "at least 3"),
        ({"vocab_size": 20, "width": 60, "heads": 7}, "heads"),
        ({"vocab_size": 20, "width": 6, "heads": 2}, "3 dimensions"),
        ({"vocab_size": 20, "layers": 0}, "layers is 0"),
        ({"vocab_size": 20, "rope_base": float("nan")}, "rope_base is nan"),
    ],
)
def test_sizes_that_make_no_model_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_llama(**arguments, seed=0)  # type: ignore[arg-type]


def test_more_experts_per_token_than_experts_are_refused() -> None:
    with pytest.raises(ValueError, match="9 of 8 experts"):
        tiny_olmoe(20, experts_per_token=9, seed=0)


WORDS = ["red", "green", "s0", "+", "=", ".", ",", "'s", "été", "<x>"]


@given(st.lists(st.sampled_from([*WORDS, "<bos>", "<sep>", "<eos>", "<pad>"])))
@settings(max_examples=60, deadline=None)
def test_decoding_inverts_encoding_one_token_per_word(words: list[str]) -> None:
    tokenizer = word_tokenizer(WORDS)
    text = " ".join(words)
    ids = tokenizer.encode(text)
    assert len(ids) == len(words)
    assert tokenizer.decode(ids) == text
    assert encode_words(tokenizer, text) == ids


def test_special_tokens_and_words_are_numbered_as_documented() -> None:
    tokenizer = word_tokenizer(WORDS, context=64)
    assert tokenizer.encode("<pad> <bos> <eos> <sep> red <x>") == [PAD_ID, BOS_ID, EOS_ID, SEP_ID, 4, 3 + len(WORDS)]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (PAD_ID, BOS_ID, EOS_ID)
    assert (tokenizer.sep_token_id, tokenizer.model_max_length) == (SEP_ID, 64)
    assert tokenizer.decode([BOS_ID, 4, EOS_ID], skip_special_tokens=True) == "red"
    assert len(tokenizer) == 4 + len(WORDS)


def test_a_saved_tokenizer_opens_with_autotokenizer(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(WORDS)
    tokenizer.save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    text = "<bos> red + green = été . <eos>"
    assert opened.encode(text) == tokenizer.encode(text)
    assert opened.decode(opened.encode(text)) == text
    assert vocabulary_hash(opened) == vocabulary_hash(tokenizer)
    assert vocabulary_hash(word_tokenizer(WORDS[::-1])) != vocabulary_hash(tokenizer)


def test_an_unknown_word_is_an_error_that_names_it() -> None:
    tokenizer = word_tokenizer(WORDS)
    with pytest.raises(ValueError, match=r"'grene' is not in the vocabulary of 14 words; near it are green"):
        encode_words(tokenizer, "red grene")
    with pytest.raises(Exception, match="WordLevel"):
        tokenizer.encode("red grene")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b", "a"], "'a' is given twice"),
        (["a b"], "white space"),
        ([""], "at least one character"),
        (["x<eos>"], "special token"),
    ],
)
def test_words_that_cannot_be_told_apart_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        word_tokenizer(words)

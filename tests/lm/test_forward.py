"""The native forward against transformers' own: logits, gradients, cached steps, padding, shared prompts."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, OlmoeConfig, OlmoeForCausalLM

from evolm.lm.forward import LlamaDecoder, TransformersDecoder, decoder_for
from evolm.lm.llama import unsupported


def llama(**changes):
    torch.manual_seed(0)
    settings = {"vocab_size": 19, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    settings |= {"num_key_value_heads": 4, "intermediate_size": 48, "max_position_embeddings": 32} | changes
    model = LlamaForCausalLM(LlamaConfig(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norm weights away from 1, logits away from uniform
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def olmoe():
    torch.manual_seed(0)
    return OlmoeForCausalLM(
        OlmoeConfig(
            vocab_size=19, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
            intermediate_size=16, num_experts=4, num_experts_per_tok=2, max_position_embeddings=32, eos_token_id=2,
        )
    ).eval()  # fmt: skip


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=19, n_embd=32, n_layer=2, n_head=4, n_positions=32)).eval()


VARIANTS = {
    "tied": lambda: llama(tie_word_embeddings=True),
    "padding token": lambda: llama(pad_token_id=0),
    "untied": lambda: llama(tie_word_embeddings=False),
    "grouped queries": lambda: llama(num_key_value_heads=2),
    "one kv head": lambda: llama(num_key_value_heads=1),
    "wide heads": lambda: llama(head_dim=16),
    "olmoe": olmoe,
    "gpt2": gpt2,
}


@pytest.fixture(params=VARIANTS, ids=str)
def model(request):
    return VARIANTS[request.param]()


def tokens(rows=6, time=11, seed=0):
    return torch.randint(0, 19, (rows, time), generator=torch.Generator().manual_seed(seed))


def test_logits_are_those_of_transformers(model):
    x = tokens()
    torch.testing.assert_close(decoder_for(model).logits(x), model(x).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("start", "group"), [(0, 1), (5, 1), (5, 3), (1, 2), (10, 6)])
def test_a_later_start_and_shared_prompts_give_the_same_logits_and_gradients(model, start, group):
    x = tokens()
    x[:, :start] = x[::group, :start].repeat_interleave(group, 0)
    weights = torch.randn(6, 11 - start, 19)
    results = []
    for logits in (lambda: decoder_for(model).logits(x, start, group), lambda: model(x).logits[:, start:]):
        model.zero_grad()
        out = logits()
        (out * weights).sum().backward()
        results.append((out.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-5)
    for name, gradient in results[1][1].items():
        torch.testing.assert_close(
            results[0][1][name], gradient, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_prefill_and_steps_equal_the_whole_forward(model):
    x = tokens()
    decoder = decoder_for(model)
    cache = decoder.new_cache(6, 11)
    expected = model(x).logits
    torch.testing.assert_close(decoder.prefill(x[:, :4], cache), expected[:, 3], rtol=1e-4, atol=1e-5)
    for t in range(4, 11):
        torch.testing.assert_close(decoder.step(x[:, t], cache), expected[:, t], rtol=1e-4, atol=1e-5)


def test_left_padding_changes_nothing(model):
    x = tokens(rows=3)
    padding = torch.tensor([0, 3, 1])
    padded = x.clone()
    for row, pad in enumerate(padding):
        padded[row, pad:7], padded[row, :pad] = x[row, : 7 - pad], 0
    decoder = decoder_for(model)
    cache = decoder.new_cache(3, 12)
    logits = [decoder.prefill(padded[:, :7], cache, padding)]
    logits.append(decoder.step(torch.tensor([1, 2, 3]), cache))
    for row, pad in enumerate(padding):
        alone = torch.cat([x[row, : 7 - pad], torch.tensor([row + 1])])
        expected = model(alone[None]).logits[0]
        torch.testing.assert_close(logits[0][row], expected[-2], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(logits[1][row], expected[-1], rtol=1e-4, atol=1e-5)


def test_selected_rows_go_on_as_they_would_have(model):
    x = tokens()
    decoder = decoder_for(model)
    cache = decoder.new_cache(6, 11)
    decoder.prefill(x[:, :5], cache)
    chosen = torch.tensor([4, 0, 0, 2])
    branch = cache.select(chosen)
    decoder.step(x[:, 5], cache)  # the first cache goes on without disturbing the branch
    new = torch.tensor([1, 2, 3, 4])
    expected = model(torch.cat([x[chosen, :5], new[:, None]], 1)).logits[:, -1]
    torch.testing.assert_close(decoder.step(new, branch), expected, rtol=1e-4, atol=1e-5)
    assert branch.rows == 4
    assert cache.rows == 6


def test_refresh_takes_in_changed_weights():
    model, x = llama(), tokens()
    decoder = decoder_for(model)
    decoder.prefill(x, decoder.new_cache(6, 11))
    with torch.no_grad():
        model.model.norm.weight.mul_(2)
    decoder.refresh()
    torch.testing.assert_close(
        decoder.prefill(x, decoder.new_cache(6, 11)), model(x).logits[:, -1], rtol=1e-4, atol=1e-5
    )


def test_bfloat16_stays_near_float32(model):
    x = tokens()
    found = decoder_for(model, torch.bfloat16).logits(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, model(x).logits, rtol=0.1, atol=0.1)


def test_the_native_path_is_taken_for_llamas_only():
    assert isinstance(decoder_for(llama()), LlamaDecoder)
    assert isinstance(decoder_for(olmoe()), TransformersDecoder)
    assert isinstance(decoder_for(llama(attention_bias=True)), TransformersDecoder)
    decoder = decoder_for(llama())
    assert decoder_for(decoder) is decoder
    assert "biases" in unsupported(llama(mlp_bias=True).config)


def test_a_sequence_that_does_not_fit_is_refused(model):
    decoder = decoder_for(model)
    cache = decoder.new_cache(6, 5)
    decoder.prefill(tokens()[:, :5], cache)
    with pytest.raises(ValueError, match=r"6 tokens do not fit: the cache holds 5"):
        decoder.step(tokens()[:, 5], cache)

"""Heads in place of a model's own: language models of three architectures, an MLP, a CNN; tying, saving, ambiguity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForSequenceClassification

from evolm.heads.distances import distance
from evolm.heads.head import DistanceHead, NormalisedLinear
from evolm.heads.replace import replace_head, restore_head
from evolm.lm.architecture import tiny_llama, tiny_olmoe
from evolm.lm.forward import decoder_for

VOCAB = 20
TOKENS = 4 + torch.arange(24).view(2, 12) % (VOCAB - 4)  # not padding, whose embedding is zero


def tiny_gpt2() -> Any:
    config = GPT2Config(vocab_size=VOCAB, n_positions=32, n_embd=16, n_layer=1, n_head=2, initializer_range=0.3)
    config.bos_token_id = config.eos_token_id = 1
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return GPT2LMHeadModel(config).eval()


def language_model(name: str) -> Any:
    if name == "gpt2":
        return tiny_gpt2()
    make = tiny_llama if name == "llama" else tiny_olmoe
    return make(VOCAB, width=16, layers=1, heads=2, hidden=24, init_std=0.3, seed=0).eval()


LANGUAGE_MODELS = ["llama", "gpt2", "olmoe"]


def hidden_states(model: Any) -> Tensor:
    """What enters the head, (2, 12, width)."""
    states: Tensor = model.base_model(TOKENS).last_hidden_state
    return states


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))


class SmallCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3)
        self.fc1, self.fc2 = nn.Linear(6, 10), nn.Linear(10, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.conv2(F.relu(self.conv1(images)))).amax((2, 3))
        return self.fc2(F.relu(self.fc1(x)))


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(8, 12)
        self.policy, self.value = nn.Linear(12, 3), nn.Linear(12, 1)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_language_model_with_labels_gives_the_harmonic_loss(name: str) -> None:
    model = language_model(name)
    hidden, weight = hidden_states(model), model.get_input_embeddings().weight
    assert replace_head(model, exponent=3.0) is model
    found = model(TOKENS, labels=TOKENS)
    d = distance("euclidean", hidden[:, :-1].flatten(0, 1).double(), weight.double())
    p = d**-3.0 / (d**-3.0).sum(-1, keepdim=True)
    loss = -p.gather(1, TOKENS[:, 1:].reshape(-1, 1)).log().mean()
    assert float(found.loss.detach()) == pytest.approx(float(loss.detach()), rel=1e-5)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_tied_embeddings_stay_one_parameter_through_training_and_saving(name: str, tmp_path: Path) -> None:
    model = language_model(name)
    weight = model.get_input_embeddings().weight
    before = weight.detach().clone()
    replace_head(model)
    assert model.get_output_embeddings().weight is weight
    assert torch.equal(weight, before)
    model(TOKENS, labels=TOKENS).loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    model.tie_weights()
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert not torch.equal(weight, before)
    model.save_pretrained(tmp_path)
    again = restore_head(AutoModelForCausalLM.from_pretrained(tmp_path).eval(), tmp_path)
    assert isinstance(again.get_output_embeddings(), DistanceHead)
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight
    torch.testing.assert_close(again(TOKENS).logits, model(TOKENS).logits)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
@pytest.mark.parametrize(
    "how",
    [
        {"distance": "mahalanobis", "exponent": 2.0},
        {"distance": "minkowski", "p": 3.0},
        {"kind": "normalised", "scale": 4.0},
        {"form": "softmax", "temperature": 2.0},
    ],
)
def test_a_saved_head_comes_back_with_its_options_and_its_own_parameters(
    name: str, how: dict[str, Any], tmp_path: Path
) -> None:
    model = replace_head(language_model(name), **how)
    head = model.get_output_embeddings()
    with torch.no_grad():
        for key, parameter in head.named_parameters():
            if key != "weight":
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    model.save_pretrained(tmp_path)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert isinstance(opened.get_output_embeddings(), nn.Linear)  # anyone can open it, with a linear head
    again = restore_head(opened, tmp_path)
    torch.testing.assert_close(again(TOKENS).logits, model(TOKENS).logits)


def test_a_saved_config_is_of_its_own_type_and_says_how_the_head_was_made(tmp_path: Path) -> None:
    replace_head(language_model("llama"), distance="cosine", exponent=2.0).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "llama"
    assert config["distance_head"] == {"name": None, "kind": "distance", "distance": "cosine", "exponent": 2.0}


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_our_decoders_and_generate_run_the_new_head_and_not_a_linear_one(name: str) -> None:
    model = language_model(name)
    linear = decoder_for(model).logits(TOKENS)
    replace_head(model)
    logits = model(TOKENS).logits
    torch.testing.assert_close(decoder_for(model).logits(TOKENS), logits)
    assert not torch.allclose(linear.log_softmax(-1), logits.log_softmax(-1), atol=0.1)
    written = model.generate(TOKENS[:, :4], max_new_tokens=1, do_sample=False, pad_token_id=0)
    assert torch.equal(written[:, 4], model(TOKENS[:, :4]).logits[:, -1].argmax(-1))


def test_a_bfloat16_model_gives_logits_as_exact_as_its_hidden_states() -> None:
    model = replace_head(language_model("llama")).to(torch.bfloat16)
    hidden, weight = hidden_states(model), model.get_input_embeddings().weight
    expected = -4.0 * distance("euclidean", hidden.double().flatten(0, 1), weight.double()).log()
    found = model(TOKENS).logits
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.flatten(0, 1).double(), expected, rtol=1e-4, atol=1e-4)


def test_the_last_linear_layer_of_an_mlp_and_of_a_cnn_is_the_head() -> None:
    for model, inputs, path in ((mlp(), torch.rand(5, 8), "2"), (SmallCNN(), torch.rand(5, 1, 9, 9), "fc2")):
        old = model.get_submodule(path)
        features: list[Tensor] = []
        replace_head(model, exponent=2.0)
        new = model.get_submodule(path)
        assert isinstance(new, DistanceHead)
        assert new.weight is old.weight
        new.register_forward_hook(lambda _, given, out, seen=features: seen.append(given[0]))
        logits = model(inputs)
        torch.testing.assert_close(logits, -2 * torch.cdist(features[0], new.weight).log(), rtol=1e-4, atol=1e-4)
        F.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1])).backward()
        assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_head_can_be_replaced_again_and_the_hidden_layers_stay() -> None:
    model = mlp()
    hidden = model[0]
    replace_head(model, distance="cosine")
    replace_head(model, kind="normalised")
    assert isinstance(model[2], NormalisedLinear)
    assert model[0] is hidden


def test_replacing_draws_nothing_from_the_global_random_state_and_keeps_the_mode() -> None:
    model = mlp().eval()
    state = torch.get_rng_state()
    replace_head(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert not model[2].training


def test_a_layer_in_two_places_is_replaced_in_both() -> None:
    model = nn.ModuleDict({"trunk": nn.Linear(8, 12), "head": nn.Linear(12, 3)})
    model["again"] = model["head"]
    replace_head(model)
    assert isinstance(model["head"], DistanceHead)
    assert model["again"] is model["head"]


def test_what_may_be_one_of_two_heads_must_be_named() -> None:
    with pytest.raises(ValueError, match=r"which linear layer of TwoHeads.*policy and value.*name='value'"):
        replace_head(TwoHeads())
    model = replace_head(TwoHeads(), name="policy")
    assert isinstance(model.policy, DistanceHead)
    assert isinstance(model.value, nn.Linear)


def test_a_classifier_of_transformers_takes_a_head_by_name() -> None:
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        num_labels=3,
        pad_token_id=0,
    )
    model = replace_head(LlamaForSequenceClassification(config), name="score", distance="manhattan")
    assert isinstance(model.score, DistanceHead)
    assert model(TOKENS, labels=torch.tensor([0, 2])).loss.requires_grad


@pytest.mark.parametrize(
    ("model", "how", "message"),
    [
        (nn.Sequential(nn.ReLU()), {}, "has no linear layer to replace"),
        (nn.Linear(3, 2), {}, "itself a linear layer"),
        (mlp(), {"name": "3"}, "no linear layer '3'"),
        (mlp(), {"name": "1"}, "the last of them: 0, 2"),
        (SmallCNN(), {"name": "fc3"}, "did you mean 'fc"),
        (mlp(), {"kind": "cosine"}, "expected 'distance' or 'normalised'"),
        (mlp(), {"distance": "euclid"}, "did you mean 'euclidean'"),
    ],
)
def test_what_cannot_be_replaced_is_refused_and_left_as_it_was(
    model: nn.Module, how: dict[str, Any], message: str
) -> None:
    before = repr(model)
    with pytest.raises(ValueError, match=message):
        replace_head(model, **how)
    assert repr(model) == before


def test_restoring_needs_a_config_that_remembers_and_the_folder_of_the_parameters(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="remembers no distance head"):
        restore_head(language_model("llama"))
    replace_head(language_model("llama"), distance="mahalanobis").save_pretrained(tmp_path)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="give the folder that save_pretrained wrote"):
        restore_head(opened)

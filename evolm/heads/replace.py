"""Put a distance head in place of the linear head of any model, and find it again after saving.

    replace_head(model)                                        # Euclidean, harmonic, exponent sqrt(width)
    replace_head(model, distance="cosine", exponent=8.0)
    replace_head(model, kind="normalised")                     # control: cross-entropy with normalised weights
    replace_head(classifier, name="fc2")

The class vectors are the linear layer's own parameter: its values stay, and what is tied to it stays tied. A causal
language model of transformers then trains on harmonic loss by `model(input_ids, labels=labels)`. Saved by
`save_pretrained`, its config remembers the head and the library opens it with a linear one on the same weights:

    model = restore_head(AutoModelForCausalLM.from_pretrained(folder), folder)
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from safetensors import safe_open
from torch import nn

from evolm.heads.head import DistanceHead, NormalisedLinear

Model = TypeVar("Model", bound=nn.Module)
Kind = Literal["distance", "normalised"]
HEADS = (nn.Linear, DistanceHead, NormalisedLinear)
#: Where a transformers config keeps how its head was made.
CONFIG_KEY = "distance_head"


def replace_head(model: Model, *, name: str | None = None, kind: Kind = "distance", **options: Any) -> Model:
    """`model`, changed in place, with a `DistanceHead` (or `NormalisedLinear`) of these `options` for its linear head.

    The head is the output embedding of a transformers model that has one, otherwise the last linear layer, or the one
    called `name` (as in `named_modules`). A head that this function made can be replaced again. A bias is dropped: a
    distance has none.

    Raises ValueError where there is no linear layer, no such name, or more than one layer that may be the head, and
    what the head raises for its options.
    """
    old = _named(model, name) if name is not None else _found(model)
    new = _made(old, kind, options)
    if name is None and _output_embedding(model) is old:
        model.set_output_embeddings(new)  # type: ignore[operator]
    for parent in list(model.modules()):
        for attribute, child in list(
            parent._modules.items()
        ):  # `named_children` leaves out the second place of a shared layer
            if child is old:
                setattr(parent, attribute, new)
    config: Any = getattr(model, "config", None)
    if hasattr(config, "to_dict"):
        setattr(config, CONFIG_KEY, {"name": name, "kind": kind, **options})
        if config.model_type == "llama":
            # `evolm.lm` reads a Llama's weights itself and would compute a linear head. The type that is saved is that
            # of the config's class.
            config.model_type = "llama with a distance head"
    return model


def restore_head(model: Model, folder: str | Path | None = None) -> Model:
    """`model`, as transformers opened it from a saved folder, with the head that its config remembers.

    `folder` holds the saved weights; only heads with parameters besides class vectors need it (Mahalanobis distances,
    normalised weights). Raises ValueError where the config remembers no head, or such parameters are not found.
    """
    how = getattr(getattr(model, "config", None), CONFIG_KEY, None)
    if not isinstance(how, dict):
        raise ValueError("this model's config remembers no distance head; put one on with replace_head")
    replace_head(model, **how)
    prefix, head = next((key, one) for key, one in model.named_modules() if isinstance(one, HEADS[1:]))
    wanted = {f"{prefix}.{key}": value for key, value in head.named_parameters() if key != "weight"}
    if not wanted:
        return model
    for path in sorted(Path(folder).glob("*.safetensors")) if folder is not None else []:
        with safe_open(path, framework="pt") as file, torch.no_grad():
            for key in set(wanted) & set(file.keys()):
                wanted.pop(key).copy_(file.get_tensor(key))
    if wanted:
        raise ValueError(f"{sorted(wanted)[0]} was not found in {folder}; give the folder that save_pretrained wrote")
    return model


def _made(old: nn.Module, kind: str, options: dict[str, Any]) -> DistanceHead | NormalisedLinear:
    classes: dict[str, type[DistanceHead | NormalisedLinear]] = {
        "distance": DistanceHead,
        "normalised": NormalisedLinear,
    }
    if kind not in classes:
        raise ValueError(f"kind is {kind!r}; expected 'distance' or 'normalised'")
    weight = old.weight
    assert isinstance(weight, nn.Parameter)
    with torch.random.fork_rng(devices=[]):  # what the head draws is thrown away
        head = classes[kind](weight.shape[1], weight.shape[0], dtype=weight.dtype, **options)
    head = head.to(weight.device)
    head.weight = weight
    return head.train(old.training)


def _output_embedding(model: nn.Module) -> Any:
    get = getattr(model, "get_output_embeddings", None)
    return get() if get is not None else None


def _named(model: nn.Module, name: str) -> nn.Module:
    layers = {key: module for key, module in model.named_modules() if isinstance(module, HEADS)}
    if name not in layers:
        near = difflib.get_close_matches(name, layers, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        known = ", ".join(list(layers)[-5:]) or "none"
        raise ValueError(f"{type(model).__name__} has no linear layer {name!r}; {hint}the last of them: {known}")
    return layers[name]


def _found(model: nn.Module) -> nn.Module:
    """The head of `model`, by transformers' word or as the only linear layer whose outputs enter no later one."""
    own = _output_embedding(model)
    if own is not None:
        if not isinstance(own, HEADS):
            raise ValueError(
                f"the output embedding of {type(model).__name__} is a {type(own).__name__}, no linear layer"
            )
        return own
    if isinstance(model, HEADS):
        raise ValueError("the model is itself a linear layer; make a DistanceHead in its place")
    layers = {key: module for key, module in model.named_modules() if isinstance(module, HEADS)}
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has no linear layer to replace; a distance head needs one to stand for"
        )
    order = list(layers.values())
    last = [
        key
        for place, (key, layer) in enumerate(layers.items())
        if all(layer.out_features != later.in_features for later in order[place + 1 :])
    ]
    if len(last) > 1:
        raise ValueError(
            f"which linear layer of {type(model).__name__} is its head? The outputs of {' and '.join(last)} fit the "
            f"inputs of no later linear layer; name one, as in name={last[-1]!r}"
        )
    return layers[last[0]]

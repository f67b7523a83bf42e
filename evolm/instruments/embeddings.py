"""Find and read a model's output-embedding matrix, in blocks of rows, without loading the model.

    source = open_output_embedding("path/to/checkpoint")      # save_pretrained folder, sharded or not
    source = open_output_embedding("head.npy")                # one matrix: .npy or .safetensors
    source = open_output_embedding("smollm2-135m")            # an asset (see `evolm.assets`)
    source = open_output_embedding("EleutherAI/pythia-70m")   # hub id: only this tensor's bytes are fetched
    for block in source.blocks(8192): ...                     # (rows, width)

The output embedding is the language-model head where the checkpoint holds one, otherwise the input
embedding that it is tied to. Only safetensors and plain `.npy` are read; pickled weights are refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

#: Language-model heads, most specific first; a name also matches behind any dotted prefix.
HEADS = ("lm_head.weight", "embed_out.weight", "cls.predictions.decoder.weight", "lm_head.decoder.weight")
#: Input embeddings, used when no head is stored because the two are tied.
INPUTS = (
    "shared.weight",  # T5
    "decoder.embed_tokens.weight",  # OPT, BART
    "embed_tokens.weight",  # Llama, Qwen2, Gemma
    "wte.weight",  # GPT-2
    "embed_in.weight",  # GPT-NeoX (Pythia)
    "word_embeddings.weight",  # BERT, Bloom
)
INDEX, SINGLE, CONFIG = "model.safetensors.index.json", "model.safetensors", "config.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


class EmbeddingNotFound(ValueError):
    """The checkpoint is readable, but which tensor is the output embedding is not clear."""


class ModelUnavailable(OSError):
    """The model is neither on this machine nor could it be fetched; the message says how to get it."""


@dataclass(frozen=True)
class EmbeddingSource:
    """One output-embedding matrix of `n` rows (tokens) and `m` columns (width), read on demand.

    `read(start, stop)` returns rows as a tensor of the stored dtype. `provenance` says where the matrix
    came from: source, file, tensor, role, dtype, revision, licence.
    """

    name: str
    tensor: str
    n: int
    m: int
    read: Callable[[int, int], torch.Tensor]
    provenance: dict[str, Any] = field(default_factory=dict)

    def blocks(self, rows: int = 8192) -> Iterator[torch.Tensor]:
        """All rows in order, at most `rows` at a time; each block is (rows, m)."""
        if rows < 1:
            raise ValueError(f"a block has {rows} rows; it needs at least 1")
        for start in range(0, self.n, rows):
            yield self.read(start, min(start + rows, self.n))

    def sha256(self) -> str:
        """Hash of the matrix's stored bytes, row by row: the same for every file that holds this matrix."""
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def from_tensor(cls, matrix: torch.Tensor, name: str) -> EmbeddingSource:
        """A matrix that is already in memory, (vocabulary, width)."""
        n, m = _matrix_shape(tuple(matrix.shape), name)
        return cls(name, name, n, m, lambda a, b: matrix[a:b], {"source": "memory", "dtype": str(matrix.dtype)})


def open_output_embedding(spec: str | Path, revision: str | None = None, tensor: str | None = None) -> EmbeddingSource:
    """The output embedding of `spec`: a folder, a `.safetensors` or `.npy` file, an asset name, or a hub id.

    `revision` is a branch, tag or commit of a hub repository; `tensor` names the tensor where the
    architecture is not known here. Raises `EmbeddingNotFound`, `ModelUnavailable`,
    `FileNotFoundError`, or `evolm.assets.MissingAsset`, each saying what to do.
    """
    from evolm import assets

    path, text = Path(spec), str(spec)
    if path.is_dir():
        return open_folder(path, name=path.resolve().name, tensor=tensor)
    if path.is_file():
        return _open_file(path, tensor)
    if text in assets.registry():
        asset = assets.registry()[text]
        facts = {"source": "asset", "revision": asset.version, "licence": asset.licence, "upstream": asset.upstream}
        return open_folder(assets.path(text), name=text, tensor=tensor, provenance=facts)
    if isinstance(spec, Path) or path.suffix in (".npy", ".safetensors") or not _HUB_ID.fullmatch(text):
        raise FileNotFoundError(
            f"{text} does not exist; expected a checkpoint folder, a .safetensors or .npy file, "
            f"an asset ({', '.join(assets.registry())}) or a hub id such as openai-community/gpt2"
        )
    from evolm.instruments.hub_tensor import open_hub

    return open_hub(text, revision, tensor)


def open_folder(
    folder: Path, *, name: str, tensor: str | None = None, provenance: Mapping[str, Any] | None = None
) -> EmbeddingSource:
    """The output embedding of a `save_pretrained` folder; only the shard that holds it is opened."""
    if (folder / INDEX).is_file():
        weight_map: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
    elif (folder / SINGLE).is_file():
        weight_map = dict.fromkeys(_names(folder / SINGLE), SINGLE)
    else:
        raise ModelUnavailable(no_safetensors(str(folder), (p.name for p in folder.iterdir())))
    config = json.loads((folder / CONFIG).read_text()) if (folder / CONFIG).is_file() else {}
    key, role = find_tensor(weight_map, config, name, tensor)
    facts = {"source": "local folder", "path": str(folder), "role": role, **(provenance or {})}
    source = open_safetensors(folder / weight_map[key], key, name=name, provenance=facts)
    hidden = config.get("text_config", config).get("hidden_size", source.m)
    if hidden != source.m:
        source.provenance["note"] = f"rows have width {source.m}; the model's hidden width is {hidden}"
    return source


def open_safetensors(path: Path, key: str, *, name: str, provenance: Mapping[str, Any]) -> EmbeddingSource:
    """Tensor `key` of one safetensors file, as a source that reads row slices."""
    if not path.is_file():
        raise ModelUnavailable(f"{name} is incomplete: {path} is missing; copy or download the checkpoint again")
    with _open(path) as file:
        view = file.get_slice(key)
        n, m = _matrix_shape(tuple(view.get_shape()), f"{name}: {key}")
        dtype = view.get_dtype()

    def read(start: int, stop: int) -> torch.Tensor:
        with _open(path) as file:  # opened per block: the mapped pages of earlier blocks are given back
            return file.get_slice(key)[start:stop]

    return EmbeddingSource(name, key, n, m, read, {**provenance, "file": path.name, "tensor": key, "dtype": dtype})


def find_tensor(
    names: Iterable[str], config: Mapping[str, Any], model: str, wanted: str | None = None
) -> tuple[str, str]:
    """Name and role of the output embedding among a checkpoint's tensor `names`.

    A stored head wins; else the input embedding, unless the config says that the two are not tied.
    """
    names = list(names)
    embedding_like = sorted(k for k in names if re.search(r"emb|head|wte|shared|decoder\.weight", k)) or sorted(names)
    listing = ", ".join(embedding_like[:12])
    if wanted is not None:
        if wanted not in names:
            raise EmbeddingNotFound(f"{model} has no tensor {wanted!r}; candidates are: {listing}")
        return wanted, "named by the caller"
    head, embedding = _first_match(HEADS, names, model), _first_match(INPUTS, names, model)
    if head:
        return head, "output head"
    if embedding is None:
        raise EmbeddingNotFound(f"{model} holds no known output embedding; name one with tensor=, among: {listing}")
    if config.get("tie_word_embeddings") is False:
        raise EmbeddingNotFound(
            f"{model} does not tie its output embedding to its input embedding and stores no head; "
            f"to measure the input embedding instead, pass tensor={embedding!r}"
        )
    return embedding, "tied input embedding"


def no_safetensors(model: str, files: Iterable[str]) -> str:
    """Why a checkpoint without safetensors is refused."""
    pickled = [f for f in files if f.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    if pickled:
        return (
            f"{model} holds pickled weights only ({pickled[0]}); loading a pickle can run arbitrary code, so it is "
            f"refused. To convert it where you trust it: AutoModelForCausalLM.from_pretrained(X).save_pretrained(Y)"
        )
    return f"{model} holds neither {SINGLE} nor {INDEX}; expected a folder written by save_pretrained"


def _first_match(candidates: Iterable[str], names: list[str], model: str) -> str | None:
    for candidate in candidates:
        found = [k for k in names if k == candidate or k.endswith("." + candidate)]
        if len(found) > 1:
            raise EmbeddingNotFound(f"{model} holds several: {', '.join(sorted(found))}; choose one with tensor=")
        if found:
            return found[0]
    return None


def _open_file(path: Path, tensor: str | None) -> EmbeddingSource:
    facts = {"source": "local file", "path": str(path)}
    if path.suffix == ".safetensors":
        names = _names(path)
        key, role = (
            (names[0], "only tensor") if len(names) == 1 and not tensor else find_tensor(names, {}, path.name, tensor)
        )
        return open_safetensors(path, key, name=path.stem, provenance={**facts, "role": role})
    if path.suffix != ".npy":
        raise ModelUnavailable(f"{path} is not a kind of file that is read here; expected .safetensors or .npy")
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ModelUnavailable(f"{path} is not a plain numeric array ({error}); save it with np.save") from None
    if matrix.dtype.kind not in "fiu":
        raise ModelUnavailable(f"{path} holds {matrix.dtype} values; expected numbers")
    n, m = _matrix_shape(matrix.shape, path.name)
    return EmbeddingSource(
        path.stem,
        path.stem,
        n,
        m,
        lambda a, b: torch.from_numpy(np.array(matrix[a:b])),
        {**facts, "file": path.name, "dtype": str(matrix.dtype)},
    )


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise ModelUnavailable(f"{path} is damaged or not a safetensors file ({error}); fetch it again") from None


def _names(path: Path) -> list[str]:
    with _open(path) as file:
        return list(file.keys())


def _matrix_shape(shape: tuple[int, ...], what: str) -> tuple[int, int]:
    if len(shape) != 2:
        raise EmbeddingNotFound(f"{what} has shape {list(shape)}; an embedding is a matrix (vocabulary, width)")
    return shape[0], shape[1]

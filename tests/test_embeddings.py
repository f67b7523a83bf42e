"""Finding and reading output embeddings: real architectures saved to disk, files, and a hub of our own."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file

from evolm.instruments.embeddings import (
    INDEX,
    EmbeddingNotFound,
    EmbeddingSource,
    ModelUnavailable,
    find_tensor,
    open_output_embedding,
)

VOCABULARY = 97
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA = {**SMALL, "intermediate_size": 32, "num_key_value_heads": 1}
GPT2 = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
MODELS = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2, "transformer.wte.weight"),
    "gpt2-base": ("GPT2Model", "GPT2Config", GPT2, "wte.weight"),
    "pythia": (
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        {**SMALL, "intermediate_size": 32, "tie_word_embeddings": False},
        "embed_out.weight",
    ),
    "opt": ("OPTForCausalLM", "OPTConfig", {**SMALL, "ffn_dim": 32}, "model.decoder.embed_tokens.weight"),
    "opt-350m": (
        "OPTForCausalLM",
        "OPTConfig",
        {**SMALL, "ffn_dim": 32, "word_embed_proj_dim": 8},
        "model.decoder.embed_tokens.weight",
    ),
    "qwen2-tied": (
        "Qwen2ForCausalLM",
        "Qwen2Config",
        {**LLAMA, "tie_word_embeddings": True},
        "model.embed_tokens.weight",
    ),
    "qwen2-untied": ("Qwen2ForCausalLM", "Qwen2Config", {**LLAMA, "tie_word_embeddings": False}, "lm_head.weight"),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {**LLAMA, "tie_word_embeddings": False}, "lm_head.weight"),
    "bert": ("BertModel", "BertConfig", {**SMALL, "intermediate_size": 32}, "embeddings.word_embeddings.weight"),
    "bert-mlm": (
        "BertForMaskedLM",
        "BertConfig",
        {**SMALL, "intermediate_size": 32},
        "bert.embeddings.word_embeddings.weight",
    ),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {"vocab_size": VOCABULARY, "d_model": 16, "num_layers": 1, "num_heads": 2, "d_ff": 32, "d_kv": 8},
        "shared.weight",
    ),
}


def build(name: str) -> Any:
    model, config, options, _ = MODELS[name]
    torch.manual_seed(0)
    return getattr(transformers, model)(getattr(transformers, config)(**options))


def whole(source: EmbeddingSource, rows: int = 10) -> torch.Tensor:
    return torch.cat(list(source.blocks(rows)))


@pytest.fixture(autouse=True)
def _private_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLM_CACHE", str(tmp_path / "evolm-cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf-cache"))


@pytest.mark.parametrize("shard_size", ["5KB", "1GB"])
@pytest.mark.parametrize("name", MODELS)
def test_each_architecture_gives_the_matrix_that_the_model_itself_uses(
    name: str, shard_size: str, tmp_path: Path
) -> None:
    model = build(name)
    model.save_pretrained(tmp_path / name, max_shard_size=shard_size)
    assert (tmp_path / name / INDEX).exists() == (shard_size == "5KB")
    source = open_output_embedding(tmp_path / name)
    expected = (model.get_output_embeddings() or model.get_input_embeddings()).weight
    assert source.tensor == MODELS[name][3]
    assert (source.n, source.m) == tuple(expected.shape)
    assert torch.equal(whole(source), expected)


def test_projected_embedding_says_that_its_width_is_not_the_models(tmp_path: Path) -> None:
    build("opt-350m").save_pretrained(tmp_path)
    assert open_output_embedding(tmp_path).provenance["note"] == "rows have width 8; the model's hidden width is 16"


def test_only_the_shard_that_holds_the_tensor_is_needed(tmp_path: Path) -> None:
    model = build("llama")
    model.save_pretrained(tmp_path, max_shard_size="5KB")
    home = json.loads((tmp_path / INDEX).read_text())["weight_map"]["lm_head.weight"]
    for shard in tmp_path.glob("*.safetensors"):
        if shard.name != home:
            shard.unlink()
    assert torch.equal(whole(open_output_embedding(tmp_path)), model.lm_head.weight)
    (tmp_path / home).unlink()
    with pytest.raises(ModelUnavailable, match=f"{home} is missing"):
        open_output_embedding(tmp_path)


def test_untied_model_saved_without_its_head_is_refused_unless_a_tensor_is_named(tmp_path: Path) -> None:
    model = build("pythia").gpt_neox
    model.save_pretrained(tmp_path)
    with pytest.raises(EmbeddingNotFound, match=r"pass tensor='embed_in.weight'"):
        open_output_embedding(tmp_path)
    source = open_output_embedding(tmp_path, tensor="embed_in.weight")
    assert torch.equal(whole(source), model.embed_in.weight)
    assert source.provenance["role"] == "named by the caller"


def test_head_wins_over_input_embedding_behind_any_prefix() -> None:
    names = ["language_model.model.embed_tokens.weight", "language_model.lm_head.weight"]
    assert find_tensor(names, {}, "x") == ("language_model.lm_head.weight", "output head")
    assert find_tensor(names[:1], {}, "x") == ("language_model.model.embed_tokens.weight", "tied input embedding")


@pytest.mark.parametrize(
    ("names", "wanted", "message"),
    [
        (["layers.0.weight", "my_embedding"], None, "name one with tensor=, among: my_embedding"),
        (["a.embed_tokens.weight", "b.embed_tokens.weight"], None, "choose one with tensor="),
        (["lm_head.weight"], "lm_head.wieght", "no tensor 'lm_head.wieght'; candidates are: lm_head.weight"),
    ],
)
def test_unknown_or_ambiguous_tensors_are_listed(names: list[str], wanted: str | None, message: str) -> None:
    with pytest.raises(EmbeddingNotFound, match=re.escape(message)):
        find_tensor(names, {}, "x", wanted)


def test_npy_and_single_safetensors_files_are_read(tmp_path: Path) -> None:
    x = torch.arange(12.0).reshape(4, 3)
    np.save(tmp_path / "a.npy", x.numpy())
    save_file({"anything": x}, tmp_path / "b.safetensors")
    a, b = open_output_embedding(tmp_path / "a.npy"), open_output_embedding(str(tmp_path / "b.safetensors"))
    assert torch.equal(whole(a, 3), x)
    assert torch.equal(whole(b, 3), x)
    assert a.sha256() == b.sha256() != EmbeddingSource.from_tensor(x + 1, "c").sha256()


def test_bfloat16_is_read_and_hashed_as_stored(tmp_path: Path) -> None:
    x = torch.randn(5, 3).bfloat16()
    save_file({"lm_head.weight": x}, tmp_path / "x.safetensors")
    source = open_output_embedding(tmp_path / "x.safetensors")
    assert source.provenance["dtype"] == "BF16"
    assert torch.equal(whole(source, 2), x)
    assert len(source.sha256()) == 64


def test_pickles_are_refused_wherever_they_hide(tmp_path: Path) -> None:
    np.save(tmp_path / "object.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(ModelUnavailable, match="not a plain numeric array"):
        open_output_embedding(tmp_path / "object.npy")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"never opened")
    with pytest.raises(ModelUnavailable, match="pickled weights only"):
        open_output_embedding(tmp_path / "model")
    with pytest.raises(ModelUnavailable, match="not a kind of file"):
        open_output_embedding(tmp_path / "model" / "pytorch_model.bin")


def test_damaged_missing_and_shapeless_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"\x00" * 40)
    save_file({"x": torch.zeros(3)}, tmp_path / "vector.safetensors")
    np.save(tmp_path / "words.npy", np.array([["a", "b"]]))
    with pytest.raises(ModelUnavailable, match=r"bad\.safetensors is damaged"):
        open_output_embedding(tmp_path / "bad.safetensors")
    with pytest.raises(EmbeddingNotFound, match=r"shape \[3\]"):
        open_output_embedding(tmp_path / "vector.safetensors")
    with pytest.raises(ModelUnavailable, match="expected numbers"):
        open_output_embedding(tmp_path / "words.npy")
    with pytest.raises(FileNotFoundError, match=r"smollm2-135m.*hub id"):
        open_output_embedding(tmp_path / "nothing")
    with pytest.raises(ModelUnavailable, match="written by save_pretrained"):
        open_output_embedding(tmp_path)


class Hub:
    """A hub of one repository over real HTTP, with byte ranges, that remembers what was asked of it."""

    COMMIT = "c0ffee" + "0" * 34

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.cut_after, self.ranges_work = folder, [], None, True
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    asked: list[tuple[str, int, int]]
    cut_after: int | None

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        if request.path.startswith("/api/models/org/tiny/revision/") or request.path.startswith(
            "/api/models/org/tiny?"
        ):
            files = [{"rfilename": p.name, "size": p.stat().st_size} for p in self.folder.iterdir()]
            card = {"license": "mit"}
            info = {"id": "org/tiny", "sha": self.COMMIT, "siblings": files, "cardData": card, "tags": []}
            return self.send(request, 200, json.dumps(info).encode())
        path = self.folder / request.path.rpartition("/")[2]
        if not request.path.startswith(f"/org/tiny/resolve/{self.COMMIT}/") or not path.is_file():
            return self.send(request, 404, b"", {"X-Error-Code": "RepoNotFound"})
        content = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if asked is None or not self.ranges_work:
            self.asked.append((path.name, 0, len(content)))
            return self.send(request, 200, content)
        start, stop = int(asked[1]), int(asked[2]) + 1
        self.asked.append((path.name, start, stop))
        piece, cut = content[start:stop], self.cut_after
        if cut is not None and len(piece) > cut:
            self.cut_after = None
            return self.send(request, 206, piece[:cut], claim=len(piece))
        return self.send(request, 206, piece)

    @staticmethod
    def send(
        request: http.server.BaseHTTPRequestHandler,
        code: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        claim: int | None = None,
    ) -> None:
        request.send_response(code)
        for name, value in {"Content-Length": str(claim or len(body)), **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)
        request.close_connection = True

    def fetched(self, suffix: str = ".safetensors") -> int:
        return sum(stop - start for name, start, stop in self.asked if name.endswith(suffix))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub(tmp_path / "repository")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.mark.parametrize("shard_size", ["5KB", "1GB"])
def test_hub_model_is_read_by_the_bytes_of_one_tensor(hub: Hub, shard_size: str) -> None:
    model = build("pythia")
    model.save_pretrained(hub.folder, max_shard_size=shard_size)
    source = open_output_embedding("org/tiny")
    assert torch.equal(whole(source), model.get_output_embeddings().weight)
    shard = source.provenance["shard"]
    header = 8 + int.from_bytes((hub.folder / shard).read_bytes()[:8], "little")
    headers = header if shard_size == "5KB" else 2 * header  # without an index the header is also the index
    assert hub.fetched() == VOCABULARY * 16 * 4 + headers
    assert {name for name, *_ in hub.asked if name.endswith(".safetensors")} == {shard}
    assert source.provenance["revision"] == Hub.COMMIT
    assert source.provenance["licence"] == "mit"
    assert source.provenance["role"] == "output head"


def test_hub_tensor_is_fetched_once_and_serves_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")
    model.save_pretrained(hub.folder)
    open_output_embedding("org/tiny")
    fetched = hub.fetched()
    open_output_embedding("org/tiny")
    assert hub.fetched() == fetched
    hub.server.shutdown()
    hub.server.server_close()
    for revision in (None, Hub.COMMIT):
        assert torch.equal(whole(open_output_embedding("org/tiny", revision)), model.lm_head.weight)
    with pytest.raises(ModelUnavailable, match="hf download org/tiny"):
        open_output_embedding("org/tiny", "other-branch")


def test_broken_transfer_is_resumed_where_it_stopped(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolm.instruments.hub_tensor.CHUNK", 1000)
    model = build("llama")
    model.save_pretrained(hub.folder)
    hub.cut_after = 6000  # longer than the header: the tensor's own transfer is the one that breaks
    source = open_output_embedding("org/tiny")
    assert torch.equal(whole(source), model.lm_head.weight)
    (_, start, stop), (_, resumed, end) = hub.asked[-2:]
    assert (stop - start, resumed, end) == (VOCABULARY * 16 * 4, start + 6000, stop)


def test_server_without_ranges_leaves_nothing_behind(hub: Hub, tmp_path: Path) -> None:
    build("llama").save_pretrained(hub.folder)
    hub.ranges_work = False
    with pytest.raises(ModelUnavailable, match="ignores byte ranges"):
        open_output_embedding("org/tiny")
    assert not [p for p in (tmp_path / "evolm-cache").rglob("*") if p.is_file()]


def test_hub_model_with_pickled_weights_only_is_refused(hub: Hub) -> None:
    hub.folder.mkdir()
    (hub.folder / "pytorch_model.bin").write_bytes(b"never opened")
    with pytest.raises(ModelUnavailable, match="org/tiny holds pickled weights only"):
        open_output_embedding("org/tiny")


def test_unknown_repository_is_named(hub: Hub) -> None:
    with pytest.raises(ModelUnavailable, match="no public model org/typo"):
        open_output_embedding("org/typo")


def test_offline_error_names_the_model_and_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable, match=r"EleutherAI/pythia-70m is not on this machine.*hf download"):
        open_output_embedding("EleutherAI/pythia-70m")


def test_checkpoint_in_the_hugging_face_cache_is_read_without_a_request(hub: Hub, tmp_path: Path) -> None:
    model = build("qwen2-tied")
    cache = tmp_path / "hf-cache" / "models--org--tiny"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(Hub.COMMIT)
    model.save_pretrained(cache / "snapshots" / Hub.COMMIT)
    source = open_output_embedding("org/tiny")
    assert torch.equal(whole(source), model.model.embed_tokens.weight)
    assert source.provenance["revision"] == Hub.COMMIT
    assert hub.asked == []


def test_kept_tensor_is_a_plain_safetensors_file(hub: Hub, tmp_path: Path) -> None:
    build("gpt2").save_pretrained(hub.folder)
    open_output_embedding("org/tiny")
    (kept,) = (tmp_path / "evolm-cache").rglob("*.safetensors")
    with safe_open(kept, framework="np") as file:
        assert list(file.keys()) == ["transformer.wte.weight"]
        assert file.metadata()["repository"] == "org/tiny"

"""Fetch one tensor of a hub repository by byte range, and keep it in the user cache.

    source = open_hub("EleutherAI/pythia-70m", revision=None, tensor=None)

A language model's head is a few per cent of its checkpoint: the repository's file list and index say
which shard holds it, that shard's safetensors header says where, and only those bytes are requested.
A checkpoint that is already in the Hugging Face cache is read from there. The hub publishes hashes of
whole files only, so a part is checked for its length and its provenance records the file's hash.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from safetensors import safe_open

from evolm import paths
from evolm.instruments.embeddings import (
    CONFIG,
    INDEX,
    SINGLE,
    EmbeddingNotFound,
    EmbeddingSource,
    ModelUnavailable,
    find_tensor,
    no_safetensors,
    open_folder,
    open_safetensors,
)

CHUNK = 1 << 20
ATTEMPTS = 3
MAX_HEADER = 100_000_000  # the safetensors format's own limit, in bytes


def open_hub(repo: str, revision: str | None = None, tensor: str | None = None) -> EmbeddingSource:
    """The output embedding of hub repository `repo` at `revision` (default branch when None).

    Looks in the Hugging Face cache, then asks the hub, then falls back on what was fetched before.
    Raises `ModelUnavailable` naming the model and the command that gets it, or `EmbeddingNotFound`.
    """
    if source := _from_hugging_face_cache(repo, revision, tensor):
        return source
    folder = paths.cache() / "tensors" / repo.replace("/", "--")
    ref = folder / "refs" / quote(revision or "main", safe="")
    wanted = f"{quote(tensor, safe='')}.safetensors" if tensor else "output-embedding.safetensors"
    try:
        with _said_plainly(repo):
            info = _info(repo, revision)
    except ModelUnavailable:
        commit = ref.read_text() if ref.is_file() else revision or ""
        if not (folder / commit / wanted).is_file():
            raise
        return _open_kept(folder / commit / wanted, repo)
    kept = folder / info.sha / wanted
    if not kept.is_file():
        with _said_plainly(repo):
            _fetch(repo, info, tensor, kept)
    _write(ref, info.sha.encode())
    return _open_kept(kept, repo)


def _from_hugging_face_cache(repo: str, revision: str | None, tensor: str | None) -> EmbeddingSource | None:
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repo, CONFIG, revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    facts = {"source": "hub", "repository": repo, "revision": folder.name}
    try:
        return open_folder(folder, name=repo, tensor=tensor, provenance=facts)
    except ModelUnavailable:  # the snapshot is partial: this shard is not in it
        return None


def _info(repo: str, revision: str | None) -> Any:
    from huggingface_hub import HfApi

    return HfApi().model_info(repo, revision=revision, files_metadata=True)


def _fetch(repo: str, info: Any, tensor: str | None, target: Path) -> None:
    """Write the wanted tensor of `repo` to `target`, a safetensors file of its own, atomically."""
    siblings = {s.rfilename: s for s in info.siblings}
    if INDEX in siblings:
        weight_map: dict[str, str] = json.loads(_get(repo, info.sha, INDEX))["weight_map"]
    elif SINGLE in siblings:
        weight_map = dict.fromkeys(_header(repo, info.sha, SINGLE)[0], SINGLE)
    else:
        raise ModelUnavailable(no_safetensors(repo, siblings))
    config = json.loads(_get(repo, info.sha, CONFIG)) if CONFIG in siblings else {}
    key, role = find_tensor(weight_map, config, repo, tensor)
    shard = weight_map[key]
    header, data_start = _header(repo, info.sha, shard)
    if key not in header:
        raise ModelUnavailable(f"{repo} contradicts itself: its index places {key} in {shard}, which does not hold it")
    begin, end = header[key]["data_offsets"]
    card, lfs = info.card_data or {}, siblings[shard].lfs
    facts = {
        "source": "hub",
        "repository": repo,
        "revision": info.sha,
        "shard": shard,
        "shard_sha256": lfs.sha256 if lfs else "",
        "role": role,
        "licence": str(card.get("license") or "not stated"),
    }
    own = {key: {**header[key], "data_offsets": [0, end - begin]}, "__metadata__": facts}
    text = json.dumps(own).encode()
    text += b" " * (-len(text) % 8)
    with _atomic(target) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for chunk in _range(repo, info.sha, shard, data_start + begin, data_start + end, label=f"{repo} {key}"):
            file.write(chunk)


def _header(repo: str, commit: str, file: str) -> tuple[dict[str, Any], int]:
    """Parsed safetensors header of a remote file, without its metadata, and where its data starts."""
    size = int.from_bytes(b"".join(_range(repo, commit, file, 0, 8)), "little")
    if not 2 <= size <= MAX_HEADER:
        raise ModelUnavailable(f"{repo}: {file} is not a safetensors file (its header would be {size} bytes long)")
    header = json.loads(b"".join(_range(repo, commit, file, 8, 8 + size)))
    header.pop("__metadata__", None)
    return header, 8 + size


def _get(repo: str, commit: str, file: str) -> bytes:
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    response = get_session().get(hf_hub_url(repo, file, revision=commit), headers=build_hf_headers())
    hf_raise_for_status(response)
    return response.content


def _range(repo: str, commit: str, file: str, start: int, stop: int, label: str = "") -> Iterator[bytes]:
    """Bytes `start` to `stop` (excluded) of a remote file; resumes where a broken transfer stopped."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status
    from tqdm import tqdm

    url, done = hf_hub_url(repo, file, revision=commit), start
    with tqdm(total=stop - start, desc=label, unit="B", unit_scale=True, disable=None if label else True) as bar:
        for attempt in range(ATTEMPTS):
            headers = {**build_hf_headers(), "Range": f"bytes={done}-{stop - 1}", "Accept-Encoding": "identity"}
            try:
                with get_session().stream("GET", url, headers=headers) as response:
                    if response.status_code >= 400:
                        response.read()
                    hf_raise_for_status(response)
                    if response.status_code != 206:
                        raise ModelUnavailable(f"{repo}: the server ignores byte ranges; run: hf download {repo}")
                    for chunk in response.iter_bytes(CHUNK):
                        done += len(chunk)
                        bar.update(len(chunk))
                        yield chunk
            except ModelUnavailable:
                raise
            except Exception:  # the HTTP library, and so its error class, differs between hub versions
                if attempt == ATTEMPTS - 1:
                    raise
            if done == stop:
                return
    raise ModelUnavailable(f"{repo}: {file} ended {stop - done} bytes early, {ATTEMPTS} times; try again later")


@contextmanager
def _said_plainly(repo: str) -> Iterator[None]:
    """Turn whatever the hub client raises into one sentence that names the model and what to do."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except (ModelUnavailable, EmbeddingNotFound):
        raise
    except GatedRepoError:
        message = f"{repo} is gated: accept its licence at https://huggingface.co/{repo}, then run: hf auth login"
        raise ModelUnavailable(message) from None
    except RevisionNotFoundError:
        raise ModelUnavailable(f"{repo} has no such revision; see https://huggingface.co/{repo}/commits") from None
    except RepositoryNotFoundError:
        message = f"the hub has no public model {repo}; check the spelling, or run: hf auth login if it is private"
        raise ModelUnavailable(message) from None
    except Exception as error:
        reason = re.sub(r"\s+", " ", str(error)) or type(error).__name__
        raise ModelUnavailable(
            f"{repo} is not on this machine and the hub could not be reached ({reason[:200]}). Where there is a "
            f"network, run: hf download {repo} - or pass the path of a folder written by save_pretrained"
        ) from error


def _open_kept(path: Path, repo: str) -> EmbeddingSource:
    with safe_open(path, framework="pt") as file:
        facts, key = file.metadata(), next(iter(file.keys()))
    return open_safetensors(path, key, name=repo, provenance=facts)


def _write(path: Path, content: bytes) -> None:
    with _atomic(path) as file:
        file.write(content)


@contextmanager
def _atomic(target: Path) -> Iterator[Any]:
    """A binary file that appears at `target` only when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

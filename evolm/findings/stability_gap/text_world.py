"""Real text for the stability gap: general prose and medical prose, split by document, as tokens of one vocabulary.

    tokenizer = text_tokenizer()                             # 2,048 tokens of byte-level BPE
    data = text_rows("general", "train", length=128)         # TokenData to pre-train on
    heldout = text_rows("medical", "validation", length=128)
    trigram = NGram.count(text_stream("general", "train"), len(tokenizer)).fitted(heldout.tokens)

Everything is read from `data/text`, whose README names each source and its licence. `evolm.findings.stability_gap
.make_text` remakes it; `evolm.findings.stability_gap.text_probes` asks questions of the test documents.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from evolm import paths
from evolm.findings.stability_gap.corpora import as_data
from evolm.lm.token_data import TokenData
from evolm.lm.vocabulary import BOS, BOS_ID, EOS, EOS_ID, PAD, SEP, SPECIAL_TOKENS

Part = Literal["train", "validation", "test"]

#: The sources of each domain, one file each.
DOMAINS: dict[str, tuple[str, ...]] = {"general": ("speeches",), "medical": ("abstracts", "definitions")}
#: Share of each source's documents. Discounts and settings are chosen on validation; probes come from test.
SHARES: dict[Part, float] = {"train": 0.84, "validation": 0.06, "test": 0.10}
TOKENIZER = "tokenizer.json"
VOCABULARY = 2048


@dataclass(frozen=True)
class Document:
    """`credit` says whose the text is; `id` names it in its source, as in "pmid:33411714"."""

    id: str
    credit: str
    text: str


def text_folder() -> Path:
    """Where the corpora that travel with the project are."""
    return paths.resource("data") / "text"


def text_hashes() -> dict[str, str]:
    """File -> SHA-256 of every corpus and of the tokenizer."""
    files = [_file(source, None) for sources in DOMAINS.values() for source in sources]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (*files, text_folder() / TOKENIZER)}


def write_documents(documents: Iterable[Document], source: str, folder: Path) -> Path:
    """Write a source's file in `folder`: one JSON object a line, xz-compressed."""
    lines = "".join(json.dumps(asdict(document), ensure_ascii=False) + "\n" for document in documents)
    file = _file(source, folder)
    file.write_bytes(lzma.compress(lines.encode(), preset=9 | lzma.PRESET_EXTREME))
    return file


@lru_cache
def read_source(source: str, folder: Path | None = None) -> tuple[Document, ...]:
    """Every document of a source, in the order of its file. Raises ValueError for a name that there is not."""
    if not any(source in sources for sources in DOMAINS.values()):
        known = ", ".join(name for sources in DOMAINS.values() for name in sources)
        raise ValueError(f"there is no source {source!r}; expected one of {known}")
    text = lzma.decompress(_file(source, folder).read_bytes()).decode()
    return tuple(Document(**json.loads(line)) for line in text.split("\n") if line)


def split(domain: str, part: Part, folder: Path | None = None, *, source: str | None = None) -> list[Document]:
    """The documents of one part of a domain, or of one of its sources.

    Each source's documents are put in the order of their ids' SHA-256 and cut there by `SHARES`, so that no document
    is in two parts, and no seed moves one. Raises ValueError for a domain or part that there is not.
    """
    if domain not in DOMAINS or part not in SHARES:
        known = f"{', '.join(DOMAINS)} and {', '.join(SHARES)}"
        raise ValueError(f"there is no {part!r} part of {domain!r}; expected one of {known}")
    if source is not None and source not in DOMAINS[domain]:
        raise ValueError(f"{source!r} is no source of {domain}; expected one of {', '.join(DOMAINS[domain])}")
    ends = dict(zip(SHARES, accumulate(SHARES.values()), strict=True))
    found = []
    for name in DOMAINS[domain] if source is None else (source,):
        documents = read_source(name, folder)
        place = {document.id: rank for rank, document in enumerate(sorted(documents, key=_digest))}
        first = round((ends[part] - SHARES[part]) * len(documents))
        last = round(ends[part] * len(documents))
        found += [document for document in documents if first <= place[document.id] < last]
    return found


def train_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """Byte-level BPE of `VOCABULARY` tokens, the special ones first: no text is without tokens, and none is altered."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@lru_cache(maxsize=1)
def text_tokenizer() -> PreTrainedTokenizerFast:
    """The kept tokenizer, trained on the training parts of both domains."""
    return PreTrainedTokenizerFast(
        tokenizer_file=str(text_folder() / TOKENIZER),
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        sep_token=SEP,
        clean_up_tokenization_spaces=False,
    )


def encode(texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text as it stands, without <bos> or <eos>; a space goes before its first word."""
    backend: Any = text_tokenizer().backend_tokenizer
    return [encoding.ids for encoding in backend.encode_batch(list(texts), add_special_tokens=False)]


@lru_cache
def text_stream(domain: str, part: Part, source: str | None = None) -> NDArray[np.int64]:
    """`<bos> document <eos>` of every document of a part, end to end; of one source alone if it is named."""
    texts = [document.text for document in split(domain, part, source=source)]
    ids = [token for text in encode(texts) for token in (BOS_ID, *text, EOS_ID)]
    stream = np.array(ids, np.int64)
    stream.setflags(write=False)
    return stream


def text_rows(domain: str, part: Part, length: int, source: str | None = None) -> TokenData:
    """A part's stream cut into rows of `length` tokens, the last incomplete one left out.

    All but the first token of a row bear loss. Raises ValueError where the part is shorter than a row.
    """
    stream = text_stream(domain, part, source)
    rows = len(stream) // length
    if length < 2 or not rows:
        raise ValueError(f"rows of {length} tokens from {len(stream)} tokens; expected 2 to {len(stream)}")
    return as_data(stream[: rows * length].reshape(rows, length).copy())


def _file(source: str, folder: Path | None) -> Path:
    return (folder or text_folder()) / f"{source}.jsonl.xz"


def _digest(document: Document) -> str:
    return hashlib.sha256(document.id.encode()).hexdigest()

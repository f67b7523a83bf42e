"""Continuing an open model: its table, its scores against slow ones by hand, what it reads, and what it refuses."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from evolm.cli import main as evolm
from evolm.findings.stability_gap import open_model as module
from evolm.findings.stability_gap.open_model import Options, candidate_scores, nats_per_char, training_rows
from evolm.findings.stability_gap.text_probes import Probes, cloze_probes
from evolm.findings.stability_gap.text_world import Document, split
from evolm.instruments.causal_model import OpenModel, open_model
from evolm.instruments.dip import measure_dip
from evolm.instruments.dip_series import answered, read_probes
from evolm.lm.architecture import tiny_llama
from evolm.lm.checkpoint import load_checkpoint
from evolm.lm.train import TrainingDiverged, train_on_tokens

TINY = Options(steps=3, batch=2, length=16, rate=1e-2, probes=4, device="cpu")
POSITIONS = 160
COLUMNS = ["step", "seed", "medical", "general", "medical_loss_nats_per_char", "general_loss_nats_per_char", "n"]
QUESTIONS = [
    {"prompt": f"Question {i}: which organ pumps blood?", "choices": ["the heart", "liver", "bone"], "answer": i % 3}
    for i in range(6)
]


@pytest.fixture(autouse=True)
def _little_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six training documents of each domain, so that encoding them takes no time."""

    def first(domain: str, part: Any, **more: Any) -> list[Document]:
        documents = split(domain, part, **more)
        return [replace(d, text=d.text[:3000]) for d in documents[:6]] if part == "train" else documents

    monkeypatch.setattr(module, "split", first)


@cache
def tokenizer(bos: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE of another vocabulary than the chapter's, with or without a token before every text."""
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=700,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator([d.text for d in split("medical", "train")[:30]], trainer)
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


def saved(folder: Path, *, bos: bool = False, gpt2: bool = False, seed: int = 0) -> str:
    own = tokenizer(bos)
    if gpt2:
        torch.manual_seed(seed)
        size: dict[str, Any] = {"n_embd": 16, "n_layer": 1, "n_head": 2, "initializer_range": 0.5}
        config = GPT2Config(vocab_size=len(own), n_positions=POSITIONS, **size, resid_pdrop=0.5)
        GPT2LMHeadModel(config).save_pretrained(folder)
    else:
        model = tiny_llama(len(own), width=16, hidden=32, init_std=0.5, context=POSITIONS, seed=seed)
        model.save_pretrained(folder)
    own.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module", params=["plain", "bos", "gpt2"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenModel:
    folder = tmp_path_factory.mktemp("models") / request.param
    return open_model(saved(folder, bos=request.param == "bos", gpt2=request.param == "gpt2"), "cpu")


def files(folder: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def logprobs(model: OpenModel, ids: list[int]) -> list[float]:
    """log p of every token but the first, by the library's own forward pass, one row alone."""
    with torch.no_grad():
        logits = model.decoder.model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return [float(logits[at, token]) for at, token in enumerate(ids[1:])]


def ids_of(model: OpenModel, text: str) -> list[int]:
    return model.tokenizer(text, add_special_tokens=False).input_ids


def is_bos(model: OpenModel) -> bool:
    return model.tokenizer("x").input_ids[0] == 0


# --- the table ------------------------------------------------------------------------------------------------


def test_a_run_writes_the_documented_columns_step_0_first_and_leaves_the_base(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, table = files(base), tmp_path / "run.csv"
    options = ["--steps", "3", "--batch", "2", "--length", "16", "--rate", "1e-2", "--probes", "4", "--device", "cpu"]
    module.main([base, str(table), *options])
    found = pd.read_csv(table)
    assert list(found.columns) == COLUMNS
    assert found["step"].tolist() == [0, 1, 2, 3]
    assert found["n"].tolist() == [4] * 4
    assert found["medical"].isin([0, 0.25, 0.5, 0.75, 1]).all()
    assert found["medical_loss_nats_per_char"].nunique() == 4  # it was trained
    assert files(base) == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.csv"]
    assert capsys.readouterr().out.splitlines()[-1] == f"evolm measure dip {table} -p metric=medical"


def test_the_table_goes_through_the_instrument(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = tmp_path / "medqa.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    table = tmp_path / "run.csv"
    made = module.continue_open_model(base, table, replace(TINY, questions=str(questions)))
    pd.testing.assert_frame_equal(pd.read_csv(table), made, check_exact=False)
    assert made["questions_n"].tolist() == [6] * 4
    model = open_model(base, "cpu")
    assert made["questions"][0] == np.mean(answered(model, read_probes(str(questions))))
    found = measure_dip(made, draws=50)
    metrics = found.groupby("metric")["lower_is_better"].first().to_dict()
    assert metrics == {
        "medical": False, "general": False, "questions": False,
        "medical_loss_nats_per_char": True, "general_loss_nats_per_char": True,
    }  # fmt: skip
    # n is behind the shares alone, and the questions have their own
    for name, items in (("medical", "4 items"), ("questions", "6 items")):
        assert f"noise from {items} a point" in found.loc[found["metric"] == name].to_csv()
    assert "items a point" not in found[found["lower_is_better"]].to_csv()
    with pytest.raises(SystemExit) as stopped:
        evolm(["measure", "dip", str(table), "-p", "metric=medical"])
    assert stopped.value.code == 0
    assert "medical" in capsys.readouterr().out


def test_tables_of_several_seeds_join_into_runs(base: str, tmp_path: Path) -> None:
    tables = [module.continue_open_model(base, tmp_path / f"{s}.csv", replace(TINY, seed=s)) for s in (0, 1)]
    assert not tables[0]["medical_loss_nats_per_char"].equals(tables[1]["medical_loss_nats_per_char"])
    assert set(measure_dip(pd.concat(tables), metric="medical", draws=50)["runs"].dropna()) == {2}
    again = module.continue_open_model(base, tmp_path / "again.csv", TINY)
    pd.testing.assert_frame_equal(again, tables[0])


def test_an_interrupted_run_leaves_what_it_measured(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(*args: Any, **more: Any) -> Iterator[Any]:
        for snapshot in train_on_tokens(*args, **more):
            if snapshot.step == 3:
                raise KeyboardInterrupt
            yield snapshot

    monkeypatch.setattr(module, "train_on_tokens", stops)
    table = tmp_path / "run.csv"
    with pytest.raises(SystemExit, match=r"interrupted; what was measured is in .*run\.csv"):
        module.main([base, str(table), "--steps", "3", "--batch", "2", "--length", "16", "--probes", "4"])
    found = pd.read_csv(table)
    assert found["step"].tolist() == [0, 1, 2]
    assert found.notna().all(axis=None)
    assert len(measure_dip(found, metric="medical", draws=50))


def test_the_model_is_saved_with_what_made_it(base: str, tmp_path: Path) -> None:
    made = module.continue_open_model(base, tmp_path / "a.csv", replace(TINY, save=str(tmp_path / "end-3")))
    end = load_checkpoint(tmp_path / "end-3")
    assert end.lineage.stage == "continue_pretrain"
    assert end.lineage.settings["rate"] == TINY.rate
    assert end.lineage.settings["model"] == base
    model = OpenModel("end", open_model(str(tmp_path / "end-3"), "cpu").decoder, end.tokenizer)
    pieces = module._pieces("medical", 400, 0)
    assert nats_per_char(model, pieces) == pytest.approx(made["medical_loss_nats_per_char"].iloc[-1], rel=1e-6)


def test_dropout_is_off_where_it_is_measured_and_on_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    def watched(model: Any, *args: Any, **more: Any) -> Iterator[Any]:
        for snapshot in train_on_tokens(model, *args, **more):
            yield snapshot
            modes.append(model.training)  # after it was measured

    monkeypatch.setattr(module, "train_on_tokens", watched)
    found = module.continue_open_model(
        saved(tmp_path / "gpt2", gpt2=True), tmp_path / "a.csv", replace(TINY, rate=1e-9)
    )
    for column in ("medical_loss_nats_per_char", "general_loss_nats_per_char"):
        np.testing.assert_allclose(found[column], found[column][0], rtol=1e-5)
    assert modes == [True] * 3


# --- scores -----------------------------------------------------------------------------------------------------


def test_scores_are_those_of_one_row_at_a_time(opened: OpenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 8)
    probes = cloze_probes("medical", 12, seed=1)
    short = tuple(passage[-(20 + 5 * i) :].lstrip() for i, passage in enumerate(probes.passages[:6]))
    probes = replace(probes, passages=(*short, *probes.passages[6:]))
    found = candidate_scores(opened, probes)
    lengths = set()
    for row, (passage, words) in enumerate(zip(probes.passages, probes.candidates, strict=True)):
        most = max(len(ids_of(opened, f" {word}")) for words in probes.candidates for word in words)
        room = min(128, POSITIONS - most) - is_bos(opened)
        for column, word in enumerate(words):
            ids, after = ids_of(opened, passage)[-room:], ids_of(opened, f" {word}")
            whole = [*([0] if is_bos(opened) else []), *ids, *after]
            assert len(whole) <= POSITIONS
            lengths.add(len(whole) - len(after))
            expected = np.mean(logprobs(opened, whole)[-len(after) :])
            assert found[row, column] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert 128 in lengths  # left-truncated
    assert len(lengths) > 4
    assert len({round(float(score), 3) for score in found.ravel()}) > 40


def test_accuracy_is_of_the_best_candidate(base: str, tmp_path: Path) -> None:
    made = module.continue_open_model(base, tmp_path / "a.csv", replace(TINY, probes=20))
    model = open_model(base, "cpu")
    for domain in ("medical", "general"):
        probes: Probes = cloze_probes(domain, 20)
        scores = candidate_scores(model, probes)
        right = [list(row).index(max(row)) == answer for row, answer in zip(scores, probes.answers, strict=True)]
        assert made[domain][0] == pytest.approx(np.mean(right))


def test_nats_per_character_are_those_by_hand(opened: OpenModel) -> None:
    pieces = ["The patient was given insulin, naïvely.", "Fever and cough. " * 40, "Blood"]
    first, total, cut = 0 if is_bos(opened) else 1, 0.0, 0
    for piece in pieces:
        ids = [first, *ids_of(opened, piece)]
        begin = 0
        while begin < len(ids) - 1:  # windows that share one token: each is predicted once
            total -= sum(logprobs(opened, ids[begin : begin + POSITIONS]))
            begin += POSITIONS - 1
            cut += 1
    assert cut > len(pieces)
    expected = total / sum(len(piece) for piece in pieces)
    assert nats_per_char(opened, pieces) == pytest.approx(expected, rel=1e-5)


def test_a_uniform_model_costs_tokens_times_log_of_the_vocabulary(tmp_path: Path) -> None:
    model, text = open_model(saved(tmp_path / "flat"), "cpu"), "Fever and cough."
    with torch.no_grad():
        for parameter in model.decoder.model.parameters():
            parameter.zero_()
    expected = len(ids_of(model, text)) * np.log(len(tokenizer())) / len(text)
    assert nats_per_char(model, [text]) == pytest.approx(expected)


def test_held_out_pieces_are_of_test_documents_from_every_source() -> None:
    for domain, sources in (("medical", ("abstracts", "definitions")), ("general", ("speeches",))):
        pieces = module._pieces(domain, 8000, 3)
        assert pieces == module._pieces(domain, 8000, 3) != module._pieces(domain, 8000, 4)
        total = 0
        for source in sources:
            texts = [d.text for d in split(domain, "test", source=source)]
            given = sum(len(piece) for piece in pieces if any(piece in text for text in texts))
            assert 0 <= given - 8000 / len(sources) < 1000
            total += given
        assert total == sum(map(len, pieces))


# --- what is read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("replay", "general"), [(0.0, 0), (0.08, 3), (0.5, 20)])
def test_a_share_of_the_rows_is_general(replay: float, general: int) -> None:
    options = replace(TINY, steps=10, batch=4, replay=replay)
    rows = training_rows(tokenizer(), options).tokens
    assert rows.shape == (40, 16)
    known = {domain: every(domain, 16) for domain in ("medical", "general")}
    kinds = ["general" if tuple(row) in known["general"] else "medical" for row in rows.tolist()]
    assert all(tuple(row) in known[kind] for row, kind in zip(rows.tolist(), kinds, strict=True))
    assert kinds.count("general") == general
    assert "general" not in kinds[:general] or kinds[:general].count("general") < general  # mixed, not at one end
    assert not torch.equal(rows, training_rows(tokenizer(), replace(options, seed=1)).tokens)


def every(domain: str, length: int, bos: bool = False) -> set[tuple[int, ...]]:
    stream: list[int] = []
    for document in module.split(domain, "train"):
        ids = tokenizer(bos)(document.text, add_special_tokens=False).input_ids
        stream += [*([0] if bos else []), *ids, 1]
    return {tuple(stream[i : i + length]) for i in range(0, len(stream) - length + 1, length)}


def test_general_text_is_the_control_and_documents_begin_as_the_tokenizer_begins_them() -> None:
    rows = training_rows(tokenizer(True), replace(TINY, text="general", steps=4)).tokens
    assert {tuple(row) for row in rows.tolist()} <= every("general", 16, bos=True)
    assert not {tuple(row) for row in rows.tolist()} & every("medical", 16, bos=True)


def test_no_row_comes_again_before_all_have_come() -> None:
    known = len(every("medical", 16))
    rows = training_rows(tokenizer(), replace(TINY, steps=known + 5, batch=2)).tokens
    counts = np.unique(rows.numpy(), axis=0, return_counts=True)[1]
    assert len(counts) == known
    assert set(counts) == {2, 3}
    assert counts.sum() == 2 * known + 10


# --- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": "medicine"}, "there is no text 'medicine'; expected one of general, medical"),
        ({"steps": 0}, r"'steps': 0.* all must be above 0"),
        ({"rate": -1.0}, r"'rate': -1.0.* all must be above 0"),
        ({"replay": 1.0}, r"replay = 1.0; expected a share from 0 to below 1"),
        ({"replay": 0.1, "text": "general"}, "the text is general already: leave --replay out"),
        ({"length": POSITIONS + 1}, f"length = {POSITIONS + 1}, and .*base has {POSITIONS} positions"),
        ({"length": 1}, "length = 1 must be from 2"),
        ({"probes": 10**4}, "ask for fewer probes"),
        ({"questions": "absent.jsonl"}, "there is no file of probes absent.jsonl"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(base: str, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        module.continue_open_model(base, tmp_path / "run.csv", replace(TINY, **change))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here")
def test_a_gpu_that_is_not_there_is_refused(base: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no cuda here: say --device cpu"):
        module.continue_open_model(base, tmp_path / "run.csv", replace(TINY, device="cuda"))


def test_too_little_text_is_refused(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "split", lambda *args, **more: [Document("a", "", "Fever.")])
    with pytest.raises(ValueError, match=r"medical text has \d tokens; length = 16 must be from 2 to that"):
        module.continue_open_model(base, tmp_path / "run.csv", TINY)


def test_a_model_without_tokenizer_is_refused(tmp_path: Path) -> None:
    tiny_llama(300, width=16, hidden=32, seed=0).save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match=r"bare (has no tokenizer|cannot be opened)"):
        module.continue_open_model(str(tmp_path / "bare"), tmp_path / "run.csv", TINY)


def test_a_pickled_model_is_refused(base: str, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name, content in files(base).items():
        if name != "model.safetensors":
            (tmp_path / "old" / name).write_bytes(content)
    torch.save(open_model(base, "cpu").decoder.model.state_dict(), tmp_path / "old" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot be opened as a language model"):
        module.continue_open_model(str(tmp_path / "old"), tmp_path / "run.csv", TINY)


def test_what_is_there_is_not_written_over_unless_told(base: str, tmp_path: Path) -> None:
    table = tmp_path / "run.csv"
    table.write_text("precious")
    with pytest.raises(SystemExit, match=r"error: .*run\.csv exists; name another file, or say --overwrite"):
        module.main([base, str(table), "--device", "cpu"])
    assert table.read_text() == "precious"
    for place in (tmp_path / "run.txt", tmp_path / "absent" / "run.csv"):
        with pytest.raises(ValueError, match=r"cannot write .*; name a \.csv in a folder"):
            module.continue_open_model(base, place, TINY)
    with pytest.raises(ValueError, match="exists; name another folder"):
        module.continue_open_model(base, tmp_path / "a.csv", replace(TINY, save=str(tmp_path)))
    module.continue_open_model(base, table, replace(TINY, overwrite=True))
    assert pd.read_csv(table)["step"].tolist() == [0, 1, 2, 3]


def test_a_loss_that_is_no_number_is_said_and_what_was_measured_stays(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*args: Any, **more: Any) -> Iterator[Any]:
        raise TrainingDiverged("the loss is nan at update 1")
        yield

    monkeypatch.setattr(module, "train_on_tokens", diverges)
    with pytest.raises(SystemExit, match="error: the loss is nan at update 1"):
        module.main([base, str(tmp_path / "run.csv"), "--steps", "1", "--length", "16", "--probes", "2"])
    assert pd.read_csv(tmp_path / "run.csv")["step"].tolist() == [0]


# --- its place --------------------------------------------------------------------------------------------------


def test_no_other_module_imports_it() -> None:
    """A record's key holds the sources of what an experiment imports; this must never be among them."""
    package = Path(module.__file__).parents[2]
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names += [f"{node.module}.{name}" for name in names] + [node.module]
            assert "evolm.findings.stability_gap.open_model" not in names, file


def test_every_option_of_the_command_line_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def called(*args: Any) -> pd.DataFrame:
        calls.append(args)
        return pd.DataFrame()

    monkeypatch.setattr(module, "continue_open_model", called)
    told = Options(7, 3, 32, 1e-4, 0.08, "general", "cuda:1", 5, 9, "q.jsonl", "end", True)
    options = [
        word for name, value in asdict(told).items() if name != "overwrite" for word in (f"--{name}", str(value))
    ]
    module.main(["some/model", "run.csv", *options, "--overwrite"])
    module.main(["some/model", "run.csv"])
    assert calls == [("some/model", Path("run.csv"), told), ("some/model", Path("run.csv"), Options())]


def test_help_names_every_option() -> None:
    command = [sys.executable, "-m", "evolm.findings.stability_gap.open_model", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for option in ("steps", "batch", "length", "rate", "replay", "text", "device", "seed", "questions", "save"):
        assert f"--{option}" in said

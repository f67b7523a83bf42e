"""Continues an open model on the kept medical text and writes a table that `evolm measure dip` reads. For a GPU.

    python -m evolm.findings.stability_gap.open_model smollm2-135m run.csv --steps 200 --batch 8 --replay 0.08
    evolm measure dip run.csv -p metric=medical

The model (folder, asset or hub id; safetensors) keeps its own tokenizer. The asset smollm2-135m is an instruct model in
four bits; a base such as HuggingFaceTB/SmolLM2-135M is nearer to the paper. `--text general` is the control. To judge a
dip over runs, give each another `--seed` and join their tables. No chapter or record uses this module.

Columns: step, seed; medical, general: accuracy on n cloze probes each of test documents; questions: on questions_n
multiple-choice questions, if given; medical_loss_nats_per_char, general_loss_nats_per_char: cost of held-out text in
any tokenizer ("loss" tells `measure dip` that less is better). An open model may have read it all: read changes only.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from tqdm import tqdm

from evolm.findings.stability_gap.arms import BETAS, DECAY
from evolm.findings.stability_gap.corpora import as_data
from evolm.findings.stability_gap.probes import measured_steps
from evolm.findings.stability_gap.text_experiment import SPACING
from evolm.findings.stability_gap.text_probes import BATCH, Floats, Probes, cloze_probes
from evolm.findings.stability_gap.text_world import DOMAINS, split
from evolm.instruments.causal_model import OpenModel, logits_room, open_model
from evolm.instruments.dip_series import answered, read_probes
from evolm.lm.checkpoint import save_checkpoint
from evolm.lm.forward import decoder_for
from evolm.lm.lineage import Lineage
from evolm.lm.token_data import IGNORED, TokenData
from evolm.lm.train import BAR_AFTER, TrainingDiverged, TrainSettings, train_on_tokens

WARMUP = 10
#: Most tokens of a passage before its gap, and of a row of held-out text; its pieces' characters; those for each probe.
CONTEXT, WINDOW, PIECE, CHARACTERS_PER_PROBE = 128, 256, 1000, 100


@dataclass(frozen=True)
class Options:
    """What a run is told; on the command line every field is an option."""

    steps: int = field(default=200, metadata={"help": "updates"})
    batch: int = field(default=8, metadata={"help": "rows per update"})
    length: int = field(default=256, metadata={"help": "tokens of a row"})
    rate: float = field(default=3e-4, metadata={"help": "peak learning rate"})
    replay: float = field(default=0.0, metadata={"help": "share of general rows (the paper's strategy: 0.08)"})
    text: str = field(default="medical", metadata={"help": "what is read: medical, or general as a control"})
    device: str = field(default="", metadata={"help": "cuda, cuda:1 or cpu; found where left out"})
    seed: int = field(default=0, metadata={"help": "of rows, their order, probes and held-out text"})
    probes: int = field(default=400, metadata={"help": "cloze probes of each domain; held-out text goes along"})
    questions: str = field(default="", metadata={"help": "JSON lines with prompt, choices, answer"})
    save: str = field(default="", metadata={"help": "folder to save the continued model in"})
    overwrite: bool = field(default=False, metadata={"help": "replace the CSV file"})

    def check(self, table: Path) -> None:
        """Raises ValueError before anything is loaded."""
        counts = {name: getattr(self, name) for name in ("steps", "batch", "probes", "rate")}
        wrong = [
            (min(counts.values()) <= 0, f"{counts}; all must be above 0"),
            (self.text not in DOMAINS, f"there is no text {self.text!r}; expected one of {', '.join(DOMAINS)}"),
            (not 0 <= self.replay < 1, f"replay = {self.replay}; expected a share from 0 to below 1"),
            (self.replay and self.text == "general", "the text is general already: leave --replay out"),
            ("cuda" in self.device and not torch.cuda.is_available(), "there is no cuda here: say --device cpu"),
            (table.suffix != ".csv" or not table.parent.is_dir(), f"cannot write {table}; name a .csv in a folder"),
            (table.exists() and not self.overwrite, f"{table} exists; name another file, or say --overwrite"),
            (self.save and Path(self.save).exists(), f"{self.save} exists; name another folder to save the model in"),
        ]
        if found := next((message for bad, message in wrong if bad), None):
            raise ValueError(found)


def continue_open_model(name: str, table: Path, options: Options) -> pd.DataFrame:
    """Continue the model `name`, measuring before and during; `table` is written after every measurement."""
    options.check(table)
    steps, seed, count = options.steps, options.seed, options.probes
    questions = read_probes(options.questions) if options.questions else []
    model = _opened(name, options)
    data = training_rows(model.tokenizer, options)
    settings = TrainSettings(
        steps=steps, batch_size=options.batch, lr=options.rate, warmup_steps=min(WARMUP, steps // 2), final_lr=0.1,
        schedule="cosine", betas=BETAS, weight_decay=DECAY, dtype="bfloat16", checkpoint_every=1, seed=seed,
    )  # fmt: skip
    probes = {domain: cloze_probes(domain, count, seed=seed) for domain in ("medical", "general")}
    pieces = {domain: _pieces(domain, count * CHARACTERS_PER_PROBE, seed) for domain in probes}
    rows: list[dict[str, Any]] = []

    def measure(step: int) -> None:
        model.decoder.model.eval()
        scores = {domain: candidate_scores(model, asked, f"step {step}, {domain}") for domain, asked in probes.items()}
        row: dict[str, Any] = {domain: (scores[domain].argmax(1) == probes[domain].answers).mean() for domain in probes}
        row |= {"questions": np.mean(answered(model, questions)), "questions_n": len(questions)} if questions else {}
        row |= {f"{domain}_loss_nats_per_char": nats_per_char(model, texts) for domain, texts in pieces.items()}
        model.decoder.model.train()
        rows.append({"step": step, "seed": seed, **row, "n": count})
        temporary = table.with_name(f".{table.name}.tmp")  # so that an interruption leaves a whole table
        pd.DataFrame(rows).to_csv(temporary, index=False)
        os.replace(temporary, table)

    measure(0)
    for snapshot in train_on_tokens(model.decoder.model, data, settings, label=name):
        if snapshot.step in measured_steps(steps, SPACING):
            measure(snapshot.step)
    if options.save:
        facts = {"model": name, **asdict(options)}
        lineage = Lineage(stage="continue_pretrain", data=data.hash, settings=facts, steps=steps)
        save_checkpoint(options.save, model.decoder.model, model.tokenizer, lineage)
    return pd.DataFrame(rows)


def _opened(name: str, options: Options) -> OpenModel:
    """The model with float32 weights, as small updates need; training multiplies in bfloat16."""
    place = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    opened = open_model(name, "cpu")
    if opened.tokenizer.eos_token_id is None or not all(encode(opened.tokenizer, ["patient", " patient"])):
        raise ValueError(f"{name} has no tokenizer that encodes words and ends texts; give a model saved with its own")
    if options.length > (most := opened.decoder.max_length):
        raise ValueError(f"length = {options.length}, and {name} has {most} positions; give a shorter --length")
    return OpenModel(name, decoder_for(opened.decoder.model.float().to(place)), opened.tokenizer)


def training_rows(tokenizer: Any, options: Options) -> TokenData:
    """Rows of all updates, a share `replay` general, from documents joined by the end token; none again before all."""
    rng, rows, drawn = np.random.default_rng([options.seed, 7]), options.steps * options.batch, []
    first, last, length = opening(tokenizer), tokenizer.eos_token_id, options.length
    replayed = round(options.replay * rows)
    for domain, count in ((options.text, rows - replayed), ("general", replayed)):
        if count:
            documents = encode(tokenizer, [document.text for document in split(domain, "train")])
            stream = np.array([token for ids in documents for token in (*first, *ids, last)], np.int64)
            if not 2 <= length <= len(stream):
                raise ValueError(f"{domain} text has {len(stream)} tokens; length = {length} must be from 2 to that")
            every = stream[: len(stream) // length * length].reshape(-1, length)
            passes = [rng.permutation(len(every)) for _ in range(0, count, len(every))]
            drawn.append(every[np.concatenate(passes)[:count]])
    return as_data(np.concatenate(drawn)[rng.permutation(rows)])


def candidate_scores(model: OpenModel, probes: Probes, label: str = "probes") -> Floats:
    """(probes, choices) mean log probability per token of each candidate after the last tokens of its passage."""
    first, choices = opening(model.tokenizer), len(probes.candidates[0])
    passages = encode(model.tokenizer, [passage for passage in probes.passages for _ in range(choices)])
    candidates = [word for words in probes.candidates for word in words]
    texts = [f"{probes.passages[row // choices]} {word}" for row, word in enumerate(candidates)]
    words = [ids[len(p) :] for ids, p in zip(encode(model.tokenizer, texts), passages, strict=True)]
    room = min(CONTEXT, model.decoder.max_length - max(map(len, words))) - len(first)
    rows = [([*first, *passage[-room:]], word) for passage, word in zip(passages, words, strict=True)]
    return -(_nats(model, rows, choices, label) / [len(word) for word in words]).reshape(-1, choices)


def nats_per_char(model: OpenModel, pieces: Sequence[str], label: str = "text") -> float:
    """What all tokens of the pieces cost, each after those before it in its window, over the pieces' characters."""
    first, window = opening(model.tokenizer) or [model.tokenizer.eos_token_id], min(WINDOW, model.decoder.max_length)
    texts = [[*first, *ids] for ids in encode(model.tokenizer, pieces)]
    windows = sorted((t[i : i + window] for t in texts for i in range(0, len(t) - 1, window - 1)), key=len)
    return float(_nats(model, [(ids[:1], ids[1:]) for ids in windows], 1, label).sum() / sum(map(len, pieces)))


@torch.inference_mode()
def _nats(model: OpenModel, rows: Sequence[tuple[list[int], list[int]]], group: int, label: str) -> Floats:
    """(rows,) what the second part of each row costs after the first, which `group` rows on end share."""
    found, longest = np.zeros(len(rows)), max(len(after) for _, after in rows)
    size = min(BATCH // group, max(1, logits_room(model) // (group * longest * model.decoder.vocab_size)))
    before, numbers = np.array([len(first) for first, _ in rows[::group]]), np.arange(len(rows)).reshape(-1, group)
    same = [numbers[before == length] for length in np.unique(before)]  # first parts of one length go together
    batches = [some[i : i + size].ravel() for some in same for i in range(0, len(some), size)]
    for batch in tqdm(batches, desc=label, leave=False, delay=BAR_AFTER):
        start, end = len(rows[batch[0]][0]), max(len(rows[row][1]) for row in batch)
        tokens = torch.tensor([[*rows[i][0], *rows[i][1], *[0] * (end - len(rows[i][1]))] for i in batch])
        costly = torch.arange(end) < torch.tensor([[len(rows[row][1])] for row in batch])
        targets = tokens[:, start:].masked_fill(~costly, IGNORED).to(model.decoder.device)
        logits = model.decoder.logits(tokens[:, :-1].to(model.decoder.device), start - 1, group)  # (rows, end, vocab)
        nats = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none", ignore_index=IGNORED)
        found[batch] = nats.double().sum(1).cpu().numpy()
    return found


def _pieces(domain: str, characters: int, seed: int) -> list[str]:
    """Pieces of test documents, drawn from each source of a domain until it has given its share of `characters`."""
    rng, found = np.random.default_rng([seed, 8]), []
    for source in DOMAINS[domain]:
        texts = [document.text for document in split(domain, "test", source=source)]
        every = [text[i : i + PIECE] for text in texts for i in range(0, len(text), PIECE)]
        drawn = [every[place] for place in rng.permutation(len(every))]
        given = np.cumsum([0, *map(len, drawn)])
        found += drawn[: int((given < characters / len(DOMAINS[domain])).sum())]
    return found


def encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text as it stands."""
    return tokenizer(list(texts), add_special_tokens=False, verbose=False).input_ids


def opening(tokenizer: Any) -> list[int]:
    """The token that a tokenizer puts before every text, if it does."""
    start: list[int] = tokenizer("a").input_ids[:1]
    return start if start == [tokenizer.bos_token_id] else []


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder, asset or hub id")
    parser.add_argument("table", type=Path, help="CSV file to write")
    for one in fields(Options):
        kind: Any = {"action": "store_true"} if one.default is False else {"type": type(one.default)}
        parser.add_argument(f"--{one.name}", default=one.default, help=one.metadata["help"], **kind)
    name, table, *told = vars(parser.parse_args(arguments)).values()  # in the order of the fields
    try:
        print(continue_open_model(name, table, Options(*told)).to_string(index=False, float_format="%.4f"))
    except KeyboardInterrupt:
        raise SystemExit(f"interrupted; what was measured is in {table}") from None
    except (ValueError, OSError, TrainingDiverged) as error:
        raise SystemExit(f"error: {error}") from None
    print(f"evolm measure dip {table} -p metric=medical")


if __name__ == "__main__":
    main()

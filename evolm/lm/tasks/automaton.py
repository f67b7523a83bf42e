"""Automaton routing: the prompt hints at one of several methods, and only the right one gives the answer.

    task = AutomatonTask(AutomatonSettings(cue=0.5))
    problem = task.problems("test", 500, seed=0)[0]
    problem.prompt     # "<bos> c2 s4 s0 ... <sep>"            cue, x_0..x_K
    problem.answer     # "s7 s1 s12 s0 s3 s3"                  last states of the chain; a completion reads
                       # "m2 s5 s9 s7 s1 s12 s0 s3 s3 <eos>"   style, y_1..y_K

Every token is one word. The cue slot may hold a style token instead, which names the method outright
(`forced_prompts`). Which method a problem needs is hidden but for its cue; `routing` has the closed form of what
routing by the cue can reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from evolm.lm.tasks.automaton_world import AutomatonSettings, AutomatonWorld, Draw
from evolm.lm.tasks.base import Array, Chance, Grades, Problem, Split, as_numpy, check_rows, distinct
from evolm.lm.tasks.blind_search import answer_marginal, random_routing, step_blind
from evolm.lm.vocabulary import word_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

MODES = ("careful", "sloppy")


class AutomatonTask:
    """The task of one world and format. All formats and cue levels of a world share one vocabulary."""

    def __init__(self, settings: AutomatonSettings | None = None) -> None:
        self.settings = s = settings or AutomatonSettings()
        self.world = AutomatonWorld(s)
        self.name = "automaton"
        self.max_new_tokens = s.completion_length
        words = [f"c{m}" for m in range(s.methods)] + [f"m{m}" for m in range(s.methods)]
        words += [*MODES, *(f"s{i}" for i in range(s.states))]
        self.tokenizer = word_tokenizer(words)
        self.pad, self.bos, self.eos, self.sep = (self._ids([word])[0] for word in ("<pad>", "<bos>", "<eos>", "<sep>"))
        self.cues = self._ids([f"c{m}" for m in range(s.methods)])  # (method,) token ids, as are the next three
        self.styles = self._ids([f"m{m}" for m in range(s.methods)])
        self.states = self._ids([f"s{i}" for i in range(s.states)])
        self.modes = self._ids(MODES)
        self.vocab_size = len(self.tokenizer)
        self._method_of_token = np.full(self.vocab_size, -1)
        self._method_of_token[self.styles] = np.arange(s.methods)
        self._state_of_token = np.full(self.vocab_size, -1)
        self._state_of_token[self.states] = np.arange(s.states)

    def _ids(self, words: Sequence[str]) -> Array:
        return np.array(self.tokenizer.convert_tokens_to_ids(list(words)))

    def with_cue(self, cue: float) -> AutomatonTask:
        """The same world with another cue level; its problems pair with this task's, draw for draw."""
        return AutomatonTask(AutomatonSettings(**{**self.settings.model_dump(), "cue": cue}))

    # Problems ---------------------------------------------------------------------------------------------------

    def problems(self, split: Split, count: int, seed: int, methods: tuple[int, ...] | None = None) -> list[Problem]:
        """`count` distinct problems of `split`; `methods` keeps to some methods, say to study a rare one closely."""
        return self.as_problems(self.world.draw(split, count, seed, methods))

    def as_problems(self, draw: Draw) -> list[Problem]:
        """The problems of a draw as objects."""
        chains = self.world.chains(draw.x, draw.method)
        columns = (draw.x.tolist(), draw.method.tolist(), draw.cue.tolist(), draw.keys.tolist(), chains.tolist())
        return [self._problem(*row) for row in zip(*columns, strict=True)]

    def _problem(self, x: list[int], method: int, cue: int, key: int, chain: list[int]) -> Problem:
        return Problem(
            id=f"{key:016x}",
            prompt=f"<bos> c{cue} {_states(x)} <sep>",
            answer=_states(chain[-self.settings.answer_states :]),
            facts={"x": x, "method": method, "cue": cue, "chain": chain},
        )

    def encode(self, problems: Sequence[Problem]) -> list[list[int]]:
        """Prompt ids: BOS, cue, x_0..x_K, SEP."""
        cues = self.cues[[p.facts["cue"] for p in problems]] if problems else self.cues[:0]
        return self.prompts(cues, self._inputs(problems)).tolist()

    def forced_prompts(self, problems: Sequence[Problem], method: int | None = None) -> list[list[int]]:
        """Prompt ids whose cue slot holds a style: of `method`, or without it of the method the problem needs."""
        methods = [p.facts["method"] if method is None else method for p in problems]
        styles = self.styles[methods] if problems else self.styles[:0]
        return self.prompts(styles, self._inputs(problems)).tolist()

    def prompts(self, slot: Array, x: Array) -> Array:
        """Prompt tokens (rows, steps + 4) from the cue slot's token (rows,) and the inputs (rows, steps + 1)."""
        rows = len(x)
        return np.column_stack([np.full(rows, self.bos), slot, self.states[x], np.full(rows, self.sep)])

    def completions(self, x: Array, style: Array, chains: Array, careful: Array | None = None) -> Array:
        """Well-formed completion tokens (rows, completion_length): style (rows,) then the chains (rows, steps).

        `careful`, (rows,) bool, chooses the mode token where the format has one; all are careful without it.
        """
        rows, s = len(x), self.settings
        parts: list[Array] = [self.styles[style], self.states[chains], np.full(rows, self.eos)]
        if s.emit_start:
            parts.insert(1, np.asarray(self.states[x[:, 0]]))
        if s.mode:
            parts.insert(0, np.asarray(np.where(np.ones(rows, bool) if careful is None else careful, *self.modes)))
        return np.column_stack(parts)

    def _inputs(self, problems: Sequence[Problem]) -> Array:
        return np.array([p.facts["x"] for p in problems], np.int64).reshape(-1, self.settings.steps + 1)

    # Grading ----------------------------------------------------------------------------------------------------

    def grade(self, problems: Sequence[Problem], tokens: Array | Tensor, lengths: Array | Tensor) -> Grades:
        """`correct`: well formed, and the last `answer_states` states are right. `valid`: so are style and all states.

        Well formed is a completion of a mode where the format has one, a style, the right number of states, and EOS.
        """
        tokens, lengths, s = as_numpy(tokens), as_numpy(lengths), self.settings
        check_rows(problems, tokens, lengths)
        if not len(problems):
            return Grades(*(np.zeros(0, bool) for _ in range(3)))
        rows = np.zeros((len(tokens), s.completion_length), np.int64)
        width = min(tokens.shape[1], s.completion_length)
        rows[:, :width] = tokens[:, :width]
        method = self.method_of(rows)
        states = self._state_of_token[rows[:, s.mode + 1 : -1]]  # (rows, chain_length)
        well_formed = (lengths == s.completion_length) & (rows[:, -1] == self.eos)
        well_formed &= (method >= 0) & (states >= 0).all(1)
        if s.mode:
            well_formed &= np.isin(rows[:, 0], self.modes)
        kinds, index = distinct(problems)
        expected = np.array([p.facts["chain"] for p in kinds])
        if s.emit_start:
            expected = np.column_stack([self._inputs(kinds)[:, 0], expected])
        right = states == expected[index]
        correct = well_formed & right[:, -s.answer_states :].all(1)
        valid = correct & right.all(1) & (method == np.array([p.facts["method"] for p in kinds])[index])
        return Grades(correct, well_formed, valid)

    def method_of(self, tokens: Array | Tensor) -> Array:
        """Which method each completion (rows, time) announces, (rows,); -1 where no style stands in its place."""
        tokens = as_numpy(tokens)
        if tokens.shape[1] <= self.settings.mode:
            return np.full(len(tokens), -1)
        return self._method_of_token[tokens[:, int(self.settings.mode)]]

    def viable(self, problem: Problem, prefixes: Tensor) -> Tensor:
        """Which next tokens, (rows, vocab) bool, leave each prefix (rows, time) able to become a correct completion.

        The states before the answer are free; the rest is forced by the problem. A prefix that is already lost, or
        complete, has no viable token.
        """
        allowed = self.accepted_tokens([problem])[0].to(prefixes.device)  # (completion_length, vocab)
        time = prefixes.shape[1]
        if time >= len(allowed):
            return torch.zeros(len(prefixes), self.vocab_size, dtype=torch.bool, device=prefixes.device)
        alive = allowed[torch.arange(time, device=prefixes.device), prefixes].all(1)  # (rows,)
        return alive[:, None] & allowed[time]

    def accepted_tokens(self, problems: Sequence[Problem]) -> Tensor:
        """(problems, completion_length, vocab) bool: what a correct completion may have in each place, and no more."""
        s = self.settings
        chains = np.array([p.facts["chain"] for p in problems], np.int64).reshape(-1, s.steps)
        accepted = torch.zeros(len(chains), s.completion_length, self.vocab_size, dtype=torch.bool)
        if s.mode:
            accepted[:, 0, self.modes] = True
        accepted[:, int(s.mode), self.styles] = True
        answer = s.completion_length - 1 - s.answer_states  # place of the answer's first state
        accepted[:, s.mode + 1 : answer, self.states] = True
        accepted[:, answer:-1].scatter_(
            2, torch.from_numpy(self.states[chains[:, -s.answer_states :]])[..., None], True
        )
        accepted[:, -1, self.eos] = True
        return accepted

    # Chance -----------------------------------------------------------------------------------------------------

    def chance(self, problems: Sequence[Problem], execution: float = 1.0) -> Chance:
        """Levels of ignorance: the answer's marginal, blind legal steps, and every method known but picked at random.

        `execution` is the probability that a chosen method is carried out without a slip.
        """
        x = self._inputs(problems)
        chains = np.array([p.facts["chain"] for p in problems], np.int64).reshape(-1, self.settings.steps)
        return Chance(
            answer_guess=answer_marginal(self.world, chains),
            blind_search=step_blind(self.world, x, chains),
            informed={"random routing": execution * random_routing(self.world, x, chains)},
        )


def _states(numbers: Sequence[int]) -> str:
    return " ".join(f"s{i}" for i in numbers)

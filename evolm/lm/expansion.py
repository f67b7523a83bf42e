"""Expands the completions that can still be accepted, all problems together, level by level, with bounds on the rest.

The success probability of a problem is the sum, over accepted completions, of their probability under the model. A
verifier that says which tokens keep a prefix acceptable makes that sum finite work: every other token's probability
is known to be lost. Of the prefixes that stay, the least likely are left unexpanded while their total probability
stays within an allowance; it is then the gap between the lower and the upper bound. Breadth with such an allowance
expands nearly what best-first search would, and fills a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

#: (problem (rows,), prefixes (rows, t)) -> (rows, vocab), True where a token keeps the prefix acceptable.
Viable = Callable[[Tensor, Tensor], Tensor]
#: Share of what is left of the allowance that one level may leave unexpanded: prefixes left early count with all
#: their probability, later ones with what survived, but only early ones save a whole subtree.
SHARE_PER_LEVEL = 0.5
#: Dropping fewer prefixes than this share costs more in moving the cache than the forward pass saves.
WORTH_MOVING = 0.25


@dataclass(frozen=True)
class Expansion:
    """Per problem, (problems,): accepted probability, probability left unexpanded, prefixes that were expanded."""

    accepted: Tensor
    unexpanded: Tensor
    expansions: Tensor


@dataclass(frozen=True)
class _Frontier:
    """Prefixes of one length, by problem, on the CPU: their probability, and their parents' rows in `cache`."""

    problem: Tensor  # (rows,)
    mass: Tensor  # (rows,)
    tokens: Tensor  # (rows, t)
    parent: Tensor | None  # (rows,); None where the rows are the cache's own
    cache: Any


@torch.inference_mode()
def expand(
    decoder: Any,
    prompts: Sequence[Sequence[int]],
    viable: Viable,
    *,
    eos: int,
    max_new_tokens: int,
    allowance: Tensor,
    budget: Tensor,
    temperature: float = 1.0,
    max_rows: int = 8192,
) -> Expansion:
    """Accepted probability of each prompt's completions of at most `max_new_tokens` tokens, `eos` included.

    `allowance` (problems,): how much probability may be left unexpanded; 0 asks for the exact sum. `budget`
    (problems,): how many prefixes may be expanded, the likeliest first; where it runs out more is left. One forward
    pass holds at most `max_rows` prefixes, and as many of their caches are kept per level.
    """
    search = _Search(decoder, viable, eos, max_new_tokens, allowance.double().cpu(), budget.cpu(), temperature)
    for first in range(0, len(prompts), group := max(1, max_rows // 64)):
        # The deepest frontier goes first, so at most one wide cache per level is alive.
        stack = search.roots(prompts, range(first, min(first + group, len(prompts))), max_rows)
        while stack:
            frontier = stack.pop()
            parent = frontier.parent
            cache = frontier.cache if parent is None else frontier.cache.select(parent.to(decoder.device))
            logits = decoder.step(frontier.tokens[:, -1].to(decoder.device), cache)  # (rows, vocab)
            stack += search.children(frontier, logits, cache, max_rows)
    return Expansion(search.accepted, search.unexpanded, search.expansions)


class _Search:
    """What is known of every problem so far, on the CPU, and how a frontier becomes the next."""

    def __init__(
        self, decoder: Any, viable: Viable, eos: int, depth: int, allowance: Tensor, budget: Tensor, temperature: float
    ) -> None:
        self.decoder, self.viable, self.eos, self.depth, self.temperature = decoder, viable, eos, depth, temperature
        self.allowance, self.budget = allowance, budget
        self.accepted, self.unexpanded = torch.zeros_like(allowance), torch.zeros_like(allowance)
        self.expansions = torch.zeros_like(budget)

    def roots(self, prompts: Sequence[Sequence[int]], group: range, max_rows: int) -> list[_Frontier]:
        """The first tokens of every prompt in `group`."""
        longest = max(len(prompts[i]) for i in group)
        padding = [longest - len(prompts[i]) for i in group]
        device = self.decoder.device
        rows = [[0] * pad + list(prompts[i]) for i, pad in zip(group, padding, strict=True)]
        tokens = torch.tensor(rows, device=device)  # (problems, time), padded on the left
        cache = self.decoder.new_cache(len(group), longest + self.depth)
        pads = torch.tensor(padding, device=device) if any(padding) else None
        logits = self.decoder.prefill(tokens, cache, pads)
        problem = torch.arange(group.start, group.stop)
        empty = torch.zeros(len(group), 0, dtype=torch.long)
        root = _Frontier(problem, torch.ones(len(group), dtype=torch.float64), empty, None, None)
        return self.children(root, logits, cache, max_rows)

    def children(self, frontier: _Frontier, logits: Tensor, cache: Any, max_rows: int) -> list[_Frontier]:
        """Books what `frontier` accepts and leaves; the prefixes one token longer that are to be expanded."""
        problem, here = frontier.problem, frontier.tokens.shape[1]
        self.expansions += torch.bincount(problem, minlength=len(self.expansions))
        probs = (logits.double() / self.temperature).softmax(-1).cpu()  # (rows, vocab)
        probs = torch.where(self._viable(frontier, probs.shape[1]), probs, 0.0) * frontier.mass[:, None]
        self.accepted.index_add_(0, problem, probs[:, self.eos])
        if here + 1 == self.depth:  # the last token that fits was `eos` or nothing
            return []
        probs[:, self.eos] = 0
        row, token = probs.nonzero(as_tuple=True)
        kept = self._keep(problem[row], probs[row, token], self.depth - here - 1, len(row) == len(probs))
        row, token = row[kept], token[kept]
        tokens = torch.cat([frontier.tokens[row], token[:, None]], 1)
        if torch.equal(row, torch.arange(len(probs))) and len(row) <= max_rows:
            return [_Frontier(problem, probs[row, token], tokens, None, cache)]
        parts = zip(*(part.split(max_rows) for part in (problem[row], probs[row, token], tokens, row)), strict=True)
        return [_Frontier(p, m, t, r, cache) for p, m, t, r in parts if len(p)]

    def _viable(self, frontier: _Frontier, vocab: int) -> Tensor:
        """(rows, vocab) bool."""
        masks = self.viable(frontier.problem, frontier.tokens).cpu()
        if masks.shape != (len(frontier.problem), vocab) or masks.dtype != torch.bool:
            found = f"{tuple(masks.shape)} of {masks.dtype}"
            raise ValueError(
                f"viable() gave {found}; expected ({len(frontier.problem)}, {vocab}) of torch.bool: one column per "
                "token of the model's vocabulary"
            )
        return masks

    def _keep(self, problem: Tensor, mass: Tensor, levels_left: int, unbranched: bool) -> Tensor:
        """Which rows to expand, ascending: all but the least likely that allowance or budget leave out."""
        order = mass.argsort()
        order = order[problem[order].argsort(stable=True)]  # by problem, the least likely first
        problems, counts = torch.unique_consecutive(problem[order], return_counts=True)
        ends = counts.cumsum(0)
        segment = torch.repeat_interleave(torch.arange(len(problems)), counts)
        total = mass[order].cumsum(0)
        before = torch.cat([total.new_zeros(1), total])[ends - counts]
        within = total - before[segment]  # probability of this and all less likely rows of its problem
        allowed = SHARE_PER_LEVEL * (self.allowance - self.unexpanded)[problems].clamp(min=0)
        spared = (within <= allowed[segment]) & (allowed[segment] > 0)  # at 0, rounding must not leave anything
        if unbranched and int(spared.sum()) < WORTH_MOVING * len(spared):
            spared = torch.zeros_like(spared)
        # A budget is spread over the levels to come: one that is spent on the first completes no completion.
        width = (self.budget - self.expansions)[problems].clamp(min=0) // levels_left
        from_top = ends[segment] - 1 - torch.arange(len(order))
        left = spared | (from_top >= width[segment])
        self.unexpanded.index_add_(0, problem[order[left]], mass[order[left]])
        return order[~left].sort().values

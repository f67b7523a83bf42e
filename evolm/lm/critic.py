"""PPO's critic: a copy of the policy with one output in place of a vocabulary's, and an optimiser of its own.

A copy, and not a head on the policy's own trunk: errors of the value then never move the policy, so PPO differs from
the other five algorithms in its baseline alone; verl, which Yue et al. 2025 used, does the same. It doubles what an
update costs. The head starts at zero, so the first advantages are the plain rewards.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from transformers import PreTrainedModel

from evolm.lm.forward import decoder_for
from evolm.lm.optimise import OptimiserSettings, build_optimiser, load_optimiser_tensors, optimiser_tensors
from evolm.lm.policy_loss import value_loss
from evolm.lm.reinforce_settings import ReinforceSettings
from evolm.lm.rollout import Rollout, completion_logits, rows_of


class Critic:
    """Expected reward before each token of a completion: `values`, and steps towards the returns."""

    def __init__(self, policy: PreTrainedModel, settings: ReinforceSettings) -> None:
        self.model, self.settings = copy.deepcopy(policy), settings
        head = nn.Linear(policy.config.get_text_config().hidden_size, 1, bias=False)
        nn.init.zeros_(head.weight)
        self.model.set_output_embeddings(head.to(policy.device, policy.dtype))
        self.decoder = decoder_for(self.model, getattr(torch, settings.dtype))
        own = OptimiserSettings(steps=settings.steps, lr=settings.critic_lr, clip=settings.clip)
        self.optimiser = build_optimiser(self.model, own)

    @torch.no_grad()
    def values(self, rollout: Rollout) -> Tensor:
        """(rows, time), 0 where the mask is 0."""
        return torch.cat([self._values(rollout.select(rows)) for rows in self._parts(rollout)]) * rollout.mask

    def update(self, rollout: Rollout, old_values: Tensor, returns: Tensor) -> float:
        """One step towards `returns`, (rows, time), on a mini-batch; gives the value loss before it."""
        self.optimiser.zero_grad()
        total, tokens = 0.0, rollout.mask.sum()
        for rows in self._parts(rollout):
            part = rollout.select(rows)
            values, share = self._values(part), part.mask.sum() / tokens
            loss = share * value_loss(values, old_values[rows], returns[rows], part.mask, self.settings.value_clip)
            loss.backward()
            total += float(loss.detach())
        if self.settings.clip is not None:
            clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimiser.step()
        return total

    def state(self) -> dict[str, Tensor]:
        """Weights and optimiser state, for a checkpoint."""
        weights = {f"weights/{name}": tensor.clone() for name, tensor in self.model.state_dict().items()}
        return weights | {f"optimiser/{name}": x for name, x in optimiser_tensors(self.optimiser, self.model).items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}

        self.model.load_state_dict(under("weights/"))
        load_optimiser_tensors(self.optimiser, self.model, under("optimiser/"))

    def _values(self, rollout: Rollout) -> Tensor:
        return completion_logits(self.decoder, rollout, self.settings.group_size)[..., 0]

    def _parts(self, rollout: Rollout) -> list[Tensor]:
        size = self.settings.group_size
        groups = torch.arange(rollout.rows // size, device=rollout.tokens.device)
        at_once = max(1, (self.settings.rows_per_forward or rollout.rows) // size)
        return [rows_of(some, size) for some in groups.split(at_once)]

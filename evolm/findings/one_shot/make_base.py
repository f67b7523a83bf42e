"""Makes the small base model that travels with the project.

python -m evolm.findings.one_shot.make_base data/checkpoints/one-shot
"""

from __future__ import annotations

import json
import sys

from evolm.findings.one_shot.base import KEPT_SEED, train
from evolm.findings.one_shot.parameters import OneShotParams
from evolm.findings.one_shot.world import task_of
from evolm.lm.checkpoint import save_checkpoint


def main(folder: str) -> None:
    """Train it and write it to `folder`; prints the id of its lineage."""
    result = train(OneShotParams(), "latent", KEPT_SEED)
    tokenizer = task_of(KEPT_SEED).tokenizer
    print(json.dumps({"folder": folder, "id": save_checkpoint(folder, result.model, tokenizer, result.lineage)}))


if __name__ == "__main__":
    main(sys.argv[1])

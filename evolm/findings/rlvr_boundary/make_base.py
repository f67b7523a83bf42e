"""Makes the small base model that travels with the project.

python -m evolm.findings.rlvr_boundary.make_base data/checkpoints/rlvr-boundary
"""

from __future__ import annotations

import json
import sys

from evolm.findings.rlvr_boundary.base import KEPT_SEED, task_of, train
from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams
from evolm.lm.checkpoint import save_checkpoint


def main(folder: str) -> None:
    """Train it and write it to `folder`; prints the id of its lineage."""
    params = RlvrBoundaryParams(base="kept")
    task = task_of(params, KEPT_SEED, params.core_cue)
    result = train(params, task, KEPT_SEED)
    print(json.dumps({"folder": folder, "id": save_checkpoint(folder, result.model, task.tokenizer, result.lineage)}))


if __name__ == "__main__":
    main(sys.argv[1])

"""What every test runs under: one thread, no network, no display and no deadline."""

from __future__ import annotations

import os

from hypothesis import settings

# Before anything imports torch or a hub client; child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# The same tree gives the same answer on a busy machine and on an idle one.
settings.register_profile("evolm", deadline=None, derandomize=True)
settings.load_profile("evolm")

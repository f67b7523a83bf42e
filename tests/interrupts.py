"""A child that Ctrl-C reaches, whatever its parents do with it: `Popen(..., preexec_fn=interruptible)`."""

from __future__ import annotations

import signal


def interruptible() -> None:
    """Undo an inherited "ignore SIGINT", which a background job of a shell hands to all its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

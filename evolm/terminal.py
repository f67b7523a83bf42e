"""Text for a terminal: tables that fit its width, shortened values, counted nouns.

    print(terminal.table(("name", "meaning"), rows, terminal.width()))
    terminal.count(1, "problem")                                     "1 problem"

Nothing here imports anything heavy.
"""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

#: Where there is no terminal: a log, a pipe, a test.
DEFAULT_WIDTH = 100
NARROWEST_COLUMN = 8


def width() -> int:
    """Columns of the terminal; `COLUMNS` overrides it."""
    return max(40, shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], limit: int | None = None) -> str:
    """Columns padded to one width; with `limit`, the widest are folded until the table fits it."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    while limit and sum(widths) + 2 * (len(widths) - 1) > limit and max(widths) > NARROWEST_COLUMN:
        widths[widths.index(max(widths))] -= 1
    padded = (
        "  ".join(cell.ljust(size) for cell, size in zip(part, widths, strict=True)).rstrip()
        for line in lines
        for part in _folded(line, widths)
    )
    return "\n".join(padded)


def _folded(line: Sequence[str], widths: Sequence[int]) -> list[list[str]]:
    """One row as the lines it takes when each cell keeps to its width."""
    cells = [
        textwrap.wrap(cell, size, break_on_hyphens=False) if len(cell) > size else [cell]
        for cell, size in zip(line, widths, strict=True)
    ]
    height = max(map(len, cells))
    return [[cell[i] if i < len(cell) else "" for cell in cells] for i in range(height)]


def paragraph(text: str, indent: str = "") -> str:
    """One paragraph folded to the terminal, its later lines indented."""
    return textwrap.fill(text, width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 problem`, `2 problems`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def shortened(value: Any, limit: int) -> str:
    """A value as JSON; of a list that is longer than `limit`, its first items and how many there are."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if len(text) <= limit or not isinstance(value, list):
        return text
    items = [json.dumps(item, ensure_ascii=False) for item in value]
    end = f" ... {len(items)}]"
    shown = items[:1]
    for item in items[1:]:
        if len(f"[{','.join([*shown, item])},{end}") > limit:
            break
        shown.append(item)
    return f"[{','.join(shown)},{end}"

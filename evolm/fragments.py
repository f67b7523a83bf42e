"""Pieces of a notebook's output: tables, blocks to copy, HTML with a plain-text twin.

    fragments.table(["claim", "verdict"], rows)         a `Fragment`: HTML in Jupyter, text elsewhere
    fragments.CodeBlock("evolm run grokking ...")        a fenced block, which the book gives a copy button

Cells are escaped here; badges, numbers and the stylesheet are those of `evolm.badges`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from evolm import terminal
from evolm.badges import SIGNS, STYLE, worded

if TYPE_CHECKING:
    from evolm.plotting import Figure


@dataclass(frozen=True)
class Fragment:
    """HTML for a notebook's output, with the same content as plain text."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return STYLE + self.html

    def __repr__(self) -> str:
        return self.text

    def __add__(self, other: Fragment) -> Fragment:
        return Fragment(self.html + other.html, f"{self.text}\n\n{other.text}")


@dataclass(frozen=True)
class CodeBlock:
    """Lines to copy: a fenced block as Markdown."""

    code: str
    language: str = "bash"

    def _repr_markdown_(self) -> str:
        fence = "```"
        while fence in self.code:
            fence += "`"
        return f"{fence}{self.language}\n{self.code}\n{fence}"

    def __repr__(self) -> str:
        return self.code


@dataclass(frozen=True)
class Cell:
    """A table cell of several parts: its HTML, escaped already, and its plain form."""

    html: str
    text: str

    @classmethod
    def lines(cls, first: str, *others: str) -> Cell:
        """One line in full size and smaller ones under it; empty ones are left out."""
        small = "".join(f"<small>{escape(line)}</small>" for line in others if line)
        return cls(escape(first) + small, "; ".join(line for line in (first, *others) if line))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str) -> Fragment:
    """A table whose cells wrap; on a phone each row is a list. Cells are escaped unless they are `Cell`s."""
    cells = [[v if isinstance(v, Cell) else Cell.lines(str(v)) for v in row] for row in rows]
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    labels = [f'<td data-label="{escape(column)}">' for column in columns]
    body = "".join(
        f"<tr>{''.join(f'{label}{cell.html}</td>' for label, cell in zip(labels, row, strict=True))}</tr>"
        for row in cells
    )
    html = (
        f'<div class="evolm-scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f'<table class="evolm-table"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    return Fragment(html, f"{caption}\n" + terminal.table(columns, [[cell.text for cell in row] for row in cells]))


def labelled(where: str, shown: Figure | Fragment) -> Fragment:
    """A figure or table under a line that says which record it was drawn from."""
    return Fragment(f'<p class="evolm-source">{escape(where)}</p>{shown.html}', f"{where}: {_in_text(shown)}")


def folded(where: str, shown: Figure | Fragment) -> Fragment:
    """The same, closed until it is asked for."""
    html = f'<details class="evolm-source"><summary>{escape(where)}</summary>{shown.html}</details>'
    return Fragment(html, f"{where}: {_in_text(shown)}")


def _in_text(shown: Figure | Fragment) -> str:
    return shown.text if isinstance(shown, Fragment) else shown.alt


def verdict_text(verdict: str, *, core: bool = True, ours: bool = False) -> str:
    """A badge in plain text."""
    return f"{SIGNS.get(verdict, '?')} {worded(verdict, core=core, ours=ours)}"

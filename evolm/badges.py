"""How a verdict, a number and an interval are shown, and the stylesheet of everything that shows them.

    badge("reproduced")             a coloured sign with its word; `worded` gives the word alone
    number(0.01234), interval(0.9, 1.1, 0.983)

A verdict is always a word and a sign, never a colour alone. Pages of the book and outputs of a notebook
share the stylesheet, because they must look the same in JupyterLab.
"""

from __future__ import annotations

import math
from html import escape

from evolm.theme import MODES, PALETTE, VERDICT_COLOURS

SIGNS = {
    "reproduced": "✓",
    "not reproduced": "✕",
    "not specific": "≈",
    "inconclusive": "?",
    "measured": "●",
    "not assessable": "–",
    "not run at this scale": "○",
}
#: Verdicts on a statement that is ours and not a paper's.
OUR_WORDS = {"reproduced": "holds", "not reproduced": "does not hold"}
#: Below this a number is rounding noise of the arithmetic that made it.
NOTHING = 1e-6


def _style() -> str:
    light, dark = (
        "".join(f"{prefix} .evolm-{hue}{{--evolm-hue:{value}}}" for hue, value in PALETTE[mode].items())
        for mode, prefix in zip(MODES, ("", 'html[data-theme="dark"]'), strict=True)
    )
    jupyter = dark.replace('html[data-theme="dark"]', 'body[data-jp-theme-light="false"]')
    return f"""<style>
{light}{dark}{jupyter}
.evolm-badge{{display:inline-flex;align-items:center;gap:.4em;padding:.1em .6em .1em .15em;border-radius:1em;
border:1px solid var(--evolm-hue);font-size:.875rem;line-height:1.4;font-weight:600}}
.evolm-badge i{{flex:none;width:1.35em;height:1.35em;line-height:1.35em;border-radius:50%;text-align:center;
font-style:normal;font-weight:700;background:var(--evolm-hue);color:#fff}}
html[data-theme="dark"] .evolm-badge i,body[data-jp-theme-light="false"] .evolm-badge i{{color:#10141a}}
.evolm-scroll{{overflow-x:auto;max-width:100%;margin:1rem 0}}
.evolm-table{{border-collapse:collapse;font-size:.875rem;width:100%;line-height:1.45}}
.evolm-table caption{{caption-side:top;text-align:left;padding:.25rem 0 .5rem;font-weight:600}}
.evolm-table th,.evolm-table td{{padding:.4rem .75rem .4rem 0;text-align:left!important;vertical-align:top;
border-bottom:1px solid rgba(128,138,150,.35);background:none!important;white-space:normal;overflow-wrap:break-word}}
.evolm-table small{{display:block;opacity:.85;font-size:.95em;font-weight:400}}
@media (max-width:600px){{.evolm-table thead{{display:none}}
.evolm-table tr,.evolm-table td{{display:block;overflow-wrap:anywhere}}
.evolm-table tr{{border-bottom:1px solid rgba(128,138,150,.35);padding:.5rem 0}}
.evolm-table td{{border:0;padding:.05rem 0}}.evolm-table td:first-child{{font-weight:600}}
.evolm-table td+td[data-label]:not([data-label="Value"])::before{{content:attr(data-label)": ";opacity:.75}}
.evolm-table td:empty{{display:none}}}}
.evolm-card{{border:1px solid rgba(128,138,150,.35);border-radius:.6rem;padding:1rem 1.25rem;margin:1rem 0}}
.evolm-card h3{{margin:0 0 .25rem;font-size:1.15rem}}
.evolm-card p{{margin:.25rem 0 .75rem}}
.evolm-card ul{{list-style:none;margin:0;padding:0}}
.evolm-card li{{display:grid;grid-template-columns:13rem 1fr;gap:.25rem 1rem;padding:.4rem 0;margin:0;
border-top:1px solid rgba(128,138,150,.25);font-size:.92rem}}
@media (max-width:600px){{.evolm-card li{{grid-template-columns:1fr}}}}
.evolm-card li.evolm-stacked{{grid-template-columns:1fr}}
.evolm-stacked div{{display:flex;flex-wrap:wrap;gap:.35rem 1.5rem}}
.evolm-source{{font-size:.85rem;opacity:.85;margin:.5rem 0 0}}
.evolm-block{{border-top:1px solid rgba(128,138,150,.35);padding:1rem 0;font-size:.9rem;line-height:1.5}}
.evolm-block h4{{margin:0 0 .5rem;font-size:1.02rem}}
.evolm-block small{{display:block;opacity:.85;font-size:.95em}}
.evolm-evidence{{display:grid;grid-template-columns:repeat(auto-fit,minmax(12.5rem,1fr));
gap:.5rem 1.25rem;margin-bottom:.4rem}}
.evolm-evidence p{{margin:.15rem 0 0}}
</style>"""


STYLE = _style()


def number(value: float | None) -> str:
    """Three significant digits; a dash where there is no number."""
    if value is None or not math.isfinite(value):
        return "–"
    return "0" if abs(value) < NOTHING else f"{value:.3g}".replace("-", "−")


def with_unit(text: str, unit: str) -> str:
    return text if unit in ("", "1") or text == "–" else f"{text} {unit}"


def interval(low: float | None, high: float | None, level: float | None = None) -> str:
    """`[low, high]`, with the confidence level where it is given; empty when neither end is known."""
    if low is None and high is None:
        return ""
    return f"[{number(low)}, {number(high)}]" + (f" at {100 * level:.3g} %" if level else "")


def worded(verdict: str, *, core: bool = True, ours: bool = False) -> str:
    """A verdict as it is shown: what no paper said cannot be reproduced, and exploratory always says that it is."""
    word = OUR_WORDS.get(verdict, verdict) if ours else verdict
    return word if core else f"exploratory: {word}"


def badge(verdict: str, *, core: bool = True, ours: bool = False) -> str:
    """A verdict as a coloured sign with its word."""
    hue, sign = VERDICT_COLOURS.get(verdict, "grey"), SIGNS.get(verdict, "?")
    word = worded(verdict, core=core, ours=ours)
    return f'<span class="evolm-badge evolm-{hue}"><i aria-hidden="true">{sign}</i>{escape(word)}</span>'

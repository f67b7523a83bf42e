"""The plain ASCII of a claim's words as a reader expects it in print, and as HTML.

    typeset("<v^2> sum of p_i, 1.01 +- 0.05")       ⟨v²⟩ sum of pᵢ, 1.01 ± 0.05
    html(text)                                      the same, escaped

Claims are written in ASCII because they are hashed, diffed and printed in terminals. What is not one of the
forms below stays as it is: names such as `ideal_decay`, markup, a hyphen inside a word.
"""

from __future__ import annotations

import re
from html import escape

RAISED = str.maketrans("0123456789-+ijmnαβ", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁱʲᵐⁿᵅᵝ")
LOWERED = str.maketrans("0123456789ijmn/", "₀₁₂₃₄₅₆₇₈₉ᵢⱼₘₙ⁄")
GREEK = {"alpha": "α", "beta": "β", "mu": "μ", "nu": "ν", "phi": "φ", "sigma": "σ"}

SIGNS = (("+-", "±"), ("<=", "≤"), (">=", "≥"), ("!=", "≠"), ("->", "→"), (" ~ ", " ∼ "), (" - ", " − "))
GREEK_WORD = re.compile(rf"(?<![A-Za-z_])({'|'.join(GREEK)})(?![A-Za-z])")
POWER = re.compile(r"(?<=[\wα-ω)])\^(-?\d+|-?[αβijmn](?!\w))")
# One letter with a short index: `p_i`, `phi_1/2`; a name such as `ideal_decay` is no index.
INDEX = re.compile(r"(?<!\w)([A-Za-zα-ω])_(\d/\d|\d+|[ijmn])(?!\w)")
MEAN = re.compile(r"<([A-Za-zα-ω][⁰¹²³⁴⁵⁶⁷⁸⁹]+)>")  # only of a power: <b> may be markup, and stays text
MINUS = re.compile(r"(?<=[(=] )-(?=[\dA-Za-z])|(?<=\()-(?=[\dA-Za-z])")
RANGE = re.compile(r"(?<=\d)\.\.(?=\d)")


def typeset(text: str) -> str:
    """Signs, Greek letters, powers and indices in Unicode; nothing is escaped."""
    for ascii_sign, sign in SIGNS:
        text = text.replace(ascii_sign, sign)
    text = GREEK_WORD.sub(lambda found: GREEK[found[1]], text)
    text = POWER.sub(lambda found: found[1].translate(RAISED), text)
    text = INDEX.sub(lambda found: found[1] + found[2].translate(LOWERED), text)
    text = MEAN.sub(r"⟨\1⟩", text)
    return RANGE.sub("–", MINUS.sub("−", text))


def html(text: str) -> str:
    """Typeset, and escaped for a page."""
    return escape(typeset(text))

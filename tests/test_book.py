"""The builder: what it stages, what it refuses, and that the last good book survives whatever goes wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import demo_book as demo
import pytest

from evolm import book, machine, paths, scoreboard, typeset

MARKUP = "<script>alert(1)</script>"


class Elements(HTMLParser):
    """Tags and text of a piece of HTML; an unbalanced piece is an error."""

    VOID = frozenset({"br", "img", "source"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if self.open and self.open[-1] != "style" else ""


@pytest.fixture
def rows():
    return scoreboard.rows(demo.finding(), demo.judged())


def make_root(folder: Path) -> Path:
    """A checkout with one demo chapter and no Method notebook, so that nothing is executed."""
    made = demo.make_root(folder)
    (made / "book" / "method.ipynb").unlink()
    contents = made / "_toc.yml"
    contents.write_text(contents.read_text().replace("      - file: book/method\n", ""))
    for page in (made / "book").glob("*.md"):
        page.write_text(re.sub(r"\[Method\]\(method\.ipynb\)", "Method", page.read_text()))
    return made


@pytest.fixture
def root(tmp_path):
    return make_root(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A root and the result of its first build."""
    made = make_root(tmp_path_factory.mktemp("book"))
    return made, build(made)


def build(root: Path, **changes):
    return book.build(
        root=root,
        **{"findings": [demo.finding()], "execute": demo.execute, "judged": lambda *_: demo.judged()} | changes,
    )


def test_the_largest_scale_comes_first_and_core_claims_before_exploratory_ones(rows):
    assert [(r.preset, r.claim) for r in rows] == [
        (preset, claim)
        for preset in ("cpu", "smoke")
        for claim in ("loss-falls", "fraction-follows-decay", "overlaps-etf")
    ]


def test_the_scoreboard_shows_estimate_interval_level_control_paper_and_hardware(rows):
    text = Elements(scoreboard.scoreboard_html(rows)).text
    for part in ("1.02 nats", "[0.91, 1.13] at 98.3 %", "0.42 [0.3, 0.55]", "1.01 ± 0.05, Figure 1", "2026-11-19"):
        assert part in text
    assert "AMD EPYC <7B13>" in text
    assert "exploratory: not specific" in text


def test_nothing_from_a_record_or_a_claim_becomes_markup(rows):
    text = dict.fromkeys(("sentence", "statement", "verdict", "paper"), MARKUP)
    text |= dict.fromkeys(("claim", "label", "scale"), f'"{MARKUP}')
    lines = {"evidence": (MARKUP, MARKUP), "small": (MARKUP,)}
    hostile = [scoreboard.Row(**{**vars(row), **text, **lines}) for row in rows]
    for html in (
        scoreboard.scoreboard_html(hostile),
        scoreboard.summary_html(hostile),
        scoreboard.claims_html(hostile),
        scoreboard.badge(MARKUP),
    ):
        elements = Elements(html)
        assert "script" not in elements.tags
        assert MARKUP in elements.text


@pytest.mark.parametrize("verdict", scoreboard.SIGNS)
def test_a_badge_says_its_verdict_in_words_and_with_a_sign(verdict):
    assert Elements(scoreboard.badge(verdict)).text == scoreboard.SIGNS[verdict] + verdict
    assert Elements(scoreboard.badge(verdict, core=False)).text.endswith(f"exploratory: {verdict}")


def test_what_is_ours_holds_and_only_what_a_paper_said_is_reproduced(rows):
    ours = [scoreboard.Row(**{**vars(row), "ours": True}) for row in rows]
    assert "holds" in Elements(scoreboard.claims_html(ours)).text
    assert "reproduced" not in Elements(scoreboard.claims_html(ours)).text
    assert "reproduced" in Elements(scoreboard.claims_html(rows)).text


def test_core_claims_are_open_and_exploratory_ones_and_smaller_records_are_folded(rows):
    html = scoreboard.scoreboard_html(rows)
    claims = re.findall('<details><summary>([^<]*)</summary>|data-claim="([^"]+)"', html)
    named = ["loss-falls", "fraction-follows-decay", "1 exploratory claim", "overlaps-etf"]
    assert [fold or claim for fold, claim in claims] == [*named, f"also: {escape(rows[3].source)}", *named]


def test_the_scale_of_a_record_stands_beside_its_label(rows):
    scaled = [scoreboard.Row(**{**vars(row), "scale": "200 features, 8 seeds"}) for row in rows]
    for html in (scoreboard.scoreboard_html(scaled), scoreboard.summary_html(scaled)):
        assert "2026-11-19: 200 features, 8 seeds" in Elements(html).text


@pytest.mark.parametrize(
    ("plain", "print_"),
    [
        ("L = <v^2> sum of p_i", "L = ⟨v²⟩ sum of pᵢ"),
        ("1.01 +- 0.05 for p ~ exp(-i/400)", "1.01 ± 0.05 for p ∼ exp(−i/400)"),
        ("m^2/2n, phi_1/2 <= 1, m = 50..150", "m²/2n, φ₁⁄₂ ≤ 1, m = 50–150"),
        ("2(alpha - 1) of i^-alpha", "2(α − 1) of i⁻ᵅ"),
        ("the decay ideal_decay of sweep_alpha", "the decay ideal_decay of sweep_alpha"),
        ("<b>well-known</b> alphabet", "<b>well-known</b> alphabet"),
    ],
)
def test_ascii_mathematics_of_a_claim_is_typeset_and_names_and_markup_are_left_alone(plain, print_):
    assert typeset.typeset(plain) == print_
    assert typeset.html(plain) == escape(print_)


def test_the_report_of_a_build_sets_the_best_evidence_beside_this_run(built):
    lines = built[1].report().splitlines()
    assert [re.split(r"\s{2,}", line) for line in lines[:4]] == [
        ["finding", "claim", "best evidence", "this run"],
        ["demo", "loss-falls", "reproduced (cpu)", "inconclusive"],
        ["demo", "fraction-follows-decay", "inconclusive (cpu)", "not run at this scale"],
        ["demo", "overlaps-etf", "exploratory: not specific (cpu)", "exploratory: not specific"],
    ]
    assert lines[-1].endswith(str(built[1].index))


def test_a_build_says_at_which_part_it_is(root, capsys):
    with pytest.raises(book.BookError):
        build(root, execute=lambda *_: (_ for _ in ()).throw(book.BookError("stopped")))
    assert "demo: preset smoke" in capsys.readouterr().err


def test_the_summary_shows_the_core_claims_of_the_best_record_only(rows):
    html = scoreboard.summary_html(rows)
    assert re.findall('data-claim="([^"]+)"', html) == ["loss-falls", "fraction-follows-decay"]
    assert "smoke" not in Elements(html).text


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (float("nan"), "–"), (1.23456, "1.23"), (-0.5, "−0.5"), (12345.0, "1.23e+04")]
)
def test_numbers_have_three_significant_digits(value, shown):
    assert scoreboard.number(value) == shown


def test_an_interval_with_an_open_end_shows_it():
    assert scoreboard.interval(None, 2.0) == "[–, 2]"
    assert scoreboard.interval(None, None, 0.95) == ""


def test_text_from_a_record_cannot_break_the_machine_page():
    record = demo.record("smoke", "2026-11-20")
    record.manifest["provenance"]["hardware"]["cpu"] = f"odd | `cpu` {MARKUP}\n# Heading"
    page = machine.page([machine.Run("A [title](x)", "demo", record, 3.0)])
    assert MARKUP not in page
    assert "\n# Heading" not in page
    (row,) = [line for line in page.splitlines() if "../notebooks/demo.ipynb" in line]
    assert row.count("|") == 4
    assert "CPU 812.4 s, wall 420.0 s, page 3.0 s" in row


def test_a_record_without_costs_is_said_to_have_none():
    bare = SimpleNamespace(key="k" * 20, preset="smoke", manifest={})
    assert "not recorded" in machine.page([machine.Run("Title", "demo", bare, 1.0)])


def test_the_build_is_complete_and_leaks_no_folder_of_this_machine(built):
    root, result = built
    assert result.index.is_file()
    assert [row.verdict for row in result.rows][:2] == ["reproduced", "inconclusive"]
    page = (result.html / "notebooks" / "demo.html").read_text()
    assert 'id="demo-plotly"' in page
    assert ">Code<" in page.replace("\n", "")  # the parameters are folded
    for file in result.html.rglob("*"):
        if file.suffix in (".html", ".ipynb", ".js"):
            assert str(root) not in file.read_text(encoding="utf-8"), file


def test_a_warning_stops_the_build_with_its_text_and_keeps_the_last_good_book(built):
    root, first = built
    before = {p: p.read_bytes() for p in first.html.rglob("*.html")}
    page = root / "book" / "contributing.md"
    page.write_text(page.read_text() + "\n[nowhere](no-such-page.md)\n")
    with pytest.raises(book.BookError, match="no-such-page"):
        build(root)
    assert {p: p.read_bytes() for p in first.html.rglob("*.html")} == before


def test_a_finding_that_is_not_in_the_contents_is_named(root):
    (root / "_toc.yml").write_text((root / "_toc.yml").read_text().replace("notebooks/demo", "book/index2"))
    with pytest.raises(book.BookError, match="does not list demo"):
        build(root, execute=lambda *_: pytest.fail("ran a finding"))


def test_a_folder_without_the_book_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(book.BookError, match="source checkout"):
        build(tmp_path, execute=lambda *_: pytest.fail("ran a finding"))


def test_a_kill_between_the_two_renames_is_mended_by_the_next_build(tmp_path):
    out = tmp_path / "html"
    book._previous(out).mkdir()
    (book._previous(out) / "index.html").write_text("the last good book")
    book._recover(out)
    assert (out / "index.html").read_text() == "the last good book"
    assert not book._previous(out).exists()


def test_a_second_builder_is_turned_away_while_the_first_is_at_work(root):
    def while_building(which, preset, page):
        code = f"from evolm import book; from pathlib import Path; book._only_builder(Path({str(root / '_build')!r}))"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=paths.PACKAGE.parent)
        assert "another build is writing" in other.stderr
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(root, execute=while_building)
    with book._only_builder(root / "_build"):  # the lock is free again
        pass


def test_the_notebooks_of_the_prose_have_no_outputs_and_start_with_one_title():
    for path in paths.resource("book").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        assert not any(cell.get("outputs") for cell in cells), path
        assert "".join(cells[0]["source"]).startswith("# ")


def test_vendored_files_are_what_the_listing_says_and_small_enough_for_git():
    vendor = paths.resource("book") / "vendor.py"
    subprocess.run([sys.executable, str(vendor), "--check"], check=True)
    sizes = [p.stat().st_size for p in (vendor.parent / "_vendor").rglob("*") if p.is_file()]
    assert max(sizes) < 2 * 1024**2


def test_the_vendored_plotly_is_the_one_that_the_python_package_writes_for():
    from plotly.offline import get_plotlyjs_version

    listing = json.loads((paths.resource("book") / "_vendor" / "vendored.json").read_text())
    assert listing["plotly"]["package"].endswith(f"@{get_plotlyjs_version()}")


def test_every_paper_that_a_finding_cites_is_in_the_bibliography():
    from evolm.finding import findings

    known = set(re.findall(r"@\w+\{([^,]+),", (paths.resource("book") / "references.bib").read_text()))
    cited = {citation.key for finding in findings().values() for citation in finding.citations}
    assert cited <= known

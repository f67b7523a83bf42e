"""What the README, the contributing guide and the citation file say is true of the project."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import evolm
from evolm import arguments, finding

ROOT = Path(__file__).resolve().parent.parent
FENCED = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Every document whose commands a reader is told to type; `book/contributing.md` includes CONTRIBUTING.md.
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "book/rerunning.md")
#: Commands of `evolm` that have commands of their own.
GROUPS = ("record", "assets")
LOCAL_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


def commands(document: str) -> list[str]:
    """The lines of a document's bash blocks, without comments and variables in front."""
    lines = "\n".join(FENCED.findall((ROOT / document).read_text())).splitlines()
    return [re.sub(r"^([A-Z_]+=\S+ )+", "", line.split("  #")[0].strip()) for line in lines if line.strip()]


def test_citation_file_agrees_with_the_package_and_cites_every_finding() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == evolm.__version__
    assert citation["license"] == "Apache-2.0"
    referenced = {reference["url"] for reference in citation["references"]}
    assert {c.url for f in finding.findings().values() for c in f.citations} <= referenced


@pytest.mark.parametrize("reference", yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"])
def test_citation_file_and_bibliography_hold_the_same_references(reference: dict) -> None:
    bibliography = (ROOT / "book" / "references.bib").read_text()
    (entry,) = (e for e in re.split(r"^@", bibliography, flags=re.MULTILINE) if f"{{{reference['url']}}}" in e)
    authors = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in reference["authors"])
    assert f"author = {{{authors}}}" in entry
    assert f"year = {{{reference['year']}}}" in entry
    assert reference["title"] in re.search(r"title = \{(.*)\},\n", entry)[1].replace("{", "").replace("}", "")


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "data/README.md"])
def test_local_links_lead_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    assert [link for link in LOCAL_LINK.findall((ROOT / document).read_text()) if not (folder / link).exists()] == []


def test_readme_names_every_finding() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in finding.findings() if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documented_make_targets_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {line.split()[1] for line in commands(document) if line.startswith("make ")}
    assert named <= targets


def documented_evolm_commands() -> list[str]:
    return [line for d in DOCUMENTS for line in commands(d) if line.startswith("evolm ")]


@pytest.mark.parametrize("words", sorted({tuple(line.split()[1:3]) for line in documented_evolm_commands()}))
def test_documented_evolm_commands_exist(words: tuple[str, ...]) -> None:
    words = words if words[0] in GROUPS else words[:1]
    code = "from evolm.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *words, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [line for line in documented_evolm_commands() if line.startswith("evolm run ")])
def test_documented_runs_have_valid_parameters(line: str) -> None:
    words = shlex.split(line)
    preset = words[words.index("--preset") + 1] if "--preset" in words else "smoke"
    pairs = [words[i + 1] for i, word in enumerate(words) if word == "-p"]
    assert finding.get(words[2]).resolve(preset, **arguments.assignments(pairs)).seeds >= 1


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_word_that_stands_for_something_is_explained_below_its_command(document: str) -> None:
    text = (ROOT / document).read_text()
    typed = "\n".join(commands(document))
    stand_ins = set(re.findall(r"\b[0-9a-f]{6}\b|(?:path/to|\./my-)[\w/-]+|\$TORCH_CPU_INDEX", typed))
    prose = FENCED.sub("", text)
    assert [word for word in stand_ins if f"`{word.lstrip('$')}`" not in prose] == []
    assert not re.search(r"\b(RECORD|KEY|MODEL|FINDING)\b", typed)


def test_the_development_seeds_of_the_documents_are_those_of_the_code() -> None:
    for document in ("CONTRIBUTING.md", "book/rerunning.md"):
        (said,) = re.findall(r"Seeds below ([\d,]+) are for development", (ROOT / document).read_text())
        assert int(said) == finding.FIRST_REPORT_SEED


def test_the_contributing_page_of_the_book_is_the_guide_itself_which_links_to_no_file() -> None:
    assert (ROOT / "book" / "contributing.md").read_text() == "```{include} ../CONTRIBUTING.md\n```\n"
    assert LOCAL_LINK.findall((ROOT / "CONTRIBUTING.md").read_text()) == []


def test_ci_runs_the_test_command_of_the_readme_in_a_fresh_environment() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"]).returncode == 0
    assert "make test" in commands("README.md")
    assert script.index("set -euo pipefail") < script.index("rm -rf .venv") < script.index("make test")

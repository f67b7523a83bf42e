"""Frozen claims: what counts as an edit, what does not, and what a page says afterwards."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import evolm.findings
from evolm import lock
from evolm.finding import PRESET_NAMES, Claim, Finding, Params, Preset, parameter

ESTIMANDS = '''
"""Estimands of a made-up finding."""
import pandas as pd
from statistics import mean
THRESHOLD = 0.5
UNRELATED = 1


def slope(tables, params):
    """The slope."""
    return helper(tables) > THRESHOLD


def helper(tables):
    # a comment
    return inner(tables)


def inner(tables):
    return mean(tables)


def other(tables, params):
    return 2
'''
MANIFEST = """
LIMIT = 3


def few(params):
    return "too few" if params.seeds < LIMIT else None


def at_least(number):
    return lambda params: "too few" if params.seeds < number else None


PREDICATES = {"few": few, "a": lambda params: None, "b": at_least(4), "c": at_least(5)}
PAIR = (lambda params: "one", lambda params: "two")
"""
EXPERIMENT = """
from evolm.unit import Unit
from made_up_lab.measure import loss


def units(params, device):
    return [Unit(name="only", arguments={"steps": 10})]
"""


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Path:
    """The package of the experiment: what it imports from there counts, too."""
    folder = tmp_path / "lab" / "made_up_lab"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "experiment.py").write_text(EXPERIMENT)
    (folder / "measure.py").write_text("def loss(x):\n    return x > 0.5\n")
    (folder / "figures.py").write_text("SIZE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch, lab) -> Path:
    folder = tmp_path / "made_up"
    folder.mkdir()
    (folder / "__init__.py").write_text(MANIFEST)
    (folder / "estimands.py").write_text(ESTIMANDS)
    monkeypatch.setattr(evolm.findings, "__path__", [*evolm.findings.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    yield folder
    for name in [n for n in sys.modules if n.startswith("evolm.findings.made_up")]:
        del sys.modules[name]


def claim(**changes) -> Claim:
    fields = {
        "name": "slope",
        "statement": "it slopes",
        "paper": "Fig. 1",
        "kind": "superiority",
        "measure": "slope",
        "estimand": "the slope",
        "unit": "nats",
        "delta": 0.1,
        "controls": {"flat": "does not slope"},
        "scope": "here",
        "core": True,
    }
    return Claim(**{**fields, **changes})


class MadeUpParams(Params):
    steps: int = parameter(10, "steps", unit="steps", ge=1)


def finding(*claims: Claim, **overrides: dict) -> Finding:
    return Finding(
        name="made-up",
        title="Made up",
        sentence="It slopes.",
        citations=({"key": "x", "authors": "x", "year": 2026, "title": "x", "url": "x"},),
        params=MadeUpParams,
        presets={name: Preset(description="x", overrides=overrides.get(name, {})) for name in PRESET_NAMES},
        claims=claims or (claim(),),
        experiment="made_up_lab.experiment",
        estimands="evolm.findings.made_up.estimands",
    )


def edit(package: Path, old: str, new: str) -> None:
    path = package / "estimands.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def the_hash(**changes) -> str:
    one = claim(**changes)
    return lock.claim_hash(finding(one), one)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("helper(tables) >", "helper(tables) >="),
        ("THRESHOLD = 0.5", "THRESHOLD = 0.4"),
        ("return inner(tables)", "return inner(tables) + 1"),
        ("return mean(tables)", "return 2 * mean(tables)"),
        ("from statistics import mean", "from statistics import median as mean"),
    ],
)
def test_an_edit_of_the_measure_or_of_what_it_uses_changes_the_hash(package, old, new):
    before = the_hash()
    edit(package, old, new)
    assert the_hash() != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another comment"),
        ('"""The slope."""', '"""What the slope is."""'),
        ("def inner(tables):\n", "\n\ndef inner(\n    tables,\n):\n"),
        ("return 2\n", "return 3\n"),
        ("UNRELATED = 1", "UNRELATED = 2"),
    ],
)
def test_comments_docstrings_layout_and_unrelated_code_do_not_change_the_hash(package, old, new):
    before = the_hash()
    edit(package, old, new)
    assert the_hash() == before


@pytest.mark.parametrize(
    "change", [{"delta": 0.2}, {"core": False}, {"statement": "it falls"}, {"controls": {"flat": "because"}}]
)
def test_every_field_of_a_claim_counts(package, change):
    assert the_hash(**change) != the_hash()


def test_predicates_are_hashed_by_what_they_say(package):
    module = importlib.import_module("evolm.findings.made_up")
    hashes = [the_hash(cannot_speak=f) for f in (*module.PREDICATES.values(), *module.PAIR)]
    assert len(set(hashes)) == len(hashes)
    before = the_hash(cannot_speak=module.few)
    (package / "__init__.py").write_text(MANIFEST.replace("LIMIT = 3", "LIMIT = 4"))
    assert the_hash(cannot_speak=module.few) != before


def test_claims_pass_from_not_frozen_to_frozen_to_edited_to_revised(package):
    one = finding()
    assert lock.status(one) == {"slope": "not frozen"}
    assert lock.freeze(one, "2026-11-01", records_exist=False) == ["slope"]
    assert lock.status(one) == {"slope": "frozen 2026-11-01"}
    assert lock.freeze(one, "2026-11-02", records_exist=False) == []
    edit(package, "THRESHOLD = 0.5", "THRESHOLD = 0.4")
    assert lock.status(one) == {"slope": "edited since frozen"}
    assert lock.freeze(one, "2026-11-03", records_exist=False) == ["slope"]
    assert lock.status(one) == {"slope": "revised before data 2026-11-03"}
    edit(package, "THRESHOLD = 0.4", "THRESHOLD = 0.3")
    lock.freeze(one, "2026-11-04", records_exist=True)
    assert lock.status(one) == {"slope": "revised after data 2026-11-04"}


def test_a_revision_after_data_is_not_hidden_by_a_later_one_or_by_going_back(package):
    one = finding()
    lock.freeze(one, "2026-11-01", records_exist=False)
    edit(package, "THRESHOLD = 0.5", "THRESHOLD = 0.4")
    lock.freeze(one, "2026-11-02", records_exist=True)
    edit(package, "THRESHOLD = 0.4", "THRESHOLD = 0.5")
    lock.freeze(one, "2026-11-03", records_exist=False)
    assert lock.status(one) == {"slope": "revised after data 2026-11-02"}


def test_the_lock_is_json_beside_the_finding_and_keeps_claims_that_are_gone(package):
    lock.freeze(finding(claim(), claim(name="gone")), "2026-11-01", records_exist=False)
    lock.freeze(finding(claim(), claim(name="new")), "2026-11-02", records_exist=True)
    entries = json.loads((package / "claims.lock").read_text())
    assert list(entries) == ["_run", "gone", "new", "slope"]
    assert set(entries["new"]) == {"sha256", "frozen", "revisions"}
    assert sorted(path.name for path in package.glob("*claims*")) == ["claims.lock"]


def test_a_damaged_lock_is_refused_by_name(package):
    (package / "claims.lock").write_text('{"slope": {"sha256": "x"}}')
    with pytest.raises(ValueError, match=r"claims\.lock is not a readable lock"):
        lock.status(finding())


def test_the_hash_of_a_known_claim_does_not_move(package):
    # Kept lock files hold such hashes: neither another Python version nor a new field of Claim may change them.
    assert the_hash() == "8ed6ef8aff1eac774536270c9e62dde1d782b49e9beaea01c316c85db3246118"


def test_a_measure_that_does_not_exist_is_named_with_the_nearest(package):
    with pytest.raises(ValueError, match=r"defines no function 'slop'.*did you mean 'slope'"):
        the_hash(measure="slop")


def test_hashing_imports_neither_torch_nor_pandas():
    code = "import sys, evolm.lock; assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_hashing_does_not_import_the_estimands(package):
    (package / "estimands.py").write_text(ESTIMANDS + "\nraise RuntimeError('imported')\n")
    assert len(the_hash()) == 64


def test_nothing_has_changed_before_the_first_freeze_nor_right_after_it(package):
    assert lock.changes(finding()) == []
    lock.freeze(finding(), "2026-11-01", records_exist=False)
    assert lock.changes(finding()) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("measure.py", "0.5", "0.4", True),  # a threshold far from the claims
        ("experiment.py", '"steps": 10', '"steps": 20', True),
        ("experiment.py", "def units", "# a comment\ndef units", False),
        ("figures.py", "1", "2", False),  # not imported by the experiment
    ],
)
def test_an_edit_of_the_experiment_is_told_with_the_date_of_the_lock(package, lab, file, old, new, told):
    lock.freeze(finding(), "2026-11-01", records_exist=False)
    path = lab / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    sentence = "The experiment's code has changed since the claims were frozen on 2026-11-01."
    assert lock.changes(finding()) == ([sentence] if told else [])
    assert lock.status(finding()) == {"slope": "frozen 2026-11-01"}


def test_a_changed_preset_is_told_by_name(package):
    lock.freeze(finding(), "2026-11-01", records_exist=False)
    assert lock.changes(finding(cpu={"steps": 20})) == [
        "The parameters of preset 'cpu' have changed since the claims were frozen on 2026-11-01."
    ]
    assert lock.changes(finding(cpu={"steps": 10})) == []  # said otherwise, but the same run


def test_a_second_freeze_takes_over_the_experiment_only_while_there_are_no_records(package):
    lock.freeze(finding(), "2026-11-01", records_exist=False)
    changed = finding(cpu={"steps": 20})
    assert lock.freeze(changed, "2026-11-02", records_exist=False) == []
    assert lock.changes(changed) == []
    lock.freeze(finding(), "2026-11-03", records_exist=True)
    assert lock.changes(finding()) == [
        "The parameters of preset 'cpu' have changed since the claims were frozen on 2026-11-02."
    ]


def test_a_lock_without_the_experiment_says_not_recorded_and_a_late_entry_says_that_it_is_late(package):
    lock.freeze(finding(), "2026-11-01", records_exist=False)
    path = package / "claims.lock"
    entries = json.loads(path.read_text())
    del entries["_run"]
    path.write_text(json.dumps(entries))
    [sentence] = lock.changes(finding())
    assert sentence.endswith("since the claims were frozen on 2026-11-01 is not recorded.")
    lock.freeze(finding(), "2026-11-05", records_exist=True)
    assert lock.changes(finding()) == []
    [sentence] = lock.changes(finding(gpu={"steps": 99}))
    assert "since they were recorded on 2026-11-05, when records existed already" in sentence

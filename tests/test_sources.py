"""The closure of sources: it follows every import that can run, and a hash changes exactly when code does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evolm import sources
from evolm.sources import source_closure

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = "evolm.findings.toy"
EXPERIMENT = f"{MANIFEST}.experiment"
TREE = {
    "__init__.py": '__version__ = "1"\n',
    "finding.py": "class Params: ...\n",
    "unused.py": "x = 1\n",
    "lm/__init__.py": '"""Only prose."""\n',
    "lm/train.py": "from . import optim\ndef train():\n    from evolm.lm.data import corpus\n    return corpus\n",
    "lm/optim.py": "rate = 0.1\n",
    "lm/data.py": "corpus = 'text'\n",
    "lm/types.py": "X = int\n",
    "stats/__init__.py": "from .fit import power_law\n",
    "stats/fit.py": "def power_law(): ...\n",
    "findings/__init__.py": '"""Findings."""\n',
    "findings/toy/__init__.py": "from evolm.finding import Params\nCLAIM = 'a long sentence'\n",
    "findings/toy/model.py": "import evolm.lm.train\nimport numpy\n",
    "findings/toy/experiment.py": (
        "from __future__ import annotations\n"
        "from typing import TYPE_CHECKING\n"
        "from ...stats import power_law\n"
        "from .model import net\n"
        "if TYPE_CHECKING:\n    from evolm.lm import types\n"
        'def run(x):\n    """Doc."""\n    return x + 1  # comment\n'
    ),
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in TREE.items():
        path = tmp_path / "evolm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(sources, "PACKAGE", tmp_path / "evolm")
    return tmp_path / "evolm"


def test_the_closure_is_every_module_that_can_run_and_no_other(package: Path) -> None:
    assert set(source_closure(EXPERIMENT)) == {
        EXPERIMENT,
        f"{MANIFEST}.model",  # from .model import
        "evolm.stats",  # a package whose __init__ runs code
        "evolm.stats.fit",  # relative import inside it
        "evolm.lm.train",  # import a.b.c
        "evolm.lm.optim",  # from . import module
        "evolm.lm.data",  # inside a function
    }


def test_the_manifest_enters_only_when_a_name_is_imported_from_it(package: Path) -> None:
    assert MANIFEST not in source_closure(EXPERIMENT)
    (package / "findings/toy/model.py").write_text("from . import CLAIM\n")
    assert {MANIFEST, "evolm.finding"} <= set(source_closure(EXPERIMENT))
    (package / "findings/toy/model.py").write_text(f"from {MANIFEST} import *\n")
    assert MANIFEST in source_closure(EXPERIMENT)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("# comment", "# another"),
        lambda text: text.replace('    """Doc."""\n', '    """A\n    longer text."""\n'),
        lambda text: text.replace('    """Doc."""\n', ""),
        lambda text: text.replace("x + 1", "(x   +\n            1)"),
        lambda text: "# header\n\n" + text,
    ],
)
def test_comments_formatting_and_docstrings_do_not_change_a_hash(package: Path, edit: object) -> None:
    before = source_closure(EXPERIMENT)
    path = package / "findings/toy/experiment.py"
    path.write_text(edited := edit(path.read_text()))  # type: ignore[operator]
    assert edited != TREE["findings/toy/experiment.py"]
    assert source_closure(EXPERIMENT) == before


@pytest.mark.parametrize(
    ("old", "new"), [("x + 1", "x - 1"), ("x + 1", "x + 1.0"), ("x + 1", "x + True"), ("run(x)", "run(y)"), ("+", "*")]
)
def test_any_change_of_code_changes_its_own_hash_alone(package: Path, old: str, new: str) -> None:
    before = source_closure(EXPERIMENT)
    path = package / "findings/toy/experiment.py"
    path.write_text(path.read_text().replace(old, new, 1))
    after = source_closure(EXPERIMENT)
    assert {name for name in before if before[name] != after[name]} == {EXPERIMENT}


def test_a_string_that_is_used_is_not_taken_for_a_docstring(package: Path) -> None:
    before = source_closure("evolm.lm.data")
    (package / "lm/data.py").write_text("corpus = 'other text'\n")
    assert source_closure("evolm.lm.data") != before


def test_none_and_nothing_hash_differently(package: Path) -> None:
    hashes = set()
    for text in ("return", "return None", "return 'None'", "return ()", "return []"):
        (package / "unused.py").write_text(f"def f():\n    {text}\n")
        hashes.add(source_closure("evolm.unused")["evolm.unused"])
    assert len(hashes) == 5


def test_a_missing_module_is_named_with_its_importer(package: Path) -> None:
    (package / "lm/optim.py").write_text("import evolm.lm.gone\n")
    with pytest.raises(ModuleNotFoundError, match=r"evolm\.lm\.optim imports evolm\.lm\.gone"):
        source_closure(EXPERIMENT)
    with pytest.raises(ModuleNotFoundError, match=r"no module 'evolm\.nothing'"):
        source_closure("evolm.nothing")


def test_import_cycles_end(package: Path) -> None:
    (package / "lm/optim.py").write_text("import evolm.lm.train\n")
    assert {"evolm.lm.train", "evolm.lm.optim"} <= set(source_closure("evolm.lm.train"))


def test_hashing_imports_nothing() -> None:
    code = (
        "import sys; from evolm.sources import source_closure as c; n = c('evolm.runner'); "
        "assert 'evolm.record' in n and 'evolm.tables' in n, n; "
        "assert not {'evolm.record', 'evolm.runner', 'torch', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_module_outside_the_package_is_followed_into_it() -> None:
    closure = source_closure("fake_experiment")
    assert {"fake_experiment", "evolm.finding"} <= set(closure)
    assert all(name == "fake_experiment" or name.startswith("evolm.") for name in closure)

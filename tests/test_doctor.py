"""`evolm doctor`: what is missing is named with the command that mends it, and fails only when it is required."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import coin_project
import pytest
from coin_project import REPOSITORY, Project
from packaging.requirements import Requirement

from evolm import cli, doctor

project = coin_project.project


@pytest.fixture
def sound(project: Project) -> Project:
    """The coin project with everything that a checkout has."""
    shutil.copy(REPOSITORY / "pyproject.toml", project.root)
    vendored = project.root / "book" / "_vendor" / "mathjax"
    vendored.mkdir(parents=True)
    (vendored / "LICENSE").write_text("free")
    digest = doctor._sha256(vendored / "LICENSE")
    listing = {"mathjax": {"package": "mathjax@3", "files": {"mathjax/LICENSE": digest}}}
    (vendored.parent / "vendored.json").write_text(json.dumps(listing))
    return project


def named(checks: list[doctor.Check], name: str) -> doctor.Check:
    (found,) = [check for check in checks if check.name == name]
    return found


def test_a_sound_checkout_is_healthy_and_every_gap_has_a_remedy(sound: Project) -> None:
    checks = doctor.examine()
    assert doctor.healthy(checks), [check for check in checks if not check.ok]
    assert {"python", "packages", "packages [book]", "device", "store", "cache", "disk", "browser"} <= {
        c.name for c in checks
    }
    assert all(bool(check.mend) != check.ok for check in checks)


def test_an_altered_or_missing_book_asset_names_the_script_that_remakes_it(sound: Project) -> None:
    asset = sound.root / "book" / "_vendor" / "mathjax" / "LICENSE"
    asset.write_text("altered")
    check = named(doctor.examine(), "book assets")
    assert (check.ok, check.required, check.mend) == (False, True, "python book/vendor.py")
    assert "mathjax/LICENSE" in check.detail
    (asset.parent.parent / "vendored.json").unlink()
    assert "vendored.json is not there" in named(doctor.examine(), "book assets").detail


def test_a_missing_notebook_is_named(sound: Project) -> None:
    sound.notebook.unlink()
    check = named(doctor.examine(), "notebooks")
    assert (check.ok, check.detail) == (False, "missing for coin-flips")


def test_packages_missing_or_too_old_are_named_with_the_install_command(
    sound: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = [
        Requirement("torch>=999"),
        Requirement("no-such-package-here"),
        doctor._of_extra("also-not-here", "book"),
    ]
    monkeypatch.setattr(doctor, "requirements", lambda: declared)
    checks = doctor.examine()
    base, extra = named(checks, "packages"), named(checks, "packages [book]")
    assert base.detail.startswith("torch ")
    assert base.detail.endswith("is not >=999; no-such-package-here is missing")
    assert base.mend.endswith("-m pip install -e .")
    assert (extra.required, extra.detail) == (False, "also-not-here is missing")
    assert extra.mend.endswith("-m pip install -e '.[book]'")
    assert not doctor.healthy(checks)


def test_a_store_that_cannot_be_written_is_said_with_the_variable_to_set(
    sound: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    check = named(doctor.examine(), "store")
    assert (check.ok, check.mend) == (False, "set EVOLM_STORE to another folder")
    assert "Permission denied" in check.detail


def test_looking_leaves_nothing_behind(sound: Project, tmp_path: Path) -> None:
    before = sorted(os.listdir(sound.root))
    doctor.examine()
    assert sorted(os.listdir(sound.root)) == before
    assert not sound.store.exists()


def test_the_command_exits_one_when_something_required_is_missing(
    sound: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    for expected in (0, 1):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["doctor", "--json"])
        assert stopped.value.code == expected
        checks = json.loads(capsys.readouterr().out)
        assert named([doctor.Check(**check) for check in checks], "notebooks").ok is (expected == 0)
        sound.notebook.unlink(missing_ok=True)
    with pytest.raises(SystemExit):
        cli.main(["doctor"])
    assert "MISSING  notebooks: missing for coin-flips\n         restore them" in capsys.readouterr().out

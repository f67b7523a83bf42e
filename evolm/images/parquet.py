"""Image sets in the parquet files of a hub repository, such as CIFAR-10 (`uoft-cs/cifar10`) and CIFAR-100.

The layout is the one that `datasets` writes: `<configuration>/train-00000-of-00001.parquet` and `test-...`, a column of
encoded images, a column of class labels, and what they are under the key `huggingface` of the schema.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evolm.images.image_set import ImageSet

#: Columns that say what is to be predicted; CIFAR-100 has a coarse label besides its fine one.
LABELS = ("label", "labels", "fine_label")
PATTERNS = ("*.parquet", "README.md")


def hub_folder(hub_id: str) -> Path:
    """The files of a data set on the hub, from its cache or downloaded. Raises ValueError saying how to get them."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, repo_type="dataset", allow_patterns=list(PATTERNS)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"the images {hub_id} are not on this machine, and the hub gave none ({reason.rstrip('.')}). Where there "
            f"is a network, run: hf download {hub_id} --repo-type dataset --local-dir FOLDER - then give FOLDER as name"
        ) from None


def cached_commit(hub_id: str) -> str | None:
    """The commit of a data set in the hub's cache, without asking the network; None where it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, repo_type="dataset", local_files_only=True)).name
    except LocalEntryNotFoundError:
        return None


def parquet_files(folder: Path, name: str) -> tuple[list[Path], list[Path]]:
    """The training and the test files of one configuration. Raises ValueError where it is not plain which they are."""
    train, test = (sorted(folder.rglob(f"{part}-*.parquet")) for part in ("train", "test"))
    if not train:
        raise ValueError(f"{name} holds no file train-*.parquet; expected the layout of a data set on the hub")
    if len(places := sorted({file.parent.name for file in (*train, *test)})) > 1:
        raise ValueError(f"{name} holds several sets ({', '.join(places)}); give the folder of one of them")
    return train, test


def read_parquet(folder: Path, name: str) -> ImageSet:
    """Every image of the training and the test files below `folder`, decoded: 60,000 of CIFAR take 0.8 GB of memory."""
    train, test = parquet_files(folder, name)
    features = _features(train[0])
    image = _column(features, "Image", ("img", "image"), train[0])
    label = _column(features, "ClassLabel", LABELS, train[0])
    encoded: list[bytes] = []
    labels: list[int] = []
    counts = []
    for part in (train, test):
        before = len(encoded)
        for file in part:
            pictures, answers = _rows(file, image, label)
            encoded += pictures
            labels += answers
        counts.append(len(encoded) - before)
    return ImageSet(
        name=name,
        licence=_licence(folder),
        classes=tuple(features[label]["names"]),
        images=torch.from_numpy(_decode(encoded, name)).to(torch.float32).div_(255),  # (n, channels, height, width)
        labels=torch.tensor(labels, dtype=torch.int64),  # (n,)
        test_count=counts[1],
    )


def _features(file: Path) -> dict[str, Any]:
    """What the columns are, as `datasets` wrote it into the file."""
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import read_schema

    try:
        notes = (read_schema(file).metadata or {}).get(b"huggingface")
    except (ArrowInvalid, OSError) as error:
        raise ValueError(f"{file} cannot be read as parquet ({str(error).splitlines()[0]}); fetch it again") from None
    if notes is None:
        raise ValueError(f"{file} does not say what its columns are; expected a file that `datasets` wrote")
    features: dict[str, Any] = json.loads(notes)["info"]["features"]
    return features


def _column(features: dict[str, Any], kind: str, preferred: tuple[str, ...], file: Path) -> str:
    """The one column of a kind; of several the first of `preferred`."""
    found = [name for name, feature in features.items() if feature.get("_type") == kind]
    chosen = found if len(found) == 1 else [name for name in preferred if name in found][:1]
    if not chosen:
        what = f"the columns {', '.join(found)}" if found else "no column"
        raise ValueError(f"{file} has {what} of type {kind}; expected one, or one called {' or '.join(preferred)}")
    return chosen[0]


def _rows(file: Path, image: str, label: str) -> tuple[list[bytes], list[int]]:
    from pyarrow.parquet import read_table

    table = read_table(file, columns=[image, label])
    pictures = table.column(image).combine_chunks().field("bytes").to_pylist()
    labels = table.column(label).to_pylist()
    if lacking := sum(picture is None for picture in pictures):
        raise ValueError(f"{file}: {lacking} images are names of other files; expected every image inside the file")
    if lacking := sum(answer is None or answer < 0 for answer in labels):
        raise ValueError(f"{file}: {lacking} images have no label; expected one for each")
    return pictures, labels


def _decode(encoded: list[bytes], name: str) -> npt.NDArray[np.uint8]:
    """Images of one size as bytes: (n, channels, height, width), in colour if the first one is."""
    from PIL import Image, UnidentifiedImageError

    pixels: npt.NDArray[np.uint8] | None = None
    mode = "RGB"
    for row, content in enumerate(encoded):
        try:
            with Image.open(io.BytesIO(content)) as picture:
                if pixels is None and picture.mode in ("1", "L"):
                    mode = "L"
                values = np.atleast_3d(np.asarray(picture.convert(mode)))  # (height, width, channels)
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f"{name}: image {row} cannot be decoded ({error}); fetch the set again") from None
        if pixels is None:
            pixels = np.empty((len(encoded), values.shape[2], *values.shape[:2]), np.uint8)
        if values.shape[:2] != pixels.shape[2:]:
            told = (
                f"{values.shape[0]} x {values.shape[1]} pixels, and others have {pixels.shape[2]} x {pixels.shape[3]}"
            )
            raise ValueError(f"{name}: image {row} has {told}; expected one size")
        pixels[row] = values.transpose(2, 0, 1)
    if pixels is None:
        raise ValueError(f"{name} holds no images; expected at least one")
    return pixels


def _licence(folder: Path) -> str:
    """What the card beside the files says."""
    from huggingface_hub import DatasetCard

    card = folder / "README.md"
    said = DatasetCard.load(card).data.to_dict().get("license") if card.is_file() else None
    return ", ".join([said] if isinstance(said, str) else said or ["unknown"])

"""How a set of grey images lies on disk: one safetensors file of bytes, with its facts in the header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from evolm.images.image_set import ImageSet

Bytes = npt.NDArray[np.uint8]
FACTS = "image_set"


class Facts(BaseModel):
    """The header of a stored set. `brightest` is the byte that becomes 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    licence: str
    classes: tuple[str, ...]
    brightest: int = Field(ge=1, le=255)
    test_count: int = Field(ge=0)


def write_stored(
    file: Path,
    pixels: Bytes,
    labels: Bytes,
    *,
    name: str,
    licence: str,
    classes: tuple[str, ...],
    brightest: int,
    test_count: int = 0,
) -> None:
    """Write `pixels` (n, height, width) and `labels` (n,) with their facts; the same input gives the same bytes."""
    facts = Facts(name=name, licence=licence, classes=classes, brightest=brightest, test_count=test_count)
    # safetensors writes a view's whole buffer, so both are laid out first.
    arrays = {"images": np.ascontiguousarray(pixels), "labels": np.ascontiguousarray(labels)}
    # One entry: the order of several would differ from run to run.
    file.write_bytes(save(arrays, metadata={FACTS: facts.model_dump_json()}))


def read_stored(file: Path) -> ImageSet:
    """The set in `file`, with one channel. Raises ValueError where it was not written by `write_stored`."""
    try:
        with safe_open(file, framework="pt") as source:
            facts = Facts.model_validate_json((source.metadata() or {})[FACTS])
            pixels, labels = source.get_tensor("images"), source.get_tensor("labels")
    except (SafetensorError, KeyError, ValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{file} is not a stored set of images ({reason}); restore it from where it came") from None
    if pixels.dtype != torch.uint8 or pixels.ndim != 3:
        told = f"{tuple(pixels.shape)} of {pixels.dtype}"
        raise ValueError(f"{file} holds images {told}; expected (n, height, width) of uint8")
    return ImageSet(
        name=facts.name,
        licence=facts.licence,
        classes=facts.classes,
        images=pixels[:, None].to(torch.float32).div_(facts.brightest),  # (n, 1, height, width)
        labels=labels.to(torch.int64),  # (n,)
        test_count=facts.test_count,
    )

"""The IDX format, in which MNIST and its kin come: a magic number, the sizes, then bytes (LeCun et al. 1998)."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

UNSIGNED_BYTE = 0x08  # the third byte of the magic number: the type of the data


def read_idx(file: Path, *, dimensions: int) -> npt.NDArray[np.uint8]:
    """The array of unsigned bytes in an uncompressed IDX file, with `dimensions` axes; the first is the items.

    Raises ValueError where the header is not that of such a file, or where data are missing or left over.
    """
    content = file.read_bytes()
    header = 4 + 4 * dimensions
    if content[:2] == b"\x1f\x8b":
        raise ValueError(f"{file} is compressed; unpack it with gunzip first")
    if len(content) < header:
        raise ValueError(f"{file} has {len(content)} bytes; an IDX header of {dimensions} dimensions has {header}")
    zero, kind, axes = struct.unpack_from(">HBB", content)
    if zero != 0 or kind != UNSIGNED_BYTE:
        told = f"starts with {content[:4].hex()}"
        raise ValueError(f"{file} {told}; an IDX file of unsigned bytes starts with 0000{UNSIGNED_BYTE:02x}")
    if axes != dimensions:
        raise ValueError(f"{file} has {axes} dimensions; expected {dimensions}: images have three, labels one")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    expected, found = math.prod(shape), len(content) - header
    if found != expected:
        wrong = "it was cut short" if found < expected else "more follows than belongs to it"
        raise ValueError(f"{file} names {' x '.join(map(str, shape))} bytes and holds {found}: {wrong}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)

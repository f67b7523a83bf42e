"""What the paper-scale models read: images with the usual augmentation, or rows of tokens of any text.

images = Images(load_images("uoft-cs/cifar10"), seed=0, batch=128)
text = Text.of("book.txt", tokenizer, length=1024, batch=8, seed=0)
inputs, answers = images.batch(step)              # of update `step`: depends on the seed and on it alone
for inputs, answers in text.held_out(): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from evolm.findings.stability_gap import text_world
from evolm.images import ImageSet, split
from evolm.lm.token_data import order

Pair = tuple[Tensor, Tensor]
HeldOut = Literal["test", "validation"]
PADDING = 4  # pixels around an image before a part of its own size is cut out (He et al. 2016, section 4.2)
AT_ONCE = 256
#: Share of a text that is held out, at its end.
HELD_OUT_SHARE = 0.1
#: The text that travels with the project.
OWN_TEXT = "speeches"


class Data(Protocol):
    """Inputs and answers of updates, and those that are held out."""

    def batch(self, step: int) -> Pair: ...

    def held_out(self) -> Iterator[Pair]: ...


class Images:
    """Images of one set, each channel with mean 0 and variance 1 over training images.

    Colour images (`augment` None) are shifted by up to `PADDING` pixels and mirrored at random. Those of one channel
    are taken as they are: a digit mirrored is none. `held_out` "validation" keeps a tenth of the training images for
    choosing settings, and leaves the test images alone. Raises ValueError for a batch larger than the training part.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        seed: int,
        batch: int,
        held_out: HeldOut = "test",
        augment: bool | None = None,
        device: str = "cpu",
    ) -> None:
        parts = split(images, seed, validation=0.1 if held_out == "validation" else 0.0)
        self._train, self._tested = parts.train, getattr(parts, held_out)
        if not 1 <= batch <= len(self._train):
            raise ValueError(f"batch = {batch}; expected 1 to {len(self._train)}, the training images of {images.name}")
        seen = images.images[self._train]
        mean, spread = (
            value.view(1, -1, 1, 1) for value in (seen.mean((0, 2, 3)), seen.std((0, 2, 3)).clamp(min=1e-6))
        )
        self._pixels = ((images.images - mean) / spread).to(device)  # (n, channels, side, side)
        self._labels = images.labels.to(device)
        self._seed, self._batch = seed, batch
        self._augment = images.images.shape[1] == 3 if augment is None else augment

    def batch(self, step: int) -> Pair:
        """Images (batch, channels, side, side) and labels (batch,)."""
        chosen = self._train[torch.from_numpy(order(len(self._train), self._batch, step, self._seed))]
        pixels = self._pixels[chosen]
        if self._augment:
            pixels = shifted_and_mirrored(pixels, torch.Generator().manual_seed(self._seed * 1_000_003 + step))
        return pixels, self._labels[chosen]

    def held_out(self) -> Iterator[Pair]:
        for part in self._tested.split(AT_ONCE):
            yield self._pixels[part], self._labels[part]


def shifted_and_mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to `PADDING` pixels either way, zeros coming in, and every second mirrored, at random."""
    n, _, height, width = images.shape
    down, right = torch.randint(2 * PADDING + 1, (2, n, 1, 1), generator=generator).to(images.device)
    mirrored = (torch.rand(n, generator=generator) < 0.5).to(images.device)
    rows = down + torch.arange(height, device=images.device).view(1, -1, 1)  # (n, height, 1)
    columns = right + torch.arange(width, device=images.device).view(1, 1, -1)  # (n, 1, width)
    columns = torch.where(mirrored.view(-1, 1, 1), columns.flip(-1), columns)
    padded = F.pad(images, [PADDING] * 4).permute(0, 2, 3, 1)
    return padded[torch.arange(n, device=images.device).view(-1, 1, 1), rows, columns].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Text:
    """Rows of tokens (row, length), of which all but the first are predicted."""

    train: Tensor
    tested: Tensor
    rows: int
    seed: int

    @classmethod
    def of(cls, source: str, tokenizer: Any, *, length: int, batch: int, seed: int, device: str = "cpu") -> Text:
        """The text of a UTF-8 file, its last tenth held out; "speeches" is the project's own, split by document.

        Raises ValueError for a file that is none, is empty or too short for a row in each part, or no text.
        """
        parts = []
        for part in _parts(source):
            ids = torch.tensor(tokenizer(part, add_special_tokens=False, verbose=False).input_ids, dtype=torch.int64)
            if length < 2 or len(ids) < length:
                raise ValueError(
                    f"{source} has a part of {len(ids)} tokens, and rows have {length}; give a longer text, or rows of "
                    "at least 2 tokens and at most that"
                )
            parts.append(ids[: len(ids) // length * length].view(-1, length).to(device))
        if not 1 <= batch <= len(parts[0]):
            raise ValueError(f"batch = {batch}; expected 1 to {len(parts[0])}, the training rows of {source}")
        return cls(parts[0], parts[1], batch, seed)

    def batch(self, step: int) -> Pair:
        """Tokens (batch, length - 1) and those that follow, of the same shape."""
        chosen = self.train[torch.from_numpy(order(len(self.train), self.rows, step, self.seed))]
        return chosen[:, :-1], chosen[:, 1:]

    def held_out(self) -> Iterator[Pair]:
        for part in self.tested.split(self.rows):
            yield part[:, :-1], part[:, 1:]


def _parts(source: str) -> tuple[str, str]:
    """Text to train on, and text that is held out."""
    if source == OWN_TEXT:
        train, tested = ("\n\n".join(d.text for d in text_world.split("general", part)) for part in ("train", "test"))
        return train, tested
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"there is no text {source}; expected a UTF-8 file, or {OWN_TEXT}, which is the project's own")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is no UTF-8 text ({error.reason} at byte {error.start}); convert it") from None
    cut = round((1 - HELD_OUT_SHARE) * len(text))
    return text[:cut], text[cut:]

"""Training batches as a pure function of (seed, step): a resumed run sees what an uninterrupted one saw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt16
from torch import Tensor

from meddet.data.coco import Sample
from meddet.data.images import read_canonical
from meddet.data.marks import write_marks
from meddet.data.transforms import Draw, move, prepare, recolour, standardise, target_in_view, view
from meddet.structures import Region, Target


@dataclass(frozen=True)
class Batch:
    """Standardised views with their targets in view pixels."""

    images: Float[Tensor, "B 3 H W"]
    targets: tuple[Target, ...]
    image_ids: tuple[int, ...]


@dataclass(frozen=True)
class ImageSet:
    """Decoded images, kept as 16-bit integers, with their annotations and regions; all in the same order."""

    samples: tuple[Sample, ...]
    images: tuple[UInt16[np.ndarray, "_ _"], ...]
    regions: tuple[Region, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def pixels(self, index: int) -> Float[Tensor, "1 h w"]:
        """Return one image in [0, 1]."""
        return torch.from_numpy(self.images[index].astype(np.float32) / 65535)[None]

    def view(self, index: int, size: tuple[int, int]) -> Float[Tensor, "3 H W"]:
        """Return the detector's input of one image, without random change."""
        return prepare(self.pixels(index), self.regions[index], size)

    def with_regions(self, regions: Sequence[Region]) -> "ImageSet":
        """Return the same images with other regions, in their order."""
        return ImageSet(self.samples, self.images, tuple(regions))

    def __add__(self, other: "ImageSet") -> "ImageSet":
        """Return the images of both; the pixels are shared."""
        return ImageSet(self.samples + other.samples, self.images + other.images, self.regions + other.regions)

    def where(self, keep: Callable[[Sample], bool]) -> "ImageSet":
        """Return the images whose sample `keep` accepts."""
        chosen = [index for index, sample in enumerate(self.samples) if keep(sample)]
        return ImageSet(
            tuple(self.samples[index] for index in chosen),
            tuple(self.images[index] for index in chosen),
            tuple(self.regions[index] for index in chosen),
        )


def load_images(folder: Path, samples: Sequence[Sample], regions: dict[int, Region]) -> ImageSet:
    """Decode the canonical images of `samples` once.

    Errors:
        ValueError: an image without a region, or what `read_canonical` finds wrong with a file.
    """
    for sample in samples:
        if sample.image_id not in regions:
            raise ValueError(f"regions: expected one of image {sample.image_id} ({sample.file_name}), found none")
    images = tuple(np.rint(read_canonical(folder / s.file_name) * 65535).astype(np.uint16) for s in samples)
    return ImageSet(tuple(samples), images, tuple(regions[s.image_id] for s in samples))


@dataclass(frozen=True)
class Batches:
    """Batches of changed views, endlessly: every epoch shows every image once, in an order of its own."""

    images: ImageSet
    size: tuple[int, int]
    batch_size: int
    seed: int
    draw: Draw

    def batch(self, step: int, *, part: int = 0, parts: int = 1) -> Batch:
        """Return the batch of a step, counted from 0, or one of equally large parts of it.

        Errors:
            ValueError: the batch size is no multiple of `parts`.
        """
        if self.batch_size % parts:
            raise ValueError(f"batch_size: expected a multiple of the {parts} processes, got {self.batch_size}")
        items = [self._item(step * self.batch_size + place) for place in range(part, self.batch_size, parts)]
        views, targets, ids = zip(*items, strict=True)
        stacked = torch.stack(views).contiguous(memory_format=torch.channels_last)
        return Batch(stacked, tuple(targets), tuple(ids))

    def _item(self, position: int) -> tuple[Tensor, Target, int]:
        epoch, place = divmod(position, len(self.images))
        index = int(np.random.default_rng([self.seed, epoch]).permutation(len(self.images))[place])
        change = self.draw(np.random.default_rng([self.seed, epoch, index]))
        sample, pixels = self.images.samples[index], self.images.pixels(index)
        if change.marks:
            pixels = write_marks(pixels, np.random.default_rng(change.seed))
        region = move(self.images.regions[index], change, sample.target.boxes)
        pixels = recolour(view(pixels, region, self.size), change)
        return standardise(pixels), target_in_view(sample.target, region, self.size), sample.image_id

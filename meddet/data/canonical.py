"""Raw images into canonical ones: upright, in [0, 1], named by their number, with the boxes that belong to them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meddet.data.burned_in import find_burned_in_text
from meddet.data.images import Image, read_canonical, read_image, write_canonical
from meddet.data.intensity import intensity_statistics
from meddet.data.provenance import read_provenance
from meddet.data.raw import RawBox, RawImage, hash_patient, locate_image
from meddet.data.scan import BRIGHT
from meddet.data.upright import Turn

_DECIMALS = 6
_SPACING_TOLERANCE = 0.02


@dataclass(frozen=True)
class CanonicalImage:
    """A canonical image as it was written, `turn`ed upright. `statistics` are those of `intensity_statistics`.

    `brightness` is that of the file (`scan.brightness`).
    """

    image_id: int
    file_name: str
    patient_id: str
    width: int
    height: int
    spacing_mm: tuple[float, float] | None
    study: str | None
    instance: str | None
    turn: Turn
    brightness: float | None
    statistics: Mapping[str, float]

    @property
    def is_turned(self) -> bool:
        """Say whether the file's pixels lay otherwise."""
        return self.turn != Turn()


@dataclass(frozen=True)
class Inspected:
    """What one file was: `image` is None where text is burned in, and nothing was written then."""

    image: CanonicalImage | None
    is_dicom: bool
    tags: tuple[str, ...]


def canonicalise(
    image: RawImage, *, data: Path, folder: Path, percentiles: tuple[float, float], max_pixels: int
) -> Inspected:
    """Read an image of `data`, look for what names somebody, and write it upright as `folder`/<image id>.png.

    Errors:
        ValueError: unreadable, or of another size or spacing than annotations.json says.
    """
    source = locate_image(data, image)
    if image.windowed:
        shown = read_canonical(source)
        read = Image(shown, spacing_mm=None, brightness=float(np.percentile(shown, BRIGHT)))
    else:
        read = read_image(source, percentiles=percentiles, max_pixels=max_pixels)
    height, width = read.pixels.shape
    if (width, height) != (image.width, image.height):
        raise ValueError(
            f"{source}: expected {image.width} x {image.height} (width x height), as image {image.id} of "
            f"annotations.json says, got {width} x {height}"
        )
    spacing = _spacing(source, image, read)
    header = read_provenance(source)
    tags = header.tags if header else ()
    if (header and header.burned_in) or find_burned_in_text(read.pixels):
        return Inspected(None, header is not None, tags)
    turn = read.to_upright or Turn()
    pixels = turn.pixels(read.pixels)
    name = f"{image.id:06d}.png"
    write_canonical(folder / name, pixels)
    spacing = None if spacing is None else turn.of_axes(spacing)
    canonical = CanonicalImage(
        image_id=image.id,
        file_name=name,
        patient_id=hash_patient(image.patient_id),
        width=pixels.shape[1],
        height=pixels.shape[0],
        spacing_mm=None if spacing is None else (round(spacing[0], _DECIMALS), round(spacing[1], _DECIMALS)),
        study=(header.study if header else None) or image.study,
        instance=(header.instance if header else None) or image.instance,
        turn=turn,
        brightness=None if read.brightness is None else round(read.brightness, _DECIMALS),
        statistics=intensity_statistics(pixels),
    )
    return Inspected(canonical, header is not None, tags)


def turn_boxes(images: Iterable[CanonicalImage], boxes: Sequence[RawBox]) -> tuple[RawBox, ...]:
    """Give the boxes on these images, turned as they were."""
    turns = {image.image_id: (image.turn, (image.height, image.width)) for image in images}
    turned = []
    for box in boxes:
        turn, size = turns.get(box.image_id, (None, (0, 0)))
        if turn is not None and turn != Turn():
            x, y, width, height = box.bbox
            corners = np.array([[x, y, x + width, y + height]])
            x1, y1, x2, y2 = turn.boxes(corners, turn.of_axes(size))[0].tolist()
            box = box.model_copy(update={"bbox": [x1, y1, x2 - x1, y2 - y1]})
        turned += [] if turn is None else [box]
    return tuple(turned)


def _spacing(source: Path, image: RawImage, read: Image) -> tuple[float, float] | None:
    """Give the file's own spacing, or that of annotations.json where it has none; both must agree."""
    said = None if image.spacing_mm is None else (image.spacing_mm[0], image.spacing_mm[1])
    if read.spacing_mm is None or said is None:
        return read.spacing_mm or said
    if not np.allclose(read.spacing_mm, said, rtol=_SPACING_TOLERANCE):
        raise ValueError(
            f"{source}: expected the spacing {said[0]:g} x {said[1]:g} mm (row, column), as image {image.id} of "
            f"annotations.json says, got {read.spacing_mm[0]:g} x {read.spacing_mm[1]:g} mm"
        )
    return read.spacing_mm

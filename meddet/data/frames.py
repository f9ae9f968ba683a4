"""What holds for each frame of a DICOM file: classic elements, and those in the functional groups of Enhanced MR."""

import numpy as np
from pydicom.dataset import Dataset

from meddet.data.scan import Refused
from meddet.data.upright import Turn, upright

_CLASSIC = (
    *("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"),
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
)
_GROUPS = (
    *("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence"),
    *("PixelValueTransformationSequence", "FrameVOILUTSequence"),
)


def frame_header(dataset: Dataset, index: int) -> Dataset:
    """Gather a frame's elements: the file's own, overruled by the shared groups, overruled by the frame's groups."""
    header = Dataset()
    for keyword in _CLASSIC:
        if keyword in dataset:
            header[keyword] = dataset[keyword]
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if own and len(own) <= index:
        raise Refused(f"expected functional groups of every frame, got {len(own)} of more")
    for groups in [*shared[:1], *own[index : index + 1]]:
        for keyword in _GROUPS:
            for item in (groups.get(keyword) or [])[:1]:
                header.update(item)
    return header


def frame_order(dataset: Dataset, count: int) -> tuple[int, ...]:
    """Sort the frames along their common normal; where positions or orientations are missing or differ, as they are."""
    headers = [frame_header(dataset, index) for index in range(count)]
    vectors = [(_vector(h, "ImageOrientationPatient", 6), _vector(h, "ImagePositionPatient", 3)) for h in headers]
    orientations = [orientation for orientation, _ in vectors if orientation is not None]
    positions = [position for _, position in vectors if position is not None]
    if len(orientations) < count or len(positions) < count or np.ptp(orientations, axis=0).max() > 0.01:
        return tuple(range(count))
    normal = np.cross(orientations[0][:3], orientations[0][3:])
    return tuple(int(index) for index in np.argsort(np.array(positions) @ normal, kind="stable"))


def frame_turn(header: Dataset) -> Turn | None:
    """Give the turn that sets a frame upright, where the file knows its orientation and it is sagittal."""
    orientation = _vector(header, "ImageOrientationPatient", 6)
    return None if orientation is None else upright(orientation)


def frame_spacing(header: Dataset) -> tuple[float, float] | None:
    """Read the spacing of rows and columns in mm."""
    spacing = _vector(header, "PixelSpacing", 2)
    if spacing is None:
        return None
    if min(spacing) <= 0:
        raise Refused(f"expected a positive PixelSpacing, got {spacing[0]:g} and {spacing[1]:g}")
    return spacing[0], spacing[1]


def _vector(header: Dataset, keyword: str, length: int) -> tuple[float, ...] | None:
    value = header.get(keyword)
    if not value:
        return None
    numbers = tuple(float(number) for number in value)
    if len(numbers) != length or not np.isfinite(numbers).all():
        raise Refused(f"expected {length} numbers in {keyword}, got {len(numbers)}")
    return numbers

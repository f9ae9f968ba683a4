"""The header of a file of any kind that is read."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import nibabel
import numpy as np
from pydicom.errors import BytesLengthException, InvalidDicomError

from meddet.data.dicom import is_dicom
from meddet.data.nifti import read_volume
from meddet.data.png import read_png
from meddet.data.scan import Refused
from meddet.data.tiff import read_tiff
from meddet.importing.geometry import nifti_plane, square_size
from meddet.importing.header import Header, Left, Subject, quotable
from meddet.importing.header_dicom import read_dicom_header

_BROKEN = (
    *(AttributeError, EOFError, IndexError, KeyError, NotImplementedError, OSError, OverflowError, RuntimeError),
    *(TypeError, ValueError, BytesLengthException, InvalidDicomError, struct.error, zlib.error),
)


def read_header(path: Path, *, key: bytes, max_pixels: int) -> Header | Left:
    """Read a file's header.

    Errors:
        ValueError: what was expected and what came, without the file's name and without anything that it holds.
    """
    name = path.name.lower()
    with _quietly():
        if name.endswith((".nii", ".nii.gz")):
            return _nifti(path, max_pixels=max_pixels)
        if name.endswith((".png", ".tif", ".tiff")):
            return _picture(path, max_pixels=max_pixels)
        if is_dicom(path) or name.endswith((".dcm", ".ima")):
            return read_dicom_header(path, key=key, max_pixels=max_pixels)
    raise ValueError("expected DICOM, NIfTI, PNG or TIFF, got another kind of file")


@contextmanager
def _quietly() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Refused as refusal:
        raise ValueError(quotable(str(refusal))) from None
    except _BROKEN as error:
        raise ValueError(f"expected a legible header, got a broken one ({type(error).__name__})") from None


def _nifti(path: Path, *, max_pixels: int) -> Header:
    volume = read_volume(path, max_pixels=max_pixels)
    cut = volume.sagittal(0)
    height, width = square_size(cut.values.shape, cut.spacing_mm)
    affine, shape = cast(nibabel.Nifti1Image, nibabel.load(path)).affine, volume.stored.shape
    affine = affine @ nibabel.orientations.inv_ornt_aff(nibabel.io_orientation(affine), shape)
    upright = tuple(shape[axis] for axis in volume.axes)
    from_left = range(volume.num_slices)[:: -1 if volume.flips[0] else 1]
    planes = tuple(nifti_plane(affine, upright, index, (width, height)) for index in from_left)
    return Header(kind="nifti", size=(width, height), planes=planes, subject=Subject(None))


def _picture(path: Path, *, max_pixels: int) -> Header | Left:
    try:
        read = read_png if path.name.lower().endswith(".png") else read_tiff
        values = read(path, max_pixels=max_pixels).values
    except Refused as refusal:
        if "colours" in str(refusal):
            return Left("outside the intended use", "a colour picture, not an image of a scanner")
        raise
    if np.ptp(values) == 0:
        return Left("outside the intended use", "a blank image")
    return Header(kind="picture", size=(values.shape[1], values.shape[0]), planes=(None,), subject=Subject(None))

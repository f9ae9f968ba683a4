"""Small studies of one patient, written as DICOM."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from pydicom.uid import generate_uid

from tests.dicom_writer import write_dicom

SAGITTAL = ["0", "1", "0", "0", "0", "-1"]
AXIAL = ["1", "0", "0", "0", "1", "0"]
CORONAL = ["1", "0", "0", "0", "0", "-1"]


def _tissue(seed: int, shape: tuple[int, int] = (128, 112)) -> np.ndarray:
    smooth = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).uniform(0, 1, shape), 4)
    return np.rint((smooth - smooth.min()) / np.ptp(smooth) * 1000).astype(np.uint16)


def _write_series(
    folder: Path, name: str, *, study: str = "1", slices: int = 5, values: np.ndarray | None = None, **elements: Any
) -> list[Path]:
    """Write the slices of a series, 3 mm apart from the right of the patient to the left; elements overrule."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(slices):
        path = folder / f"{name}_{number:02d}.dcm"
        content = {
            "Modality": "MR",
            "SOPInstanceUID": generate_uid(entropy_srcs=[study, name, str(number)]),
            "StudyInstanceUID": generate_uid(entropy_srcs=[study]),
            "SeriesInstanceUID": generate_uid(entropy_srcs=[study, name]),
            **{"PatientID": "id-17", "PatientName": "Doe^Jane", "PatientSex": "F", "PatientAge": "041Y"},
            **{"Manufacturer": "Maker", "ManufacturerModelName": "Model", "MagneticFieldStrength": "1.5"},
            **{"RepetitionTime": "3000", "EchoTime": "100", "ScanningSequence": "SE"},
            **{"SeriesDescription": "T2 TSE SAG HWS", "BodyPartExamined": "CSPINE"},
            **{"PixelSpacing": ["1", "1"], "ImageOrientationPatient": SAGITTAL},
            "ImagePositionPatient": [str(3 * (number - slices // 2)), "-50", "60"],
            **elements,
        }
        write_dicom(path, _tissue(number) if values is None else values, **content)
        paths.append(path)
    return paths


@pytest.fixture
def write_series() -> Callable[..., list[Path]]:
    return _write_series

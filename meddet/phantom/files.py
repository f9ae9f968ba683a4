"""How one image is written: PNG, or DICOM whose window gives the same grey values."""

from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Float
from numpy import ndarray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from meddet.phantom.presets import Preset, stream
from meddet.phantom.render import Picture, to_uint8
from meddet.phantom.study import Slice

_STEPS_PER_GREY = 8
_IMPLEMENTATION = UID("2.25.184820261122")
FIELDS_T = ("1.5", "3.0")
SCANNERS = ("Phantom A", "Phantom B", "Phantom C")


def write_png(path: Path, grey: Float[ndarray, "n n"]) -> None:
    """Write 8-bit grey."""
    Image.fromarray(to_uint8(grey)).save(path, format="PNG", optimize=False, compress_level=6)


def scanner(preset: Preset, patient: int) -> tuple[str, str]:
    """Give a patient's scanner and its field strength in tesla."""
    rng = stream(preset.seed, patient, 0, "export")
    return SCANNERS[int(rng.integers(len(SCANNERS)))], FIELDS_T[int(rng.integers(2))]


def _uid(preset: Preset, patient: int, image: int) -> str:
    rng = stream(preset.seed, patient, image, "export")
    high, low = (int(v) for v in rng.integers(0, 2**62, 2))
    return f"2.25.{(high << 62) | low}"


def write_dicom(path: Path, picture: Picture, item: Slice, preset: Preset) -> None:
    """Write a single-frame MR image: unsigned 16 bit, rescaled, with a window and the geometry of a sagittal slice."""
    patient = item.patient
    study = _uid(preset, patient.number, 0)
    stored = np.floor(np.clip(picture.grey * _STEPS_PER_GREY, 0, 65535) + 0.5).astype("<u2")
    slope = (1.0, 1.25, 2.0)[patient.number % 3]
    spacing = f"{patient.frame.fov_mm / preset.side:.6f}"
    width = 255 * _STEPS_PER_GREY * slope
    name, field = scanner(preset, patient.number)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{study}.{item.number}")
    meta.ImplementationClassUID = _IMPLEMENTATION
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = study, f"{study[:60]}.0"
    data.PatientID, data.PatientName = patient.name, f"Phantom^{patient.name}"
    data.PatientSex, data.PatientAge = patient.body.sex, f"{int(patient.body.age):03d}Y"
    data.Modality, data.Manufacturer, data.ManufacturerModelName = "MR", "MedDet phantom", name
    data.MagneticFieldStrength = field
    data.ImageType = ["DERIVED", "SECONDARY", "PHANTOM"]
    data.SeriesDescription, data.BodyPartExamined = "T2 TSE SAG (synthetic)", "CSPINE"
    data.BurnedInAnnotation = "NO"
    data.RepetitionTime, data.EchoTime = f"{picture.tissue.repetition_ms:.1f}", f"{picture.tissue.echo_ms:.1f}"
    data.InstanceNumber, data.SliceThickness = str(item.number), "3.0"
    data.PixelSpacing = [spacing, spacing]
    data.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    origin = patient.frame.origin_mm
    data.ImagePositionPatient = [f"{item.z_mm:.3f}", f"{-origin[0]:.3f}", f"{origin[1]:.3f}"]
    data.Rows = data.Columns = preset.side
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleSlope, data.RescaleIntercept = f"{slope:.2f}", "0"
    data.WindowCenter, data.WindowWidth = f"{width / 2:.2f}", f"{width:.2f}"
    data.PixelData = stored.tobytes()
    pydicom.dcmwrite(path, data, enforce_file_format=True)

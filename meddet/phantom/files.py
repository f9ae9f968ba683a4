"""How one image is written: PNG, or DICOM whose window gives the same grey values."""

from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Float
from numpy import ndarray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from meddet.phantom.look import to_uint8
from meddet.phantom.presets import Preset, stream
from meddet.phantom.render import Picture
from meddet.phantom.study import Slice

_STEPS_PER_GREY = 8
_IMPLEMENTATION = UID("2.25.184820261122")
_SERIES = {"t2": "T2 TSE SAG", "stir": "STIR SAG", "intermediate": "PD TSE SAG", "heavy": "T2 SPACE SAG"}
"""Part of the protocol's name: a series description would have to go from a file that names nobody."""


def write_png(path: Path, grey: Float[ndarray, "h w"]) -> None:
    """Write 8-bit grey."""
    Image.fromarray(to_uint8(grey)).save(path, format="PNG", optimize=False, compress_level=6)


def study_uid(preset: Preset, patient: int) -> str:
    """Give the StudyInstanceUID of a patient: it comes from the seed."""
    high, low = (int(v) for v in stream(preset.seed, patient, 0, "export").integers(0, 2**62, 2))
    return f"2.25.{(high << 62) | low}"


def instance_uid(preset: Preset, patient: int, image: int) -> str:
    """Give the SOPInstanceUID of an image."""
    return f"{study_uid(preset, patient)}.{image}"


def write_dicom(path: Path, picture: Picture, item: Slice, preset: Preset) -> None:
    """Write a single-frame MR image: unsigned 16 bit, rescaled, with a window and the geometry of a sagittal slice.

    It names nobody and no day, and says that its identity was removed: the gate for files of the clinic lets it in.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = UID(instance_uid(preset, item.patient.number, item.number))
    meta.ImplementationClassUID = _IMPLEMENTATION
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    _say_who(data, item, preset)
    _say_how(data, item)
    _place(data, item)
    _store(data, picture, slope=(1.0, 1.25, 2.0)[item.patient.number % 3])
    pydicom.dcmwrite(path, data, enforce_file_format=True)


def _say_who(data: Dataset, item: Slice, preset: Preset) -> None:
    patient = item.patient
    study = study_uid(preset, patient.number)
    data.StudyInstanceUID, data.SeriesInstanceUID = study, f"{study[:58]}.0.1"
    data.FrameOfReferenceUID = f"{study[:58]}.0.2"
    data.SeriesNumber, data.InstanceNumber = "1", str(item.number)
    data.PatientID, data.PatientName = patient.name, ""
    data.PatientSex, data.PatientAge = patient.body.sex, f"{int(patient.body.age):03d}Y"
    data.PatientIdentityRemoved, data.DeidentificationMethod = "YES", "synthetic"
    data.BurnedInAnnotation = "NO"


def _say_how(data: Dataset, item: Slice) -> None:
    protocol = item.patient.protocol
    sequence = protocol.sequence
    data.Modality, data.Manufacturer, data.ManufacturerModelName = "MR", "MedDet phantom", protocol.scanner
    data.ImageType = ["DERIVED", "SECONDARY", "PHANTOM"]
    data.ProtocolName = f"C-SPINE {_SERIES[sequence.weighting]} (synthetic)"
    data.BodyPartExamined = "CSPINE"
    data.PatientPosition, data.Laterality = "HFS", ""
    data.ScanningSequence, data.SequenceVariant = ["SE", "IR"] if sequence.weighting == "stir" else "SE", "SK"
    is_volume = sequence.weighting == "heavy"
    data.MRAcquisitionType, data.SequenceName = ("3D", "tse3d") if is_volume else ("2D", "tse2d")
    data.ScanOptions = ""
    data.MagneticFieldStrength = f"{sequence.field_t:.1f}"
    data.RepetitionTime, data.EchoTime = f"{sequence.repetition_ms:.1f}", f"{sequence.echo_ms:.1f}"
    if sequence.weighting == "stir":
        data.InversionTime = "160.0"
    data.EchoTrainLength = "16"


def _place(data: Dataset, item: Slice) -> None:
    """Give the geometry: rows of the image run to the back, columns to the feet, C2/3 is the origin."""
    patient = item.patient
    frame, protocol = patient.frame, patient.protocol
    x, y = frame.origin_mm
    thickness = float(max(protocol.readout.thickness_mm, 3))
    data.SliceThickness = f"{thickness:.1f}"
    data.SpacingBetweenSlices = f"{thickness * 1.1:.2f}"
    spacing = f"{frame.fov_mm / protocol.side:.6f}"
    data.PixelSpacing = [spacing, spacing]
    data.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    data.ImagePositionPatient = [f"{v:.3f}" for v in (item.z_mm, -x, y)]
    data.SliceLocation = f"{item.z_mm:.3f}"
    data.Rows, data.Columns = protocol.rows, protocol.columns


def _store(data: Dataset, picture: Picture, *, slope: float) -> None:
    stored = np.floor(np.clip(picture.grey * _STEPS_PER_GREY, 0, 65535) + 0.5).astype("<u2")
    width = 255 * _STEPS_PER_GREY * slope
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleSlope, data.RescaleIntercept = f"{slope:.2f}", "0"
    data.WindowCenter, data.WindowWidth = f"{width / 2:.2f}", f"{width:.2f}"
    data.PixelData = stored.tobytes()

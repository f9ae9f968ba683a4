"""The header of a DICOM file."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, MediaStorageDirectoryStorage

from meddet.data.dicom import is_dicom, read_dicom
from meddet.data.frames import frame_header
from meddet.data.identity import identifying_tags
from meddet.data.raw import hash_patient
from meddet.importing.geometry import dicom_plane
from meddet.importing.header import Header, Left, Subject
from meddet.importing.intended import SeriesHeader
from meddet.importing.pseudonym import age_years, pseudonym

_STUDY_TEXTS = ("StudyDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription")


def read_dicom_header(path: Path, *, key: bytes, max_pixels: int) -> Header | Left:
    """Read a file's header; its pixels are held against it, still encoded.

    Errors:
        Refused: as `read_dicom`.
        Exception: what pydicom raises at a broken element.
    """
    if is_dicom(path):
        storage = UID(str(read_file_meta_info(path).get("MediaStorageSOPClassUID") or ""))
        if storage == MediaStorageDirectoryStorage:
            return Left("ignored", "a DICOMDIR: the files themselves are read")
        if storage.name.endswith("Storage") and "Image" not in storage.name:
            return Left("outside the intended use", "a DICOM file without an image")
    frames = read_dicom(path, max_pixels=max_pixels)
    dataset = frames.dataset
    first = frame_header(dataset, frames.order[0])
    orientation = _floats(first, "ImageOrientationPatient", 6)
    uid, study = (str(dataset.get(keyword) or "") for keyword in ("SOPInstanceUID", "StudyInstanceUID"))
    return Header(
        kind="dicom",
        size=(int(dataset.Columns), int(dataset.Rows)),
        planes=tuple(dicom_plane(frame_header(dataset, index)) for index in range(len(frames.order))),
        subject=_subject(dataset, key=key),
        study=hash_patient(study) if study else None,
        series=hash_patient(f"{dataset.get('SeriesInstanceUID') or ''} {_rounded(orientation)}"),
        instance=hash_patient(uid) if uid else None,
        instance_uid=uid or None,
        identifying=tuple(identifying_tags(dataset)),
        burned_in=str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "YES",
        says=_says(dataset, orientation, len(frames.order)),
    )


def _subject(dataset: Dataset, *, key: bytes) -> Subject:
    names = [str(dataset.get(keyword) or "") for keyword in ("PatientName", "PatientBirthDate")]
    identity = str(dataset.get("PatientID") or "").strip() or " ".join(names).strip()
    dates = [str(dataset.get(keyword) or "") or None for keyword in ("PatientAge", "PatientBirthDate", "StudyDate")]
    scanner = " ".join(str(dataset.get(keyword) or "") for keyword in ("Manufacturer", "ManufacturerModelName"))
    sex = str(dataset.get("PatientSex") or "").strip().upper()
    return Subject(
        name=pseudonym(key, identity) if identity else None,
        age=age_years(*dates),
        sex=sex if sex in ("F", "M") else None,
        scanner=" ".join("".join(letter for letter in scanner if letter.isprintable()).split())[:64] or None,
        field_strength_t=_number(dataset, "MagneticFieldStrength"),
    )


def _says(dataset: Dataset, orientation: tuple[float, ...] | None, count: int) -> SeriesHeader:
    texts = [[str(_find(dataset, name) or "") for name in group] for group in (
        ("SeriesDescription",), ("ProtocolName", "BodyPartExamined"), _STUDY_TEXTS)]  # fmt: skip
    echo = _number(dataset, "EchoTime")
    modality = dataset.get("Modality")
    return SeriesHeader(
        modality=str(modality).strip() if modality else None,
        orientation=orientation,  # type: ignore[arg-type]
        repetition_ms=_number(dataset, "RepetitionTime"),
        echo_ms=echo if echo is not None else _number(dataset, "EffectiveEchoTime"),
        inversion_ms=_number(dataset, "InversionTime") or None,
        scanning_sequence=tuple(_words(dataset.get("ScanningSequence"))),
        texts=tuple(" ".join(filter(None, group)) for group in texts),
        kind=(*_words(dataset.get("ImageType")), UID(str(dataset.get("SOPClassUID") or "")).name),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        num_slices=count,
    )


def _find(dataset: Dataset, keyword: str) -> Any:
    """Look into the file, then into the functional groups of all frames, then into those of the first."""
    if dataset.get(keyword) is not None:
        return dataset.get(keyword)
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (dataset.get(groups) or [])[:1]:
            for element in group:
                for item in (element.value or [])[:1] if element.VR == "SQ" else []:
                    if item.get(keyword) is not None:
                        return item.get(keyword)
    return None


def _number(dataset: Dataset, keyword: str) -> float | None:
    value = _find(dataset, keyword)
    if value is None or value == "":
        return None
    number = float(np.atleast_1d(np.array(value, dtype=float))[0])
    return number if np.isfinite(number) else None


def _floats(header: Dataset, keyword: str, length: int) -> tuple[float, ...] | None:
    value = header.get(keyword)
    if not value or len(value) != length:
        return None
    return tuple(float(number) for number in value)


def _rounded(orientation: tuple[float, ...] | None) -> Float[np.ndarray, " 6"] | None:
    """Coarse enough that rounding doesn't part a series, fine enough to part a localiser's planes."""
    return None if orientation is None else np.round(np.array(orientation), 1) + 0.0


def _words(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(word).strip().upper() for word in ([value] if isinstance(value, str) else value)]

"""What a DICOM header says beside the picture: where it comes from, as hashes, and whom it may name, as tag names."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import pydicom

from meddet.data.dicom import is_dicom
from meddet.data.identity import identifying_tags
from meddet.data.raw import hash_patient


@dataclass(frozen=True)
class Provenance:
    """Hashes of the study's and the instance's UID, names of identifying elements, and what BurnedInAnnotation says."""

    study: str | None
    instance: str | None
    tags: tuple[str, ...]
    burned_in: bool


def read_provenance(path: Path) -> Provenance | None:
    """Read the header of a file that `read_image` accepts; None if it isn't DICOM."""
    if not is_dicom(path):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(path, stop_before_pixels=True)
        study, instance = (header.get(keyword) for keyword in ("StudyInstanceUID", "SOPInstanceUID"))
        return Provenance(
            study=hash_patient(str(study)) if study else None,
            instance=hash_patient(str(instance)) if instance else None,
            tags=tuple(identifying_tags(header)),
            burned_in=header.get("BurnedInAnnotation") == "YES",
        )

"""Read data/: patients, annotations and the raters' files, repaired and checked against each other. No pixels."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from meddet.data.annotations import AnnotationFile, read_annotations, repair_images, same_classes
from meddet.data.patients import read_patients
from meddet.data.raw import Patient, RawData, RawImage, Reading, Repair, enrolled, locate_image
from meddet.data.repair import BoxRules, repair_boxes

_REFERENCE = "annotations.json"


class OtherClasses(Exception):  # noqa: N818 - an outcome for the stage to announce
    """Two files name different classes; the text names both sets."""


def read_raw(folder: Path, rules: BoxRules) -> RawData:
    """Read, repair and check data/.

    Errors:
        ValueError: one line with the file, the row or id, what was expected and what came.
        OtherClasses: a rater's file and annotations.json differ in their category names (ids and order mean nothing).
    """
    patients = read_patients(folder / "patients.csv")
    names = frozenset(patient.patient_id for patient in patients)
    reference = read_annotations(folder / _REFERENCE)
    images, ids, repairs = repair_images(reference, None, names)
    for image in images:
        locate_image(folder, image)
    _check_patients_have_images(folder / "patients.csv", patients, reference.images)
    by_id = {image.id: image for image in images}
    boxes, touched = repair_boxes(reference, by_id, ids, rules)
    repairs += touched
    listed = {_REFERENCE: (len(reference.images), len(reference.rows))}
    readings = []
    for path in sorted(folder.glob("annotations.*.json")):
        file = read_annotations(path)
        fault = same_classes(reference, file)
        if fault is not None:
            raise OtherClasses(fault)
        reading, found = _reading(file, images, names, rules)
        readings.append(reading)
        repairs += found
        listed[path.name] = (len(file.images), len(file.rows))
    return RawData(
        patients=patients,
        images=images,
        boxes=boxes,
        readings=tuple(readings),
        repairs=tuple(repairs),
        listed=listed,
    )


def count_unlisted(folder: Path, images: Iterable[RawImage]) -> int:
    """Count the files of data/images that no entry names, hidden ones left out."""
    listed = {locate_image(folder, image).resolve() for image in images}
    files = {path.resolve() for path in (folder / "images").rglob("*") if path.is_file() and path.name[0] != "."}
    return len(files - listed)


def _reading(
    file: AnnotationFile, images: Iterable[RawImage], patients: frozenset[str], rules: BoxRules
) -> tuple[Reading, list[Repair]]:
    """Read a rater's file; its images are those of annotations.json with the same file name, whatever their ids."""
    known = {str(PurePosixPath(image.file_name)): image.id for image in images}
    by_id = {image.id: image for image in images}
    _, ids, repairs = repair_images(file, known, patients)
    boxes, touched = repair_boxes(file, by_id, ids, rules)
    rater = file.path.name.removeprefix("annotations.").removesuffix(".json")
    return Reading(rater=rater, images=frozenset(ids.values()), boxes=boxes), repairs + touched


def _check_patients_have_images(path: Path, patients: Iterable[Patient], images: Iterable[RawImage]) -> None:
    """An excluded patient may have none: an incomplete examination often isn't exported."""
    seen = {image.patient_id for image in images}
    for patient in patients:
        if enrolled(patient) and patient.patient_id not in seen:
            raise ValueError(
                f"{path}: patient {patient.patient_id!r}: expected at least one image in annotations.json, found none"
            )

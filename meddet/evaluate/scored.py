"""The file that two models are compared by: what is annotated on the test part, and what each model found there.

`test_md5` stands for the test part alone: image and patient ids, boxes, labels, levels and the pixels (md5 of each
canonical file). A model that was trained on other data, and tested on the same part, has the same one.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from meddet.classes import CLASSES, Level
from meddet.data.coco import Sample
from meddet.evaluate.calibration import Calibration
from meddet.evaluate.conformal import Conformal
from meddet.evaluate.discs import disc_levels
from meddet.evaluate.levels import Knots
from meddet.files import write_atomic
from meddet.structures import Detections, Target

FORMAT = 2
_BOX_DECIMALS = 3
_SCORE_DECIMALS = 6
_HASHED = ("image_id", "patient_id", "image_md5", "discs")


@dataclass(frozen=True)
class Scored:
    """One model on the test part. The tuples have one entry per image, by image id."""

    test_md5: str
    data_md5: str
    """Of the whole data set that the file was made from."""
    image_ids: tuple[int, ...]
    patients: tuple[str, ...]
    """Hashed."""
    groups: tuple[Mapping[str, str], ...]
    """By kind: sex, age, scanner, field_strength."""
    targets: tuple[Target, ...]
    levels: tuple[tuple[str, ...], ...]
    """Of each annotated disc, "" if unknown."""
    detections: tuple[Detections, ...]
    named: tuple[tuple[str, ...], ...]
    """Level that the model gave each detection, "" where it abstained."""
    thresholds: dict[str, float]
    """Operating point by class, chosen on validation."""
    score_threshold: float
    """Score below which detections were dropped."""
    nms_iou: float
    """IoU above which two boxes are at one place."""
    calibration: Calibration
    conformal: Conformal


@dataclass(frozen=True)
class Found:
    """What a model found on the images of the test part, in their order, and how it is read."""

    detections: Sequence[Detections]
    named: Sequence[Sequence[str]]
    """Level of each detection, "" where the model abstained."""
    thresholds: Mapping[str, float]
    score_threshold: float
    nms_iou: float
    calibration: Calibration
    conformal: Conformal


def write_scored(
    path: Path,
    models: Mapping[str, Found],
    samples: Sequence[Sample],
    *,
    images: Path,
    groups: Mapping[str, Mapping[str, str]],
    data_md5: str,
) -> None:
    """Write the file; boxes are xyxy in the image's pixels.

    Args:
        path: of the file.
        models: by name.
        samples: of the test part, by image id.
        images: folder of the canonical images.
        groups: by patient.
        data_md5: of the whole data set.

    Errors:
        ValueError: a patient without groups.
    """
    truth = [_truth(sample, images, groups) for sample in samples]
    content = {
        "format": FORMAT,
        "test_md5": _test_md5(truth),
        "data_md5": data_md5,
        "ground_truth": truth,
        "models": {name: _model(found, samples) for name, found in models.items()},
    }
    write_atomic(path, json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def read_models(path: Path) -> dict[str, Scored]:
    """Read every model of the file.

    Errors:
        ValueError: one line with the file, the key, what was expected and what came.
    """
    try:
        content = _File.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path}: expected the detections that evaluate writes, found none") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ValueError(f"{path}: {key}: {first['msg']}, got {str(first['input'])[:60]!r}") from None
    truth = [row.model_dump(mode="json") for row in content.ground_truth]
    ids = [row.image_id for row in content.ground_truth]
    if any(second <= first for first, second in pairwise(ids)):
        raise ValueError(f"{path}: ground_truth: expected each image once, by image_id, got another order")
    if content.test_md5 != _test_md5(truth):
        raise ValueError(f"{path}: test_md5: expected {_test_md5(truth)} of the ground truth, got {content.test_md5}")
    return {name: _scored(content, name, path) for name in content.models}


def read_scored(path: Path, model: str = "student") -> Scored:
    """Read one model of the file.

    Errors:
        ValueError: as `read_models`, or no such model.
    """
    models = read_models(path)
    if model not in models:
        raise ValueError(f"{path}: models: expected {model!r}, got {', '.join(sorted(models)) or 'none'}")
    return models[model]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _upright(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if box[2] < box[0] or box[3] < box[1]:
        raise ValueError("expected x1 <= x2 and y1 <= y2")
    return box


_Box = Annotated[tuple[float, float, float, float], AfterValidator(_upright)]
_Label = Literal["protrusion", "non-protrusion"]
_Hash = Field(pattern=r"^[0-9a-f]{32}$")


class _Disc(_Part):
    box_xyxy_px: _Box
    label: _Label
    level: str


class _Truth(_Part):
    image_id: int
    patient_id: str
    image_md5: str = _Hash
    groups: dict[str, str]
    discs: tuple[_Disc, ...]


class _Detection(_Part):
    box_xyxy_px: _Box
    label: _Label
    score: float = Field(ge=0, le=1)
    level: Level | Literal[""]


class _Image(_Part):
    image_id: int
    patient_id: str
    detections: tuple[_Detection, ...]


class _Limits(_Part):
    score_threshold: float = Field(ge=0, le=1)
    nms_iou: float = Field(ge=0, le=1)


class _Knots(_Part):
    score: tuple[float, ...]
    value: tuple[float, ...]

    @model_validator(mode="after")
    def _rises(self) -> "_Knots":
        Knots(self.score, self.value)
        return self


class _Calibration(_Part):
    detection: dict[_Label, _Knots]
    place: _Knots
    disc: _Knots


class _Conformal(_Part):
    alpha: float = Field(gt=0, lt=1)
    threshold: float | None
    patients: int = Field(ge=0)


class _Model(_Part):
    operating_point: dict[_Label, float]
    limits: _Limits
    calibration: _Calibration
    conformal: _Conformal
    images: tuple[_Image, ...]


class _File(_Part):
    format: Literal[2]
    test_md5: str = _Hash
    data_md5: str
    ground_truth: tuple[_Truth, ...]
    models: dict[str, _Model]


def _scored(content: _File, name: str, path: Path) -> Scored:
    model = content.models[name]
    truth = content.ground_truth
    where = f"{path}: models.{name}"
    if [(row.image_id, row.patient_id) for row in model.images] != [(row.image_id, row.patient_id) for row in truth]:
        raise ValueError(f"{where}.images: expected the images and patients of ground_truth in its order, got others")
    by_class = {"operating_point": [*model.operating_point], "calibration.detection": [*model.calibration.detection]}
    for key, names in by_class.items():
        if set(names) != set(CLASSES):
            raise ValueError(f"{where}.{key}: expected {', '.join(CLASSES)}, got {sorted(names)}")
    return Scored(
        test_md5=content.test_md5,
        data_md5=content.data_md5,
        image_ids=tuple(row.image_id for row in truth),
        patients=tuple(row.patient_id for row in truth),
        groups=tuple(row.groups for row in truth),
        targets=tuple(Target(*_tensors(row.discs)) for row in truth),
        levels=tuple(tuple(disc.level for disc in row.discs) for row in truth),
        detections=tuple(_detections(row.detections) for row in model.images),
        named=tuple(tuple(found.level for found in row.detections) for row in model.images),
        thresholds={label: model.operating_point[label] for label in CLASSES},  # type: ignore[index]
        score_threshold=model.limits.score_threshold,
        nms_iou=model.limits.nms_iou,
        calibration=_calibration(model.calibration),
        conformal=Conformal(**model.conformal.model_dump()),
    )


def _calibration(model: _Calibration) -> Calibration:
    by_class, place, disc = model.detection, model.place, model.disc
    return Calibration(
        {label: Knots(by_class[label].score, by_class[label].value) for label in CLASSES},  # type: ignore[index]
        Knots(place.score, place.value),
        Knots(disc.score, disc.value),
    )


def _tensors(rows: Sequence[_Disc] | Sequence[_Detection]) -> tuple[torch.Tensor, torch.Tensor]:
    boxes = torch.tensor([row.box_xyxy_px for row in rows], dtype=torch.float32).reshape(-1, 4)
    return boxes, torch.tensor([CLASSES.index(row.label) for row in rows], dtype=torch.int64)


def _detections(rows: Sequence[_Detection]) -> Detections:
    boxes, labels = _tensors(rows)
    return Detections(boxes, torch.tensor([row.score for row in rows], dtype=torch.float32), labels)


def _truth(sample: Sample, images: Path, groups: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    if sample.patient_id not in groups:
        raise ValueError(f"patients.csv: expected a row of patient {sample.patient_id}, found none")
    target = sample.target
    levels = disc_levels(target, sample.levels)
    with (images / sample.file_name).open("rb") as file:
        image_md5 = hashlib.file_digest(file, "md5").hexdigest()
    discs = [{**row, "level": level} for row, level in zip(_rows(target), levels, strict=True)]
    return {
        "image_id": sample.image_id,
        "patient_id": sample.patient_id,
        "image_md5": image_md5,
        "groups": dict(groups[sample.patient_id]),
        "discs": discs,
    }


def _model(found: Found, samples: Sequence[Sample]) -> dict[str, Any]:
    images = [
        {
            "image_id": sample.image_id,
            "patient_id": sample.patient_id,
            "detections": [
                {**row, "score": round(score, _SCORE_DECIMALS), "level": level}
                for row, score, level in zip(_rows(each), each.scores.tolist(), names, strict=True)
            ],
        }
        for sample, each, names in zip(samples, found.detections, found.named, strict=True)
    ]
    limits = {"score_threshold": found.score_threshold, "nms_iou": found.nms_iou}
    return {
        "operating_point": dict(found.thresholds),
        "limits": limits,
        "calibration": asdict(found.calibration),
        "conformal": asdict(found.conformal),
        "images": images,
    }


def _rows(boxed: Target | Detections) -> Iterator[dict[str, Any]]:
    for box, label in zip(boxed.boxes.tolist(), boxed.labels.tolist(), strict=True):
        yield {"box_xyxy_px": [round(side, _BOX_DECIMALS) for side in box], "label": CLASSES[label]}


def _test_md5(truth: Sequence[Mapping[str, Any]]) -> str:
    rows = [{key: row[key] for key in _HASHED} for row in truth]
    return hashlib.md5(json.dumps(rows, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from meddet.classes import LEVELS
from meddet.data.coco import Sample
from meddet.data.images import write_canonical
from meddet.evaluate.calibration import IDENTITY, Calibration
from meddet.evaluate.conformal import Conformal
from meddet.evaluate.levels import Knots
from meddet.evaluate.scored import Found, read_models, read_scored, write_scored
from meddet.structures import Detections, Target

BOXES = [[10.0, 20.0 * row, 40.123456, 20.0 * row + 10] for row in range(6)]
GROUPS = {"p": {"sex": "F"}, "q": {"sex": "M"}}


def sample(image_id: int, patient: str) -> Sample:
    target = Target(torch.tensor(BOXES), torch.tensor([0, 1, 1, 1, 0, 1]))
    name = f"{image_id}.png"
    return Sample(image_id, name, patient, 50, 130, target, LEVELS, None)


SAMPLES = [sample(3, "p"), sample(4, "q")]
CALIBRATION = Calibration(
    {"protrusion": Knots((0.1, 0.9), (0.2, 0.8)), "non-protrusion": Knots((0.3,), (0.4,))}, IDENTITY, IDENTITY
)
FOUND = Found(
    [Detections(torch.tensor(BOXES[:2]), torch.tensor([0.987654321, 0.5]), torch.tensor([0, 1])) for _ in SAMPLES],
    [("C2/3", "")] * 2,
    {"protrusion": 0.25, "non-protrusion": 0.5},
    0.05,
    0.6,
    CALIBRATION,
    Conformal(0.1, None, 3),
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for number in (3, 4):
        write_canonical(tmp_path / "images" / f"{number}.png", np.full((130, 50), number / 10, dtype=np.float32))
    return tmp_path / "images"


def write(images: Path, name: str = "detections.json", **changes: Any) -> Path:
    options = {"models": {"student": FOUND}, "samples": SAMPLES, "groups": GROUPS, "data_md5": "d.dir", **changes}
    path = images.parent / name
    write_scored(path, options.pop("models"), options.pop("samples"), images=images, **options)
    return path


def test_what_was_written_is_read(images: Path) -> None:
    scored = read_scored(write(images))
    assert scored.image_ids == (3, 4)
    assert scored.patients == ("p", "q")
    assert scored.groups == ({"sex": "F"}, {"sex": "M"})
    assert scored.levels == (LEVELS, LEVELS)
    assert scored.thresholds == FOUND.thresholds
    assert (scored.score_threshold, scored.nms_iou, scored.data_md5) == (0.05, 0.6, "d.dir")
    assert torch.equal(scored.targets[1].labels, SAMPLES[1].target.labels)
    assert torch.allclose(scored.targets[0].boxes, torch.tensor(BOXES), atol=0.0005)
    assert scored.detections[0].scores.tolist() == pytest.approx([0.987654, 0.5], abs=1e-7)
    assert scored.named == (("C2/3", ""), ("C2/3", ""))
    assert (scored.calibration, scored.conformal) == (FOUND.calibration, FOUND.conformal)
    assert scored.detections[1].labels.tolist() == [0, 1]


def test_the_test_parts_md5_is_that_of_what_is_tested_on(images: Path) -> None:
    first = read_scored(write(images)).test_md5
    other_model = replace(FOUND, thresholds={"protrusion": 0.3, "non-protrusion": 0.3})
    assert read_scored(write(images, models={"student": other_model}, data_md5="other.dir")).test_md5 == first
    box = replace(SAMPLES[0].target, boxes=SAMPLES[0].target.boxes + 1)
    label = replace(SAMPLES[0].target, labels=1 - SAMPLES[0].target.labels)
    changed = [
        replace(SAMPLES[0], target=box),
        replace(SAMPLES[0], target=label),
        replace(SAMPLES[0], patient_id="q"),
        replace(SAMPLES[0], levels=LEVELS[::-1]),
    ]
    sums = {read_scored(write(images, samples=[each, SAMPLES[1]])).test_md5 for each in changed}
    write_canonical(images / "3.png", np.full((130, 50), 0.31, dtype=np.float32))
    sums.add(read_scored(write(images)).test_md5)
    assert len(sums | {first}) == 6


def edit(content: dict[str, Any], key: str, value: object) -> None:
    *path, last = [int(part) if part.isdigit() else part for part in key.split("/")]
    for part in path:
        content = content[part]  # type: ignore[index]
    content[last] = value  # type: ignore[index]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", 1, "format: Input should be 2"),
        ("more", 1, "more: Extra inputs are not permitted"),
        ("test_md5", "0" * 32, "test_md5: expected .* of the ground truth"),
        ("ground_truth/0/discs/0/label", "non-protrusion", "test_md5: expected .* of the ground truth"),
        ("ground_truth/0/discs/0/label", "bulge", "ground_truth.0.discs.0.label"),
        ("ground_truth/0/discs/2/box_xyxy_px", [1, 2, 3], "ground_truth.0.discs.2.box_xyxy_px.3: Field required"),
        (
            "models/student/images/0/detections/1/box_xyxy_px",
            [3, 2, 1, 4],
            "box_xyxy_px: Value error, expected x1 <= x2",
        ),
        ("ground_truth/0/image_id", 4, "ground_truth: expected each image once"),
        ("models/student/images/1/image_id", 5, r"models.student.images: expected the images and patients"),
        ("models/student/images/1/patient_id", "p", r"models.student.images: expected the images and patients"),
        ("models/student/images/0/detections/1/score", 1.5, "models.student.images.0.detections.1.score"),
        ("models/student/images/0/detections/1/score", "0.5", "models.student.images.0.detections.1.score"),
        ("models/student/images/0/detections/1/score", float("nan"), "detections.1.score|the file: Invalid JSON"),
        ("models/student/operating_point", {"protrusion": 0.1}, "operating_point: expected protrusion, non-protrusion"),
        ("models/student/calibration/detection", {}, "calibration.detection: expected protrusion, non-protrusion, got"),
        ("models/student/calibration/place/score", None, "models.student.calibration.place.score"),
        ("models/student/calibration/disc/value", [1.0, 0.0], "calibration.disc: Value error, expected as many rising"),
        ("models/student/conformal/alpha", 1.0, "models.student.conformal.alpha"),
        ("models/student/images/0/detections/0/level", "C8", "models.student.images.0.detections.0.level"),
        ("models/student/limits/nms_iou", None, "models.student.limits.nms_iou"),
    ],
)
def test_anything_else_is_refused_in_one_line(images: Path, key: str, value: object, said: str) -> None:
    path = write(images)
    content = json.loads(path.read_text())
    edit(content, key, value)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said) as caught:
        read_scored(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"ground_truth": [], "models": {}}'])
def test_no_such_file_or_no_such_content_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "detections.json"
    with pytest.raises(ValueError, match=r"detections\.json: expected the detections that evaluate writes, found none"):
        read_models(path)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"detections\.json: ") as caught:
        read_models(path)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_in_it_is_named(images: Path) -> None:
    with pytest.raises(ValueError, match=r"models: expected 'resnet50', got student"):
        read_scored(write(images), "resnet50")


def test_a_patient_without_a_row_in_the_table_is_named(images: Path) -> None:
    with pytest.raises(ValueError, match=r"patients\.csv: expected a row of patient q, found none"):
        write(images, groups={"p": {}})


def test_the_same_content_is_the_same_bytes(images: Path) -> None:
    assert write(images).read_bytes() == write(images, "again.json").read_bytes()

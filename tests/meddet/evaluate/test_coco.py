import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from meddet.classes import CLASSES
from meddet.evaluate.coco import detection_numbers
from meddet.structures import Detections, Target

UNDEFINED = "undefined (n=0)"


def found(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return Detections(torch.tensor(boxes).reshape(-1, 4).float(), torch.tensor(scores), torch.tensor(labels).long())


def target(boxes: list[list[float]], labels: list[int]) -> Target:
    return Target(torch.tensor(boxes).reshape(-1, 4).float(), torch.tensor(labels).long())


def numbers(detections: list[Detections], targets: list[Target], **options: float) -> dict:
    options = {"score_threshold": 0.05, "nms_iou": 0.6, **options}
    return detection_numbers(detections, targets, classes=CLASSES, **options)


def random_case(seed: int, images: int = 8) -> tuple[list[Detections], list[Target]]:
    random = np.random.default_rng(seed)
    detections, targets = [], []
    for _ in range(images):
        corner = random.uniform(0, 200, (6, 2))
        boxes = np.concatenate([corner, corner + random.uniform(10, 40, (6, 2))], axis=1)
        labels = random.integers(0, 2, 6)
        noisy = np.repeat(boxes, 3, axis=0) + random.normal(0, 3, (18, 4))
        noisy[:, 2:] = np.maximum(noisy[:, 2:], noisy[:, :2])
        scores = random.uniform(0.06, 1, 18)
        order = np.argsort(-scores)
        guesses = np.where(random.uniform(size=18) < 0.7, np.repeat(labels, 3), random.integers(0, 2, 18))
        detections.append(
            Detections(
                torch.tensor(noisy[order], dtype=torch.float32),
                torch.tensor(scores[order], dtype=torch.float32),
                torch.tensor(guesses[order]),
            )
        )
        targets.append(Target(torch.tensor(boxes, dtype=torch.float32), torch.tensor(labels)))
    return detections, targets


def oracle(detections: list[Detections], targets: list[Target], folder: Path) -> np.ndarray:
    """COCOeval as its users run it: from files, with its own summary."""
    boxes, results = [], []
    for image, (each, truth) in enumerate(zip(detections, targets, strict=True), start=1):
        for (x1, y1, x2, y2), label in zip(truth.boxes.double().tolist(), truth.labels.tolist(), strict=True):
            area = (x2 - x1) * (y2 - y1)
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, "iscrowd": 0, "category_id": label + 1}
            boxes.append({"id": len(boxes) + 1, "image_id": image, **box})
        for (x1, y1, x2, y2), label, score in zip(
            each.boxes.double().tolist(), each.labels.tolist(), each.scores.double().tolist(), strict=True
        ):
            box = {"image_id": image, "category_id": label + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
            results.append(box)
    content = {
        "images": [{"id": index + 1} for index in range(len(targets))],
        "categories": [{"id": 1}, {"id": 2}],
        "annotations": boxes,
    }
    path = folder / "truth.json"
    path.write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", range(4))
def test_numbers_equal_cocoeval_run_from_files(seed: int, tmp_path: Path) -> None:
    detections, targets = random_case(seed)
    got = numbers(detections, targets)
    stats = oracle(detections, targets, tmp_path)
    expected = {"ap50_95_coco": stats[0], "ap50_coco": stats[1], "ap75_coco": stats[2], "ar100": stats[8]}
    assert {key: got[key] for key in expected} == pytest.approx(expected, abs=1e-6)


def test_perfect_boxes_and_classes_score_one_everywhere() -> None:
    truth = target([[10, 10, 30, 20], [10, 40, 30, 50]], [0, 1])
    got = numbers([Detections(truth.boxes, torch.tensor([0.9, 0.8]), truth.labels)], [truth])
    for part in (got, got["protrusion"], got["non-protrusion"], got["class_agnostic"]):
        keys = ("ap50_coco", "ap75_coco", "ap50_95_coco", "ap50_voc", "ar100", "recall50")
        assert [part[key] for key in keys] == pytest.approx([1.0] * 6)


def test_a_flipped_class_is_wrong_by_class_and_right_without_classes() -> None:
    truth = target([[10, 10, 30, 20], [10, 40, 30, 50]], [0, 1])
    got = numbers([Detections(truth.boxes, torch.tensor([0.9, 0.8]), 1 - truth.labels)], [truth])
    assert got["ap50_coco"] == 0
    assert got["recall50"] == 0
    assert got["class_agnostic"]["ap50_coco"] == pytest.approx(1)


def test_one_disc_seen_as_both_classes_is_no_false_positive_without_classes() -> None:
    truth = target([[10, 10, 30, 20], [10, 40, 30, 50]], [0, 1])
    both = found(
        [[10, 10, 30, 20], [10, 10, 30, 20], [10, 40, 30, 50], [10, 40, 30, 50]], [0.9, 0.85, 0.4, 0.3], [0, 1, 1, 0]
    )
    assert numbers([both], [truth])["class_agnostic"]["ap50_voc"] == pytest.approx(1)


def test_recall50_counts_only_scores_above_the_threshold() -> None:
    truth = target([[10, 10, 30, 20], [10, 40, 30, 50]], [0, 0])
    each = [Detections(truth.boxes, torch.tensor([0.9, 0.4]), truth.labels)]
    assert numbers(each, [truth], score_threshold=0.4)["protrusion"]["recall50"] == pytest.approx(0.5)
    assert numbers(each, [truth], score_threshold=0.39)["protrusion"]["recall50"] == pytest.approx(1)


def test_an_absent_class_is_undefined_and_left_out_of_the_mean() -> None:
    truth = target([[10, 10, 30, 20]], [1])
    got = numbers([Detections(truth.boxes, torch.tensor([0.9]), truth.labels)], [truth])
    assert set(got["protrusion"].values()) == {UNDEFINED}
    assert got["ap50_coco"] == pytest.approx(1)


@pytest.mark.parametrize("images", [0, 2])
def test_nothing_annotated_is_undefined_never_zero_or_minus_one(images: int) -> None:
    empty = [target([], []) for _ in range(images)]
    seen = [found([[0, 0, 5, 5]], [0.5], [0]) for _ in range(images)]
    got = numbers(seen, empty)
    parts = [got, got["protrusion"], got["non-protrusion"], got["class_agnostic"]]
    assert {value for part in parts for value in part.values() if not isinstance(value, dict)} == {UNDEFINED}


def test_no_detection_at_all_scores_zero() -> None:
    got = numbers([found([], [], [])], [target([[10, 10, 30, 20], [10, 40, 30, 50]], [0, 1])])
    assert got["ap50_coco"] == got["ap50_voc"] == got["recall50"] == 0

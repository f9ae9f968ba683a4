"""COCOeval is the oracle: every number of every class on random cases, with ties and with what is absent."""

import contextlib
import io
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_iou

from meddet.classes import CLASSES
from meddet.evaluate.coco import IOUS, detection_numbers
from meddet.evaluate.matching import above, without_class
from meddet.evaluate.ranking import by_coco, by_voc, rank, regrouped
from meddet.structures import Detections, Target

UNDEFINED = "undefined (n=0)"
Case = tuple[list[Detections], list[Target]]


def coco_of(parts: list[Any], num_classes: int) -> COCO:
    rows: list[dict[str, Any]] = []
    for image, part in enumerate(parts):
        scores = part.scores.double().tolist() if isinstance(part, Detections) else [None] * len(part.labels)
        for (x1, y1, x2, y2), label, score in zip(
            part.boxes.double().tolist(), part.labels.tolist(), scores, strict=True
        ):
            row = {"image_id": image, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
            rows.append({**row, "id": len(rows) + 1, "area": (x2 - x1) * (y2 - y1), "score": score})
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(len(parts))],
        "categories": [{"id": label} for label in range(num_classes)],
        "annotations": rows,
    }
    coco.createIndex()
    return coco


def oracle(detections: list[Detections], targets: list[Target], num_classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Precision (IoU, recall, class) and recall (IoU, class) of COCOeval's own run; -1 is undefined."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco_of(targets, num_classes), coco_of(detections, num_classes), "bbox")
        evaluation.params.iouThrs = np.asarray(IOUS)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, -1], evaluation.eval["recall"][:, :, 0, -1]


def random_case(seed: int, *, images: int, levels: int, absent: bool) -> Case:
    """Overlapping boxes, detections that shift them; scores of few `levels` tie; some images lack either."""
    random = np.random.default_rng(seed)
    case: Case = ([], [])
    for _ in range(images):
        boxes = np.tile(random.uniform(0, 60, (random.integers(0, 7), 2)), 2) + np.asarray([0, 0, 25, 15])
        labels = random.integers(int(absent), 2, len(boxes))
        found = boxes[random.integers(0, len(boxes), random.integers(0, 120))] if len(boxes) else np.ones((3, 4))
        found = found + random.choice([0.0, 1.0, 4.0]) * random.normal(size=found.shape)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2])
        scores = np.ceil(random.uniform(0.05, 1, len(found)) * levels) / levels
        guesses = torch.tensor(random.integers(0, 2, len(found)))
        case[0].append(Detections(torch.tensor(found).float(), torch.tensor(scores).float(), guesses))
        case[1].append(Target(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(labels).long()))
    return case


def told(value: float) -> Any:
    return UNDEFINED if value == -1 else pytest.approx(value, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 6),
    levels=st.sampled_from([3, 1000]),
    absent=st.booleans(),
)
def test_every_number_equals_cocoeval(seed: int, images: int, levels: int, absent: bool) -> None:
    detections, targets = random_case(seed, images=images, levels=levels, absent=absent)
    got = detection_numbers(detections, targets, classes=CLASSES, score_threshold=0.5, nms_iou=0.6)
    precision, recall = oracle(detections, targets)
    for label, name in enumerate(CLASSES):
        each = precision[..., label].mean(axis=1)
        assert got[name]["ap10_coco"] == told(each[0])
        assert got[name]["ap50_coco"] == told(each[1])
        assert got[name]["ap75_coco"] == told(each[6])
        assert got[name]["ap50_95_coco"] == told(each[1:].mean())
        assert got[name]["ar100"] == told(recall[1:, label].mean())
    defined = precision[1].mean(axis=0)[precision[1, 0] > -1]
    assert got["ap50_coco"] == told(defined.mean() if len(defined) else -1)
    merged = [without_class(found, nms_iou=0.6) for found in detections]
    agnostic, _ = oracle(merged, [Target(each.boxes, each.labels * 0) for each in targets], num_classes=1)
    assert got["class_agnostic"]["ap50_95_coco"] == told(agnostic[1:].mean())
    _, recall = oracle([above(found, 0.5) for found in detections], targets)
    assert [got[name]["recall50"] for name in CLASSES] == [told(recall[1, 0]), told(recall[1, 1])]


def voc_by_hand(detections: list[Detections], targets: list[Target], label: int) -> float:
    """Area under the envelope, one detection after the other over all images."""
    rows = [
        (float(score), image, box)
        for image, found in enumerate(detections)
        for score, box in zip(found.scores[found.labels == label], found.boxes[found.labels == label], strict=True)
    ]
    boxes = [target.boxes[target.labels == label] for target in targets]
    number, taken, hits = sum(len(each) for each in boxes), set(), []
    for _, image, box in sorted(rows, key=lambda row: -row[0]):
        iou = box_iou(box[None].double(), boxes[image].double())[0].tolist()
        best = (image, iou.index(max(iou))) if iou else None
        hits.append(best is not None and max(iou) >= 0.5 and best not in taken)
        taken |= {best} if hits[-1] else set()
    precision = [sum(hits[:count]) / count for count in range(1, len(hits) + 1)]
    return sum(max(precision[row:]) for row, hit in enumerate(hits) if hit) / number


@pytest.mark.parametrize("seed", range(6))
def test_voc_area_equals_a_count_by_hand(seed: int) -> None:
    detections, targets = random_case(seed, images=6, levels=1000, absent=False)
    got = detection_numbers(detections, targets, classes=CLASSES, score_threshold=0.5, nms_iou=0.6)
    for label, name in enumerate(CLASSES):
        assert got[name]["ap50_voc"] == pytest.approx(voc_by_hand(detections, targets, label), abs=1e-9)


def test_ap10_takes_what_ap50_refuses() -> None:
    """Half of each box is covered by a detection of the same size: IoU 1/3."""
    boxes = torch.tensor([[0.0, 0, 20, 10], [0.0, 50, 20, 60]])
    found = Detections(boxes + torch.tensor([10.0, 0, 10, 0]), torch.tensor([0.9, 0.8]), torch.tensor([0, 1]))
    target = Target(boxes, torch.tensor([0, 1]))
    got = detection_numbers([found], [target], classes=CLASSES, score_threshold=0.05, nms_iou=0.6)
    assert (got["ap10_coco"], got["ap50_coco"]) == (pytest.approx(1.0), 0.0)


def test_coco_gives_the_second_best_box_where_voc_gives_none() -> None:
    iou = np.asarray([[[0.9, 0.6], [0.8, 0.7]]])
    ious = np.asarray([0.5, 0.65, 0.75])
    assert by_coco(iou, ious)[0].tolist() == [[True, True], [True, True], [True, False]]
    assert by_voc(iou, ious)[0].tolist() == [[True, False]] * 3


def test_only_the_best_scoring_of_an_image_count() -> None:
    target = Target(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0]))
    boxes = torch.tensor([[0.0, 0, 10, 10], [50.0, 50, 60, 60], [70.0, 70, 80, 80]])
    found = Detections(boxes, torch.tensor([0.1, 0.9, 0.5]), torch.tensor([0, 0, 0]))
    few, every = (rank([found], [target], label=0, ious=[0.5], rule=by_coco, most=most) for most in (2, None))
    assert (few.scores.tolist(), few.hits.any()) == (pytest.approx([0.9, 0.5]), False)
    assert every.hits.tolist() == [[False, False, True]]


def test_many_images_are_matched_as_each_alone() -> None:
    """More than are matched side by side."""
    detections, targets = random_case(5, images=300, levels=1000, absent=False)
    together = rank(detections, targets, label=1, ious=IOUS, rule=by_coco)
    alone = [
        rank([each], [target], label=1, ious=IOUS, rule=by_coco)
        for each, target in zip(detections, targets, strict=True)
    ]
    for image, one in enumerate(alone):
        assert np.array_equal(together.hits[:, together.owner == image], one.hits)
    assert together.num_boxes.tolist() == list(chain.from_iterable(one.num_boxes for one in alone))
    assert np.all(np.diff(together.scores) <= 0)


def test_detections_and_boxes_go_to_the_images_owner() -> None:
    detections, targets = random_case(7, images=4, levels=1000, absent=False)
    by_image = rank(detections, targets, label=1, ious=IOUS, rule=by_coco)
    by_patient = regrouped(by_image, np.asarray([2, 0, 2, 0]), 3)
    assert by_patient.num_boxes.tolist() == [
        by_image.num_boxes[1] + by_image.num_boxes[3],
        0,
        by_image.num_boxes[0] + by_image.num_boxes[2],
    ]
    assert np.array_equal(by_patient.owner == 0, by_image.owner % 2 == 1)

"""Known answers, laws and limits of meddet.postprocess."""

import torch

from meddet.boxes import anchor_points
from meddet.postprocess import detect, select
from meddet.structures import Detections, Predictions

SIZE = (64, 48)


def choose(boxes: list[list[float]], scores: list[list[float]], *, max_detections: int = 100) -> Detections:
    return select(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32).reshape(-1, 2),
        input_size=SIZE,
        score_threshold=0.05,
        nms_iou=0.6,
        max_detections=max_detections,
    )


def predict(batch: int = 2) -> Predictions:
    generator = torch.Generator().manual_seed(0)
    points, strides = anchor_points([(8, 6), (4, 3)], [8, 16])
    logits = torch.randn(batch, len(points), 2, generator=generator)
    distributions = torch.randn(batch, len(points), 4, 17, generator=generator)
    distributions[..., 1] += 6  # boxes of about two strides, so that many survive
    return Predictions(logits, distributions, points, strides)


def test_duplicates_go_within_a_class_and_stay_across_classes() -> None:
    found = choose([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], [[0.9, 0.0], [0.8, 0.7], [0.06, 0.04]])
    assert found.boxes.tolist() == [[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]
    assert found.labels.tolist() == [0, 1, 0]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.7, 0.06]))


def test_one_box_can_have_both_classes() -> None:
    assert sorted(choose([[0, 0, 10, 10]], [[0.5, 0.4]]).labels.tolist()) == [0, 1]


def test_overlap_up_to_the_limit_stays() -> None:
    # IoU 0.5 and 0.7 with the best box.
    found = choose([[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 7]], [[0.9, 0], [0.8, 0], [0.7, 0]])
    assert found.boxes[:, 3].tolist() == [10, 5]


def test_boxes_are_clipped_to_the_input() -> None:
    assert choose([[-5, -5, 100, 100]], [[0.5, 0]]).boxes.tolist() == [[0, 0, 48, 64]]


def test_only_the_best_are_kept_by_falling_score() -> None:
    boxes = [[10.0 * i, 0.0, 10.0 * i + 5, 5.0] for i in range(4)]
    found = choose(boxes, [[0.2, 0], [0.4, 0], [0.3, 0], [0.1, 0]], max_detections=2)
    assert found.boxes[:, 0].tolist() == [10, 20]


def test_nothing_found_is_empty() -> None:
    for found in (choose([[0, 0, 5, 5]], [[0.01, 0.02]]), choose([], [])):
        assert found.boxes.shape == (0, 4)
        assert found.scores.shape == found.labels.shape == (0,)


def test_detect_decodes_in_input_pixels() -> None:
    points, strides = anchor_points([(4, 3), (2, 2)], [8, 16])
    logits = torch.full((1, len(points), 2), -9.0)
    distributions = torch.full((1, len(points), 4, 17), -50.0)
    distributions[..., 1] = 50
    point = 4 * 3 + 3  # the second level's last: (16, 16), one stride of 16 px to every side
    logits[0, point, 1] = 2.0
    (found,) = detect(Predictions(logits, distributions, points, strides), input_size=SIZE)
    torch.testing.assert_close(found.boxes, torch.tensor([[0.0, 0.0, 32.0, 32.0]]))
    torch.testing.assert_close(found.scores, torch.tensor([0.8807971]))
    assert found.labels.tolist() == [1]


def test_each_level_sends_its_best_points() -> None:
    predictions = predict(1)
    (found,) = detect(predictions, input_size=SIZE, pre_nms=1, nms_iou=1.0)
    best = predictions.logits[0].amax(dim=1).split([48, 12])
    expected = {level.max().sigmoid().item() for level in best}
    assert expected <= set(found.scores.tolist())
    assert len(found.scores) <= 4


def test_a_batch_is_its_images_one_by_one() -> None:
    predictions = predict()
    for image, found in enumerate(detect(predictions, input_size=SIZE)):
        rows = slice(image, image + 1)
        alone = Predictions(
            predictions.logits[rows], predictions.distributions[rows], predictions.points, predictions.strides
        )
        (expected,) = detect(alone, input_size=SIZE)
        torch.testing.assert_close(found.boxes, expected.boxes)
        assert torch.equal(found.labels, expected.labels)
        assert len(found.scores) > 3

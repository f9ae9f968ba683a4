from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from meddet.classes import LEVELS
from meddet.evaluate.blocks import error_block
from meddet.evaluate.errors import BOX_KINDS, CALL_KINDS, ERRORS, ImageErrors, error_verdicts, judge
from meddet.evaluate.scored import Scored
from meddet.evaluate.tally import tally
from meddet.structures import Detections, Target

Make = Callable[..., Scored]
PITCH = 20.0
# Six discs of 30 x 10 px, 20 px below each other.
BOXES = torch.tensor([[100.0, 100 + PITCH * row, 130, 110 + PITCH * row] for row in range(6)])
COLUMN = Target(BOXES, torch.tensor([0, 1, 0, 1, 0, 1]))


def calls(*rows: tuple[float, float, int], scores: list[float] | None = None) -> Detections:
    """Boxes of a disc's size, shifted from the topmost disc, with a class; by falling score."""
    boxes = torch.stack([BOXES[0] + torch.tensor([x, y, x, y]) for x, y, _ in rows])
    falling = torch.tensor(scores or [0.9 - 0.01 * row for row in range(len(rows))])
    return Detections(boxes, falling, torch.tensor([label for _, _, label in rows]))


def verdicts(found: Detections, target: Target = COLUMN, levels: tuple[str, ...] = LEVELS) -> ImageErrors:
    return judge(found, target, levels=levels)


@pytest.mark.parametrize(
    ("call", "kind", "box"),
    [
        ((2, 0, 0), "right", "found"),
        ((2, 0, 1), "class_flip", "class_flip"),
        ((15, 0, 0), "localisation", "localisation"),
        ((15, 0, 1), "localisation", "localisation"),
        ((0, -PITCH, 0), "background.c2_synchondrosis", "missed"),
        ((4, -PITCH - 8, 1), "background.c2_synchondrosis", "missed"),
        ((0, -PITCH - 11, 0), "background.other", "missed"),
        ((0, -PITCH * 3, 0), "background.other", "missed"),
        ((0, PITCH * 6, 1), "background.thoracic", "missed"),
        ((15, PITCH * 7, 0), "background.thoracic", "missed"),
        ((25, PITCH * 6, 0), "background.other", "missed"),
        ((90, PITCH * 2, 0), "background.other", "missed"),
    ],
)
def test_one_call_has_one_verdict(call: tuple[float, float, int], kind: str, box: str) -> None:
    got = verdicts(calls(call))
    assert got.call_kinds == (kind,)
    assert got.box_kinds == (box, *["missed"] * 5)
    assert got.call_boxes == ((-1,) if kind.startswith("background") else (0,))


def test_a_second_call_of_a_disc_is_a_duplicate_whatever_its_class() -> None:
    got = verdicts(calls((0, 0, 0), (5, 0, 0), (-8, 0, 1)))
    assert got.call_kinds == ("right", "duplicate", "duplicate")
    assert got.call_boxes == (0, 0, 0)
    assert got.box_kinds[0] == "found"


def test_a_right_call_keeps_its_disc_from_a_better_scoring_flip() -> None:
    got = verdicts(calls((2, 0, 1), (0, 0, 0)))
    assert got.call_kinds == ("duplicate", "right")
    assert verdicts(calls((2, 0, 1), (0, 1, 1))).call_kinds == ("class_flip", "duplicate")


def test_calls_are_judged_by_falling_score() -> None:
    got = verdicts(calls((5, 0, 0), (0, 0, 0), scores=[0.3, 0.8]))
    assert got.calls.scores.tolist() == pytest.approx([0.8, 0.3])
    assert got.call_kinds == ("right", "duplicate")


def test_beyond_another_level_may_lie_a_disc_that_was_not_annotated() -> None:
    middle = Target(BOXES[1:5], COLUMN.labels[1:5])
    both = calls((0, 0, 0), (0, PITCH * 5, 0))
    assert verdicts(both, middle, LEVELS[1:5]).call_kinds == ("background.other",) * 2
    unnamed = verdicts(both, middle, ("",) * 4).call_kinds
    assert unnamed == ("background.c2_synchondrosis", "background.thoracic")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_fewer_than_three_discs_tell_no_column(number: int) -> None:
    got = verdicts(calls((0, -PITCH, 0)), Target(BOXES[:number], COLUMN.labels[:number]), LEVELS[:number])
    assert got.call_kinds == ("background.other",)


def test_the_column_goes_on_where_its_ends_point_to() -> None:
    """Discs that lean backwards by 10 px each: the next one below lies 10 px aside, the one above 10 px before."""
    leaning = BOXES + 10 * torch.arange(6)[:, None] * torch.tensor([1, 0, 1, 0])
    got = verdicts(calls((-10, -PITCH, 0), (12, -PITCH, 0), (60, PITCH * 6, 0)), replace(COLUMN, boxes=leaning))
    assert got.call_kinds == ("background.c2_synchondrosis", "background.other", "background.thoracic")


@pytest.mark.parametrize("seed", range(5))
def test_every_call_and_disc_is_counted_once(make_scored: Make, seed: int) -> None:
    scored = make_scored(noise=8.0, seed=seed, skill=0.6)
    judged, counted = error_verdicts(scored), tally(scored)
    for each, target in zip(judged, scored.targets, strict=True):
        assert len(each.call_kinds) == len(each.calls.scores) == len(each.call_boxes)
        assert len(each.box_kinds) == len(target.labels)
        assert set(each.call_kinds) <= set(CALL_KINDS)
        assert set(each.box_kinds) <= set(BOX_KINDS)
        assert each.call_kinds.count("right") == each.box_kinds.count("found")
        assert each.call_kinds.count("class_flip") == each.box_kinds.count("class_flip")
    counts = error_block(counted, judged, resamples=20)["counts"]
    assert sum(counts[kind] for kind in CALL_KINDS) == counts["calls"]
    classes = [counted.called[name] for name in ("protrusion", "non-protrusion")]
    assert counts["right"] == sum(each.right.sum() for each in classes)
    assert counts["calls"] - counts["right"] == sum(each.wrong.sum() for each in classes)
    assert counts["boxes"] == counted.coco["any"].num_boxes.sum()
    assert min(counts[kind] for kind in ("right", "class_flip", "localisation", "missed")) > 0


def test_perfect_calls_have_no_errors(make_scored: Make) -> None:
    scored = make_scored()
    ones = tuple(Detections(each.boxes, torch.ones(len(each.labels)), each.labels) for each in scored.targets)
    perfect = replace(scored, detections=ones)
    block = error_block(tally(perfect), error_verdicts(perfect), resamples=50)
    assert block["metrics"] == dict.fromkeys(ERRORS, 0.0)
    assert block["ci95"] == {kind: [0.0, 0.0] for kind in ERRORS}
    assert block["counts"]["right"] == block["counts"]["boxes"] == 144


def test_the_block_counts_per_image_with_intervals(make_scored: Make) -> None:
    scored = make_scored(noise=8.0)
    judged = error_verdicts(scored)
    block = error_block(tally(scored), judged)
    flips = np.asarray([each.call_kinds.count("class_flip") for each in judged], dtype=float)
    assert block["metrics"]["class_flip"] == pytest.approx(flips.mean())
    assert block["counts"]["class_flip"] == flips.sum()
    of_patients = flips.reshape(-1, 2).mean(axis=1)
    low, high = block["ci95"]["class_flip"]
    assert high - low == pytest.approx(2 * 1.96 * of_patients.std() / np.sqrt(12), rel=0.15)
    assert list(block["metrics"]) == list(ERRORS)

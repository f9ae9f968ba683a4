import numpy as np
import pytest

from meddet.classes import Level
from meddet.data.agreement import agreement_json, cohen_kappa, fleiss_kappa, gwet_ac1, raters_json
from meddet.data.raters import RaterRules, decide, disagreements_table, find_consensus, find_discs
from meddet.data.raw import RawBox, Reading

NO = -1
GWET = np.array(
    [
        *([1, 1, NO, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4]),
        *([4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [NO, 5, 5, 5], [NO, NO, 1, 1], [NO, NO, 3, NO]),
    ]
)
"""Gwet, Handbook of Inter-Rater Reliability, 4th ed., table 2.10 (in R: irrCAC::cac.raw4raters)."""
FLEISS = (
    *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
    *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
)
"""The worked example of Wikipedia's article Fleiss' kappa: 10 subjects, 14 raters, 5 categories."""
BOTH_RARE = np.array([[1, 1]] * 118 + [[1, 2]] * 5 + [[2, 1]] * 2)
"""Gwet, Kappa statistic is not satisfactory, Stat Methods Inter-Rater Reliability Assess 2002;1:1, table 1."""
RULES = RaterRules(rule="majority", min_raters=2, match_iou=0.4, tie="protrusion")


def box(image: int, y: float, category: int = 2, level: Level | None = None, x: float = 20) -> RawBox:
    return RawBox(id=1, image_id=image, category_id=category, bbox=[x, y, 40, 12], level=level)


def reading(rater: str, *boxes: RawBox, images: tuple[int, ...] = (1,)) -> Reading:
    return Reading(rater=rater, images=frozenset(images), boxes=boxes)


def test_published_examples_of_agreement() -> None:
    assert gwet_ac1(GWET) == (pytest.approx(0.77544, abs=1e-5), 11)
    assert fleiss_kappa(np.array([np.repeat(np.arange(5), row) for row in FLEISS])) == (
        pytest.approx(0.210, abs=5e-4),
        10,
    )
    assert cohen_kappa(BOTH_RARE) == (pytest.approx(-0.0234, abs=1e-4), 125)
    assert gwet_ac1(BOTH_RARE) == (pytest.approx(0.9408, abs=1e-4), 125)


def test_what_cannot_be_computed_is_undefined() -> None:
    empty, constant = np.zeros((0, 2), dtype=np.int64), np.ones((12, 2), dtype=np.int64)
    assert cohen_kappa(empty) == fleiss_kappa(empty) == gwet_ac1(empty) == (None, 0)
    assert cohen_kappa(constant) == fleiss_kappa(constant) == (None, 12)
    assert gwet_ac1(constant) == (1.0, 12)


def test_boxes_meet_by_level_and_without_one_by_overlap() -> None:
    readings = [
        reading("a", box(1, 10, level="C2/3"), box(1, 50)),
        reading("b", box(1, 49), box(1, 90, level="C2/3"), box(1, 200)),
        reading("c", box(1, 70), box(1, 11)),
    ]
    discs = find_discs(readings, {1}, match_iou=0.4)
    assert [{rater: drawn.bbox[1] for rater, drawn in disc.drawn.items()} for disc in discs] == [
        {"a": 10, "b": 90, "c": 11},
        {"a": 50, "b": 49},
        {"c": 70},
        {"b": 200},
    ]
    assert discs[0].level == "C2/3"


def test_boxes_of_different_levels_never_meet() -> None:
    readings = [reading("a", box(1, 10, level="C2/3")), reading("b", box(1, 10, level="C3/4"))]
    assert [len(disc.drawn) for disc in find_discs(readings, {1}, match_iou=0.4)] == [1, 1]


def test_the_box_is_the_median_of_each_side() -> None:
    boxes = [box(1, 10, level="C2/3"), box(1, 12, level="C2/3", x=26), box(1, 19, level="C2/3", x=21)]
    (disc,) = find_discs([reading(name, drawn) for name, drawn in zip("abc", boxes, strict=True)], {1}, match_iou=0.4)
    assert disc.bbox == (21, 12, 40, 12)


@pytest.mark.parametrize(
    ("rule", "tie", "classes", "wanted"),
    [
        ("majority", "protrusion", (1, 1, 2), "protrusion"),
        ("majority", "protrusion", (1, 2, 2), "non-protrusion"),
        ("majority", "protrusion", (1, 2), "protrusion"),
        ("majority", "non-protrusion", (1, 2), "non-protrusion"),
        ("majority", "adjudicate", (1, 2), None),
        ("majority", "adjudicate", (1, 1, 2), "protrusion"),
        ("any", "adjudicate", (2, 2, 1), "protrusion"),
        ("any", "adjudicate", (2, 2, 2), "non-protrusion"),
        ("all", "adjudicate", (1, 1, 2), "non-protrusion"),
        ("all", "adjudicate", (1, 1, 1), "protrusion"),
    ],
)
def test_the_class_goes_by_the_rule(rule: str, tie: str, classes: tuple[int, ...], wanted: str | None) -> None:
    readings = [reading(name, box(1, 10, number)) for name, number in zip("abc", classes, strict=False)]
    (disc,) = find_discs(readings, {1}, match_iou=0.4)
    assert decide(disc, RaterRules(rule=rule, min_raters=2, match_iou=0.4, tie=tie)) == wanted  # type: ignore[arg-type]


def test_a_consensus_needs_readers_drawers_and_a_decision() -> None:
    readings = [
        reading("a", box(1, 10, 1), box(1, 60), box(2, 10), box(3, 10, 1), images=(1, 2, 3)),
        reading("b", box(1, 11, 2), box(3, 10, 2), images=(1, 3)),
        reading("c", box(1, 12, 1), images=(1,)),
    ]
    rules = RaterRules(rule="majority", min_raters=2, match_iou=0.4, tie="adjudicate")
    discs = find_discs(readings, {1, 2, 3}, match_iou=0.4)
    found = find_consensus(discs, {1: 3, 2: 1, 3: 2}, rules, first_id=7)
    assert [(drawn.id, drawn.image_id, drawn.category_id, drawn.bbox[1]) for drawn in found.boxes] == [(7, 1, 1, 11)]
    assert found.images == {1}
    assert found.left_out == {2: "read by 1 of at least 2 raters", 3: "a tie to adjudicate"}
    table = disagreements_table(discs, rules, referenced=set())
    assert table[["image_id", "kind", "votes", "outcome"]].values.tolist() == [
        [1, "class", "a: protrusion; b: non-protrusion; c: protrusion", "protrusion"],
        [1, "not drawn by all", "a: non-protrusion; b: not drawn; c: not drawn", "disc left out"],
        [3, "class", "a: protrusion; b: non-protrusion", "to adjudicate, image left out"],
    ]


def test_agreement_is_said_by_level_and_overall() -> None:
    readings = [
        reading("a", box(1, 10, 1, "C2/3"), box(1, 50, 2, "C3/4")),
        reading("b", box(1, 10, 1, "C2/3"), box(1, 50, 1, "C3/4")),
    ]
    discs = find_discs(readings, {1}, match_iou=0.4)
    found = agreement_json(discs, ["a", "b"])
    assert found["cohen_kappa"] == [
        {"raters": ["a", "b"], "level": "C2/3", "n": 1, "value": "undefined (n=1, no variation)"},
        {"raters": ["a", "b"], "level": "C3/4", "n": 1, "value": 0.0},
        {"raters": ["a", "b"], "level": "overall", "n": 2, "value": 0.0},
    ]
    assert [entry["level"] for entry in found["fleiss_kappa"]] == ["C2/3", "C3/4", "overall"]
    consensus = find_consensus([], {}, RULES, first_id=1)
    assert raters_json([], [], consensus, disagreements=0) == {"raters": []}
    nothing = raters_json([reading("a"), reading("b")], [], consensus, disagreements=0)
    assert nothing["gwet_ac1"] == [{"level": "overall", "n": 0, "value": "undefined (n=0)"}]

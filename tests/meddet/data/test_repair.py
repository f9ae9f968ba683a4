from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meddet.data.annotations import AnnotationFile
from meddet.data.raw import RawBox, RawImage, Repair
from meddet.data.repair import BoxRules, repair_boxes

RULES = BoxRules(
    outside="repair", min_visible=0.5, negative_sides="repair", corners="repair", swapped="repair", ids="repair"
)
REJECT = BoxRules(
    outside="reject", min_visible=0.5, negative_sides="reject", corners="reject", swapped="reject", ids="reject"
)
SIDE = 512
IMAGES = {1: RawImage(id=1, file_name="a.png", width=SIDE, height=SIDE, patient_id="A")}
CLASSES = {3: "non-protrusion", 8: "protrusion"}


def column() -> list[dict[str, Any]]:
    """Six discs as a spine has them."""
    return [
        {"id": 10 + row, "image_id": 1, "category_id": 3 + 5 * (row % 2), "bbox": [220 + row, 150.0 + 40 * row, 40, 13]}
        for row in range(6)
    ]


def repaired(rows: list[Any], rules: BoxRules = RULES) -> tuple[tuple[RawBox, ...], list[Repair]]:
    file = AnnotationFile(
        path=Path("annotations.json"), images=tuple(IMAGES.values()), rows=tuple(rows), classes=CLASSES
    )
    return repair_boxes(file, IMAGES, {1: 1}, rules)


def with_box(**changes: Any) -> list[dict[str, Any]]:
    """The column with its third box changed."""
    rows = column()
    rows[2] |= changes
    return rows


def test_good_rows_pass_untouched_with_our_class_ids() -> None:
    boxes, repairs = repaired(column())
    assert repairs == []
    assert [(box.id, box.category_id, box.bbox) for box in boxes[:2]] == [
        (10, 2, [220, 150, 40, 13]),
        (11, 1, [221, 190, 40, 13]),
    ]


@pytest.mark.parametrize(
    ("bbox", "fault", "action", "after"),
    [
        ([222, 230, -40, 13], "negative side", "repaired", [182, 230, 40, 13]),
        ([222, 230, 40, -13], "negative side", "repaired", [222, 217, 40, 13]),
        ([10, 230, -40, 13], "negative side", "rejected", None),
        ([222, 230, 0, 13], "no area", "rejected", None),
        ([222, 230, 40, 0.0], "no area", "rejected", None),
        ([222, 230, float("nan"), 13], "not finite", "rejected", None),
        ([float("inf"), 230, 40, 13], "not finite", "rejected", None),
        ([490, 230, 40, 13], "reaches out of the image", "clipped", [490, 230, 22, 13]),
        ([222, -5, 40, 13], "reaches out of the image", "clipped", [222, 0, 40, 8]),
        ([500, 230, 40, 13], "reaches out of the image", "rejected", None),
        ([600, 230, 40, 13], "reaches out of the image", "rejected", None),
        ([222, 230, 262, 243], "corners instead of sides", "repaired", [222, 230, 40, 13]),
        ([22, 30, 62, 43], "corners instead of sides", "repaired", [22, 30, 40, 13]),
        ([230, 222, 13, 40], "x and y swapped", "repaired", [222, 230, 40, 13]),
        ([390, 225, 40, 13], "x and y swapped", "repaired", [225, 390, 40, 13]),
        ([222, 230, 40], "not four numbers", "rejected", None),
        ([222, 230, 40, "13"], "not four numbers", "rejected", None),
        ([222, 230, 40, True], "not four numbers", "rejected", None),
        ("222 230 40 13", "not four numbers", "rejected", None),
        (None, "not four numbers", "rejected", None),
    ],
)
def test_fault_17_a_wrong_box_is_repaired_or_rejected_and_listed(
    bbox: Any, fault: str, action: str, after: list[float] | None
) -> None:
    boxes, repairs = repaired(with_box(bbox=bbox))
    (repair,) = repairs
    assert (repair.fault, repair.action, repair.row, repair.annotation_id, repair.image_id) == (
        fault,
        action,
        3,
        "12",
        1,
    )
    assert [box.bbox for box in boxes if box.id == 12] == ([] if after is None else [after])
    assert len(boxes) == 6 - (after is None)


@pytest.mark.parametrize(
    "bbox", [[222, 230, -40, 13], [490, 230, 40, 13], [222, 230, 262, 243], [230, 222, 13, 40], [390, 225, 40, 13]]
)
def test_fault_17_by_the_other_rule_it_is_left_out(bbox: list[float]) -> None:
    boxes, repairs = repaired(with_box(bbox=bbox), REJECT)
    assert [repair.action for repair in repairs] == ["rejected"]
    assert 12 not in {box.id for box in boxes}


def test_fault_17_an_unusual_but_legal_box_is_not_guessed_at() -> None:
    """A wide disc, or one beside the others, isn't taken for a mistake that it doesn't look like."""
    for bbox in ([200, 230, 90, 20], [130, 230, 40, 13]):
        boxes, repairs = repaired(with_box(bbox=bbox))
        assert repairs == []
        assert boxes[2].bbox == bbox


@given(st.lists(st.lists(st.floats() | st.integers(-600, 1200), min_size=4, max_size=4), max_size=6))
def test_fault_17_whatever_comes_only_legal_boxes_go_on_and_every_other_row_is_listed(
    bboxes: list[list[float]],
) -> None:
    rows = column() + [{"id": 50 + i, "image_id": 1, "category_id": 3, "bbox": bbox} for i, bbox in enumerate(bboxes)]
    boxes, repairs = repaired(rows)
    for box in boxes:
        x, y, width, height = box.bbox
        assert x >= 0 and y >= 0 and width > 0 and height > 0
        assert x + width <= SIDE + 1e-6 and y + height <= SIDE + 1e-6
    gone = {repair.row for repair in repairs if repair.action in ("rejected", "dropped")}
    assert len(boxes) == len(rows) - len(gone)
    untouched = set(range(1, len(rows) + 1)) - {repair.row for repair in repairs}
    said = {10 + row for row in range(6)} | {50 + row for row in range(len(bboxes))}
    assert {box.id for box in boxes} <= said
    assert all(list(map(float, rows[row - 1]["bbox"])) in [box.bbox for box in boxes] for row in untouched)


def test_fault_18_doubled_and_missing_ids_are_renumbered() -> None:
    rows = column()
    for row, identifier in ((1, 10), (2, 0), (3, -4), (4, "x"), (5, None)):
        rows[row]["id"] = identifier
    boxes, repairs = repaired(rows)
    assert [box.id for box in boxes] == [10, 11, 12, 13, 14, 15]
    assert [(repair.row, repair.annotation_id, repair.action, repair.after) for repair in repairs] == [
        (2, "10", "renumbered", "11"),
        (3, "0", "renumbered", "12"),
        (4, "-4", "renumbered", "13"),
        (5, "'x'", "renumbered", "14"),
        (6, "None", "renumbered", "15"),
    ]
    assert {repair.fault for repair in repairs} == {"annotation id given twice", "annotation id that isn't 1 or more"}
    boxes, repairs = repaired(rows, REJECT)
    assert [box.id for box in boxes] == [10]
    assert {repair.action for repair in repairs} == {"rejected"}


@pytest.mark.parametrize(
    ("changes", "fault", "before"),
    [
        ({"category_id": 4}, "unknown category", "4"),
        ({"category_id": None}, "unknown category", "None"),
        ({"image_id": 77}, "annotation of an unknown image", "77"),
        ({"image_id": [1]}, "annotation of an unknown image", "[1]"),
        ({"iscrowd": 1}, "crowd", "1"),
        ({"level": "L4/5"}, "unknown level", "'L4/5'"),
    ],
)
def test_fault_18_what_cannot_be_placed_is_rejected_and_listed(
    changes: dict[str, Any], fault: str, before: str
) -> None:
    boxes, repairs = repaired(with_box(**changes))
    assert [(repair.row, repair.fault, repair.action, repair.before) for repair in repairs] == [
        (3, fault, "rejected", before)
    ]
    assert [box.id for box in boxes] == [10, 11, 13, 14, 15]


def test_fault_18_a_class_of_another_name_is_named() -> None:
    file = AnnotationFile(
        Path("annotations.json"), tuple(IMAGES.values()), tuple(column()), {3: "hernia", 8: "protrusion"}
    )
    boxes, repairs = repair_boxes(file, IMAGES, {1: 1}, RULES)
    assert len(boxes) == 3
    assert str(repairs[0]) == (
        "annotations.json: box 1 (annotation 10) of image 1: unknown category, rejected: 'hernia'"
    )


def test_fault_18_a_row_that_is_no_annotation_is_listed() -> None:
    _, repairs = repaired([*column(), 3, [1, 2]])
    assert [(repair.row, repair.fault) for repair in repairs] == [(7, "not an annotation"), (8, "not an annotation")]


def test_fault_18_a_box_drawn_twice_goes_once_and_a_contradiction_goes() -> None:
    rows = column()
    rows += [{**rows[0], "id": 30}, {**rows[1], "id": 31, "category_id": 3}, {**rows[2], "id": 32, "level": "C3/4"}]
    boxes, repairs = repaired(rows)
    assert [box.id for box in boxes] == [10, 13, 14, 15]
    assert [(repair.row, repair.fault, repair.action) for repair in repairs] == [
        (2, "one box, several classes or levels", "rejected"),
        (3, "one box, several classes or levels", "rejected"),
        (7, "box drawn twice", "dropped"),
        (8, "one box, several classes or levels", "rejected"),
        (9, "one box, several classes or levels", "rejected"),
    ]

from pathlib import Path
from typing import Any

import pytest
import torch

from meddet.data.coco import load_part, read_coco
from meddet.files import write_json


def content() -> dict[str, Any]:
    image = {"width": 48, "height": 50, "spacing_mm": None}
    return {
        "info": {"data_md5": "0123.dir"},
        "categories": [{"id": 1, "name": "protrusion"}, {"id": 2, "name": "non-protrusion"}],
        "images": [
            {**image, "id": 9, "file_name": "000009.png", "patient_id": "b"},
            {**image, "id": 2, "file_name": "000002.png", "patient_id": "a", "spacing_mm": [0.5, 0.75]},
            {**image, "id": 4, "file_name": "000004.png", "patient_id": "a"},
        ],
        "annotations": [
            {"id": 8, "image_id": 2, "category_id": 2, "bbox": [1, 2, 3.5, 4], "level": "C3/4"},
            {"id": 3, "image_id": 2, "category_id": 1, "bbox": [10, 20, 30, 5.25]},
            {"id": 5, "image_id": 9, "category_id": 1, "bbox": [0, 0, 48, 50]},
        ],
    }


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    write_json(tmp_path / "coco.json", content())
    write_json(tmp_path / "split.json", {"train": ["a"], "validation": ["b"], "test": ["c"]})
    return tmp_path / "coco.json"


def test_samples_are_sorted_and_boxes_are_corners(coco: Path) -> None:
    data = read_coco(coco)
    assert data.data_md5 == "0123.dir"
    assert [sample.image_id for sample in data.samples] == [2, 4, 9]
    first, empty, _ = data.samples
    assert first.target.boxes.dtype == torch.float32
    assert first.target.boxes.tolist() == [[10, 20, 40, 25.25], [1, 2, 4.5, 6]]
    assert first.target.labels.tolist() == [0, 1]
    assert first.levels == (None, "C3/4")
    assert first.spacing_mm == (0.5, 0.75)
    assert (first.file_name, first.patient_id, first.width, first.height) == ("000002.png", "a", 48, 50)
    assert empty.target.boxes.shape == (0, 4)
    assert empty.target.labels.shape == (0,)
    assert empty.target.labels.dtype == torch.int64


def test_a_part_has_its_patients_only(coco: Path) -> None:
    split = coco.parent / "split.json"
    assert [sample.image_id for sample in load_part(coco, split, "train")] == [2, 4]
    assert [sample.image_id for sample in load_part(coco, split, "validation")] == [9]
    with pytest.raises(ValueError, match="test: expected patients of"):
        load_part(coco, split, "test")
    with pytest.raises(ValueError, match="expected the part 'holdout', got test, train, validation"):
        load_part(coco, split, "holdout")


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [("annotations", "image_id", 77), ("annotations", "category_id", 3), ("categories", "name", "x")],
)
def test_what_ingest_does_not_write_is_refused(coco: Path, kind: str, key: str, value: object) -> None:
    spoilt = content()
    spoilt[kind][0][key] = value
    write_json(coco, spoilt)
    with pytest.raises(ValueError, match="expected what ingest writes"):
        read_coco(coco)

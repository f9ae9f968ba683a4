import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meddet.importing.annotations import Region, annotation_files, recognise
from meddet.importing.formats import read_annotations
from meddet.importing.geometry import Plane

ROI = {
    "type": "ROI",
    "coordinateSystem": "LPS",
    "roiType": "Box",
    "center": [1.0, 10.0, -20.0],
    "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    "size": [2.0, 6.0, 4.0],
    "controlPoints": [{"label": "protrusion C5/6", "position": [1.0, 10.0, -20.0]}],
}


def read(folder: Path, markups: list[dict[str, Any]], name: str = "R.mrk.json") -> Any:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"markups": markups}))
    files = annotation_files(folder)
    assert recognise(files) == "slicer"
    return read_annotations(folder, files, "slicer")


def spans(region: Region) -> list[tuple[float, float]]:
    corners = np.array(region.corners)
    return [(low, high) for low, high in zip(corners.min(axis=0), corners.max(axis=0), strict=True)]


def test_corners_class_and_level_of_a_box(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, [ROI]).images
    (region,) = entry.marks
    assert spans(region) == [(0.0, 2.0), (7.0, 13.0), (-22.0, -18.0)]
    assert (region.labels[0], region.level) == ("protrusion C5/6", "C5/6")


def test_ras_is_turned_to_lps(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, [ROI | {"coordinateSystem": "RAS"}]).images
    assert spans(entry.marks[0]) == [(-2.0, 0.0), (-13.0, -7.0), (-22.0, -18.0)]


def test_a_turned_box_follows_its_axes(tmp_path: Path) -> None:
    turned = ROI | {"orientation": [1, 0, 0, 0, 0, -1, 0, 1, 0]}
    (entry,) = read(tmp_path, [turned]).images
    assert spans(entry.marks[0]) == [(0.0, 2.0), (8.0, 12.0), (-23.0, -17.0)]


def test_the_class_may_stand_in_the_files_name(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, [ROI | {"controlPoints": []}], "normal C3-4.mrk.json").images
    assert entry.marks[0].labels[-1] == "normal C3-4"
    assert entry.marks[0].level == "C3/4"


@pytest.mark.parametrize(
    "change",
    [
        {"type": "Line"},
        {"type": "Fiducial"},
        {"roiType": "Sphere"},
        {"coordinateSystem": "IJK"},
        {"size": [0, 1, 1]},
        {"size": [1, 1]},
        {"center": [float("nan"), 0, 0]},
        {"center": None},
        {"coordinateUnits": "parsec"},
    ],
)
def test_what_is_no_box_is_a_defect(tmp_path: Path, change: dict[str, Any]) -> None:
    found = read(tmp_path, [ROI | change, ROI])
    assert [len(entry.marks) for entry in found.images] == [1]
    (line,) = found.defects
    assert line.startswith("annotation file 1: markup 1: expected ")


def test_a_plane_projects_points_to_pixels_from_its_outer_edge() -> None:
    # 0.5 mm columns to the back, 2 mm rows down; the first pixel's outer corner at the front and top
    plane = Plane((3.0, -50.0, 60.0), (0.0, 0.5, 0.0), (0.0, 0.0, -2.0))
    points = np.array([[3.0, -50.0, 60.0], [5.0, -40.0, 50.0]])
    assert plane.project(points).tolist() == [[0.0, 0.0, 0.0], [20.0, 5.0, -2.0]]
    assert plane.position == -3.0

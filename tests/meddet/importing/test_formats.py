import json
from pathlib import Path
from typing import Any

import globox
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meddet.classes import CLASSES, LEVELS
from meddet.importing.annotations import Annotations, Mark, annotation_files, recognise
from meddet.importing.export import export_annotations
from meddet.importing.formats import read_annotations

WIDTH, HEIGHT = 384, 512
BOX = st.builds(
    lambda x, y, w, h, name, level: ([x, y, min(w, WIDTH - x), min(h, HEIGHT - y)], name, level),
    st.floats(0, WIDTH - 1, allow_subnormal=False),
    st.floats(0, HEIGHT - 1, allow_subnormal=False),
    st.floats(0.5, WIDTH),
    st.floats(0.5, HEIGHT),
    st.sampled_from(CLASSES),
    st.sampled_from([*LEVELS, None]),
)
DATASET = st.lists(st.lists(BOX, max_size=4), min_size=1, max_size=3)


def coco(images: list[list[tuple[list[float], str, str | None]]]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for image_id, boxes in enumerate(images, start=1):
        for bbox, name, level in boxes:
            entry = {"id": len(annotations) + 1, "image_id": image_id, "category_id": CLASSES.index(name), "bbox": bbox}
            annotations.append(entry | ({"level": level} if level else {}))
    return {
        "images": [
            {"id": number, "file_name": f"im{number}.png", "width": WIDTH, "height": HEIGHT, "patient_id": "a"}
            for number in range(1, len(images) + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
    }


def read(path: Path) -> Annotations:
    files = annotation_files(path)
    return read_annotations(path, files, recognise(files))


def agree(
    found: Annotations, images: list[list[tuple[list[float], str, str | None]]], *, tolerance: float, levels: bool
) -> None:
    assert found.defects == ()
    by_stem = {Path(entry.image).stem: entry for entry in found.images}
    assert sorted(by_stem) == sorted(f"im{number}" for number in range(1, len(images) + 1))
    for number, boxes in enumerate(images, start=1):
        entry = by_stem[f"im{number}"]
        assert entry.size in (None, (WIDTH, HEIGHT))
        assert len(entry.marks) == len(boxes)
        for mark, ((x, y, w, h), name, level) in zip(entry.marks, boxes, strict=True):
            assert isinstance(mark, Mark)
            scale = (WIDTH, HEIGHT) * 2 if mark.fractions else (1, 1) * 2
            got = [side * factor for side, factor in zip(mark.box, scale, strict=True)]
            assert got == pytest.approx([x, y, x + w, y + h], abs=tolerance)
            assert mark.label == name
            assert mark.level == (level if levels else None)


@pytest.mark.parametrize(
    ("form", "tolerance", "levels"), [("coco", 1e-9, True), ("cvat", 1e-9, True), ("yolo", 1e-6, False)]
)
@given(images=DATASET)
@settings(max_examples=25, deadline=None)
def test_export_and_import_are_inverse(
    tmp_path_factory: pytest.TempPathFactory, form: str, tolerance: float, levels: bool, images: list
) -> None:
    folder = tmp_path_factory.mktemp("round")
    (folder / "annotations.json").write_text(json.dumps(coco(images)))
    assert export_annotations(folder, folder / "out", form) == (len(images), sum(map(len, images)))
    files = annotation_files(folder / "out")
    agree(read_annotations(folder / "out", files, form), images, tolerance=tolerance, levels=levels)


@pytest.mark.parametrize("form", ["voc", "labelme", "cvat", "coco", "yolo"])
@given(images=DATASET)
@settings(max_examples=15, deadline=None)
def test_what_another_program_writes_is_read(tmp_path_factory: pytest.TempPathFactory, form: str, images: list) -> None:
    folder, out = tmp_path_factory.mktemp("round"), tmp_path_factory.mktemp("written")
    (folder / "annotations.json").write_text(json.dumps(coco(images)))
    boxes = globox.AnnotationSet.from_coco(folder / "annotations.json")
    if form == "voc":
        boxes.save_pascal_voc(out)
    elif form == "labelme":
        boxes.save_labelme(out)
    elif form == "cvat":
        boxes.save_cvat(out / "a.xml")
    elif form == "coco":
        boxes.save_coco(out / "a.json", auto_ids=True)
    else:
        boxes.save_yolo_v5(out, label_to_id={name: number for number, name in enumerate(CLASSES)})
        (out / "classes.txt").write_text("\n".join(CLASSES))
    files = annotation_files(out)
    agree(read_annotations(out, files, form), images, tolerance=1e-6, levels=False)


def test_levels_are_found_where_each_format_has_room(tmp_path: Path) -> None:
    corners = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>9</ymax></bndbox>"
    voc = f"<annotation><filename>a.png</filename><object><name>normal</name>{corners}<attributes><attribute>"
    voc += "<name>level</name><value>C5-6</value></attribute></attributes></object></annotation>"
    labelme = {"imagePath": "a.png", "imageWidth": 9, "imageHeight": 9, "shapes": [
        {"label": "cdh", "shape_type": "rectangle", "points": [[5, 9], [1, 2]], "description": "C3/4"},
        {"label": "cdh", "shape_type": "rectangle", "points": [[1, 2], [5, 9]], "flags": {"C6/7": True, "C5/6": False}},
    ]}  # fmt: skip
    cases = {
        "voc/a.xml": (voc, ["C5/6"]),
        "labelme/a.json": (json.dumps(labelme), ["C3/4", "C6/7"]),
        "yolo/a.txt": ("0 0.5 0.5 0.2 0.1\n", ["C4/5"]),
    }
    for name, (text, levels) in cases.items():
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(text)
        if name.startswith("yolo"):
            (path.parent / "data.yaml").write_text("names: {0: protrusion C4/5}")
        (entry,) = read(path.parent).images
        assert [mark.level for mark in entry.marks] == levels
        if not name.startswith("yolo"):
            assert all(mark.box == (1.0, 2.0, 5.0, 9.0) for mark in entry.marks)


def test_a_bad_box_is_a_defect_and_the_others_stay(tmp_path: Path) -> None:
    content = coco([[([1.0, 2.0, 3.0, 4.0], "protrusion", None)]])
    faults = [[1, 2, 0, 4], [1, 2, -3, 4], [1, 2, float("nan"), 4], [1, 2, 3], "box", None]
    for number, bbox in enumerate(faults, start=2):
        content["annotations"].append({"id": number, "image_id": 1, "category_id": 0, "bbox": bbox})
    content["annotations"].append({"id": 50, "image_id": 77, "category_id": 0, "bbox": [1, 2, 3, 4]})
    content["annotations"].append({"id": 51, "image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 4]})
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = read(tmp_path)
    assert [len(entry.marks) for entry in found.images] == [1]
    assert len(found.defects) == len(faults) + 2
    assert all(f"annotation {number}: expected" in line for number, line in enumerate(found.defects, start=2))


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;">]><annotations><image name="&c;"/></annotations>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotations><image name="&b;"/></annotations>',
    ],
)
def test_fault_26_entities_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    found = read_annotations(tmp_path, annotation_files(tmp_path), "cvat")
    assert found.images == ()
    assert found.defects == ("annotation file 1: expected XML without a document type or entities, got some",)


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.json", b"{", "coco"),
        ("a.json", b"[" * 100_000, "coco"),
        ("a.json", b"[]", "labelme"),
        ("a.json", b'{"images": 3, "annotations": [], "categories": []}', "coco"),
        ("a.json", b"\xff\xfe\x00", "coco"),
        ("a.xml", b"<annotation>", "voc"),
        ("a.xml", b"", "cvat"),
        ("a.xml", b"<annotations><image name='x'/></annotations>", "cvat"),
    ],
)
def test_broken_files_are_defects_by_number_without_their_name(
    tmp_path: Path, name: str, content: bytes, form: Any
) -> None:
    (tmp_path / name).write_bytes(content)
    found = read_annotations(tmp_path, annotation_files(tmp_path), form)
    assert found.images == ()
    (line,) = found.defects
    assert line.startswith("annotation file 1: expected ")
    assert str(tmp_path) not in line


def test_broken_yolo_lines_are_defects(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("protrusion\nnormal\n")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n\n7 0.5 0.5 0.1 0.1\n0 0.5\n0 50 60 10 10\nx\n")
    found = read(tmp_path)
    assert [len(entry.marks) for entry in found.images] == [1]
    assert [line.split(": ")[1] for line in found.defects] == ["line 3", "line 4", "line 5", "line 6"]


def test_yolo_without_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(ValueError, match=r"expected data\.yaml or classes\.txt"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("a.json", '{"images": [], "annotations": [], "categories": []}', "coco"),
        ("a.json", '{"shapes": []}', "labelme"),
        ("a.json", '{"markups": []}', "slicer"),
        ("a.xml", "<annotation/>", "voc"),
        ("a.xml", "<annotations/>", "cvat"),
        ("a.txt", "\n0 0.5 0.5 0.1 1e-1\n", "yolo"),
    ],
)
def test_a_format_is_recognised_beside_other_files(tmp_path: Path, name: str, text: str, form: str) -> None:
    (tmp_path / name).write_text(text)
    for other, content in (("README.txt", "Boxes by A."), ("z.json", "{}"), ("z.xml", "<x/>"), ("z.yaml", "a: 1")):
        (tmp_path / other).write_text(content)
    assert recognise(annotation_files(tmp_path)) == form


def test_two_formats_or_none_are_refused_and_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.json").write_text('{"shapes": []}')
    (tmp_path / "real/b.xml").write_text("<annotations/>")
    with pytest.raises(ValueError, match="found cvat and labelme; name it"):
        recognise(annotation_files(tmp_path / "real"))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ValueError, match="got a link"):
        annotation_files(tmp_path / "link")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="found none"):
        annotation_files(tmp_path / "empty")


def test_export_refuses_strange_classes_names_and_full_folders(tmp_path: Path) -> None:
    content = coco([[([1.0, 2.0, 3.0, 4.0], "protrusion", None)]])
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content | {"categories": [{"id": 0, "name": "x"}, {"id": 1, "name": "y"}]}))
    with pytest.raises(ValueError, match="expected COCO annotations with our classes"):
        export_annotations(path, tmp_path / "out", "coco")
    content["images"][0]["file_name"] = "../../evil.png"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="expected file names below the images"):
        export_annotations(path, tmp_path / "out", "yolo")
    assert not (tmp_path / "evil.txt").exists()
    with pytest.raises(ValueError, match="got one that holds files"):
        export_annotations(path, tmp_path, "coco")

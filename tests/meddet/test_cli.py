import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from meddet import cli


def write_png(path: Path, seed: int = 0) -> Path:
    values = np.random.default_rng(seed).integers(0, 65535, (120, 100)).astype(np.uint16)
    PIL.Image.fromarray(values).save(path)
    return path


def test_help_starts_without_torch_and_says_research_use_only() -> None:
    script = "import atexit, sys; from meddet import cli; atexit.register(lambda: print('torch' in sys.modules)); "
    script += "cli.main(['--help'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("False")
    assert "Research use only" in done.stdout
    assert "meddet predict scan.dcm" in done.stdout


def test_cost_prints_the_papers_student(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cost", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    parameters = {name: row["parameters"] for name, row in rows.items()}
    assert parameters == {
        "student": 10_419_531,
        "resnet50": 32_260_747,
        "resnet101": 51_252_875,
        "resnet152": 66_896_523,
    }
    assert round(rows["student"]["gflops_mmcv"], 2) == 31.69


def test_cost_as_a_table_at_another_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cost", "--size", "256", "176"]) == 0
    text = capsys.readouterr().out
    assert "10,419,531" in text
    assert "256 x 176" in text


def test_predict_writes_boxes_inside_the_image_and_a_picture(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_png(tmp_path / "scan.png"), tmp_path / "out"
    assert cli.main(["predict", str(source), "--model", str(small_bundle), "--out", str(out)]) == 0
    content = json.loads((out / "scan.json").read_text())
    assert "Research use only" in content["notice"]
    assert "Research use only" in capsys.readouterr().out
    (entry,) = content["images"]
    assert (entry["file"], entry["slice"], entry["width"], entry["height"]) == ("scan.png", "", 100, 120)
    assert entry["detections"]
    thresholds = {"protrusion": 0.2, "non-protrusion": 0.3}
    for each in entry["detections"]:
        x1, y1, x2, y2 = each["box_xyxy_px"]
        assert 0 <= x1 < x2 <= 100
        assert 0 <= y1 < y2 <= 120
        assert each["score"] >= thresholds[each["label"]]
    scores = [each["score"] for each in entry["detections"]]
    assert scores == sorted(scores, reverse=True)
    assert PIL.Image.open(out / "scan.png").size[1] > 500


def test_threshold_and_engine_are_heeded(small_bundle: Path, tmp_path: Path) -> None:
    source = write_png(tmp_path / "scan.png")
    found = {}
    for engine in ("torch", "onnx"):
        out = tmp_path / engine
        arguments = ["predict", str(source), "--model", str(small_bundle), "--out", str(out), "--engine", engine]
        assert cli.main([*arguments, "--threshold", "0.4"]) == 0
        found[engine] = json.loads((out / "scan.json").read_text())["images"][0]["detections"]
    assert all(each["score"] >= 0.4 for each in found["torch"])
    assert [each["label"] for each in found["torch"]] == [each["label"] for each in found["onnx"]]
    assert cli.main([*arguments, "--threshold", "1"]) == 0
    assert json.loads((tmp_path / "onnx/scan.json").read_text())["images"][0]["detections"] == []


def test_a_bad_file_is_named_and_does_not_stop_the_others(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, good = tmp_path / "broken.dcm", write_png(tmp_path / "good.png")
    broken.write_bytes(b"\0" * 300)
    absent, out = tmp_path / "absent.png", tmp_path / "out"
    files = [str(path) for path in (broken, absent, good)]
    assert cli.main(["predict", *files, "--model", str(small_bundle), "--out", str(out)]) == 3
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line.startswith("error: ") for line in lines] == [True, True]
    assert str(broken) in lines[0]
    assert str(absent) in lines[1]
    assert sorted(path.name for path in out.iterdir()) == ["good.json", "good.png"]


def test_files_that_would_overwrite_each_other_are_refused(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b").mkdir()
    first, second = write_png(tmp_path / "scan.png"), write_png(tmp_path / "b" / "scan.png")
    arguments = ["predict", str(first), str(second), "--model", str(small_bundle), "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 2
    assert str(second) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_bundle_ends_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_png(tmp_path / "scan.png")
    assert cli.main(["predict", str(source), "--model", str(tmp_path / "none")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert "expected the folder of a bundle" in line


@pytest.mark.parametrize("arguments", [["predict", "x.png", "--threshold", "2"], ["cost", "--size", "8", "8"], []])
def test_wrong_arguments_exit_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2


def test_phantom_writes_one_mode_read_by_all_raters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "easy"
    assert cli.main(["phantom", "--preset", "tiny", "--mode", "easy", "--raters", "2", "--out", str(out)]) == 0
    assert "not clinical" in capsys.readouterr().out
    modes = {line.split(",")[2] for line in (out / "truth" / "discs.csv").read_text().splitlines()[1:]}
    assert modes == {"easy"}
    assert sorted(path.name for path in out.glob("annotations*.json")) == [
        "annotations.a.json",
        "annotations.b.json",
        "annotations.json",
    ]


def test_phantom_without_anything_to_write_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["phantom", "--preset", "tiny"]) == 2
    assert "expected --out DIR, --sheet PNG or both" in capsys.readouterr().err

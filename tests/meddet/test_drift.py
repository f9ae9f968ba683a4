import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import scipy.stats
import torch

from meddet import cli
from meddet.bundle import load_bundle
from meddet.drift import features, monitor, state
from meddet.drift.features import FEATURES, Values
from meddet.drift.reference import LEAST_STUDIES, Reference, Rule, build_reference, read_reference, write_reference
from meddet.drift.watch import follow
from meddet.models.locator import region_between
from meddet.phantom.look import to_uint8
from meddet.phantom.presets import PRESETS
from meddet.phantom.render import render
from meddet.phantom.study import draw_patient, draw_slice
from meddet.structures import Detections, Region

RULE = Rule(window=40, least=20, p_value=0.001, psi=0.25, bins=5)
WHOLE = Region(0.0, 0.0, 8.0, 8.0)


def rows_of(values: np.ndarray) -> list[Values]:
    """Give every feature the same value in a study."""
    return [dict.fromkeys(FEATURES, float(value)) for value in values]


def reference_of(rows: list[Values]) -> Reference:
    return build_reference({"train": rows, "validation": rows}, rule=RULE)


def features_of(pixels: np.ndarray, brightness: float | None = None) -> dict[str, float | None]:
    size = pixels.shape
    region = Region(0.0, 0.0, float(size[1]), float(size[0]))
    return features.image_features(pixels.astype(np.float32), region, spacing_mm=(0.5, 0.5), brightness=brightness)


# Features


def test_what_halves_of_a_picture_give() -> None:
    pixels = np.full((8, 8), 0.25)
    pixels[:, 4:] = 0.5
    seen = features_of(pixels)
    assert seen["front_back"] == pytest.approx(-1, abs=0.01)
    assert seen["top_bottom"] == 0
    assert seen["centre_edge"] == pytest.approx(0)
    assert (seen["mean"], seen["contrast"], seen["saturated"]) == (0.375, 0.125, 0)
    assert (seen["pixel_mm"], seen["rows"], seen["column_height"], seen["column_x"]) == (0.5, 8, 1, 0.5)
    assert seen["noise"] == 0
    turned = features_of(pixels.T)
    assert (turned["top_bottom"], turned["front_back"]) == (seen["front_back"], 0)


def test_noise_is_measured_in_percent_of_the_range_and_not_taken_for_slopes() -> None:
    rng = np.random.default_rng(0)
    slope = np.linspace(0.2, 0.8, 200)[None, :] * np.ones((200, 1))
    assert features_of(slope)["noise"] == pytest.approx(0, abs=1e-3)
    assert features_of(slope + rng.normal(0, 0.02, slope.shape))["noise"] == pytest.approx(2, rel=0.05)


def test_blurring_makes_it_less_sharp() -> None:
    pixels = np.random.default_rng(0).random((64, 64))
    blurred = (pixels + np.roll(pixels, 1, 0) + np.roll(pixels, 1, 1)) / 3
    sharp, soft = features_of(pixels)["sharpness"], features_of(blurred)["sharpness"]
    assert sharp is not None and soft is not None
    assert soft < 0.9 * sharp


def test_what_the_model_says_of_an_image() -> None:
    found = Detections(torch.rand(3, 4), torch.tensor([0.9, 0.6, 0.3]), torch.tensor([1, 0, 0]))
    called = Detections(found.boxes[:2], found.scores[:2], found.labels[:2])
    said = features.score_features(found, called)
    assert (said["discs"], said["protrusions"]) == (2, 1)
    assert said["top_score"] == pytest.approx(0.6)
    assert said["confidence"] == pytest.approx(1.8 / 6)
    none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    assert set(features.score_features(none, none).values()) == {0}


def test_a_study_is_one_value_and_what_no_image_tells_is_unknown() -> None:
    study = features.study_features([{"mean": 0.2, "pixel_mm": None}, {"mean": 0.4, "pixel_mm": 0.5}])
    assert study["mean"] == pytest.approx(0.3)
    assert study["pixel_mm"] == 0.5
    assert study["rows"] is None
    assert set(study) == set(FEATURES)


# Reference and tests


def test_the_reference_is_read_as_it_was_written_and_links_nothing(tmp_path: Path) -> None:
    reference = reference_of(rows_of(np.random.default_rng(0).normal(size=157)))
    path = tmp_path / "reference.json"
    write_reference(path, reference)
    assert read_reference(path) == reference
    mean = reference.features["mean"]
    assert (mean.studies, mean.part, reference.features["discs"].part) == (157, "train", "validation")
    assert list(mean.quantiles) == sorted(mean.quantiles)
    assert mean.shares == pytest.approx([0, *[0.2] * 5, 0], abs=0.01)
    path.write_text(path.read_text().replace('"rule"', '"ruler"'))
    with pytest.raises(ValueError, match=r"reference.json: expected the reference of a bundle"):
        read_reference(path)


def test_of_few_patients_no_distribution_is_kept() -> None:
    reference = reference_of(rows_of(np.arange(LEAST_STUDIES - 1.0)))
    assert reference.features["mean"].quantiles == ()
    compared = monitor.compare(reference, rows_of(np.full(40, 99.0)))
    assert {each.note for each in compared} == {"reference of 19 studies: too few"}
    assert not monitor.is_drift(compared, RULE, standing=False)


def test_the_stability_index_by_hand() -> None:
    """Two bins, 0.5/0.5 against 0.75/0.25, each moved off zero by half a study of ten thousand."""
    value = monitor.stability_index([0.75, 0.25], [0.5, 0.5], studies=10_000)
    assert value == pytest.approx(0.25 * math.log(1.5) - 0.25 * math.log(0.5), rel=1e-3)
    assert monitor.stability_index([0.5, 0.5], [0.5, 0.5], studies=40) == 0
    assert math.isfinite(monitor.stability_index([1.0, 0.0], [0.0, 1.0], studies=40))


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_kolmogorov_and_smirnov_as_scipy_has_them(shift: float) -> None:
    rng = np.random.default_rng(1)
    usual, newest = rng.normal(size=100), rng.normal(size=40) + shift
    distribution = reference_of(rows_of(usual)).features["mean"]
    distance, p_value = monitor.ks_test(newest.tolist(), distribution)
    known = scipy.stats.ks_2samp(usual, newest)
    assert distance == pytest.approx(known.statistic, abs=1e-9)
    assert p_value == pytest.approx(known.pvalue, rel=0.35)


def test_a_feature_of_one_value_is_no_drift_until_the_value_changes() -> None:
    reference = reference_of(rows_of(np.full(50, 320.0)))
    assert not any(each.drifted for each in monitor.compare(reference, rows_of(np.full(40, 320.0))))
    assert all(each.drifted for each in monitor.compare(reference, rows_of(np.full(40, 512.0))))


def test_significant_but_small_is_no_drift() -> None:
    reference = reference_of(rows_of(np.linspace(0, 1, 2000)))
    newest = rows_of(np.linspace(0, 1, 40) ** 1.4)
    strict = replace(reference, rule=replace(RULE, p_value=0.9, psi=0.5))
    (each, *_) = monitor.compare(strict, newest)
    assert each.psi is not None and each.psi < 0.5
    assert not each.drifted


# The alarm


def test_fault_34_no_alarm_in_a_thousand_undrifted_studies() -> None:
    rng = np.random.default_rng(34)
    names = list(FEATURES)
    mixing = rng.normal(size=(len(names), len(names)))

    def draw(count: int) -> list[Values]:
        values = rng.normal(size=(count, len(names))) @ mixing
        return [dict(zip(names, row, strict=True)) for row in values.tolist()]

    reference = build_reference({"train": draw(157), "validation": draw(28)}, rule=RULE)
    memory = state.State("", "")
    alarms = follow(memory, reference, draw(1000))
    assert len(memory.rows) == 1000
    assert len(alarms) <= 1


@pytest.fixture(scope="module")
def studies() -> list[tuple[np.ndarray, Region]]:
    """Grey values of small phantom images and where the column is."""
    preset = replace(PRESETS["tiny"], seed=34, scanned=400, side=96)

    def images() -> Iterator[tuple[np.ndarray, Region]]:
        for number in range(1, 73):
            patient = draw_patient(preset, number)
            item = draw_slice(preset, patient, 1)
            grey = render(preset, item).grey
            corners = np.array([box.corners for box in item.boxes]).reshape(-1, 4)
            if len(corners) > 1:
                ends = (corners[[0, -1], :2] + corners[[0, -1], 2:]) / 2 * patient.protocol.side / patient.frame.fov_mm
                size = (grey.shape[0], grey.shape[1])
                points = torch.from_numpy(ends.astype(np.float32))
                yield grey, region_between(points, size, margin=1.45, aspect=0.75)

    return list(images())


def other_scanner(grey: np.ndarray) -> np.ndarray:
    """Scale by 1.7 and brighten towards the back and the feet."""
    down, across = (np.linspace(-1, 1, side) for side in grey.shape)
    return 1.7 * grey * np.exp(0.4 * (across[None, :] + down[:, None]))


def row_of(grey: np.ndarray, region: Region) -> Values:
    values = to_uint8(grey).astype(np.float64)
    low, high = np.percentile(values, (0.5, 99.9))
    pixels = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    brightness = float(np.percentile(values, 99.9)) / 255
    seen = features.image_features(pixels, region, spacing_mm=None, brightness=brightness)
    return features.study_features([seen])


def test_fault_34_another_scanner_alarms_within_fifty_studies(studies: list[tuple[np.ndarray, Region]]) -> None:
    usual = [row_of(grey, region) for grey, region in studies]
    half = len(studies) // 2
    reference = build_reference({"train": usual[:half], "validation": []}, rule=RULE)
    memory = state.State("", "")
    assert follow(memory, reference, usual[half:]) == []
    before = len(memory.rows)
    (alarm,) = follow(memory, reference, (row_of(other_scanner(grey), region) for grey, region in studies[half:]))
    assert alarm.study - before <= 50
    assert set(alarm.features) & {"brightness", "saturated", "front_back", "top_bottom"}
    assert memory.standing


def test_an_alarm_stands_until_nothing_is_left_of_the_drift() -> None:
    rng = np.random.default_rng(2)
    reference = reference_of(rows_of(rng.normal(size=157)))
    memory = state.State("", "")
    assert follow(memory, reference, rows_of(rng.normal(size=40))) == []
    (alarm,) = follow(memory, reference, rows_of(rng.normal(size=60) + 3))
    assert alarm.number == 1
    assert follow(memory, reference, rows_of(rng.normal(size=60))) == []
    assert not memory.standing
    (again,) = follow(memory, reference, rows_of(rng.normal(size=40) + 3))
    assert again.number == 2


# The command


def write_pngs(folder: Path, count: int, *, seed: int = 0) -> list[Path]:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"Mrs Jones {seed} {number}.png" for number in range(count)]
    for path in paths:
        PIL.Image.fromarray(rng.integers(0, 200, (60, 48)).astype(np.uint8)).save(path)
    return paths


@pytest.fixture
def drift(small_bundle: Path, tmp_path: Path) -> Callable[..., int]:
    def call(*arguments: str | Path) -> int:
        folder = tmp_path / "watch"
        return cli.main(["drift", *map(str, arguments), "--model", str(small_bundle), "--state", str(folder)])

    return call


def test_the_command_counts_each_study_once_and_says_drift(
    drift: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The small bundle's reference lies between 0 and 1, these images have 60 rows."""
    first, more = write_pngs(tmp_path / "in", 8), write_pngs(tmp_path / "in", 14, seed=1)
    assert drift(*first) == 0
    assert "verdict: none yet" in capsys.readouterr().out
    assert drift(*first, *more[:13]) == 7
    said = capsys.readouterr().out
    assert "13 new studies, 8 files were counted before; the newest 21 of 21 are compared" in said
    assert "alarm 1 began with study 20" in said
    assert "Research use only" in said
    assert drift(*first, *more) == 7
    assert "began" not in capsys.readouterr().out
    report = json.loads((tmp_path / "watch" / "drift.json").read_text())
    assert report["drift"] is True
    assert (report["studies"], len(report["alarms"])) == (22, 1)
    assert report["features"]["rows"]["drifted"] is True
    assert PIL.Image.open(tmp_path / "watch" / "drift.png").width > 1000
    assert drift("--reset") == 0
    assert drift(*first) == 0
    assert "0 new studies, 8 files were counted before" in capsys.readouterr().out


def test_nothing_of_the_files_is_kept_but_numbers(drift: Callable[..., int], tmp_path: Path) -> None:
    drift(*write_pngs(tmp_path / "in", 2))
    kept = sorted(path.name for path in (tmp_path / "watch").iterdir())
    assert kept == [".lock", "drift.json", "drift.png", "state.json"]
    for name in kept:
        assert b"Jones" not in (tmp_path / "watch" / name).read_bytes()
    content = json.loads((tmp_path / "watch" / "state.json").read_text())
    assert set(content) == {"format", "salt", "reference", "rows", "seen", "alarms", "standing"}
    assert all(isinstance(value, float | None) for row in content["rows"] for value in row.values())


def test_an_unreadable_file_is_named_once_and_the_others_count(
    drift: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_pngs(tmp_path / "in", 2)
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    assert drift(*good, tmp_path / "in" / "bad.png") == 3
    printed = capsys.readouterr()
    assert "bad.png: expected a PNG image" in printed.err
    assert "2 new studies" in printed.out
    assert drift(*good, tmp_path / "in" / "bad.png") == 0


def test_a_folder_is_one_study(drift: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pngs(tmp_path / "in" / "one", 3)
    write_pngs(tmp_path / "in" / "two", 2, seed=1)
    assert drift(tmp_path / "in" / "one", tmp_path / "in" / "two") == 0
    assert "2 new studies" in capsys.readouterr().out


def test_another_model_begins_anew(
    drift: Callable[..., int], small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_pngs(tmp_path / "in", 2)
    drift(*files)
    other = reference_of(rows_of(np.arange(30.0)))
    shutil.copytree(small_bundle, tmp_path / "other")
    write_reference(tmp_path / "other" / "reference.json", other)
    manifest = json.loads((tmp_path / "other" / "manifest.json").read_text())
    written = (tmp_path / "other" / "reference.json").read_bytes()
    manifest["files"]["reference.json"] = hashlib.sha256(written).hexdigest()
    (tmp_path / "other" / "manifest.json").write_text(json.dumps(manifest))
    assert load_bundle(tmp_path / "other").reference == other != load_bundle(small_bundle).reference
    arguments = ["--model", str(tmp_path / "other"), "--state", str(tmp_path / "watch")]
    assert cli.main(["drift", *map(str, files), *arguments]) == 0
    said = capsys.readouterr().out
    assert "another reference than before" in said
    assert "0 new studies, 2 files were counted before" in said


def test_a_state_that_is_none_is_refused_and_left(
    drift: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "state.json").write_text('{"format": 1, "rows": [{}]}')
    assert drift() == 2
    assert "state.json: expected the state of a drift monitor" in capsys.readouterr().err
    assert (tmp_path / "watch" / "state.json").read_text() == '{"format": 1, "rows": [{}]}'
    assert drift(tmp_path / "absent.png") == 2


def test_one_at_a_time_on_a_state(tmp_path: Path) -> None:
    reference = reference_of(rows_of(np.arange(30.0)))
    with (
        state.opened(tmp_path, reference),
        pytest.raises(ValueError, match="one is at work"),
        state.opened(tmp_path, reference),
    ):
        raise AssertionError("two at once")

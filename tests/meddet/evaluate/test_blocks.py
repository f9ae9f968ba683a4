"""Blocks of the whole report; and fault 35: what isn't there is undefined, in every one of them."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from meddet.classes import CLASSES
from meddet.evaluate.blocks import detection_block, error_block, froc_block, pr_rows
from meddet.evaluate.coco import detection_numbers
from meddet.evaluate.comparisons import comparisons
from meddet.evaluate.errors import error_verdicts
from meddet.evaluate.froc import froc_rows
from meddet.evaluate.operation import operating_numbers
from meddet.evaluate.scored import Scored
from meddet.evaluate.tally import tally
from meddet.structures import Detections, Target

Make = Callable[..., Scored]
Pick = Callable[[Scored, list[int]], Scored]
UNDEFINED = "undefined (n=0)"
METRICS = ("ap10", "ap50", "ap75", "ap50_95", "ar100", "ap50_voc", "recall50")
SUFFIXES = ("", ".protrusion", ".non-protrusion", ".any")


def blocks(scored: Scored, resamples: int = 40) -> dict[str, dict[str, Any]]:
    counted = tally(scored)
    options = {"resamples": resamples, "seed": 0}
    return {
        "detection": detection_block(counted, **options),
        "froc": froc_block(counted, **options),
        "errors": error_block(counted, error_verdicts(scored), **options),
        "operation": operating_numbers(scored, **options),
    }


@pytest.mark.parametrize("seed", range(3))
def test_detection_numbers_are_those_of_the_flat_report(make_scored: Make, seed: int) -> None:
    scored = make_scored(noise=5.0, seed=seed)
    block = detection_block(tally(scored), resamples=20)
    limits = {"score_threshold": scored.score_threshold, "nms_iou": scored.nms_iou}
    flat = detection_numbers(scored.detections, scored.targets, classes=CLASSES, **limits)
    parts = {"": flat, ".any": flat["class_agnostic"]} | {f".{name}": flat[name] for name in CLASSES}
    for suffix, part in parts.items():
        for metric in METRICS:
            name = metric if metric in part else f"{metric}_coco"
            assert block["metrics"][metric + suffix] == pytest.approx(part[name], abs=1e-12)
    assert set(block["metrics"]) == set(block["ci95"]) == {m + suffix for m in METRICS for suffix in SUFFIXES}
    assert block["n"] == operating_numbers(scored, resamples=2)["n"]


def test_a_resample_is_what_its_patients_written_down_as_often_give(make_scored: Make, pick: Pick) -> None:
    scored = make_scored(patients=6, noise=5.0)
    counted = tally(scored)
    times = [0, 3, 1, 1, 0, 1]
    often = dict(zip(counted.patients, times, strict=True))
    copies = [index for index, name in enumerate(scored.patients) for _ in range(often[name])]
    again = tally(pick(scored, copies))
    weighted = counted.detection(np.asarray([times], dtype=float))
    written = again.detection(np.ones((1, len(again.patients))))
    for name, value in written.items():
        assert weighted[name] == pytest.approx(value, abs=1e-12), name


def test_chunks_and_threads_change_nothing(make_scored: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = make_scored(noise=5.0)
    whole = blocks(scored)
    monkeypatch.setattr("meddet.evaluate.bootstrap._CELLS_AT_ONCE", 1000)
    assert blocks(scored) == whole


def test_intervals_hold_the_numbers(make_scored: Make) -> None:
    for part in blocks(make_scored(patients=20, noise=5.0), resamples=400).values():
        for name, value in part["metrics"].items():
            low, high = part["ci95"][name]
            assert low <= value <= high, name


def test_precision_rows_average_to_ap50(make_scored: Make) -> None:
    counted = tally(make_scored(noise=5.0))
    rows = pr_rows({"student": counted, "again": counted})
    metrics = detection_block(counted, resamples=2)["metrics"]
    assert list(rows.columns) == ["model", "class", "recall", "precision"]
    for (_, name), curve in rows.groupby(["model", "class"]):
        assert len(curve) == 101
        assert curve["precision"].mean() == pytest.approx(metrics[f"ap50.{name}"])
        assert (curve["precision"].diff().dropna() <= 0).all()
    assert len(rows) == 2 * 3 * 101


@pytest.mark.filterwarnings("error")
def test_fault_35_an_empty_test_part_is_undefined(make_scored: Make, pick: Pick) -> None:
    nothing = pick(make_scored(patients=2), [])
    for part in blocks(nothing).values():
        assert set(part["metrics"].values()) == {UNDEFINED}
        assert {bound for bounds in part["ci95"].values() for bound in bounds} == {UNDEFINED}
        assert set(part["n"].values()) == {0}
    counted = tally(nothing)
    rows = comparisons({"student": counted, "baseline": counted}, model="student", resamples=10)
    assert {(row["difference"], row["low"], row["p"], row["p_holm"]) for row in rows} == {(UNDEFINED,) * 4}
    assert len(pr_rows({"student": counted})) == len(froc_rows({"student": counted})) == 0


@pytest.mark.filterwarnings("error")
def test_fault_35_an_absent_class_is_undefined_and_left_out_of_means(make_scored: Make) -> None:
    scored = make_scored()
    healthy = replace(scored, targets=tuple(Target(each.boxes, each.labels * 0 + 1) for each in scored.targets))
    got = blocks(healthy)
    absent = {f"{metric}.protrusion" for metric in METRICS}
    metrics = got["detection"]["metrics"]
    assert {name for name, value in metrics.items() if value == UNDEFINED} == absent
    assert {name for name, bounds in got["detection"]["ci95"].items() if UNDEFINED in bounds} == absent
    assert metrics["ap50"] == metrics["ap50.non-protrusion"]
    assert {name for name, value in got["froc"]["metrics"].items() if value == UNDEFINED} == {
        name for name in got["froc"]["metrics"] if name.startswith("protrusion")
    }
    assert UNDEFINED not in got["errors"]["metrics"].values()
    assert set(froc_rows({"student": tally(healthy)})["class"]) == {"any"}
    assert set(pr_rows({"student": tally(healthy)})["class"]) == {"non-protrusion", "any"}
    counted = tally(healthy)
    rows = comparisons({"student": counted, "twin": counted}, model="student", resamples=10)
    undefined = {row["metric"] for row in rows if row["p_holm"] == UNDEFINED}
    assert undefined == {"disc_auc", "sensitivity.protrusion", "froc.protrusion.1"}


@pytest.mark.filterwarnings("error")
def test_fault_35_one_patient_has_numbers_and_intervals_of_no_width(make_scored: Make) -> None:
    for part in blocks(make_scored(patients=1)).values():
        for name, value in part["metrics"].items():
            assert value != UNDEFINED, name
            assert part["ci95"][name] == [value, value], name
        assert part["n"]["patients"] == 1


@pytest.mark.filterwarnings("error")
def test_fault_35_an_image_without_discs_has_only_false_positives(make_scored: Make, pick: Pick) -> None:
    scored = pick(make_scored(patients=1), [0, 1])
    none = Target(torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64))
    bare = replace(scored, targets=(none, none), levels=((), ()))
    got = blocks(bare)
    assert set(got["detection"]["metrics"].values()) == set(got["froc"]["metrics"].values()) == {UNDEFINED}
    errors = got["errors"]["metrics"]
    assert errors["missed"] == errors["class_flip"] == 0.0
    assert errors["background.other"] == got["errors"]["counts"]["calls"] / 2 > 0
    beside = replace(scored, targets=(scored.targets[0], none), levels=(scored.levels[0], ()))
    alone = tally(pick(scored, [0])).detection(np.ones((1, 1)))
    both = tally(beside).detection(np.ones((1, 1)))
    assert both["ar100"] == alone["ar100"]
    assert both["ap50.any"] < alone["ap50.any"]


@pytest.mark.filterwarnings("error")
def test_fault_35_a_model_that_finds_nothing_scores_zero_not_undefined(make_scored: Make) -> None:
    scored = make_scored(patients=2)
    empty = Detections(torch.zeros((0, 4)), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    silent = replace(scored, detections=(empty,) * len(scored.detections))
    got = blocks(silent)
    assert set(got["detection"]["metrics"].values()) == set(got["froc"]["metrics"].values()) == {0.0}
    assert got["errors"]["metrics"]["missed"] == 6.0
    assert "NaN" not in json.dumps(got)

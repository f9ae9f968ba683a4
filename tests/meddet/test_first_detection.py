import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from meddet.contender import Artefact, open_network
from meddet.first_detection import FirstDetection, first_detection, parse, peak_memory_mb
from meddet.postprocess import select

LIMITS: dict[str, Any] = {"score_threshold": 0.05, "nms_iou": 0.6, "max_detections": 100}
VIEW = np.random.default_rng(0).random((3, 160, 136), dtype=np.float32)


def start(bundle: Path, folder: Path, onnx: str = "detector.onnx") -> FirstDetection:
    np.save(folder / "view.npy", VIEW)
    files = {"folder": bundle, "onnx": bundle / onnx, "view": folder / "view.npy"}
    return first_detection("onnxruntime", **files, threads=1, limits=LIMITS)


def test_a_new_process_finds_the_same_and_none_of_our_memory_is_in_its_own(small_bundle: Path, tmp_path: Path) -> None:
    artefact = Artefact(small_bundle, small_bundle / "detector.onnx")
    boxes, scores = open_network("onnxruntime", artefact, threads=1)(torch.from_numpy(VIEW)[None])
    ballast = np.ones(250_000_000)
    ours = peak_memory_mb()
    assert ours > ballast.nbytes / 1e6
    found = start(small_bundle, tmp_path)
    assert found.detections == len(select(boxes, scores, input_size=(160, 136), **LIMITS).scores)
    assert 50 < found.peak_memory_mb < 1500
    assert 0.1 < found.seconds < 120


def test_a_process_that_fails_is_told_in_one_line(small_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"onnxruntime: expected a first detection, got exit code 1: FileNotFound"
    ) as e:
        start(small_bundle, tmp_path, onnx="none.onnx")
    assert "\n" not in str(e.value)


def test_what_a_process_says_is_counted_from_its_start() -> None:
    said = json.dumps({"at": 103.5, "peak_memory_mb": 400.25, "detections": 6})
    assert parse(said, start=101.0) == FirstDetection(2.5, 400.25, 6)

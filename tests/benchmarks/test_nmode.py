import pytest
import torch

from benchmarks.nmode import HeadAlone, nmode_share, share
from meddet.models.detector import build_detector
from meddet.models.nmode import NmODE


def test_the_share_of_known_times() -> None:
    assert share(20.0, 19.0) == pytest.approx(5.0)
    assert share(20.0, 20.0) == 0
    assert share(19.0, 20.0) < 0


def test_every_engine_runs_the_head_with_and_without_and_the_detector_stays_whole() -> None:
    arguments = {"backbone": "mobilenet_v2", "channels": 32, "num_classes": 2, "ode": "nmode2", "solver": "rk4"}
    detector = build_detector(**arguments, ode_steps=2).eval()
    threads = torch.get_num_threads()
    shares = nmode_share(detector, size=(64, 64), threads=1, warmup=1, rounds=3)
    torch.set_num_threads(threads)
    assert set(shares) == {"torch", "onnxruntime", "openvino"}
    assert all(value < 100 for value in shares.values())
    assert sum(isinstance(module, NmODE) for module in detector.modules()) == 2


def test_the_head_reads_five_levels_from_one_map() -> None:
    arguments = {"backbone": "mobilenet_v2", "channels": 32, "num_classes": 2, "ode": "none", "solver": "fast"}
    detector = build_detector(**arguments, ode_steps=1).eval()
    with torch.inference_mode():
        logits, distributions = HeadAlone(detector.head)(torch.rand(1, 32, 20, 14))
    assert logits.shape == (20 * 14 + 10 * 7 + 5 * 4 + 3 * 2 + 2 * 1, 2)
    assert distributions.shape == (logits.shape[0], 4, 17)

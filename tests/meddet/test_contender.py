from pathlib import Path

import pytest
import torch

from meddet.contender import BFLOAT16, ENGINES, Artefact, engines_here, open_network, read_artefact, weights_of
from meddet.models.detector import save_detector


@pytest.fixture
def artefact(small_bundle: Path) -> Artefact:
    return Artefact(small_bundle, small_bundle / "detector.onnx")


def test_bfloat16_is_measured_where_the_processor_has_it() -> None:
    assert engines_here({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}) == tuple(ENGINES)
    assert engines_here({"avx512_f": True, "avx512_bf16": False}) == ("torch", "onnxruntime", "openvino")
    assert engines_here({"avx512_f": True}) == ("torch", "onnxruntime", "openvino")


@pytest.mark.parametrize("engine", list(ENGINES))
def test_every_engine_finds_what_torch_finds(artefact: Artefact, engine: str) -> None:
    image = torch.rand(1, 3, 160, 136, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        boxes, scores = open_network("torch", artefact, threads=1)(image)
        other_boxes, other_scores = open_network(engine, artefact, threads=1)(image)
    coarse = engine == BFLOAT16
    assert other_boxes.dtype == other_scores.dtype == torch.float32
    assert (boxes - other_boxes).abs().max() < (5.0 if coarse else 0.01)
    assert (scores - other_scores).abs().max() < (0.05 if coarse else 1e-4)
    assert torch.equal(scores, other_scores) == (engine == "torch")


def test_a_bundle_and_a_training_are_read_alike(artefact: Artefact, tmp_path: Path) -> None:
    detector = read_artefact(artefact)
    arguments = {"backbone": "mobilenet_v2", "channels": 32, "num_classes": 2, "ode": "nmode2", "solver": "fast"}
    save_detector(tmp_path, detector, arguments=arguments | {"ode_steps": 4}, input_size=(160, 136))
    trained = Artefact(tmp_path, artefact.onnx)
    again = read_artefact(trained)
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in detector.state_dict().items())
    assert weights_of(trained).name == "model.safetensors"
    assert weights_of(artefact).name == "detector.safetensors"

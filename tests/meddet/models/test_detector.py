import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from meddet.models.backbones import BACKBONES
from meddet.models.detector import Detector, build_detector, load_detector, save_detector

ARGUMENTS: dict[str, Any] = {
    "backbone": "mobilenet_v2",
    "channels": 32,
    "num_classes": 2,
    "ode": "nmode2",
    "solver": "fast",
    "ode_steps": 4,
}


def small(**changes: Any) -> Detector:
    torch.manual_seed(0)
    return build_detector(**(ARGUMENTS | changes)).eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_detector(tmp_path, small(), arguments=ARGUMENTS, input_size=(64, 48))
    return tmp_path


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("height", "width"), [(256, 176), (97, 131)])
def test_shapes(backbone: str, height: int, width: int) -> None:
    with torch.device("meta"):
        detector = build_detector(**(ARGUMENTS | {"backbone": backbone})).to("meta")
        features = detector.features(torch.empty(2, 3, height, width))
        predictions = detector.head(features)
    sizes = [(-(-height // stride), -(-width // stride)) for stride in (8, 16, 32, 64, 128)]
    assert [tuple(level.shape) for level in features] == [(2, 32, *size) for size in sizes]
    rows = sum(h * w for h, w in sizes)
    assert predictions.logits.shape == (2, rows, 2)
    assert predictions.distributions.shape == (2, rows, 4, 17)
    assert predictions.points.shape == (rows, 2)


def test_512_has_5456_points() -> None:
    with torch.device("meta"):
        detector = small().to("meta")
        assert detector(torch.empty(1, 3, 512, 512)).logits.shape[1] == 5456


@pytest.mark.parametrize(("ode", "solver"), [("nmode2", "fast"), ("nmode", "rk4"), ("none", "fast")])
def test_a_batch_is_its_images(ode: str, solver: str) -> None:
    detector = small(ode=ode, solver=solver)
    images = torch.randn(3, 3, 72, 56, generator=torch.Generator().manual_seed(1))
    together = detector(images)
    for index in range(3):
        alone = detector(images[index : index + 1])
        torch.testing.assert_close(together.logits[index], alone.logits[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.distributions[index], alone.distributions[0], atol=1e-5, rtol=1e-5)


def test_fast_and_rk4_give_the_same_detector() -> None:
    fast, exact = small(), small(solver="rk4", ode_steps=16)
    exact.load_state_dict(fast.state_dict())
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(fast(images).logits, exact(images).logits, atol=1e-4, rtol=0)


def test_memory_format_does_not_matter() -> None:
    detector = small()
    images = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    plain = detector(images)
    last = detector.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(plain.logits, last.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(plain.distributions, last.distributions, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("ode", ["none", "nmode", "nmode2"])
def test_nmode_adds_no_parameter(ode: str) -> None:
    assert list(small(ode=ode).state_dict()) == list(small(ode="none").state_dict())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_round_trip_is_bitwise(tmp_path: Path, memory_format: torch.memory_format) -> None:
    detector = small().to(memory_format=memory_format)
    detector.head.set_initial_size(24.0, 12.0)
    save_detector(tmp_path / "new", detector, arguments=ARGUMENTS, input_size=(64, 48))
    loaded, size = load_detector(tmp_path / "new")
    assert size == (64, 48)
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    stored = loaded.state_dict()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in detector.state_dict().items())
    images = torch.randn(1, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    a, b = detector.to(memory_format=torch.contiguous_format)(images), loaded(images)
    assert torch.equal(a.logits, b.logits)
    assert torch.equal(a.distributions, b.distributions)


def test_the_same_detector_is_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_detector(tmp_path / name, small(), arguments=ARGUMENTS, input_size=(64, 48))
    for file in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["model.json", "model.safetensors"]


@pytest.mark.parametrize("file", ["model.safetensors", "model.json"])
@pytest.mark.parametrize("content", [None, b"", b"no model", b'{"arguments": {}}'])
def test_missing_and_damaged_files_are_named(saved: Path, file: str, content: bytes | None) -> None:
    if content is None:
        (saved / file).unlink()
    else:
        (saved / file).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{file}: .*expected"):
        load_detector(saved)


def test_truncated_weights(saved: Path) -> None:
    content = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors: expected a safetensors file"):
        load_detector(saved)


@pytest.mark.parametrize(
    ("key", "value", "file"),
    [
        ("channels", 64, "model.safetensors: expected the weights"),
        ("backbone", "resnet50", "model.safetensors: expected the weights"),
        ("backbone", "resnet51", "model.json: arguments: .*mobilenet_v2.*got 'resnet51'"),
        ("channels", "32", "model.json: arguments: channels: expected int, got '32'"),
        ("channels", 33, "model.json: arguments: .*multiple of 32, got 33"),
        ("solver", "rk5", "model.json: arguments: .*got 'rk5'"),
        ("ode_step", 4, "model.json: arguments: expected"),
    ],
)
def test_arguments_that_do_not_fit(saved: Path, key: str, value: Any, file: str) -> None:
    settings = json.loads((saved / "model.json").read_text())
    settings["arguments"][key] = value
    (saved / "model.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=file) as caught:
        load_detector(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("classes", ["a", "b"]), ("input_size", [64]), ("input_size", [64, 0])])
def test_settings_that_do_not_fit(saved: Path, key: str, value: Any) -> None:
    settings = json.loads((saved / "model.json").read_text()) | {key: value}
    (saved / "model.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=rf"model\.json: {key}: expected"):
        load_detector(saved)


@pytest.mark.parametrize("change", ["lost", "surplus", "reshaped", "half"])
def test_weights_are_read_strictly(saved: Path, change: str) -> None:
    state = safetensors.torch.load((saved / "model.safetensors").read_bytes())
    if change == "lost":
        del state["head.cls.bias"]
    elif change == "surplus":
        state["head.more"] = torch.zeros(1)
    elif change == "reshaped":
        state["head.cls.bias"] = torch.zeros(3)
    else:
        state["head.cls.bias"] = state["head.cls.bias"].half()
    (saved / "model.safetensors").write_bytes(safetensors.torch.save(state))
    with pytest.raises(ValueError, match=r"model\.safetensors: expected the weights that model\.json describes"):
        load_detector(saved)


class Outputs(nn.Module):
    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        predictions = self.detector(images)
        return predictions.logits, predictions.distributions


def test_onnx_export_agrees(tmp_path: Path) -> None:
    model = Outputs(small()).eval()
    path = tmp_path / "detector.onnx"
    program = torch.onnx.export(model, (torch.zeros(1, 3, 64, 48),), dynamo=True, verbose=False)
    assert program is not None
    program.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = torch.randn(1, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    got = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    for output, expected in zip(got, model(images), strict=True):
        np.testing.assert_allclose(output, expected.detach().numpy(), atol=1e-4, rtol=0)

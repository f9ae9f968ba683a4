"""Fault 27: files that would run code or reach outside when a model is loaded."""

import hashlib
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch

from meddet import bundle


class Payload:
    """Unpickled, it touches a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.canary,)


def pickled(folder: Path, canary: Path) -> str:
    (folder / "detector.safetensors").write_bytes(pickle.dumps(Payload(canary)))
    return "detector.safetensors"


def checkpoint(folder: Path, canary: Path) -> str:
    """What torch.save writes, .pt: a ZIP with a pickle."""
    torch.save({"model": Payload(canary)}, folder / "locator.safetensors")
    return "locator.safetensors"


def exported_program(folder: Path, canary: Path) -> str:
    """A .pt2: a ZIP whose tables and code are pickles."""
    with zipfile.ZipFile(folder / "detector.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Payload(canary)))
        archive.writestr("archive/version", "3")
    return "detector.safetensors"


def huge_header(folder: Path, canary: Path) -> str:  # noqa: ARG001
    """A header of 2^62 bytes."""
    (folder / "detector.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b'{"a":')
    return "detector.safetensors"


def outside_weights(folder: Path, canary: Path) -> str:  # noqa: ARG001
    """ONNX with its weights in a file outside of the bundle."""
    return external(folder, "../../etc/passwd")


def beside_weights(folder: Path, canary: Path) -> str:  # noqa: ARG001
    """ONNX with its weights in a file beside it, which no manifest names."""
    (folder / "weights.bin").write_bytes(bytes(1 << 20))
    return external(folder, "weights.bin")


def external(folder: Path, place: str) -> str:
    model = onnx.load(folder / "detector.onnx")
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=place)
    (folder / "detector.onnx").write_bytes(model.SerializeToString())
    return "detector.onnx"


def link(folder: Path, canary: Path) -> str:
    """A file that is a link to one elsewhere, with the right content as long as somebody wants it."""
    elsewhere = canary.with_name("elsewhere")
    (folder / "detector.safetensors").rename(elsewhere)
    (folder / "detector.safetensors").symlink_to(elsewhere)
    return "detector.safetensors"


@pytest.mark.parametrize(
    "attack", [pickled, checkpoint, exported_program, huge_header, outside_weights, beside_weights, link]
)
def test_fault_27_a_malicious_bundle_is_not_loaded(
    small_bundle: Path, tmp_path: Path, attack: Callable[[Path, Path], str]
) -> None:
    """Its manifest vouches for it, so that only the reader stands between the file and the user."""
    folder = Path(shutil.copytree(small_bundle, tmp_path / "bundle"))
    canary = tmp_path / "canary"
    name = attack(folder, canary)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=name) as error:
        bundle.load_bundle(folder, engine="onnx" if name.endswith(".onnx") else "torch")
    assert "\n" not in str(error.value)
    assert not canary.exists()


def test_the_payload_would_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()

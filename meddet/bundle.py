"""The bundle: the model as users receive it. Its only writer and its only reader.

A folder of detector.safetensors, locator.safetensors, config.json, detector.onnx, locator.onnx, card.md and
manifest.json, which holds the SHA-256 of every other file. Nothing in it is a pickle.
"""

import hashlib
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from meddet import export
from meddet.classes import CLASSES
from meddet.data.transforms import prepare
from meddet.files import read_json, write_atomic, write_json
from meddet.inference import in_image
from meddet.models.detector import Detector, build_detector
from meddet.models.locator import Locator, LocatorSettings, Points, locate, whole_view
from meddet.postprocess import select
from meddet.structures import Detections, Region

FORMAT = 2
FILES = ("card.md", "config.json", "detector.onnx", "detector.safetensors", "locator.onnx", "locator.safetensors")
MANIFEST = "manifest.json"
_VERSIONED = ("torch", "torchvision", "onnx", "onnxruntime", "numpy", "safetensors")

Engine = Literal["torch", "onnx"]


@dataclass(frozen=True)
class Config:
    """Everything beside the weights that turns an image into detections."""

    arguments: dict[str, Any]
    """Of `build_detector`."""
    input_size: tuple[int, int]
    """Height and width of the detector's input in pixels."""
    locator: LocatorSettings
    percentiles: tuple[float, float]
    """Percentiles of an image that become 0 and 1 where its file names no window."""
    max_pixels: int
    """Largest accepted rows x columns of a file."""
    score_threshold: float
    """Least score of a detection."""
    nms_iou: float
    """IoU above which the lower of two boxes of one class goes."""
    max_detections: int
    """Most detections of one image."""
    operating_point: dict[str, float]
    """Score threshold by class, chosen on validation."""


@dataclass(frozen=True)
class Tolerance:
    """Largest accepted differences of ONNX and torch."""

    box_px: float
    score: float


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: pixels in, detections out."""

    config: Config
    data_md5: str
    boxes_and_scores: export.BoxesAndScores
    points: Points

    @property
    def operating_point(self) -> dict[str, float]:
        """Score threshold by class name, chosen on validation."""
        return self.config.operating_point

    def locate(self, pixels: Float[Tensor, "1 h w"]) -> Region:
        """Find the region of the column that the detector looks at."""
        return locate(self.points, pixels, self.config.locator)

    def detect(self, pixels: Float[Tensor, "1 h w"], region: Region) -> Detections:
        """Detect within a given region, in the image's pixels."""
        config = self.config
        boxes, scores = self.boxes_and_scores(prepare(pixels, region, config.input_size)[None])
        found = select(
            boxes,
            scores,
            input_size=config.input_size,
            score_threshold=config.score_threshold,
            nms_iou=config.nms_iou,
            max_detections=config.max_detections,
        )
        size = (pixels.shape[1], pixels.shape[2])
        return in_image(found, region, config.input_size, image_size=size)

    def predict(self, pixels: Float[np.ndarray, "h w"]) -> tuple[Detections, Region]:
        """Locate the column and detect discs.

        Args:
            pixels: an array, float32 in [0, 1].

        Returns:
            detections in the image's pixels, every one that scores at least `config.score_threshold`, and the region
            that was looked at.
        """
        with torch.inference_mode():
            image = torch.as_tensor(pixels, dtype=torch.float32)[None]
            region = self.locate(image)
            return self.detect(image, region), region


def write_bundle(
    folder: Path,
    *,
    detector: Detector,
    locator: Locator,
    config: Config,
    card: str,
    data_md5: str,
    code: str,
    images: Sequence[Float[Tensor, "1 h w"]],
    regions: Sequence[Region],
    tolerance: Tolerance,
) -> export.Parity:
    """Write a bundle as a whole, after its ONNX files computed what torch computes; else write nothing.

    Args:
        folder: is replaced.
        detector: in eval mode.
        locator: in eval mode.
        config: goes to config.json.
        card: the model card, Markdown.
        data_md5: of the data set it was trained on.
        code: fingerprint of the sources (`code_fingerprint`).
        images: real images on which the engines are compared.
        regions: of these images.
        tolerance: of the comparison, in input pixels and in scores.

    Errors:
        ValueError: the engines differ by more than the tolerance.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        write_atomic(work / "detector.safetensors", _weights(detector))
        write_atomic(work / "locator.safetensors", _weights(locator))
        write_json(work / "config.json", {"format": FORMAT, "classes": CLASSES, **asdict(config)})
        write_atomic(work / "card.md", card.encode())
        export.export_detector(detector, size=config.input_size, path=work / "detector.onnx")
        export.export_locator(locator, size=config.locator.size, path=work / "locator.onnx")
        parity = _require_same(work, config, images=images, regions=regions, tolerance=tolerance)
        files = {name: hashlib.sha256((work / name).read_bytes()).hexdigest() for name in FILES}
        versions = {name: importlib.metadata.version(name) for name in _VERSIONED}
        write_json(work / MANIFEST, {"files": files, "data_md5": data_md5, "code_sha256": code, "versions": versions})
        work.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
        return parity
    finally:
        shutil.rmtree(work, ignore_errors=True)


def load_bundle(folder: Path, *, engine: Engine = "torch") -> Bundle:
    """Read a bundle, after every file was compared with the manifest.

    Args:
        folder: of the bundle.
        engine: torch reads the safetensors files, onnx the ONNX files.

    Errors:
        ValueError: names the file that is missing, changed, or not what it should be.
    """
    manifest = _verified(folder)
    config = _read_config(folder / "config.json")
    boxes_and_scores, points = _ENGINES[engine](folder, config)
    return Bundle(config, manifest["data_md5"], boxes_and_scores, points)


def load_bundled_detector(folder: Path) -> tuple[Detector, Config]:
    """Read the detector of a bundle alone, in eval mode, after every file was compared with the manifest.

    Errors:
        ValueError: as `load_bundle`.
    """
    _verified(folder)
    config = _read_config(folder / "config.json")
    return _read_detector(folder, config), config


def code_fingerprint(*packages: Path) -> str:
    """Hash the Python sources of some folders: their relative names and contents, in order, by SHA-256."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            digest.update(f"{package.name}/{path.relative_to(package).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _require_same(
    folder: Path, config: Config, *, images: Sequence[Tensor], regions: Sequence[Region], tolerance: Tolerance
) -> export.Parity:
    """Compare the engines on what was written, the detector in input pixels, the locator in its input's pixels."""
    (detect, locate), (onnx_detect, onnx_locate) = _torch_engine(folder, config), _onnx_engine(folder, config)
    views = [prepare(image, region, config.input_size) for image, region in zip(images, regions, strict=True)]
    parity = export.check_parity(detect, onnx_detect, views)
    limits = {"box_tolerance_px": tolerance.box_px, "score_tolerance": tolerance.score}
    export.require_parity(parity, name="detector.onnx", **limits)
    with torch.inference_mode():
        wholes = [whole_view(image, config.locator.size)[0][None] for image in images]
        shift = max((float((locate(whole) - onnx_locate(whole)).abs().max()) for whole in wholes), default=0.0)
    located = export.Parity(len(wholes), shift * config.locator.size, 0.0)
    export.require_parity(located, name="locator.onnx", **limits)
    return parity


def _torch_engine(folder: Path, config: Config) -> tuple[export.BoxesAndScores, Points]:
    with torch.device("meta"):
        locator = Locator(config.locator.width)
    _load_weights(locator, folder / "locator.safetensors")
    return export.DecodedDetector(_read_detector(folder, config)).eval(), export.PointLocator(locator).eval()


def _read_detector(folder: Path, config: Config) -> Detector:
    with torch.device("meta"):
        detector = build_detector(**config.arguments)
    _load_weights(detector, folder / "detector.safetensors")
    return detector.eval()


def _onnx_engine(folder: Path, config: Config) -> tuple[export.BoxesAndScores, Points]:  # noqa: ARG001
    detect, locate = export.open_onnx(folder / "detector.onnx"), export.open_onnx(folder / "locator.onnx")

    def boxes_and_scores(image: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = detect(image)
        return boxes, scores

    return boxes_and_scores, lambda image: locate(image)[0]


_ENGINES: dict[str, Callable[[Path, Config], tuple[export.BoxesAndScores, Points]]] = {
    "torch": _torch_engine,
    "onnx": _onnx_engine,
}


def _weights(model: nn.Module) -> bytes:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return safetensors.torch.save(state)


def _load_weights(model: nn.Module, path: Path) -> None:
    try:
        model.load_state_dict(safetensors.torch.load(path.read_bytes()), assign=True)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: expected the weights that config.json describes, got {reason}") from None


def _verified(folder: Path) -> dict[str, Any]:
    """Read the manifest and compare every file with it."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected the folder of a bundle, found none")
    path = folder / MANIFEST
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not {"files", "data_md5"} <= set(manifest):
        raise ValueError(f"{path}: expected the keys files and data_md5, got {json.dumps(manifest)[:100]}")
    for name in FILES:
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{file}: expected a file of the bundle, found none")
        if hashlib.sha256(file.read_bytes()).hexdigest() != manifest["files"].get(name):
            raise ValueError(f"{file}: expected the SHA-256 in {MANIFEST}, got another: the file was changed")
    return manifest


def _read_config(path: Path) -> Config:
    content = read_json(path)
    try:
        if content.pop("format") != FORMAT or content.pop("classes") != list(CLASSES):
            raise ValueError(f"{path}: expected format {FORMAT} and classes {list(CLASSES)}")
        content["locator"] = LocatorSettings(**content["locator"])
        for key in ("input_size", "percentiles"):
            content[key] = tuple(content[key])
        return Config(**content)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected the configuration of a bundle, got an error: {error}") from None

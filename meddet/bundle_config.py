"""What a bundle says beside its weights: its files, its configuration, and the manifest that vouches for them."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from meddet.classes import CLASSES
from meddet.evaluate.calibration import Calibration
from meddet.evaluate.conformal import Conformal
from meddet.evaluate.levels import Knots, LevelPrior
from meddet.files import read_json, write_json
from meddet.models.locator import LocatorSettings

FORMAT = 4
FILES = (
    *("claim_checklist.md", "config.json", "detector.onnx", "detector.safetensors"),
    *("locator.onnx", "locator.safetensors", "model_card.md", "reference.json"),
)
_HEAD = (FORMAT, list(CLASSES))
MANIFEST = "manifest.json"


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
    calibration: Calibration
    """What scores are worth, fitted on validation."""
    levels: LevelPrior | None
    """Where discs lie, from the training annotations; None names nothing."""
    conformal: Conformal
    """The promise on missed protrusions, from validation."""


@dataclass(frozen=True)
class Tolerance:
    """Largest accepted differences of ONNX and torch."""

    box_px: float
    score: float


def write_config(path: Path, config: Config) -> None:
    """Write config.json."""
    write_json(path, {"format": FORMAT, "classes": CLASSES, **asdict(config)})


def read_config(path: Path) -> Config:
    """Read config.json.

    Errors:
        ValueError: of another format or with other classes, or not what `write_config` writes.
    """
    content = read_json(path)
    if not isinstance(content, dict) or (content.pop("format", None), content.pop("classes", None)) != _HEAD:
        raise ValueError(f"{path}: expected format {FORMAT} and classes {list(CLASSES)}")
    try:
        content["locator"] = LocatorSettings(**content["locator"])
        for key in ("input_size", "percentiles"):
            content[key] = tuple(content[key])
        content["calibration"] = _calibration(content["calibration"])
        content["levels"] = content["levels"] and _levels(**content["levels"])
        content["conformal"] = Conformal(**content["conformal"])
        return Config(**content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected the configuration of a bundle, got an error: {error}") from None


def _calibration(content: dict[str, Any]) -> Calibration:
    by_class = {name: _knots(**content["detection"][name]) for name in CLASSES}
    return Calibration(by_class, _knots(**content["place"]), _knots(**content["disc"]))


def _knots(score: list[float], value: list[float]) -> Knots:
    return Knots(tuple(score), tuple(value))


def _levels(mean: list[float], covariance: list[list[float]], images: int) -> LevelPrior:
    return LevelPrior(tuple(mean), tuple(map(tuple, covariance)), images)


def verified(folder: Path) -> dict[str, Any]:
    """Read the manifest and compare every file with it.

    Errors:
        ValueError: names the file that is missing or changed.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected the folder of a bundle, found none")
    path = folder / MANIFEST
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not {"files", "data_md5"} <= set(manifest):
        raise ValueError(f"{path}: expected the keys files and data_md5, got {json.dumps(manifest)[:100]}")
    if not isinstance(manifest["files"], dict):
        raise ValueError(f"{path}: files: expected hashes by name, got {json.dumps(manifest['files'])[:100]}")
    for name in FILES:
        file = folder / name
        if not file.is_file() or file.is_symlink():
            raise ValueError(
                f"{file}: expected a file of the bundle, found {'a link' if file.is_symlink() else 'none'}"
            )
        if hashlib.sha256(file.read_bytes()).hexdigest() != manifest["files"].get(name):
            raise ValueError(f"{file}: expected the SHA-256 in {MANIFEST}, got another: the file was changed")
    return manifest

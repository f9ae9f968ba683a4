"""The bundle: the model as users receive it. Its only writer and its only reader.

A folder of detector.safetensors, locator.safetensors, config.json, detector.onnx, locator.onnx, reference.json (what
new studies are compared with), model_card.md, claim_checklist.md and manifest.json, which holds the SHA-256 of every
other file. Nothing in it is a pickle.
"""

import hashlib
import importlib.metadata
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from meddet import export
from meddet.bundle_config import FILES, FORMAT, MANIFEST, Config, Tolerance, read_config, verified, write_config
from meddet.bundle_engines import ENGINES, Engine, read_detector, require_same, weights
from meddet.data.transforms import prepare
from meddet.drift.reference import Reference, read_reference, write_reference
from meddet.evaluate.levels import name_detections
from meddet.files import write_atomic, write_json
from meddet.inference import in_image
from meddet.models.detector import Detector
from meddet.models.locator import Locator, Points, locate
from meddet.postprocess import select
from meddet.structures import Detections, Region

__all__ = ["FILES", "FORMAT", "MANIFEST", "Bundle", "Config", "Engine", "Tolerance", "check_parity"]
__all__ += ["code_fingerprint", "load_bundle", "load_bundled_detector", "write_bundle"]
_VERSIONED = ("torch", "torchvision", "onnx", "onnxruntime", "numpy", "safetensors")


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: pixels in, detections out."""

    config: Config
    data_md5: str
    reference: Reference
    """How the studies that it was made from look."""
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

    def name(self, detections: Detections, region: Region) -> tuple[str, ...]:
        """Name the level of each detection of an image, "" where in doubt.

        Args:
            detections: every one that `predict` returned.
            region: that it returned with them.
        """
        config = self.config
        return name_detections(detections, region, config.levels, confidence=config.calibration.place)


def write_bundle(
    folder: Path,
    *,
    detector: Detector,
    locator: Locator,
    config: Config,
    reference: Reference,
    card: str,
    claims: str,
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
        reference: goes to reference.json.
        card: the model card, Markdown.
        claims: the reporting checklist, Markdown.
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
        write_atomic(work / "detector.safetensors", weights(detector))
        write_atomic(work / "locator.safetensors", weights(locator))
        write_config(work / "config.json", config)
        write_reference(work / "reference.json", reference)
        write_atomic(work / "model_card.md", card.encode())
        write_atomic(work / "claim_checklist.md", claims.encode())
        export.export_detector(detector, size=config.input_size, path=work / "detector.onnx")
        export.export_locator(locator, size=config.locator.size, path=work / "locator.onnx")
        parity = require_same(work, config, images=images, regions=regions, tolerance=tolerance)
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
    manifest = verified(folder)
    config = read_config(folder / "config.json")
    reference = read_reference(folder / "reference.json")
    boxes_and_scores, points = ENGINES[engine](folder, config)
    return Bundle(config, manifest["data_md5"], reference, boxes_and_scores, points)


def load_bundled_detector(folder: Path) -> tuple[Detector, Config]:
    """Read the detector of a bundle alone, in eval mode, after every file was compared with the manifest.

    Errors:
        ValueError: as `load_bundle`.
    """
    verified(folder)
    config = read_config(folder / "config.json")
    return read_detector(folder, config), config


def check_parity(
    folder: Path,
    images: Sequence[Float[Tensor, "1 h w"]],
    *,
    tolerance: Tolerance,
    regions: Sequence[Region] | None = None,
) -> export.Parity:
    """Compare a written bundle's ONNX files with its torch weights again, on given images.

    Args:
        folder: of the bundle.
        images: upright, in [0, 1]; at least one.
        tolerance: largest accepted differences, in input pixels and in scores.
        regions: that the detector looks at, one for each image; None: where the bundle's own locator finds the column.

    Returns:
        the detector's largest differences.

    Errors:
        ValueError: names the ONNX file, its largest difference from torch, and the tolerance; or as `load_bundle`.
    """
    assert images, "no image to compare on"
    bundle = load_bundle(folder)
    if regions is None:
        with torch.inference_mode():
            regions = [bundle.locate(image) for image in images]
    return require_same(folder, bundle.config, images=images, regions=regions, tolerance=tolerance)


def code_fingerprint(*packages: Path) -> str:
    """Hash the Python sources of some folders: their relative names and contents, in order, by SHA-256."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            digest.update(f"{package.name}/{path.relative_to(package).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()

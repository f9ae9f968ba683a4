"""Files in, boxes out: what `meddet predict` does with each file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from meddet.bundle import Bundle
from meddet.classes import CLASSES
from meddet.data.guard import guarded
from meddet.data.images import Image, read_slices
from meddet.data.upright import Turn
from meddet.evaluate.calibration import protrusion_shares
from meddet.evaluate.operating import is_called
from meddet.files import write_atomic, write_json
from meddet.render import overlay_png
from meddet.structures import Detections, Region

_SECONDS = 60.0
_MEMORY_MB = 1024
LEGEND = "Beside each box: its level (? where in doubt) and the calibrated probability of a protrusion there."
NOTICE = "Research use only. Not for diagnosis. Scores from phantom training are not clinical."


@dataclass(frozen=True)
class Outcome:
    """What became of one input: the files written, or the line that says why not."""

    source: Path
    written: tuple[Path, ...]
    num_boxes: int
    error: str | None


def predict_files(
    bundle: Bundle, sources: Sequence[Path], *, out: Path, thresholds: Mapping[str, float]
) -> Iterator[Outcome]:
    """Detect on each file; write one JSON per file and one overlay PNG per image. A bad file doesn't stop the others.

    Args:
        bundle: the model.
        sources: DICOM, NIfTI, PNG or TIFF files, each read in a guarded process.
        out: folder of the results; those of `a/x.dcm` are `x.json` and `x.png`, of a volume `x_sag_025.png`.
        thresholds: score that a box must exceed, by class.

    Errors:
        ValueError: two sources would write the same files.
    """
    _refuse_same_names(sources)
    read = partial(read_slices, percentiles=bundle.config.percentiles, max_pixels=bundle.config.max_pixels)
    for reading in guarded(read, sources, workers=1, seconds=_SECONDS, memory_mb=_MEMORY_MB):
        if reading.value is None:
            yield Outcome(reading.item, (), 0, reading.error)
        else:
            yield _write(bundle, reading.item, reading.value, out=out, thresholds=thresholds)


def _write(
    bundle: Bundle, source: Path, slices: Sequence[tuple[str, Image]], *, out: Path, thresholds: Mapping[str, float]
) -> Outcome:
    stem, entries, written = stem_of(source), [], []
    for name, image in slices:
        turn = image.to_upright or Turn()
        standing = turn.pixels(image.pixels)
        found, region = bundle.predict(standing)
        keep = is_called(found, thresholds, nms_iou=bundle.config.nms_iou)
        told = [row for row, kept in zip(_told(bundle, found, region), keep.tolist(), strict=True) if kept]
        called = Detections(found.boxes[keep], found.scores[keep], found.labels[keep])
        title = " ".join([source.name, name]).strip()
        picture = out / f"{'_'.join(filter(None, [stem, name]))}.png"
        texts = [f"{row['level'] or '?'}  {row['protrusion_probability']:.0%}" for row in told]
        write_atomic(
            picture, overlay_png(standing, called, region, texts=texts, title=title, notice=f"{NOTICE}\n{LEGEND}")
        )
        stored = turn.inverse().boxes(called.boxes.numpy(), (standing.shape[0], standing.shape[1]))
        rows = [
            {"box_xyxy_px": [round(side, 2) for side in box], **row}
            for box, row in zip(stored.tolist(), told, strict=True)
        ]
        entries.append(_entry(source, name, image, rows))
        written.append(picture)
    path = out / f"{stem}.json"
    write_json(path, {"notice": NOTICE, "images": entries})
    return Outcome(source, (path, *written), sum(len(entry["detections"]) for entry in entries), None)


def _told(bundle: Bundle, found: Detections, region: Region) -> list[dict[str, Any]]:
    """Say of each box what it is: class, score, level ("" where in doubt), and what validation makes of the score.

    `protrusion_probability` is that of a protrusion at this place if there is a disc; `expected_iou` is the overlap to
    expect with a disc of the box's class, 0 meaning that there is none.
    """
    config = bundle.config
    scores, labels = found.scores.double().numpy(), found.labels.tolist()
    probability = config.calibration.disc(protrusion_shares(found, least_score=config.score_threshold))
    by_class = [config.calibration.detection[name](scores) for name in CLASSES]
    return [
        {
            "label": CLASSES[label],
            "score": round(float(scores[row]), 4),
            "level": level,
            "protrusion_probability": round(float(probability[row]), 4),
            "expected_iou": round(float(by_class[label][row]), 4),
        }
        for row, (label, level) in enumerate(zip(labels, bundle.name(found, region), strict=True))
    ]


def _entry(source: Path, name: str, image: Image, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """List one image's boxes by falling score, in the file's own pixels of `width`, `height` and `spacing_mm`."""
    return {
        "file": source.name,
        "slice": name,
        "width": image.pixels.shape[1],
        "height": image.pixels.shape[0],
        "spacing_mm": image.spacing_mm,
        "detections": rows,
    }


def stem_of(source: Path) -> str:
    """Take the file's name without the endings that are read here."""
    name = source.name
    for ending in (".nii.gz", ".nii", ".dcm", ".png", ".tiff", ".tif"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _refuse_same_names(sources: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for source in sources:
        first = seen.setdefault(stem_of(source), source)
        if first is not source:
            raise ValueError(f"{source}: expected file names that differ, got {json.dumps(str(first))} as well")

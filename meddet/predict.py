"""Files in, boxes out: what `meddet predict` does with each file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddet.bundle import Bundle
from meddet.classes import CLASSES
from meddet.data.images import Image, read_slices
from meddet.evaluate.operating import call_discs
from meddet.files import write_atomic, write_json
from meddet.render import overlay_png
from meddet.structures import Detections

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
        sources: DICOM, NIfTI or PNG files.
        out: folder of the results; those of `a/x.dcm` are `x.json` and `x.png`, of a volume `x_sag_025.png`.
        thresholds: score that a box must exceed, by class.

    Errors:
        ValueError: two sources would write the same files.
    """
    _refuse_same_names(sources)
    for source in sources:
        try:
            slices = read_slices(source, percentiles=bundle.config.percentiles, max_pixels=bundle.config.max_pixels)
        except (ValueError, OSError) as error:
            yield Outcome(source, (), 0, " ".join(str(error).split()))
            continue
        yield _write(bundle, source, slices, out=out, thresholds=thresholds)


def _write(
    bundle: Bundle, source: Path, slices: Sequence[tuple[str, Image]], *, out: Path, thresholds: Mapping[str, float]
) -> Outcome:
    stem, entries, written = stem_of(source), [], []
    for name, image in slices:
        found, region = bundle.predict(image.pixels)
        called = call_discs(found, thresholds, nms_iou=bundle.config.nms_iou)
        title = " ".join([source.name, name]).strip()
        picture = out / f"{'_'.join(filter(None, [stem, name]))}.png"
        write_atomic(picture, overlay_png(image.pixels, called, region, title=title, notice=NOTICE))
        entries.append(_entry(source, name, image, called))
        written.append(picture)
    path = out / f"{stem}.json"
    write_json(path, {"notice": NOTICE, "images": entries})
    return Outcome(source, (path, *written), sum(len(entry["detections"]) for entry in entries), None)


def _entry(source: Path, name: str, image: Image, detections: Detections) -> dict[str, Any]:
    """List one image's boxes by falling score; `width`, `height` and `spacing_mm` tell which pixels they count."""
    rows = zip(detections.boxes.tolist(), detections.labels.tolist(), detections.scores.tolist(), strict=True)
    return {
        "file": source.name,
        "slice": name,
        "width": image.pixels.shape[1],
        "height": image.pixels.shape[0],
        "spacing_mm": image.spacing_mm,
        "detections": [
            {"box_xyxy_px": [round(side, 2) for side in box], "label": CLASSES[label], "score": round(score, 4)}
            for box, label, score in rows
        ],
    }


def stem_of(source: Path) -> str:
    """Take the file's name without the endings that are read here."""
    name = source.name
    for ending in (".nii.gz", ".nii", ".dcm", ".png"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _refuse_same_names(sources: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for source in sources:
        first = seen.setdefault(stem_of(source), source)
        if first is not source:
            raise ValueError(f"{source}: expected file names that differ, got {json.dumps(str(first))} as well")

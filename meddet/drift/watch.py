"""New files in, a verdict out: what `meddet drift` does."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from meddet.bundle import Bundle
from meddet.data.images import Image
from meddet.data.upright import Turn
from meddet.drift.features import Values, image_features, score_features, study_features
from meddet.drift.monitor import Comparison, compare, is_drift
from meddet.drift.picture import drift_png
from meddet.drift.reading import find_files, read_studies
from meddet.drift.reference import Reference
from meddet.drift.state import Alarm, State, opened
from meddet.evaluate.operating import call_discs
from meddet.files import write_atomic, write_json

REPORT = "drift.json"
PICTURE = "drift.png"


@dataclass(frozen=True)
class Report:
    """What one call did, and what the newest studies look like now."""

    new_studies: int
    known_files: int
    errors: tuple[str, ...]
    studies: int
    """Since the start or the last reset."""
    compared: int
    """Of them the newest, which were compared."""
    comparisons: tuple[Comparison, ...]
    standing: bool
    new_alarms: tuple[Alarm, ...]
    other_reference: bool


def watch(
    bundle: Bundle, roots: Sequence[Path], folder: Path, *, reset: bool, notice: str, refused: Callable[[str], None]
) -> Report:
    """Measure the studies that weren't counted before, and compare the newest of all with the bundle's reference.

    The state, a report and a picture of it are written to `folder` at the end, or nothing is.

    Args:
        bundle: the model.
        roots: files and folders of studies.
        folder: of the state.
        reset: forget the studies that were counted before.
        notice: stands on the picture and in the report.
        refused: is told, as it comes, why a file could not be read.

    Errors:
        ValueError: a root that isn't there, or a folder that holds something else.
    """
    with opened(folder, bundle.reference) as (state, other_reference):
        if reset:
            state.forget()
        sources = {source.digest: source for source in find_files(roots, salt=bytes.fromhex(state.salt))}
        fresh = [source for digest, source in sources.items() if digest not in state.seen]
        config = bundle.config
        studies: dict[str, list[Values]] = {}
        errors = []
        for outcome in read_studies(fresh, percentiles=config.percentiles, max_pixels=config.max_pixels):
            if outcome.error is not None:
                refused(outcome.error)
                errors.append(outcome.error)
            for image in outcome.images:
                studies.setdefault(outcome.study, []).append(measure(bundle, image))
        new_alarms = follow(state, bundle.reference, map(study_features, studies.values()))
        state.seen.update(source.digest for source in fresh)
        comparisons = tuple(compare(bundle.reference, state.rows))
        report = Report(
            new_studies=len(studies),
            known_files=len(sources) - len(fresh),
            errors=tuple(errors),
            studies=len(state.rows),
            compared=min(len(state.rows), bundle.reference.rule.window),
            comparisons=comparisons,
            standing=state.standing,
            new_alarms=tuple(new_alarms),
            other_reference=other_reference,
        )
        picture = drift_png(bundle.reference, state.rows, comparisons, standing=state.standing, notice=notice)
        write_atomic(folder / PICTURE, picture)
        write_json(folder / REPORT, _as_json(report, alarms=state.alarms, notice=notice))
    return report


def measure(bundle: Bundle, image: Image) -> Values:
    """Measure one image and what the model says about it."""
    pixels = (image.to_upright or Turn()).pixels(image.pixels)
    with torch.inference_mode():
        found, region = bundle.predict(pixels)
    called = call_discs(found, bundle.operating_point, nms_iou=bundle.config.nms_iou)
    seen = image_features(pixels, region, spacing_mm=image.spacing_mm, brightness=image.brightness)
    return {**seen, **score_features(found, called)}


def follow(state: State, reference: Reference, rows: Iterable[Values]) -> list[Alarm]:
    """Add studies one by one; give the alarms that began with one of them."""
    begun = []
    for row in rows:
        state.add(row)
        comparisons = compare(reference, state.rows)
        is_alarm = is_drift(comparisons, reference.rule, standing=state.standing)
        if is_alarm and not state.standing:
            features = {
                each.name: {
                    "psi": _rounded(each.psi),
                    "p_value": each.p_value,
                    "median": each.median,
                    "reference_median": each.reference_median,
                }
                for each in comparisons
                if each.drifted
            }
            number = state.alarms[-1].number + 1 if state.alarms else 1
            begun.append(Alarm(number, len(state.rows), features))
            state.alarms.append(begun[-1])
        state.standing = is_alarm
    return begun


def _as_json(report: Report, *, alarms: Sequence[Alarm], notice: str) -> dict[str, object]:
    """Give the report without the errors' text, which names files."""
    return {
        "notice": notice,
        "drift": report.standing,
        "studies": report.studies,
        "compared": report.compared,
        "new_studies": report.new_studies,
        "unreadable_files": len(report.errors),
        "features": {each.name: {**asdict(each), "psi": _rounded(each.psi)} for each in report.comparisons},
        "alarms": [asdict(alarm) for alarm in alarms],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

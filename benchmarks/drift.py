"""How often the drift monitor alarms for nothing, and how soon for another scanner, on studies of the phantom.

`render` draws studies of a fresh seed and measures each as it is and as other scanners would show it; `rule` draws
references and streams from them and counts. With --model the bundle measures them and its own reference is used, so
that the scores count, too. Research use only; phantom numbers are not clinical.
"""

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from multiprocessing import get_context
from os import sched_getaffinity
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from meddet.bundle import Bundle, load_bundle
from meddet.config import load_params
from meddet.data.images import Image
from meddet.data.scan import Scan, brightness, windowed
from meddet.drift.features import FEATURES, Values, image_features, study_features
from meddet.drift.reference import Reference, Rule, build_reference
from meddet.drift.state import State
from meddet.drift.watch import follow, measure
from meddet.files import write_json
from meddet.models.locator import region_between
from meddet.phantom.look import to_uint8
from meddet.phantom.presets import PRESETS
from meddet.phantom.render import render
from meddet.phantom.study import Slice, draw_patient, draw_slice

SEED = 77
AS_IS = "as it is"
PERCENTILES = (0.5, 99.9)
MOST_DELAY = 60


def scanners(height: int, width: int) -> dict[str, Any]:
    """Give what each other scanner multiplies the grey values with."""
    down, across = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return {
        AS_IS: 1.0,
        "x1.3": 1.3,
        "x1.7": 1.7,
        "x0.6": 0.6,
        "bias field across, e^0.3": np.exp(0.3 * across),
        "bias field across, e^0.5": np.exp(0.5 * across),
        "bias field down, e^0.5": np.exp(0.5 * down),
        "bias field round the centre, e^0.5": np.exp(0.5 * (0.5 - across**2 - down**2)),
        "x1.7 and bias field across, e^0.5": 1.7 * np.exp(0.5 * across),
        "x1.7 and bias field oblique, e^0.4": 1.7 * np.exp(0.4 * (across - down)),
    }


def measure_study(number: int, model: Path | None) -> dict[str, Values] | None:
    """Render one image of a patient and measure it under each scanner; None where the preset excludes him."""
    torch.set_num_threads(1)
    preset = replace(PRESETS["full"], seed=SEED)
    patient = draw_patient(preset, number)
    item = draw_slice(preset, patient, 1)
    if patient.exclusion or len(item.boxes) < 2:
        return None
    grey = render(preset, item).grey
    seen = {}
    for name, factor in scanners(*grey.shape).items():
        values = to_uint8(grey * factor).astype(np.float64)
        side = patient.frame.fov_mm / patient.protocol.side
        window = (0.0, 255.0) if patient.role.dicom else None
        scan = Scan(values, np.ones(values.shape, dtype=np.bool_), (side, side), window=window, largest=255.0)
        image = Image(windowed(scan, percentiles=PERCENTILES), scan.spacing_mm, brightness=brightness(scan))
        seen[name] = study_features([measure(opened(model), image) if model else by_truth(image, item)])
    return seen


@cache
def opened(model: Path) -> Bundle:
    """Load the bundle once in each process."""
    return load_bundle(model)


def by_truth(image: Image, item: Slice) -> Values:
    """Measure without a model: the column is where the truth has it, and there are no scores."""
    height, width = image.pixels.shape
    scale = item.patient.protocol.side / item.patient.frame.fov_mm
    corners = np.array([box.corners for box in (item.boxes[0], item.boxes[-1])], dtype=np.float32) * scale
    ends = torch.from_numpy((corners[:, :2] + corners[:, 2:]) / 2)
    region = region_between(ends, (height, width), margin=1.45, aspect=0.75)
    return image_features(image.pixels, region, spacing_mm=image.spacing_mm, brightness=image.brightness)


def render_all(out: Path, *, count: int, model: Path | None) -> None:
    """Write a JSON list: for each study the features by scanner."""
    with ProcessPoolExecutor(len(sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        found = pool.map(partial(measure_study, model=model), range(1, count + 1), chunksize=4)
        write_json(out, [study for study in tqdm(found, total=count, unit="study") if study])


def references(
    studies: list[dict[str, Values]], rule: Rule, *, model: Path | None, training: int, rng: np.random.Generator
) -> Iterator[tuple[Reference, list[dict[str, Values]]]]:
    """Give a reference and the studies that are not in it, again and again."""
    while True:
        order = rng.permutation(len(studies))
        if model:
            yield opened(model).reference, studies
            continue
        inside = [studies[index][AS_IS] for index in order[:training]]
        yield (
            build_reference({"train": inside, "validation": inside}, rule=rule),
            [studies[index] for index in order[training:]],
        )


def check_rule(studies: list[dict[str, Values]], *, model: Path | None, repetitions: int, training: int) -> Any:
    """Count alarms in streams of 1,000 undrifted studies, and the studies of another scanner until its alarm."""
    rng = np.random.default_rng(0)
    rule = Rule(**load_params(Path("params.yaml")).package.drift.model_dump())
    source = references(studies, rule, model=model, training=training, rng=rng)
    causes: dict[str, int] = dict.fromkeys(FEATURES, 0)
    false, delays = 0, {name: [] for name in studies[0] if name != AS_IS}  # type: dict[str, list[int]]
    for _ in tqdm(range(repetitions), unit="stream"):
        reference, pool = next(source)
        alarms = follow(State("", ""), reference, (pool[k][AS_IS] for k in rng.integers(len(pool), size=1000)))
        false += len(alarms)
        for alarm in alarms:
            for name in alarm.features:
                causes[name] += 1
        for name, known in delays.items():
            memory = State("", "")
            picked = rng.permutation(len(pool))
            usual, other = picked[: rule.window], picked[rule.window : rule.window + MOST_DELAY]
            if not follow(memory, reference, (pool[k][AS_IS] for k in usual)):
                alarms = follow(memory, reference, (pool[k][name] for k in other))
                known.append(alarms[0].study - rule.window if alarms else MOST_DELAY + 1)
    return {
        "rule": vars(rule),
        "training_studies": training,
        "undrifted_studies": 1000 * repetitions,
        "false_alarms_per_1000": false / repetitions,
        "false_alarms_by_feature": {name: count for name, count in causes.items() if count},
        "studies_until_alarm": {
            name: {"median": median(known), "largest": max(known), "within_50": np.mean(np.array(known) <= 50).item()}
            for name, known in delays.items()
        },
    }


def main() -> None:
    """Run one of the two parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("render", "rule"))
    parser.add_argument("--studies", type=Path, default=Path("out/drift-studies.json"))
    parser.add_argument("--count", type=int, default=600, help="patients to render")
    parser.add_argument("--model", type=Path, help="a bundle's folder")
    parser.add_argument("--repetitions", type=int, default=40, help="streams")
    parser.add_argument("--training", type=int, default=157, help="studies in a reference; 157 are quick's")
    parser.add_argument("--out", type=Path, default=Path("out/drift.json"))
    options = parser.parse_args()
    if options.part == "render":
        render_all(options.studies, count=options.count, model=options.model)
        return
    studies = json.loads(options.studies.read_text(encoding="utf-8"))
    report = check_rule(studies, model=options.model, repetitions=options.repetitions, training=options.training)
    write_json(options.out, report)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

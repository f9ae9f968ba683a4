"""How much of a model's skill is left when images go wrong: mPC and rPC (Michaelis et al. 2019, arXiv:1907.07484).

mPC is the mean of a number over all corruptions and severities, rPC its share of the number on clean images.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from meddet.evaluate.bootstrap import interval, ratio
from meddet.evaluate.coco import mean_of_defined
from meddet.evaluate.matching import Number, number
from meddet.evaluate.robustness import CLEAN, METRICS, RESAMPLES, Cell, Values, Withstood

NOTES = {
    "ap50": "COCO's AP at IoU 0.5, mean of the classes; ap50.any: labels dropped",
    "disc_auc": "AUC of the protrusion share over the located discs alone: where fewer are found, fewer are judged",
    "mpc": "mean over all corruptions and severities; a cell without a number is left out, and `cells` counts the rest",
    "rpc": "mpc / clean (Michaelis et al. 2019, arXiv:1907.07484); a disc_auc that guesses is 0.5, not 0",
    "region": "every model looks where the bundle's locator finds the column on the spoilt image, so that a misled "
    "locator spoils all models alike; `located` is the share of annotated discs whose centre is in that region",
    "severity": "1 is what a trained eye notices, 5 what a radiologist sends back; simulated, not scanned",
    "ci95": f"percentile interval over {RESAMPLES} resamples of the patients, the same for every model",
    "use": "research use only; scores on a phantom are not clinical scores",
}


def robustness_report(models: Mapping[str, Withstood], *, n: Mapping[str, int], smallest: str) -> dict[str, Any]:
    """Tell each model's numbers, and how far the student's differ from the plain student's and a teacher's.

    Args:
        models: by name, among them student and baseline; all for the same weightings.
        n: patients, images, discs and protrusions that they rest on.
        smallest: name of the smallest teacher.

    Returns:
        the keys `models` and `comparison` of reports/robustness.json.
    """
    pairs = {f"student - {other}": _difference(models["student"], models[other]) for other in ("baseline", smallest)}
    return {"models": {name: _told(model, n) for name, model in models.items()}, "comparison": pairs}


def mpc(model: Withstood) -> Values:
    """Average over the cells that have a number; NaN where none has."""
    return {metric: mean_of_defined([values[metric] for values in model.cells.values()]) for metric in METRICS}


def rpc(model: Withstood) -> Values:
    """Divide `mpc` by the number on clean images; NaN where that is 0 or undefined."""
    spoilt = mpc(model)
    return {metric: ratio(spoilt[metric], model.clean[metric]) for metric in METRICS}


def curve_rows(models: Mapping[str, Withstood]) -> Iterator[dict[str, Any]]:
    """List each model's numbers by corruption and severity, 0 being the clean images; NaN is undefined."""
    for name, model in models.items():
        for corruption in dict.fromkeys(corruption for corruption, _ in model.cells):
            severities = [severity for other, severity in model.cells if other == corruption]
            for severity in (0, *severities):
                values = model.cells[corruption, severity] if severity else model.clean
                numbers = {metric.replace(".", "_"): float(values[metric][0]) for metric in METRICS}
                yield {"model": name, "corruption": corruption, "severity": severity, **numbers}


def located_report(located: Mapping[Cell, Number]) -> dict[str, Any]:
    """Tell the share of annotated discs in the located regions: `clean`, then by corruption and severity."""
    result: dict[str, Any] = {"clean": located[CLEAN]}
    for (corruption, severity), share in located.items():
        if corruption:
            result.setdefault(corruption, {})[str(severity)] = share
    return result


def _told(model: Withstood, n: Mapping[str, int]) -> dict[str, Any]:
    corruptions: dict[str, dict[str, Any]] = {}
    for (corruption, severity), values in model.cells.items():
        told = {metric: number(float(values[metric][0])) for metric in METRICS}
        corruptions.setdefault(corruption, {})[str(severity)] = told
    cells = {metric: sum(not np.isnan(cell[metric][0]) for cell in model.cells.values()) for metric in METRICS}
    return {
        "clean": _block(model.clean, n),
        "mpc": _block(mpc(model), n) | {"cells": {metric: int(count) for metric, count in cells.items()}},
        "rpc": _block(rpc(model), n),
        "corruptions": corruptions,
    }


def _block(values: Values, n: Mapping[str, int]) -> dict[str, Any]:
    return {
        "metrics": {metric: number(float(each[0])) for metric, each in values.items()},
        "ci95": {metric: interval(each[1:]) for metric, each in values.items()},
        "n": dict(n),
    }


def _difference(student: Withstood, other: Withstood) -> dict[str, Any]:
    result = {}
    for kind, ours, theirs in (
        ("clean", student.clean, other.clean),
        ("mpc", mpc(student), mpc(other)),
        ("rpc", rpc(student), rpc(other)),
    ):
        for metric in METRICS:
            values = ours[metric] - theirs[metric]
            low, high = interval(values[1:])
            result[f"{kind}.{metric}"] = {"difference": number(float(values[0])), "low": low, "high": high}
    return result

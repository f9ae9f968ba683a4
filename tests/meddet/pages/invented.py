"""Invented reports as the stages write them, small and complete, to build the report page from."""

import copy
import json
from functools import cache
from typing import Any

from meddet.pages.report import CURVES, Sources
from meddet.pages.report_values import Named

MODELS = ("student", "baseline", "resnet50", "resnet101", "resnet152")
LEVELS = ("C2/3", "C3/4", "C4/5", "C5/6", "C6/7", "C7/T1")
N = {"patients": 46, "images": 94, "discs": 564, "protrusions": 253}
UNDEFINED = "undefined (n=0)"
SUFFIXES = ("", ".any", ".protrusion", ".non-protrusion")
DISC = ("sensitivity", "specificity", "balanced_accuracy", "auc", "ac1", "brier", "kappa", "npv", "ppv")
ERRORS = (
    "missed",
    "class_flip",
    "duplicate",
    "localisation",
    "background.c2_synchondrosis",
    "background.thoracic",
    "background.other",
)
CORRUPTIONS = ("rician_noise", "motion", "bias_field")
TEST_MD5, DATA_MD5 = "a" * 32, "d" * 32 + ".dir"


def block(names: tuple[str, ...], start: float, n: dict[str, int] = N) -> dict[str, Any]:
    """Give each name another value, and an interval around it."""
    values = {name: round(start - 0.011 * place, 6) for place, name in enumerate(names)}
    ends = {name: [round(value - 0.041, 6), round(value + 0.037, 6)] for name, value in values.items()}
    return {"metrics": dict(values), "ci95": ends, "n": dict(n)}


def model(start: float) -> dict[str, Any]:
    detection = tuple(
        f"{name}{suffix}"
        for name in ("ap10", "ap50", "ap75", "ap50_95", "ar100", "ap50_voc", "recall50")
        for suffix in SUFFIXES
    )
    operation = block(tuple(f"{n}{s}" for n in ("sensitivity", "false_positives_per_image") for s in SUFFIXES), start)
    operation["metrics"] |= {"disc_auc": start - 0.05, "ap50": start - 0.1, "ap50.any": start - 0.02}
    levels = {"all": block(DISC, start), **{level: block(DISC, start - 0.02 * i) for i, level in enumerate(LEVELS)}}
    rates = tuple(f"{name}.{rate}" for name in ("protrusion", "any") for rate in (0.125, 0.25, 0.5, 1, 2, 4, 8))
    calibration = block(("laece0_raw", "laece0_calibrated", "brier_raw", "brier_calibrated"), start - 0.5)
    return {
        "detection": block(detection, start),
        "froc": block(rates, start),
        "errors": block(ERRORS, start - 0.2) | {"counts": {name: 40 - 5 * i for i, name in enumerate(ERRORS)}},
        "levels": {
            "naming": block(("right", "wrong", "abstained"), start),
            "given_location": levels,
            "named": copy.deepcopy(levels),
        },
        "patients": {"disc": copy.deepcopy(levels), "patient": block(DISC, start)},
        "prevalence": {share: block(("ppv", "npv"), start) for share in ("0.05", "0.2", "0.5")},
        "calibration": calibration,
        "conformal": {
            "alpha": 0.1,
            "threshold": 0.213,
            "validation_patients": 28,
            "bound_holds_if": "test patients are like the validation patients",
            **block(("miss_rate", "false_positives_per_image"), start - 0.6),
        },
        "operation": operation,
        "discs": {
            "n": 564,
            "located": start,
            "located_ci95": [start - 0.04, start + 0.03],
            "auc": start - 0.1,
            "auc_ci95": [start - 0.15, start - 0.06],
            "auc_level_prior": 0.648995,
            "auc_level_prior_ci95": [0.59, 0.7],
            "auc_gain": start - 0.75,
            "auc_gain_ci95": [start - 0.8, start - 0.7],
        },
        "at_operating_point": {
            label: {"threshold": 0.36, "precision": 0.5, "recall": 0.8, "f1": 0.6}
            for label in ("protrusion", "non-protrusion")
        },
    }


def evaluate() -> dict[str, Any]:
    groups = ("ap50", "ap50.any", "disc_auc", "sensitivity.protrusion", "false_positives_per_image")
    small = {"n": N | {"patients": 7}, "withheld": "fewer than 20 patients"}
    report = {name: model(0.84 - 0.03 * place) for place, name in enumerate(MODELS)}
    report["student"]["levels"]["given_location"]["C7/T1"]["metrics"]["auc"] = UNDEFINED
    report["student"]["levels"]["given_location"]["C7/T1"]["ci95"]["auc"] = [UNDEFINED, UNDEFINED]
    return report | {
        "subgroups": {
            "sex": {"F": block(groups, 0.83, N | {"patients": 24}), "M": block(groups, 0.8, N | {"patients": 22})},
            "age": {"under 40": small, "40-59": block(groups, 0.82, N | {"patients": 26}), "60 and over": small},
            "scanner": {f"Phantom {letter}": small for letter in "ABCD"},
            "field_strength": {"1.5 T": block(groups, 0.79, N | {"patients": 25}), "3 T": small},
            "level": {
                level: block(("sensitivity", "specificity", "auc"), 0.8 - 0.01 * i) for i, level in enumerate(LEVELS)
            },
        },
        "comparisons": [
            {
                "family": family,
                "model": "student",
                "against": against,
                "metric": metric,
                "difference": 0.04 - 0.015 * place,
                "low": 0.01 - 0.015 * place,
                "high": 0.07 - 0.015 * place,
                "p": 0.0004 if place == 0 else 0.21,
                "p_holm": 0.0009 if place == 0 else 0.63,
                "n_patients": 46,
            }
            for metric, family in (("ap50.any", "detection"), ("disc_auc", "discs"))
            for place, against in enumerate(MODELS[1:])
        ],
        "test": N,
        "notes": {"ap50": "AP at IoU 0.5", "use": "research use only"},
        "remarks": ["teacher resnet152 is weaker than the student here"],
        "data_md5": DATA_MD5,
        "test_md5": TEST_MD5,
        "code_sha256": "c" * 64,
    }


def benchmark() -> dict[str, Any]:
    engines = ("torch", "torch-bf16", "onnxruntime", "openvino")
    timed = {
        name: {
            "parameters": parameters,
            "gmac_view": parameters / 1e7,
            "gmac_512": parameters / 4e5,
            "latency": {e: _time(parameters, 1 + i) for i, e in enumerate(engines)},
            "latency_one_thread": {e: _time(parameters, 2 + i) for i, e in enumerate(engines)},
            "bytes": {"safetensors": parameters * 4, "onnx": parameters * 4 + 1000},
            "cold_start_s": {e: 0.5 + i for i, e in enumerate(engines)},
            "peak_memory_mb": {e: 300.0 + i for i, e in enumerate(engines)},
            "parity": {
                "onnxruntime": {"images": 8, "box_px": 0.0003, "score": 5e-07, "ap50_difference": 0.0},
                "openvino": {"images": 8, "box_px": 0.0004, "score": 6e-07, "ap50_difference": 0.0},
            },
        }
        for name, parameters in zip(("student", *MODELS[2:]), (10419531, 32260747, 51252875, 66896523), strict=True)
    }
    return {
        "models": timed,
        "machine": {"processor": "Invented processor", "cores": 2, "threads": 2, "cores_of_others": 0.02},
        "student_against_smallest_teacher": {
            "teacher": "resnet50",
            "parameters_saved_percent": 67.7,
            "operations_saved_percent": 39.46,
            "speedup": dict.fromkeys(engines, 1.5),
            "speedup_one_thread": dict.fromkeys(engines, 1.7),
        },
        "paper": {
            "speedup": 5.08,
            "parameters_saved_percent": 67.8,
            "operations_saved_percent": 36.9,
            "source": "arXiv:2409.00204, table II against ResNet-50; not measured here",
        },
        "notes": {"latency": "batch 1"},
    }


def robustness() -> dict[str, Any]:
    metrics = ("ap50", "ap50.any", "disc_auc")
    return {
        "sample": {
            "image_ids": [1, 2],
            "n": N,
            "severities": [1, 3, 5],
            "corruptions": list(CORRUPTIONS),
            "stated": "12 of 94 test images, severities 1, 3, 5",
        },
        "models": {
            name: {
                "clean": block(metrics, 0.9 - 0.02 * place),
                "mpc": block(metrics, 0.7 - 0.02 * place),
                "rpc": block(metrics, 0.78 - 0.02 * place),
                "corruptions": {
                    corruption: {
                        str(severity): dict.fromkeys(metrics, 0.85 - 0.02 * place - 0.03 * severity)
                        for severity in (1, 3, 5)
                    }
                    for corruption in CORRUPTIONS
                },
            }
            for place, name in enumerate(MODELS)
        },
        "located": {name: {"1": 1.0, "3": 1.0, "5": 0.986111} for name in CORRUPTIONS} | {"clean": 1.0},
        "comparison": {
            "student - baseline": {
                "mpc.ap50.any": {"difference": 0.02, "low": -0.01, "high": 0.05},
                "rpc.ap50.any": {"difference": 0.03, "low": -0.02, "high": 0.06},
            }
        },
        "notes": {"mpc": "mean over corruptions and severities"},
        "test_md5": TEST_MD5,
        "data_md5": DATA_MD5,
    }


def curves() -> dict[str, list[dict[str, str]]]:
    steps = [step / 14 for step in range(15)]
    rates = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in CURVES}
    for place, name in enumerate(MODELS):
        for label in ("protrusion", "non-protrusion", "any"):
            rows["pr"] += [(name, label, step, max(0.0, 1 - step ** (5 - place))) for step in steps]
            rows["froc"] += [(name, label, rate, min(1.0, (0.4 - 0.03 * place) * (1 + rate) ** 0.4)) for rate in rates]
        for unit in ("disc", "patient_disc"):
            rows["roc"] += [(name, unit, step, step ** (0.3 + 0.05 * place)) for step in steps]
        for kind in ("detection raw", "detection calibrated", "disc raw", "disc calibrated"):
            bins = [(low / 5, low / 5 + 0.2) for low in range(5)]
            above = 0.08 if "calibrated" in kind else 0.02
            rows["reliability"] += [(name, kind, low, high, 20, low + 0.1, low + above) for low, high in bins[1:]]
            rows["reliability"] += [(name, kind, 0.0, 0.2, 0, UNDEFINED, UNDEFINED)]
        for corruption in CORRUPTIONS:
            values = [0.9 - 0.02 * place - 0.05 * severity for severity in (0, 1, 3, 5)]
            severities = zip((0, 1, 3, 5), values, strict=True)
            rows["noise"] += [(name, corruption, severity, value - 0.2, value, value) for severity, value in severities]
    return {
        table: [dict(zip(CURVES[table], map(str, row), strict=True)) for row in content]
        for table, content in rows.items()
    }


def reports() -> dict[str, Any]:
    part = {"patients": 46, "images": 94, "boxes": {"protrusion": 253, "non-protrusion": 311}}
    return {
        "enrolment": {
            "scanned": 240,
            "enrolled": 231,
            "images": 467,
            "boxes": {"protrusion": 1233, "non-protrusion": 1569},
            "excluded": {"incomplete": 2, "no_image": 0, "operated": 6, "quality": 1},
        },
        "ingest": {
            "images": {"read": 467, "unreadable": [], "without_reference": []},
            "identity": {"burned_in_text": []},
        },
        "split": {
            "parts": dict.fromkeys(("train", "validation", "test"), part),
            "overlap": {"train and test": {"patients": 0, "groups": 0}},
        },
        "locate": {"discs_inside_test": 0.954, "discs_inside_train": 0.99, "discs_inside_validation": 0.98},
        "package": {
            "operating_point_rule": "greatest F1 at IoU 0.5 on the validation part, class by class",
            "operating_point": {"protrusion": {"threshold": 0.361}, "non-protrusion": {"threshold": 0.378}},
            "code_sha256": "b" * 64,
            "data_md5": DATA_MD5,
        },
        "evaluate": evaluate(),
        "benchmark": benchmark(),
        "robustness": robustness(),
    }


@cache
def _read() -> Sources:
    """As they come from files: JSON has its keys sorted."""
    read = json.loads(json.dumps(reports(), sort_keys=True))
    return Sources({name: Named(each, file=f"reports/{name}.json") for name, each in read.items()}, curves())


def sources() -> Sources:
    """Give them for a test to change."""
    return copy.deepcopy(_read())


def _time(parameters: int, factor: int) -> dict[str, float]:
    middle = round(parameters / 1e6 * 0.4 * factor + 20, 3)
    return {"p50_ms": middle, "p95_ms": middle + 12.5, "images_per_second": round(1000 / middle, 3)}

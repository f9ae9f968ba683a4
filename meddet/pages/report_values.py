"""How the report page shows values: words stay words, numbers have their digits, an absent key is named."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

STUDENT = "student"
Ends: TypeAlias = Sequence[float | int | str] | None
"""An interval as the reports hold it: two numbers, or twice a word."""
_SHOWN = {"baseline": "plain student"}
_SUFFIXES = {"any": "any class", "protrusion": "protrusion", "non-protrusion": "non-protrusion"}
_METRICS = {
    "ap10": "AP10",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap50_95": "AP50:95",
    "ar100": "AR100",
    "ap50_voc": "AP50, VOC area",
    "recall50": "recall at IoU 0.5",
    "auc": "AUC",
    "disc_auc": "disc AUC",
    "ppv": "PPV",
    "npv": "NPV",
    "kappa": "Cohen κ",
    "ac1": "Gwet AC1",
    "brier": "Brier score",
    "brier_raw": "Brier score, as scored",
    "brier_calibrated": "Brier score, calibrated",
    "laece0_raw": "LaECE₀, as scored",
    "laece0_calibrated": "LaECE₀, calibrated",
    "mpc": "mPC",
    "rpc": "rPC",
    "false_positives_per_image": "false positives per image",
    "background.c2_synchondrosis": "background: C2 synchondrosis",
    "background.thoracic": "background: thoracic disc",
    "background.other": "background: elsewhere",
}


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and below it the 95 % interval or another remark."""

    text: str
    below: str = ""
    kind: Literal["name", "number", "word", "text"] = "number"
    """A word stands in the place of a number; a text is read."""


@dataclass(frozen=True)
class Table:
    """A table under its caption; a folded one is shown on demand and in print."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    folded: bool = False
    kind: str = "table"


_FIRST = (
    "all",
    "sensitivity",
    "specificity",
    "balanced_accuracy",
    "auc",
    "disc_auc",
    "ppv",
    "npv",
    "kappa",
    "ac1",
    "brier",
    "laece0_raw",
    "laece0_calibrated",
    "brier_raw",
    "brier_calibrated",
    "ap10",
    "ap50",
    "ap75",
    "ap50_95",
    "missed",
    "class_flip",
    "duplicate",
    "localisation",
    "background.c2_synchondrosis",
    "right",
    "wrong",
    "under 40",
    "sex",
    "age",
)


_PLACE = {
    name: place
    for place, name in enumerate(
        f"{base}.{suffix}".rstrip(".") for base in _FIRST for suffix in ("", "any", "protrusion", "non-protrusion")
    )
}


def ordered(names: Iterable[str]) -> list[str]:
    """Put names, each once, in the order in which people read them; what has no place in it comes last, as it came."""
    return sorted(dict.fromkeys(names), key=lambda name: _PLACE.get(name, len(_PLACE)))


class Named(dict[str, Any]):
    """A report, or a part of one, `ordered`, that knows where it stands: what it lacks is named in one line."""

    def __init__(self, content: Mapping[str, Any], *, file: str, path: tuple[str, ...] = ()) -> None:
        parts = ((key, content[key]) for key in ordered(content))
        super().__init__({key: _deeper(value, file, (*path, key)) for key, value in parts})
        self._where = f"{file}: {'.'.join(path) or 'the file'}"

    def __missing__(self, key: str) -> Any:
        """Refuse.

        Errors:
            ValueError: always; names the file, the part and the key.
        """
        raise ValueError(f"{self._where}: expected a key {key!r}, found {', '.join(sorted(self)) or 'none'}"[:300])


def _deeper(value: Any, file: str, path: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        return Named(value, file=file, path=path)
    if isinstance(value, list):
        return [_deeper(each, file, (*path, str(place))) for place, each in enumerate(value)]
    return value


def number(value: float | int | str | None, *, digits: int = 3) -> str:
    """Show a number; a word ("undefined (n=0)") stays what it is."""
    if value is None:
        return "not measured"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.{digits}f}".replace("-", "−")


def percent(value: float | int | str) -> str:
    """Show a share in per cent."""
    return value if isinstance(value, str) else f"{100 * value:.1f} %"


def interval(ends: Ends, *, digits: int = 3) -> str:
    """Show an interval, or the word that stands for it; empty where there is none."""
    if ends is None:
        return ""
    if (reach := real_ends(ends)) is None:
        return str(ends[0])
    return f"{number(reach[0], digits=digits)} to {number(reach[1], digits=digits)}"


def real_ends(ends: Ends) -> tuple[float, float] | None:
    """Give both ends of an interval; None where it is undefined or absent."""
    if ends is None or any(isinstance(end, str) for end in ends):
        return None
    return float(ends[0]), float(ends[1])


def measured(block: Mapping[str, Any], name: str, *, digits: int = 3) -> Cell:
    """Show a metric of a block with its interval."""
    value = block["metrics"][name]
    if isinstance(value, str):
        return Cell(value, kind="word")
    return Cell(number(value, digits=digits), interval(block["ci95"].get(name), digits=digits))


def sentence(block: Mapping[str, Any], name: str, *, digits: int = 3) -> str:
    """Show a metric within a sentence: 0.735 (0.689 to 0.775)."""
    cell = measured(block, name, digits=digits)
    return f"{cell.text} ({cell.below})" if cell.below else cell.text


def counted(block: Mapping[str, Any]) -> Cell:
    """Say what a block rests on."""
    n = block["n"]
    return Cell(
        f"{number(n['protrusions'])} of {number(n['discs'])}",
        f"{number(n['patients'])} patients, {number(n['images'])} images",
    )


def name_cell(text: str) -> Cell:
    """Make a row's first cell."""
    return Cell(text, kind="name")


def model_name(name: str) -> str:
    """Name a model for people."""
    return _SHOWN.get(name, name.replace("resnet", "ResNet-"))


def model_names(evaluate: Mapping[str, Any]) -> tuple[str, ...]:
    """List the models of reports/evaluate.json: student, plain student, teachers by size.

    Errors:
        ValueError: there is no student.
    """
    names = [name for name, value in evaluate.items() if isinstance(value, Mapping) and "detection" in value]
    if STUDENT not in names:
        raise ValueError("reports/evaluate.json: expected a model 'student' with a part 'detection', found none")
    return tuple(sorted(names, key=lambda name: (name != STUDENT, name != "baseline", len(name), name)))


def metric_name(name: str) -> str:
    """Name a metric for people: "ap50.any" is "AP50, any class"; an unknown one keeps its name."""
    if name in _METRICS:
        return _METRICS[name]
    base, _, suffix = name.partition(".")
    if base == "froc":
        return f"sensitivity, {metric_name(suffix)} false positives per study"
    if base in _SUFFIXES:
        return f"{_SUFFIXES[base]}, at {suffix}"
    shown = _METRICS.get(base, base.replace("_", " "))
    return f"{shown}, {_SUFFIXES.get(suffix, suffix)}" if suffix else shown

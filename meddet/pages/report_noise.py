"""The section of the report page on noise: what corrupted images cost each model."""

from collections.abc import Mapping, Sequence
from typing import Any

from meddet.pages.charts_svg import Scale, unit_scale
from meddet.pages.report_curves import Rows, key_of, model_figure
from meddet.pages.report_parts import Figures, Part, Section
from meddet.pages.report_values import Cell, Table, interval, measured, metric_name, model_name, name_cell, number

_SEVERITY = Scale(0.0, 5.0, tuple((float(step), str(step)) for step in range(6)), "severity")


def noise_section(robustness: Mapping[str, Any], models: Sequence[str], curves: Rows) -> Section:
    """Say how much of each number is left under noise and artefacts."""
    told = {name: robustness["models"][name] for name in models if name in robustness["models"]}
    shown = {model_name(name): part for name, part in told.items()}
    corruptions = robustness["sample"]["corruptions"]
    figures = [
        model_figure(
            _words(name),
            curves,
            list(told),
            ("severity", _SEVERITY),
            ("ap50_any", unit_scale("AP50, any class")),
            marked=True,
            size=(340, 210),
            chosen={"corruption": name},
        )
        for name in corruptions
    ]
    parts: tuple[Part, ...] = (
        _overall(shown),
        _comparison(robustness),
        Figures(tuple(figures), key_of(list(told)), "Severity 0 is the clean image."),
        *(_by_corruption(shown, metric) for metric in _metrics(shown)),
    )
    stated = robustness["sample"]["stated"]
    lead = f"Measured on {stated}. The corruptions are simulated; a scanner's own artefacts may differ."
    return Section("noise", "Under which noise", lead, parts)


def _overall(models: Mapping[str, Mapping[str, Any]]) -> Table:
    """Put clean, mean and remaining value of each metric below each other."""
    rows = [
        (
            name_cell(f"{metric_name(metric)}: {title}"),
            *(measured(part[key], metric) for name, part in models.items()),
        )
        for metric in next(iter(models.values()))["clean"]["metrics"]
        for key, title in (("clean", "clean"), ("mpc", "mPC, mean under noise"), ("rpc", "rPC, share that is left"))
    ]
    return Table("Clean and under noise", ("metric", *models), tuple(rows))


def _comparison(robustness: Mapping[str, Any]) -> Table:
    rows = [
        (
            name_cell(" − ".join(model_name(name) for name in pair.split(" - "))),
            Cell(_metric(metric), kind="name"),
            Cell(number(row["difference"]), interval((row["low"], row["high"]))),
        )
        for pair, members in robustness["comparison"].items()
        for metric, row in members.items()
    ]
    return Table("Differences under noise, same images", ("pair", "metric", "difference"), tuple(rows))


def _by_corruption(models: Mapping[str, Mapping[str, Any]], metric: str) -> Table:
    first = next(iter(models.values()))["corruptions"]
    rows = [
        (
            name_cell(f"{_words(name)}, severity {severity}"),
            *(Cell(_shown(part["corruptions"][name][severity][metric])) for part in models.values()),
        )
        for name, severities in first.items()
        for severity in severities
    ]
    caption = f"{metric_name(metric)} under each corruption"
    return Table(caption, ("corruption", *models), tuple(rows), folded=True)


def _metrics(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    severities = next(iter(next(iter(models.values()))["corruptions"].values()))
    return list(next(iter(severities.values())))


def _shown(value: Any) -> str:
    return number(value)


def _metric(name: str) -> str:
    kind, _, metric = name.partition(".")
    return f"{metric_name(kind)} of {metric_name(metric)}"


def _words(name: str) -> str:
    return name.replace("_", " ")

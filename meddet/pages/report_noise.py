"""The section of the report page on noise: what corrupted images cost each model."""

from collections.abc import Mapping, Sequence
from typing import Any

from meddet.pages.charts_svg import Scale, unit_scale
from meddet.pages.report_curves import Rows, key_of, model_figure
from meddet.pages.report_parts import Figures, Part, Section
from meddet.pages.report_values import (
    Cell,
    Table,
    interval,
    measured,
    metric_name,
    model_name,
    name_cell,
    number,
    percent,
)

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
            listed=False,
            chosen={"corruption": name},
        )
        for name in corruptions
    ]
    parts: tuple[Part, ...] = (
        _overall(shown),
        _comparison(robustness),
        Figures(tuple(figures), key_of(list(told)), "Severity 0 is the clean image."),
        *(_by_corruption(shown, corruptions, metric) for metric in _metrics(shown)),
        _located(robustness),
    )
    stated = robustness["sample"]["stated"]
    lead = f"Measured on {stated}. The corruptions are simulated; a scanner's own artefacts may differ."
    return Section("noise", "Under which noise", lead, parts)


def _overall(models: Mapping[str, Mapping[str, Any]]) -> Table:
    """Put clean, mean and remaining value of each metric below each other."""
    rows = [
        (
            name_cell(f"{metric_name(metric)}: {title}"),
            *(measured(part[key], metric) for part in models.values()),
        )
        for metric in next(iter(models.values()))["clean"]["metrics"]
        for key, title in (("clean", "clean"), ("mpc", "mPC, mean under noise"), ("rpc", "rPC, share that is left"))
    ]
    return Table("Clean and under noise", ("metric", *models), tuple(rows))


def _comparison(robustness: Mapping[str, Any]) -> Table:
    pairs = robustness["comparison"]
    titles = [" − ".join(model_name(name) for name in pair.split(" - ")) for pair in pairs]
    rows = [
        (name_cell(_metric(metric)), *(_difference(members[metric]) for members in pairs.values()))
        for metric in next(iter(pairs.values()), {})
    ]
    return Table("Differences, same images", ("metric", *titles), tuple(rows))


def _difference(row: Mapping[str, Any]) -> Cell:
    return Cell(number(row["difference"]), interval((row["low"], row["high"])))


def _located(robustness: Mapping[str, Any]) -> Table:
    """Show whether the locator still found the column."""
    located, severities = robustness["located"], [str(each) for each in robustness["sample"]["severities"]]
    rows = [(name_cell("clean"), *(Cell(percent(located["clean"])) for _ in severities))]
    for name in robustness["sample"]["corruptions"]:
        rows.append((name_cell(_words(name)), *(Cell(percent(located[name][each])) for each in severities)))
    caption = "Annotated discs within the region that the locator found"
    return Table(caption, ("corruption", *(f"severity {each}" for each in severities)), tuple(rows), folded=True)


def _by_corruption(models: Mapping[str, Mapping[str, Any]], corruptions: Sequence[str], metric: str) -> Table:
    first = next(iter(models.values()))["corruptions"]
    rows = [
        (
            name_cell(f"{_words(name)}, severity {severity}"),
            *(Cell(number(part["corruptions"][name][severity][metric])) for part in models.values()),
        )
        for name in corruptions
        for severity in first[name]
    ]
    caption = f"{metric_name(metric)} under each corruption"
    return Table(caption, ("corruption", *models), tuple(rows), folded=True)


def _metrics(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    severities = next(iter(next(iter(models.values()))["corruptions"].values()))
    return list(next(iter(severities.values())))


def _metric(name: str) -> str:
    kind, _, metric = name.partition(".")
    return f"{metric_name(kind)} of {metric_name(metric)}"


def _words(name: str) -> str:
    return name.replace("_", " ")

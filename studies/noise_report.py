"""What the noise study says: numbers with intervals over patients and spread over seeds, a picture, one sentence."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from meddet.evaluate.bootstrap import interval
from meddet.evaluate.matching import number
from meddet.evaluate.robustness import METRICS, Values, Withstood
from meddet.evaluate.robustness_report import mpc, rpc
from meddet.render import png
from meddet.rounding import rounded

NOTICE = "Research use only; scores on a phantom are not clinical scores."
OURS = "nmODE^2"
JUDGED = "rpc.ap50.any"
_COLOURS = ("#c2410c", "#0e7490", "#475569", "#7c3aed")
_INK, _FAINT, _GRID = "#1d2733", "#66717d", "#dfe4ea"
Seen = Mapping[str, Mapping[int, Withstood]]


def noise_report(seen: Seen) -> dict[str, Any]:
    """Compare the heads on the seeds that all of them have.

    Returns:
        `seeds`; `heads`: by name and number the mean over the seeds, its 95 % interval over resamples of the patients
        and the value of each seed; `differences`: nmODE^2 minus each other head likewise, seed by seed.
    """
    seeds = sorted(set.intersection(*(set(of_seed) for of_seed in seen.values())))
    values = {head: {seed: _numbers(of_seed[seed]) for seed in seeds} for head, of_seed in seen.items()}
    names = list(values[OURS][seeds[0]])
    differences = {
        head: {name: _told({s: values[OURS][s][name] - values[head][s][name] for s in seeds}) for name in names}
        for head in seen
        if head != OURS
    }
    heads = {
        head: {name: _told({s: each[name] for s, each in of_seed.items()}) for name in names}
        for head, of_seed in values.items()
    }
    report = {"seeds": seeds, "heads": heads, "differences": differences}
    result: dict[str, Any] = rounded(report, digits=6)
    return result | {"finding": _finding(result)}


def noise_text(report: Mapping[str, Any]) -> str:
    """Write the report as a page of Markdown."""
    plan, seeds = report["plan"], report["seeds"]
    lines = [
        "# Does nmODE^2 resist noise?",
        "",
        report["finding"],
        "",
        f"Plain student (no teacher), {plan['steps']} steps of {plan['batch_size']} views, seeds "
        f"{', '.join(str(seed) for seed in seeds)}; test images: {plan['images']}, severities "
        f"{', '.join(str(each) for each in plan['severities'])} of eight corruptions. Intervals are of resampled "
        f"patients, with the trained networks as they are; the range is that of the seeds. {NOTICE}",
        "",
        "| head | clean AP50 (any) | mPC | rPC | clean AUC of discs | mPC | rPC |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    shown = [f"{kind}.{metric}" for metric in ("ap50.any", "disc_auc") for kind in ("clean", "mpc", "rpc")]
    for head, numbers in report["heads"].items():
        lines.append(f"| {head} | " + " | ".join(_cell(numbers[name]) for name in shown) + " |")
    for head, numbers in report["differences"].items():
        lines.append(f"| {OURS} - {head} | " + " | ".join(_cell(numbers[name]) for name in shown) + " |")
    return "\n".join([*lines, "", "![by corruption](noise.png)", ""])


def noise_png(seen: Seen, report: Mapping[str, Any]) -> bytes:
    """Draw AP50 without classes against severity: a panel per corruption, a line per head, a dot per seed."""
    seeds = report["seeds"]
    first = next(iter(seen.values()))[seeds[0]]
    corruptions = list(dict.fromkeys(name for name, _ in first.cells))
    severities = [0, *sorted({severity for _, severity in first.cells})]
    figure = Figure(figsize=(11, 6), dpi=110, facecolor="white")
    panels = figure.subplots(2, -(-len(corruptions) // 2), sharex=True, sharey=True, squeeze=False).ravel()
    for axes, corruption in zip(panels, corruptions, strict=False):
        for colour, (head, of_seed) in zip(_COLOURS, seen.items(), strict=True):
            runs = np.array([_curve(of_seed[seed], corruption, severities) for seed in seeds])
            axes.plot(severities, runs.mean(axis=0), color=colour, label=head, linewidth=2 if head == OURS else 1.2)
            axes.plot(severities, runs.T, ".", color=colour, markersize=3)
        axes.set_title(corruption.replace("_", " "), color=_INK, fontsize=9, loc="left")
        axes.grid(color=_GRID, linewidth=0.8)
        axes.tick_params(colors=_FAINT, labelsize=8)
        axes.set(xlim=(-0.2, 5.2), ylim=(0, 1.02), xticks=range(6))
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower right", ncols=4, fontsize=9, frameon=False)
    title = f"AP50 without classes against severity; {len(seeds)} seeds, {report['plan']['steps']} steps. {NOTICE}"
    figure.suptitle(title, color=_INK, fontsize=10, x=0.01, ha="left")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    return png(figure)


def _numbers(model: Withstood) -> Values:
    kinds = {"clean": model.clean, "mpc": mpc(model), "rpc": rpc(model)}
    return {f"{kind}.{metric}": values[metric] for kind, values in kinds.items() for metric in METRICS}


def _told(of_seed: Mapping[int, np.ndarray]) -> dict[str, Any]:
    values = np.stack(list(of_seed.values()))
    mean = values.mean(axis=0)
    by_seed = {str(seed): number(float(value[0])) for seed, value in of_seed.items()}
    return {"mean": number(float(mean[0])), "ci95": interval(mean[1:]), "seeds": by_seed}


def _finding(report: Mapping[str, Any]) -> str:
    """Say in one sentence which way it fell: shown only where the interval and every seed agree."""
    against = report["differences"]["ReLU"][JUDGED]
    values, (low, high) = list(against["seeds"].values()), against["ci95"]
    if isinstance(against["mean"], str) or any(isinstance(value, str) for value in [*values, low, high]):
        return "The heads cannot be compared: a number is undefined (n=0)."
    if low > 0 and min(values) > 0:
        verdict = "keeps more of its AP50 under corruption than with ReLU alone"
    elif high < 0 and max(values) < 0:
        verdict = "keeps less of its AP50 under corruption than with ReLU alone"
    else:
        verdict = "is not shown to keep more or less of its AP50 under corruption than with ReLU alone"
    return (
        f"With {OURS} in its head the student {verdict}: rPC (AP50 without classes) differs by "
        f"{against['mean']:+.3f} (95 % interval over patients {low:+.3f} to {high:+.3f}; "
        f"seeds {min(values):+.3f} to {max(values):+.3f}, n = {len(values)})."
    )


def _curve(model: Withstood, corruption: str, severities: list[int]) -> list[float]:
    values = [model.cells[corruption, each] if each else model.clean for each in severities]
    return [float(value["ap50.any"][0]) for value in values]


def _cell(told: Mapping[str, Any]) -> str:
    if isinstance(told["mean"], str):
        return str(told["mean"])
    seeds = [value for value in told["seeds"].values() if not isinstance(value, str)]
    low, high = told["ci95"]
    return f"{told['mean']:.3f} ({low:.3f} to {high:.3f}; seeds {min(seeds):.3f} to {max(seeds):.3f})"

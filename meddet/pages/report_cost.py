"""The section of the report page on cost, with the picture of accuracy against latency."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from meddet.pages.charts_bubbles import Bubble
from meddet.pages.charts_svg import Scale, chart, round_scale
from meddet.pages.report_parts import Figure, Figures, Part, Section
from meddet.pages.report_values import STUDENT, Cell, Table, interval, model_name, name_cell, number, real_ends

PAPER = (
    ("R152", 86.1, 2.3, 66.51),
    ("R101", 85.8, 2.5, 51.24),
    ("R50", 85.6, 3.9, 32.32),
    ("MedDet", 85.5, 19.8, 10.42),
)
"""Figure 1 and table II of arXiv:2409.00204: name, mAP, frames per second, millions of parameters."""
METRIC = "ap50.any"
PLAIN = "baseline"
ENGINE = "onnxruntime"
"""That users of the bundle run."""
_ENGINES = {"torch": "torch", "torch-bf16": "torch, bf16", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
_SERIES_OF_PAPER = 5
_UNREST = 0.1


def cost_section(evaluate: Mapping[str, Any], benchmark: Mapping[str, Any], models: Sequence[str]) -> Section:
    """Say what each model costs, and what it gives for that."""
    timed = {name: part for name, part in benchmark["models"].items() if name in models}
    order = [name for name in models if name in timed]
    engines = list(timed[STUDENT]["latency"])
    figures = [_pareto(evaluate, timed, models, engine) for engine in engines]
    threads = benchmark["machine"]["threads"]
    parts: tuple[Part, ...] = (
        Figures(
            (*figures, _paper()),
            note="The area of a circle is the number of parameters. The plain student is the student's own graph and "
            "has its latency (hollow circle). The paper's points stand apart: another data set, another machine, and "
            "frames per second; nothing here was measured on them.",
        ),
        _sizes(timed, order),
        _latency(timed, order, "latency", f"Latency at batch 1, threads: {threads}"),
        *([_latency(timed, order, "latency_one_thread", "Latency at batch 1, one thread")] if _has(timed) else []),
        _processes(timed, order),
        _ratios(benchmark),
        _parity(timed, order),
    )
    machine = benchmark["machine"]
    lead = (
        f"Measured on {machine['processor']}, {machine['cores']} cores: the very artefacts whose accuracy is quoted "
        "here, all in turn in one process, with suppression inside. Another machine has other times."
    )
    if machine["cores_of_others"] >= _UNREST:
        lead += (
            f" Beware: other processes kept {number(machine['cores_of_others'], digits=1)} cores busy meanwhile, and "
            "the times with several threads are too long for that; run the stage again on a quiet machine."
        )
    return Section("cost", "At what cost", lead, parts)


def paper_bubbles() -> list[Bubble]:
    """Give the paper's points: frames per second and mAP in per cent."""
    largest = max(parameters for *_, parameters in PAPER)
    return [Bubble(_SERIES_OF_PAPER, fps, score, million / largest, name) for name, score, fps, million in PAPER]


def measured_bubbles(
    evaluate: Mapping[str, Any], timed: Mapping[str, Any], models: Sequence[str], engine: str
) -> list[Bubble]:
    """Give our points in one engine: milliseconds at the median and AP50 of any class, with its interval."""
    largest = max(part["parameters"] for part in timed.values())
    bubbles = []
    for series, name in enumerate(models):
        graph = STUDENT if name == PLAIN else name
        block = evaluate[name]["detection"]
        value, ends = block["metrics"][METRIC], block["ci95"].get(METRIC)
        if isinstance(value, str) or graph not in timed or engine not in timed[graph]["latency"]:
            continue
        part = timed[graph]
        latency = part["latency"][engine]
        reach = real_ends(ends)
        area, hollow = part["parameters"] / largest, name == PLAIN
        bubbles.append(Bubble(series, float(latency["p50_ms"]), float(value), area, model_name(name), reach, hollow))
    return bubbles


def speedups(against: Mapping[str, Any]) -> list[tuple[str, float | str]]:
    """List how many times as fast the student is, by engine and threads; users' engine with all threads comes first."""
    told = []
    for key, by_engine in against.items():
        if key.startswith("speedup"):
            threads = key.removeprefix("speedup").replace("_", " ").strip()
            told += [
                (f"speed, {engine_name(engine)}{', ' + threads if threads else ''}", value, (threads, engine != ENGINE))
                for engine, value in by_engine.items()
            ]
    return [(name, value) for name, value, _ in sorted(told, key=lambda each: each[2])]


def engine_name(engine: str) -> str:
    """Name an engine for people."""
    return _ENGINES.get(engine, engine)


def _pareto(evaluate: Mapping[str, Any], timed: Mapping[str, Any], models: Sequence[str], engine: str) -> Figure:
    bubbles = measured_bubbles(evaluate, timed, models, engine)
    said = "; ".join(f"{each.name} {each.y:.3f} at {each.x:.1f} ms" for each in bubbles)
    title = f"{engine_name(engine)}: AP50 against latency"
    x = round_scale([each.x * 1.15 for each in bubbles] or [1.0], "median latency, ms")
    ends = [end for each in bubbles for end in (each.y, *(each.ends or ()))]
    y = _up_to_one(round_scale([*ends, 1.0], "AP50, any class", from_zero=False))
    svg = chart(f"{title}: {said or 'undefined'}", x, y, bubbles=bubbles, height=300)
    rows = [
        (name_cell(each.name), Cell(number(each.x, digits=1)), Cell(number(each.y), interval(each.ends)))
        for each in bubbles
    ]
    data = Table(f"{engine_name(engine)}: the points", ("model", "median, ms", "AP50, any class"), tuple(rows))
    return Figure(title, svg, data)


def _up_to_one(scale: Scale) -> Scale:
    """End an axis of shares at 1."""
    ticks = tuple(tick for tick in scale.ticks if tick[0] < 1)
    return Scale(scale.low, 1.0, (*ticks, (1.0, "1")), scale.title)


def _paper() -> Figure:
    said = "; ".join(f"{name} {score} mAP at {fps} frames per second" for name, score, fps, _ in PAPER)
    y = round_scale([85.0, 86.5], "mAP, %", from_zero=False)
    svg = chart(f"The paper's own points: {said}", round_scale([24.0], "frames per second"), y, bubbles=paper_bubbles())
    rows = [(name_cell(n), Cell(str(s)), Cell(str(f)), Cell(str(p))) for n, s, f, p in PAPER]
    data = Table("The paper's points", ("model", "mAP, %", "frames/s", "parameters, M"), tuple(rows))
    return Figure("The paper's own points (arXiv:2409.00204), not measured here", svg, data)


def _sizes(timed: Mapping[str, Any], order: Sequence[str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for title, keys in (
        ("parameters", ("parameters",)),
        ("GMAC, one view", ("gmac_view",)),
        ("GMAC at 512 × 512", ("gmac_512",)),
        ("bytes of weights (safetensors)", ("bytes", "safetensors")),
        ("bytes of ONNX", ("bytes", "onnx")),
    ):
        cells = [Cell(number(reduce(getitem, keys, timed[name]), digits=2)) for name in order]
        rows.append((name_cell(title), *cells))
    return Table("Size", ("quantity", *map(model_name, order)), tuple(rows))


def _latency(timed: Mapping[str, Any], order: Sequence[str], key: str, caption: str) -> Table:
    rows = []
    for engine in dict.fromkeys(engine for name in order for engine in timed[name].get(key, {})):
        cells = [_timing(timed[name].get(key, {}).get(engine)) for name in order]
        rows.append((name_cell(engine_name(engine)), *cells))
    note = "Median in ms; below it the 95th percentile and images per second."
    return Table(caption, ("engine", *map(model_name, order)), tuple(rows), note=note)


def _timing(each: Mapping[str, Any] | None) -> Cell:
    if each is None:
        return Cell("not measured", kind="word")
    below = f"{number(each['p95_ms'], digits=1)} ms; {number(each['images_per_second'], digits=1)}/s"
    return Cell(number(each["p50_ms"], digits=1), below)


def _processes(timed: Mapping[str, Any], order: Sequence[str]) -> Table:
    rows = []
    for key, title in (("cold_start_s", "cold start, s"), ("peak_memory_mb", "peak memory, MB")):
        for engine in timed[STUDENT][key]:
            cells = [timed[name].get(key, {}).get(engine) for name in order]
            rows.append((name_cell(f"{engine_name(engine)}: {title}"), *(_measured(cell, 2) for cell in cells)))
    return Table(
        "Cold start and memory, each in a process of its own", ("engine", *map(model_name, order)), tuple(rows)
    )


def _parity(timed: Mapping[str, Any], order: Sequence[str]) -> Table:
    rows = [
        (name_cell(f"{model_name(name)}, {engine_name(engine)}"), *(_small(part.get(key)) for key in _PARITY))
        for name in order
        for engine, part in timed[name].get("parity", {}).items()
    ]
    caption = "How far each engine is from torch"
    head = ("model, engine", "images", "largest difference of a box, px", "of a score", "of AP50")
    return Table(caption, head, tuple(rows), note="A difference above the tolerance ends the stage.", folded=True)


_PARITY = ("images", "box_px", "score", "ap50_difference")


def _ratios(benchmark: Mapping[str, Any]) -> Table:
    against = benchmark["student_against_smallest_teacher"]
    paper = benchmark["paper"]
    rows: list[tuple[Cell, ...]] = []
    for name, value in speedups(against):
        rows.append((name_cell(name), _times(value), Cell(f"{paper['speedup']} ×")))
    for key, title in (("parameters_saved_percent", "parameters"), ("operations_saved_percent", "operations")):
        rows.append((name_cell(f"{title} saved"), _measured(against[key], 1, " %"), Cell(f"{paper[key]} %")))
    caption = f"Student against {model_name(against['teacher'])}, the smallest teacher, in the same engine"
    return Table(caption, ("quantity", "measured here", "the paper"), tuple(rows), note=str(paper["source"]))


def _has(timed: Mapping[str, Any]) -> bool:
    return "latency_one_thread" in timed[STUDENT]


def _times(value: float | int | str | None) -> Cell:
    return Cell(f"{value:.2f} ×") if isinstance(value, float) else _measured(value, 2)


def _measured(value: float | int | str | None, digits: int, unit: str = "") -> Cell:
    if value is None or isinstance(value, str):
        return Cell(number(value), kind="word")
    return Cell(number(value, digits=digits) + unit)


def _small(value: float | int | str | None) -> Cell:
    return Cell(f"{value:.2g}") if isinstance(value, float) else Cell(number(value))

"""Measure what student and teachers cost on this machine: parameters, operations, latency in two engines."""

import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddet.config import Params
from meddet.rounding import rounded
from pipeline._stage import ARTIFACTS, REPORTS, run

if TYPE_CHECKING:
    from torch import Tensor

    from meddet.export import BoxesAndScores
    from meddet.models.detector import Detector

ENGINES = ("torch", "onnxruntime")
PARITY_IMAGES = 2
PAPER = {
    "parameters_saved_percent": 67.8,
    "operations_saved_percent": 36.9,
    "speedup": 5.08,
    "source": "arXiv:2409.00204, table II against ResNet-50; not measured here",
}
NOTES = {
    "latency": "batch 1, float32, from the detector's input to detections: network, decoding, suppression",
    "images_per_second": "of the same calls, one image at a time",
    "locator": "the small network that finds the column, run once per image before the detector; not in the latency",
    "baseline": "the plain student is the student's very graph, so it isn't measured a second time",
    "rounds": "every contender runs once in a round, all in one process",
}


def main(params: Params) -> None:
    """Write reports/benchmark.json and reports/benchmark.png."""
    import torch
    from tqdm import tqdm

    from meddet.bundle import load_bundled_detector
    from meddet.cost import cost
    from meddet.files import write_atomic, write_json
    from meddet.latency import interleaved, matmul_gflops
    from meddet.models.detector import load_detector
    from pipeline import _training as shared

    settings = params.benchmark
    torch.set_num_threads(settings.threads)
    student, config = load_bundled_detector(ARTIFACTS / "bundle")
    size = config.input_size
    detectors = {"student": student}
    detectors |= {name: load_detector(ARTIFACTS / "pretrain" / name)[0] for name in params.teachers}
    images = shared.load_part_images("test")
    views = [images.view(index, size) for index in range(min(PARITY_IMAGES, len(images)))]
    runs: dict[str, Callable[[], object]] = {}
    for name, detector in tqdm(detectors.items(), desc="benchmark: export", unit="network"):
        for engine, network in zip(ENGINES, networks(name, detector, size, views, params), strict=True):
            runs[f"{name}/{engine}"] = detection(network, views[0], size, params)
    for engine in ENGINES:
        runs[f"locator/{engine}"] = locating(engine, images.pixels(0), settings.threads)
    rounds = tqdm(range(settings.repetitions), desc="benchmark", unit="round", mininterval=1, dynamic_ncols=True)
    with torch.inference_mode():
        timings = interleaved(runs, warmup=settings.warmup, rounds=rounds)
        limit = matmul_gflops()
    costs = {name: {"view": cost(each, size), "512": cost(each, (512, 512))} for name, each in detectors.items()}
    report: dict[str, Any] = {
        "models": {
            name: {
                "parameters": costs[name]["view"].parameters,
                "gmac_view": costs[name]["view"].gmac,
                "gmac_512": costs[name]["512"].gmac,
                "gflops_mmcv_512": costs[name]["512"].gflops_mmcv,
                "latency": {engine: asdict(timings[f"{name}/{engine}"]) for engine in ENGINES},
            }
            for name in detectors
        },
        "locator": {"latency": {engine: asdict(timings[f"locator/{engine}"]) for engine in ENGINES}},
        "view": {"height": size[0], "width": size[1]},
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": settings.threads,
            "float32_matmul_gflops": limit,
            "torch": torch.__version__,
        },
        "paper": PAPER,
        "notes": NOTES,
    }
    report["student_against_smallest_teacher"] = ratios(report["models"], params.teachers)
    write_json(REPORTS / "benchmark.json", rounded(report, digits=3))
    write_atomic(REPORTS / "benchmark.png", picture(report))


def networks(
    name: str, detector: "Detector", size: tuple[int, int], views: "list[Tensor]", params: Params
) -> "tuple[BoxesAndScores, BoxesAndScores]":
    """Return a network in both engines: the student's ONNX is the bundle's, a teacher's is exported and dropped.

    Errors:
        ValueError: the engines compute different things.
    """
    from meddet import export

    in_torch = export.DecodedDetector(detector).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = ARTIFACTS / "bundle" / "detector.onnx"
        if name != "student":
            path = Path(folder) / f"{name}.onnx"
            export.export_detector(detector, size=size, path=path)
        session = export.open_onnx(path, threads=params.benchmark.threads)

    def in_onnx(image: "Tensor") -> "tuple[Tensor, Tensor]":
        boxes, scores = session(image)
        return boxes, scores

    export.require_parity(
        export.check_parity(in_torch, in_onnx, views),
        box_tolerance_px=params.package.box_tolerance_px,
        score_tolerance=params.package.score_tolerance,
        name=f"{name}.onnx",
    )
    return in_torch, in_onnx


def detection(network: "BoxesAndScores", view: "Tensor", size: tuple[int, int], params: Params) -> Callable[[], object]:
    """Return the whole detection on one view: network, decoding, suppression."""
    from meddet.postprocess import select

    limits, image = params.detect.model_dump(), view[None].contiguous()

    def detect() -> object:
        boxes, scores = network(image)
        return select(boxes, scores, input_size=size, **limits)

    return detect


def locating(engine: str, pixels: "Tensor", threads: int) -> Callable[[], object]:
    """Return the locator's network on one image."""
    from meddet.bundle import load_bundle
    from meddet.export import open_onnx
    from meddet.models.locator import whole_view

    bundle = load_bundle(ARTIFACTS / "bundle")
    image = whole_view(pixels, bundle.config.locator.size)[0][None]
    if engine == "torch":
        return lambda: bundle.points(image)
    session = open_onnx(ARTIFACTS / "bundle" / "locator.onnx", threads=threads)
    return lambda: session(image)


def ratios(models: dict[str, Any], teachers: Sequence[str]) -> dict[str, Any]:
    """Compare the student with the teacher of fewest parameters, in each engine by itself."""
    smallest = min(teachers, key=lambda name: int(models[name]["parameters"]))
    student, teacher = models["student"], models[smallest]
    return {
        "teacher": smallest,
        "parameters_saved_percent": 100 * (1 - student["parameters"] / teacher["parameters"]),
        "operations_saved_percent": 100 * (1 - student["gflops_mmcv_512"] / teacher["gflops_mmcv_512"]),
        "speedup": {
            engine: teacher["latency"][engine]["p50_ms"] / student["latency"][engine]["p50_ms"] for engine in ENGINES
        },
    }


def processor() -> str:
    """Name the processor as the system does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def picture(report: dict[str, Any]) -> bytes:
    """Draw latency, parameters and operations."""
    from meddet.render_charts import Contender, Latency, benchmark_png

    def contender(name: str, model: dict[str, Any]) -> Contender:
        bars = [Latency(engine, t["p50_ms"], t["p95_ms"]) for engine, t in model["latency"].items()]
        return Contender(name, model["parameters"], model["gmac_view"], bars)

    against, machine, view = report["student_against_smallest_teacher"], report["machine"], report["view"]
    speedups = ", ".join(f"{value:.2f}x in {engine}" for engine, value in against["speedup"].items())
    return benchmark_png(
        [contender(name, model) for name, model in report["models"].items()],
        title=f"Detection on one view of {view['height']} x {view['width']}, float32, threads: {machine['threads']}",
        notes=(
            f"Student against {against['teacher']}: {speedups}; "
            f"{against['parameters_saved_percent']:.1f} % fewer parameters, "
            f"{against['operations_saved_percent']:.1f} % fewer operations at 512 x 512.\n"
            f"Paper, not measured here: {PAPER['speedup']}x, {PAPER['parameters_saved_percent']} %, "
            f"{PAPER['operations_saved_percent']} %. "
            f"Float32 matmul limit of this machine {machine['float32_matmul_gflops']:.0f} GFLOP/s."
        ),
    )


if __name__ == "__main__":
    run(main)

"""What the stage benchmark says: the sentences, the ratios and the picture."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meddet.contender import BFLOAT16
from meddet.render_charts import Contender, Latency, benchmark_png

PAPER = {
    "parameters_saved_percent": 67.8,
    "operations_saved_percent": 36.9,
    "speedup": 5.08,
    "source": "arXiv:2409.00204, table II against ResNet-50; not measured here",
}
NOTES = {
    "baseline": "the plain student is the student's very graph, so it isn't measured a second time",
    "bytes": "of the weights (safetensors) and of the ONNX file, weights inside",
    "cores_of_others": "cores that other processes, or other virtual machines, used while the latencies were measured; "
    "torch's threads wait in a loop, and one busy core beside them makes its latency many times as long",
    "cold_start_s": "from the start of a new process to its first detection: imports (torch's, too, whose suppression "
    "every engine uses), loading, one pass; one process of each, the file system warm; teachers in ONNX Runtime alone",
    "gmac": "10^9 multiply-accumulates of convolutions: of one view (gmac_view) and at 512 x 512 (gmac_512)",
    "images_per_second": "of the same calls, one image at a time",
    "latency": "milliseconds at batch 1 from the detector's input to detections: network with nmODE^2, decoding, "
    "suppression; latency with `threads` threads, latency_one_thread with one",
    "locator": "the small network that finds the column, run once per image before the detector; not in the latency",
    "machine": "the fastest of ten products of two 1024 x 1024 matrices in torch, the limit of what any network can do",
    "openvino": "told to compute in float32: by itself it takes bfloat16 where the processor has it, and boxes "
    "computed in that are pixels away from torch's",
    "parity": "largest difference from torch in float32 over all points of so many test images, and of AP50 over them "
    "(mean of the classes or without classes); above the tolerance the stage ends",
    "peak_memory_mb": "most resident memory (10^6 bytes) of that same new process",
    "rounds": "every model and engine runs once in a round, all in one process, after a pause of 30 ms in which the "
    "threads of the one before come to rest",
    "speedup": "of medians, student against the teacher of fewest parameters, in the same engine with as many threads",
    "torch": "channels_last, float32",
}
WITHOUT_BFLOAT16 = "not measured: the processor has no instructions for bfloat16"
WITH_BFLOAT16 = "the same weights in bfloat16, channels_last, decoded in float32; held to a tolerance of AP50 alone"


def notes(engines: Sequence[str]) -> dict[str, str]:
    """Explain each number."""
    return NOTES | {BFLOAT16: WITH_BFLOAT16 if BFLOAT16 in engines else WITHOUT_BFLOAT16}


def ratios(models: Mapping[str, Any], teachers: Sequence[str]) -> dict[str, Any]:
    """Compare the student with the teacher of fewest parameters, in each engine by itself."""
    smallest = min(teachers, key=lambda name: int(models[name]["parameters"]))
    student, teacher = models["student"], models[smallest]
    speedups = {
        name: {engine: teacher[key][engine]["p50_ms"] / each["p50_ms"] for engine, each in student[key].items()}
        for name, key in (("speedup", "latency"), ("speedup_one_thread", "latency_one_thread"))
    }
    return {
        "teacher": smallest,
        "parameters_saved_percent": 100 * (1 - student["parameters"] / teacher["parameters"]),
        "operations_saved_percent": 100 * (1 - student["gflops_mmcv_512"] / teacher["gflops_mmcv_512"]),
        **speedups,
    }


def significant(value: float | str) -> float | str:
    """Keep three digits that mean something of a difference that may be tiny."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def processor() -> str:
    """Name the processor as the system does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def picture(report: Mapping[str, Any]) -> bytes:
    """Draw latency with all threads and with one, parameters and operations."""
    against, machine, view = report["student_against_smallest_teacher"], report["machine"], report["view"]
    speedups = ", ".join(f"{value:.2f}x in {engine}" for engine, value in against["speedup"].items())
    limits = ", ".join(f"{machine[f'{name}_matmul_gflops']:.0f} GFLOP/s in {name}" for name in ("float32", "bfloat16"))
    return benchmark_png(
        [_contender(name, model) for name, model in report["models"].items()],
        title=f"Detection on one view of {view['height']} x {view['width']}, batch 1, {machine['processor']}",
        headings=(f"{machine['threads']} threads: median ms, line to p95", "one thread: median ms, line to p95"),
        notes=(
            f"Student against {against['teacher']}, {machine['threads']} threads: {speedups}; "
            f"{against['parameters_saved_percent']:.1f} % fewer parameters, "
            f"{against['operations_saved_percent']:.1f} % fewer operations at 512 x 512.\n"
            f"Paper, not measured here: {PAPER['speedup']}x, {PAPER['parameters_saved_percent']} %, "
            f"{PAPER['operations_saved_percent']} %. Matmul limit of this machine: {limits}."
        ),
    )


def _contender(name: str, model: Mapping[str, Any]) -> Contender:
    with_all, with_one = (
        [Latency(engine, each["p50_ms"], each["p95_ms"]) for engine, each in model[key].items()]
        for key in ("latency", "latency_one_thread")
    )
    return Contender(name, model["parameters"], model["gmac_view"], with_all, with_one)

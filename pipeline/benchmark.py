"""Measure what student and teachers cost on this machine: size, operations, memory, start, latency in every engine."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddet.config import Params
from meddet.rounding import rounded
from pipeline._stage import ARTIFACTS, REPORTS, run

if TYPE_CHECKING:
    from torch import Tensor

    from meddet.contender import Artefact
    from meddet.data.batches import ImageSet
    from meddet.export import BoxesAndScores

    Networks = dict[str, dict[str, BoxesAndScores]]


def main(params: Params) -> None:
    """Write reports/benchmark.json and reports/benchmark.png."""
    import torch

    from meddet.contender import engines_here
    from meddet.files import write_atomic, write_json
    from pipeline import _benchmark_told as told
    from pipeline._contenders import artefacts
    from pipeline._training import load_part_images
    from pipeline._unrest import cores_of_others, usage

    settings, size = params.benchmark, (params.view.height, params.view.width)
    threads = len(os.sched_getaffinity(0)) if settings.threads == "all" else settings.threads
    images, engines = load_part_images("test"), engines_here(torch.cpu.get_capabilities())
    view = images.view(0, size)
    with tempfile.TemporaryDirectory() as folder:
        contenders = artefacts(params, Path(folder))
        models = {name: sizes(artefact, size) for name, artefact in contenders.items()}
        started = starts(contenders, engines, view, params, threads=threads)
        opened = open_all(contenders, engines, threads=threads)
        compared = parities(opened, images, size, params)
        before = usage()
        locator = locatings(images.pixels(0), threads=threads)
        timed = time_all(opened, view, settings.repetitions, params, threads=threads, others=locator)
        alone = time_all(
            alone_of(opened, contenders), view, settings.one_thread_repetitions, params, threads=1, others={}
        )
        limits = matmul_limits()
        unrest = cores_of_others(before, usage())
    for name, model in models.items():
        model |= {"latency": timed[name], "latency_one_thread": alone[name], **started[name]}
    report: dict[str, Any] = {
        "models": models,
        "locator": {"latency": timed["locator"]},
        "view": {"height": size[0], "width": size[1]},
        "machine": {
            "processor": told.processor(),
            "cores": os.cpu_count(),
            "threads": threads,
            "cores_of_others": unrest,
            **limits,
            "torch": torch.__version__,
        },
        "measured": settings.model_dump(),
        "student_against_smallest_teacher": told.ratios(models, params.teachers),
        "paper": told.PAPER,
        "notes": told.notes(engines),
    }
    report = rounded(report, digits=3)
    for name, parity in compared.items():
        report["models"][name]["parity"] = parity
    write_json(REPORTS / "benchmark.json", report)
    write_atomic(REPORTS / "benchmark.png", told.picture(report))


def sizes(artefact: "Artefact", size: tuple[int, int]) -> dict[str, Any]:
    """Count parameters, operations and bytes."""
    from meddet.contender import read_artefact, weights_of
    from meddet.cost import cost

    detector = read_artefact(artefact)
    counted, large = cost(detector, size), cost(detector, (512, 512))
    return {
        "parameters": counted.parameters,
        "gmac_view": counted.gmac,
        "gmac_512": large.gmac,
        "gflops_mmcv_512": large.gflops_mmcv,
        "bytes": {"safetensors": weights_of(artefact).stat().st_size, "onnx": artefact.onnx.stat().st_size},
    }


def starts(
    contenders: "Mapping[str, Artefact]", engines: Sequence[str], view: "Tensor", params: Params, *, threads: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Start the student in each engine and the teachers in the one that users run, in processes of their own.

    In bfloat16 torch starts as in float32.
    """
    import numpy as np
    from tqdm import tqdm

    from meddet.contender import BFLOAT16, USERS_ENGINE
    from meddet.first_detection import first_detection

    report: dict[str, dict[str, dict[str, float]]] = {
        name: {"cold_start_s": {}, "peak_memory_mb": {}} for name in contenders
    }
    pairs = [("student", engine) for engine in engines if engine != BFLOAT16]
    pairs += [(name, USERS_ENGINE) for name in params.teachers]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "view.npy"
        np.save(path, view.numpy(), allow_pickle=False)
        for name, engine in tqdm(pairs, desc="benchmark: starts", unit="process", mininterval=1, dynamic_ncols=True):
            files = {"folder": contenders[name].folder, "onnx": contenders[name].onnx, "view": path}
            limits = params.detect.model_dump()
            found = first_detection(engine, **files, threads=threads, limits=limits)
            report[name]["cold_start_s"][engine] = found.seconds
            report[name]["peak_memory_mb"][engine] = found.peak_memory_mb
    return report


def open_all(contenders: "Mapping[str, Artefact]", engines: Sequence[str], *, threads: int) -> "Networks":
    """Open every model in every engine, two at a time."""
    from meddet.contender import open_network

    def opened(pair: tuple[str, str]) -> "BoxesAndScores":
        return open_network(pair[1], contenders[pair[0]], threads=threads)

    pairs = [(name, engine) for name in contenders for engine in engines]
    networks: Networks = {name: {} for name in contenders}
    with ThreadPoolExecutor(2) as pool:
        for (name, engine), network in zip(pairs, pool.map(opened, pairs), strict=True):
            networks[name][engine] = network
    return networks


def alone_of(opened: "Networks", contenders: "Mapping[str, Artefact]") -> "Networks":
    """Open with one thread what has threads of its own; torch's are the whole process's."""
    from meddet.contender import TORCH

    own = {engine for networks in opened.values() for engine in networks}.difference(TORCH)
    again = open_all(contenders, sorted(own), threads=1)
    return {name: networks | again[name] for name, networks in opened.items()}


def parities(
    opened: "Networks", images: "ImageSet", size: tuple[int, int], params: Params
) -> dict[str, dict[str, dict[str, Any]]]:
    """Tell how far the engines are from torch on a sample of the test images.

    Errors:
        ValueError: names the model and the engine that finds something else.
    """
    from pipeline._benchmark_told import significant
    from pipeline._contenders import agreements, evenly

    sample = evenly(images, params.benchmark.parity_images)
    return {
        name: {
            engine: {
                key: significant(value)
                for key, value in {**asdict(each.parity), "ap50_difference": each.ap50_difference}.items()
            }
            for engine, each in agreements(name, networks, sample, size, params).items()
        }
        for name, networks in opened.items()
    }


def time_all(
    opened: "Networks",
    view: "Tensor",
    repetitions: int,
    params: Params,
    *,
    threads: int,
    others: Mapping[str, Callable[[], object]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Time the whole detection on one view: network, decoding, suppression. Returns timings by model and engine."""
    import torch
    from tqdm import tqdm

    from meddet.latency import interleaved

    torch.set_num_threads(threads)
    runs = {
        f"{name}/{engine}": detection(network, view, params)
        for name, networks in opened.items()
        for engine, network in networks.items()
    }
    rounds = tqdm(range(repetitions), desc="benchmark", unit="round", mininterval=1, dynamic_ncols=True)
    with torch.inference_mode():
        timings = interleaved({**runs, **others}, warmup=params.benchmark.warmup, rounds=rounds)
    result: dict[str, dict[str, dict[str, float]]] = {}
    for key, timing in timings.items():
        name, engine = key.split("/")
        result.setdefault(name, {})[engine] = asdict(timing)
    return result


def detection(network: "BoxesAndScores", view: "Tensor", params: Params) -> Callable[[], object]:
    """Return the detection on one view."""
    from meddet.postprocess import select

    limits, image = params.detect.model_dump(), view[None].contiguous()

    def detect() -> object:
        boxes, scores = network(image)
        return select(boxes, scores, input_size=(view.shape[1], view.shape[2]), **limits)

    return detect


def locatings(pixels: "Tensor", *, threads: int) -> dict[str, Callable[[], object]]:
    """Return the locator's network on one image, by engine."""
    from meddet.bundle import load_bundle
    from meddet.export import open_onnx
    from meddet.models.locator import whole_view
    from meddet.openvino_run import open_openvino

    bundle, path = load_bundle(ARTIFACTS / "bundle"), ARTIFACTS / "bundle" / "locator.onnx"
    image = whole_view(pixels, bundle.config.locator.size)[0][None]
    in_onnx, in_openvino = open_onnx(path, threads=threads), open_openvino(path, threads=threads)
    return {
        "locator/torch": lambda: bundle.points(image),
        "locator/onnxruntime": lambda: in_onnx(image),
        "locator/openvino": lambda: in_openvino(image),
    }


def matmul_limits() -> dict[str, float]:
    """Measure what no network can be faster than."""
    import torch

    from meddet.latency import matmul_gflops

    return {
        "float32_matmul_gflops": matmul_gflops(),
        "bfloat16_matmul_gflops": matmul_gflops(dtype=torch.bfloat16),
    }


if __name__ == "__main__":
    run(main)

"""Networks as single ONNX files, decoding inside, and the proof that they compute what torch computes."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from meddet.boxes import decode, integral
from meddet.export_nmode import for_export
from meddet.files import write_atomic
from meddet.models.detector import Detector
from meddet.models.locator import Locator, expected_points

BoxesAndScores = Callable[[Float[Tensor, "1 3 H W"]], tuple[Float[Tensor, "R 4"], Float[Tensor, "R K"]]]


@dataclass(frozen=True)
class Parity:
    """The largest differences between two engines over some images."""

    images: int
    box_px: float
    score: float


class DecodedDetector(nn.Module):
    """A detector whose output is boxes in input pixels and class scores, of one image, before suppression."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Float[Tensor, "1 3 H W"]) -> tuple[Float[Tensor, "R 4"], Float[Tensor, "R K"]]:
        """Detect: distances are the expectation over the bins, scores the sigmoid of the logits."""
        predictions = self.detector(images)
        ltrb = integral(predictions.distributions[0]) * predictions.strides[:, None]
        return decode(predictions.points, ltrb), predictions.logits[0].sigmoid()


class PointLocator(nn.Module):
    """A locator whose output is the two points of one image, as fractions of its input."""

    def __init__(self, locator: Locator) -> None:
        super().__init__()
        self.locator = locator

    def forward(self, images: Float[Tensor, "1 1 S S"]) -> Float[Tensor, "2 2"]:
        """Find the top and the bottom disc's centre (x, y)."""
        return expected_points(self.locator(images))[0]


def export_detector(detector: Detector, *, size: tuple[int, int], path: Path) -> None:
    """Write a detector in eval mode as ONNX: `image` (1, 3, H, W) -> `boxes` (R, 4) px, `scores` (R, K)."""
    example = torch.linspace(-1, 1, 3 * size[0] * size[1]).reshape(1, 3, *size)
    write_onnx(DecodedDetector(for_export(detector)).eval(), example, outputs=("boxes", "scores"), path=path)


def export_locator(locator: Locator, *, size: int, path: Path) -> None:
    """Write a locator in eval mode as ONNX: `image` (1, 1, S, S) -> `points` (2, 2)."""
    example = torch.linspace(-1, 1, size * size).reshape(1, 1, size, size)
    write_onnx(PointLocator(locator).eval(), example, outputs=("points",), path=path)


def open_onnx(path: Path, *, threads: int | None = None) -> Callable[[Tensor], list[Tensor]]:
    """Open an ONNX file in ONNX Runtime on the processor.

    Args:
        path: of a file that holds all its weights.
        threads: of one operator, which sleep between operators and so disturb nobody who is timed next to them;
            None leaves the choice to ONNX Runtime.

    Returns:
        A function from the input to the outputs in the file's order.

    Errors:
        ValueError: names the file that isn't ONNX or points to data outside itself.
    """
    session = onnx_session(path, threads=threads)
    name = session.get_inputs()[0].name

    def run(image: Tensor) -> list[Tensor]:
        return [torch.from_numpy(output) for output in session.run(None, {name: image.contiguous().numpy()})]

    return run


def onnx_session(path: Path, *, threads: int | None) -> Any:
    """Load an ONNX file as `open_onnx` runs it."""
    import onnxruntime

    content = read_onnx(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: expected a model for ONNX Runtime, got {reason}") from None


def check_parity(reference: BoxesAndScores, other: BoxesAndScores, images: Sequence[Float[Tensor, "3 H W"]]) -> Parity:
    """Measure the largest difference of boxes and scores over all points of all images."""
    return largest_difference(outputs(reference, images), outputs(other, images))


def outputs(network: BoxesAndScores, images: Sequence[Float[Tensor, "3 H W"]]) -> list[tuple[Tensor, Tensor]]:
    """Run a network on images one by one."""
    with torch.inference_mode():
        return [network(image[None]) for image in images]


def largest_difference(reference: Sequence[tuple[Tensor, Tensor]], other: Sequence[tuple[Tensor, Tensor]]) -> Parity:
    """Compare what two engines gave for the same images; NaN of either stays NaN."""
    assert reference, "nothing to compare"
    pairs = list(zip(reference, other, strict=True))
    box, score = (
        float(torch.stack([(ours[part] - theirs[part]).abs().max() for ours, theirs in pairs]).max()) for part in (0, 1)
    )
    return Parity(len(pairs), box, score)


def require_parity(parity: Parity, *, box_tolerance_px: float, score_tolerance: float, name: str) -> None:
    """Refuse an exported model that computes something else.

    Errors:
        ValueError: names the model, the differences and the tolerances. A difference of NaN is refused, too.
    """
    if not (parity.box_px <= box_tolerance_px and parity.score <= score_tolerance):
        raise ValueError(
            f"{name}: expected ONNX within {box_tolerance_px} px and {score_tolerance} of torch, "
            f"got {parity.box_px:.3g} px and {parity.score:.3g} over {parity.images} images"
        )


def write_onnx(module: nn.Module, example: Tensor, *, outputs: Sequence[str], path: Path) -> None:
    """Export a module of one input, `image`, quietly, and write one file that names no place of this machine."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, (example,), input_names=["image"], output_names=list(outputs), dynamo=True, verbose=False
            )
    finally:
        log.setLevel(level)
    assert program is not None
    model = program.model_proto
    _forget_origin(model)
    write_atomic(path, model.SerializeToString(deterministic=True))


def _forget_origin(model: Any) -> None:
    """Remove what the exporter notes of source files and call stacks: paths of the machine that exported."""
    del model.metadata_props[:]
    for graph in (model.graph, *model.functions):
        graph.doc_string = ""
        del graph.metadata_props[:]
        for part in (*graph.node, *graph.value_info):
            part.doc_string = ""
            del part.metadata_props[:]
    for part in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def read_onnx(path: Path) -> bytes:
    """Read an ONNX file that holds all its weights.

    Errors:
        ValueError: names the file that isn't ONNX or points to data outside itself.
    """
    content = path.read_bytes()
    _refuse_external_data(path, content)
    return content


def _refuse_external_data(path: Path, content: bytes) -> None:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        raise ValueError(f"{path}: expected an ONNX file, got something else ({len(content)} bytes)") from None
    graphs = (model.graph, *model.functions)
    outside = [tensor.name for graph in graphs for tensor in _tensors(graph) if tensor.external_data]
    if outside:
        raise ValueError(f"{path}: expected all weights inside the file, got external data for {outside[0]!r}")


def _tensors(graph: Any) -> Iterator[Any]:
    """List the tensors of a graph, or of a function (which has no initializers), and of the graphs inside."""
    yield from getattr(graph, "initializer", ())
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)

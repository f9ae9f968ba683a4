import subprocess
import sys
from pathlib import Path

import pytest
import torch

from meddet import export
from meddet.openvino_run import compile_openvino, open_openvino


def test_openvino_finds_what_onnx_runtime_finds(small_bundle: Path) -> None:
    image = torch.rand(1, 3, 160, 136, generator=torch.Generator().manual_seed(0))
    path = small_bundle / "detector.onnx"
    for ours, theirs in zip(open_openvino(path)(image), export.open_onnx(path)(image), strict=True):
        assert ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, atol=0.01)


def test_a_second_image_leaves_the_first_ones_result_alone(small_bundle: Path) -> None:
    run = open_openvino(small_bundle / "detector.onnx")
    first = run(torch.zeros(1, 3, 160, 136))
    kept = [output.clone() for output in first]
    run(torch.ones(1, 3, 160, 136))
    assert all(torch.equal(output, copy) for output, copy in zip(first, kept, strict=True))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_float32_are_what_was_asked_for(small_bundle: Path, threads: int) -> None:
    path = small_bundle / "locator.onnx"
    model = compile_openvino(path, threads=threads)
    assert model.get_property("INFERENCE_NUM_THREADS") == threads
    assert model.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    options = export.onnx_session(path, threads=threads).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)


def test_what_is_not_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "detector.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"detector\.onnx: expected an ONNX file"):
        open_openvino(path)


def test_without_openvino_one_line_says_what_to_install(small_bundle: Path) -> None:
    hide = "import sys; sys.modules['openvino'] = None; from meddet import cli; sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", hide, "predict", "a.png", "--engine", "openvino", "--model", str(small_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    line = "error: engine openvino: expected OpenVINO to be installed (pip install 'meddet[openvino]'), found none\n"
    assert done.stderr == line

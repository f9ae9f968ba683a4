import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from meddet import bundle, export
from meddet.classes import CLASSES
from meddet.models.locator import Locator, LocatorSettings
from meddet.structures import Region


@pytest.fixture
def copy(small_bundle: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    for file in small_bundle.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def vouch(folder: Path, name: str) -> None:
    """Let the manifest name the file as it is now."""
    manifest = json.loads((folder / bundle.MANIFEST).read_text())
    manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / bundle.MANIFEST).write_text(json.dumps(manifest))


def test_the_folder_holds_its_files_and_nothing_else(small_bundle: Path) -> None:
    assert sorted(path.name for path in small_bundle.iterdir()) == sorted([*bundle.FILES, bundle.MANIFEST])
    assert list(small_bundle.parent.iterdir()) == [small_bundle]


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_all_engines_find_the_same_in_the_images_pixels(small_bundle: Path, engine: bundle.Engine) -> None:
    pixels = np.random.default_rng(1).random((90, 100), dtype=np.float32)
    by_torch, region = bundle.load_bundle(small_bundle).predict(pixels)
    by_onnx, onnx_region = bundle.load_bundle(small_bundle, engine=engine).predict(pixels)
    assert region == onnx_region
    assert len(by_torch.boxes) > 0
    assert torch.allclose(by_torch.boxes, by_onnx.boxes, atol=0.01)
    assert torch.allclose(by_torch.scores, by_onnx.scores, atol=1e-4)
    assert torch.equal(by_torch.labels, by_onnx.labels)
    assert by_torch.boxes.min() >= 0
    assert (by_torch.boxes[:, 2] <= 100).all()
    assert (by_torch.boxes[:, 3] <= 90).all()


def test_what_was_written_is_read(small_bundle: Path) -> None:
    loaded = bundle.load_bundle(small_bundle)
    assert loaded.config.input_size == (160, 136)
    assert loaded.config.locator == LocatorSettings(size=32, width=4, zoom=2.2, margin=1.4, aspect=0.85)
    assert loaded.operating_point == {"protrusion": 0.2, "non-protrusion": 0.3}
    assert loaded.data_md5 == "d41d8.dir"
    assert set(loaded.operating_point) == set(CLASSES)


@pytest.mark.parametrize("name", bundle.FILES)
def test_a_changed_file_is_refused_by_name(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(bytes(content))
    with pytest.raises(ValueError, match=rf"{name}.*changed"):
        bundle.load_bundle(copy)


@pytest.mark.parametrize("name", [*bundle.FILES, bundle.MANIFEST])
def test_a_missing_file_is_refused_by_name(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ValueError, match=name):
        bundle.load_bundle(copy)


def test_no_bundle_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere: expected the folder of a bundle"):
        bundle.load_bundle(tmp_path / "nowhere")


def test_an_export_that_differs_leaves_nothing_behind(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_small_bundle: Callable[..., object]
) -> None:
    """The exporter hands in the ONNX file of another detector, of the same shape."""

    def of_another(_: object, *, size: object, path: Path) -> None:
        assert size == (160, 136)
        path.write_bytes((small_bundle / "detector.onnx").read_bytes())

    monkeypatch.setattr(export, "export_detector", of_another)
    with pytest.raises(ValueError, match=r"detector.onnx: expected ONNX within"):
        write_small_bundle(tmp_path / "bundle", seed=1)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_agrees_with_itself_wherever_it_looks(small_bundle: Path) -> None:
    images = [torch.rand(1, 120, 100, generator=torch.Generator().manual_seed(3))]
    tolerance = bundle.Tolerance(box_px=0.05, score=0.001)
    parity = bundle.check_parity(small_bundle, images, tolerance=tolerance)
    assert parity.images == 1
    assert parity.box_px <= 0.05
    whole = bundle.check_parity(small_bundle, images, tolerance=tolerance, regions=[Region(0.0, 0.0, 102.0, 120.0)])
    assert whole != parity


@pytest.mark.parametrize("name", ["detector.onnx", "locator.onnx"])
def test_a_bundle_whose_export_disagrees_is_refused(
    copy: Path, tmp_path: Path, name: str, write_small_bundle: Callable[..., object]
) -> None:
    """One ONNX file is that of another training, and the manifest was made to fit."""
    write_small_bundle(tmp_path / "other", seed=1)
    (copy / name).write_bytes((tmp_path / "other" / name).read_bytes())
    vouch(copy, name)
    images = [torch.rand(1, 120, 100, generator=torch.Generator().manual_seed(3))]
    with pytest.raises(ValueError, match=rf"{name}: expected ONNX within 0.05 px and 0.001 of torch, got [0-9.]+ px"):
        bundle.check_parity(copy, images, tolerance=bundle.Tolerance(box_px=0.05, score=0.001))


def test_parity_that_is_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        export.require_parity(
            export.Parity(1, float("nan"), 0.0), box_tolerance_px=0.1, score_tolerance=0.1, name="x.onnx"
        )


def test_nan_in_any_image_is_a_difference() -> None:
    same, broken = torch.zeros(3, 4), torch.full((3, 4), torch.nan)
    scores = torch.zeros(3, 2)
    parity = export.largest_difference([(same, scores)] * 3, [(same, scores), (broken, scores), (same, scores)])
    assert np.isnan(parity.box_px)
    assert parity.score == 0


def test_parity_sees_a_difference() -> None:
    def shifted(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return image[0, 0, :4, :4] + 0.25, image[0, 0, :4, :2] - 0.5

    def plain(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return image[0, 0, :4, :4], image[0, 0, :4, :2]

    assert export.check_parity(plain, shifted, [torch.zeros(3, 4, 4)]) == export.Parity(1, 0.25, 0.5)


def test_onnx_is_the_same_twice_and_names_no_place(small_bundle: Path, tmp_path: Path) -> None:
    locator = Locator(4).eval()
    for name in ("first.onnx", "second.onnx"):
        export.export_locator(locator, size=32, path=tmp_path / name)
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    for content in ((tmp_path / "first.onnx").read_bytes(), (small_bundle / "detector.onnx").read_bytes()):
        assert b"site-packages" not in content
        assert b'File "' not in content
        assert str(Path(export.__file__).parents[1]).encode() not in content


def test_onnx_with_data_outside_itself_is_refused(copy: Path) -> None:
    model = onnx.load(copy / "locator.onnx")
    onnx.save(model, copy / "locator.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(ValueError, match=r"locator.onnx: expected all weights inside"):
        export.open_onnx(copy / "locator.onnx")


def test_what_is_not_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "detector.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"detector.onnx: expected"):
        export.open_onnx(path)


def test_weights_of_another_network_are_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["arguments"]["channels"] = 64
    (copy / "config.json").write_text(json.dumps(config))
    vouch(copy, "config.json")
    with pytest.raises(ValueError, match=r"detector.safetensors: expected the weights"):
        bundle.load_bundle(copy)


def test_the_fingerprint_sees_names_and_contents(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "meddet").mkdir(parents=True)
        (tmp_path / name / "meddet" / "x.py").write_text("1")
    first, second = (bundle.code_fingerprint(tmp_path / name / "meddet") for name in ("a", "b"))
    assert first == second
    (tmp_path / "b" / "meddet" / "x.py").rename(tmp_path / "b" / "meddet" / "y.py")
    assert bundle.code_fingerprint(tmp_path / "b" / "meddet") != first


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("calibration", {}, "detection"),
        ("conformal", {"alpha": 0.1}, "threshold"),
        ("levels", {"mean": [0.5] * 12, "covariance": [[0.0] * 12] * 12, "images": 3}, "covariance of twelve"),
        ("levels", {"mean": [0.5] * 4, "covariance": [[1.0]], "images": 3}, "covariance of twelve"),
    ],
)
def test_a_reading_that_is_none_is_refused_by_name(copy: Path, part: str, value: object, said: str) -> None:
    content = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(content | {part: value}))
    vouch(copy, "config.json")
    with pytest.raises(ValueError, match=rf"config.json: expected the configuration of a bundle.*{said}"):
        bundle.load_bundle(copy)


def test_knots_that_fall_are_refused_by_name(copy: Path) -> None:
    content = json.loads((copy / "config.json").read_text())
    content["calibration"]["disc"]["value"] = [0.9, 0.1]
    (copy / "config.json").write_text(json.dumps(content))
    vouch(copy, "config.json")
    with pytest.raises(ValueError, match=r"config.json: .*expected as many rising values as rising scores, got 2"):
        bundle.load_bundle(copy)


def test_without_a_level_prior_nothing_is_named(
    small_bundle: Path, tmp_path: Path, write_small_bundle: Callable[..., object]
) -> None:
    config = dataclasses.replace(bundle.load_bundle(small_bundle).config, levels=None)
    write_small_bundle(tmp_path / "bundle", config=config)
    loaded = bundle.load_bundle(tmp_path / "bundle")
    assert loaded.config == config
    found, region = loaded.predict(np.random.default_rng(1).random((90, 100), dtype=np.float32))
    assert loaded.name(found, region) == ("",) * len(found.boxes)
    assert len(found.boxes) > 0


def test_config_is_plain_data(small_bundle: Path) -> None:
    config = bundle.load_bundle(small_bundle).config
    written = json.loads((small_bundle / "config.json").read_text())
    assert {key: written[key] for key in dataclasses.asdict(config)} == json.loads(
        json.dumps(dataclasses.asdict(config))
    )


def test_the_manifest_says_what_it_was_made_from(small_bundle: Path) -> None:
    manifest = json.loads((small_bundle / "manifest.json").read_text())
    assert (manifest["data_md5"], manifest["code_sha256"]) == ("d41d8.dir", "abc")
    assert set(manifest["files"]) == set(bundle.FILES)
    assert "torch" in manifest["versions"]

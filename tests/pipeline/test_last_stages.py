"""package, evaluate, benchmark and robustness on the outputs of a training that never was: small random networks."""

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
import yaml

from meddet import cli
from meddet.bundle import load_bundle
from meddet.classes import CLASSES, LEVELS
from meddet.config import Params, load_params
from meddet.contender import Artefact, open_network
from meddet.data.images import write_canonical
from meddet.data.table import write_table
from meddet.data.transforms import prepare
from meddet.evaluate.coco import detection_numbers
from meddet.evaluate.corruptions import CORRUPTIONS
from meddet.evaluate.matching import above, without_class
from meddet.evaluate.robustness import METRICS
from meddet.evaluate.scored import read_models
from meddet.files import read_json, write_json
from meddet.inference import in_image
from meddet.models.detector import Detector, build_detector, save_detector
from meddet.models.locator import Locator, LocatorSettings, locate, points_of, save_locator
from meddet.postprocess import detect
from meddet.structures import Detections, Region
from pipeline import _contenders, benchmark, evaluate, package, robustness
from pipeline._training import load_part_images

ROOT = Path(__file__).parents[2]
SIZE = (160, 136)
SETTINGS = LocatorSettings(size=32, width=4, zoom=2.2, margin=1.4, aspect=SIZE[1] / SIZE[0])
PARTS = {"train": ["a"], "validation": ["b"], "test": ["c", "d"]}


def small_params() -> dict:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["teachers"] = ["resnet50"]
    params["view"] |= {"height": SIZE[0], "width": SIZE[1]}
    params["model"]["channels"] = 32
    params["evaluate"]["gallery_images"] = 2
    params["robustness"] = {"images": "all", "severities": [5], "seed": 0}
    params["benchmark"] |= {"warmup": 1, "repetitions": 2, "one_thread_repetitions": 1, "threads": 1}
    params["benchmark"] |= {"parity_images": 2, "bfloat16_ap_tolerance": 1.0}
    return params


def detector(backbone: str, seed: int, folder: Path) -> Detector:
    torch.manual_seed(seed)
    arguments = {"backbone": backbone, "channels": 32, "num_classes": 2, "ode": "nmode2", "solver": "fast"}
    arguments |= {"ode_steps": 4}
    model = build_detector(**arguments).eval()
    model.head.set_initial_size(24.0, 12.0)
    torch.nn.init.normal_(model.head.cls.weight, std=0.3)
    save_detector(folder, model, arguments=arguments, input_size=SIZE)
    return model


def dataset(folder: Path, student: Detector) -> None:
    """Random images on which the discs are where the untrained student happens to see some."""
    random = np.random.default_rng(0)
    images, annotations, regions = [], [], {}
    locator = Locator(SETTINGS.width).eval()
    save_locator(folder / "locate", locator, SETTINGS)
    for image_id, patient in enumerate(["a", "a", "b", "b", "c", "c", "d"], start=1):
        pixels = random.random((120, 100), dtype=np.float32)
        write_canonical(folder / "images" / f"{image_id:06d}.png", pixels)
        size = {"width": 100, "height": 120, "spacing_mm": None}
        images.append({"id": image_id, "file_name": f"{image_id:06d}.png", "patient_id": patient, **size})
        tensor = torch.from_numpy(pixels)[None]
        region = locate(points_of(locator), tensor, SETTINGS)
        regions[str(image_id)] = [region.x1, region.y1, region.x2, region.y2]
        for level, (box, label) in zip(LEVELS, seen(student, tensor, region), strict=True):
            x1, y1, x2, y2 = box
            shape = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": 1, "iscrowd": 0, "level": level}
            number = len(annotations) + 1
            annotations.append({"id": number, "image_id": image_id, "category_id": 1 + label, **shape})
    categories = [{"id": 1, "name": CLASSES[0]}, {"id": 2, "name": CLASSES[1]}]
    content = {"images": images, "annotations": annotations, "categories": categories, "info": {"data_md5": "0.dir"}}
    write_json(folder / "coco.json", content)
    write_json(folder / "regions.json", regions)
    write_json(folder / "split.json", PARTS)
    rows = [("a", 30, "F", "A", 1.5), ("b", 45, "M", "A", 1.5), ("c", 70, "F", "B", 3.0), ("d", 39, "M", "A", 1.5)]
    columns = ["patient_id", "age", "sex", "scanner", "field_strength_t"]
    write_table(folder / "tables", "patients", pd.DataFrame(rows, columns=columns))
    bright = [{"image_id": image["id"], "brightness": 0.5 if index else None} for index, image in enumerate(images)]
    write_table(folder / "tables", "images", pd.DataFrame(bright))
    reports = folder.parent / "reports"
    write_json(reports / "enrolment.json", {"scanned": 5, "enrolled": 4, "excluded": {"operated": 1, "quality": 0}})
    write_json(reports / "raters.json", {"raters": ["a"]})
    numbers = {part: {"patients": len(ids), "images": 2 * len(ids) - ids.count("d")} for part, ids in PARTS.items()}
    write_json(reports / "split.json", {"parts": numbers})


def seen(student: Detector, pixels: torch.Tensor, region: Region) -> list[tuple[list[float], int]]:
    """Six of the student's boxes, from the top; every third is a protrusion."""
    with torch.inference_mode():
        (found,) = detect(student(prepare(pixels, region, SIZE)[None]), input_size=SIZE)
    merged = without_class(found, nms_iou=0.1)
    boxes = in_image(merged, region, SIZE, image_size=(120, 100)).boxes[:12:2]
    boxes = boxes[boxes[:, 1].argsort()]
    return [(box, int(row % 3 > 0)) for row, box in enumerate(boxes.tolist())]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which package, evaluate, benchmark and robustness have run."""
    root = tmp_path_factory.mktemp("project")
    (root / "params.yaml").write_text(yaml.safe_dump(small_params()))
    artifacts = root / "artifacts"
    dataset(artifacts, detector("mobilenet_v2", 1, artifacts / "distill"))
    detector("mobilenet_v2", 2, artifacts / "baseline")
    detector("resnet50", 3, artifacts / "pretrain" / "resnet50")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        params = load_params(Path("params.yaml"))
        for stage in (package, evaluate, benchmark, robustness):
            stage.main(params)
    return root


def read(project: Path, name: str) -> dict:
    return json.loads((project / name).read_text())


def test_package_writes_a_bundle_whose_thresholds_it_reports(project: Path) -> None:
    report = read(project, "reports/package.json")
    thresholds = {name: point["threshold"] for name, point in report["operating_point"].items()}
    assert load_bundle(project / "artifacts/bundle").operating_point == thresholds
    assert report["onnx_against_torch"]["images"] == 2
    assert report["data_md5"] == "0.dir"
    card = (project / "artifacts/bundle/model_card.md").read_text()
    assert "must not be used for diagnosis" in card
    assert "| test | 2 | 3 | 1 F, 1 M; age median 54 (quartiles 47 and 62), 39 to 70; 1 at 1.5 T, 1 at 3 T |" in card
    assert "operated 1." in card


def test_evaluate_counts_what_its_numbers_rest_on(project: Path) -> None:
    report = read(project, "reports/evaluate.json")
    assert report["test"] == {"patients": 2, "images": 3, "discs": 18, "protrusions": 6}
    assert {"student", "baseline", "resnet50"} <= set(report)
    assert report["student"]["discs"]["n"] == 18
    assert report["student"]["class_agnostic"]["recall50"] > 0.5
    assert report["code_sha256"] == read(project, "artifacts/bundle/manifest.json")["code_sha256"]
    for name in ("pr.png", "gallery.png"):
        assert (project / "reports/evaluate" / name).read_bytes().startswith(b"\x89PNG")


def test_every_number_of_every_block_has_an_interval_and_what_it_rests_on(project: Path) -> None:
    report = read(project, "reports/evaluate.json")
    for name in ("student", "baseline", "resnet50"):
        model = report[name]
        blocks = [model[key] for key in ("operation", "detection", "froc", "errors", "calibration", "conformal")]
        blocks += [*model["levels"]["given_location"].values(), *model["levels"]["named"].values()]
        blocks += [model["levels"]["naming"], *model["patients"]["disc"].values(), model["patients"]["patient"]]
        blocks += model["prevalence"].values()
        assert len(blocks) == 32
        for block in blocks:
            assert block["metrics"].keys() == block["ci95"].keys()
            assert block["n"]["patients"] <= 2


def test_the_curves_end_in_the_reported_numbers(project: Path) -> None:
    report = read(project, "reports/evaluate.json")
    pr, froc, roc, bins = (
        pd.read_csv(project / f"reports/evaluate/{name}.csv") for name in ("pr", "froc", "roc", "reliability")
    )
    for name in ("student", "baseline", "resnet50"):
        curve = pr[(pr["model"] == name) & (pr["class"] == "any")]
        assert curve["precision"].mean() == pytest.approx(report[name]["detection"]["metrics"]["ap50.any"], abs=1e-5)
        at_one = froc[(froc["model"] == name) & (froc["class"] == "any") & (froc["fp_per_study"] == 1)]
        assert at_one["sensitivity"].item() == report[name]["froc"]["metrics"]["any.1"]
        discs = roc[(roc["model"] == name) & (roc["unit"] == "disc")]
        area = np.trapezoid(discs["tpr"], discs["fpr"])
        assert area == pytest.approx(report[name]["levels"]["given_location"]["all"]["metrics"]["auc"], abs=1e-4)
        assert {"disc raw", "disc calibrated"} <= set(bins[bins["model"] == name]["kind"])


def test_the_student_is_compared_with_every_other_model(project: Path) -> None:
    rows = read(project, "reports/evaluate.json")["comparisons"]
    assert {(row["model"], row["against"]) for row in rows} == {("student", "baseline"), ("student", "resnet50")}


def test_the_listed_detections_give_the_reported_numbers(project: Path) -> None:
    report = read(project, "reports/evaluate.json")
    for name, scored in read_models(project / "artifacts/evaluate/detections.json").items():
        assert scored.image_ids == (5, 6, 7)
        limits = {"score_threshold": 0.05, "nms_iou": 0.6}
        again = detection_numbers(scored.detections, scored.targets, classes=CLASSES, **limits)
        for key in ("ap50_coco", "ap50_voc", "recall50"):
            assert again[key] == pytest.approx(report[name][key], abs=1e-6)
        metrics = report[name]["operation"]["metrics"]
        assert metrics["ap50"] == report[name]["ap50_coco"]
        assert metrics["ap50.any"] == report[name]["class_agnostic"]["ap50_coco"]
        assert metrics["disc_auc"] == report[name]["discs"]["auc"]


def test_the_student_is_told_by_group_of_patients(project: Path) -> None:
    groups = read(project, "reports/evaluate.json")["subgroups"]
    assert {kind: set(members) for kind, members in groups.items()} == {
        "sex": {"F", "M"},
        "age": {"under 40", "60 and over"},
        "scanner": {"A", "B"},
        "field_strength": {"1.5 T", "3 T"},
        "level": set(LEVELS),
    }
    told = {"n": {"patients": 1, "images": 2, "discs": 12, "protrusions": 4}, "withheld": "fewer than 20 patients"}
    assert groups["sex"]["F"] == groups["age"]["60 and over"] == told


def test_the_command_writes_what_the_stage_writes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.chdir(project):
        assert cli.main(["evaluate", "artifacts/bundle", "--out", "again"]) == 0
    said = capsys.readouterr().out
    assert "2 patients, 3 images, 18 discs, 6 protrusions" in said
    assert "Research use only" in said
    again, stage = read(project, "again/evaluate.json"), read(project, "reports/evaluate.json")
    assert again["student"] == stage["student"]
    assert again["test_md5"] == stage["test_md5"]
    assert read_models(project / "again/detections.json").keys() == {"student"}


def test_the_command_says_what_is_missing_in_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "no-such-bundle", "--out", "never"]
    with contextlib.chdir(project):
        assert cli.main(arguments) == 2
        assert cli.main([*arguments, "--tables", "nowhere"]) == 2
        assert not Path("never").exists()
    first, second = capsys.readouterr().err.strip().splitlines()
    assert first == "error: no-such-bundle: expected the folder of a bundle, found none"
    assert second.startswith("error: nowhere/patients.csv: expected a table of ingest, found none")


def test_the_student_is_scored_at_the_bundles_thresholds(project: Path) -> None:
    listing, report = read(project, "artifacts/evaluate/detections.json"), read(project, "reports/evaluate.json")
    thresholds = load_bundle(project / "artifacts/bundle").operating_point
    for name in CLASSES:
        point = report["student"]["at_operating_point"][name]
        assert point["threshold"] == pytest.approx(thresholds[name], abs=1e-6)
        rows = [
            row
            for image in listing["models"]["student"]["images"]
            for row in image["detections"]
            if row["label"] == name
        ]
        assert point["precision"] == "undefined (n=0)" or any(row["score"] > thresholds[name] for row in rows)


def test_benchmark_measures_everyone_in_every_engine(project: Path) -> None:
    report = read(project, "reports/benchmark.json")
    assert set(report["models"]) == {"student", "resnet50"}
    always = {"torch", "onnxruntime", "openvino"}
    latencies = [model[key] for model in report["models"].values() for key in ("latency", "latency_one_thread")]
    for latency in [*latencies, report["locator"]["latency"]]:
        assert always <= set(latency)
        assert all(0 < timing["p50_ms"] <= timing["p95_ms"] for timing in latency.values())
        assert all(timing["images_per_second"] > 0 for timing in latency.values())
    for name, model in report["models"].items():
        started = always if name == "student" else {"onnxruntime"}
        assert set(model["cold_start_s"]) == set(model["peak_memory_mb"]) == started
        assert {"onnxruntime", "openvino"} <= set(model["parity"])
        assert all(parity["images"] == 2 for parity in model["parity"].values()), name
        assert model["parity"]["openvino"]["box_px"] < 0.05
    assert set(report["notes"]) >= {"latency", "parity", "cold_start_s", "torch-bf16"}


def test_an_onnx_file_that_computes_something_else_ends_benchmark_with_its_engine(
    project: Path, tmp_path: Path
) -> None:
    params = Params.model_validate(small_params())
    shutil.copytree(project / "artifacts", tmp_path / "artifacts")
    path = tmp_path / "artifacts/bundle/detector.onnx"
    model = onnx.load(path)
    weights = next(each for each in model.graph.initializer if each.name == "detector.head.cls.weight")
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * 1.5, weights.name))
    onnx.save(model, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        artefact = Artefact(Path("artifacts/distill"), Path("artifacts/bundle/detector.onnx"))
        networks = {engine: open_network(engine, artefact, threads=1) for engine in ("torch", "openvino")}
        with pytest.raises(ValueError, match=r"student in openvino: expected ONNX within 0.05 px and 0.001 of") as e:
            _contenders.agreements("student", networks, load_part_images("test"), SIZE, params)
    assert "\n" not in str(e.value)


def test_the_student_is_compared_with_the_smallest_teacher_in_the_same_engine(project: Path) -> None:
    report = read(project, "reports/benchmark.json")
    against = report["student_against_smallest_teacher"]
    assert against["teacher"] == "resnet50"
    student, teacher = report["models"]["student"]["parameters"], report["models"]["resnet50"]["parameters"]
    assert against["parameters_saved_percent"] == pytest.approx(100 * (1 - student / teacher), abs=0.001)
    assert report["paper"]["speedup"] == 5.08


def test_robustness_tells_every_model_on_every_fault(project: Path) -> None:
    report = read(project, "reports/robustness.json")
    assert report["sample"] == {
        "image_ids": [5, 6, 7],
        "n": {"patients": 2, "images": 3, "discs": 18, "protrusions": 6},
        "severities": [5],
        "corruptions": list(CORRUPTIONS),
        "stated": "3 of 3 test images, of 2 patients; severities 5",
    }
    assert set(report["models"]) == {"student", "baseline", "resnet50"}
    for model in report["models"].values():
        for block in ("clean", "mpc", "rpc"):
            assert set(model[block]["metrics"]) == set(model[block]["ci95"]) == set(METRICS)
            assert model[block]["n"] == report["sample"]["n"]
        assert set(model["corruptions"]) == set(CORRUPTIONS)
        assert all(set(cells) == {"5"} for cells in model["corruptions"].values())
    assert set(report["comparison"]) == {"student - baseline", "student - resnet50"}
    assert set(report["located"]) == {"clean", *CORRUPTIONS}


def test_robustness_on_clean_images_is_what_evaluate_says(project: Path) -> None:
    report, evaluated = read(project, "reports/robustness.json"), read(project, "reports/evaluate.json")
    clean = report["models"]["student"]["clean"]["metrics"]
    told = evaluated["student"]["operation"]["metrics"]
    assert clean == {metric: pytest.approx(told[metric], abs=1e-4) for metric in METRICS}
    assert clean["ap50.any"] > 0
    assert (report["test_md5"], report["data_md5"]) == (evaluated["test_md5"], evaluated["data_md5"])


def test_the_table_of_robustness_says_what_its_report_says(project: Path) -> None:
    table, models = (
        pd.read_csv(project / "reports/robustness/curves.csv"),
        read(project, "reports/robustness.json")["models"],
    )
    assert len(table) == len(models) * len(CORRUPTIONS) * 2
    for row in table.to_dict("records"):
        model = models[row["model"]]
        told = model["corruptions"][row["corruption"]]["5"] if row["severity"] else model["clean"]["metrics"]
        assert row["ap50_any"] == pytest.approx(told["ap50.any"], abs=1e-6)


def test_a_second_robustness_gives_the_same_bytes(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "artifacts").symlink_to(project / "artifacts")
    monkeypatch.chdir(tmp_path)
    robustness.main(load_params(project / "params.yaml"))
    for path in (
        "robustness.json",
        *(f"robustness/{name}" for name in ("curves.csv", "robustness.png", "examples.png")),
    ):
        assert (tmp_path / "reports" / path).read_bytes() == (project / "reports" / path).read_bytes()


def test_fault_35_robustness_of_a_sample_without_discs_is_undefined(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "artifacts").mkdir()
    for path in (project / "artifacts").iterdir():
        (tmp_path / "artifacts" / path.name).symlink_to(path)
    content = read_json(project / "artifacts/coco.json")
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] < 5]
    (tmp_path / "artifacts/coco.json").unlink()
    write_json(tmp_path / "artifacts/coco.json", content)
    monkeypatch.chdir(tmp_path)
    params = small_params()
    params["robustness"] = {"images": 1, "severities": [1], "seed": 0}
    robustness.main(Params.model_validate(params))
    report = read(tmp_path, "reports/robustness.json")
    assert report["sample"]["stated"] == "1 of 3 test images, of 1 patient; severities 1"
    student, undefined = report["models"]["student"], dict.fromkeys(METRICS, "undefined (n=0)")
    assert (
        student["clean"]["metrics"] == student["mpc"]["metrics"] == student["corruptions"]["motion"]["1"] == undefined
    )
    assert pd.read_csv("reports/robustness/curves.csv")["ap50"].isna().all()


@pytest.mark.parametrize("severities", [[], [0], [6], [1, 1]])
def test_severities_that_make_no_sense_are_refused(severities: list[int]) -> None:
    params = small_params()
    params["robustness"]["severities"] = severities
    with pytest.raises(ValueError, match=r"robustness.severities|expected each once"):
        Params.model_validate(params)


def test_a_changed_bundle_ends_evaluate_with_its_name(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "artifacts", tmp_path / "artifacts")
    (tmp_path / "artifacts/bundle/detector.onnx").write_bytes(b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        with pytest.raises(ValueError, match=r"detector.onnx: expected the SHA-256"):
            evaluate.main(Params.model_validate(small_params()))


def test_above_is_more_than_the_threshold() -> None:
    each = Detections(torch.zeros(3, 4), torch.tensor([0.9, 0.5, 0.2]), torch.tensor([0, 1, 0]))
    assert above(each, 0.5).labels.tolist() == [0]

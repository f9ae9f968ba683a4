"""A project of a dozen patients whose truth is what one small random network calls: that network is the best."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch
import yaml

from meddet import bundle
from meddet.classes import CLASSES
from meddet.data.canonical import write_canonical
from meddet.data.coco import load_part
from meddet.data.images import read_canonical
from meddet.drift.reference import Rule, build_reference
from meddet.evaluate.calibration import UNCALIBRATED
from meddet.evaluate.conformal import Conformal
from meddet.evaluate.operating import call_discs
from meddet.evaluate.report import count_models, detect_bundled, evaluation_report
from meddet.evaluate.scored import read_models, write_scored
from meddet.files import write_json
from meddet.models.detector import build_detector
from meddet.models.locator import Locator, LocatorSettings
from meddet.structures import Region

ROOT = Path(__file__).parents[2]
DATA_MD5 = "d41d8.dir"
NUM_TEST, NUM_TRAIN = 12, 3
ARGUMENTS = {
    "backbone": "mobilenet_v2",
    "channels": 32,
    "num_classes": 2,
    "ode": "none",
    "solver": "fast",
    "ode_steps": 4,
}


def write_tiny_bundle(folder: Path) -> Path:
    """Write a small bundle with random weights that finds something in noise."""
    torch.manual_seed(0)
    detector = build_detector(**ARGUMENTS).eval()
    torch.nn.init.normal_(detector.head.cls.weight, std=0.3)
    detector.head.set_initial_size(16.0, 8.0)
    config = bundle.Config(
        arguments=ARGUMENTS,
        input_size=(96, 64),
        locator=LocatorSettings(size=32, width=4, zoom=2.2, margin=1.4, aspect=0.85),
        percentiles=(0.5, 99.9),
        max_pixels=10_000,
        score_threshold=0.05,
        nms_iou=0.6,
        max_detections=20,
        operating_point=dict.fromkeys(CLASSES, 0.2),
        calibration=UNCALIBRATED,
        levels=None,
        conformal=Conformal(0.1, None, 0),
    )
    bundle.write_bundle(
        folder / "bundle",
        detector=detector,
        locator=Locator(4).eval(),
        config=config,
        reference=build_reference({"train": [], "validation": []}, rule=Rule(40, 20, 0.001, 0.25, 5)),
        card="# MedDet\n",
        claims="# Checklist\n",
        data_md5=DATA_MD5,
        code="abc",
        images=[torch.rand(1, 80, 60)],
        regions=[Region(0.0, 0.0, 60.0, 80.0)],
        tolerance=bundle.Tolerance(box_px=0.05, score=0.001),
    )
    return folder / "bundle"


def vary(made: Path, folder: Path, *, card: str = "# Another\n", **config: object) -> Path:
    """Copy a bundle with another card, which is another hash, and with changes of its configuration."""
    other = Path(shutil.copytree(made, folder / "bundle"))
    (other / "model_card.md").write_text(card)
    write_json(other / "config.json", json.loads((other / "config.json").read_text()) | config)
    return vouch(other)


def vouch(made: Path) -> Path:
    """Let the manifest name the files as they are now."""
    manifest = json.loads((made / bundle.MANIFEST).read_text())
    manifest["files"] = {name: hashlib.sha256((made / name).read_bytes()).hexdigest() for name in manifest["files"]}
    write_json(made / bundle.MANIFEST, manifest)
    return made


def write_project(folder: Path, best: Path) -> Path:
    """Write images, tables, split and annotations (what the bundle `best` calls), and the tiny protocol."""
    artifacts = folder / "artifacts"
    (artifacts / "images").mkdir(parents=True)
    (artifacts / "tables").mkdir()
    random = np.random.default_rng(0)
    loaded = bundle.load_bundle(best)
    patients = [f"{number:012x}" for number in range(NUM_TEST + NUM_TRAIN)]
    images, boxes = [], []
    for image_id, patient in enumerate(patients, 1):
        path = artifacts / "images" / f"{image_id}.png"
        write_canonical(path, random.random((90, 70), dtype=np.float32))
        image = {"id": image_id, "file_name": path.name, "patient_id": patient, "width": 70, "height": 90}
        images.append({**image, "spacing_mm": None})
        called = call_discs(loaded.predict(read_canonical(path))[0], loaded.operating_point, nms_iou=0.6)
        for (x1, y1, x2, y2), label in zip(called.boxes.tolist(), called.labels.tolist(), strict=True):
            box = {"image_id": image_id, "category_id": label + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            boxes.append({"id": len(boxes) + 1, "level": "C4/5", **box})
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
    coco = {"images": images, "annotations": boxes, "categories": categories, "info": {"data_md5": DATA_MD5}}
    write_json(artifacts / "coco.json", coco)
    split = {"test": patients[:NUM_TEST], "train": patients[NUM_TEST:], "validation": []}
    write_json(artifacts / "split.json", split)
    rows = [f"{patient},{30 + 5 * n},{'FM'[n % 2]},Phantom A,1.5" for n, patient in enumerate(patients)]
    header = "patient_id,age,sex,scanner,field_strength_t"
    (artifacts / "tables" / "patients.csv").write_text("\n".join([header, *rows]) + "\n")
    write_protocol(folder / "promotion.yaml")
    return folder


def write_protocol(path: Path, **comparison: object) -> None:
    """Write the project's own protocol with floors that the best network reaches, for a dozen patients."""
    content = yaml.safe_load((ROOT / "promotion.yaml").read_text())
    content["floors"] |= {"latency_p50_ms": 5000.0, "latency_ratio": 20.0, "disc_auc": 0.3}
    content["comparison"] |= {"min_patients": 10, "resamples": 200} | comparison
    content["groups"]["min_patients"] = 6
    content["latency"] = {"images": 1, "warmup": 1, "rounds": 3}
    path.write_text(yaml.safe_dump(content))


def write_evaluation(project: Path, made: Path, folder: Path) -> list[Path]:
    """Evaluate a bundle on the project's test part, as the stage does; give the files that go with its version."""
    folder.mkdir(exist_ok=True)
    artifacts = project / "artifacts"
    test, train = (load_part(artifacts / "coco.json", artifacts / "split.json", part) for part in ("test", "train"))
    images = (read_canonical(artifacts / "images" / sample.file_name) for sample in test)
    found = detect_bundled(bundle.load_bundle(made), images)
    groups = {sample.patient_id: {"sex": "FM"[sample.image_id % 2], "age": "40-59"} for sample in test}
    path = folder / "detections.json"
    write_scored(path, {"student": found}, test, images=artifacts / "images", groups=groups, data_md5=DATA_MD5)
    write_json(
        folder / "evaluate.json", evaluation_report(count_models(read_models(path)), train=train, code_sha256="abc")
    )
    (folder / "split.json").write_text((artifacts / "split.json").read_text())
    return [folder / name for name in ("detections.json", "evaluate.json", "split.json")]


def read_decision(project: Path, name: str) -> dict:
    """Read promotions/NAME.json."""
    return json.loads((project / "promotions" / f"{name}.json").read_text())

"""The command that tests a bundle on the test part of any split: `meddet evaluate`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

_EPILOG = """examples:
  meddet evaluate artifacts/bundle --out again
  meddet evaluate models:/meddet@champion --split new/split.json --out champion-on-new

Written are detections.json (what was found, with hashed patient ids) and evaluate.json (the numbers, with 95 %
intervals by patient), by the same functions as the stage `evaluate`. Two such files of one test part can be compared.
Research use only. Not for diagnosis. Phantom scores are not clinical scores."""


def add_evaluate_command(commands: Any, resolve: Callable[[str], Path]) -> None:
    """Register the command; `resolve` turns the model's name into a folder."""
    evaluate = commands.add_parser(
        "evaluate",
        help="test a bundle on the test part of a split",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument("model", metavar="MODEL", help="a bundle's folder, or models:/NAME@ALIAS")
    evaluate.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the two files")
    inputs = {
        "coco": ("artifacts/coco.json", "FILE", "annotations, as ingest writes them"),
        "split": ("artifacts/split.json", "FILE", "patients of each part"),
        "images": ("artifacts/images", "DIR", "canonical images"),
        "tables": ("artifacts/tables", "DIR", "tables of ingest, for the groups of patients"),
    }
    for name, (default, metavar, text) in inputs.items():
        evaluate.add_argument(
            f"--{name}", type=Path, default=Path(default), metavar=metavar, help=f"{text}; default: {default}"
        )
    evaluate.set_defaults(command=lambda options: _evaluate(options, resolve))


def _evaluate(options: argparse.Namespace, resolve: Callable[[str], Path]) -> int:
    from tqdm import tqdm

    from meddet.bundle import load_bundle
    from meddet.data.coco import load_part, read_coco
    from meddet.data.images import read_canonical
    from meddet.data.table import read_table
    from meddet.evaluate.groups import patient_groups
    from meddet.evaluate.report import STUDENT, count_models, detect_bundled, evaluation_report
    from meddet.evaluate.scored import read_models, write_scored
    from meddet.files import read_json, write_json
    from meddet.predict import NOTICE

    test, train = (load_part(options.coco, options.split, part) for part in ("test", "train"))
    groups = patient_groups(read_table(options.tables, "patients"))
    folder = resolve(options.model)
    bundle = load_bundle(folder)
    bar = tqdm(test, desc="evaluate", unit="image", mininterval=1, dynamic_ncols=True)
    found = detect_bundled(bundle, (read_canonical(options.images / sample.file_name) for sample in bar))
    listing, numbers = options.out / "detections.json", options.out / "evaluate.json"
    data_md5 = read_coco(options.coco).data_md5
    write_scored(listing, {STUDENT: found}, test, images=options.images, groups=groups, data_md5=data_md5)
    code = str(read_json(folder / "manifest.json").get("code_sha256"))
    report = evaluation_report(count_models(read_models(listing)), train=train, code_sha256=code)
    write_json(numbers, report)
    operation = report[STUDENT]["operation"]
    for name, value in operation["metrics"].items():
        print(f"{name:<42}{_text(value)}  95 % {' to '.join(map(_text, operation['ci95'][name]))}")
    print(", ".join(f"{count} {what}" for what, count in operation["n"].items()))
    print(f"{listing} and {numbers}; test part {report['test_md5']}")
    print(NOTICE)
    return 0


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"

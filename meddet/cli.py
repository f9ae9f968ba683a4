"""The command line. It starts fast: a command imports what it needs when it runs."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from meddet.cli_data import add_data_commands
from meddet.cli_drift import add_drift_command
from meddet.cli_evaluate import add_evaluate_command

_PRESETS = ("tiny", "quick", "full")
_MODES = ("default", "diverse", "easy", "stress")
_BAD_INPUT = 2
_BAD_FILE = 3
_MODELS = "models:/"
_EPILOG = """examples:
  meddet phantom --preset quick --out data      write the synthetic data set
  meddet import studies/ --annotations boxes.json
  meddet export --format yolo --out labels
  meddet cost --json                            parameters and operations of student and teachers
  meddet predict scan.dcm                       boxes of one image with artifacts/bundle
  meddet predict volume.nii.gz --out found      the mid-sagittal slices of a volume
  meddet predict *.png --model models:/meddet@challenger
  meddet evaluate models:/meddet@champion --out again   every number of the test part

Research use only. Not for diagnosis. Phantom scores are not clinical scores."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 done, 2 wrong input, 3 some files could not be read, 4 none was meant."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return _BAD_INPUT
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meddet",
        description="Detect cervical discs and their protrusions on sagittal T2 MRI. Research use only.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    phantom = commands.add_parser("phantom", help="write the synthetic data set")
    phantom.add_argument("--preset", choices=_PRESETS, required=True, help="how many patients")
    phantom.add_argument("--out", type=Path, metavar="DIR", help="folder to write, absent or empty")
    phantom.add_argument("--sheet", type=Path, metavar="PNG", help="contact sheet of 25 patients, instead or as well")
    phantom.add_argument("--mode", choices=_MODES, help="every patient of one mode, instead of the preset's mix")
    phantom.add_argument("--raters", type=int, metavar="N", help="every patient read by N raters (a, b, ...)")
    phantom.set_defaults(command=_phantom)
    cost = commands.add_parser("cost", help="count parameters and operations of student and teachers")
    cost.add_argument("--json", action="store_true", help="print JSON instead of a table")
    cost.add_argument("--size", type=_side, nargs=2, default=(512, 512), metavar=("HEIGHT", "WIDTH"), help="input size")
    cost.set_defaults(command=_cost)
    predict = commands.add_parser("predict", help="detect discs on files: one JSON per file, one PNG per image")
    predict.add_argument("files", type=Path, nargs="+", metavar="FILE", help="DICOM, NIfTI, grey PNG or TIFF")
    predict.add_argument(
        "--model", default="artifacts/bundle", metavar="MODEL", help="a bundle's folder, or models:/NAME@ALIAS"
    )
    predict.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help="default: predictions")
    predict.add_argument(
        "--threshold", type=_fraction, metavar="SCORE", help="least score shown, instead of the bundle's own"
    )
    predict.add_argument(
        "--engine", choices=("torch", "onnx", "openvino"), default="torch", help="default: torch; all find the same"
    )
    predict.set_defaults(command=_predict)
    add_data_commands(commands)
    add_evaluate_command(commands, _resolve)
    add_drift_command(commands, _resolve)
    return parser


def _phantom(options: argparse.Namespace) -> int:
    from meddet.files import write_atomic
    from meddet.phantom.presets import PRESETS
    from meddet.phantom.sheet import contact_sheet
    from meddet.phantom.writer import write_dataset

    if options.out is None and options.sheet is None:
        raise ValueError("phantom: expected --out DIR, --sheet PNG or both, got neither")
    preset = PRESETS[options.preset]
    if options.mode is not None:
        preset = preset.only(options.mode)
    if options.raters is not None:
        preset = preset.read_by(options.raters)
    if options.sheet is not None:
        write_atomic(options.sheet, contact_sheet(preset))
    if options.out is not None:
        write_dataset(preset, options.out)
    for path in filter(None, (options.sheet, options.out)):
        print(f"{path}: synthetic images of the {options.preset} preset; scores on them are not clinical scores")
    return 0


def _cost(options: argparse.Namespace) -> int:
    from meddet.cost import cost_table

    height, width = options.size
    rows = cost_table(channels=256, num_classes=2, size=(height, width))
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(f"{'network':<12}{'parameters':>14}{'GMAC':>10}{'GFLOPs':>10}")
    for row in rows:
        print(f"{row['name']:<12}{row['parameters']:>14,}{row['gmac']:>10.2f}{row['gflops_mmcv']:>10.2f}")
    print(f"at {height} x {width} pixels; GFLOPs as mmcv 1.x counts them (the paper's column)")
    return 0


def _predict(options: argparse.Namespace) -> int:
    from meddet.bundle import load_bundle
    from meddet.predict import NOTICE, predict_files

    bundle = load_bundle(_resolve(options.model), engine=options.engine)
    thresholds = dict(bundle.operating_point)
    if options.threshold is not None:
        thresholds = dict.fromkeys(thresholds, options.threshold)
    code = 0
    for outcome in predict_files(bundle, options.files, out=options.out, thresholds=thresholds):
        if outcome.error is None:
            print(f"{outcome.source}: {outcome.num_boxes} boxes -> {', '.join(map(str, outcome.written))}")
        else:
            print(f"error: {outcome.error}", file=sys.stderr)
            code = _BAD_FILE
    print(NOTICE)
    return code


def _resolve(model: str) -> Path:
    """Turn a folder or an address of the MLflow registry into the bundle's folder.

    Errors:
        ValueError: the registry has no such model, or it holds no bundle.
    """
    if not model.startswith(_MODELS):
        return Path(model)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow
    except ModuleNotFoundError:
        raise ValueError(f"{model}: expected MLflow to be installed (pip install mlflow), found none") from None
    try:
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=model))
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise ValueError(f"{model}: expected a registered model, got {' '.join(str(error).split())[:200]}") from None
    manifests = sorted(folder.rglob("manifest.json"))
    if len(manifests) != 1:
        raise ValueError(f"{model}: expected one bundle in it, got {len(manifests)}")
    return manifests[0].parent


def _side(text: str) -> int:
    value = int(text)
    if value < 32:
        raise argparse.ArgumentTypeError(f"expected at least 32 pixels, got {text}")
    return value


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a score from 0 to 1, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())

"""The command that watches for drift: `meddet drift`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddet.drift.watch import Report

_BAD_FILE = 3
_DRIFT = 7
_EPILOG = """examples:
  meddet drift --inbox inbox --state watch      each folder or file in it is a study
  meddet drift scan.dcm --state watch --model models:/meddet@champion
  meddet drift --state watch                    the verdict again, nothing new
  meddet drift new/* --state watch --reset      forget the studies counted so far, begin with these

Each study adds one row of numbers: how its images look, and what the model says. The newest studies are compared with
those that the model was made from (reference.json of the bundle): PSI, and the p of the Kolmogorov-Smirnov test times
the number of features. Files of one folder are one study, DICOM files of one StudyInstanceUID too; a file that was
counted is not counted again. In --state lie state.json, drift.json (the verdict) and drift.png: numbers, and salted
digests of the files; no pixels, names or days.

exit codes: 0 no drift, 2 wrong usage or state, 3 some files could not be read (and no drift), 7 drift
Research use only. Not for diagnosis. Phantom scores are not clinical scores."""


def add_drift_command(commands: Any, resolve: Callable[[str], Path]) -> None:
    """Register the command; `resolve` turns the model's name into a folder."""
    drift = commands.add_parser(
        "drift",
        help="say whether new studies still look like those that the model was made from",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    drift.add_argument(
        "sources", type=Path, nargs="*", metavar="FILE", help="DICOM, NIfTI, grey PNG or TIFF, or the folder of a study"
    )
    drift.add_argument("--inbox", type=Path, metavar="DIR", help="each folder or file in DIR is a study")
    drift.add_argument("--state", type=Path, required=True, metavar="DIR", help="what the monitor remembers")
    drift.add_argument(
        "--model",
        default="artifacts/bundle",
        metavar="MODEL",
        help="a bundle's folder, or models:/NAME@ALIAS; default: artifacts/bundle",
    )
    drift.add_argument("--reset", action="store_true", help="forget the studies that were counted before")
    drift.set_defaults(command=lambda options: _drift(options, resolve))


def _drift(options: argparse.Namespace, resolve: Callable[[str], Path]) -> int:
    from meddet.bundle import load_bundle
    from meddet.drift.watch import PICTURE, watch
    from meddet.predict import NOTICE

    sources = [*options.sources, *(_in(options.inbox) if options.inbox else ())]
    bundle = load_bundle(resolve(options.model))
    report = watch(
        bundle, sources, options.state, reset=options.reset, notice=NOTICE,
        refused=lambda reason: print(f"error: {reason}", file=sys.stderr),
    )  # fmt: skip
    _show(report)
    print(f"picture: {options.state / PICTURE}")
    print(NOTICE)
    if report.standing:
        return _DRIFT
    return _BAD_FILE if report.errors else 0


def _in(inbox: Path) -> list[Path]:
    """List what lies in a folder, without links and hidden files."""
    if not inbox.is_dir():
        raise ValueError(f"{inbox}: expected the folder of new studies, found none")
    return sorted(path for path in inbox.iterdir() if not path.name.startswith(".") and not path.is_symlink())


def _show(report: "Report") -> None:
    from meddet.drift.features import FEATURES

    if report.other_reference:
        print("another reference than before: the studies counted so far are forgotten, counting begins anew")
    known = f", {report.known_files} files were counted before" if report.known_files else ""
    print(f"{report.new_studies} new studies{known}; the newest {report.compared} of {report.studies} are compared")
    print(f"{'feature':<28}{'reference':>12}{'newest':>12}{'PSI':>8}{'KS p':>10}  verdict")
    for each in report.comparisons:
        feature = FEATURES[each.name]
        cells = (_cell(each.reference_median), _cell(each.median), _cell(each.psi), _cell(each.p_value))
        verdict = each.note or ("DRIFT" if each.drifted else "as usual")
        usual, newest, psi, p_value = cells
        print(f"{feature.title:<28}{usual:>12}{newest:>12}{psi:>8}{p_value:>10}  {verdict} ({feature.unit})")
    for alarm in report.new_alarms:
        names = ", ".join(FEATURES[name].title for name in alarm.features)
        print(f"alarm {alarm.number} began with study {alarm.study}: {names}")
    if report.standing:
        print("verdict: DRIFT; the newest studies are not what the model was made from")
    elif all(each.note for each in report.comparisons):
        print("verdict: none yet; there is nothing to compare")
    else:
        print("verdict: no drift")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"

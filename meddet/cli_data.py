"""The commands that bring data in and out: `meddet import` and `meddet export`."""

import argparse
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

_FORMATS = ("coco", "yolo", "voc", "cvat", "labelme", "slicer")
_EXPORTS = ("coco", "yolo", "cvat")
_BAD_FILE = 3
_OUTSIDE = 4
_MOST_LINES = 20
_IMPORT_EPILOG = """examples:
  meddet import studies/ --annotations boxes.json                   DICOM folders and a COCO file
  meddet import studies/ --annotations labels/ --patients who.csv   YOLO labels, and a table of patients
  meddet import studies/                                            no boxes: three mid-sagittal slices of each study

Of each study the sagittal T2 series of the cervical spine is chosen; anything else is refused as outside the
intended use. Written are data/images (16-bit PNG, pixels only), annotations.json, patients.csv and import.json, which
says what became of every file. Patients get new names. Beside data/ stand, for you alone and never to be shared:
  data.key         the key of the new names; the same key gives the same names
  data.files.csv   which file has which number in the messages, and what is wrong with it
Class names are translated (herniation, CDH, normal, ...); for others: --classes bulge=protrusion,vertebra=ignore.

--patients is a table with the column patient_id (the old name, or the folder's) and any of age, sex, scanner,
field_strength_t, quality_ok, complete, operated; a column `file` tells whose picture a PNG or NIfTI file is.

exit codes: 0 clean, 2 wrong usage, 3 some files or annotations failed, 4 everything is outside the intended use
Research use only."""


def add_data_commands(commands: Any) -> None:
    """Register the two commands."""
    bring = commands.add_parser(
        "import",
        help="bring DICOM, NIfTI, PNG or TIFF files and their annotations into a data folder",
        epilog=_IMPORT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bring.add_argument("sources", type=Path, nargs="+", metavar="SOURCE", help="folders or files of images")
    bring.add_argument("--annotations", type=Path, metavar="PATH", help="a file or folder of boxes")
    bring.add_argument(
        "--rater",
        type=_rater,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="boxes of one of several raters, repeatable; the name goes into the data, so give a letter",
    )
    bring.add_argument("--format", choices=_FORMATS, help="of the annotations; default: recognised")
    bring.add_argument("--classes", default="", metavar="OLD=NEW,...", help="other names of the classes")
    bring.add_argument("--patients", type=Path, metavar="CSV", help="what the tags don't tell; see below")
    bring.add_argument("--out", type=Path, default=Path("data"), metavar="DIR", help="absent or empty; default: data")
    bring.add_argument("--key", type=Path, metavar="FILE", help="key of the new names; default: DIR.key")
    bring.add_argument(
        "--identity",
        choices=("repair", "refuse"),
        default="repair",
        help="files whose tags may identify a person: leave the tags behind (repair, default), or refuse them",
    )
    bring.add_argument(
        "--slices", type=_positive, default=3, metavar="N", help="middle slices, if not annotated; default: 3"
    )
    bring.set_defaults(command=_import)
    export = commands.add_parser("export", help="write annotations as COCO, YOLO or CVAT")
    export.add_argument("--data", type=Path, default=Path("data"), metavar="PATH", help="data folder or COCO file")
    export.add_argument("--format", choices=_EXPORTS, required=True)
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="absent or empty")
    export.set_defaults(command=_export)


def _import(options: argparse.Namespace) -> int:
    from meddet.importing.bring import Options, import_studies
    from meddet.importing.labels import read_classes

    chosen = Options(
        out=options.out,
        annotations=options.annotations,
        raters=dict(options.rater),
        format=options.format,
        patients=options.patients,
        key=options.key,
        classes=read_classes(options.classes),
        identity=options.identity,
        slices=options.slices,
    )
    report = import_studies(options.sources, chosen)
    reasons = Counter((row.outcome, row.reason) for row in report.rows.values() if row.outcome != "brought")
    firsts = {(row.outcome, row.reason): number for number, row in sorted(report.rows.items(), reverse=True)}
    for (outcome, reason), count in reasons.most_common(_MOST_LINES):
        more = f" and {count - 1} more like it" if count > 1 else ""
        print(f"{outcome}: file {firsts[(outcome, reason)]}{more}: {reason}", file=sys.stderr)
    for defect in report.defects[:_MOST_LINES]:
        print(f"annotations: {defect}", file=sys.stderr)
    hidden = max(0, len(reasons) - _MOST_LINES) + max(0, len(report.defects) - _MOST_LINES)
    if hidden:
        print(f"... and {hidden} lines more: all of them are in the reports", file=sys.stderr)
    print("files: " + ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items() if count))
    print(f"the files by number: {chosen.table_path} (holds their paths: keep it to yourself)")
    if report.num_images:
        print(f"{options.out}: patients {report.num_patients}, images {report.num_images}, boxes {report.num_boxes}")
        print(f"enrolment flags: {report.flags}; key of the new names: {chosen.key_path} (keep it to yourself)")
    else:
        print("nothing was brought")
    return _code(report.counts, failed=bool(report.defects))


def _code(counts: dict[str, int], *, failed: bool) -> int:
    if failed or counts["failed"] or not (counts["brought"] or counts["outside the intended use"]):
        return _BAD_FILE
    return 0 if counts["brought"] else _OUTSIDE


def _export(options: argparse.Namespace) -> int:
    from meddet.importing.export import export_annotations

    images, boxes = export_annotations(options.data, options.out, options.format)
    print(f"{options.out}: {boxes} boxes on {images} images as {options.format}; the images stay where they are")
    return 0


def _rater(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not path:
        raise argparse.ArgumentTypeError(f"expected NAME=PATH with a name of letters and digits, got {text!r}")
    return name, Path(path)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return value

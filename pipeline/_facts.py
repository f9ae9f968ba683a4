"""What package knows for the card and the checklist, gathered from the stages before it."""

import importlib.metadata
from collections.abc import Mapping
from typing import TYPE_CHECKING

from meddet.config import Params
from meddet.files import read_json
from pipeline._stage import ARTIFACTS, REPORTS

if TYPE_CHECKING:
    from meddet.cost import Cost
    from meddet.evaluate.conformal import Conformal
    from meddet.evaluate.pr import OperatingPoint
    from meddet.facts import Facts

_PARTS = ("train", "validation", "test")
_VERSIONED = ("lightning", "numpy", "onnxruntime", "torch", "torchvision")
_DUPLICATES = {"group": "found and kept in one part", "refuse": "none accepted"}


def facts_of(
    params: Params,
    *,
    data_md5: str,
    code_sha256: str,
    cost: "Cost",
    input_size: tuple[int, int],
    operating: "Mapping[str, OperatingPoint]",
    conformal: "Conformal | None",
) -> "Facts":
    """Gather what is known before any test image was looked at.

    Args:
        params: of the project.
        data_md5: of the raw data set.
        code_sha256: fingerprint of the sources.
        cost: of the detector.
        input_size: height and width of its input.
        operating: by class, chosen on validation.
        conformal: the promise on the miss rate.
    """
    from meddet.data.table import read_table
    from meddet.drift.reference import Rule
    from meddet.facts import Facts, describe_people, describe_readers

    enrolment, split = read_json(REPORTS / "enrolment.json"), read_json(REPORTS / "split.json")
    members, table = read_json(ARTIFACTS / "split.json"), read_table(ARTIFACTS / "tables", "patients")
    return Facts(
        data_md5=data_md5,
        code_sha256=code_sha256,
        versions={name: importlib.metadata.version(name) for name in _VERSIONED},
        scanned=enrolment["scanned"],
        excluded=enrolment["excluded"],
        patients={part: split["parts"][part]["patients"] for part in _PARTS},
        images={part: split["parts"][part]["images"] for part in _PARTS},
        people={part: describe_people(table[table["patient_id"].isin(members[part])]) for part in _PARTS},
        scanners=sorted(table["scanner"].dropna().unique()),
        readers=describe_readers(read_json(REPORTS / "raters.json")),
        split_seed=params.split.seed,
        duplicates=_DUPLICATES[params.validate_.duplicates],
        input_size=input_size,
        cost=cost,
        teachers=params.teachers,
        method=params.distill.method.name,
        inherited_from=params.distill.method.anchor if params.distill.inherit == "anchor" else None,
        training=params.distill.schedule.model_dump(),
        operating=operating,
        conformal=conformal,
        rule=Rule(**params.package.drift.model_dump()),
    )

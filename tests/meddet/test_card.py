import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from meddet.card import model_card
from meddet.claims import claim_checklist
from meddet.cost import Cost
from meddet.drift.reference import Rule
from meddet.evaluate.conformal import Conformal
from meddet.evaluate.pr import OperatingPoint
from meddet.facts import BLANK, Facts, describe_people, describe_readers


@pytest.fixture
def facts() -> Facts:
    return Facts(
        data_md5="0123.dir",
        code_sha256="ab" * 32,
        versions={"torch": "2.15.0"},
        scanned=10,
        excluded={"operated": 1, "no_image": 0},
        patients={"train": 6, "validation": 1, "test": 2},
        images={"train": 12, "validation": 2, "test": 5},
        people={"train": "3 F, 3 M", "validation": "1 F", "test": "2 M"},
        scanners=["A", "B|C"],
        readers="",
        split_seed=7,
        duplicates="found and kept in one part",
        input_size=(160, 112),
        cost=Cost(10_419_531, 1.08, 1.1),
        teachers=["resnet50"],
        method="meddet",
        inherited_from=None,
        training={"steps": 240},
        operating={"protrusion": OperatingPoint(0.36, 0.63, "undefined (n=0)", 0.81)},
        conformal=Conformal(0.1, 0.0712, 28),
        rule=Rule(window=40, least=20, p_value=0.001, psi=0.25, bins=5),
    )


def test_the_card_says_what_is_known_and_marks_what_is_not(facts: Facts) -> None:
    card = model_card(facts)
    assert "must not be used for diagnosis" in card
    assert "Of 10 patients 9 were enrolled; left out:\noperated 1. " in card
    assert "| test | 2 | 5 | 2 M |" in card
    assert "| protrusion | 0.3600 | 0.630 | undefined (n=0) | 0.810 |" in card
    assert "at most 0.1 at a protrusion score above 0.0712" in card
    assert card.count(BLANK) == 5


def test_a_promise_that_no_threshold_holds_is_said_to_be_none(facts: Facts) -> None:
    card = model_card(replace(facts, conformal=Conformal(0.01, None, 28)))
    assert "no threshold of the protrusion score holds this" in card
    assert "None" not in card


def test_the_checklist_has_every_item_of_claim_and_counts_its_blanks(facts: Facts) -> None:
    checklist = claim_checklist(facts)
    claim, tripod = checklist.split("## TRIPOD+AI")
    assert re.findall(r"^\| (\d+) \|", claim, flags=re.MULTILINE) == [str(number) for number in range(1, 45)]
    rows = [line for line in checklist.splitlines() if re.match(r"\| \d", line)]
    blank = sum(BLANK in row for row in rows)
    assert f" {blank} of {len(rows)} answers are blank" in checklist
    assert 0 < blank < len(rows)
    assert "isotonic" in tripod


def test_a_name_with_a_bar_breaks_no_table(facts: Facts) -> None:
    (row,) = [line for line in claim_checklist(facts).splitlines() if line.startswith("| 13 |")]
    assert re.split(r"(?<!\\)\|", row)[3].strip().startswith("scanners A, B\\|C; protocol:")


def test_people_are_described_with_what_their_rows_hold() -> None:
    table = {"sex": ["F", "M", None], "age": [30.0, 50.0, np.nan], "field_strength_t": [1.5, 3.0, 3.0]}
    described = describe_people(pd.DataFrame(table))
    assert described == "1 F, 1 M, 1 unknown; age median 40 (quartiles 35 and 45), 30 to 50; 1 at 1.5 T, 2 at 3 T"
    assert describe_people(pd.DataFrame(table).iloc[:0]) == "none"


def kappa(level: str, value: float | str) -> Mapping[str, object]:
    return {"level": level, "n": 9, "raters": ["a", "b"], "value": value}


def test_readers_are_described_by_their_overall_agreement() -> None:
    rows = [kappa("C2/3", 0.1), kappa("overall", 0.63), kappa("overall", 0.68)]
    read = {"raters": ["a", "b"], "images_read": {"a": 92, "b": 90}, "discs": 552, "cohen_kappa": rows}
    expected = "2 readers of 92 images, 552 discs; Cohen's kappa of two readers 0.63 to 0.68 over all levels"
    assert describe_readers(read) == expected
    unknown = {**read, "cohen_kappa": [kappa("overall", "undefined (n=0)")]}
    assert describe_readers(unknown) == "2 readers of 92 images, 552 discs"
    assert describe_readers({"raters": []}) == ""

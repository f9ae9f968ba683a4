from collections.abc import Callable
from pathlib import Path

import pandas as pd

from meddet.data.table import read_table, write_table
from meddet.evaluate.groups import patient_groups
from meddet.evaluate.operation import operating_numbers, patients_by_group
from meddet.evaluate.scored import Scored

Make = Callable[..., Scored]
Pick = Callable[[Scored, list[int]], Scored]


def test_a_group_has_the_numbers_of_its_patients_alone(make_scored: Make, pick: Pick) -> None:
    scored = make_scored()
    women = [index for index, group in enumerate(scored.groups) if group["sex"] == "F"]
    numbers = operating_numbers(scored, resamples=100)
    alone = operating_numbers(pick(scored, women), resamples=100)
    group = numbers["groups"]["sex"]["F"]
    assert group["n"] == {"patients": 6, "images": 12, "discs": 72, "protrusions": alone["n"]["protrusions"]}
    assert group["metrics"] == alone["metrics"]
    assert group["ci95"] == alone["ci95"]
    assert numbers["groups"]["scanner"]["A"]["metrics"] == numbers["metrics"]


def test_intervals_hold_the_number(make_scored: Make) -> None:
    numbers = operating_numbers(make_scored(patients=20))
    for name, value in numbers["metrics"].items():
        low, high = numbers["ci95"][name]
        assert low <= value <= high, name
    low, high = numbers["ci95"]["sensitivity.protrusion"]
    assert 0 < high - low < 0.3


def test_groups_are_listed_by_kind_and_name(make_scored: Make) -> None:
    groups = patients_by_group(make_scored(patients=3))
    assert list(groups) == [("scanner", "A"), ("sex", "F"), ("sex", "M")]
    assert [len(members) for members in groups.values()] == [3, 2, 1]


def test_what_a_table_does_not_say_is_unknown(tmp_path: Path) -> None:
    columns = ["patient_id", "age", "sex", "scanner", "field_strength_t"]
    rows = [("a", 39, "F", "Phantom A", 1.5), ("b", 40, None, None, None), ("c", None, "M", "B", 3)]
    rows += [("d", 59, "F", "B", 3), ("e", 60, "F", "B", 3)]
    write_table(tmp_path, "patients", pd.DataFrame(rows, columns=columns))
    groups = patient_groups(read_table(tmp_path, "patients"))
    assert groups["a"] == {"sex": "F", "age": "under 40", "scanner": "Phantom A", "field_strength": "1.5 T"}
    assert groups["b"] == {"sex": "unknown", "age": "40-59", "scanner": "unknown", "field_strength": "unknown"}
    assert groups["c"] == {"sex": "M", "age": "unknown", "scanner": "B", "field_strength": "3 T"}
    assert [groups[name]["age"] for name in "de"] == ["40-59", "60 and over"]

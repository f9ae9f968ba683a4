from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meddet.data.split import PARTS, Case, split_patients

CASES = st.dictionaries(
    st.text(alphabet="0123456789abcdef", min_size=1, max_size=12),
    st.builds(Case, protrusion_share=st.floats(0, 1), scanner=st.sampled_from("ABCDEFGHIJ")),
    min_size=3,
    max_size=60,
)


def split(cases: dict[str, Case], seed: int = 7, test: float = 0.2, validation: float = 0.15) -> dict[str, list[str]]:
    return split_patients(cases, seed=seed, test_fraction=test, validation_fraction=validation)


def make(count: int) -> dict[str, Case]:
    return {
        f"{index:04d}": Case(protrusion_share=index % 7 / 6, scanner="AB"[index % 3 == 0]) for index in range(count)
    }


GROUPED = st.lists(st.tuples(st.integers(1, 6), st.floats(0, 1), st.sampled_from("ABC")), min_size=3, max_size=25).map(
    lambda groups: {
        f"{number:02d}{member}": Case(protrusion_share=share, scanner=scanner, group=f"g{number}")
        for number, (size, share, scanner) in enumerate(groups)
        for member in range(size)
    }
)


@given(cases=GROUPED, seed=st.integers(0, 99), test=st.floats(0, 1), validation=st.floats(0, 1))
def test_fault_15_groups_are_never_divided(cases: dict[str, Case], seed: int, test: float, validation: float) -> None:
    parts = split(cases, seed, test, validation)
    assert sorted(patient for members in parts.values() for patient in members) == sorted(cases)
    places = [{cases[patient].group for patient in members} for members in parts.values()]
    assert min(map(len, places)) >= 1
    assert sum(map(len, places)) == len({case.group for case in cases.values()})


@given(groups=st.integers(0, 8), singles=st.integers(40, 60), seed=st.integers(0, 99))
def test_fault_15_sizes_stay_exact_beside_groups(groups: int, singles: int, seed: int) -> None:
    cases = make(singles) | {
        f"g{number}{member}": Case(protrusion_share=0.5, scanner="A", group=f"g{number}")
        for number in range(groups)
        for member in "ab"
    }
    parts = split(cases, seed)
    num_test = round(0.2 * len(cases))
    assert len(parts["test"]) == num_test
    assert len(parts["validation"]) == round(0.15 * (len(cases) - num_test))


def test_a_group_of_one_is_no_group() -> None:
    alone = {patient: Case(case.protrusion_share, case.scanner, group=patient) for patient, case in make(60).items()}
    assert split(alone) == split(make(60))


def test_one_large_group_does_not_fill_the_test_part() -> None:
    cases = {
        f"{number:02d}": Case(protrusion_share=0.5, scanner="A", group="g" if number < 20 else None)
        for number in range(40)
    }
    parts = split(cases)
    assert len(parts["test"]) == 8
    assert {f"{number:02d}" for number in range(20)} <= set(parts["train"])


def test_two_groups_are_too_few() -> None:
    cases = {str(number): Case(protrusion_share=0.0, scanner="A", group="ab"[number % 2]) for number in range(9)}
    with pytest.raises(ValueError, match="at least 3 groups of patients to split, got 2"):
        split(cases)


@given(cases=CASES, seed=st.integers(0, 99), test=st.floats(0, 1), validation=st.floats(0, 1))
def test_parts_cover_all_share_nobody_and_none_is_empty(
    cases: dict[str, Case], seed: int, test: float, validation: float
) -> None:
    parts = split(cases, seed, test, validation)
    assert tuple(parts) == PARTS
    assert sorted(patient for members in parts.values() for patient in members) == sorted(cases)
    assert min(len(members) for members in parts.values()) >= 1


def test_the_full_preset_is_731_and_183() -> None:
    parts = split(make(914))
    assert {part: len(members) for part, members in parts.items()} == {"train": 621, "validation": 110, "test": 183}


def test_every_stratum_gives_its_share() -> None:
    cases = make(914)
    parts = split(cases)
    for wanted in range(4):
        members = {patient for patient, case in cases.items() if min(int(case.protrusion_share * 4), 3) == wanted}
        assert len(members & set(parts["test"])) == pytest.approx(len(members) * 183 / 914, abs=1)
        left = members - set(parts["test"])
        assert len(left & set(parts["validation"])) == pytest.approx(len(left) * 110 / 731, abs=1)
    scanners = Counter(cases[patient].scanner for patient in parts["test"])
    assert scanners["B"] == pytest.approx(183 / 3, abs=4)


def test_order_does_not_matter_and_the_seed_does() -> None:
    cases = make(60)
    assert split(cases) == split(dict(reversed(cases.items())))
    assert split(cases) == split(cases)
    assert split(cases)["test"] != split(cases, seed=8)["test"]


def test_known_answer() -> None:
    assert split(make(10)) == {
        "train": ["0000", "0001", "0002", "0004", "0005", "0006", "0007"],
        "validation": ["0009"],
        "test": ["0003", "0008"],
    }


def test_two_patients_are_too_few() -> None:
    with pytest.raises(ValueError, match="at least 3 patients to split, got 2"):
        split(make(2))


@given(cases=CASES, added=CASES, seed=st.integers(0, 99))
def test_fault_15_nobody_leaves_a_kept_part_when_patients_come(
    cases: dict[str, Case], added: dict[str, Case], seed: int
) -> None:
    before = split(cases, seed)
    after = split_patients(added | cases, seed=seed + 1, test_fraction=0.2, validation_fraction=0.15, kept=before)
    assert all(set(before[part]) <= set(after[part]) for part in PARTS)
    assert sorted(name for part in after.values() for name in part) == sorted(cases | added)


def test_patients_that_come_are_shared_out_like_the_first() -> None:
    first, both = make(100), make(300)
    parts = split_patients(both, seed=7, test_fraction=0.2, validation_fraction=0.15, kept=split(first))
    assert {part: len(members) for part, members in parts.items()} == {"train": 204, "validation": 36, "test": 60}


def test_fault_15_a_new_patient_who_is_an_old_one_of_training_pulls_the_group_out_of_test() -> None:
    before = split(make(30))
    trained, tested = before["train"][0], before["test"][0]
    one = {name: Case(0.5, "A", group="same person") for name in (trained, tested)}
    after = split_patients(make(30) | one, seed=7, test_fraction=0.2, validation_fraction=0.15, kept=before)
    assert {trained, tested} <= set(after["train"])


def test_a_kept_split_that_leaves_a_part_empty_is_refused() -> None:
    cases = make(6)
    with pytest.raises(ValueError, match="but the kept split leaves none for train, validation"):
        split_patients(cases, seed=7, test_fraction=0.2, validation_fraction=0.15, kept={"test": sorted(cases)})

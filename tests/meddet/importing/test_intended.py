from dataclasses import replace

import pytest

from meddet.importing.intended import SeriesHeader, judge

GOOD = SeriesHeader(
    modality="MR",
    orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    repetition_ms=3500.0,
    echo_ms=105.0,
    inversion_ms=None,
    scanning_sequence=("SE",),
    texts=("T2 TSE sag", "CSPINE", "MR spine"),
    kind=("ORIGINAL", "PRIMARY", "MR Image Storage"),
    rows=320,
    columns=320,
    num_slices=13,
)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def test_a_sagittal_t2_series_of_the_neck_is_accepted_and_says_why() -> None:
    verdict = judge(GOOD)
    assert verdict.accepted
    assert verdict.reasons == (
        "MR",
        "sagittal (0 degrees off)",
        "T2 (TR 3500 ms, TE 105 ms)",
        "cervical by its description",
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"orientation": AXIAL}, "axial, not sagittal (90 degrees off)"),
        ({"orientation": CORONAL}, "coronal, not sagittal (90 degrees off)"),
        ({"orientation": (0.64, 0.77, 0.0, 0.0, 0.0, -1.0)}, "oblique, not sagittal (40 degrees off)"),
        ({"orientation": None}, "no orientation named"),
        ({"orientation": (0.0,) * 6}, "an orientation that is none"),
        ({"repetition_ms": 550.0, "echo_ms": 11.0}, "T1, not T2 (TR 550 ms, TE 11 ms)"),
        ({"echo_ms": 30.0}, "not T2 (TR 3500 ms, TE 30 ms)"),
        (
            {"scanning_sequence": ("GR",), "repetition_ms": 600.0, "echo_ms": 20.0},
            "gradient echo, not T2 spin echo (TR 600 ms, TE 20 ms)",
        ),
        ({"inversion_ms": 2500.0}, "fluid suppressed (TI 2500 ms), not T2"),
        ({"texts": ("sag", "CSPINE", ""), "echo_ms": None}, "no TR and TE named and no T2 in the description"),
        ({"modality": "CT"}, "not MR"),
        ({"modality": None}, "no modality named"),
        ({"rows": 48}, "a matrix of 48 x 320, below 64"),
        ({"kind": ("DERIVED", "Secondary Capture Image Storage")}, "a screen capture"),
        ({"kind": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "a localiser or a computed image, by its type"),
        (
            {"texts": ("Scout HWS", "", "")},
            "a localiser, diffusion, angiography or another special purpose, by its description",
        ),
    ],
)
def test_fault_24_a_series_of_another_kind_is_refused_with_its_reason(change: dict, reason: str) -> None:
    verdict = judge(replace(GOOD, **change))
    assert not verdict.accepted
    assert verdict.reasons == (reason,)


@pytest.mark.parametrize(
    "texts",
    [
        ("t2 sag LWS", "SPINE", "MRT LWS"),
        ("T2 sag", "LSPINE", "MRI spine"),
        ("T2 sagittal rachis lombaire", "", ""),
        ("t2_tse_sag", "KNEE", "MRI knee left"),
        ("T2 sag BWS", "CSPINE", "MRT HWS und BWS"),
        ("T2 SAG genou", "", ""),
        ("T2 SAG", "BRAIN", ""),
        ("t2 sag 腰椎", "", ""),
        ("T2 Schädel sag", "", ""),
    ],
)
def test_fault_24_another_region_is_refused(texts: tuple[str, ...]) -> None:
    verdict = judge(replace(GOOD, texts=texts))
    assert verdict.reasons == ("of another region than the cervical spine, by its description",)


@pytest.mark.parametrize(
    "texts",
    [
        ("t2_tse_sag_HWS", "SPINE", "MRT HWS + LWS"),
        ("T2 sag", "CSPINE", "MRI lumbar and cervical"),
        ("Sag T2 FRFSE C-SPINE", "", ""),
        ("T2 rachis cervical", "", ""),
        ("T2 SAG colonna cervicale", "", ""),
        ("T2 sag", "HEADNECK", ""),
        ("SAG T2 颈椎", "", ""),
        ("T2 sag cervico-dorsal", "", ""),
    ],
)
def test_the_region_is_read_in_several_languages(texts: tuple[str, ...]) -> None:
    verdict = judge(replace(GOOD, texts=texts))
    assert verdict.accepted
    assert "cervical by its description" in verdict.reasons


def test_no_region_named_is_trust_and_ranks_below_a_named_one() -> None:
    silent = judge(replace(GOOD, texts=("T2 sag", "SPINE", "")))
    assert silent.accepted
    assert "no region in its description: taken as cervical on trust" in silent.reasons
    assert judge(GOOD).rank > silent.rank


def test_fat_suppression_is_accepted_but_chosen_last() -> None:
    for change in ({"inversion_ms": 160.0}, {"texts": ("STIR sag T2", "CSPINE", "")}):
        verdict = judge(replace(GOOD, **change))
        assert verdict.accepted
        assert verdict.rank < judge(GOOD).rank


def test_a_tilt_within_thirty_degrees_is_sagittal() -> None:
    assert judge(replace(GOOD, orientation=(0.47, 0.8829, 0.0, 0.0, 0.0, -1.0))).accepted


def test_reasons_never_quote_a_text() -> None:
    verdict = judge(replace(GOOD, texts=("CANARY Jane", "CANARY knee", "CANARY"), orientation=None))
    assert "CANARY" not in str(verdict)

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from flows._gate import Check, Cost, Evidence, decide
from flows._protocol import Protocol, load_protocol
from meddet.evaluate.paired import Difference

ROOT = Path(__file__).parents[2]
UNDEFINED = "undefined (n=0)"
GOOD = {
    "ap50": 0.6,
    "ap50.any": 0.9,
    "ap50.protrusion": 0.6,
    "ap50.non-protrusion": 0.6,
    "sensitivity.protrusion": 0.8,
    "sensitivity.non-protrusion": 0.8,
    "false_positives_per_image": 3.0,
    "false_positives_per_image.protrusion": 2.0,
    "false_positives_per_image.non-protrusion": 1.0,
    "disc_auc": 0.7,
}


def protocol(**comparison: float) -> Protocol:
    """The project's own protocol, with a plain number for everything that the cases turn on."""
    content = load_protocol(ROOT / "promotion.yaml").model_dump()
    content["floors"] = {
        "sensitivity": {"protrusion": 0.7, "non-protrusion": 0.7},
        "false_positives_per_image": 4.0,
        "ap50": 0.5,
        "ap50_any": 0.8,
        "disc_auc": 0.6,
        "latency_p50_ms": 100.0,
        "latency_ratio": 1.2,
        "size_mb": 90.0,
    }
    tolerance = {"sensitivity": 0.05, "ap50": 0.05, "disc_auc": 0.05, "false_positives_per_image": 0.5}
    content["regression"] = tolerance
    content["groups"] = {"kinds": ["sex", "age"], "min_patients": 10, "tolerance": {**tolerance, "sensitivity": 0.1}}
    content["comparison"] |= {"metric": "ap50", "margin": 0.0, "min_patients": 30} | comparison
    return Protocol.model_validate(content)


def differences(
    low: float | str = 0.01, high: float | str = 0.05, *, patients: int = 40, **changed: float | str
) -> dict[str, Difference]:
    """The champion has the good numbers; `changed` is what the challenger has more, with _ for every sign."""
    by_name = {name: changed.get(name.replace(".", "_").replace("-", "_"), 0.0) for name in GOOD}
    return {
        name: Difference(
            GOOD[name],
            by_name[name] if isinstance(by_name[name], str) else GOOD[name] + by_name[name],
            by_name[name],
            low,
            high,
            patients,
        )
        for name in GOOD
    }


def evidence(**changed: object) -> Evidence:
    whole = Evidence(
        checks=(Check("bundle", passed=True, detail="as its tag says"),),
        numbers=GOOD,
        num_patients=46,
        cost=Cost(latency_p50_ms=50.0, size_mb=80.0),
        champion_cost=Cost(latency_p50_ms=50.0, size_mb=80.0),
        differences=differences(),
        groups={},
    )
    return replace(whole, **changed)


FIRST: Mapping[str, object] = {"differences": None, "champion_cost": None}
CASES = {
    "better": ({}, "PROMOTE", "better than the champion: ap50 0.600 against 0.600: difference +0.000, 95 % interval"),
    "lower end at 0": ({"differences": differences(0.0, 0.05)}, "HOLD", "a tie holds"),
    "same model": ({"differences": differences(0.0, 0.0)}, "HOLD", "a tie holds"),
    "interval over 0": ({"differences": differences(-0.02, 0.05)}, "HOLD", "-0.020 to +0.050 over 40 patients"),
    "upper end at 0": ({"differences": differences(-0.02, 0.0)}, "HOLD", "a tie holds"),
    "worse": ({"differences": differences(-0.05, -0.01)}, "REJECT", "worse than the champion"),
    "undefined": ({"differences": differences(UNDEFINED, UNDEFINED, ap50=UNDEFINED)}, "HOLD", UNDEFINED),
    "few test patients": ({"num_patients": 29}, "HOLD", "the test part has 29 patients, expected at least 30"),
    "few compared": ({"differences": differences(patients=29)}, "HOLD", "29 of 46 test patients can be compared"),
    "few compared, worse": ({"differences": differences(-0.3, -0.2, patients=29, ap50_protrusion=-0.2)}, "HOLD", "29"),
    "first": (FIRST, "PROMOTE", "no champion yet; all 1 checks and 8 floors hold"),
    "first of few patients": ({**FIRST, "num_patients": 29}, "HOLD", "29 patients"),
    "first below a floor": ({**FIRST, "numbers": {**GOOD, "disc_auc": 0.59}}, "REJECT", "disc_auc is 0.590"),
    "first without located discs": ({**FIRST, "numbers": {**GOOD, "disc_auc": UNDEFINED}}, "REJECT", UNDEFINED),
    "failed check": ({"checks": (Check("lineage", passed=False, detail="no git.revision"),)}, "REJECT", "lineage: no"),
    "sensitivity": ({"numbers": {**GOOD, "sensitivity.protrusion": 0.69}}, "REJECT", "0.690, expected at least 0.7"),
    "sensitivity of the other class": ({"numbers": {**GOOD, "sensitivity.non-protrusion": 0.69}}, "REJECT", "non-pro"),
    "false positives": ({"numbers": {**GOOD, "false_positives_per_image": 4.1}}, "REJECT", "4.100, expected at most 4"),
    "ap50": ({"numbers": {**GOOD, "ap50": 0.49}}, "REJECT", "ap50 is 0.490"),
    "ap50 of any class": ({"numbers": {**GOOD, "ap50.any": 0.79}}, "REJECT", "ap50.any is 0.790"),
    "at its floors": ({"numbers": {**GOOD, "ap50": 0.5, "false_positives_per_image": 4.0}}, "PROMOTE", "better"),
    "slow": ({"cost": Cost(101.0, 80.0), "champion_cost": Cost(100.0, 80.0)}, "REJECT", "latency_p50_ms is 101.000"),
    "slower than the champion": ({"cost": Cost(61.0, 80.0)}, "REJECT", "latency_ratio is 1.220, expected at most 1.2"),
    "large": ({"cost": Cost(50.0, 90.5)}, "REJECT", "size_mb is 90.500"),
    "class got worse": ({"differences": differences(ap50_protrusion=-0.06)}, "REJECT", "ap50.protrusion of all patie"),
    "class within tolerance": ({"differences": differences(ap50_protrusion=-0.04)}, "PROMOTE", "better"),
    "more false positives": ({"differences": differences(false_positives_per_image=0.6)}, "REJECT", "3.000 to 3.600"),
    "fewer false positives": ({"differences": differences(false_positives_per_image=-2.0)}, "PROMOTE", "better"),
    "undefined class": ({"differences": differences(sensitivity_protrusion=UNDEFINED)}, "PROMOTE", "better"),
    "group got worse": (
        {"groups": {("sex", "F"): differences(patients=10, sensitivity_protrusion=-0.11)}},
        "REJECT",
        "sensitivity.protrusion of sex F (10) went from 0.800 to 0.690, expected at most 0.1 worse",
    ),
    "group within tolerance": (
        {"groups": {("sex", "F"): differences(patients=10, sensitivity_protrusion=-0.09)}},
        "PROMOTE",
        "better",
    ),
    "small group": ({"groups": {("sex", "F"): differences(patients=9, sensitivity_protrusion=-0.5)}}, "PROMOTE", ""),
    "kind that isn't judged": (
        {"groups": {("scanner", "A"): differences(patients=20, sensitivity_protrusion=-0.5)}},
        "PROMOTE",
        "",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_decision(case: str) -> None:
    changed, outcome, reason = CASES[case]
    decision = decide(evidence(**changed), protocol())
    assert (decision.outcome, reason in decision.reasons[0]) == (outcome, True), decision.reasons


def test_lower_end_must_exceed_the_margin() -> None:
    assert decide(evidence(), protocol(margin=0.01)).outcome == "HOLD"
    assert decide(evidence(), protocol(margin=0.009)).outcome == "PROMOTE"


def test_every_reason_is_named_and_every_number_kept() -> None:
    worse = {**GOOD, "ap50": 0.4, "disc_auc": 0.5}
    groups = {("sex", "M"): differences(patients=20), ("sex", "F"): differences(patients=3)}
    decision = decide(evidence(numbers=worse, differences=differences(-0.05, -0.01), groups=groups), protocol())
    assert [reason.split(" is ")[0] for reason in decision.reasons[:2]] == ["floor: ap50", "floor: disc_auc"]
    assert decision.reasons[2].startswith("worse than the champion")
    assert len(decision.floors) == 9
    assert {change.patients for change in decision.changes} == {"all patients", "sex M", "sex F"}
    judged = {change.patients: change.tolerance for change in decision.changes if change.metric == "disc_auc"}
    assert judged == {"all patients": 0.05, "sex M": 0.05, "sex F": None}


def test_nothing_is_looked_at_after_a_failed_check() -> None:
    failed = (Check("bundle", passed=False, detail="another hash"), Check("split", passed=True, detail="current"))
    decision = decide(evidence(checks=failed, numbers={}, cost=None), protocol())
    assert (decision.outcome, decision.reasons, decision.floors) == ("REJECT", ("bundle: another hash",), ())

"""The sentence of the noise study says what was measured, whichever way it fell."""

import numpy as np
import pytest

from meddet.evaluate.robustness import METRICS, Values, Withstood
from studies.noise_report import noise_png, noise_report, noise_text

OTHERS = ("nmODE", "ReLU", "nmODE^2 by table")
PLAN = {"steps": 5, "batch_size": 8, "images": 2, "severities": [1]}


def run(clean: float, spoilt: float, spread: float = 0.01) -> Withstood:
    def values(value: float) -> Values:
        return {metric: np.array([value, value - spread, value + spread]) for metric in METRICS}

    return Withstood(values(clean), {("spike", 1): values(spoilt)})


def study(*ours: float, others: float = 0.4) -> dict[str, dict[int, Withstood]]:
    """Clean AP of 0.8 everywhere; nmODE^2 keeps `ours` under the corruption, by seed, the other heads `others`."""
    theirs = {head: {seed: run(0.8, others) for seed in range(len(ours))} for head in OTHERS}
    return {"nmODE^2": {seed: run(0.8, value) for seed, value in enumerate(ours)}, **theirs}


@pytest.mark.parametrize(
    "ours, verdict",
    [
        ((0.6, 0.64), "keeps more of its AP50"),
        ((0.2, 0.24), "keeps less of its AP50"),
        ((0.6, 0.3), "is not shown to keep more or less"),
        ((0.4, 0.4), "is not shown to keep more or less"),
    ],
)
def test_the_finding_needs_the_interval_and_every_seed(ours: tuple[float, ...], verdict: str) -> None:
    assert verdict in noise_report(study(*ours))["finding"]


def test_differences_are_paired_by_seed_and_averaged() -> None:
    told = noise_report(study(0.6, 0.64))
    against = told["differences"]["ReLU"]["rpc.ap50.any"]
    assert against["seeds"] == {"0": pytest.approx(0.25), "1": pytest.approx(0.3)}
    assert against["mean"] == pytest.approx(0.275)
    assert told["heads"]["nmODE^2"]["mpc.ap50"]["mean"] == pytest.approx(0.62)
    assert told["differences"]["nmODE"]["clean.ap50"]["mean"] == 0


def test_a_seed_that_a_head_lacks_does_not_count() -> None:
    seen = study(0.6, 0.64)
    del seen["nmODE"][1]
    assert noise_report(seen)["seeds"] == [0]


def test_fault_35_a_model_that_finds_nothing_has_no_share_to_keep() -> None:
    seen = study(0.6)
    seen["ReLU"][0] = run(0.0, 0.0, spread=0.0)
    told = noise_report(seen)
    assert told["heads"]["ReLU"]["rpc.ap50"]["mean"] == "undefined (n=0)"
    assert told["finding"] == "The heads cannot be compared: a number is undefined (n=0)."
    assert "undefined (n=0)" in noise_text(told | {"plan": PLAN})


def test_the_page_and_the_picture_show_every_head() -> None:
    seen = study(0.6, 0.64)
    told = noise_report(seen) | {"plan": PLAN}
    text = noise_text(told)
    assert told["finding"] in text
    assert "not clinical" in text
    assert all(f"| {head} |" in text for head in seen)
    assert noise_png(seen, told).startswith(b"\x89PNG")

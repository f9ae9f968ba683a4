"""Train the student's network without teachers, on the student's budget: what distillation is compared with."""

from meddet.config import Params
from pipeline._machine import run
from pipeline._stage import ARTIFACTS, REPORTS


def main(params: Params) -> None:
    """Write artifacts/baseline and reports/baseline/."""
    from pipeline._training import train_detector

    train_detector(
        "mobilenet_v2",
        params,
        params.baseline,
        section="baseline",
        folder=ARTIFACTS / "baseline",
        curve=REPORTS / "baseline" / "baseline.csv",
    )


if __name__ == "__main__":
    run(main)

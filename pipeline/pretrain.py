"""Train one teacher on annotated images alone: `python -m pipeline.pretrain resnet50`."""

import sys

from meddet.config import Params
from pipeline._machine import run
from pipeline._stage import ARTIFACTS, REPORTS


def main(params: Params) -> None:
    """Write artifacts/pretrain/NAME and the curve in reports/pretrain/."""
    from pipeline._training import train_detector

    name = " ".join(sys.argv[1:])
    if name not in params.pretrain:
        raise ValueError(f"pretrain: expected one teacher of {', '.join(params.pretrain)}, got {name or 'none'}")
    train_detector(
        name,
        params,
        params.pretrain[name],
        section=f"pretrain.{name}",
        folder=ARTIFACTS / "pretrain" / name,
        curve=REPORTS / "pretrain" / f"{name}.csv",
    )


if __name__ == "__main__":
    run(main)

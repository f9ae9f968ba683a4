"""Pictures of a decision: what changed for everyone, and in each group of patients."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flows._gate import EVERYONE, FALSE_POSITIVES, Change, Number

if TYPE_CHECKING:
    from meddet.render_forest import Row, State

_NOTES = (
    "Points: challenger minus champion; lines: 95 % interval over resamples of the patients.\n"
    "Research use only; phantom scores are not clinical."
)
_OF_GROUPS = ("sensitivity.protrusion", "sensitivity.non-protrusion", "disc_auc")


def pictures(changes: Sequence[Change]) -> Iterator[tuple[str, bytes]]:
    """Draw the pictures by name: "metrics" for everyone, "groups"; none where nothing was compared."""
    from meddet.render_forest import Panel, forest_png

    everyone = [change for change in changes if change.patients == EVERYONE]
    if everyone:
        wrong = [change for change in everyone if change.metric.startswith(FALSE_POSITIVES)]
        right = [change for change in everyone if change not in wrong]
        panels = [
            Panel("more is better", [_row(change, change.metric) for change in right]),
            Panel(
                "false positives per image: fewer is better",
                [
                    _row(
                        change,
                        change.metric.removeprefix(f"{FALSE_POSITIVES}.").replace(FALSE_POSITIVES, "both classes"),
                    )
                    for change in wrong
                ],
            ),
        ]
        yield "metrics", forest_png(panels, title=f"All {everyone[0].num_patients} compared patients", notes=_NOTES)
    groups = [change for change in changes if change.patients != EVERYONE]
    if groups:
        panels = [
            Panel(
                f"{metric}: more is better",
                [_row(c, f"{c.patients} (n={c.num_patients})") for c in groups if c.metric == metric],
            )
            for metric in _OF_GROUPS
        ]
        yield "groups", forest_png(panels, title="Groups of patients", notes=_NOTES)


def _row(change: Change, label: str) -> "Row":
    from meddet.render_forest import Row

    sign = 1 if change.metric.startswith(FALSE_POSITIVES) else -1
    limit = None if change.tolerance is None else sign * change.tolerance
    return Row(label, _value(change.difference), _value(change.low), _value(change.high), limit, _state(change, sign))


def _state(change: Change, worse: int) -> "State":
    if not change.passed:
        return "failed"
    if change.patients != EVERYONE and change.tolerance is None:
        return "reported"
    if isinstance(change.low, str) or isinstance(change.high, str) or change.low <= 0 <= change.high:
        return "open"
    return "worse" if change.low * worse > 0 else "better"


def _value(number: Number) -> float | None:
    return None if isinstance(number, str) else number

"""The flow chart of enrolment and split, in the manner of CONSORT: boxes of people, and who left between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meddet.data.split import PARTS

_REASONS = {
    "incomplete": "incomplete examination",
    "no_image": "no image",
    "operated": "operated before",
    "quality": "image quality",
}


@dataclass(frozen=True)
class Step:
    """A box, and beside the arrow to the next one what was left out there."""

    title: str
    lines: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flow:
    """Boxes one below the other, then the parts side by side, and what they share."""

    steps: tuple[Step, ...]
    parts: tuple[Step, ...]
    shared: str


def flow_chart(enrolment: Mapping[str, Any], ingest: Mapping[str, Any], split: Mapping[str, Any]) -> Flow:
    """Make the chart from the reports of ingest and split."""
    excluded = enrolment["excluded"]
    images = ingest["images"]
    boxes = enrolment["boxes"]
    burned = ingest["identity"]["burned_in_text"]
    steps = (
        Step(
            "Scanned",
            (f"{enrolment['scanned']:,} patients",),
            tuple(f"{count:,} {_REASONS.get(name, name.replace('_', ' '))}" for name, count in excluded.items()),
        ),
        Step(
            "Enrolled",
            (f"{enrolment['enrolled']:,} patients", f"{images['read']:,} images read"),
            (
                f"{len(images['unreadable']):,} images unreadable",
                f"{len(images['without_reference']):,} without a reference",
                f"{len(burned):,} with text burned in",
            ),
        ),
        Step(
            "Annotated",
            (
                f"{enrolment['images']:,} images",
                *(f"{count:,} {name}" for name, count in sorted(boxes.items(), reverse=True)),
            ),
        ),
    )
    parts = tuple(_part(name, split["parts"][name]) for name in PARTS)
    shared = [f"{pair}: {row['patients']} patients" for pair, row in split["overlap"].items()]
    return Flow(steps, parts, "Shared by " + ", ".join(shared) + ".")


def _part(name: str, part: Mapping[str, Any]) -> Step:
    boxes = (f"{count:,} {label}" for label, count in sorted(part["boxes"].items(), reverse=True))
    return Step(name.capitalize(), (f"{part['patients']:,} patients", f"{part['images']:,} images", *boxes))

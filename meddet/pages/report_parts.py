"""What a section of the report page is made of, besides tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from markupsafe import Markup

from meddet.pages.report_values import Cell, Table, counted, measured, metric_name, name_cell, ordered


@dataclass(frozen=True)
class Figure:
    """A chart (inline SVG), the line under it, and the numbers that it shows."""

    title: str
    svg: Markup
    data: Table | None = None


@dataclass(frozen=True)
class Figures:
    """Charts beside each other under one key: a name and a number of a series each."""

    figures: tuple[Figure, ...]
    key: tuple[tuple[str, int], ...] = ()
    note: str = ""
    kind: str = "figures"


Part: TypeAlias = Table | Figures


@dataclass(frozen=True)
class Section:
    """A part of the page that the contents list."""

    key: str
    title: str
    lead: str
    parts: tuple[Part, ...]


def blocks_table(
    blocks: Mapping[str, Mapping[str, Any]],
    *,
    first: str,
    caption: str,
    note: str = "",
    folded: bool = False,
) -> Table:
    """Make a row of each block, a column of every metric that one of them has, and the counts it rests on."""
    names = ordered(name for block in blocks.values() for name in block.get("metrics", {}))
    rows = [(name_cell(name), *_cells(block, names), counted(block)) for name, block in blocks.items()]
    head = (first, *(metric_name(name) for name in names), "protruded of all discs")
    return Table(caption, head, tuple(rows), note=note, folded=folded)


def metrics_table(
    blocks: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
    *,
    first: str,
    caption: str,
    note: str = "",
    folded: bool = False,
) -> Table:
    """Make a row of each metric and a column of each block (by the name that people read)."""
    rows = [(name_cell(metric_name(name)), *(measured(b, name) for title, b in blocks.items())) for name in names]
    return Table(caption, (first, *blocks), tuple(rows), note=note, folded=folded)


def _cells(block: Mapping[str, Any], names: Sequence[str]) -> list[Cell]:
    if "withheld" in block:
        said = Cell("withheld", str(block["withheld"]), kind="word")
        return [said, *(Cell("withheld", kind="word") for _ in names[1:])]
    return [measured(block, name) if name in block["metrics"] else Cell("not measured", kind="word") for name in names]

"""From the headers of whole studies to the series and slices that are brought, with the reasons."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from meddet.importing.header import Header
from meddet.importing.intended import SeriesHeader, Verdict, judge
from meddet.importing.regions import Place


@dataclass(frozen=True)
class Series:
    """Files of one series in one plane. A volume or a picture is a series of its own, which says nothing of itself."""

    study: str | None
    name: str | None
    files: tuple[int, ...]
    verdict: Verdict


def group_series(headers: Mapping[int, Header]) -> list[Series]:
    """Put files of one study, series and plane together and judge each series, by the order of its first file."""
    members: dict[tuple[str | None, str | None, int], list[int]] = defaultdict(list)
    for number, header in headers.items():
        alone = 0 if header.says is not None else number
        members[(header.study, header.series, alone)].append(number)
    series = []
    for (study, name, _), files in members.items():
        says = headers[files[0]].says
        slices = sum(len(headers[number].planes) for number in files)
        series.append(Series(study, name, tuple(files), _judge(says, slices)))
    return series


def choose_series(series: Sequence[Series], annotated: frozenset[int]) -> dict[int, str | None]:
    """Say for each place in the list why that series is left out, None where it is chosen.

    Of a study, every series with annotated files is chosen; without annotations the best by rank.
    """
    by_study: dict[tuple[str | None, int], list[int]] = defaultdict(list)
    for place, each in enumerate(series):
        if each.verdict.accepted:
            by_study[(each.study, -1 if each.study else place)].append(place)
    left: dict[int, str | None] = {}
    for places in by_study.values():
        if annotated:
            for place in places:
                left[place] = None if annotated & set(series[place].files) else "not annotated"
            continue
        best = max(places, key=lambda place: (series[place].verdict.rank, -place))
        for place in places:
            left[place] = None if place == best else "another series of its study fits better"
    return left


def middle_slices(files: Sequence[int], headers: Mapping[int, Header], count: int) -> list[Place]:
    """Give the middle slices by their place along the normal; as they come where a place is unknown."""
    slices = [((number, k), plane) for number in files for k, plane in enumerate(headers[number].planes)]
    positions = [plane.position for _, plane in slices if plane is not None]
    if len(positions) == len(slices):
        slices.sort(key=lambda pair: pair[1].position if pair[1] else 0.0)
    count = min(count, len(slices))
    first = (len(slices) - count) // 2
    return [place for place, _ in slices[first : first + count]]


def _judge(says: SeriesHeader | None, slices: int) -> Verdict:
    if says is None:
        return Verdict(True, ("the format names no sequence: taken as cervical sagittal T2 on trust",), ())
    return judge(replace(says, num_slices=slices))

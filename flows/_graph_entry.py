"""A finished graph as an entry of the spool: numbers, lineage, and the files that the registry takes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from flows import _records, _spool, _summary
from flows._records import Lineage, Record
from flows._tags import REPORT

KIND = "graph"
_COMPARED_IMAGES = 3
_PLACES = {
    "detections.json": "artifacts/evaluate/detections.json",
    "evaluate.json": "reports/evaluate.json",
    "split.json": "artifacts/split.json",
}


@dataclass(frozen=True)
class Graph:
    """What is mirrored of a finished graph; the paths lie in the entry."""

    records: tuple[Record, ...]
    lineage: Lineage
    headline: dict[str, float]
    student_tags: dict[str, str]
    folder: Path

    @property
    def bundle(self) -> Path | None:
        """The model to register, if the graph made one."""
        folder = self.folder / "bundle"
        return folder if folder.is_dir() else None

    @property
    def evaluation(self) -> list[Path]:
        """The files that come with the model."""
        return sorted((self.folder / "evaluation").iterdir())

    @property
    def code(self) -> Path:
        """The library as it was."""
        return self.folder / "meddet"

    @property
    def images(self) -> list[Path]:
        """Images that the registered model and the bundle are compared on."""
        return sorted((self.folder / "images").glob("*.png"))


def write_graph(project: Path, names: Sequence[str]) -> str:
    """Put the project's finished graph into the spool; return the entry's key.

    Args:
        project: its folder.
        names: stages of the graph.

    Errors:
        ValueError: there is no finished graph, or a report is not the one that dvc.lock pins.
        OSError: e.g. a full disk.
    """
    records = _records.read_records(project, names)
    lineage = _records.read_lineage(project)
    results = _summary.read_results(project)
    linked = {f"shown/{record.name}/{path.name}": path for record in records for path in record.shown if path.is_file()}
    copied: dict[str, Path] = {}
    bundle = project / "artifacts" / "bundle"
    if bundle.is_dir() and {"package", "evaluate"} <= {record.name for record in records}:
        images = sorted((project / "artifacts" / "images").glob("*.png"))[:_COMPARED_IMAGES]
        linked |= {f"bundle/{path.name}": path for path in bundle.iterdir()}
        linked |= {f"evaluation/{name}": project / place for name, place in _PLACES.items()}
        if "report" in {record.name for record in records}:
            linked[f"evaluation/{REPORT}"] = project / "artifacts" / "report" / REPORT
        linked |= {f"images/{path.name}": path for path in images}
        sources = (path for path in (project / "meddet").rglob("*") if path.is_file())
        copied = {path.relative_to(project).as_posix(): path for path in sources if "__pycache__" not in path.parts}
    content = {
        "lineage": asdict(lineage),
        "headline": results.headline(),
        "student_tags": results.student_tags(),
        "records": [{**asdict(record), "shown": [path.name for path in record.shown]} for record in records],
    }
    _spool.write_entry(project, lineage.key, KIND, content, linked=linked, copied=copied)
    return lineage.key


def read_graph(entry: _spool.Entry) -> Graph:
    """Read an entry of this kind.

    Errors:
        ValueError: it isn't what `write_graph` writes.
    """
    content = entry.content
    try:
        return Graph(
            records=tuple(_record(record, entry.folder) for record in content["records"]),
            lineage=Lineage(**content["lineage"]),
            headline=content["headline"],
            student_tags=content["student_tags"],
            folder=entry.folder,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{entry.folder}: expected a finished graph, got {error!r}") from None


def _record(content: Mapping[str, object], folder: Path) -> Record:
    fields = dict(content)
    names, curves = fields.pop("shown"), fields.pop("curves")
    assert isinstance(names, list), names
    assert isinstance(curves, dict), curves
    shown = (folder / "shown" / str(fields["name"]) / name for name in names)
    return Record(
        **fields,  # type: ignore[arg-type]
        shown=tuple(path for path in shown if path.is_file()),
        curves={name: [(step, value) for step, value in curve] for name, curve in curves.items()},
    )

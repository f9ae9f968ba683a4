"""Stage report: one page about everything that was measured, for people."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from meddet.config import Params
from meddet.files import read_json, write_atomic
from meddet.pages.report import CURVES, Sources, report_page
from meddet.pages.report import REPORTS as NAMES
from meddet.pages.report_cost import ENGINE, engine_name, measured_bubbles, paper_bubbles
from meddet.pages.report_curves import read_rows
from meddet.pages.report_values import Named, model_names
from pipeline._stage import ARTIFACTS, REPORTS, run

PAGE = ARTIFACTS / "report" / "report.html"
REPORT_FILES = {name: REPORTS / f"{name}.json" for name in NAMES} | {"locate": REPORTS / "locate" / "locate.json"}
PARETO = REPORTS / "report" / "pareto.png"
FILES = {name: REPORTS / "evaluate" / f"{name}.csv" for name in CURVES} | {"noise": REPORTS / "robustness/curves.csv"}
NOTES = (
    "Circle area: parameters. The plain student is the student's own graph and has its latency. The paper's points are "
    "from another data set and another machine.\nResearch use only; phantom scores are not clinical."
)


def main(params: Params) -> None:
    """Write artifacts/report/report.html and reports/report/pareto.png."""
    sources = Sources(
        reports={name: Named(read_json(path), file=str(path)) for name, path in REPORT_FILES.items()},
        curves={name: read_rows(path, CURVES[name]) for name, path in FILES.items()},
    )
    page = report_page(
        sources,
        gallery=partial(gallery, models=model_names(sources.reports["evaluate"])),
        max_bytes=params.report.megabytes * 1_000_000,
    )
    write_atomic(PARETO, pareto_picture(sources.reports))
    write_atomic(PAGE, page.encode())
    print(f"{PAGE}: {len(page.encode()) / 1e6:.1f} MB, opens without a network")


def gallery(budget_bytes: int, *, models: Sequence[str]) -> str:
    """Make the part of the page to walk through the test images by."""
    from meddet.data.coco import read_coco
    from meddet.data.images import read_canonical
    from meddet.evaluate.scored import read_models
    from meddet.pages.gallery import gallery_fragment
    from meddet.structures import Region

    names = {sample.image_id: sample.file_name for sample in read_coco(ARTIFACTS / "coco.json").samples}
    regions = {int(key): Region(*corners) for key, corners in read_json(ARTIFACTS / "regions.json").items()}
    scored = read_models(ARTIFACTS / "evaluate" / "detections.json")
    return gallery_fragment(
        {name: scored[name] for name in models},
        lambda image_id: read_canonical(ARTIFACTS / "images" / names[image_id]),
        regions,
        budget_bytes=budget_bytes,
    )


def pareto_picture(reports: Mapping[str, Any]) -> bytes:
    """Draw accuracy against latency in the engine that users run."""
    from meddet.render_pareto import pareto_png

    evaluate, timed = reports["evaluate"], reports["benchmark"]["models"]
    bubbles = measured_bubbles(evaluate, timed, model_names(evaluate), ENGINE)
    return pareto_png(bubbles, paper_bubbles(), engine=engine_name(ENGINE), notes=NOTES)


if __name__ == "__main__":
    run(main)

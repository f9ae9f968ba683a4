"""Train the locator and write the region of every image."""

from typing import TYPE_CHECKING

from meddet.config import Params
from pipeline._stage import ARTIFACTS, REPORTS, run

if TYPE_CHECKING:
    from meddet.data.batches import ImageSet
    from meddet.models.locator import Locator, LocatorSettings
    from meddet.structures import Region
    from meddet.training_run import Row

PARTS = ("train", "validation", "test")


def main(params: Params) -> None:
    """Write artifacts/locate, artifacts/regions.json and reports/locate/."""
    import torch

    from meddet.data.batches import Batches
    from meddet.models.locator import Locator, LocatorSettings
    from meddet.train_locator import fit_locator
    from pipeline import _training as shared

    chosen, view = params.locate, params.view
    settings = LocatorSettings(chosen.size, chosen.width, chosen.zoom, view.margin, view.width / view.height)
    images = {part: shared.load_whole_images(part) for part in PARTS}
    train = images["train"].where(lambda sample: len(sample.target.boxes) > 1)
    if len(train) == 0:
        raise ValueError(f"{shared.COCO}: expected a training image with two boxes or more, found none")
    side = (settings.size, settings.size)
    batches = Batches(
        train + zoomed(train, chosen.zoom), side, chosen.batch_size, chosen.seed, shared.draw(params.locate.augment)
    )
    torch.manual_seed(chosen.seed)
    locator = Locator(settings.width)
    inputs = [shared.COCO, shared.SPLIT, shared.IMAGES]
    with shared.training("locate", params, sections=["locate", "view"], inputs=inputs) as session:
        rows = fit_locator(
            locator,
            batches,
            steps=chosen.steps,
            learning_rate=chosen.learning_rate,
            checkpoint_steps=chosen.checkpoint_steps,
            checkpoints=session.checkpoints,
            log=session.log,
            interrupted=session.interrupted,
        )
        write_results(locator, settings, images, rows)


def write_results(
    locator: "Locator", settings: "LocatorSettings", images: "dict[str, ImageSet]", rows: "list[Row]"
) -> None:
    """Write the locator, where it finds the column in every image, and how it learnt."""
    from meddet.files import write_json
    from meddet.models.locator import locate, points_of, save_locator
    from pipeline import _training as shared

    points = points_of(locator)
    regions: dict[int, Region] = {}
    for part in PARTS:
        for index, sample in enumerate(images[part].samples):
            regions[sample.image_id] = locate(points, images[part].pixels(index), settings)
    save_locator(ARTIFACTS / "locate", locator, settings)
    corners = {str(image_id): [r.x1, r.y1, r.x2, r.y2] for image_id, r in sorted(regions.items())}
    write_json(ARTIFACTS / "regions.json", corners)
    shared.write_curve(REPORTS / "locate" / "locate.csv", rows)
    shares = {f"discs_inside_{part}": inside_share(images[part], regions) for part in PARTS}
    write_json(REPORTS / "locate" / "locate.json", shares)


def zoomed(images: "ImageSet", zoom: float) -> "ImageSet":
    """Return the images as the second look sees them: square regions `zoom` column heights high round the column."""
    from meddet.models.locator import region_between
    from meddet.train_locator import column_ends

    regions = []
    for sample in images.samples:
        ends = column_ends(sample.target)
        regions.append(region_between(ends, (sample.height, sample.width), margin=zoom, aspect=1.0))
    return images.with_regions(regions)


def inside_share(images: "ImageSet", regions: "dict[int, Region]") -> float | str:
    """Return the share of annotated boxes that lie wholly inside their image's region."""
    inside = []
    for sample in images.samples:
        region = regions[sample.image_id]
        for x1, y1, x2, y2 in sample.target.boxes.tolist():
            inside.append(region.x1 <= x1 and region.y1 <= y1 and x2 <= region.x2 and y2 <= region.y2)
    return round(sum(inside) / len(inside), 6) if inside else "undefined (n=0)"


if __name__ == "__main__":
    run(main)

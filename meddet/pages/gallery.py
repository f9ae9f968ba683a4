"""The gallery of the report page: every test image with its boxes, to walk through, filter and re-threshold."""

from collections.abc import Callable, Mapping
from importlib.resources import files

import jinja2
import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from meddet.classes import CLASSES, LEVELS
from meddet.evaluate.errors import error_verdicts
from meddet.evaluate.scored import Scored
from meddet.pages.gallery_data import Carried, carried
from meddet.pages.gallery_figures import SHOWN_KINDS, cut_out, drawn, figure_six, tell_wrong, worst_images
from meddet.pages.report_values import STUDENT, model_name
from meddet.structures import Region

_TEMPLATE, _STYLE, _SCRIPTS = "gallery.html.j2", "gallery.css", ("gallery_rules.js", "gallery.js")
_FIGURE_PX, _THUMBNAIL_PX = 480, 240
_SMALL_BYTES = 3_000_000
_SLACK_BYTES = 100
"""For numbers in the text that are longer than those of an empty gallery."""
_EMPTY = Carried(Markup(), {}, images=1, floor=0.0, longest_side=0, quality=0)


def gallery_fragment(
    models: Mapping[str, Scored],
    images: Callable[[int], Float[np.ndarray, "h w"]],
    regions: Mapping[int, Region],
    *,
    budget_bytes: int,
) -> Markup:
    """Give a complete section with its own style and script; the same inputs are the same text.

    Args:
        models: by name, all on the same images; one of them is the student.
        images: gives the pixels of an image, in [0, 1].
        regions: the part of each image that was looked at, by image id; the whole image where there is none.
        budget_bytes: of the section. Where the images don't fit, they get coarser, then fewer, and the section says so.

    Errors:
        ValueError: no student, models on different images, or not even one image fits.
    """
    ordered = _ordered(models)
    verdicts = {name: error_verdicts(scored) for name, scored in ordered.items()}
    student, scale = ordered[STUDENT], 1 if budget_bytes >= _SMALL_BYTES else 2
    index_of = {image_id: index for index, image_id in enumerate(student.image_ids)}
    worst = []
    for verdict in worst_images(verdicts[STUDENT]):
        target = student.targets[index_of[verdict.image_id]]
        pixels, region = images(verdict.image_id), regions.get(verdict.image_id)
        cut = cut_out(pixels, region, target, longest_side=_THUMBNAIL_PX // scale)
        worst.append((verdict, cut, drawn(model_name(STUDENT), verdict, target), tell_wrong(verdict)))
    figure = figure_six(ordered, verdicts, images, regions, longest_side=_FIGURE_PX // scale)

    def page(parts: Carried) -> str:
        return _template().render(
            style=_asset(_STYLE),
            script=Markup('(() => {\n"use strict";\n') + Markup("\n").join(map(_asset, _SCRIPTS)) + Markup("})();"),
            models=[(name, model_name(name)) for name in ordered],
            classes=CLASSES,
            levels=LEVELS,
            kinds=SHOWN_KINDS,
            worst=worst,
            figure=figure,
            carried=parts,
            has_plain="baseline" in ordered,
        )

    room = budget_bytes - len(page(_EMPTY).encode()) - _SLACK_BYTES
    first = [each[0].image_id for each in worst]
    return Markup(page(carried(ordered, images, regions, first=first, room=room)))


def _ordered(models: Mapping[str, Scored]) -> dict[str, Scored]:
    """Put the student first, then the plain student, then the teachers by size, as the rest of the page does."""
    if STUDENT not in models:
        raise ValueError(f"the gallery: expected a model {STUDENT!r}, got {', '.join(sorted(models)) or 'none'}")
    for name, scored in models.items():
        if scored.test_md5 != models[STUDENT].test_md5 or scored.image_ids != models[STUDENT].image_ids:
            raise ValueError(f"the gallery: expected {name} on the images of {STUDENT}, got others")
    names = sorted(models, key=lambda name: (name != STUDENT, name != "baseline", len(name), name))
    return {name: models[name] for name in names}


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(_asset(_TEMPLATE))


def _asset(name: str) -> Markup:
    return Markup(files("meddet.pages").joinpath(name).read_text(encoding="utf-8"))

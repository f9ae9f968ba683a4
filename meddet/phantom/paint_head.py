"""Paint the head over the trunk; brain stem and column come after it."""

import numpy as np

from meddet.phantom.habitus import Habitus
from meddet.phantom.head import Head
from meddet.phantom.paint_brain import paint_cerebellum, paint_skull, paint_vault
from meddet.phantom.paint_face import paint_airway, paint_mouth, paint_nose, paint_profile
from meddet.phantom.paint_throat import paint_larynx
from meddet.phantom.raster import Canvas
from meddet.phantom.spine import Spine
from meddet.phantom.tissue import Tissue


def paint_head(canvas: Canvas, spine: Spine, habitus: Habitus, tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint face, mouth, airway, skull and cerebellum, and the larynx that hangs on the tongue."""
    head = Head(canvas, spine, rng)
    paint_vault(head, tissue, rng)
    paint_profile(canvas, head, habitus, tissue, rng)
    paint_nose(head, tissue, rng)
    paint_mouth(head, tissue, rng)
    paint_airway(head, tissue, rng)
    paint_larynx(canvas, habitus, tissue, rng)
    paint_skull(head, tissue, rng)
    paint_cerebellum(head, tissue, rng)

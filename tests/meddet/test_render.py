import io

import numpy as np
import PIL.Image
import pytest
import torch

from meddet.evaluate.pr import curve_of
from meddet.render import Panel, gallery_png, overlay_png
from meddet.render_charts import Contender, Latency, benchmark_png, pr_png
from meddet.structures import Detections, Region, Target

PIXELS = np.full((120, 100), 0.5, dtype=np.float32)
REGION = Region(20.0, 10.0, 90.0, 112.0)
TEXTS = ["C4/5  61%", "?  12%"]
NONE = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
FOUND = Detections(torch.tensor([[40.0, 30, 60, 40], [40, 60, 60, 70]]), torch.tensor([0.9, 0.4]), torch.tensor([0, 1]))


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def count_near(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(image - np.array(colour)).sum(axis=2) < 60).sum())


def test_an_overlay_shows_each_class_in_its_own_colour() -> None:
    empty = pixels_of(overlay_png(PIXELS, NONE, REGION, texts=[], title="a", notice="b"))
    drawn = pixels_of(overlay_png(PIXELS, FOUND, REGION, texts=TEXTS, title="a", notice="b"))
    for colour in ((255, 159, 28), (86, 207, 225)):
        assert count_near(drawn, colour) > count_near(empty, colour) + 100


def test_the_same_overlay_is_the_same_bytes() -> None:
    first, second = (overlay_png(PIXELS, FOUND, REGION, texts=TEXTS, title="a", notice="b") for _ in range(2))
    assert first == second


def test_a_region_beyond_the_image_is_drawn_whole() -> None:
    outside = Region(-40.0, -30.0, 140.0, 150.0)
    assert pixels_of(overlay_png(PIXELS, FOUND, outside, texts=TEXTS, title="a", notice="b")).shape[0] > 500


@pytest.mark.parametrize("images", [0, 1, 3])
def test_a_gallery_of_any_length(images: int) -> None:
    panel = Panel(PIXELS, REGION, Target(FOUND.boxes, FOUND.labels), FOUND, "image 7: 0 errors")
    image = pixels_of(gallery_png([("best", [panel] * images), ("worst", [panel] * images)], title="t"))
    assert (count_near(image, (255, 159, 28)) > 500) == (images > 0)


def test_charts_of_undefined_and_of_ordinary_numbers() -> None:
    curve = curve_of(np.array([0.9, 0.8]), np.array([True, False]), 2)
    undefined = curve_of(np.array([0.9]), np.array([False]), 0)
    chart = pixels_of(pr_png({"protrusion": {"student": curve, "resnet50": undefined}}, title="t"))
    assert count_near(chart, (194, 65, 12)) > 200
    bars = [Latency("torch", 10.0, 12.0), Latency("onnxruntime", 5.0, 6.0)]
    contender = Contender("student", 10_000_000, 5.0, bars, [Latency("torch", 20.0, 21.0), Latency("x", 9.0, 9.0)])
    chart = pixels_of(benchmark_png([contender], title="t", headings=("all", "one"), notes="n"))
    assert count_near(chart, (14, 116, 144)) > 1000

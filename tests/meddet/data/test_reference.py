import pandas as pd
import pytest

from meddet.data.intensity import INTENSITIES
from meddet.data.reference import INTENSITY, compare_boxes, compare_intensities


def boxes_of(image: int, *, side: int = 1000, pitch: float = 70, width: float = 80) -> list[dict[str, float]]:
    rows = []
    for level in range(6):
        x, y = 480.0, 380.0 + level * pitch
        sides = {"width": width, "height": 33.0, "image_width": side, "image_height": side}
        corners = {"x1": x - width / 2, "x2": x + width / 2, "y1": y - 16.5, "y2": y + 16.5}
        rows.append({"image_id": image, **corners, **sides})
    return rows


def test_boxes_are_measured_in_shares_of_the_side_whatever_their_order() -> None:
    frame = pd.DataFrame(boxes_of(1) + boxes_of(2, pitch=80)).sample(frac=1, random_state=3)
    found = {row.name: row for row in compare_boxes(frame)}
    assert found["width, share of the side"].value == pytest.approx(0.08)
    assert found["height, share of the side"].value == pytest.approx(0.033)
    assert found["width / height"].value == pytest.approx(80 / 33)
    assert found["distance of neighbours, share of the side"].value == pytest.approx(0.075)
    assert found["centre from the left, share of the width"].value == pytest.approx(0.48)
    assert found["top disc from above, share of the height"].value == pytest.approx(0.38)
    assert all(row.inside for row in found.values())


def test_the_side_of_a_long_image_is_the_root_of_its_area() -> None:
    frame = pd.DataFrame(boxes_of(1)).assign(image_width=500, image_height=2000)
    assert next(iter(compare_boxes(frame))).value == pytest.approx(0.08)


def test_an_odd_value_is_outside_and_no_value_is_none() -> None:
    wide = {row.name: row for row in compare_boxes(pd.DataFrame(boxes_of(1, width=300)))}
    assert not wide["width, share of the side"].inside
    empty = pd.DataFrame(boxes_of(1)).head(0)
    assert [(row.value, row.inside) for row in compare_boxes(empty)] == [(None, False)] * len(wide)


def test_intensities_are_medians_over_images_with_their_spread() -> None:
    columns = INTENSITIES[-len(INTENSITY) :]
    spans = dict(zip(columns, INTENSITY.values(), strict=True))
    frame = pd.DataFrame({column: [s.low, (s.low + s.high) / 2, 1e6] for column, s in spans.items()})
    for row in compare_intensities(frame):
        (span,) = row.ranges
        assert row.value == pytest.approx((span.low + span.high) / 2)
        assert row.inside
        assert row.low < row.value < row.high

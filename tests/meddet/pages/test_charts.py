import re

import pytest

from meddet.pages.charts_bubbles import Bubble, bubbles_at
from meddet.pages.charts_forest import Row, forest
from meddet.pages.charts_svg import Line, Scale, chart, round_scale, unit_scale
from meddet.pages.charts_text import width_of


def test_a_scale_maps_its_ends_and_holds_what_is_beyond() -> None:
    scale = unit_scale("share")
    assert [scale.place(value, 10.0, 20.0) for value in (0.0, 0.25, 1.0, 7.0, -1.0)] == [10, 12.5, 20, 20, 10]


def test_a_logarithmic_scale_doubles_in_equal_steps() -> None:
    scale = Scale(0.125, 8.0, (), "rate", logarithmic=True)
    places = [scale.place(2.0**power, 0.0, 60.0) for power in range(-3, 4)]
    assert places == pytest.approx([0, 10, 20, 30, 40, 50, 60])


def test_round_ticks_hold_the_values() -> None:
    scale = round_scale([31.7, 77.4], "ms")
    assert scale.low == 0
    assert scale.high >= 77.4
    assert round_scale([0.0], "ms").high > 0


def test_a_chart_says_what_it_is_and_has_no_ids() -> None:
    drawn = chart("a < b", unit_scale("x"), unit_scale("y"), lines=[Line(0, [(0.0, 0.0), (1.0, 1.0)], [2.6, 2.6])])
    assert 'role="img" aria-label="a &lt; b"' in drawn
    assert " id=" not in drawn
    assert '<polyline class="line s0" points="46.0,228.0 330.0,12.0"/>' in drawn
    assert drawn.count("<circle") == 2


def test_names_of_circles_keep_off_each_other_and_stay_inside() -> None:
    names = ("student", "plain student", "ResNet-50", "ResNet-101", "ResNet-152")
    placed = [(Bubble(i, 0.0, 0.0, 0.3, name), 150.0 + 6 * i, 100.0) for i, name in enumerate(names)]
    drawn = "".join(bubbles_at(placed, lambda value: value, within=(46.0, 12.0, 340.0, 150.0)))
    found = re.findall(r'<text class="name" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)<', drawn)
    boxes = [(float(x), float(y) - 9, float(x) + width_of(name), float(y) + 3) for x, y, name in found]
    assert len(boxes) == 5
    for index, one in enumerate(boxes):
        assert one[0] >= 46
        assert one[2] <= 340
        assert one[1] >= 12
        assert one[3] <= 150
        for other in boxes[index + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_a_forest_shows_words_where_there_is_no_number() -> None:
    rows = [Row("Sex", "", None, heading=True), Row("F", "0.80", 0.8, (0.7, 0.9), "n = 24"), Row("M", "withheld", None)]
    drawn = forest("groups", rows, unit_scale("AUC"), reference=0.5)
    assert drawn.count('class="mark"') == 1
    assert drawn.count("whisker") == 1
    assert ">withheld<" in drawn
    assert '<line class="ideal" x1="203.0"' in drawn

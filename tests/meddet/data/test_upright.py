import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meddet.data.upright import Turn, upright

TURNS = [Turn(t, r, c) for t in (False, True) for r in (False, True) for c in (False, True)]
BACK, FEET = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])


@pytest.mark.parametrize("turn", TURNS)
def test_a_slice_stored_in_any_way_is_set_upright(turn: Turn) -> None:
    """`turn.inverse()` stores an upright slice in another way; the axes of what it stores are turned alike."""
    standing = np.arange(12).reshape(3, 4)
    stored = turn.inverse().pixels(standing)
    along_row, down_column = (FEET, BACK) if turn.transpose else (BACK, FEET)
    signs = (turn.flip_columns, turn.flip_rows)
    along_row = along_row * (-1 if signs[int(turn.transpose)] else 1)
    down_column = down_column * (-1 if signs[1 - int(turn.transpose)] else 1)
    found = upright([*along_row, *down_column])
    assert found is not None
    assert np.array_equal(found.pixels(stored), standing)


def test_an_oblique_sagittal_slice_goes_by_its_nearest_axes_and_another_plane_by_none() -> None:
    assert upright([0.2, 0.95, 0.1, 0.05, 0.1, -0.99]) == Turn()
    assert upright([0.2, -0.95, 0.1, 0.05, 0.1, 0.99]) == Turn(flip_rows=True, flip_columns=True)
    assert upright([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]) is None
    assert upright([1.0, 0.0, 0.0, 0.0, 0.0, -1.0]) is None


@given(turn=st.sampled_from(TURNS), size=st.tuples(st.integers(2, 9), st.integers(2, 9)), numbers=st.integers(0, 10**6))
def test_boxes_follow_their_pixels_and_come_back(turn: Turn, size: tuple[int, int], numbers: int) -> None:
    height, width = size
    rng = np.random.default_rng(numbers)
    (y1, y2), (x1, x2) = (np.sort(rng.choice(side + 1, 2, replace=False)) for side in size)
    pixels = np.zeros(size)
    pixels[y1:y2, x1:x2] = 1
    turned = turn.pixels(pixels)
    assert turned.shape == turn.of_axes((height, width))
    boxes = np.array([[x1, y1, x2, y2]], dtype=np.float64)
    ((a, b, c, d),) = turn.boxes(boxes, size).astype(int)
    expected = np.zeros(turned.shape)
    expected[b:d, a:c] = 1
    assert np.array_equal(turned, expected)
    back = turn.inverse()
    assert np.array_equal(back.pixels(turned), pixels)
    assert np.array_equal(back.boxes(turn.boxes(boxes, size), turned.shape), boxes)
    assert turn.boxes(np.zeros((0, 4)), size).shape == (0, 4)

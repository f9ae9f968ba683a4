import io

import pytest

from flows import _screen
from flows._screen import Screen

PIECES = [("", True), (" 10%", True), (" 20%", True), ("done", False)]


def written(*, in_place: bool, prefix: str = "") -> str:
    out = io.StringIO()
    screen = Screen(in_place=in_place, prefix=prefix, out=out)
    for text, is_progress in PIECES:
        screen.write(text, is_progress)
    return out.getvalue()


def test_a_terminal_sees_progress_redrawn_in_its_line() -> None:
    assert written(in_place=True) == "\r\x1b[K 10%\r\x1b[K 20%\r\x1b[Kdone\n"


def test_a_file_sees_no_progress_of_a_short_stage_and_every_line() -> None:
    assert written(in_place=False, prefix="[a] ") == "[a] done\n"


def test_a_file_sees_progress_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_screen, "PROGRESS_S", 0.0)
    assert written(in_place=False) == "10%\n20%\ndone\n"

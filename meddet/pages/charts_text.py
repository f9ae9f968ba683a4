"""Text in SVG."""

from markupsafe import escape

_LETTER_PX = 5.9


def text(x: float, y: float, content: str, *, kind: str = "", anchor: str = "start") -> str:
    """Write text."""
    extra = f' class="{kind}"' if kind else ""
    return f'<text{extra} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def width_of(content: str) -> float:
    """Estimate how wide text is, px."""
    return _LETTER_PX * len(content)

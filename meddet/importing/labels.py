"""Other people's names for our classes and levels."""

import re
from collections.abc import Mapping

from meddet.classes import CLASSES, LEVELS

IGNORE = "ignore"
"""What the user translates a label to whose boxes are left out."""
SYNONYMS = {
    **dict.fromkeys(("protrusion", "protruded", "herniation", "herniated", "hernia", "cdh", "hnp"), "protrusion"),
    **dict.fromkeys(("extrusion", "extruded", "prolapse", "sequestration"), "protrusion"),
    **dict.fromkeys(("non protrusion", "nonprotrusion", "no protrusion", "not protruded"), "non-protrusion"),
    **dict.fromkeys(("normal", "healthy", "non herniated", "no herniation", "non cdh"), "non-protrusion"),
}
"""Other names, in lower case with spaces for punctuation and without "disc", and ours. A bulge is left to the user."""
_LEVEL = re.compile(r"(?<![a-z0-9])c\s*([2-7])\s*[-/_ ]?\s*(?:(c|t|th|d)?\s*([1-7]))(?![0-9])", re.IGNORECASE)
_DISC = re.compile(r"(?<![a-z])(dis[ck]s?|ivd)(?![a-z])", re.IGNORECASE)


def class_of(label: str, more: Mapping[str, str]) -> str | None:
    """Translate a label, without the level that it may hold; `more` holds the user's own translations."""
    for text in (label, _DISC.sub(" ", _LEVEL.sub(" ", label))):
        name = normalised(text)
        for table in ({normalised(old): new for old, new in more.items()}, SYNONYMS):
            if name in table:
                return table[name]
    return None


def level_of(text: str | None) -> str | None:
    """Find a level in a text: "C5/6", "c5-c6", "C56" or "protrusion C7-T1"; None where there is none or several."""
    levels = {_level(match) for match in _LEVEL.finditer(text or "")} - {None}
    return levels.pop() if len(levels) == 1 else None


def read_classes(text: str) -> dict[str, str]:
    """Read the user's translations, "old=new,old=new".

    Errors:
        ValueError: of another form, or to a class that we don't have.
    """
    classes = {}
    for pair in filter(None, text.split(",")):
        old, _, new = pair.rpartition("=")
        if not old or new.strip() not in (*CLASSES, IGNORE):
            names = ", ".join((*CLASSES, IGNORE))
            raise ValueError(f"--classes: expected OLD=NEW with NEW one of {names}, got {pair!r}")
        classes[old.strip()] = new.strip()
    return classes


def normalised(label: str) -> str:
    """Fold case and punctuation."""
    return " ".join(re.findall(r"[^\W_]+", label.casefold()))


def _level(match: re.Match[str]) -> str | None:
    upper, letter, lower = int(match[1]), (match[2] or "").lower(), int(match[3])
    if upper == 7:
        name = f"C7/T{lower}" if letter != "c" else ""
    else:
        name = f"C{upper}/{lower}" if letter in ("", "c") else ""
    return name if name in LEVELS else None

"""New names for patients, ages without dates, and the key that makes both repeatable."""

import hashlib
import hmac
import os
import re
import secrets
from datetime import date
from pathlib import Path

_OLDEST = 90.0
_KEY_BYTES = 32
_DAYS_PER_YEAR = 365.25
_UNITS = {"Y": 1.0, "M": 1 / 12, "W": 7 / _DAYS_PER_YEAR, "D": 1 / _DAYS_PER_YEAR}


def read_key(path: Path) -> bytes:
    """Read the secret key; the same key gives the same pseudonyms. An absent one is made, readable by the owner only.

    Errors:
        ValueError: not a key, or too short to be one.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
    try:
        text = path.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected a key of hexadecimal digits, got something else") from None
    if not re.fullmatch(r"[0-9a-f]{32,}", text):
        raise ValueError(f"{path}: expected a key of 32 hexadecimal digits or more, got something else")
    return bytes.fromhex(text[: len(text) // 2 * 2])


def pseudonym(key: bytes, identity: str) -> str:
    """Give a patient's new name, by HMAC-SHA256: without the key it leads back to nobody."""
    return "P" + hmac.new(key, identity.strip().encode(), hashlib.sha256).hexdigest()[:12]


def hash_path(key: bytes, path: str) -> str:
    """Give a name for a path, which may itself hold a patient's name."""
    return hmac.new(key, f"path {path}".encode(), hashlib.sha256).hexdigest()[:12]


def age_years(age: str | None, birth: str | None, study: str | None) -> float | None:
    """Read PatientAge ("041Y", "018M"), or take the years between two dates (YYYYMMDD); ages above 89 become 90."""
    years = None
    if age and (match := re.fullmatch(r"\s*(\d{1,3})([YMWD])\s*", age)):
        years = int(match[1]) * _UNITS[match[2]]
    elif birth and study and (born := _day(birth)) and (scanned := _day(study)) and born <= scanned:
        years = (scanned - born).days / _DAYS_PER_YEAR
    return None if years is None else cap_age(years)


def cap_age(years: float) -> float:
    """Round down to whole years; above 89 say 90, because few people are that old."""
    return min(float(int(years)), _OLDEST)


def _day(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None

import stat
from pathlib import Path

import pytest

from meddet.data.raw import hash_patient
from meddet.importing.pseudonym import age_years, cap_age, pseudonym, read_key


def test_the_same_key_gives_the_same_name_and_another_key_another() -> None:
    first, second = bytes(32), bytes([1]) * 32
    assert pseudonym(first, "id-17") == pseudonym(first, " id-17 ")
    assert pseudonym(first, "id-17") != pseudonym(second, "id-17")
    assert pseudonym(first, "id-17") != pseudonym(first, "id-18")


def test_known_answer_of_hmac_sha256() -> None:
    # printf id-17 | openssl dgst -sha256 -mac HMAC -macopt hexkey:<64 zeros>
    assert pseudonym(bytes(32), "id-17") == "P48b1e6155b34"


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "data.key"
    key = read_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key(path) == key


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff\xfe", b"not a key at all, but long enough to be one"])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.key"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected a key of"):
        read_key(path)


@pytest.mark.parametrize(
    ("age", "birth", "study", "years"),
    [
        ("041Y", None, None, 41.0),
        ("018M", "19000101", "20200101", 1.0),
        (None, "19800615", "20200614", 39.0),
        (None, "19800615", "20200615", 40.0),
        (None, "19200101", "20200601", 90.0),
        ("089Y", None, None, 89.0),
        ("104Y", None, None, 90.0),
        ("41", None, None, None),
        (None, "20200101", "19800101", None),
        (None, "19801399", "20200101", None),
        (None, None, "20200101", None),
    ],
)
def test_ages_come_without_dates_and_capped(
    age: str | None, birth: str | None, study: str | None, years: float | None
) -> None:
    assert age_years(age, birth, study) == years
    assert cap_age(89.9) == 89.0


def test_uids_are_hashed_as_ingest_hashes() -> None:
    assert hash_patient("1.2.3") == "1d697eea2d53"

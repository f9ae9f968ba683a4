import pytest

from meddet.importing.labels import class_of, level_of, read_classes


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("protrusion", "protrusion"),
        ("Herniated_Disc", "protrusion"),
        ("CDH", "protrusion"),
        ("disc-herniation C5/6", "protrusion"),
        ("Non-Protrusion", "non-protrusion"),
        ("healthy disc", "non-protrusion"),
        ("NORMAL", "non-protrusion"),
        ("disc_C4-5_normal", "non-protrusion"),
        ("bulge", None),
        ("vertebra", None),
        ("", None),
    ],
)
def test_known_names_are_translated(label: str, name: str | None) -> None:
    assert class_of(label, {}) == name


def test_the_users_names_come_first() -> None:
    more = read_classes("Bulge=protrusion, vertebra=ignore,normal=protrusion")
    assert [class_of(label, more) for label in ("bulge C3/4", "VERTEBRA", "normal")] == [
        "protrusion",
        "ignore",
        "protrusion",
    ]


@pytest.mark.parametrize("text", ["protrusion", "=protrusion", "a=herniated"])
def test_wrong_translations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--classes: expected OLD=NEW"):
        read_classes(text)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("C5/6", "C5/6"),
        ("c5-c6", "C5/6"),
        ("C56", "C5/6"),
        ("protrusion_C2_3", "C2/3"),
        ("C7/T1", "C7/T1"),
        ("c7-th1", "C7/T1"),
        ("C7/1", "C7/T1"),
        ("C5", None),
        ("C5/7", None),
        ("C8/9", None),
        ("C3/4 and C4/5", None),
        ("abc12", None),
        (None, None),
    ],
)
def test_levels_are_read(text: str | None, level: str | None) -> None:
    assert level_of(text) == level

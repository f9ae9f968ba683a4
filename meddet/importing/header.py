"""What a file says of itself. The patient has the new name from here on."""

from dataclasses import dataclass
from typing import Literal

from meddet.importing.geometry import Plane
from meddet.importing.intended import SeriesHeader

Kind = Literal["dicom", "nifti", "picture"]


@dataclass(frozen=True)
class Left:
    """A file that isn't brought, through no fault of its own."""

    outcome: Literal["outside the intended use", "ignored"]
    reason: str


@dataclass(frozen=True)
class Subject:
    """What the tags tell of a patient, under the new name; None where they tell nothing."""

    name: str | None
    age: float | None = None
    sex: str | None = None
    scanner: str | None = None
    field_strength_t: float | None = None


@dataclass(frozen=True)
class Header:
    """What a file tells. `size` is (width, height) of the frame in which annotations count pixels.

    `planes` has an entry for each slice in the file, None where the file doesn't know where it lies. `study`, `series`
    and `instance` are hashes; `instance_uid` itself is only compared with the names in the annotations.
    """

    kind: Kind
    size: tuple[int, int]
    planes: tuple[Plane | None, ...]
    subject: Subject
    study: str | None = None
    series: str | None = None
    instance: str | None = None
    instance_uid: str | None = None
    identifying: tuple[str, ...] = ()
    burned_in: bool = False
    says: SeriesHeader | None = None


def quotable(text: str) -> str:
    """Cut what a library said off a refusal: it may quote the file."""
    head, mark, _ = text.partition(", got: ")
    return f"{head}, got something else" if mark else head

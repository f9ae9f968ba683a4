"""Which elements of a DICOM header may identify a person: names only, never a value."""

from functools import cache
from typing import Literal

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as profile
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

_Action = Literal["remove", "replace"]
_REMOVED = (profile.X_TAGS,)
_REPLACED = (
    *(profile.Z_TAGS, profile.D_TAGS, profile.Z_D_TAGS, profile.X_Z_TAGS, profile.X_D_TAGS),
    profile.X_Z_D_TAGS,
)
_KEPT = {(0x0010, 0x0040), (0x0010, 0x1010)}
"""Sex and age: they leave as columns of patients.csv, the age without its date and capped."""


def identifying_tags(dataset: Dataset) -> list[str]:
    """List the elements with a value that the basic profile of DICOM PS3.15 annex E (2026c) removes or replaces.

    Sequences are searched too. Private elements are listed by their numbers. UIDs are not listed: they only leave
    hashed. Where the file declares itself de-identified (PatientIdentityRemoved YES and a method), an element that the
    profile replaces may hold its replacement and isn't listed; one that it removes still is.
    """
    declared = dataset.get("PatientIdentityRemoved") == "YES" and any(
        dataset.get(keyword) for keyword in ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
    )
    return sorted(set(_search(dataset, declared=declared)))


def _search(dataset: Dataset, *, declared: bool) -> list[str]:
    """Look at tags and lengths alone: a value is not even decoded, unless it is a sequence."""
    found = []
    for tag in dataset.keys():  # noqa: SIM118 - a Dataset iterates over elements
        if tag.is_private:
            found.append(f"private ({tag.group:04x},{tag.element:04x})")
            continue
        raw = dataset.get_item(tag)
        if raw is None or not raw.value:
            continue
        action = _action(tag.group, tag.element)
        if action == "remove" or (action == "replace" and not declared):
            found.append(keyword_for_tag(tag) or f"({tag.group:04x},{tag.element:04x})")
        if (raw.VR or _dictionary_vr(tag)) == "SQ":
            for item in dataset[tag].value:
                found += _search(item, declared=declared)
    return found


def _dictionary_vr(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


@cache
def _action(group: int, element: int) -> _Action | None:
    """Look an element up; an entry of four numbers is a range: a tag and the bits of it that count."""
    if (group, element) in _KEPT:
        return None
    tables: tuple[tuple[_Action, tuple[list[tuple[int, ...]], ...]], ...]
    tables = (("remove", _REMOVED), ("replace", _REPLACED))
    for action, lists in tables:
        for tag in (tag for entries in lists for tag in entries):
            group_bits, element_bits = tag[2:] or (0xFFFF, 0xFFFF)
            if (group & group_bits, element & element_bits) == tag[:2]:
                return action
    return None

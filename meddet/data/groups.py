"""Patients who are probably one person, or share a picture: linked by UIDs and by likeness, and put into groups."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from meddet.data.duplicates import Likeness, find_likenesses
from meddet.data.fingerprint import fingerprint
from meddet.data.images import read_canonical


@dataclass(frozen=True)
class Link:
    """Two images that belong together, and why; `detail` says how they were matched."""

    reason: str
    images: tuple[int, int]
    patients: tuple[str, str]
    score: float
    detail: str

    def __str__(self) -> str:
        who = " and ".join(sorted(set(self.patients)))
        return f"images {self.images[0]} and {self.images[1]} of {who}: {self.reason} ({self.detail})"


def find_links(images: pd.DataFrame, folder: Path, *, threshold: float) -> list[Link]:
    """Find images that belong together: by their UIDs, by their bytes within a patient, by likeness across patients."""
    paths = [folder / name for name in images["file_name"]]
    digests = [hashlib.md5(path.read_bytes()).hexdigest() for path in paths]
    pictures = [fingerprint(read_canonical(path)) for path in tqdm(paths, desc="doubles", unit="image", disable=None)]
    found = find_likenesses(np.stack(pictures), images["patient_id"].tolist(), threshold=threshold)
    return [*links_by_uid(images), *links_by_pixels(images, digests), *links_by_likeness(images, found)]


def links_by_uid(images: pd.DataFrame) -> list[Link]:
    """Link images of different patients that name one study, and any that name one instance."""
    links: list[Link] = []
    for column, reason, others_only in (("study", "one study", True), ("instance", "one instance", False)):
        for uid, rows in images.dropna(subset=[column]).groupby(column):
            links += _pairs(rows, reason, str(uid), others_only=others_only)
    return links


def links_by_pixels(images: pd.DataFrame, digests: Sequence[str]) -> list[Link]:
    """Link images of one patient that are the same to the last bit; `digests` are in the table's order."""
    links: list[Link] = []
    for digest, rows in images.assign(digest=list(digests)).groupby("digest"):
        for _, own in rows.groupby("patient_id"):
            links += _pairs(own, "the same picture", f"md5 {str(digest)[:12]}", others_only=False)
    return links


def links_by_likeness(images: pd.DataFrame, found: Iterable[Likeness]) -> list[Link]:
    """Say likenesses, which name images by their place in the table, as links."""
    links = []
    for likeness in found:
        places = [likeness.first, likeness.second]
        first, second = (images.iloc[place] for place in places)
        top, bottom, left, right = likeness.window
        detail = f"correlation {likeness.score:.3f}, flip {likeness.flip}, "
        detail += f"rows {top:.2f}-{bottom:.2f}, columns {left:.2f}-{right:.2f} of the first"
        ids = (int(first["image_id"]), int(second["image_id"]))
        links.append(Link("alike", ids, (str(first["patient_id"]), str(second["patient_id"])), likeness.score, detail))
    return links


def groups_table(patients: Sequence[str], links: Iterable[Link]) -> pd.DataFrame:
    """Give each patient's group, named by its first patient: linked patients, and whom those are linked with."""
    group = {patient: patient for patient in patients}
    for link in links:
        first, second = sorted(group[patient] for patient in link.patients)
        group = {patient: first if name == second else name for patient, name in group.items()}
    return pd.DataFrame({"patient_id": sorted(group), "group": [group[patient] for patient in sorted(group)]})


def duplicates_json(links: Sequence[Link], groups: pd.DataFrame, *, rule: str, likeness: float) -> dict[str, Any]:
    """Give the report: links across patients, pictures that one patient has twice, and groups of several patients."""
    several = groups.groupby("group")["patient_id"].apply(list)
    across = [link for link in links if link.patients[0] != link.patients[1]]
    return {
        "rule": rule,
        "likeness": likeness,
        "across_patients": [_link_json(link) for link in across],
        "within_patients": [_link_json(link) for link in links if link.patients[0] == link.patients[1]],
        "groups": [members for members in several if len(members) > 1],
    }


def _pairs(rows: pd.DataFrame, reason: str, detail: str, *, others_only: bool) -> Iterator[Link]:
    found = list(zip(rows["image_id"], rows["patient_id"], strict=True))
    for (first, one), (second, other) in combinations(found, 2):
        if one != other or not others_only:
            yield Link(reason, (int(first), int(second)), (str(one), str(other)), 1.0, detail)


def _link_json(link: Link) -> dict[str, Any]:
    return {
        "reason": link.reason,
        "images": list(link.images),
        "patients": list(link.patients),
        "score": link.score,
        "detail": link.detail,
    }

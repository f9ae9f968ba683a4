"""Whether a series is what this program is for: sagittal T2-weighted MR of the cervical spine. No pixels, no files."""

import math
import re
import unicodedata
from dataclasses import dataclass

_MOST_TILT_DEG = 30.0
_LEAST_ECHO_MS = 60.0
_LEAST_REPETITION_MS = 1500.0
_FLUID_SUPPRESSED_MS = 1200.0
"""Inversion times above this suppress fluid (FLAIR), those below suppress fat (STIR)."""
_LEAST_SIDE_PX = 64
_PLANES = ("sagittal", "coronal", "axial")

_CERVICAL = (
    *("cervical", "cervic", "cerv", "c spine", "cspine", "csp", "hws", "halswirbel", "hals", "neck", "headneck"),
    *("cou", "collo", "cuello", "nek", "cwk", "servikal", "kaularanka", "шейн", "шоп", "颈", "頸", "頚", "경추"),
)
_ELSEWHERE = (
    *("lumbar", "lumbal", "lumbo", "lws", "lendenwirbel", "lombaire", "lombar", "lombo", "l spine", "lspine", "lsp"),
    *("sacr", "sakr", "thoracic", "thorac", "thorak", "torac", "torak", "bws", "dorsal", "dorsale", "t spine"),
    *("tspine", "tsp", "brain", "head", "kopf", "schadel", "hirn", "neurocran", "cerveau", "crane", "encefal"),
    *("cerebr", "cerebellum", "knee", "knie", "genou", "ginocchio", "rodilla", "joelho", "hip", "hufte", "hanche"),
    *("shoulder", "schulter", "epaule", "pelvis", "becken", "bassin", "abdomen", "prostat", "breast", "brust"),
    *("heart", "cardiac", "herz", "liver", "leber", "wrist", "ankle", "elbow", "foot", "hand", "поясн", "груд"),
    *("голов", "колен", "腰", "胸", "膝", "脑", "腦", "头", "頭", "요추", "흉추"),
)
_NO_IMAGING_OF_DISCS = (
    *("localizer", "localiser", "localisateur", "scout", "survey", "loc", "3 plane", "plan scan", "dwi", "adc"),
    *("diffusion", "diff", "dti", "mra", "tof", "angio", "perfusion", "spectro", "myelo", "mip", "flair", "swi"),
)
_T2 = ("t2", "t2w", "frfse")
_FAT_SUPPRESSED = ("stir", "tirm", "fs", "fatsat", "spair", "spir", "dixon", "tir", "ir")


@dataclass(frozen=True)
class SeriesHeader:
    """What a series says about itself; None or empty where it says nothing.

    `orientation` is ImageOrientationPatient, `kind` the words of ImageType and the name of the SOP class. `texts` are
    its descriptions, the most specific first; that of the whole study comes last.
    """

    modality: str | None
    orientation: tuple[float, float, float, float, float, float] | None
    repetition_ms: float | None
    echo_ms: float | None
    inversion_ms: float | None
    scanning_sequence: tuple[str, ...]
    texts: tuple[str, ...]
    kind: tuple[str, ...]
    rows: int
    columns: int
    num_slices: int


@dataclass(frozen=True)
class Verdict:
    """Whether a series is inside the intended use, and why; `rank` orders those inside, the largest first."""

    accepted: bool
    reasons: tuple[str, ...]
    rank: tuple[int, ...]


def judge(series: SeriesHeader) -> Verdict:
    """Judge a series by its header; the reasons never quote its texts, which may hold names."""
    words = _words(" ".join(series.texts[:-1]))
    against: list[str] = []
    support: list[str] = []
    for finding, inside in (_modality(series), _plane(series), _weighting(series, words), _region(series)):
        (support if inside else against).append(finding)
    against += _other_purpose(series, words)
    fat_suppressed = _says(words, _FAT_SUPPRESSED) or series.inversion_ms is not None
    if fat_suppressed:
        support.append("fat suppressed or inversion recovery: chosen last")
    rank = (
        int(any(_says(text, _CERVICAL) for text in map(_words, series.texts))),
        int(not fat_suppressed),
        int(series.num_slices >= 5),
        min(series.rows, series.columns),
        series.num_slices,
    )
    return Verdict(not against, tuple(against or support), rank)


def _modality(series: SeriesHeader) -> tuple[str, bool]:
    if series.modality != "MR":
        return ("not MR" if series.modality else "no modality named"), False
    return "MR", True


def _plane(series: SeriesHeader) -> tuple[str, bool]:
    """Compare the slice's normal with the patient's axes: x to the left, y to the back, z up."""
    if series.orientation is None:
        return "no orientation named", False
    row, column = series.orientation[:3], series.orientation[3:]
    normal = (
        row[1] * column[2] - row[2] * column[1],
        row[2] * column[0] - row[0] * column[2],
        row[0] * column[1] - row[1] * column[0],
    )
    length = math.hypot(*normal)
    if not (math.isfinite(length) and abs(length - 1) < 0.05):
        return "an orientation that is none", False
    tilts = [math.degrees(math.acos(min(1.0, abs(part) / length))) for part in normal]
    nearest = tilts.index(min(tilts))
    if tilts[0] > _MOST_TILT_DEG:
        name = _PLANES[nearest] if tilts[nearest] <= _MOST_TILT_DEG else "oblique"
        return f"{name}, not sagittal ({tilts[0]:.0f} degrees off)", False
    return f"sagittal ({tilts[0]:.0f} degrees off)", True


def _weighting(series: SeriesHeader, words: str) -> tuple[str, bool]:
    """Call T2 what has long TR and TE; where a file names neither, its description must say T2."""
    echo, repetition = series.echo_ms, series.repetition_ms
    if series.inversion_ms is not None and series.inversion_ms > _FLUID_SUPPRESSED_MS:
        return f"fluid suppressed (TI {series.inversion_ms:.0f} ms), not T2", False
    if echo is None or repetition is None:
        if _says(words, _T2):
            return "T2 by its description, no TR and TE named", True
        return "no TR and TE named and no T2 in the description", False
    times = f"TR {repetition:.0f} ms, TE {echo:.0f} ms"
    if echo >= _LEAST_ECHO_MS and repetition >= _LEAST_REPETITION_MS:
        return f"T2 ({times})", True
    if "GR" in series.scanning_sequence and "SE" not in series.scanning_sequence:
        return f"gradient echo, not T2 spin echo ({times})", False
    if echo < _LEAST_ECHO_MS and repetition < _LEAST_REPETITION_MS:
        return f"T1, not T2 ({times})", False
    return f"not T2 ({times})", False


def _region(series: SeriesHeader) -> tuple[str, bool]:
    """Take the region from the most specific text that names one: a study's text may name several."""
    for words in map(_words, series.texts):
        if _says(words, _CERVICAL):
            return "cervical by its description", True
        if _says(words, _ELSEWHERE):
            return "of another region than the cervical spine, by its description", False
    return "no region in its description: taken as cervical on trust", True


def _other_purpose(series: SeriesHeader, words: str) -> list[str]:
    found = []
    if _says(words, _NO_IMAGING_OF_DISCS):
        found.append("a localiser, diffusion, angiography or another special purpose, by its description")
    if {"LOCALIZER", "PROJECTION IMAGE", "ADC", "DIFFUSION"} & set(series.kind):
        found.append("a localiser or a computed image, by its type")
    if "Secondary Capture" in " ".join(series.kind):
        found.append("a screen capture")
    if min(series.rows, series.columns) < _LEAST_SIDE_PX:
        found.append(f"a matrix of {series.rows} x {series.columns}, below {_LEAST_SIDE_PX}")
    return found


def _words(text: str) -> str:
    """Fold case, accents and punctuation, and put spaces around: " t2 tse sag hws "."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return " " + " ".join(re.findall(r"[^\W_]+", plain)) + " "


def _says(words: str, terms: tuple[str, ...]) -> bool:
    """Look for terms: short ones as whole words, long ones also as beginnings, other scripts anywhere."""
    for term in terms:
        if not term.isascii():
            if term in words:
                return True
        elif f" {term}" in words and (len(term) > 4 or f" {term} " in words):
            return True
    return False

"""The registered model, as code that MLflow runs: a bundle behind `predict`. MLflow executes this file; no pickle."""

import base64
import binascii
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

if TYPE_CHECKING:
    from meddet.bundle import Bundle


class ServedBundle(PythonModel):
    """Detects on whole files: research use only.

    Input: a table with one column `image`, each cell a PNG, DICOM or NIfTI file in base64. Output: for each slice
    looked at (one of a PNG) a dict of the row it came from, the slice's name, boxes (xyxy in the file's pixels),
    scores and class names.
    """

    _bundle: "Bundle"

    def load_context(self, context: Any) -> None:
        """Load the bundle among the model's artifacts; its manifest is checked."""
        from meddet.bundle import load_bundle

        self._bundle = load_bundle(Path(context.artifacts["bundle"]), engine="onnx")

    def predict(
        self,
        context: Any,  # noqa: ARG002 - the name that MLflow asks for
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> list[dict[str, Any]]:
        """Detect on every row."""
        return [found for row, text in enumerate(model_input["image"]) for found in self._detect(row, text)]

    def _detect(self, row: int, text: str) -> list[dict[str, Any]]:
        from meddet.classes import CLASSES
        from meddet.data.images import read_slices

        try:
            content = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"row {row}: expected a file in base64, got {error}") from None
        config = self._bundle.config
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"row{row}{_suffix(content)}"
            path.write_bytes(content)
            slices = read_slices(path, percentiles=config.percentiles, max_pixels=config.max_pixels)
        found = []
        for name, image in slices:
            detections, _ = self._bundle.predict(image.pixels)
            found.append(
                {
                    "row": row,
                    "slice": name,
                    "boxes": detections.boxes.tolist(),
                    "scores": detections.scores.tolist(),
                    "labels": [CLASSES[label] for label in detections.labels.tolist()],
                }
            )
        return found


def _suffix(content: bytes) -> str:
    """The suffix by which the reader of files knows its format."""
    if content.startswith(b"\x89PNG"):
        return ".png"
    if content.startswith(b"\x1f\x8b"):
        return ".nii.gz"
    return ".dcm" if content[128:132] == b"DICM" else ".nii"


set_model(ServedBundle())

"""Detections of many images by one detector, in the images' own pixels."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from meddet.data.batches import ImageSet
from meddet.data.transforms import boxes_to_image
from meddet.models.detector import Detector
from meddet.postprocess import detect
from meddet.structures import Detections, Region


def detect_all(
    detector: Detector,
    images: ImageSet,
    *,
    size: tuple[int, int],
    score_threshold: float,
    nms_iou: float,
    max_detections: int,
    batch_size: int = 16,
    batches: Iterable[Sequence[int]] | None = None,
) -> list[Detections]:
    """Detect on every image of a set, without random change, in eval mode.

    Args:
        detector: in eval mode.
        images: with the regions to look at.
        size: height and width of the detector's input.
        score_threshold: least score of a detection.
        nms_iou: IoU above which the lower of two boxes of one class goes.
        max_detections: most detections of one image.
        batch_size: images in one pass.
        batches: the indices of each pass (`batch_indices`, perhaps wrapped in a progress bar); None makes them.

    Returns:
        one per image, in their order.
    """
    detections: list[Detections] = []
    device = next(detector.parameters()).device
    for indices in batch_indices(len(images), batch_size) if batches is None else batches:
        views = torch.stack([images.view(index, size) for index in indices])
        with torch.inference_mode():
            predictions = detector(views.to(device).contiguous(memory_format=torch.channels_last))
        found = detect(
            predictions,
            input_size=size,
            score_threshold=score_threshold,
            nms_iou=nms_iou,
            max_detections=max_detections,
        )
        for index, each in zip(indices, found, strict=True):
            height, width = images.images[index].shape
            each = Detections(each.boxes.cpu(), each.scores.cpu(), each.labels.cpu())
            detections.append(in_image(each, images.regions[index], size, image_size=(height, width)))
    return detections


def batch_indices(number: int, batch_size: int) -> list[range]:
    """Divide 0..number-1 into runs of `batch_size`, the last one shorter."""
    return [range(start, min(start + batch_size, number)) for start in range(0, number, batch_size)]


def in_image(
    detections: Detections, region: Region, input_size: tuple[int, int], *, image_size: tuple[int, int]
) -> Detections:
    """Map detections from the input's pixels to the image's, clip them to it and drop what lies outside."""
    boxes: Tensor = clip_boxes_to_image(boxes_to_image(detections.boxes, region, input_size), image_size)
    inside = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return Detections(boxes[inside], detections.scores[inside], detections.labels[inside])

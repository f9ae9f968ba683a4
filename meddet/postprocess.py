"""From what the head says at every anchor point to detections."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from meddet.boxes import decode, integral, level_sizes
from meddet.structures import Detections, Predictions


def detect(
    predictions: Predictions,
    *,
    input_size: tuple[int, int],
    score_threshold: float = 0.05,
    nms_iou: float = 0.6,
    max_detections: int = 100,
    pre_nms: int = 1000,
) -> list[Detections]:
    """Decode a batch and keep the best boxes of each image, in input pixels.

    A score is the sigmoid of a class logit: it already holds the quality of the box. On every level that has more than
    `pre_nms` points only the best go on.

    Args:
        predictions: of B images.
        input_size: height and width of the images; boxes are clipped to it.
        score_threshold: least score of a (box, class) pair.
        nms_iou: IoU above which the lower of two boxes of one class goes.
        max_detections: most detections of one image.
        pre_nms: most points of one level, by their highest class score.
    """
    scores = predictions.logits.float().sigmoid()
    ltrb = integral(predictions.distributions.float()) * predictions.strides[:, None]
    boxes = decode(predictions.points, ltrb)
    sizes = level_sizes(predictions.strides)
    detections = []
    for image_boxes, image_scores in zip(boxes, scores, strict=True):
        kept = _best_points(image_scores, sizes, pre_nms)
        detections.append(
            select(
                image_boxes[kept],
                image_scores[kept],
                input_size=input_size,
                score_threshold=score_threshold,
                nms_iou=nms_iou,
                max_detections=max_detections,
            )
        )
    return detections


def select(
    boxes: Float[Tensor, "R 4"],
    scores: Float[Tensor, "R K"],
    *,
    input_size: tuple[int, int],
    score_threshold: float,
    nms_iou: float,
    max_detections: int,
) -> Detections:
    """Clip the boxes of one image, drop low scores and, class by class, duplicates.

    One box can yield several classes. Arguments as in `detect`.
    """
    box, label = (scores >= score_threshold).nonzero(as_tuple=True)
    clipped = clip_boxes_to_image(boxes[box], input_size)
    pair_scores = scores[box, label]
    kept = batched_nms(clipped, pair_scores, label, nms_iou)[:max_detections]
    return Detections(boxes=clipped[kept], scores=pair_scores[kept], labels=label[kept])


def _best_points(scores: Tensor, sizes: list[int], pre_nms: int) -> Tensor:
    """Give the indices of the points that go on to suppression, level by level."""
    kept, start = [], 0
    for level in scores.amax(dim=1).split(sizes):
        best = level.topk(min(pre_nms, len(level)), sorted=False).indices
        kept.append(best + start)
        start += len(level)
    return torch.cat(kept)

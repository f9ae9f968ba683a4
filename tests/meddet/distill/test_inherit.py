import torch

from meddet.distill.inherit import inherit
from meddet.models.detector import Detector, build_detector


def detector(backbone: str, channels: int, seed: int) -> Detector:
    torch.manual_seed(seed)
    return build_detector(
        backbone=backbone, channels=channels, num_classes=2, ode="nmode2", solver="fast", ode_steps=4
    ).eval()


def test_the_student_gets_the_teachers_head_and_keeps_its_backbone() -> None:
    student, teacher = detector("mobilenet_v2", 32, 0), detector("resnet50", 32, 1)
    own = {name: tensor.clone() for name, tensor in student.backbone.state_dict().items()}
    copied = inherit(student, teacher)
    assert {name for name in student.state_dict() if name.startswith("head.")} <= set(copied)
    features = teacher.features(torch.randn(1, 3, 64, 64))
    assert torch.equal(student.head(features).logits, teacher.head(features).logits)
    assert all(torch.equal(tensor, own[name]) for name, tensor in student.backbone.state_dict().items())
    lateral = "neck.pyramid.inner_blocks.0.0.weight"
    assert lateral in student.state_dict()
    assert lateral not in copied


def test_nothing_fits_between_other_widths() -> None:
    student = detector("mobilenet_v2", 64, 0)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    copied = inherit(student, detector("resnet50", 32, 1))
    assert "head.cls.weight" not in copied
    for name, tensor in student.state_dict().items():
        assert name in copied or torch.equal(tensor, before[name])

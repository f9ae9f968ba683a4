"""A student's first weights, taken from a teacher."""

import torch

from meddet.models.detector import Detector


def inherit(student: Detector, teacher: Detector) -> list[str]:
    """Copy the teacher's neck and head into the student, wherever a tensor has the same name and shape in both.

    With the same channels that is the whole head and the neck but its laterals' kernels. As the public code of MGD
    (arXiv:2205.01529) and FGD (arXiv:2111.11837) does; the MedDet paper doesn't say how its student starts.

    Returns:
        The names of what was copied.
    """
    source, target = teacher.state_dict(), student.state_dict()
    shared = [
        name
        for name, tensor in target.items()
        if not name.startswith("backbone.") and name in source and source[name].shape == tensor.shape
    ]
    with torch.no_grad():
        for name in shared:
            target[name].copy_(source[name])
    return shared

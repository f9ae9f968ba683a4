import numpy as np
import torch

from meddet.data.marks import write_marks


def test_writing_is_bright_at_the_edges_and_leaves_the_middle() -> None:
    dark = torch.full((1, 400, 300), 0.1)
    for seed in range(20):
        marked = write_marks(dark, np.random.default_rng(seed))
        assert (marked >= dark).all()
        touched = marked[0] > 0.3
        assert 20 < touched.sum() < 0.2 * touched.numel()
        assert not touched[100:300, 120:260].any()


def test_the_same_seed_writes_the_same() -> None:
    image = torch.rand(1, 64, 96)
    first, second = (write_marks(image, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, write_marks(image, np.random.default_rng(6)))

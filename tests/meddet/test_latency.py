import pytest
import torch

from meddet.latency import interleaved, matmul_gflops, timing


def test_timing_of_known_seconds() -> None:
    got = timing([0.01, 0.02, 0.03, 0.04])
    assert got.p50_ms == pytest.approx(25)
    assert got.p95_ms == pytest.approx(38.5)
    assert got.images_per_second == pytest.approx(40)


def test_contenders_take_turns_after_the_warm_up() -> None:
    calls: list[str] = []
    got = interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, warmup=2, rounds=range(3))
    assert "".join(calls) == "aabb" + "ababab"
    assert set(got) == {"a", "b"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_limit_of_this_machine_is_a_positive_number(dtype: torch.dtype) -> None:
    assert matmul_gflops(size=64, repetitions=2, dtype=dtype) > 0

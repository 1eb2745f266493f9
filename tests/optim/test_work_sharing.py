import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from processes import run_in_processes

from golf.optim import NuMuon
from golf.optim.work_sharing import balance, exchange

COSTS = st.lists(st.integers(1, 100), min_size=1, max_size=12)


@given(COSTS, st.integers(1, 5))
def test_no_process_gets_more_than_grahams_bound(costs, processes):
    owners = balance(costs, processes)
    loads = [sum(c for c, owner in zip(costs, owners, strict=True) if owner == p) for p in range(processes)]
    # the best division is at least the mean and at least the costliest item (Graham 1969)
    best = max(sum(costs) / processes, max(costs))
    assert max(loads) <= 4 / 3 * best + max(costs) * 2 / 3
    assert balance(costs, processes) == owners


def test_equal_matrices_are_dealt_out_evenly():
    assert sorted(balance([1.0] * 6, 3)) == [0, 0, 1, 1, 2, 2]


def _exchanged(rank, dtypes):
    return [_exchanged_in(rank, dtype) for dtype in dtypes]


def _exchanged_in(rank, dtype):
    sizes, owners = [3, 2, 4, 1], [0, 1, 0, 0]
    items = [torch.full((size,), float(i), dtype=dtype) for i, size in enumerate(sizes)]
    own = [item for item, owner in zip(items, owners, strict=True) if owner == rank]
    found = exchange(sizes, owners, own, dtype=dtype, device=torch.device("cpu"), group=dist.group.WORLD)
    return [item.tolist() for item in found]


def test_every_process_gets_every_item():
    for by_dtype in run_in_processes(_exchanged, 2, (torch.float32, torch.bfloat16)):
        for found in by_dtype:
            assert found == [[0.0] * 3, [1.0] * 2, [2.0] * 4, [3.0]]


def test_a_lost_process_is_a_connection_error(monkeypatch):
    """Gloo and NCCL raise a RuntimeError that a broken product would raise too."""

    def lost(*_, **__):
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(dist, "get_world_size", lambda _: 1)
    monkeypatch.setattr(dist, "get_rank", lambda _: 0)
    monkeypatch.setattr(dist, "all_gather", lost)
    with pytest.raises(ConnectionError, match="closed by peer"):
        exchange([1], [0], [torch.ones(1)], dtype=torch.float32, device=torch.device("cpu"), group=None)


SHAPES = [(48, 32), (32, 48), (64, 64), (20, 24), (1, 8)]


def _trained(_rank, fractions):
    return [_trained_in(fractions, exact) for exact in (False, True)]


def _trained_in(fractions, exact):
    weights = [
        torch.nn.Parameter(torch.randn(s, generator=torch.Generator().manual_seed(i))) for i, s in enumerate(SHAPES)
    ]
    group = dist.group.WORLD if dist.is_initialized() else None
    optimizer = NuMuon(weights, lr=0.1, nesterov=True, exact=exact, process_group=group)
    for step, fraction in enumerate(fractions):
        optimizer.param_groups[0]["rank_fraction"] = fraction
        for i, weight in enumerate(weights):
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(100 * step + i))
        optimizer.step()
    return torch.cat([weight.detach().flatten() for weight in weights])


def test_the_number_of_processes_is_not_part_of_the_step():
    fractions = [1.0, 1.0, 0.5, 0.5, 0.25, 0.5]
    alone, shared = _trained(0, fractions), run_in_processes(_trained, 3, fractions)
    for exact, whole, *parts in zip((False, True), alone, *shared, strict=True):
        assert all(torch.equal(parts[0], other) for other in parts[1:])
        # stacks differ with the matrices that a process owns, and so do the sums inside bfloat16 products
        assert torch.allclose(parts[0], whole, atol=0 if exact else 0.02)

import pytest
import torch
from peak_memory import peak_of

from golf.optim import NuMuon
from golf.optim.batching import cut

SHAPES = [(96, 48), (48, 96), (64, 64), (96, 48), (64, 64), (48, 96), (64, 64), (96, 48), (30, 20)]
# Five layers of baseline-16mb: more of each kind than any stack holds.
LAYERS = [(512, 512), (256, 512), (256, 512), (512, 512), (1024, 512), (512, 1024)] * 5


def trained(stack_bytes, fraction, nesterov=False):
    """Weights after steps whose gradients differ from matrix to matrix, and the sizes of the stacks."""
    weights = [torch.nn.Parameter(gaussian(shape, seed)) for seed, shape in enumerate(SHAPES)]
    optimizer = NuMuon(
        weights, lr=0.1, rank_fraction=fraction, nesterov=nesterov, dtype=torch.float32, stack_bytes=stack_bytes
    )
    for step in range(4):
        for seed, weight in enumerate(weights):
            weight.grad = gaussian(weight.shape, 100 * step + seed)
        optimizer.step()
    stacks = cut(list(optimizer._updates()), dtype=torch.float32, most_bytes=stack_bytes)
    return weights, [len(stack) for stack in stacks]


def gaussian(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("fraction", "bytes_of_pairs"), [(0.25, 100_000), (1.0, 200_000)])
def test_the_step_does_not_depend_on_how_stacks_are_cut(fraction, bytes_of_pairs, nesterov):
    whole, sizes = trained(1 << 30, fraction, nesterov)
    assert sizes == [5, 3, 1]
    for stack_bytes, expected in ((0, [1] * 9), (bytes_of_pairs, [2, 2, 1, 2, 1, 1])):
        weights, sizes = trained(stack_bytes, fraction, nesterov)
        assert sizes == expected
        for a, b in zip(whole, weights, strict=True):
            # A product and a stack of products may add in another order: 1e-7 of each, a hundred times that in the
            # weakest of directions that lie as close to one another as a Gaussian's, four steps of .1
            assert torch.allclose(a, b, atol=1e-5)


def peak(optimizer, shapes, **options):
    """Bytes that a settled step holds beyond weights, gradients and state; counted, not run, on the meta device."""
    weights = [torch.nn.Parameter(torch.empty(shape, device="meta")) for shape in shapes]
    made = optimizer(weights, **options)
    for weight in weights:
        weight.grad = torch.empty_like(weight)
    made.step()
    return peak_of(made.step, "cpu")


@pytest.mark.parametrize(
    ("dtype", "fraction"), [(torch.bfloat16, 0.25), (torch.bfloat16, 1.0), (torch.float32, 0.25)], ids=str
)
def test_a_model_takes_little_more_memory_than_with_torchs_muon(dtype, fraction):
    ours = peak(NuMuon, LAYERS, rank_fraction=fraction, dtype=dtype, nesterov=True, error_if_nonfinite=False)
    assert ours <= 1.3 * peak(torch.optim.Muon, LAYERS[-6:])


@pytest.mark.parametrize("shape", [(128, 128), (256, 128), (128, 512), (512, 512)])
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_stacks_work_within_what_is_reckoned(dtype, fraction, shape):
    options = {"rank_fraction": fraction, "dtype": dtype, "error_if_nonfinite": False, "stack_bytes": 1 << 40}
    weights = [torch.nn.Parameter(torch.empty(shape, device="meta")) for _ in range(3)]
    for weight in weights:
        weight.grad = torch.empty_like(weight)
    (stack,) = cut(list(NuMuon(weights, **options)._updates()), dtype=dtype, most_bytes=1 << 40)
    reckoned = sum(move.working_bytes(dtype.itemsize) for move in stack)
    # a few numbers for each matrix, its scale, are not reckoned with
    assert 0.6 * reckoned < peak(NuMuon, [shape] * 3, **options) <= reckoned + 100


def test_matrices_of_other_options_are_not_stacked():
    weights = [torch.nn.Parameter(torch.zeros(8, 8)) for _ in range(4)]
    for weight in weights:
        weight.grad = torch.zeros(8, 8)
    optimizer = NuMuon(
        [
            {"params": weights[:1]},
            {"params": weights[1:2], "ns_coefficients": (3.4445, -4.7750, 2.0315)},
            {"params": weights[2:3], "ns_steps": 7},
            {"params": weights[3:], "exact": True},
        ]
    )
    stacks = cut(list(optimizer._updates()), dtype=torch.bfloat16, most_bytes=1 << 30)
    assert [len(stack) for stack in stacks] == [1, 1, 1, 1]

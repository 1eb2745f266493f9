import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.optim.spectral import (
    POLAR_EXPRESS,
    TOP_POLAR_EXPRESS,
    effective_rank,
    exact_directions,
    fresh_basis,
    newton_schulz,
    orthonormalize,
    resize_basis,
    stable_rank,
    top_factors,
)


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spectrum(M, N, values, seed=0):
    """A matrix with the given singular values."""
    u, _ = torch.linalg.qr(gaussian(M, len(values), seed=seed))
    v, _ = torch.linalg.qr(gaussian(N, len(values), seed=seed + 1))
    return (u * torch.tensor(values)) @ v.mT


def directions(matrix, basis, **options):
    """The whole direction (M, N), and the next basis."""
    left, right = top_factors(matrix, basis, **options)
    return left @ right, right.mT


def polar(matrix):
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u @ vh


@pytest.mark.parametrize("shape", [(64, 64), (96, 32), (32, 96), (7, 5), (5, 7), (1, 40), (40, 1), (1, 1)])
def test_newton_schulz_converges_to_the_polar_factor(shape):
    matrix = gaussian(*shape)
    # float32 keeps about 7 digits; a square Gaussian's smallest singular value is near 1e-2 of the largest
    assert torch.allclose(newton_schulz(matrix, steps=14), polar(matrix), atol=2e-4)


def test_five_steps_put_every_singular_value_near_one():
    values = torch.linalg.svdvals(newton_schulz(gaussian(256, 128)))
    # Polar Express ends within about 1/7 of 1 when it stops after five steps (arXiv:2505.16932, fig. 2)
    assert 0.85 < values.min() and values.max() < 1.15


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_newton_schulz_ignores_the_scale(scale):
    matrix = gaussian(24, 16)
    assert torch.allclose(newton_schulz(matrix * scale), newton_schulz(matrix), atol=1e-3)


def test_zero_stays_zero():
    assert not newton_schulz(torch.zeros(8, 4)).any()
    direction, basis = directions(torch.zeros(8, 4), fresh_basis(torch.zeros(8, 4), 2, seed=0))
    assert not direction.any()
    assert torch.isfinite(basis).all()


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6))
def test_exact_directions_maximise_the_inner_product_over_the_capped_ball(m, n, seed):
    matrix = gaussian(m, n, seed=seed)
    rank = 1 + seed % min(m, n)
    direction = exact_directions(matrix, rank)
    values = torch.linalg.svdvals(direction)
    assert torch.allclose(values[:rank], torch.ones(rank), atol=1e-4)
    assert torch.allclose(values[rank:], torch.zeros(len(values) - rank), atol=1e-4)
    ky_fan = torch.linalg.svdvals(matrix)[:rank].sum()
    assert torch.allclose((direction * matrix).sum(), ky_fan, rtol=1e-4)


def test_full_rank_is_the_polar_factor_and_rank_one_is_rank_one():
    matrix = gaussian(20, 12)
    assert torch.allclose(exact_directions(matrix, 12), polar(matrix), atol=1e-5)
    assert torch.linalg.matrix_rank(exact_directions(matrix, 1)) == 1


def test_exact_directions_do_not_invent_what_is_not_there():
    matrix = spectrum(16, 12, [3.0, 2.0])
    assert torch.linalg.matrix_rank(exact_directions(matrix, 5), rtol=1e-3) == 2


@pytest.mark.parametrize("rank", [1, 8, 32])
def test_the_fast_path_follows_a_drifting_momentum(rank):
    M, N, generator = 128, 64, torch.Generator().manual_seed(4)
    signal = spectrum(M, N, [float(i) ** -0.7 for i in range(1, N + 1)])
    momentum, basis = torch.zeros(M, N), None
    for _ in range(20):
        signal = signal + 0.02 * signal.norm() / (M * N) ** 0.5 * torch.randn(M, N, generator=generator)
        momentum.lerp_(signal + 0.01 * torch.randn(M, N, generator=generator), 0.05)
        basis = fresh_basis(momentum, rank, seed=0) if basis is None else basis
        direction, basis = directions(momentum, basis, steps=10)
    reached = (direction * momentum).sum() / torch.linalg.svdvals(momentum)[:rank].sum()
    values = torch.linalg.svdvals(direction)
    assert reached > 0.97  # below 1 because one iteration a step lags behind a moving spectrum
    assert torch.allclose(values[:rank], torch.ones(rank), atol=1e-3)
    assert torch.all(values[rank:] < 1e-3)


def test_the_fast_path_equals_the_exact_one_on_a_settled_matrix():
    matrix = spectrum(60, 40, [10.0, 9.0, 8.0, 7.0, 0.5, 0.4, 0.3])
    basis = fresh_basis(matrix, 4, seed=1)
    for _ in range(3):
        direction, basis = directions(matrix, basis, steps=12)
    assert torch.allclose(direction, exact_directions(matrix, 4), atol=1e-4)


@pytest.mark.parametrize(
    "matrix",
    [
        spectrum(40, 24, [1.0, 0.5]),
        gaussian(40, 24) * 1e-30,
        gaussian(40, 24) * 1e30,
        torch.ones(40, 24),
        torch.eye(40, 24),
    ],
    ids=["rank two", "tiny", "huge", "constant", "identity"],
)
def test_odd_matrices_give_finite_bounded_directions(matrix):
    direction, basis = directions(matrix, fresh_basis(matrix, 8, seed=0))
    assert torch.isfinite(basis).all()
    assert torch.linalg.svdvals(direction).max() < 1.15
    assert (direction * (matrix / matrix.abs().max())).sum() > 0


@settings(max_examples=25)
@given(st.integers(1, 64), st.integers(1, 32), st.integers(0, 10**6))
def test_orthonormalize_spans_the_same_columns(m, k, seed):
    k = min(m, k)
    matrix = gaussian(m, k, seed=seed)
    if torch.linalg.cond(matrix) > 50:
        # the factorization leaves singular values of 1 - e, e = κ² · shift · trace / 2σ₁² < .03, and the cubic step
        # 2.5 e³ of that
        return
    q = orthonormalize(matrix)
    assert torch.allclose(q.mT @ q, torch.eye(k), atol=1e-4)
    assert torch.allclose(q @ (q.mT @ matrix), matrix, atol=1e-3 * matrix.abs().max())


@pytest.mark.parametrize("k", [96, 288])  # by a factorization, and where one takes longer by products alone
def test_columns_of_bfloat16_come_out_orthonormal(k):
    matrix = spectrum(600, k, torch.logspace(0, -1, k).tolist()).bfloat16()
    q = orthonormalize(matrix).float()
    values = torch.linalg.svdvals(q)
    assert 0.97 < values[-1] and values[0] < 1.03
    assert torch.allclose(q @ (q.mT @ matrix.float()), matrix.float(), atol=0.03 * float(matrix.abs().max()))


def test_shrinking_keeps_the_strongest_directions():
    matrix = spectrum(30, 20, [8.0, 7.0, 6.0, 0.1, 0.05])
    basis = resize_basis(matrix, fresh_basis(matrix, 10, seed=0), 3, seed=0)
    assert basis.shape == (20, 3)
    kept = (matrix @ orthonormalize(basis)).norm() / matrix.norm()
    assert kept > 0.999


def test_growing_keeps_what_was_known():
    matrix = gaussian(30, 20)
    basis = fresh_basis(matrix, 4, seed=0)
    grown = resize_basis(matrix, basis, 9, seed=0)
    assert grown.shape == (20, 9)
    assert torch.equal(grown[:, :4], basis)
    assert resize_basis(matrix, basis, 4, seed=0) is basis


def test_ranks_of_known_spectra():
    assert stable_rank(torch.tensor([2.0, 2.0, 2.0])) == pytest.approx(3)
    assert effective_rank(torch.tensor([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3)
    assert stable_rank(torch.tensor([1.0, 0.0])) == effective_rank(torch.tensor([1.0, 0.0])) == pytest.approx(1)


def equioscillating(lower, upper):
    """The odd quintic closest to 1 on [lower, upper], and its error, by the Remez exchange of arXiv:2505.16932."""
    inner = np.array([0.75 * lower + 0.25 * upper, 0.25 * lower + 0.75 * upper])
    for _ in range(200):
        points = np.array([lower, *inner, upper])
        system = np.stack((points, points**3, points**5, [1, -1, 1, -1]), axis=1)
        a, b, c, error = np.linalg.solve(system, np.ones(4))
        turns = np.sqrt(np.sort(np.roots([5 * c, 3 * b, a]).real))
        if np.abs(turns - inner).max() < 1e-14:
            break
        inner = turns
    return np.array([a, b, c]), abs(error)


def test_the_quintics_of_the_top_directions_are_the_best_ones():
    lower, upper, odd = 6e-3, 1.0, np.array([1, 3, 5])
    for step, published in enumerate(TOP_POLAR_EXPRESS):
        best, error = equioscillating(lower, upper)
        if step < len(TOP_POLAR_EXPRESS) - 1:
            best = best / 1.02**odd  # room for values that rounding lifts above the interval
        assert np.allclose(published, best, rtol=1e-6)
        lower, upper = min(best @ lower**odd, 1 - error), 1 + error
    assert upper < 1.065


@pytest.mark.parametrize("quintics", [POLAR_EXPRESS, TOP_POLAR_EXPRESS], ids=["full", "top"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_spectrum_makes_the_steps_diverge(quintics, dtype):
    for seed in range(8):
        values = torch.logspace(0, -float(seed), 48).tolist()
        matrix = spectrum(96, 48, values, seed=seed).to(dtype)
        found = torch.linalg.svdvals(newton_schulz(matrix, quintics=quintics).float())
        assert found.max() < 1.2


@pytest.mark.parametrize("shape", [(64, 48), (200, 24), (48, 48)])
def test_a_stack_gives_what_its_matrices_give_alone(shape):
    matrices = torch.stack([gaussian(*shape, seed=seed) * 10.0 ** (10 * seed) for seed in range(3)])
    bases = torch.stack([fresh_basis(matrix, 16, seed=0) for matrix in matrices])
    left, right = top_factors(matrices, bases)
    for index in range(3):
        alone = top_factors(matrices[index], bases[index])
        # the order of additions differs between a product and a stack of them
        assert torch.allclose(left[index], alone[0], atol=1e-4)
        assert torch.allclose(right[index], alone[1], atol=1e-4)
    assert torch.allclose(newton_schulz(matrices)[1], newton_schulz(matrices[1]), atol=1e-4)


@pytest.mark.parametrize("shape", [(512, 512), (512, 2048)])
@pytest.mark.parametrize(("dtype", "slack"), [(torch.float32, 0.01), (torch.bfloat16, 0.03)])
def test_ten_steps_on_a_drifting_momentum_reach_the_ky_fan_norm(shape, dtype, slack):
    M, N, generator = max(shape), min(shape), torch.Generator().manual_seed(1)
    signal = spectrum(M, N, [float(i) ** -0.7 for i in range(1, N + 1)])
    noise, momentum, basis, rank = signal.norm() / signal.numel() ** 0.5, torch.zeros(M, N), None, N // 4
    for _ in range(10):
        signal = signal + 0.05 * noise * torch.randn(M, N, generator=generator)
        momentum = momentum.lerp(signal + 0.5 * noise * torch.randn(M, N, generator=generator), 0.05)
        aim = momentum.to(dtype)
        basis = fresh_basis(aim, rank, seed=0) if basis is None else basis
        direction, basis = directions(aim, basis)
    values = torch.linalg.svdvals(direction.float())
    reached = (direction.float() * momentum).sum() / torch.linalg.svdvals(momentum)[:rank].sum()
    assert reached > 0.99
    assert 1 - slack < values[rank - 1] and values[0] < 1 + slack


# this backend runs the same operators; but products of bfloat16 numbers in float32 are as always
@pytest.mark.parametrize(("dtype", "slack"), [(torch.float32, 0.0), (torch.bfloat16, 0.01)])
def test_the_fast_path_compiles_to_one_graph(dtype, slack):
    matrix, basis = gaussian(48, 32).to(dtype), gaussian(32, 16).to(dtype)
    compiled = torch.compile(top_factors, backend="aot_eager", fullgraph=True)
    for ours, plain in zip(compiled(matrix, basis), top_factors(matrix, basis), strict=True):
        assert torch.allclose(ours, plain, rtol=0.0, atol=slack)

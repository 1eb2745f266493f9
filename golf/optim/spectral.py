"""Pure functions on the singular values of a matrix: polar factor, top-k directions, ranks.

Products run in the dtype they are given; factorizations (Cholesky, eigenvectors) run in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Optimal odd quintics for mapping singular values in (0, 1] to 1 (Polar Express, arXiv:2505.16932, safety 2e-2).
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
# Their limit, the Newton-Schulz step of order five, converges quadratically once singular values are near 1.
NEWTON_SCHULZ_LIMIT = (1.875, -1.25, 0.375)
# The published scaling: singular values must lie at or below 1 when the first quintic sees them.
_SAFETY = 1.02
# Guards 0 / 0 for a zero matrix while leaving gradients of 1e-30 their direction.
_TINY = torch.finfo(torch.float32).tiny
# Rounding of a float32 Gram matrix of norm 1 is a few 1e-7; the first shift covers it. The proven bound of
# arXiv:1809.11085 is 10^4 times larger and would cost orthogonality. The second pass has nothing left to cover but
# directions that are not there.
_CHOLESKY_SHIFTS = (1e-6, 1e-7)


def newton_schulz(matrix: Tensor, *, steps: int = 5) -> Tensor:
    """Polar factor U Vᵀ of `matrix` (M, N), singular values within about 0.12 of 1 after 5 steps.

    More steps than the five of Polar Express converge to machine precision. Directions whose singular value is zero
    stay zero. Invariant to the matrix's scale, tiny and huge included.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = _unit_norm(matrix.mT if tall else matrix) / _SAFETY
    for step in range(steps):
        a, b, c = POLAR_EXPRESS[step] if step < len(POLAR_EXPRESS) else NEWTON_SCHULZ_LIMIT
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x


def exact_directions(matrix: Tensor, rank: int) -> Tensor:
    """U_k V_kᵀ (M, N) of the top `rank` singular directions by SVD: the readable twin of `subspace_directions`.

    It maximises ⟨matrix, O⟩ over {‖O‖₂ ≤ 1, ‖O‖_* ≤ rank} (arXiv:2603.03597), the maximum being the Ky Fan norm.
    """
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    kept = (s[:rank] > s[0] * torch.finfo(s.dtype).eps * max(matrix.shape)).to(s.dtype)
    return (u[:, :rank] * kept) @ vh[:rank]


def subspace_directions(matrix: Tensor, basis: Tensor, *, steps: int = 5) -> tuple[Tensor, Tensor]:
    """One warm-started step towards the top-k directions of `matrix` (M, N), M ≥ N; returns (O (M, N), basis (N, k)).

    `basis` (N, k) spans last step's right directions. One subspace iteration moves it towards today's, and the polar
    factor of the small k x N matrix is then the exact optimum inside that subspace. Its rows are orthonormal, so they
    are the next basis: no SVD and no QR.
    """
    left = orthonormalize(matrix @ basis)
    right = newton_schulz(left.mT @ matrix, steps=steps)
    return left @ right, right.mT


def fresh_basis(matrix: Tensor, rank: int, *, seed: int, power_iterations: int = 2) -> Tensor:
    """A first basis (N, rank) for `matrix` (M, N): a Gaussian sketch after power iterations.

    Without a warm start, two power iterations reach what the warm start has after a few steps. The sketch is drawn on
    the CPU from `seed`, so that every device and process draws the same one.
    """
    generator = torch.Generator().manual_seed(seed)
    sketch = torch.randn(matrix.shape[1], rank, generator=generator, dtype=torch.float32)
    basis = sketch.to(device=matrix.device, dtype=matrix.dtype)
    for _ in range(power_iterations):
        basis = orthonormalize(matrix.mT @ orthonormalize(matrix @ basis))
    return basis


def resize_basis(matrix: Tensor, basis: Tensor, rank: int, *, seed: int) -> Tensor:
    """The basis (N, rank) that keeps what `basis` (N, k) knows: its strongest directions, or all plus new ones."""
    k = basis.shape[1]
    if rank == k:
        return basis
    if rank > k:
        extra = fresh_basis(matrix, rank - k, seed=seed, power_iterations=1)
        return torch.cat((basis, extra), dim=1)
    image = _unit_norm(matrix @ basis).float()
    _, rotation = torch.linalg.eigh(image.mT @ image)  # ascending: the last columns carry the most energy
    return basis @ rotation[:, k - rank :].to(basis.dtype)


def orthonormalize(matrix: Tensor) -> Tensor:
    """Orthonormal columns (M, k) spanning those of `matrix` (M, k), by two shifted Cholesky QRs in float32.

    The shift (arXiv:1809.11085) makes the factorization succeed for rank-deficient input too; columns beyond the rank
    then come out finite and at most unit length instead of orthonormal.
    """
    q = _unit_norm(matrix.float())
    for shift in _CHOLESKY_SHIFTS:
        gram = q.mT @ q
        gram.diagonal().add_(shift)
        factor, _ = torch.linalg.cholesky_ex(gram)
        q = torch.linalg.solve_triangular(factor.mT, q, upper=True, left=False)
    return q.to(matrix.dtype)


def stable_rank(singular_values: Tensor) -> float:
    """‖W‖_F² / ‖W‖₂²."""
    energy = singular_values.double().square()
    return float(energy.sum() / energy.max().clamp_min(_TINY))


def effective_rank(singular_values: Tensor) -> float:
    """exp of the entropy of the energy's distribution over directions (arXiv:2610.11730)."""
    energy = singular_values.double().square()
    share = energy / energy.sum().clamp_min(_TINY)
    return float(torch.exp(torch.special.entr(share).sum()))


def _unit_norm(matrix: Tensor) -> Tensor:
    """`matrix` over its Frobenius norm, computed so that 1e-30 and 1e30 neither vanish nor overflow."""
    largest = matrix.abs().amax().clamp_min(_TINY)
    scaled = matrix / largest
    return scaled / scaled.norm().clamp_min(_TINY)

"""Pure functions on the singular values of matrices (..., M, N): polar factor, top-k directions, ranks.

Matmuls run in the dtype of the given matrix; Cholesky factorizations, and their Gram matrices, in float32. Only SVDs
and eigendecompositions wait for the device: `exact_directions`, diagnostics, and a basis that shrinks. Leading
dimensions are batch dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from golf.optim.matmul_precision import products_of

# Optimal odd quintics that bring singular values in [1e-3, 1] to 1 (Polar Express, arXiv:2505.16932, safety 2e-2).
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
# The same for [6e-3, 1], the range of the top singular values of a momentum (below it bfloat16 has only noise): four
# steps end within .064 of 1, and a fifth, of NEWTON_SCHULZ_LIMIT, within .001. Computed by that paper's Remez exchange,
# which tests/optim/test_spectral.py repeats.
TOP_POLAR_EXPRESS = (
    (8.094937935730357, -22.865710697988348, 16.265931436257187),
    (3.78807793015062, -2.721039818919297, 0.5038330281752222),
    (3.017427460305219, -2.1814784470245225, 0.446989233141582),
    (2.1456433534458794, -1.539063964560601, 0.41287802009524593),
)
# Their limit, the Newton-Schulz step of order five, converges cubically once singular values are near 1.
NEWTON_SCHULZ_LIMIT = (1.875, -1.25, 0.375)
# The published scaling: singular values must be at most 1 before the first quintic.
_SAFETY = 1.02
# Avoids 0 / 0 for a zero matrix, and keeps the direction of gradients of 1e-30.
_TINY = torch.finfo(torch.float32).tiny
# Rounding of a float32 Gram matrix of norm 1 is a few 1e-7; the shift covers it. The proven bound of arXiv:1809.11085
# is 10^4 times larger and would cost orthogonality.
_CHOLESKY_SHIFT = 1e-6
# Widest k for which the Cholesky QR is used. Measured on two CPU cores with AMX: with it steps of 1024 x 1024 and
# 3072 x 1024 with k = 256 take .9 of the time with the polar factor, of 2048 x 2048 with k = 512 the same time. Not
# measured on a GPU.
_WIDEST_QR = 256

Quintics = tuple[tuple[float, float, float], ...]


def newton_schulz(matrix: Tensor, *, steps: int = 5, quintics: Quintics = POLAR_EXPRESS, tight: bool = True) -> Tensor:
    """Polar factor U Vᵀ of `matrix` (..., M, N), singular values within about 0.12 of 1 after 5 steps.

    Steps beyond the `quintics` converge to the dtype's precision. Directions whose singular value is zero stay zero.
    Invariant to the matrix's scale, tiny and huge included. With `tight`, the matrix is divided by the root of the
    Frobenius norm of its first Gram matrix X Xᵀ, which is computed anyway and bounds ‖X‖₂ more closely than ‖X‖_F;
    without, by ‖X‖_F as in torch.optim.Muon.
    """
    return _polar(_tame(matrix), steps=steps, quintics=quintics, tight=tight)


def exact_directions(matrix: Tensor, rank: int) -> Tensor:
    """U_k V_kᵀ (M, N) of the top `rank` singular directions by SVD: the slow reference of `top_factors`.

    It maximizes ⟨matrix, O⟩ over {‖O‖₂ ≤ 1, ‖O‖_* ≤ rank} (arXiv:2603.03597); the maximum is the Ky Fan norm.
    """
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    kept = (s[:rank] > s[0] * torch.finfo(s.dtype).eps * max(matrix.shape)).to(s.dtype)
    return (u[:, :rank] * kept) @ vh[:rank]


def top_factors(matrix: Tensor, basis: Tensor, *, steps: int = 5) -> tuple[Tensor, Tensor]:
    """One warm-started subspace iteration towards the top-k directions of `matrix` (..., M, N), M ≥ N.

    Returns left (..., M, k) and right (..., k, N), whose product is about U_k V_kᵀ: its k singular values lie within
    .01 of 1 after five `steps`. `basis` (..., N, k) spans the last step's right directions. The subspace iteration
    moves it towards the present ones; the polar factor of the small k x N matrix is then the exact optimum inside that
    subspace. Its rows are orthonormal and become the next basis, without SVD or QR.
    """
    left, largest = _image(matrix, basis)
    # leftᵀ matrix has about the image's scale, so dividing by that scale also keeps its squares in range
    return left, _polar((left.mT @ matrix).div_(largest), steps=steps, quintics=TOP_POLAR_EXPRESS)


def fresh_basis(matrix: Tensor, rank: int, *, seed: int, power_iterations: int = 2) -> Tensor:
    """A first basis (N, rank) for `matrix` (M, N): a Gaussian sketch after power iterations.

    Two power iterations are as accurate as a warm start after a few steps. The sketch is drawn on the CPU from `seed`,
    so that every device and process draws the same one.
    """
    generator = torch.Generator().manual_seed(seed)
    sketch = torch.randn(matrix.shape[1], rank, generator=generator, dtype=torch.float32)
    basis = sketch.to(device=matrix.device, dtype=matrix.dtype)
    for _ in range(power_iterations):
        basis = orthonormalize(matrix.mT @ orthonormalize(matrix @ basis))
    return basis


def resize_basis(matrix: Tensor, basis: Tensor, rank: int, *, seed: int) -> Tensor:
    """Change `basis` (N, k) to (N, rank): keep its directions of most energy, or all of them plus new ones."""
    k = basis.shape[1]
    if rank == k:
        return basis
    if rank > k:
        extra = fresh_basis(matrix, rank - k, seed=seed, power_iterations=1)
        return torch.cat((basis, extra), dim=1)
    image = _tame((matrix @ basis).float())
    _, rotation = torch.linalg.eigh(image.mT @ image)  # ascending: the last columns carry the most energy
    return basis @ rotation[:, k - rank :].to(basis.dtype)


def orthonormalize(matrix: Tensor) -> Tensor:
    """Orthonormal columns (..., M, k) spanning those of `matrix` (..., M, k).

    By shifted Cholesky QR in float32: the shift (arXiv:1809.11085) makes the factorization succeed for rank-deficient
    input too; columns beyond the rank are then finite and of at most unit length. For an input of condition number κ
    singular values end within about κ² · shift of 1; for float32 a Newton-Schulz step brings them to 1, lower precision
    does not need it. For wide input of lower precision, whose float32 factorization would take most of the time, the
    polar factor is used, which needs low-precision matmuls alone.
    """
    return _orthonormal(_tame(matrix))


def singular_values(matrix: Tensor) -> Tensor:
    """Singular values (min(M, N),) float32 of a matrix (M, N), descending.

    From the eigenvalues of the smaller Gram matrix, in a fifth of an SVD's time; values below 3e-4 of the largest are
    rounding errors.
    """
    tame = _tame(matrix.float())
    gram = tame.mT @ tame if matrix.shape[0] > matrix.shape[1] else tame @ tame.mT
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().flip(0)


def energy_share(singular_values: Tensor, top: int) -> float:
    """Share of ‖W‖_F² in the `top` largest singular values."""
    energy = singular_values.double().square()
    return float(energy[:top].sum() / energy.sum().clamp_min(_TINY))


def stable_rank(singular_values: Tensor) -> float:
    """‖W‖_F² / ‖W‖₂²."""
    energy = singular_values.double().square()
    return float(energy.sum() / energy.max().clamp_min(_TINY))


def effective_rank(singular_values: Tensor) -> float:
    """exp of the entropy of the energy's distribution over directions (arXiv:2610.11730)."""
    energy = singular_values.double().square()
    share = energy / energy.sum().clamp_min(_TINY)
    return float(torch.exp(torch.special.entr(share).sum()))


def _image(matrix: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal columns (..., M, k) spanning those of matrix @ basis, and its largest magnitude (..., 1, 1)."""
    image = matrix @ basis
    largest = _largest(image)
    return _orthonormal(image.div_(largest)), largest


def _orthonormal(tame: Tensor) -> Tensor:
    """`orthonormalize` for a matrix whose entries are at most 1."""
    if tame.dtype != torch.float32 and tame.shape[-1] > _WIDEST_QR:
        return _polar(tame, quintics=TOP_POLAR_EXPRESS)
    q = _cholesky_qr(tame)
    return _quintic(q, _gram(q), *NEWTON_SCHULZ_LIMIT) if tame.dtype == torch.float32 else q.to(tame.dtype)


def _cholesky_qr(matrix: Tensor) -> Tensor:
    """Q (float32) of matrix (..., M, k) = Q R, by the Cholesky factor of its Gram matrix plus a share of its trace."""
    full = matrix.float()
    with products_of(matrix.dtype):
        gram = full.mT @ full
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    trace = diagonal.sum(-1, keepdim=True)
    diagonal.add_(trace, alpha=_CHOLESKY_SHIFT).add_(_TINY)
    factor, _ = torch.linalg.cholesky_ex(gram)
    # solved transposed: LAPACK is column-major, so the rows of the result are contiguous
    return torch.linalg.solve_triangular(factor, full.mT, upper=False).mT


def _polar(x: Tensor, *, steps: int = 5, quintics: Quintics, tight: bool = True) -> Tensor:
    """`newton_schulz` for a matrix that is neither tiny nor huge; it is overwritten."""
    gram = _gram(x)
    if tight:
        bound = torch.linalg.vector_norm(gram, dim=(-2, -1), keepdim=True)
    else:
        bound = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    x.mul_(bound.clamp_min_(_TINY).rsqrt())
    gram.div_(bound)
    for step in range(steps):
        a, b, c = quintics[step] if step < len(quintics) else NEWTON_SCHULZ_LIMIT
        if step:
            gram = _gram(x)
        elif tight:
            a, b, c = a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5
        x = _quintic(x, gram, a, b, c)
    return x


def _gram(x: Tensor) -> Tensor:
    """The smaller Gram matrix of x (..., M, N)."""
    return x.mT @ x if x.shape[-2] > x.shape[-1] else x @ x.mT


def _quintic(x: Tensor, gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """a x + b x³ + c x⁵ of the singular values of x (..., M, N), whose smaller Gram matrix is `gram`."""
    rest = _plus(b, gram, c, gram, gram)
    return _plus(a, x, 1, x, rest) if x.shape[-2] > x.shape[-1] else _plus(a, x, 1, rest, x)


def _plus(beta: float, term: Tensor, alpha: float, left: Tensor, right: Tensor) -> Tensor:
    """beta · term + alpha · left @ right in one kernel, for two dimensions or three."""
    multiply = torch.addmm if term.ndim == 2 else torch.baddbmm
    return multiply(term, left, right, beta=beta, alpha=alpha)


def _tame(matrix: Tensor) -> Tensor:
    """`matrix` divided by its largest magnitude, so that squares of 1e-30 and 1e30 neither vanish nor overflow."""
    return matrix / _largest(matrix)


def _largest(matrix: Tensor) -> Tensor:
    """The largest magnitude (..., 1, 1) of an entry, at least the smallest normal float32."""
    return matrix.abs().amax(dim=(-2, -1), keepdim=True).clamp_min_(_TINY)

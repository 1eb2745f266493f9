import pytest
import torch

from golf.optim import NuMuon, Optimizers, assign, rank_of
from golf.optim.parameter_update import Direction, ParameterUpdate
from golf.recipe import Optimizer
from golf.runtime.device import product_dtype


def parameter(*shape, seed=0):
    return torch.nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def run(optimizer, weight, steps=6):
    """Give `weight` the gradients of a fixed quadratic."""
    target = torch.randn(weight.shape, generator=torch.Generator().manual_seed(9))
    for _ in range(steps):
        optimizer.zero_grad()
        (weight - target).square().sum().backward()
        optimizer.step()
    return weight.detach().clone()


class Muon(torch.optim.Optimizer):
    """torch.optim.Muon as its documentation has it, one line each and in the parameters' own dtype."""

    def __init__(self, params, *, lr, momentum, weight_decay, nesterov):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                buffer = self.state[weight].setdefault("momentum_buffer", torch.zeros_like(weight))
                buffer.lerp_(weight.grad, 1 - group["momentum"])
                aim = weight.grad.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer
                x = aim.mT if weight.shape[0] > weight.shape[1] else aim
                x = x / x.norm()
                for _ in range(5):
                    gram = x @ x.mT
                    x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
                update = x.mT if weight.shape[0] > weight.shape[1] else x
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(update, alpha=group["lr"] * max(1, weight.shape[0] / weight.shape[1]) ** 0.5)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("shape", [(24, 16), (16, 24)])
def test_full_rank_is_muon(shape, nesterov):
    ours, twin, torchs = parameter(*shape), torch.nn.Parameter(parameter(*shape).detach().double()), parameter(*shape)
    shared = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1, "nesterov": nesterov}
    quintic = (3.4445, -4.7750, 2.0315)
    mine = run(NuMuon([ours], ns_coefficients=quintic, dtype=torch.float32, **shared), ours)
    exact = run(Muon([twin], **shared), twin)
    # a float32 holds 1e-7 of a direction, of which the quintic's slope at 0 makes 3.4445^5 = 485 times as much
    torch.testing.assert_close(mine, exact.float(), rtol=0, atol=5e-5 * 0.05 * 6)
    # bfloat16 keeps 8 bits: three products in each of five quintics round 2^-9, .03 in all if they all added up
    moved = exact - parameter(*shape).detach()
    assert (run(torch.optim.Muon([torchs], **shared), torchs) - exact).norm() < 0.03 * moved.norm()


def gapped(shape, rank):
    """A gradient whose first `rank` singular values are 1 ... .1 and whose others are a hundredth of that."""
    generator = torch.Generator().manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(shape[0], min(shape), generator=generator))
    v, _ = torch.linalg.qr(torch.randn(shape[1], min(shape), generator=generator))
    values = torch.cat((torch.logspace(0, -1, rank), torch.full((min(shape) - rank,), 1e-3)))
    return (u * values) @ v.mT


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (32, 32)])
@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
def test_one_step_moves_along_the_exact_directions(shape, fraction):
    fast, exact = parameter(*shape), parameter(*shape)
    options = {"lr": 0.1, "weight_decay": 0.0, "rank_fraction": fraction, "ns_steps": 14, "dtype": torch.float32}
    gradient = gapped(shape, rank_of(fraction, smaller_side=min(shape)))
    for weight, optimizer in ((fast, NuMuon([fast], **options)), (exact, NuMuon([exact], exact=True, **options))):
        for _ in range(4):
            weight.grad = gradient.clone()
            optimizer.step()
    # a constant gradient with a gap settles the subspace; float32 leaves about 1e-4 in its weakest direction
    assert torch.allclose(fast, exact, atol=1e-3)


def test_the_update_has_the_rank_and_the_length_that_are_asked_for():
    weight = parameter(48, 32)
    before = weight.detach().clone()
    optimizer = NuMuon([weight], lr=0.1, weight_decay=0.0, rank_fraction=0.5, ns_steps=12, dtype=torch.float32)
    weight.grad = torch.randn(48, 32, generator=torch.Generator().manual_seed(1))
    optimizer.step()
    values = torch.linalg.svdvals(before - weight.detach())
    length = 0.1 * (48 / 32) ** 0.5
    assert torch.allclose(values[:16], torch.full((16,), length), atol=1e-3)
    assert values[16:].max() < 1e-4


def test_weight_decay_is_decoupled():
    weight = parameter(8, 8)
    before = weight.detach().clone()
    optimizer = NuMuon([weight], lr=0.1, weight_decay=0.5)
    weight.grad = torch.zeros(8, 8)
    optimizer.step()
    assert torch.allclose(weight, before * (1 - 0.1 * 0.5))


def test_match_rms_adamw_is_torchs_adjustment():
    weight = parameter(48, 32)
    before = weight.detach().clone()
    weight.grad = torch.randn(48, 32)
    NuMuon([weight], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw", ns_steps=12, dtype=torch.float32).step()
    assert torch.linalg.svdvals(before - weight.detach())[0] == pytest.approx(0.1 * 0.2 * 48**0.5, rel=1e-3)


def test_a_parameter_without_gradient_stays():
    weight, idle = parameter(8, 8), parameter(8, 8, seed=1)
    before = idle.detach().clone()
    optimizer = NuMuon([weight, idle])
    weight.grad = torch.ones(8, 8)
    optimizer.step()
    assert torch.equal(idle, before)


def test_state_round_trips_through_torchs_state_dict():
    def trained(restart_at):
        weight = parameter(48, 32)
        optimizer = NuMuon([weight], lr=0.05, rank_fraction=0.5)
        for step in range(6):
            if step == restart_at:
                state = optimizer.state_dict()
                optimizer = NuMuon([weight], lr=0.05, rank_fraction=0.5)
                optimizer.load_state_dict(state)
            weight.grad = torch.randn(48, 32, generator=torch.Generator().manual_seed(step))
            optimizer.step()
        return weight.detach()

    assert torch.equal(trained(restart_at=None), trained(restart_at=3))


def test_a_falling_rank_keeps_the_step_finite_and_of_the_new_rank():
    weight = parameter(64, 64)
    optimizer = NuMuon([weight], lr=0.1, weight_decay=0.0, ns_steps=12, dtype=torch.float32)
    for fraction in (1.0, 0.75, 0.5, 0.25, 0.5):
        optimizer.param_groups[0]["rank_fraction"] = fraction
        before = weight.detach().clone()
        weight.grad = torch.randn(64, 64, generator=torch.Generator().manual_seed(3))
        optimizer.step()
        values = torch.linalg.svdvals(before - weight.detach())
        assert (values > 0.05).sum() == 64 * fraction


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_matrices_of_all_shapes_move_as_each_would_alone(fraction):
    shapes = [(64, 32), (32, 64), (64, 32), (32, 32), (1, 24), (24, 1), (7, 5), (32, 64)]
    together = [parameter(*shape, seed=i) for i, shape in enumerate(shapes)]
    alone = [parameter(*shape, seed=i) for i, shape in enumerate(shapes)]
    options = {"lr": 0.1, "rank_fraction": fraction, "dtype": torch.float32, "ns_steps": 10}
    joint, single = NuMuon(together, **options), [NuMuon([weight], **options) for weight in alone]
    for step in range(4):
        for a, b in zip(together, alone, strict=True):
            a.grad = gapped(a.shape, rank_of(fraction, smaller_side=min(a.shape))) * (1 + step)
            b.grad = a.grad.clone()
        joint.step()
        for optimizer in single:
            optimizer.step()
    for a, b in zip(together, alone, strict=True):
        # sketches differ by the parameter's index; a gap in the spectrum brings both to the same directions
        assert torch.allclose(a, b, atol=2e-3)


@pytest.mark.parametrize("shape", [(48, 32), (32, 48)])
def test_factors_of_bfloat16_move_a_float32_weight_without_rounding_the_update(shape):
    weight, rank, (M, N) = parameter(*shape), 16, (48, 32)
    group = {"lr": 0.1, "weight_decay": 0.3, "adjust_lr_fn": "match_rms_adamw"}
    left, right = parameter(M, rank, seed=1).bfloat16(), parameter(rank, N, seed=2).bfloat16()
    update = left.double() @ right.double()
    expected = (1 - 0.03) * weight.double() - 0.1 * 0.2 * 48**0.5 * (update if shape == (M, N) else update.mT)
    with torch.no_grad():
        ParameterUpdate(weight, group, {}, rank, seed=0).apply(Direction(left, right))
    torch.testing.assert_close(weight, expected.float(), rtol=1e-6, atol=1e-6)  # rounded: 1e-3


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
@pytest.mark.parametrize("shape", [(48, 32), (32, 48), (1, 40), (17, 23)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_odd_gradients_give_finite_steps(scale, shape, dtype):
    weight = parameter(*shape)
    before = weight.detach().clone()
    optimizer = NuMuon([weight], lr=0.1, weight_decay=0.0, rank_fraction=0.25, dtype=dtype)
    for step in range(3):
        weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(step)) * scale
        optimizer.step()
    assert torch.isfinite(weight).all()
    assert torch.equal(weight, before) == (scale == 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("zeros", [1, 30])
def test_a_matrix_whose_first_gradients_are_zero_learns_all_directions_later(zeros, dtype):
    """As those do whose outputs go into a matrix that starts at zero."""
    weight = parameter(48, 32)
    optimizer = NuMuon([weight], lr=0.1, weight_decay=0.0, rank_fraction=0.5, dtype=dtype)
    for step in range(zeros + 3):
        before = weight.detach().clone()
        weight.grad = torch.randn(48, 32, generator=torch.Generator().manual_seed(step)) * (step >= zeros)
        optimizer.step()
    values = torch.linalg.svdvals(before - weight.detach())
    assert values[15] > 0.9 * values[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_columns_that_wake_up_are_followed(dtype):
    weight, target = parameter(48, 32), gapped((48, 32), 16)
    optimizer = NuMuon([weight], lr=0.1, weight_decay=0.0, rank_fraction=0.5, dtype=dtype)
    for step in range(6):
        before = weight.detach().clone()
        weight.grad = target.clone()
        if step < 2:
            weight.grad[:, :20] = 0
        else:
            weight.grad[:, :20] *= 1e12
        optimizer.step()
    moved = (before - weight.detach())[:, :20]
    reached = (moved * target[:, :20]).sum() / torch.linalg.svdvals(target[:, :20])[:16].sum() / (0.1 * 1.5**0.5)
    assert reached > 0.97


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_named_and_moves_nothing(bad):
    model = torch.nn.Sequential(torch.nn.Linear(8, 8, bias=False), torch.nn.Linear(8, 8, bias=False))
    optimizer = NuMuon(model.named_parameters())
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    model[1].weight.grad[3, 4] = bad
    before = [weight.detach().clone() for weight in model.parameters()]
    with pytest.raises(FloatingPointError, match=r"1\.weight is not finite"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_groups_keep_ranks_of_their_own():
    wide, narrow = parameter(64, 64), parameter(64, 64, seed=1)
    optimizer = NuMuon(
        [{"params": [wide], "rank_fraction": 0.75}, {"params": [narrow], "rank_fraction": 0.25}],
        lr=0.1,
        weight_decay=0.0,
        dtype=torch.float32,
    )
    for weight in (wide, narrow):
        weight.grad = torch.randn(64, 64, generator=torch.Generator().manual_seed(3))
        weight.before = weight.detach().clone()
    optimizer.step()
    for weight, rank in ((wide, 48), (narrow, 16)):
        assert (torch.linalg.svdvals(weight.before - weight.detach()) > 0.05).sum() == rank


class _Kernels(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the operators that compute: those that return more than a view."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view and func.namespace == "aten"
        return func(*args, **(kwargs or {}))


def kernels_of_a_step(*, matrices, **options):
    weights = [parameter(64, 64, seed=index) for index in range(matrices)]
    optimizer = NuMuon(weights, **options)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    with _Kernels() as kernels:
        optimizer.step()
    return kernels.count


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_small_matrices_of_one_shape_share_their_kernels(fraction, dtype):
    """A small matrix costs what its kernels cost to launch, however little there is to compute."""
    options = {"rank_fraction": fraction, "dtype": dtype}
    # what remains for each: momentum and basis into the stack, the basis's dtype, two factors to float32, the weight,
    # and the basis back
    few, many = (kernels_of_a_step(matrices=count, **options) for count in (2, 10))
    assert many - few <= 8 * 7
    # a quintic is one Gram matrix and two sums of a product, each in one kernel
    five, nine = (kernels_of_a_step(matrices=1, ns_steps=steps, **options) for steps in (5, 9))
    assert nine - five == 4 * 3


class _Waits(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the operators that hand a number from the device to Python."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("fractions", [[0.25] * 3, [1.0] * 3, [1.0, 0.75, 0.25, 0.5]], ids=["low", "full", "changing"])
def test_no_step_waits_for_the_device(fractions, nesterov):
    weights = [parameter(64, 32), parameter(32, 64, seed=1), parameter(32, 32, seed=2)]
    optimizer = NuMuon(weights, nesterov=nesterov, error_if_nonfinite=False)
    with _Waits() as waits:
        for fraction in fractions:
            optimizer.param_groups[0]["rank_fraction"] = fraction
            for weight in weights:
                weight.grad = torch.ones_like(weight)
            optimizer.step()
    assert waits.count == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank_fraction": 0.0}, "rank_fraction"),
        ({"rank_fraction": 1.5}, "rank_fraction"),
        ({"momentum": 1.0}, "momentum"),
        ({"lr": -1.0}, "lr"),
        ({"adjust_lr_fn": "magic"}, "adjust_lr_fn"),
    ],
)
def test_bad_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        NuMuon([parameter(4, 4)], **options)


def test_vectors_are_refused():
    with pytest.raises(ValueError, match="matrices"):
        NuMuon([torch.nn.Parameter(torch.zeros(4))])


SHAPES = {"embedding.weight": (50, 16), "blocks.0.mlp.up.weight": (32, 16), "blocks.0.attention.query_gain": (4,)}


@pytest.mark.parametrize("name", ["numuon", "muon", "adamw"])
def test_embedding_and_gains_always_go_to_adamw(name):
    places = {a.parameter: a.optimizer for a in assign(Optimizer(name=name), SHAPES)}
    assert places == {
        "embedding.weight": "adamw",
        "blocks.0.mlp.up.weight": name,
        "blocks.0.attention.query_gain": "adamw",
    }


class Toy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 32)
        self.matrix = torch.nn.Linear(32, 48, bias=False)
        self.gain = torch.nn.Parameter(torch.ones(4))
        for index, p in enumerate(self.parameters()):
            torch.nn.init.normal_(p, generator=torch.Generator().manual_seed(index))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["numuon", "muon", "adamw"])
def test_the_whole_state_restores_bit_for_bit(name, dtype):
    section = Optimizer(name=name, matmul_dtype=dtype)

    def trained(restart_at):
        model = Toy()
        optimizers = Optimizers(section, model)
        for step in range(8):
            if step == restart_at:
                state = {k: v.clone() for k, v in optimizers.tensors().items()}
                optimizers = Optimizers(section, model)
                optimizers.restore(state)
            optimizers.schedule(1.0 - step / 20, step, 8)
            for index, p in enumerate(model.parameters()):
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * step + index))
            optimizers.step()
            optimizers.zero_grad()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(trained(restart_at=None), trained(restart_at=5))


def test_gains_do_not_decay():
    model = Toy()
    optimizers = Optimizers(Optimizer(weight_decay=1.0), model)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    before = model.gain.detach().clone()
    optimizers.step()
    assert torch.equal(model.gain, before)
    assert not torch.equal(model.embedding.weight, Toy().embedding.weight)


@pytest.mark.parametrize(
    ("name", "dtype", "kind"),
    [
        ("muon", "bfloat16", torch.optim.Muon),
        ("muon", "float32", NuMuon),
        ("numuon", "bfloat16", NuMuon),
        ("numuon", "float32", NuMuon),
    ],
)
def test_the_recipe_says_what_products_are_made_in(name, dtype, kind):
    optimizers = Optimizers(Optimizer(name=name, matmul_dtype=dtype), Toy())
    assert optimizers.matmul_dtype == dtype
    assert type(optimizers._matrices) is kind


def test_muon_in_float32_is_muon():
    ours, twin = Toy(), Toy().double()
    section = Optimizer(name="muon", lr=0.05, momentum=0.9, weight_decay=0.1, matmul_dtype="float32")
    optimizers = Optimizers(section, ours)
    exact = Muon([twin.matrix.weight], lr=0.05, momentum=0.9, weight_decay=0.1, nesterov=False)
    for step in range(3):
        for a, b in zip(ours.parameters(), twin.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=torch.Generator().manual_seed(step))
            b.grad = a.grad.double()
        optimizers.step()
        exact.step()
    torch.testing.assert_close(ours.matrix.weight, twin.matrix.weight.float(), rtol=0, atol=5e-5 * 0.05 * 3)


def test_products_are_bfloat16_only_where_hardware_multiplies_it(monkeypatch):
    cpu = torch.device("cpu")
    for able, wanted in (({"avx2": True}, torch.float32), ({"avx512_bf16": True}, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert product_dtype(cpu) == wanted
    assert product_dtype(torch.device("cuda")) == torch.bfloat16


def test_a_restored_basis_gives_the_same_bits_in_bfloat16():
    """A checkpoint keeps tensors row by row; a basis in another layout would round its products otherwise."""
    section = Optimizer(name="numuon", matmul_dtype="bfloat16")

    class Wide(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(4, 8)
            self.matrix = torch.nn.Linear(160, 96, bias=False)

    def trained(restart_at):
        torch.manual_seed(0)
        model = Wide()
        optimizers = Optimizers(section, model)
        for step in range(5):
            if step == restart_at:
                state = {k: v.clone().contiguous() for k, v in optimizers.tensors().items()}
                optimizers = Optimizers(section, model)
                optimizers.restore(state)
            optimizers.schedule(1.0, 4, 5)  # where the rank is at its end
            for index, p in enumerate(model.parameters()):
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(10 * step + index))
            optimizers.step()
        return model.matrix.weight.detach().clone()

    assert torch.equal(trained(restart_at=None), trained(restart_at=3))

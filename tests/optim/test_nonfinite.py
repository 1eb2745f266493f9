import pytest
import torch

from golf.optim import NuMuon
from golf.optim.nonfinite import LateCheck, first_not_finite, sums_of


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_entry_gives_its_gradient_away(bad):
    gradients = [torch.ones(3, 4) for _ in range(3)]
    assert first_not_finite(sums_of(gradients)) is None
    gradients[1][2, 3] = bad
    assert first_not_finite(sums_of(gradients)) == 1


def test_large_gradients_are_finite_together_too():
    assert first_not_finite(torch.tensor([3e38, 3e38])) is None


class Host:
    """Copies that arrive when the test says so."""

    def __init__(self):
        self.arrived = False

    def send(self, sums):
        return sums.clone(), lambda: self.arrived


def test_a_late_check_reads_what_has_arrived_and_nothing_else():
    host, parameters = Host(), [torch.zeros(1), torch.zeros(1)]
    check = LateCheck(host.send)
    bad, good = torch.tensor([0.0, float("nan")]), torch.zeros(2)
    assert check(parameters, bad) is None
    assert check(parameters, good) is None  # still on its way
    host.arrived = True
    assert check(parameters, good) is parameters[1]
    assert check(parameters, good) is None


def test_a_late_check_names_the_parameter_of_its_own_step():
    """Another step may move other parameters."""
    host, first, second = Host(), torch.zeros(1), torch.zeros(1)
    host.arrived = True
    check = LateCheck(host.send)
    assert check([first], torch.tensor([float("inf")])) is None
    assert check([second, first], torch.zeros(2)) is first


def test_finite_gradients_whose_total_overflows_are_let_through():
    weights = [torch.nn.Parameter(torch.zeros(2, 2)) for _ in range(2)]
    for weight in weights:
        weight.grad = torch.full((2, 2), 8e37)
    NuMuon(weights).step()
    assert all(torch.isfinite(weight).all() for weight in weights)

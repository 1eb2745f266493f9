import pytest
import torch

from golf.optim.matmul_precision import products_of

BACKEND = torch.backends.mkldnn
SETTING = BACKEND.matmul


def gaussian(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_products_of_what_bfloat16_holds_are_kept_in_float32():
    left, right, term = gaussian(96, 64).bfloat16(), gaussian(64, 80).bfloat16(), gaussian(96, 80)
    exact = (term.double() + left.double() @ right.double()).float()
    with products_of(torch.bfloat16):
        found = torch.addmm(term, left.float(), right.float())
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)  # in bfloat16 the result would be off by 1e-2


def test_what_bfloat16_does_not_hold_is_rounded_to_it_or_not_at_all():
    """A CPU that multiplies bfloat16 rounds each factor by 2^-9 at most; another multiplies float32."""
    left, right = gaussian(96, 64), gaussian(64, 80)
    with products_of(torch.bfloat16):
        found = left @ right
    bound = 2**-8 * (left.abs() @ right.abs()) + 1e-5
    assert ((found - left @ right).abs() <= bound).all()


def test_products_of_float32_stay_what_they_are():
    left, right = gaussian(96, 64), gaussian(64, 80)
    plain = left @ right
    with products_of(torch.float32):
        assert torch.equal(left @ right, plain)


def enter_and_fail():
    with products_of(torch.bfloat16):
        assert SETTING.fp32_precision == "bf16"
        raise ValueError("stop")


@pytest.fixture(autouse=True)
def _settings_of_others():
    """Both as they are unset: what is read of one may be the other's."""
    yield
    SETTING.fp32_precision = BACKEND.fp32_precision = "none"


@pytest.mark.parametrize("before", ["none", "ieee", "tf32"])
def test_the_setting_is_put_back_even_after_an_error(before):
    SETTING.fp32_precision = before
    with pytest.raises(ValueError, match="stop"):
        enter_and_fail()
    assert SETTING.fp32_precision == before


def test_a_setting_that_follows_the_backends_goes_on_following_it():
    BACKEND.fp32_precision = "tf32"
    with pytest.raises(ValueError, match="stop"):
        enter_and_fail()
    assert SETTING.fp32_precision == "tf32"
    BACKEND.fp32_precision = "ieee"
    assert SETTING.fp32_precision == "ieee"

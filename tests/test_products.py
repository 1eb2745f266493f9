import pytest
import torch

from golf.optim.products import products_of

SETTING = torch.backends.mkldnn.matmul


def gaussian(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_products_of_what_bfloat16_holds_are_kept_in_float32():
    left, right, term = gaussian(96, 64).bfloat16(), gaussian(64, 80).bfloat16(), gaussian(96, 80)
    exact = (term.double() + left.double() @ right.double()).float()
    with products_of(torch.bfloat16):
        found = torch.addmm(term, left.float(), right.float())
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)  # in bfloat16 the result would be off by 1e-2


def test_products_of_float32_stay_what_they_are():
    left, right = gaussian(96, 64), gaussian(64, 80)
    plain = left @ right
    with products_of(torch.float32):
        assert torch.equal(left @ right, plain)


@pytest.mark.skipif(not torch.cpu._is_amx_tile_supported(), reason="this CPU has no AMX")
def test_a_cpu_with_amx_rounds_what_bfloat16_does_not_hold():
    left, right = gaussian(96, 64), gaussian(64, 80)
    with products_of(torch.bfloat16):
        assert not torch.allclose(left @ right, left.double().matmul(right.double()).float(), atol=1e-4)


def enter_and_fail():
    with products_of(torch.bfloat16):
        assert SETTING.fp32_precision == "bf16"
        raise ValueError("stop")


@pytest.fixture(params=["none", "ieee", "tf32"])
def before(request):
    found = SETTING.fp32_precision
    SETTING.fp32_precision = request.param
    yield request.param
    SETTING.fp32_precision = found


def test_the_setting_is_put_back_even_after_an_error(before):
    with pytest.raises(ValueError, match="stop"):
        enter_and_fail()
    assert SETTING.fp32_precision == before


@pytest.fixture
def backend():
    found = torch.backends.mkldnn.fp32_precision
    yield torch.backends.mkldnn
    torch.backends.mkldnn.fp32_precision = found


def test_a_setting_that_follows_the_backends_goes_on_following_it(backend):
    backend.fp32_precision = "tf32"
    with pytest.raises(ValueError, match="stop"):
        enter_and_fail()
    assert SETTING.fp32_precision == "tf32"
    backend.fp32_precision = "ieee"
    assert SETTING.fp32_precision == "ieee"

"""Results in order, by threads of one thread each, and nothing left behind."""

import threading

import pytest
import torch

from golf.runtime.parallel import parallel_map


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_from_single_threads(threads):
    def seen(item):
        return item, torch.get_num_threads()

    assert list(parallel_map(seen, range(50))) == [(item, 1) for item in range(50)]
    assert torch.get_num_threads() == threads


def test_sums_do_not_depend_on_the_number_of_threads():
    torch.manual_seed(0)
    matrices = [torch.randn(64, 4096) for _ in range(8)]

    def products(count):
        torch.set_num_threads(count)
        return list(parallel_map(lambda m: m @ m.T, matrices))

    before = torch.get_num_threads()
    try:
        first, second = products(1), products(3)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_few_items_are_taken_ahead(threads):
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = parallel_map(str, items())
    next(results)
    assert len(taken) <= threads + 2
    results.close()


def test_what_an_item_raises_comes_through_and_threads_end(threads):
    def fail(item):
        if item == 3:
            raise ValueError("item 3")
        return item

    before = threading.active_count()
    with pytest.raises(ValueError, match="item 3"):
        list(parallel_map(fail, range(1000)))
    assert torch.get_num_threads() == threads
    assert threading.active_count() <= before


def test_elsewhere_than_on_the_cpu_items_follow_one_another(threads):
    here = threading.current_thread()
    assert list(parallel_map(lambda _: threading.current_thread(), range(5), device=torch.device("meta"))) == [here] * 5

"""Work on all cores whose result does not depend on how many there are: items go to threads, no item is split.

Libraries that split one sum over threads round it by their number. Here each item is computed by a single thread, and
results come in the order of the items.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    device: torch.device | None = None,
    most: int | None = None,
) -> Generator[Result]:
    """Yield `function(item)` for each item, as many at a time as torch has threads, so few results are ever held.

    `items` is walked in the caller's thread, where it may raise to stop. Gradient mode is each thread's own: `function`
    sets what it needs. On a `device` that is not the CPU items follow one another. `most` bounds the items at a time
    where results are large.
    """
    threads = torch.get_num_threads()
    workers = min(threads, most or threads)
    if workers == 1 or (device is not None and device.type != "cpu"):
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for item in items:
                if len(waiting) > workers:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(function, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            # the initializer's number would be that of later threads too
            torch.set_num_threads(threads)

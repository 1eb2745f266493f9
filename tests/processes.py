"""Functions run in several processes that talk over gloo."""

import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_in_processes(function, count, *arguments):
    """`function(rank, *arguments)` in `count` processes of one group; returns what each returned, by rank."""
    with mp.get_context("spawn").Manager() as manager:
        results = manager.dict()
        mp.spawn(_enter, (function, count, free_port(), results, arguments), nprocs=count)
        return [results[rank] for rank in range(count)]


def _enter(rank, function, count, port, results, arguments):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=count)
    try:
        results[rank] = function(rank, *arguments)
    finally:
        dist.destroy_process_group()

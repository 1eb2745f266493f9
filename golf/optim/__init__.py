"""Optimizers: `from golf.optim import NuMuon` works in any torch training loop."""

from golf.optim.build import Assignment, Optimizers, assign
from golf.optim.numuon import NuMuon
from golf.optim.schedules import learning_rate, rank_fraction, rank_of

__all__ = ["Assignment", "NuMuon", "Optimizers", "assign", "learning_rate", "rank_fraction", "rank_of"]

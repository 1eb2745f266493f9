"""The search's decisions on packs that are made up: what is tried, in which order, and which is kept."""

import math
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from golf.errors import CapError
from golf.packing.methods import Method, Methods
from golf.packing.search import Search

PLAIN, TRELLIS = Method("uniform", "off"), Method("trellis", "off")
TUNED = Method("uniform", "off", fine_tune=True)
WEIGHTS = 80_000


@dataclass(frozen=True)
class Encoder:
    """Stands for a model: a bit a weight fewer for every doubling of the step; a trellis takes .16 bits fewer."""

    method: Method = PLAIN
    fine_tuned: bool = False
    weights: int = WEIGHTS
    built: list = field(default_factory=list)

    def with_quantizer(self, quantizer, low_rank):
        return Encoder(Method(quantizer, low_rank), built=self.built)

    def least_scale(self):
        return 2.0**-12

    def bits(self, scale):
        return max(0.0, 4 - math.log2(scale)) - (0.16 if self.method.quantizer == "trellis" else 0)

    def estimate(self, scale):
        return self.bits(scale) * self.weights / 8 + 1

    def build(self, scale):
        self.built.append((self.method.quantizer, scale))
        size = max(500, round(self.bits(scale) * self.weights / 8))
        return size, SimpleNamespace(ranks=[0], payloads=[], scale=scale)


def search(gaps, *, byte_budget=20_000, target_gap=1e-9, refine=True):
    asked = []

    def gap(encoder, encoded):
        asked.append((encoder.method.quantizer, encoder.fine_tuned))
        found = gaps[encoder.method.quantizer, encoder.fine_tuned]
        return found(encoded.scale) if callable(found) else found

    def fine_tune(candidate, _byte_budget):
        return Encoder(candidate.encoder.method, fine_tuned=True, built=candidate.encoder.built)

    return Search(byte_budget, target_gap, gap, fine_tune, lambda: refine), asked


def plan(*tried):
    return Methods(tried, {}, 1000, 0.5)


@pytest.mark.parametrize(
    ("gaps", "kept"),
    [((0.3, 0.1, 0.2), "uniform + fine-tuning"), ((0.3, 0.2, 0.1), "trellis"), ((0.1, 0.2, 0.3), "uniform")],
)
def test_the_lowest_measured_loss_is_kept(gaps, kept):
    named = dict(zip([("uniform", False), ("uniform", True), ("trellis", False)], gaps, strict=True))
    looking, asked = search(named)
    choice = looking.best(Encoder(), plan(TUNED, TRELLIS))
    assert choice.kept.method.name == kept
    assert asked == [("uniform", False), ("uniform", True), ("trellis", False)]
    assert choice.rounded_gap == min(gaps[0], gaps[2])
    for each in choice.tried:
        assert 0 <= 20_000 - each.solution.size <= 16
        assert each.solution.binding


def test_within_the_wanted_quality_fewer_bytes_win():
    gaps = {("uniform", False): 4e-4, ("trellis", False): 5e-4}
    looking, _ = search(gaps, byte_budget=10**6, target_gap=6e-4)
    choice = looking.best(Encoder(), plan(PLAIN, TRELLIS))
    assert choice.kept.method == TRELLIS
    assert not choice.kept.solution.binding
    assert choice.rounded_gap is None


def test_a_model_that_got_better_wins_over_fewer_bytes():
    gaps = {("uniform", False): 4e-4, ("uniform", True): -0.02, ("trellis", False): 5e-4}
    looking, _ = search(gaps, byte_budget=10**6, target_gap=6e-4)
    assert looking.best(Encoder(), plan(TUNED, TRELLIS)).kept.method == TUNED


@pytest.mark.parametrize("refine", [True, False])
def test_a_roomy_budget_takes_finer_steps_until_the_measured_gap_is_small_enough(refine):
    looking, asked = search(
        {("trellis", False): lambda scale: 20 * scale}, byte_budget=10**6, target_gap=0.01, refine=refine
    )
    kept = looking.best(Encoder(), plan(TRELLIS)).kept
    assert (kept.gap <= 0.01) == refine
    assert len(asked) > 1 if refine else len(asked) == 1


def test_a_gap_that_stays_too_large_takes_the_whole_budget():
    looking, _ = search({("trellis", False): 0.02}, target_gap=0.01)
    solution = looking.best(Encoder(), plan(TRELLIS)).kept.solution
    assert solution.binding
    assert 0 <= 20_000 - solution.size <= 16


def test_steps_end_where_symbols_would_overflow():
    looking, asked = search({("trellis", False): 0.02}, byte_budget=10**6, target_gap=0.01)
    kept = looking.best(Encoder(), plan(TRELLIS)).kept
    assert kept.solution.scale == Encoder().least_scale()
    assert len(asked) < 12


def test_a_fine_tuned_pack_that_does_not_fit_leaves_the_rounded_one():
    looking, _ = search({("uniform", False): 0.3, ("uniform", True): 0.1})

    def outgrown(_candidate, _byte_budget):
        raise CapError("its gains take more bytes")

    choice = replace(looking, fine_tune=outgrown).best(Encoder(), plan(TUNED))
    assert choice.kept.method == PLAIN
    assert choice.skipped == {TUNED: "fine-tuned, it does not fit in the byte budget"}

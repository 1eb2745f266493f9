"""What is compared: optimizers with the learning rates of their sweeps, seeds, rates of bits."""

from __future__ import annotations

SWEEP_BITS = (1.0, 1.5, 2.0)
FINAL_BITS = (0.5, 0.8, 1.0, 1.3, 1.6, 2.0, 3.0, 4.0, 8.0)
CHOSEN_AT = (1.0, 2.0)
SEEDS = (1, 2, 3)
SWEEP_SEED = 1
# The first so many variants are compared on all seeds before the others begin.
MAIN = 7
_MUON_RATES = (0.01, 0.02, 0.04, 0.08)
# ‖update‖ is √r of Muon's at the same rate, so NuMuon's sweep lies higher.
_NUMUON_RATES = (0.02, 0.04, 0.08, 0.16)


def _numuon(kind: str, end: float) -> dict[str, str]:
    return {"optimizer.name": "numuon", "optimizer.rank.kind": kind, "optimizer.rank.end": str(end)}


_SPECTRAL = {"optimizer.weight_decay": "0.0", "optimizer.spectral_decay": "0.1"}

VARIANTS: dict[str, tuple[dict[str, str], tuple[float, ...]]] = {
    "Muon": ({"optimizer.name": "muon"}, _MUON_RATES),
    # tells what spectral decay does from what leaving weight decay out does
    "Muon, no decay": ({"optimizer.name": "muon", "optimizer.weight_decay": "0.0"}, _MUON_RATES),
    "Muon, spectral decay": ({"optimizer.name": "muon"} | _SPECTRAL, _MUON_RATES),
    "NuMuon piecewise .25": (_numuon("piecewise", 0.25), _NUMUON_RATES),
    "NuMuon piecewise .25, spectral decay": (_numuon("piecewise", 0.25) | _SPECTRAL, _MUON_RATES),
    "AdamW": ({"optimizer.name": "adamw"}, (0.001, 0.002, 0.004, 0.008)),
    "NuMuon cosine .25": (_numuon("cosine", 0.25), _NUMUON_RATES),
    "NuMuon piecewise .5": (_numuon("piecewise", 0.5), _NUMUON_RATES),
    "NuMuon piecewise .1": (_numuon("piecewise", 0.1), _NUMUON_RATES),
    "NuMuon fixed .25": (_numuon("fixed", 0.25), _NUMUON_RATES),
    "NuMuon piecewise .05": (_numuon("piecewise", 0.05), _NUMUON_RATES),
}
# What NuMuon and spectral decay are held against.
RIVALS = ("Muon", "Muon, no decay", "AdamW")

"""golf's packer beside the field's, on the same checkpoint, at the same bytes, in one run.

    python -m experiments.packers.run RUN... [--out FILE] [--plot FILE] [--rates 0.8,1,1.3,1.6,2,2.5,3.5]

Losses are those of the first validation tokens (--tokens), which no packer saw; every packer calibrates on the same
TRAINING windows, and golf's tuning learns from the float model alone (pack.tune_text = 0): what the text itself could
teach it is training, not packing. The reference's k is searched for each rate, for several ratios of the embedding's
step to the others', and the best on validation counts; golf is then packed to that file's exact bytes, and with --zpaq
to those of ZPAQ too. Below --reference-from bits a weight, where the reference is broken, only golf's own methods are
compared. Rates are bits a weight of the whole file. A checkpoint is known by its folder's name; rates that
--out already has for it are not measured again.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.opened import opened, validation, with_pack
from experiments.packers.plot import plot
from experiments.packers.rivals import Rival, gptq, hessians, int8_zlib, whitened_svd
from experiments.packers.table import rows_of
from experiments.records import add_out_option, append, circumstances, read
from golf.artifact import compress_zstd
from golf.compress.encode_matrix import CalibratedMatrix
from golf.errors import CapError
from golf.model import Transformer
from golf.packing.encoder import as_bytes
from golf.packing.measure import score_as_written
from golf.packing.pack import Packing
from golf.runtime.interrupt import listening
from golf.runtime.observer import Observer

RESULTS = Path(__file__).with_name("results.jsonl")
# The embedding's step over the others': the record's (20 / 127 over 12.85 / 31), and coarser.
_EMBEDDING_STEPS = (0.38, 0.7)
_CLAIM = 16
_STOPPED = "stopped; nothing of this checkpoint was written"
_ROUNDING_ALONE = {"tune_tokens": 0, "low_rank": "off", "quantizer": "uniform"}


def compare(
    run: Path, *, rates: list[float], tokens: int, settings: list[str], zpaq: bool, reference_from: float
) -> list[dict[str, Any]]:
    """Rows {method, bytes, bits_per_weight, val_loss, gap, seconds} of one run's checkpoint."""
    with listening() as stop:
        observer = Observer().stopping(stop, _STOPPED)
        packing = opened(run, [f"verify.tokens={tokens}", "pack.tune_text=0", *settings], observer=observer)
        return _Comparison(packing, run, zpaq).rows(rates, reference_from)


class _Comparison:
    def __init__(self, packing: Packing, run: Path, zpaq: bool) -> None:
        self.packing, self.name, self.out, self.zpaq = packing, run.name, run / "compared.bin", zpaq
        self.model = packing.inputs.model
        self.count = sum(p.numel() for p in self.model.parameters() if p.ndim == 2)
        small = b"".join(as_bytes(p) for p in self.model.parameters() if p.ndim != 2)
        self.extra = compress_zstd(small + packing.inputs.data.tokenizer.serialized, 19)
        self.float_score = validation(packing, self.model)
        self.float_loss = self.float_score.loss
        self.table: list[dict[str, Any]] = []

    def rows(self, rates: list[float], reference_from: float) -> list[dict[str, Any]]:
        started = time.monotonic()
        matrices = self.packing.calibrated()
        seconds = time.monotonic() - started
        self._limit(matrices)
        tokens = self.packing.inputs.recipe.pack.calibration_tokens
        hessian = hessians(self.model, self.packing.windows.calibration(tokens))
        self._rival("int8 + zlib", int8_zlib(self.model, self.extra), 0.0)
        for share in (0.1, 0.2, 0.35, 0.5, 0.8):
            started = time.monotonic()
            rival = whitened_svd(self.model, hessian, share=share, extra=self.extra)
            self._rival("whitened SVD + int8", rival, time.monotonic() - started)
        rounding = with_pack(self.packing, **_ROUNDING_ALONE)
        for rate in sorted(rates, reverse=True):
            sizes = self._gptq_at(rate, hessian) if rate >= reference_from else [round(rate * self.count / 8)]
            self._golf("golf, rounding alone", rounding, matrices, sizes[0], calibration=seconds)
            for size in sizes:
                self._golf("golf", self.packing, matrices, size, calibration=seconds)
        return self.table

    def _gptq_at(self, rate: float, hessian: dict[str, Any]) -> list[int]:
        """The reference's best file of about this rate; returns its bytes with brotli, and with ZPAQ."""
        wanted, best = rate * self.count / 8, None
        for ratio in _EMBEDDING_STEPS:
            started = time.monotonic()
            rival = _search(
                lambda step, r=ratio: gptq(  # type: ignore[misc]
                    self.model, hessian, k=31 * step, embedding_k=127 * step * r, extra=self.extra
                ),
                wanted,
            )
            loss = self._loss(rival)
            if best is None or loss < best[0]:
                best = (loss, rival, ratio, time.monotonic() - started)
        assert best is not None
        loss, rival, ratio, seconds = best
        self._add(f"GPTQ int6 + brotli (embedding x {ratio})", rival.bytes["brotli"], loss, seconds)
        if self.zpaq:
            with_zpaq = gptq(
                self.model,
                hessian,
                k=31 * rival.step,
                embedding_k=127 * rival.step * ratio,
                extra=self.extra,
                zpaq=True,
            )
            if "zpaq" in with_zpaq.bytes:
                self._add("GPTQ int6 + ZPAQ", with_zpaq.bytes["zpaq"], loss, seconds)
                return [rival.bytes["brotli"], with_zpaq.bytes["zpaq"]]
        return [rival.bytes["brotli"]]

    def _golf(
        self, method: str, packing: Packing, matrices: list[CalibratedMatrix], size: int, *, calibration: float
    ) -> None:
        started, encoder = time.monotonic(), packing.encoder(matrices, self.float_score)
        try:
            solution = packing.best(encoder, size - _CLAIM).kept.solution
        except CapError:
            return
        score = score_as_written(packing.inputs, solution.built, self.out, packing.observer)
        self._add(method, solution.size, score.loss, calibration + time.monotonic() - started)

    def _limit(self, matrices: list[CalibratedMatrix]) -> None:
        """The rate-distortion limit of Gaussian weights under the same Fisher matrix: reverse water-filling."""
        variances = []
        for each in matrices:
            weights = each.scaled * each.steps.relative() * each.base
            spread = float(np.square(weights, dtype=np.float64).mean())
            levels = np.linalg.eigvalsh(each.fisher.metric)
            variances.append(np.outer(each.fisher.rows, levels).ravel() * spread)
        every = np.concatenate(variances)
        for water in np.geomspace(every.max(), np.quantile(every, 0.3) * 1e-4, 40):
            bits = float(0.5 * np.log2(np.maximum(every / water, 1)).sum())
            gap = float(0.5 * np.minimum(every, water).sum())
            if bits / self.count < 8 and gap < 3:
                self._add("limit", round(bits / 8), self.float_loss + gap, 0.0)

    def _rival(self, method: str, rival: Rival, seconds: float) -> None:
        loss = self._loss(rival)
        for size in rival.bytes.values():
            self._add(method, size, loss, seconds)

    def _loss(self, rival: Rival) -> float:
        model = Transformer(self.model.shape, self.model.vocab_size)
        weights = {n: p.detach() for n, p in self.model.named_parameters()}
        model.load_state_dict(
            weights | {n: torch.from_numpy(np.ascontiguousarray(w)) for n, w in rival.weights.items()}
        )
        return validation(self.packing, model).loss

    def _add(self, method: str, size: int, loss: float, seconds: float) -> None:
        row = {
            "method": method,
            "bytes": size,
            "bits_per_weight": 8 * size / self.count,
            "val_loss": loss,
            "gap": loss - self.float_loss,
            "seconds": round(seconds, 1),
        }
        self.table.append(row)
        if method != "limit":
            cells = (f"{v:.4f}" if isinstance(v, float) else f"{v!s:40.40}" for v in row.values())
            print(f"{self.name}: " + "  ".join(cells), flush=True)


def _search(build: Callable[[float], Rival], wanted: float) -> Rival:
    """The rival whose brotli size is within .5 % of `wanted`, by its step in standard deviations."""
    low, high, step = 0.02, 12.0, 1.0
    for _ in range(14):
        rival = build(step)
        size = rival.bytes["brotli"]
        if abs(size / wanted - 1) < 0.005:
            break
        low, high = (step, high) if size > wanted else (low, step)
        # a bit a weight is a doubling of the step
        guess = step * 2.0 ** max(-1.0, min(1.0, (size / wanted - 1) * 2))
        step = guess if low < guess < high else math.sqrt(low * high)
    return rival


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    add_out_option(parser, RESULTS)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--rates", default="0.8,1,1.3,1.6,2,2.5,3.5")
    parser.add_argument(
        "--reference-from", type=float, default=1.6, help="lowest rate at which the reference is searched"
    )
    parser.add_argument("--tokens", type=int, default=32_768, help="validation tokens that are scored")
    parser.add_argument("--zpaq", action="store_true", help="also compress the reference with lrzip -z")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    if find_spec("brotli") is None:
        raise SystemExit('brotli is missing: pip install -c constraints.txt -e ".[bench]"')
    for run in arguments.runs:
        done = {rate for record in read(arguments.out) if record["checkpoint"] == run.name for rate in record["rates"]}
        rates = [rate for rate in map(float, arguments.rates.split(",")) if rate not in done]
        if not rates:
            print(f"{run.name}: all rates are in {arguments.out}")
            continue
        rows = compare(
            run,
            rates=rates,
            tokens=arguments.tokens,
            settings=arguments.settings,
            zpaq=arguments.zpaq,
            reference_from=arguments.reference_from,
        )
        about = circumstances() | {"threads": torch.get_num_threads(), "tokens": arguments.tokens}
        append(arguments.out, {"checkpoint": run.name} | about | {"rates": rates, "rows": rows})
    if arguments.plot:
        plot(rows_of(read(arguments.out)), arguments.plot)


if __name__ == "__main__":
    main()

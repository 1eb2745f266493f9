"""TrainingState: weights, optimizers, step and time of a training; saved and restored together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golf.data import TokenSet
from golf.errors import DamagedCheckpoint, Diverged, UsageError
from golf.model import Transformer
from golf.optim import Optimizers, learning_rate
from golf.recipe import Recipe
from golf.run.checkpoint import load_latest, save_checkpoint
from golf.run.folder import Run, differences
from golf.run.load_model import check_finite
from golf.run.state import RunState, recipe_of
from golf.runtime.processes import ALONE, Processes, explain_lost_process


@dataclass
class TrainingState:
    """A training between two steps."""

    recipe: Recipe
    run: Run
    data: TokenSet
    model: Transformer
    optimizers: Optimizers
    device: torch.device
    processes: Processes = ALONE
    step: int = 0
    elapsed: float = 0.0
    average: dict[str, Tensor] = field(default_factory=dict)
    """Exponential moving averages of the weights by name; empty where train.ema is 0."""
    reserved: float = 0.0
    """Seconds of train.max_seconds left to packing; from the first step on all processes have the first one's value."""
    agreed_elapsed: float = 0.0
    """`elapsed` of the first process before the last step; all processes compute the schedule from it."""
    agreed_stop: bool = False
    """Whether any process had been asked to stop before the last step."""

    def take_step(
        self, loss_of: Callable[[Tensor], Tensor], batch: NDArray[np.int64], *, steps: int, stopping: bool
    ) -> dict[str, float]:
        """Take one optimizer step of `steps` on `batch` (B, T+1) int64.

        Return loss, learning rate, rank fraction, and where there is a rate penalty its strength.

        Raises Diverged where the loss or a gradient is not finite, EnvironmentFailure where another process has ended.
        """
        section = self.recipe.train
        multiplier = learning_rate(
            self.step, steps=steps, warmup=section.warmup, cooldown=section.cooldown, min_lr=section.min_lr
        )
        rank = self.optimizers.schedule(multiplier, self.step, steps)
        loss = self._backward(loss_of, batch)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        first = float(self.processes.first)
        told = [loss, float(stopping), first * self.elapsed, first * self.reserved]
        loss, stops, self.agreed_elapsed, self.reserved = self.processes.add_up(gradients, told)
        self.agreed_stop = stops > 0
        norm = torch.nn.utils.get_total_norm(gradients)
        if not np.isfinite(loss) or not bool(torch.isfinite(norm)):
            raise Diverged(self._blame(loss))
        torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), section.clip, norm)
        with explain_lost_process():
            self.optimizers.step()
        self.optimizers.zero_grad()
        self._update_average()
        figures = {"train_loss": loss, "lr": self.recipe.optimizer.lr * multiplier, "rank_fraction": rank}
        strength = self.optimizers.penalty_strength
        return figures | ({"rate_penalty": strength} if strength else {})

    def _backward(self, loss_of: Callable[[Tensor], Tensor], batch: NDArray[np.int64]) -> float:
        """Accumulate the gradient of this process's rows; return their part of the loss.

        Gradients and losses of all processes add up to those of the batch.
        """
        own = torch.from_numpy(self.processes.rows(batch))
        if self.device.type == "cuda":
            own = own.pin_memory()
        rows = max(1, self.recipe.train.micro_batch_tokens // self.recipe.train.sequence_length)
        total = torch.zeros((), device=self.device)
        for micro in own.split(rows):  # type: ignore[no-untyped-call]
            with precision(self.device):
                loss = loss_of(micro.to(self.device, non_blocking=True)) * (len(micro) / len(batch))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return float(total)

    def _update_average(self) -> None:
        """Update the moving averages; the decay is smaller in early steps, so that the initial weights fade."""
        if not (decay := self.recipe.train.ema):
            return
        weights = {name: p.detach() for name, p in self.model.named_parameters()}
        if not self.average:
            self.average = {name: w.clone() for name, w in weights.items()}
        decay = min(decay, (1 + self.step) / (10 + self.step))
        # paired by name: after a resume the averages are in the checkpoint's order, not in the model's
        torch._foreach_lerp_([self.average[name] for name in weights], list(weights.values()), 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the model has its averages as weights, if there are any: the weights that are packed."""
        if not self.average:
            yield
            return
        weights = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.model.load_state_dict(self.average)
        try:
            yield
        finally:
            self.model.load_state_dict(weights)

    def save(self) -> None:
        """Write the checkpoint of `step` steps done; refuses weights that are no longer finite."""
        self.check_weights()
        tensors = {f"model.{name}": p.detach() for name, p in self.model.named_parameters()}
        tensors |= {f"average.{name}": average for name, average in self.average.items()}
        tensors |= {f"optimizer.{name}": t for name, t in self.optimizers.tensors().items()}
        tensors["tokenizer"] = torch.frombuffer(bytearray(self.data.tokenizer.serialized or b"\0"), dtype=torch.uint8)
        save_checkpoint(self.run.checkpoint, {k: v.cpu() for k, v in tensors.items()}, self._state().to_json())

    def check_weights(self) -> None:
        """Raise Diverged for a weight that is no longer finite."""
        for name, weight in self.model.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise Diverged(f"step {self.step}: {name} is not finite; {self.kept()}")

    def restore(self) -> str | None:
        """Continue from the newest sound checkpoint; returns a note if that was not the newest one."""
        checkpoint, note = load_latest(self.run.folder)
        state = RunState.of(checkpoint.state, source=str(self.run.checkpoint))
        recorded = recipe_of(state, source=str(self.run.checkpoint))
        if edited := differences(recorded, self.recipe, "in the checkpoint", "in recipe.toml"):
            raise UsageError(
                f"{self.run.recipe} was edited after the checkpoint was written ({'; '.join(edited)}); undo that, or "
                "train the edited recipe into another --out"
            )
        if state.text != self.data.fingerprint:
            raise UsageError(
                f"{self.run.folder}: the text found is not the one this run was trained on; restore that text"
            )
        weights, average = _part(checkpoint.tensors, "model."), _part(checkpoint.tensors, "average.")
        for tensors in (weights, average):
            check_finite(tensors, source=str(self.run.checkpoint))
        if average and {k: v.shape for k, v in average.items()} != {k: v.shape for k, v in weights.items()}:
            raise DamagedCheckpoint(str(self.run.checkpoint), "its moving averages do not fit its weights")
        try:
            self.model.load_state_dict(weights)
        except RuntimeError:
            raise UsageError(f"{self.run.folder} holds weights of another shape; name another --out") from None
        self.average = {k: v.to(self.device) for k, v in average.items()}
        slower = self._keep_matmul_dtype(state.matmul_dtype)
        try:
            self.optimizers.restore(_part(checkpoint.tensors, "optimizer."), started=state.step > 0)
        except ValueError as error:
            raise DamagedCheckpoint(str(self.run.checkpoint), f"its optimizer's state {error}") from None
        self.step, self.elapsed, self.reserved = state.step, float(state.elapsed), float(state.reserved)
        self.agreed_elapsed = self.elapsed
        notes = [note, slower, self._other_arithmetic(state)]
        return "; ".join(each for each in notes if each) or None

    def _keep_matmul_dtype(self, recorded: str | None) -> str | None:
        """Keep the dtype of products that "auto" resolved to when the run began; return a note where it is slow here.

        A recipe that names a dtype needs no record; older checkpoints have none.
        """
        section, here = self.optimizers.section, self.optimizers.matmul_dtype
        if section.matmul_dtype != "auto" or recorded in (None, here):
            return None
        kept = section.model_copy(update={"matmul_dtype": recorded})
        self.optimizers = Optimizers(kept, self.model, process_group=self.processes.group)
        return f"the optimizer goes on in {recorded}, as the run began; {here} would be faster on this machine"

    def _other_arithmetic(self, before: RunState) -> str | None:
        """A note on changed threads or processes, with which a resumed run is not bit-identical; None without."""
        now = self._state()
        changed = [
            f"{getattr(before, key)} {key}, now {getattr(now, key)}"
            for key in ("threads", "processes")
            if self.device.type == "cpu" and getattr(before, key) != getattr(now, key)
        ]
        return f"the run used {' and '.join(changed)}: it continues, but not bit for bit" if changed else None

    def _state(self) -> RunState:
        return RunState(
            step=self.step,
            recipe=self.recipe.model_dump(mode="json"),
            text=self.data.fingerprint,
            elapsed=self.elapsed,
            reserved=self.reserved,
            tokenizer_kind=self.data.tokenizer.kind,
            vocab_size=self.data.tokenizer.vocab_size,
            threads=torch.get_num_threads(),
            processes=self.processes.count,
            device=self.device.type,
            matmul_dtype=self.optimizers.matmul_dtype,
        )

    def kept(self) -> str:
        """Part of an error message: the checkpoint that is kept after a failure, and what to try."""
        kept = "the last good checkpoint is kept" if self.run.checkpoint.exists() else "no checkpoint was written yet"
        return f"{kept} in {self.run.folder}; try a smaller optimizer.lr"

    def _blame(self, loss: float) -> str:
        """The message of Diverged: the step, the tensor that is not finite, and what to try."""
        where = f"step {self.step + 1}"
        if np.isfinite(loss):
            named = self.model.named_parameters()
            broken = (n for n, p in named if p.grad is not None and not p.grad.isfinite().all())
            guilty = next(broken, None)
            where += f": the gradient of {guilty}" if guilty else ": the norm of the gradient"
        else:
            where += ": the loss"
        return f"{where} is not finite; {self.kept()}"


def precision(device: torch.device) -> Any:
    """bfloat16 autocast on CUDA; float32 on the CPU, where resuming must be exact."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

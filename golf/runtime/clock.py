"""Time: a training's speed, the step at which a budget of seconds will be spent, and seconds by stage."""

from __future__ import annotations

import time

# The first steps are slow (allocation, compilation) and would predict too few.
_STEPS_TO_KNOW = 3
# Dense bfloat16 FLOP/s by a part of the device's name, from NVIDIA's data sheets.
_PEAKS = {"B200": 2250e12, "H200": 989e12, "H100": 989e12, "L40S": 362e12, "A100": 312e12, "RTX 4090": 165e12}


class Clock:
    """Counts the seconds of a training over all of its sessions, and the speed since the last record."""

    def __init__(self, *, elapsed: float, step: int) -> None:
        """Go on from `elapsed` seconds after `step` steps."""
        self._started = time.monotonic() - elapsed
        self._began_at = step
        self._speed_since = self._own_since = (elapsed, step)

    @property
    def elapsed(self) -> float:
        """Seconds of training so far."""
        return time.monotonic() - self._started

    def is_first(self, step: int) -> bool:
        """Whether `step` is the first done since the start or the resume: a sign of life for the user."""
        return step == self._began_at + 1

    def restart(self, step: int) -> None:
        """Measure speed from here on."""
        self._speed_since = (self.elapsed, step)

    def steps_per_second(self, step: int) -> float:
        """Steps a second since `restart`."""
        seconds, before = self._speed_since
        return (step - before) / max(self.elapsed - seconds, 1e-9)


def steps_within(*, elapsed: float, step: int, seconds: float, steps: int) -> int:
    """The step at which `seconds` will be spent if the rest takes as long a step as the first `step`, at most `steps`.

    Schedules that reckon with it end on the clock: diagnostics and checkpoints so far are part of the speed. At least
    one more step is left while there is time for it.
    """
    if elapsed >= seconds:
        return step
    if step < _STEPS_TO_KNOW or elapsed * steps <= seconds * step:
        return steps
    return max(step, min(steps, int(seconds * step / elapsed)))


def peak_flops(device_name: str) -> float | None:
    """Dense bfloat16 FLOP/s of a CUDA device by its name; None for one that is not known."""
    return next((peak for name, peak in _PEAKS.items() if name in device_name), None)


class Stages:
    """Seconds spent in each stage of a piece of work."""

    def __init__(self) -> None:
        """Start the clock."""
        self._since = time.monotonic()
        self.seconds: dict[str, float] = {}

    def done(self, name: str) -> None:
        """The stage `name` has ended."""
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._since, 3)
        self._since = now

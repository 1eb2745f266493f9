"""One error per way to fail.

Every error a user can cause is a `GolfError`; its text is one sentence that says what is wrong, where, and what to do.
`exit_code` follows the table in the README: the command line is the only place that turns it into a process status.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class GolfError(Exception):
    """Root of every failure that golf foresees."""

    exit_code = 1


class UsageError(GolfError):
    """The command, its arguments or the state of a folder do not allow what was asked."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe or workspace file is wrong; `mistakes` lists every one of them with its address."""

    def __init__(self, mistakes: list[str]) -> None:
        """Keep the list; the message is one mistake a line."""
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))


class DataError(UsageError):
    """Training or evaluation text is missing, empty or malformed."""


class CapError(UsageError):
    """No artifact of this checkpoint can be as small as the cap asks."""


class ClaimError(GolfError):
    """A sound artifact fails what it claims: over a cap, or a loss too high."""

    exit_code = 3


class DamagedFile(GolfError):
    """An input file is truncated, altered or hostile; `part` names where, `path` which file, where that is known."""

    exit_code = 4

    def __init__(self, part: str, reason: str) -> None:
        """Name the damaged part first: it is what a user looks for."""
        self.part = part
        self.path: Path | None = None
        super().__init__(f"{part}: {reason}")

    def __str__(self) -> str:
        """The file, where `naming` told it, its part, and what is wrong with that."""
        return f"{self.path}: {self.args[0]}" if self.path else str(self.args[0])


@contextmanager
def refusing(refusal: Exception) -> Iterator[None]:
    """Raise `refusal` for whatever constriction raises on broken input; its Rust core panics, which is no Exception."""
    try:
        yield
    except (GolfError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException:
        raise refusal from None


@contextmanager
def naming(path: Path | None) -> Iterator[None]:
    """Have every DamagedFile that leaves this block say which file it is about."""
    try:
        yield
    except DamagedFile as error:
        error.path = error.path or path
        raise


class DamagedCheckpoint(DamagedFile):
    """A checkpoint does not match its own digest or layout."""


class DamagedShard(DamagedFile):
    """A token shard breaks the `.bin` format."""


class EnvironmentFailure(GolfError):
    """Disk, permission, device or package: the machine cannot do what was asked."""

    exit_code = 5


class Diverged(GolfError):
    """The loss, a gradient or a weight stopped being finite."""

    exit_code = 6


class NothingHeld(GolfError):
    """A sound artifact whose loss could be held neither against its claim nor against a bound of the verifier's own."""

    exit_code = 7


class Interrupted(GolfError):
    """A signal asked for a stop; the work is saved and can be resumed."""

    def __init__(self, message: str, *, signal_number: int = 2) -> None:
        """Exit codes follow the shell: 128 + signal (129 for SIGHUP, 130 for SIGINT, 143 for SIGTERM)."""
        super().__init__(message)
        self.exit_code = 128 + signal_number

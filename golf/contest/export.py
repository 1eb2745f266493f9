"""Export packed runs, the seeds of one recipe, as a submission folder of the contest."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from datetime import date as calendar
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from golf.artifact import Artifact, Claim, open_artifact
from golf.contest.bundle import PACKAGES, SCRIPT, script
from golf.contest.export_folder import fill_folder
from golf.contest.readme import readme
from golf.contest.results import Exported
from golf.errors import ClaimError, DamagedFile, UsageError
from golf.recipe import Recipe, recipe_from_dict
from golf.run.folder import Run, read_metrics
from golf.run.log_lines import CLOCK_STAGES, clock_line, final_line, size_lines, step_line

ARTIFACT = "artifact.bin"


@dataclass(frozen=True)
class Details:
    """Values of submission.json that are not in a run."""

    name: str | None = None
    author: str = ""
    github_id: str = ""
    blurb: str = ""
    track: str = "10min_16mb"
    date: str | None = None
    hardware: str | None = None


@dataclass(frozen=True)
class _Seed:
    """One packed run."""

    run: Run
    artifact: Artifact
    claim: Claim
    recipe: Recipe
    packing: dict[str, Any]
    training: dict[str, Any]


def export_submission(runs: list[Run], out: Path, *, details: Details, plain: bool, force: bool) -> Exported:
    """Write the folder `out`: script, the first run's artifact, logs, submission.json, README.md, requirements.txt.

    Every run is a seed of one recipe. Raises ClaimError where artifact and script together exceed the artifact's cap,
    UsageError for runs of different recipes; nothing is written then.
    """
    seeds = [_load(run) for run in runs]
    _refuse_strangers(seeds)
    first = seeds[0]
    scripts = {kind: script(first.recipe, plain=kind == "plain") for kind in ("plain", "compressed")}
    shipped = scripts["plain" if plain else "compressed"]
    for seed in seeds:
        _refuse_over_cap(seed, len(shipped))
    card = _card(seeds, details, code=len(shipped))
    contents = {
        SCRIPT: shipped,
        ARTIFACT: first.artifact.content,
        **{f"train_seed{seed.recipe.seed}.log": _log(seed, len(shipped)).encode() for seed in seeds},
        "submission.json": (json.dumps(card, indent=2) + "\n").encode(),
        "requirements.txt": _requirements().encode(),
    }
    contents["README.md"] = readme(card, first.recipe, first.artifact.manifest.claim).encode()
    fill_folder(out, contents, card="submission.json", stale=("train_seed*.log",), force=force)
    return Exported(
        folder=out,
        files={name: len(content) for name, content in contents.items()},
        code_plain=len(scripts["plain"]),
        code_compressed=len(scripts["compressed"]),
        total=len(shipped) + first.artifact.size,
        cap=first.artifact.manifest.budget.cap,
    )


def _load(run: Run) -> _Seed:
    artifact = open_artifact(run.artifact)
    claim = artifact.manifest.claim
    if claim is None:
        raise UsageError(f"{run.artifact} claims no loss; pack it again with: golf pack {run.folder}")
    recipe = recipe_from_dict(artifact.manifest.recipe, source=str(run.artifact))
    return _Seed(run, artifact, claim, recipe, _json(run.ledger), _json(run.result))


def _json(path: Path) -> dict[str, Any]:
    """A JSON file that golf wrote next to the artifact; empty where it is missing."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DamagedFile(str(path), f"cannot be read ({error}); make it again with golf pack") from None
    return found if isinstance(found, dict) else {}


def _refuse_strangers(seeds: list[_Seed]) -> None:
    """Raise UsageError unless the runs have different seeds and otherwise equal recipes."""
    numbers = [seed.recipe.seed for seed in seeds]
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"the runs' seeds are {', '.join(map(str, numbers))}; give each seed once")
    first = _without_seed(seeds[0].recipe)
    for seed in seeds[1:]:
        if _without_seed(seed.recipe) != first:
            raise UsageError(f"{seed.run.folder} is of another recipe than {seeds[0].run.folder}, beyond its seed")


def _without_seed(recipe: Recipe) -> Recipe:
    budget = recipe.budget.model_copy(update={"code_bytes": 0})
    return recipe.model_copy(update={"seed": 0, "name": "", "budget": budget})


def _refuse_over_cap(seed: _Seed, code: int) -> None:
    cap, size = seed.artifact.manifest.budget.cap, seed.artifact.size
    if size + code > cap:
        # where the script takes most of the cap, suggest a larger cap: the present artifact plus the script
        wanted = cap if code < cap / 2 else size + code
        raise ClaimError(
            f"{seed.run.artifact} ({size:,} bytes) and the script ({code:,}) are {size + code - cap:,} bytes over the "
            f"cap {cap:,}; pack it again with: golf pack {seed.run.folder} --cap {wanted} --code-bytes {code}"
        )


def _log(seed: _Seed, code: int) -> str:
    """The run as a contest log: its logged steps, then sizes, clock and the loss of the rebuilt model."""
    records = read_metrics(seed.run.metrics)
    lines = [f"seed:{seed.recipe.seed} recipe:{seed.recipe.name} device:{seed.claim.device}"]
    lines += [step_line(record, seed.recipe.train.steps) for record in records if "train_loss" in record]
    lines += size_lines(model=seed.artifact.size, code=code)
    clock, seconds = seed.packing.get("clock"), seed.packing.get("seconds", {})
    # packs of earlier releases kept no clock; their stages are coarser
    stages = seconds if clock is None else {stage: clock[stage] for stage in CLOCK_STAGES}
    if stages:
        lines.append(clock_line(stages))
    measured = seconds.get("measure packed", 0.0)
    lines.append(final_line(loss=seed.claim.val_loss, bpb=seed.claim.contest_bpb, seconds=measured))
    return "\n".join(lines) + "\n"


def _card(seeds: list[_Seed], details: Details, *, code: int) -> dict[str, Any]:
    """submission.json; losses are means over seeds, sizes are those of the exported artifact."""
    first = seeds[0]
    return {
        "author": details.author,
        "github_id": details.github_id,
        "name": details.name or first.recipe.name,
        "blurb": details.blurb,
        "date": details.date or calendar.today().isoformat(),
        "track": details.track,
        "val_loss": statistics.fmean(seed.claim.val_loss for seed in seeds),
        "val_bpb": statistics.fmean(seed.claim.contest_bpb for seed in seeds),
        "bytes_total": first.artifact.size + code,
        "bytes_code": code,
        "bytes_model": first.artifact.size,
        "seeds": [seed.recipe.seed for seed in seeds],
        "seed_results": {str(seed.recipe.seed): _seed_card(seed) for seed in seeds},
        "hardware": details.hardware or first.claim.device,
        "golf": first.artifact.manifest.golf,
    }


def _seed_card(seed: _Seed) -> dict[str, Any]:
    steps, seconds = seed.training.get("steps", seed.recipe.train.steps), seed.training.get("seconds")
    return {
        "val_loss": seed.claim.val_loss,
        "val_bpb": seed.claim.contest_bpb,
        "artifact_bytes": seed.artifact.size,
        "steps": steps,
        "step_avg_ms": None if seconds is None else round(1000 * seconds / max(steps, 1), 3),
        "eval_time_s": seed.packing.get("seconds", {}).get("measure packed"),
    }


def _requirements() -> str:
    """The packages that the script imports, in the installed versions, since others may decode differently."""
    lines = []
    for package in PACKAGES:
        try:
            lines.append(f"{package}=={version(package).partition('+')[0]}")
        except PackageNotFoundError:  # built from source, without metadata
            lines.append(package)
    return "\n".join(lines) + "\n"

"""`golf doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from golf.cli.options import json_option

if TYPE_CHECKING:
    from rich.table import Table

    from golf.runtime.machine import Package


@click.command(
    short_help="Show what this machine offers.",
    epilog="""Examples:

\b
  golf doctor
  golf doctor --json | python -m json.tool""",
)
@json_option
def doctor(as_json: bool) -> None:
    """Show versions, processor, GPU, memory, disk and a training's speed here, and what each of them means.

    Takes seconds and asks no network. Exit code 5 if a package that golf needs is missing or broken.
    """
    from golf.cli.terminal import show, show_json
    from golf.errors import EnvironmentFailure
    from golf.runtime.json_values import to_json
    from golf.runtime.machine import extra_packages, needed_packages

    needed, extras = needed_packages(), extra_packages()
    broken = {package.name: package.problem for package in needed if package.problem}
    result, tables = ({}, []) if broken else _inspected(with_tables=not as_json)
    if as_json:
        packages = {"needed": [to_json(each) for each in needed]}
        show_json(packages | {"extras": {extra: to_json(each) for extra, each in extras.items()}} | result)
    elif "rich" not in broken:
        show([_packages(needed, extras), *tables])
    if broken:
        said = ", ".join(f"{name} ({problem})" for name, problem in broken.items())
        raise EnvironmentFailure(f"golf needs {said}; install with: pip install {' '.join(broken)}")


def _packages(needed: list[Package], extras: dict[str, Package]) -> Table:
    from golf.report.machine import packages_table

    return packages_table(needed, extras)


def _inspected(*, with_tables: bool) -> tuple[dict[str, Any], list[Table]]:
    """All that needs golf's packages, as JSON and as tables; what fails becomes a note."""
    from golf.report.machine import computing_table
    from golf.runtime.json_values import to_json
    from golf.runtime.machine import gpus, memory, processor

    cpu, store, devices = processor(), memory(), gpus()
    result: dict[str, Any] = {"processor": to_json(cpu), "memory": to_json(store)}
    result["gpus"] = [to_json(each) for each in devices]
    tables = [computing_table(cpu, store, devices)] if with_tables else []
    for part in (_places, _speed):
        found, made = part()
        result |= found
        tables += [made] if with_tables and made is not None else []
    return result, tables


def _places() -> tuple[dict[str, Any], Table | None]:
    from golf.cli.terminal import note
    from golf.data.cache_contents import cache_contents
    from golf.errors import GolfError
    from golf.report.machine import places_table
    from golf.run.workspace import find_workspace
    from golf.runtime.json_values import to_json
    from golf.runtime.machine import disk

    try:
        workspace = find_workspace(Path.cwd())
        cached = sum(entry.bytes for entry in cache_contents(workspace.data.resolve()))
    except (GolfError, OSError) as error:
        note(f"the workspace could not be looked at: {error}")
        return {"workspace": None}, None
    data, artifacts = disk(workspace.data), disk(workspace.artifacts)
    found = {"data": to_json(data), "artifacts": to_json(artifacts), "cached_bytes": cached}
    return {"workspace": found}, places_table(data, artifacts, cached)


def _speed() -> tuple[dict[str, Any], Table | None]:
    """Time some steps of the quickstart's shape on random tokens."""
    from golf.cli.terminal import note
    from golf.errors import GolfError
    from golf.recipe import load_recipe
    from golf.report.machine import speed_table
    from golf.runtime.device import resolve_device
    from golf.runtime.json_values import to_json
    from golf.runtime.shipped import shipped_recipes
    from golf.training.speed import measure_speed

    try:
        recipe = load_recipe(shipped_recipes() / "quickstart.toml")
        speed = measure_speed(recipe, device=resolve_device("auto"))
    except (GolfError, OSError, RuntimeError, MemoryError) as error:
        note(f"the speed could not be measured: {error}")
        return {"speed": None}, None
    return {"speed": to_json(speed)}, speed_table(speed)

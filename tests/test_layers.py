"""The architecture as a test: imports go down only, and verify cannot reach what it judges."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "golf"

# From the bottom up. A module may import modules of lower layers and of its own room.
LAYERS = [
    ["errors"],
    ["runtime"],
    ["recipe"],
    ["artifact", "data", "model"],
    ["run", "optim", "compress"],
    ["evaluation"],
    ["training", "packing"],
    ["contest"],
    ["report", "api"],
    ["cli"],
    ["__main__"],
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
# Rooms of one layer that may not import one another are told by their rank; these walls stand between layers.
WALLS = {
    "training": ["golf.packing", "golf.evaluation.verify", "golf.evaluation.evaluate"],
    "packing": ["golf.training", "golf.evaluation.verify", "golf.evaluation.evaluate"],
    "evaluation": ["golf.training", "golf.packing", "golf.optim"],
    "compress": ["golf.recipe", "golf.data", "golf.run"],
    "artifact": ["golf.recipe"],
    "optim": ["golf.model", "golf.data"],
}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield path, [p for p in parts if p != "__init__"]


@cache
def imports(path, *, everywhere=True):
    """Names `golf.x.y` that a file imports; type-checking imports count too."""
    return tuple(_imports(path, everywhere))


def _imports(path, everywhere):
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(name):
    parts = name.split(".")
    return parts[1] if parts[0] == "golf" and len(parts) > 1 and parts[1] in RANK else None


@pytest.mark.parametrize(("path", "parts"), list(modules()), ids=lambda v: str(v) if isinstance(v, Path) else None)
def test_imports_go_down_only(path, parts):
    if not parts:
        return
    assert parts[0] in RANK, f"golf/{parts[0]} is in no layer"
    for name in imports(path):
        room = room_of(name)
        if room is not None and room != parts[0]:
            assert RANK[room] < RANK[parts[0]], f"{path.name} imports {name}, which is not below it"


@pytest.mark.parametrize("room", WALLS)
def test_walls_between_rooms_stand(room):
    for path in sorted((ROOT / room).rglob("*.py")):
        for name in imports(path):
            assert not any(f"{name}.".startswith(f"{wall}.") for wall in WALLS[room]), f"{path} imports {name}"


@cache
def module_paths():
    return {"golf" + "".join(f".{p}" for p in parts): path for path, parts in modules()}


@cache
def closure(start):
    """Every golf module that importing `start` can reach."""
    by_name = module_paths()
    reached, todo = set(), [start]
    while todo:
        name = todo.pop()
        if name in reached or name not in by_name:
            continue
        reached.add(name)
        todo.append(name.rpartition(".")[0])
        todo += imports(by_name[name])
    return reached


def test_verify_cannot_cheat():
    reached = closure("golf.evaluation.verify")
    for forbidden in ("golf.training", "golf.packing", "golf.optim", "golf.run", "golf.compress.rate_search"):
        assert not any(f"{name}.".startswith(f"{forbidden}.") for name in reached), forbidden
    assert "golf.evaluation.rebuild" in reached


FLOWS = ("golf.training.train", "golf.packing.pack", "golf.evaluation.verify")


@pytest.mark.parametrize("flow", FLOWS)
def test_the_flows_are_blind_to_one_another(flow):
    assert not closure(flow) & set(FLOWS) - {flow}


@pytest.mark.parametrize("room", ["training", "packing", "compress", "optim"])
def test_only_the_contest_and_the_command_line_join_flows(room):
    for path in sorted((ROOT / room).rglob("*.py")):
        assert len({name for name in FLOWS if name in closure_of_file(path)}) <= 1, path


def closure_of_file(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return closure("golf." + ".".join(p for p in parts if p != "__init__"))


LIGHT = ["errors.py", "recipe", "artifact", "cli", "report", "run/workspace.py", "run/folder.py"]
LIGHT += ["runtime/byte_sizes.py", "runtime/durable.py", "runtime/device.py", "runtime/json_values.py"]
LIGHT += ["runtime/machine.py", "runtime/shipped.py", "data/cache_contents.py"]
LIGHT += [f"{room}/results.py" for room in ("training", "packing", "evaluation", "contest", "data")]


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_do_not_import_torch_at_the_top(name):
    paths = [ROOT / name] if name.endswith(".py") else sorted((ROOT / name).rglob("*.py"))
    assert paths
    for path in paths:
        assert not any(i == "torch" or i.startswith("torch.") for i in imports(path, everywhere=False)), path


def test_tables_need_no_torch():
    """`golf inspect` and `golf data info` show their results without it."""
    code = "import golf.report, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

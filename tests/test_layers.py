"""The architecture as a test: imports go down only, and verify cannot reach what it judges."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "golf"

# From the bottom up. A module may import modules of lower layers and of its own package.
LAYERS = [
    ["errors"],
    ["sizes", "durable", "parallel", "device"],
    ["recipe", "results", "interrupt", "observer", "processes", "clock", "allowance", "loglines"],
    ["bundle"],
    ["workspace", "runs", "checkpoint", "artifact", "data", "blocks"],
    ["model"],
    ["compress", "optim", "evaluate", "ledger", "contest"],
    ["rebuild"],
    ["draft", "rules"],
    ["source", "session"],
    ["pace"],
    ["fit", "looks"],
    ["train", "pack", "verify", "score", "generate", "plan", "dataset", "importing", "fetch"],
    ["curve", "submission", "export"],
    ["report"],
    ["cli"],
    ["__main__"],
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield path, [p for p in parts if p != "__init__"]


def imports(path, *, everywhere=True):
    """Names `golf.x.y` that a file imports; type-checking imports count too."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "golf":
                yield from (f"golf.{alias.name}" for alias in node.names)
            else:
                yield node.module


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


def closure(start):
    """Every golf module that importing `start` can reach."""
    by_name = {"golf" + "".join(f".{p}" for p in parts): path for path, parts in modules()}
    reached, todo = set(), [start]
    while todo:
        name = todo.pop()
        if name in reached or name not in by_name:
            continue
        reached.add(name)
        for imported in imports(by_name[name]):
            todo += [imported, imported.rpartition(".")[0]]
    return reached


def test_verify_cannot_cheat():
    reached = closure("golf.verify")
    for forbidden in (
        "golf.train",
        "golf.pack",
        "golf.checkpoint",
        "golf.optim",
        "golf.compress.allocate",
        "golf.runs",
    ):
        assert forbidden not in reached
    assert "golf.rebuild" in reached


def test_the_flows_are_blind_to_one_another():
    for flow in ("train", "pack", "verify"):
        others = {f"golf.{other}" for other in ("train", "pack", "verify")} - {f"golf.{flow}"}
        assert not closure(f"golf.{flow}") & others


@pytest.mark.parametrize(
    "name", ["errors", "sizes", "durable", "recipe", "workspace", "runs", "artifact", "cli", "ledger", "results"]
)
def test_light_rooms_do_not_import_torch_at_the_top(name):
    paths = [ROOT / f"{name}.py"] if (ROOT / f"{name}.py").exists() else sorted((ROOT / name).rglob("*.py"))
    for path in paths:
        assert not any(i == "torch" or i.startswith("torch.") for i in imports(path, everywhere=False)), path


def test_tables_need_no_torch():
    """`golf inspect` and `golf data info` show their results without it."""
    code = "import golf.report, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

"""Static checks of a script's Python: validation data in training, targets in hash keys, network access.

A walk over names and assignments, function by function. It finds what is written plainly, and proves nothing: a PASS
says that no such flow was found.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from golf.contest.rules.findings import Finding, Profile, unknown, verdict
from golf.contest.rules.folder import Submission
from golf.contest.rules.source import Module

# Names that hold validation text: val_tokens, valid_loader, validation_data, ... and not val_loss or val_bpb.
_VALIDATION = re.compile(
    r"^_?(val|valid|validation)(_?(tokens?|data|files?|loader|iter|batch(es)?|x|y|inputs?|targets?|text|docs?|stream|set|"
    r"shards?|pattern|path|seqs?|windows?))$",
    re.IGNORECASE,
)
_VALIDATION_FILE = re.compile(r"(^|[/_*])val(id|idation)?[_*][^/\s]*\.bin|fineweb_val", re.IGNORECASE)
# Functions that learn or calibrate, by name.
_LEARNS = re.compile(r"(hessian|calibrat|gptq|fine_?tune|train_step|collect_act|adapt)", re.IGNORECASE)
_TARGET = re.compile(r"^_?(y|tgt|tgts|target|targets|label|labels|next_tok\w*)(_np|_id|_ids|_tok\w*)?$", re.IGNORECASE)
_KEY = re.compile(r"(hash|key|bucket|slot)", re.IGNORECASE)
_NETWORK = (
    "requests",
    "urllib.request",
    "http.client",
    "httpx",
    "aiohttp",
    "socket",
    "huggingface_hub",
    "ftplib",
    "wandb",
)


def code_findings(found: Submission, profile: Profile) -> Iterator[Finding]:
    """code.parses, code.validation, code.targets and code.network."""
    rules = ("code.validation", "code.targets", "code.network")
    if found.script_error is not None:
        yield verdict("code.parses", False, found.script_error)
        for rule in rules:
            yield unknown(rule, "there is no Python to look into")
        return
    lines = sum(module.text.count("\n") for module in found.modules)
    yield verdict("code.parses", True, f"{len(found.modules)} pieces of Python, {lines:,} lines")
    hidden = [module.name for module in found.modules if module.hidden]
    for rule, places in zip(rules, (_validation_places, _target_places, _network_places), strict=True):
        seen = [f"{module.name}:{line} {what}" for module in found.modules for line, what in places(module)]
        if not seen and hidden:
            yield unknown(rule, f"{hidden[0]} executes what could not be opened")
        elif not seen:
            yield verdict(rule, True, "nothing of the kind is written plainly")
        elif rule == "code.targets" or profile == "strict":
            yield verdict(rule, False, "; ".join(seen[:4]))
        else:
            # training on tokens that are already scored is allowed, and an import need not be used
            yield unknown(rule, "; ".join(seen[:4]))


def _validation_places(module: Module) -> Iterator[tuple[int, str]]:
    """Places where validation text reaches a backward pass or a calibration."""
    for scope in _scopes(module.tree):
        held = _tainted(scope)
        for node in _own_nodes(scope):
            if not isinstance(node, ast.Call):
                continue
            name = _called(node)
            if name == "backward" and isinstance(node.func, ast.Attribute) and _touches(node.func.value, held):
                yield node.lineno, "backward() of a loss on validation text"
            elif _LEARNS.search(name) and any(_touches(given, held) for given in _given(node)):
                yield node.lineno, f"{name}() is given validation text"


def _scopes(tree: ast.Module) -> Iterator[ast.AST]:
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a scope without those of functions inside it, in the order of the text."""
    todo = [*reversed(list(ast.iter_child_nodes(scope)))]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            todo.extend(reversed(list(ast.iter_child_nodes(node))))


def _tainted(scope: ast.AST) -> set[str]:
    """Names in a scope that may hold validation text; two passes, so that loops are covered."""
    held: set[str] = set()
    for _ in range(2):
        for node in _own_nodes(scope):
            if isinstance(node, ast.Assign):
                _pass_on(node.targets, node.value, held)
            elif isinstance(node, (ast.AnnAssign, ast.AugAssign)) and node.value is not None:
                _pass_on([node.target], node.value, held)
            elif isinstance(node, (ast.For, ast.comprehension)):
                _pass_on([node.target], node.iter, held)
            elif isinstance(node, ast.NamedExpr):
                _pass_on([node.target], node.value, held)
    return held


def _pass_on(targets: list[ast.expr], value: ast.expr, held: set[str]) -> None:
    if _touches(value, held):
        held |= {name for target in targets for name in _assigned(target)}


def _assigned(target: ast.expr) -> Iterator[str]:
    """Names that an assignment binds; not the object of which it sets an attribute or an item."""
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Starred):
        yield from _assigned(target.value)
    elif isinstance(target, (ast.Tuple, ast.List)):
        for each in target.elts:
            yield from _assigned(each)


def _touches(expression: ast.AST, held: set[str]) -> bool:
    """Whether validation text flows into an expression."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Name) and (node.id in held or _VALIDATION.match(node.id)):
            return True
        if isinstance(node, ast.Attribute) and _VALIDATION.match(node.attr):
            return True
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _VALIDATION_FILE.search(node.value[:500]):
            return True
    return False


def _given(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _target_places(module: Module) -> Iterator[tuple[int, str]]:
    """Places where a cache's key is hashed from the token to be predicted."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign)) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        mixes = isinstance(node, ast.AugAssign) and isinstance(node.op, ast.BitXor)
        wanted = next((name for name in _names(value) if _TARGET.match(name)), None)
        if wanted and (mixes or _hashes(value)) and any(_KEY.search(name) for each in targets for name in _names(each)):
            yield node.lineno, f"a key is mixed from {wanted}, which is to be predicted"


def _hashes(value: ast.expr) -> bool:
    """Whether an expression mixes as hashes do: by exclusive or, or by a constant factor and a remainder or mask."""
    operators = [inner for inner in ast.walk(value) if isinstance(inner, ast.BinOp)]
    if any(isinstance(each.op, ast.BitXor) for each in operators):
        return True
    factor = any(
        isinstance(each.op, ast.Mult) and any(isinstance(side, ast.Constant) for side in (each.left, each.right))
        for each in operators
    )
    return factor and any(isinstance(each.op, (ast.Mod, ast.BitAnd)) for each in operators)


def _names(node: ast.AST) -> list[str]:
    found = [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)]
    return found + [inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)]


def _network_places(module: Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module.tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if any(name == banned or name.startswith(f"{banned}.") for banned in _NETWORK):
                yield node.lineno, f"imports {name}"
                break

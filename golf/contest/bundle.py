"""Bundle golf's modules into one script that runs without golf installed; its bytes count against the cap."""

from __future__ import annotations

import ast
import base64
import lzma
import re
from functools import cache
from pathlib import Path

from golf.recipe import Recipe, recipe_to_toml

ENTRY = "golf.contest.script"
# The script's name in the contest.
SCRIPT = "train_gpt.py"
# The package's name inside load_model.py, which may be imported where golf is installed too.
_LOADED = "golf_weights"
_IMPORT = re.compile(r"^(\s*(?:from|import) )golf\b", re.MULTILINE)
# Packages that the modules import, by their names on the package index.
PACKAGES = ("torch", "numpy", "sentencepiece", "zstandard", "constriction", "pydantic", "filelock")
_HEAD = '''"""{title}

    python train_gpt.py                                            # measure artifact.bin next to this file
    torchrun --standalone --nproc_per_node=8 train_gpt.py          # train, pack and measure a new one

Needs {packages}.
DATA_PATH, TOKENIZER_PATH and SEED override the recipe; --help lists the other options.
"""
'''
_FINDER = '''

class Bundle:
    """Finds the modules above."""

    def find_spec(self, name, path=None, target=None):
        if name in MODULES:
            return importlib.util.spec_from_loader(name, self, is_package=name in FOLDERS)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(MODULES[module.__name__], "<" + module.__name__ + ">", "exec"), module.__dict__)

    def get_source(self, name):
        return MODULES[name]


sys.meta_path.insert(0, Bundle())
'''
_RUN = f'''if __name__ == "__main__":
    importlib.import_module("{ENTRY}").main(RECIPE, __file__)
'''
_LOAD_HEAD = '''"""Reads the model next to this file; needs torch, safetensors and pydantic.

    from load_model import load

    model = load("folder")         # a torch module: tokens (B, T) int64 -> logits (B, T, V)
"""
'''
_LOAD = '''

def load(folder):
    """The model in `folder`: config.json and model.safetensors."""
    import json
    from pathlib import Path

    from golf_weights.model import Transformer
    from golf_weights.recipe import Model
    from safetensors.torch import load_file

    config = json.loads((Path(folder) / "config.json").read_text())
    model = Transformer(Model(**config["golf"]), config["vocab_size"])
    model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    return model.eval()
'''
_PACKED = (
    b"# Written by golf export: compressed Python. golf export --code plain writes it readable.\n"
    b'import base64,lzma\nS="%s"\n'
    b"exec(lzma.decompress(base64.b85decode(S)))\n"  # on a separate line, because a traceback shows the whole line
)


def script(recipe: Recipe, *, plain: bool = False) -> bytes:
    """The whole train_gpt.py for `recipe`: it evaluates the artifact next to it, or trains, packs and evaluates.

    With `plain` the modules are readable and unchanged; else without comments, docstrings and annotations of functions,
    compressed and self-extracting. The recipe's `budget.code_bytes` is set to 0: the script measures its own size,
    which must not depend on that key. Law: the same recipe gives the same bytes.
    """
    sources = modules(ENTRY)
    given = recipe.model_copy(update={"budget": recipe.budget.model_copy(update={"code_bytes": 0})})
    if not plain:
        sources = {name: _bare(source) for name, source in sources.items()}
    head = _HEAD.format(title=f"{recipe.name}, written by golf export.", packages=", ".join(PACKAGES)) if plain else ""
    whole = head + _finding(sources) + f"RECIPE = {_literal(recipe_to_toml(given))}\n" + _RUN
    return whole.encode() if plain else _compressed(whole.encode())


def loader() -> bytes:
    """A script that reads exported weights without golf."""
    sources = {_renamed(name): _IMPORT.sub(rf"\1{_LOADED}", source) for name, source in modules("golf.model").items()}
    return (_LOAD_HEAD + _finding(sources) + _LOAD).encode()


def _renamed(name: str) -> str:
    return _LOADED + name.removeprefix("golf")


def modules(entry: str) -> dict[str, str]:
    """Source by name of every golf module that `entry` may import, directly or not; itself and packages included."""
    found: dict[str, str] = {}
    todo = [entry]
    while todo:
        name = todo.pop()
        path = _path(name)
        if name in found or path is None:
            continue
        found[name] = path.read_text()
        todo += [name.rpartition(".")[0], *_imported(found[name])]
    return found


def _path(name: str) -> Path | None:
    """The file of module `name`; None where there is none, for example for the name of a function."""
    if name.partition(".")[0] != "golf":
        return None
    place = Path(__file__).parents[1].joinpath(*name.split(".")[1:])
    return next((p for p in (place / "__init__.py", place.with_suffix(".py")) if p.is_file()), None)


@cache  # a curve and an export ask for the same modules again
def _imported(source: str) -> list[str]:
    """Names of modules that may be imported, at the top or within functions, except under TYPE_CHECKING."""
    names: list[str] = []
    for node in ast.walk(_WithoutTypeChecking().visit(ast.parse(source))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


class _WithoutTypeChecking(ast.NodeTransformer):
    """Removes `if TYPE_CHECKING:` blocks."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)


class _Bare(_WithoutTypeChecking):
    """Removes code without effect: docstrings, descriptions of a recipe's keys, and annotations of functions.

    Annotations of classes stay, since they define fields.
    """

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "Field":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            argument.annotation = None
        for rest in (arguments.vararg, arguments.kwarg):
            if rest is not None:
                rest.annotation = None
        node.body = node.body or [ast.Pass()]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node


@cache
def _bare(source: str) -> str:
    return ast.unparse(_Bare().visit(ast.parse(source))) + "\n"


def _finding(sources: dict[str, str]) -> str:
    """Python code that makes `sources`, modules by name, importable."""
    folders = {name for name in sources if any(other.startswith(f"{name}.") for other in sources)}
    lines = ["import importlib\nimport importlib.util\nimport sys\n", "MODULES = {}"]
    lines += [f"MODULES[{name!r}] = {_literal(source)}" for name, source in sorted(sources.items())]
    return "\n".join([*lines, f"FOLDERS = {sorted(folders)!r}", _FINDER])


def _compressed(whole: bytes) -> bytes:
    packed = lzma.compress(whole, format=lzma.FORMAT_ALONE, preset=9 | lzma.PRESET_EXTREME)
    return _PACKED % base64.b85encode(packed)


def _literal(text: str) -> str:
    """`text` as a readable raw string literal where possible, else its repr."""
    written = "r'''" + text.replace("'''", "''' \"'''\" r'''") + "'''"
    try:
        return written if ast.literal_eval(f"({written})") == text else repr(text)
    except SyntaxError:
        return repr(text)

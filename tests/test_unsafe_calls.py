"""No call in the source that could run what a file says: read off the syntax trees, whatever names were given.

The checker knows what an imported name stands for (`import torch as t`, `from builtins import eval as run`).
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from house import SRC, modules

UNSAFE_MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
UNSAFE_BUILTINS = {"eval", "exec", "compile", "__import__"}
UNSAFE_CALLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "importlib.__import__"}


def offences(tree: ast.Module) -> list[str]:
    """What is unsafe in a tree, as `line: what`."""
    names, own = _imported(tree), _own_names(tree)
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += [(node.lineno, f"import of {name}") for name in _targets(node) if _is_unsafe_module(name)]
        elif isinstance(node, ast.Attribute) and node.attr in ("extractall", "unpack_archive"):
            found.append((node.lineno, node.attr))
        if isinstance(node, ast.Name | ast.Attribute) and node not in own:
            full = _full_name(node, names)
            if full.removeprefix("builtins.") in UNSAFE_BUILTINS:
                found.append((node.lineno, f"builtin {full}"))
            elif full in UNSAFE_CALLS:
                found.append((node.lineno, full))
        if isinstance(node, ast.Call):
            found += [(node.lineno, what) for what in _call_offences(node, _full_name(node.func, names))]
    return [f"{line}: {what}" for line, what in sorted(set(found))]


def _own_names(tree: ast.Module) -> set[ast.Name]:
    """Names that are set, and those that a parameter of their function hides: an option may be called `compile`."""
    own = {node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            parameters = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
            inside = [node for statement in function.body for node in ast.walk(statement)]
            own |= {node for node in inside if isinstance(node, ast.Name) and node.id in parameters}
    return own


def _call_offences(call: ast.Call, function: str) -> list[str]:
    options = {keyword.arg: keyword.value for keyword in call.keywords}
    found = []
    if function in ("torch.load", "torch.serialization.load") and not _is(options.get("weights_only"), True):
        found.append("torch.load without weights_only=True")
    if "allow_pickle" in options and not _is(options["allow_pickle"], False):
        found.append("allow_pickle that is not False")
    if function == "numpy.load" and len(call.args) > 2 and not _is(call.args[2], False):
        found.append("allow_pickle that is not False")
    if "shell" in options and not _is(options["shell"], False):
        found.append("shell that is not False")
    if function.rpartition(".")[2] == "import_module":
        name = call.args[0] if call.args else options.get("name")
        if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
            found.append("import_module of what is no literal")
        elif _is_unsafe_module(name.value):
            found.append(f"import of {name.value}")
    return found


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _is_unsafe_module(name: str) -> bool:
    return name.partition(".")[0] in UNSAFE_MODULES


def _targets(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if not node.level else []


def _imported(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for; builtins stand for themselves."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _full_name(node: ast.AST, names: dict[str, str]) -> str:
    """`torch.load` of `t.load` where t is torch; nothing of what is no plain name (`self.eval`, `f().load`)."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = node.value
        root = owner
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name) and root.id in names:
            return f"{_full_name(owner, names)}.{node.attr}"
        return f"?.{node.attr}"
    return "?"


@pytest.mark.parametrize("module", modules(SRC).values(), ids=lambda module: module.name)
def test_the_source_is_safe(module):
    assert offences(module.tree) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import pickle as p",
        "import dill, json",
        "from joblib import load",
        "import shelve",
        "import marshal",
        "from cloudpickle import dumps",
        "def f():\n    import pickle",
        "if TYPE_CHECKING:\n    from pickle import Pickler",
        "from importlib import import_module\nimport_module('pickle')",
        "eval('1')",
        "exec(text)",
        "compile(text, '', 'exec')",
        "__import__('os')",
        "run = eval",
        "def f(eval=eval):\n    eval('1')",
        "def f(text):\n    compile(text)",
        "map(eval, lines)",
        "import builtins\nbuiltins.exec(text)",
        "from builtins import eval as run\nrun(text)",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=flag)",
        "import torch\ntorch.load(path, **options)",
        "import torch as t\nt.load(path)",
        "from torch import load\nload(path)",
        "from torch import load as read\nread(path)",
        "from torch.serialization import load\nload(path)",
        "import torch\ntorch.serialization.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, allow_pickle=flag)",
        "import numpy as np\nnp.load(path, None, True)",
        "np.save(path, array, allow_pickle=1)",
        "archive.extractall(folder)",
        "zipfile.ZipFile(path).extractall()",
        "take = archive.extractall",
        "import shutil\nshutil.unpack_archive(path)",
        "subprocess.run(line, shell=True)",
        "subprocess.run(line, shell=flag)",
        "import os\nos.system(line)",
        "from os import popen\npopen(line)",
        "import importlib\nimportlib.import_module(name)",
        "import importlib\nimportlib.import_module(f'segkit.{name}')",
        "import importlib\nimportlib.import_module(name=name)",
        "from importlib import import_module as get\nget(name)",
    ],
)
def test_a_planted_offence_is_found(line):
    assert len(offences(ast.parse(line))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "import json",
        "model.eval()",
        "self.model.eval().to(device)",
        "import re\nre.compile('a')",
        "class A:\n    compile: bool = False",
        "def f(compile):\n    g(compile=compile)",
        "import torch\ntorch.compile(model)",
        "import torch\ntorch.load(path, map_location='cpu', weights_only=True)",
        "import segkit\nsegkit.load(path)",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "import json\njson.load(file)",
        "archive.extract(name, folder)",
        "subprocess.run([program], shell=False)",
        "import importlib\nimportlib.import_module('segkit.losses')",
        "from .pickle import name",
        "'eval(1)'",
    ],
)
def test_what_is_safe_is_left_alone(line):
    assert offences(ast.parse(line)) == []


def test_the_files_are_all_read():
    assert len(modules(SRC)) == len(list(Path(SRC).rglob("*.py"))) > 5

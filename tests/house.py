"""The source as syntax trees: its modules, and what each of them imports. Shared by the tests that hold the house."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"


@dataclass(frozen=True)
class Module:
    """A source file: its dotted name, where it is, and its syntax tree."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        """What its relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def modules(src: Path = SRC, package: str = "segkit") -> dict[str, Module]:
    """Every module of a package below ``src``, by dotted name."""
    found = {}
    for path in sorted((src / package).rglob("*.py")):
        parts = path.relative_to(src).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return found


def last_name(node: ast.AST) -> str:
    """`c` of the expressions `c` and `a.b.c`, else nothing."""
    return str(getattr(node, "id", "") or getattr(node, "attr", ""))


def running(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run: all but the bodies of `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in (
            getattr(child.test, "id", ""),
            getattr(child.test, "attr", ""),
        ):
            for other in child.orelse:
                yield other
                yield from running(other)
            continue
        yield child
        yield from running(child)


def imports(module: Module, known: Mapping[str, Module], homes: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Each (line, dotted name) that ``module`` imports, anywhere in it.

    A name taken from a package is its submodule where there is one, and its home (``homes``) where the name is one that
    the top level hands out; so is the literal of an `import_module`.
    """
    for node in running(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            for alias in node.names:
                target = f"{base}.{alias.name}"
                if target not in known:
                    target = f"{base}.{homes[alias.name]}" if base == "segkit" and alias.name in homes else base
                yield node.lineno, target
        elif isinstance(node, ast.Call) and last_name(node.func) == "import_module":
            yield from ((node.lineno, str(value.value)) for value in node.args[:1] if isinstance(value, ast.Constant))


def _base(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.package.split(".")
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])

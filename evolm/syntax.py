"""Functions as text that stays the same when comments, docstrings or layout change: what `evolm.lock` hashes.

    definitions(parse(source_of("evolm.findings.superposition.estimands")), "strong_flat", "estimands")

Modules are parsed, never imported.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evolm.finding import nearest


def source_of(module: str) -> Path:
    """The file of a module, found without importing it; raises `ValueError` when it has none."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"module {module!r} has no source file, so it cannot be hashed")
    return Path(spec.origin)


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return _parse_text(path.read_text(encoding="utf-8"), str(path))


@functools.lru_cache(maxsize=32)
def _parse_text(text: str, name: str) -> ast.Module:
    return ast.parse(text, filename=name)


def definitions(tree: ast.Module, name: str, module: str) -> dict[str, str]:
    """Normalised source of `name` and of all top-level definitions of its module that it reaches by name."""
    known = _top_level(tree)
    if name not in known:
        raise ValueError(f"{module} defines no function {name!r}{nearest(name, known)}")
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in found or current not in known:
            continue
        found[current] = "\n".join(_normalised(node) for node in known[current])
        waiting += sorted(n.id for node in known[current] for n in ast.walk(node) if isinstance(n, ast.Name))
    return found


def _top_level(tree: ast.Module) -> dict[str, list[ast.AST]]:
    """Name -> statements that bind it at the top of a module: functions, classes, constants, imports."""
    bound: dict[str, list[ast.AST]] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            origin = f"{'.' * node.level}{node.module or ''}" if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                local = (alias.asname or alias.name).split(".")[0]
                bound.setdefault(local, []).append(ast.Constant(f"{origin}:{alias.name}"))
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for part in (part for target in targets for part in ast.walk(target)):
                if isinstance(part, ast.Name):
                    bound.setdefault(part.id, []).append(node)
    return bound


def callable_tree(function: Callable[..., Any]) -> dict[str, Any]:
    """Normalised source of a lambda or function, what it uses of its module, and the values it closes over."""
    code = getattr(function, "__code__", None)
    if code is None:
        raise ValueError(f"cannot_speak must be a function or a lambda, not {type(function).__name__}: it is hashed")
    tree = parse(Path(code.co_filename))
    kinds = ast.Lambda if code.co_name == "<lambda>" else ast.FunctionDef | ast.AsyncFunctionDef
    columns = [(p[0], p[2]) for p in code.co_positions() if p[0] is not None and p[2] is not None]
    where = max(columns)  # the last column used tells two lambdas of one line apart
    nodes = [n for n in ast.walk(tree) if isinstance(n, kinds) and _spans(n, code.co_firstlineno, where)]
    if not nodes:
        raise ValueError(f"the source of cannot_speak was not found in {code.co_filename}; define it in a file")
    node = max(nodes, key=lambda n: (n.lineno, n.col_offset))  # the innermost
    known = _top_level(tree)
    used = sorted({n.id for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in known})
    helpers: dict[str, str] = {}
    for name in used:
        helpers |= definitions(tree, name, code.co_filename)
    closure = {n: repr(c.cell_contents) for n, c in zip(code.co_freevars, function.__closure__ or (), strict=True)}
    return {"source": _normalised(node), "uses": helpers, "closure": closure}


def _spans(node: Any, first_line: int, where: tuple[int, int]) -> bool:
    starts = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    return starts == first_line and (node.lineno, node.col_offset) <= where < (node.end_lineno, node.end_col_offset)


def _normalised(node: ast.AST) -> str:
    """The syntax tree as text, without positions and docstrings, and alike in every Python version.

    `ast.dump` is not: newer versions add fields that are empty here, and leave empty ones out.
    """
    return _dump(_WithoutDocstrings().visit(ast.parse(ast.unparse(node))))


def _dump(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_dump, value))}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    filled = [(name, part) for name, part in ast.iter_fields(value) if part is not None and part != []]
    return f"{type(value).__name__}({', '.join(f'{name}={_dump(part)}' for name, part in filled)})"


class _WithoutDocstrings(ast.NodeTransformer):
    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node):
            del node.body[0]
        return node

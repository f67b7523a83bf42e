"""Which `evolm` sources decide a module's results, and their hashes: part of every record's key.

    source_closure("evolm.findings.superposition.experiment")   # {module: sha256 of its normalised source}

The closure is static: every module of the same top-level package that is named by an import statement, at
module level or inside a function, directly or through others. Nothing is imported. Comments, formatting and
docstrings do not change a hash, nor does the Python version. Left out: `evolm/__init__.py` (it holds the
version), packages whose `__init__` runs nothing, imports under `if TYPE_CHECKING`, and a finding's manifest
`evolm/findings/<name>/__init__.py` (the claims' prose) unless a name is imported from it. An import by
computed name cannot be seen.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evolm.paths import PACKAGE


def source_closure(module_name: str) -> dict[str, str]:
    """Module name -> sha256 of its normalised source, for all that `module_name` imports of its own package.

    Raises `ModuleNotFoundError` when it, or a module of the package that it imports, does not exist.
    """
    if _locate(module_name) is None:
        raise ModuleNotFoundError(f"there is no module {module_name!r}: its sources cannot be hashed")
    closure: dict[str, str] = {}
    waiting, seen = [module_name], {module_name}
    while waiting:
        module = waiting.pop()
        path = _locate(module)
        assert path is not None  # only located modules wait
        tree = ast.parse(path.read_bytes(), filename=str(path))
        if module == module_name or _runs_code(tree):
            closure[module] = _hash(tree)
        for name in sorted(_imported(tree, module, is_package=path.name == "__init__.py") - seen):
            seen.add(name)
            waiting.append(name)
    return dict(sorted(closure.items()))


def _imported(tree: ast.Module, module: str, *, is_package: bool) -> set[str]:
    """The modules of our packages that running `tree` can import, their parent packages included."""
    package = module if is_package else module.rpartition(".")[0]
    ours = {"evolm", module.partition(".")[0]}
    found: set[str] = set()
    for node in _running_nodes(tree):
        targets: list[tuple[str, str | None]]
        if isinstance(node, ast.Import):
            targets = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            targets = [(_absolute(node, package), alias.name) for alias in node.names]
        else:
            continue
        for target, name in targets:
            if target.partition(".")[0] in ours:
                found |= _resolve(target, name, module)
    return found - {module}


def _resolve(target: str, name: str | None, importer: str) -> set[str]:
    """The modules that `import target` (name None) or `from target import name` runs."""
    path = _locate(target)
    if path is None:
        raise ModuleNotFoundError(f"{importer} imports {target}, which does not exist: its sources cannot be hashed")
    submodule = f"{target}.{name}"
    if name is not None and path.name == "__init__.py" and _locate(submodule) is not None:
        return {submodule, *_running_parents(submodule)}
    explicit = {target} if name is not None or not _is_manifest(target) else set()
    return (explicit - {"evolm"}) | _running_parents(target)


def _running_parents(module: str) -> set[str]:
    parts = module.split(".")
    parents = {".".join(parts[:length]) for length in range(1, len(parts))}
    return {parent for parent in parents if parent != "evolm" and not _is_manifest(parent)}


def _is_manifest(module: str) -> bool:
    return module.startswith("evolm.findings.") and module.count(".") == 2


def _locate(module: str) -> Path | None:
    """The source file of a module, without importing it or its parents; None when there is none."""
    top, *rest = module.split(".")
    if top == "evolm":
        folder = PACKAGE
    else:
        spec = importlib.util.find_spec(top)
        if spec is None or spec.origin is None:
            return None
        if not rest:
            return Path(spec.origin)
        folder = Path(spec.origin).parent
    stem = folder.joinpath(*rest)
    candidates = [stem / "__init__.py"] if not rest else [stem / "__init__.py", stem.with_name(stem.name + ".py")]
    return next((path for path in candidates if path.is_file()), None)


def _running_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, without what stands under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for alternative in child.orelse:
                yield alternative
                yield from _running_nodes(alternative)
            continue
        yield child
        yield from _running_nodes(child)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _runs_code(tree: ast.Module) -> bool:
    return any(not _is_text(statement) for statement in tree.body)


def _is_text(node: Any) -> bool:
    """A docstring, or any other bare string: running it does nothing."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _hash(tree: ast.Module) -> str:
    return hashlib.sha256(json.dumps(_normal(tree), sort_keys=True).encode()).hexdigest()


def _normal(value: Any) -> Any:
    """A tree as nested lists, without text that does nothing and without empty fields.

    `ast.dump` would do, but what it prints differs between Python versions.
    """
    if isinstance(value, ast.AST):
        fields = {name: getattr(value, name, None) for name in value._fields if name != "kind"}
        return [
            type(value).__name__,
            {name: _normal(field) for name, field in fields.items() if field not in (None, [])},
        ]
    if isinstance(value, list):
        return [_normal(item) for item in value if not _is_text(item)]
    return repr(value)

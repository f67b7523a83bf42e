"""Claims are frozen before their report seeds are run, and a later edit shows.

    freeze(finding, today="2026-11-20", records_exist=False)    # writes claims.lock beside the finding
    status(finding)                                             # {"slope": "frozen 2026-11-20", ...}

The hash of a claim covers its fields, the syntax tree of its `measure` function with everything that it
uses at the top level of the estimands module, and of its `cannot_speak`. Comments, docstrings and layout do
not count. Modules are parsed, never imported.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from evolm.finding import Claim, Finding, nearest

LOCK_NAME = "claims.lock"


def lock_path(finding: Finding) -> Path:
    """Where the lock of a finding lies: in the folder of its package."""
    return _source(finding.package).parent / LOCK_NAME


def claim_hash(finding: Finding, claim: Claim) -> str:
    """SHA-256 of what the claim says and of the code that measures it."""
    content = {
        "claim": claim.model_dump(mode="json", exclude_defaults=True),  # a field added later changes no hash
        "measure": _definitions(_parse(_source(finding.estimands)), claim.measure, finding.estimands),
        "cannot_speak": _callable_tree(claim.cannot_speak) if "cannot_speak" in claim.model_fields_set else None,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def freeze(finding: Finding, today: date | str, records_exist: bool) -> list[str]:
    """Write the hash of every new or edited claim to the lock; returns the names of these claims.

    An edit of a frozen claim becomes a dated revision, marked when records existed already. Entries of
    claims that are gone stay: they were stated once.
    """
    lock, changed = _read(finding), []
    for claim in finding.claims:
        current = claim_hash(finding, claim)
        entry = lock.get(claim.name)
        if entry is None:
            lock[claim.name] = {"sha256": current, "frozen": str(today), "revisions": []}
        elif _latest(entry) != current:
            entry["revisions"].append({"sha256": current, "date": str(today), "after_data": records_exist})
        else:
            continue
        changed.append(claim.name)
    if changed:
        _write(lock_path(finding), lock)
    return changed


def status(finding: Finding) -> dict[str, str]:
    """What a page shows about each claim.

    `frozen <date>`, `revised before data <date>`, `revised after data <date>`, `edited since frozen`, or
    `not frozen`. A revision after data is never hidden by a later one.
    """
    lock = _read(finding)
    return {claim.name: _status(lock.get(claim.name), claim_hash(finding, claim)) for claim in finding.claims}


def _status(entry: dict[str, Any] | None, current: str) -> str:
    if entry is None:
        return "not frozen"
    if _latest(entry) != current:
        return "edited since frozen"
    if not entry["revisions"]:
        return f"frozen {entry['frozen']}"
    after = [revision for revision in entry["revisions"] if revision["after_data"]]
    when = "after" if after else "before"
    return f"revised {when} data {(after or entry['revisions'])[-1]['date']}"


def _latest(entry: dict[str, Any]) -> str:
    return str([entry, *entry["revisions"]][-1]["sha256"])


def _read(finding: Finding) -> dict[str, Any]:
    path = lock_path(finding)
    if not path.exists():
        return {}
    try:
        lock: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for entry in lock.values():
            _latest(entry), entry["frozen"], [(r["date"], r["after_data"]) for r in entry["revisions"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a readable lock of claims ({error}); restore it from version control"
        ) from None
    return lock


def _write(path: Path, lock: dict[str, Any]) -> None:
    """Through a temporary sibling and a rename, so that the lock is never half written."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(lock, indent=2, sort_keys=True) + "\n")
        os.chmod(temporary, 0o644)  # mkstemp makes it private; the lock is part of the source
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _source(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"module {module!r} has no source file, so its claims cannot be hashed")
    return Path(spec.origin)


def _parse(path: Path) -> ast.Module:
    return _parse_text(path.read_text(encoding="utf-8"), str(path))


@functools.lru_cache(maxsize=32)
def _parse_text(text: str, name: str) -> ast.Module:
    return ast.parse(text, filename=name)


def _definitions(tree: ast.Module, name: str, module: str) -> dict[str, str]:
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


def _callable_tree(function: Callable[..., Any]) -> dict[str, Any]:
    """Normalised source of a lambda or function, what it uses of its module, and the values it closes over."""
    code = getattr(function, "__code__", None)
    if code is None:
        raise ValueError(f"cannot_speak must be a function or a lambda, not {type(function).__name__}: it is hashed")
    tree = _parse(Path(code.co_filename))
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
        helpers |= _definitions(tree, name, code.co_filename)
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

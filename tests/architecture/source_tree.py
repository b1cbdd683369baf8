"""Reads the project's own source for the tests of this folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("edge_agent", "cloud", "models", "privacy")


def source_files(*folders: str) -> list[Path]:
    """Every Python file of these folders of the project, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    """The dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_of(*packages: str) -> list[str]:
    """Every module of these packages, sorted."""
    return [module_name(path) for path in source_files(*packages)]


SERVING_MODELS = frozenset(
    {"models", "models.errors"}
    | {
        module_name(path)
        for folder in ("runtime", "expression", "face_crop", "face_detector")
        for path in (ROOT / "models" / folder).rglob("*.py")
    }
)
"""The half of `models` that serves artifacts; everything else there makes or measures them (ADR 0130)."""


@cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a source file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_of(path: Path) -> Iterator[str]:
    """Every absolute name that a file imports, anywhere in it: `from a import b` gives a.b."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)

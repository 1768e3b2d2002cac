"""Imports go down only, and in no circle."""

from __future__ import annotations

import ast
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
FLOORS = ("stem_pipeline", "resources", "quality", "assets", "api")
"""From the ground up."""


def modules_of(root: Path, packages: tuple[str, ...] = FLOORS) -> dict[str, Path]:
    found = {}
    for package in packages:
        for file in sorted((root / package).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports_of(name: str, file: Path, modules: dict[str, Path], *, at_load: bool = False) -> set[str]:
    """Modules of ours that `file` imports anywhere in it; `at_load`: only those that importing it imports."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()

    def add(module: str) -> None:
        while module and module not in modules:
            module = module.rpartition(".")[0]
        if module:
            found.add(module)

    def visit(node: ast.AST) -> None:
        if at_load and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if at_load and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                add(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                add(f"{base}.{alias.name}")
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    return found - {name}


def upward_imports(root: Path) -> list[str]:
    modules = modules_of(root)
    rank = {floor: k for k, floor in enumerate(FLOORS)}
    return [
        f"{name} imports {other}"
        for name, file in modules.items()
        for other in sorted(imports_of(name, file, modules))
        if rank[other.partition(".")[0]] > rank[name.partition(".")[0]]
    ]


def circles(root: Path) -> list[list[str]]:
    """Circles of modules that import each other when they load. A package's `__init__` counts as a module."""
    modules = modules_of(root)
    graph = {name: imports_of(name, file, modules, at_load=True) for name, file in modules.items()}
    done: set[str] = set()
    found: list[list[str]] = []

    def walk(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
            return
        if name in done:
            return
        for other in sorted(graph[name]):
            walk(other, [*path, name])
        done.add(name)

    for name in graph:
        walk(name, [])
    return found


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_nothing_imports_a_floor_above_it() -> None:
    assert len(modules_of(REPOSITORY)) > 50  # the walker sees the code at all
    assert upward_imports(REPOSITORY) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(REPOSITORY) == []


def test_the_walker_sees_an_upward_import_wherever_it_stands(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        {
            "stem_pipeline/__init__.py": "",
            "stem_pipeline/a.py": "def f():\n    from quality import checks\n",
            "resources/a.py": "import assets.keys as k\n",
            "quality/__init__.py": "",
            "quality/checks.py": "from stem_pipeline import a\nimport json\n",
            "assets/__init__.py": "",
            "assets/keys.py": "from quality.checks import x\n",
        },
    )
    assert upward_imports(root) == ["stem_pipeline.a imports quality.checks", "resources.a imports assets.keys"]


def test_the_walker_sees_a_circle_and_no_lazy_one(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        {
            "quality/__init__.py": "",
            "quality/a.py": "from quality import b\n",
            "quality/b.py": "from .c import x\n",
            "quality/c.py": "import quality.a\n",
            "quality/d.py": "import quality.e\n",
            "quality/e.py": "def f():\n    import quality.d\n",
        },
    )
    assert circles(root) == [["quality.a", "quality.b", "quality.c", "quality.a"]]

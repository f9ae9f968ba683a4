"""Who may import whom, and what a stage's code depends on: rules of the tree, checked on the tree."""

import ast
from functools import cache
from pathlib import Path

import pytest
import yaml

from meddet.config import Params, load_params

ROOT = Path(__file__).parent.parent
PACKAGES = ("meddet", "pipeline", "flows")
FORBIDDEN = {
    "meddet": {"pipeline", "flows", "prefect", "dvc", "mlflow", "great_expectations"},
    "pipeline": {"flows", "prefect", "dvc", "mlflow", "great_expectations"},
    "flows": {"pipeline"},
}
EXCEPTIONS = {
    "meddet/cli.py": {"mlflow"},
    "pipeline/_expectations.py": {"great_expectations"},
}
SLOW = {"torch", "great_expectations", "mlflow"}
MLFLOW_FILES = {f"flows/{name}.py" for name in ("_mlflow", "_registry", "_served_model", "promote")}
# Its effect on a stage is the values in params.yaml, which DVC compares themselves.
NOT_A_DEPENDENCY = {"meddet/config.py"}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Return the dotted names that a file imports, `from a import b` as both a and a.b; type-only imports left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    nodes = tree.body if top_level_only else [node for node in ast.walk(tree) if node not in typing_only]
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache
def closure(path: Path) -> frozenset[Path]:
    """Return the project's own files that a file needs, itself included."""
    found, waiting = set(), [path]
    while waiting:
        current = waiting.pop()
        found.add(current)
        for name in imported(current):
            target = ROOT.joinpath(*name.split(".")).with_suffix(".py")
            if target.exists() and target not in found:
                waiting.append(target)
    return frozenset(found)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_table(package: str) -> None:
    broken = []
    for path in sources(package):
        relative = str(path.relative_to(ROOT))
        roots = {name.split(".")[0] for name in imported(path)}
        broken += [f"{relative}: {name}" for name in roots & FORBIDDEN[package] - EXCEPTIONS.get(relative, set())]
    assert not broken


def test_stages_do_not_import_each_other() -> None:
    for path in sources("pipeline"):
        stages = {n for n in imported(path) if n.startswith("pipeline.") and not n.startswith("pipeline._")}
        assert not stages, f"{path.name}: {stages}"


def test_flows_load_nothing_slow_at_module_level() -> None:
    for path in sources("flows"):
        relative = str(path.relative_to(ROOT))
        allowed = {"mlflow"} if relative in MLFLOW_FILES else set()
        slow = {name.split(".")[0] for name in imported(path, top_level_only=True)} & SLOW - allowed
        assert not slow, f"{relative}: {slow}"


def stage_definitions() -> dict[str, dict]:
    return yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.mark.parametrize("stage", stage_definitions())
def test_stage_depends_on_the_code_it_imports(stage: str) -> None:
    definition = stage_definitions()[stage]
    code = {dep for dep in definition["deps"] if dep.endswith(".py")}
    needed = {str(path.relative_to(ROOT)) for path in closure(ROOT / "pipeline" / f"{stage}.py")}
    assert code == needed - NOT_A_DEPENDENCY, "run python tests/test_architecture.py to see what belongs there"


@pytest.mark.parametrize("stage", stage_definitions())
def test_stage_names_existing_parameters(stage: str) -> None:
    sections = {field.alias or name for name, field in Params.model_fields.items()}
    for name in stage_definitions()[stage]["params"]:
        assert name.split(".")[0] in sections, f"{stage}: {name}"


@pytest.mark.parametrize(
    "path", [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))], ids=lambda p: p.name
)
def test_parameter_files_are_complete(path: Path) -> None:
    params = load_params(path)
    assert set(params.pretrain) == set(params.teachers)


if __name__ == "__main__":
    for stage in stage_definitions():
        print(f"{stage}:")
        for path in sorted(closure(ROOT / "pipeline" / f"{stage}.py")):
            if str(path.relative_to(ROOT)) not in NOT_A_DEPENDENCY:
                print(f"      - {path.relative_to(ROOT)}")

"""Who imports whom: light at first, in one direction, each engine in one file."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import rlbook
import rlbook_envs

PACKAGES = ("rlbook", "rlbook_envs")

# name: file, of every module of both packages
MODULES = {
    ".".join([root.name, *path.relative_to(root).with_suffix("").parts]).removesuffix(
        ".__init__"
    ): path
    for root in (Path(rlbook.__file__).parent, Path(rlbook_envs.__file__).parent)
    for path in sorted(root.rglob("*.py"))
}


def imports(name, at_start=False):
    """The modules that a module imports; `at_start`: only those that its own import needs."""
    found = set()
    nodes = [ast.parse(MODULES[name].read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {node.module} if not parts & MODULES.keys() else parts & MODULES.keys()
            if parts - MODULES.keys():
                found.add(node.module)
        elif at_start and (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        ):
            continue
        else:
            nodes += ast.iter_child_nodes(node)
    return found


def within(module, package):
    return module == package or module.startswith(f"{package}.")


def importers(package):
    return {name for name in MODULES if any(within(module, package) for module in imports(name))}


def test_the_imports_of_a_module_are_found():
    assert "numba" in imports("rlbook_envs.compiled", at_start=True)
    assert {"rlbook.backends", "rlbook.saving"} <= imports("rlbook.agent", at_start=True)
    assert "pandas" in imports("rlbook.history") - imports("rlbook.history", at_start=True)
    assert len(MODULES) > 15


def test_importing_rlbook_is_light():
    heavy = ("numba", "torch", "ray", "pyspark", "matplotlib", "pandas", "IPython", "typer", "rich")
    code = f"import sys, rlbook, rlbook_envs; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("engine, home", [("ray", "ray"), ("pyspark", "spark")])
def test_an_engine_is_imported_by_its_own_backend_alone(engine, home):
    main = f"rlbook.backends.{home}"
    assert importers(engine) and all(within(name, main) for name in importers(engine))


def test_the_library_knows_of_no_command_line():
    for package in ("rlbook.cli", "typer", "rich"):
        used_by = {name for name in importers(package) if not within(name, "rlbook.cli")}
        assert used_by <= {"rlbook.__main__"}, package


def test_backends_know_of_no_algorithm_and_no_world():
    for name in MODULES:
        if within(name, "rlbook.backends"):
            ours = {module for module in imports(name) if module.split(".")[0] in PACKAGES}
            assert all(within(module, "rlbook.backends") for module in ours), name


def test_worlds_know_of_no_agent():
    assert not {name for name in importers("rlbook") if within(name, "rlbook_envs")}


def test_nobody_but_backends_names_a_backend():
    for name, path in MODULES.items():
        if not within(name, "rlbook.backends"):
            # What all backends share is no backend: Ctrl-C at a good moment, and values as bytes.
            shared = ("rlbook.backends.interrupts", "rlbook.backends.wire")
            named = imports(name) - set(shared)
            assert not any(module.startswith("rlbook.backends.") for module in named), name
            text = path.read_text()
            for module in shared:
                text = text.replace(module, "")
            assert "rlbook.backends." not in text, name


# From the bottom up: a module may import those of its own line and of the lines above it.
LAYERS = (
    ("rlbook.arguments", "rlbook.schedules", "rlbook.saving", "rlbook.comparison"),
    ("rlbook.backends",),
    ("rlbook.envs", "rlbook.history", "rlbook.workers"),
    ("rlbook.ops", "rlbook.data", "rlbook.nn"),
    ("rlbook.algorithm",),
    ("rlbook.tabular.policies", "rlbook.tabular.value_table", "rlbook.tabular.interface"),
    ("rlbook.tabular.loop", "rlbook.tabular.learner", "rlbook.tabular.averaging"),
    ("rlbook.patterns",),
    ("rlbook.agent",),
    ("rlbook.deep_agent", "rlbook.tabular"),
    ("rlbook.algorithms",),
    ("rlbook.evaluation", "rlbook.plotting", "rlbook.filming"),
    ("rlbook.check",),
    ("rlbook.cli", "rlbook.__main__"),
    ("rlbook",),
)


def layer_of(module):
    """The number of the line that names this module, or the package that is nearest to it."""
    names = {name: number for number, line in enumerate(LAYERS) for name in line}
    while module not in names:
        module = module.rpartition(".")[0]
    return names[module]


def test_imports_point_downwards():
    """Algorithms stand on patterns, those on data and networks, those on environments."""
    for name in MODULES:
        if within(name, "rlbook") and name != "rlbook":
            for module in imports(name) & MODULES.keys() - {"rlbook"}:
                if within(module, "rlbook"):
                    assert layer_of(module) <= layer_of(name), f"{name} imports {module}"


def test_no_package_imports_its_own_modules_in_a_circle():
    """Not even inside functions or for type checkers, except where a package offers its parts."""
    graph = {name: imports(name) & MODULES.keys() - {name} for name in MODULES}
    graph["rlbook"] = set()  # which fetches its parts at first use
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_no_module_waits_for_itself():
    graph = {
        name: {module for module in imports(name, at_start=True) if module in MODULES}
        for name in MODULES
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_all_that_rlbook_offers_is_there_and_stays_what_it_is():
    for name in dir(rlbook):
        assert getattr(rlbook, name) is getattr(rlbook, name)
    # The import of a module would put it in the place of a function of the same name.
    assert not {f"rlbook.{name}" for name in rlbook._HOMES} & MODULES.keys()
    with pytest.raises(AttributeError, match="no attribute 'DeepThought'"):
        rlbook.DeepThought  # noqa: B018

"""Everything public is explained, and the examples do what they say."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import rlbook
import rlbook_envs

ENGINES = ("rlbook.backends.ray", "rlbook.backends.spark")
MODULES = [
    module.name
    for package in (rlbook, rlbook_envs)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
]
ALL = ["rlbook", "rlbook_envs", *MODULES]


@pytest.mark.parametrize("name", [name for name in ALL if name not in ENGINES])
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name), report=False).failed == 0


def public(module):
    """Functions, classes and methods, of this module and without an underscore: name, object."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            yield name, value
            for method, function in vars(value).items():
                function = getattr(function, "__func__", getattr(function, "fget", function))
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{name}.{method}", getattr(value, method)
        elif inspect.isfunction(value):
            yield name, value


def is_explained(value):
    """Also by the method that it overrides; not by what Python writes for a dataclass."""
    text = inspect.getdoc(value) if not inspect.isclass(value) else value.__doc__
    return bool(text) and not text.startswith(f"{getattr(value, '__name__', ' ')}(")


@pytest.mark.parametrize("name", ALL)
def test_everything_public_is_explained(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert [name for name, value in public(module) if not is_explained(value)] == []

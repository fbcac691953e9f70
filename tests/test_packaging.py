from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from types import SimpleNamespace

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import omicsfm
from omicsfm._errors import InputError
from omicsfm._optional import require

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(out), versions=["standard"])
    return zipfile.ZipFile(path)


def test_wheel_ships_what_the_package_reads(wheel: zipfile.ZipFile):
    names = set(wheel.namelist())
    package = ROOT / "src" / "omicsfm"
    ours = {p.relative_to(package.parent).as_posix() for p in package.rglob("*") if p.is_file()}
    ours = {name for name in ours if "__pycache__" not in name}
    assert {"omicsfm/py.typed", "omicsfm/data_registry.yaml"} <= names
    assert ours <= names
    assert wheel.read("omicsfm/data_registry.yaml") == (ROOT / "data_registry.yaml").read_bytes()


def test_wheel_metadata(wheel: zipfile.ZipFile):
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    fields = Parser().parsestr(wheel.read(metadata).decode())
    assert fields["Name"] == "omicsfm-toolkit"
    assert fields["Version"] == omicsfm.__version__
    assert fields["License-Expression"] == "BSD-3-Clause"
    (scripts,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "omicsfm = omicsfm.cli:main" in wheel.read(scripts).decode()


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-3.12.txt"])
def test_constraints_pin_what_pyproject_allows(name: str):
    lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    pins = {}
    for line in lines:  # exact versions only: no path, no address, no local label
        package, version = line.split("==")
        assert "+" not in version
        pins[canonicalize_name(package)] = Version(version)
    for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]:
        requirement = Requirement(text)
        found = pins.get(canonicalize_name(requirement.name))
        assert found is not None, f"{name} does not pin {requirement.name}"
        assert found in requirement.specifier, f"{name} pins {requirement.name}=={found}, pyproject asks {text}"
    assert pins["torch"] == Version("2.13.0")


def test_require_returns_the_module():
    assert require("json.decoder", extra="dev").__name__ == "json.decoder"


def test_require_names_the_extra():
    with pytest.raises(InputError, match=r"'no_such_module_xyz'.*\[peers\]"):
        require("no_such_module_xyz", extra="peers")


def test_require_passes_on_an_error_inside_an_installed_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken_inside_xyz.py").write_text("import its_own_missing_thing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="its_own_missing_thing"):
        require("broken_inside_xyz", extra="peers")


def test_progress_is_shown_in_a_notebook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    from omicsfm._progress import progress

    class ZMQInteractiveShell:  # what a notebook's kernel has
        pass

    fake = SimpleNamespace(get_ipython=ZMQInteractiveShell)
    monkeypatch.setitem(sys.modules, "IPython", fake)
    assert list(progress([1, 2], desc="working")) == [1, 2]
    assert "working" in capsys.readouterr().err
    fake.get_ipython = lambda: None
    assert list(progress([1, 2], desc="working")) == [1, 2]
    assert capsys.readouterr().err == ""


def test_progress_is_silent_and_transparent_without_a_terminal(capsys: pytest.CaptureFixture[str]):
    from omicsfm._progress import progress

    assert list(progress([1, 2, 3], desc="stage")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_a_notebook_without_ipywidgets_gets_a_bar_of_text_and_no_warning():
    code = """
import sys, types
class ZMQInteractiveShell:
    config = {"IPKernelApp": {}}
sys.modules["IPython"] = types.ModuleType("IPython")
sys.modules["IPython"].get_ipython = ZMQInteractiveShell
sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel.zmqshell")
sys.modules["ipywidgets"] = None
from omicsfm._progress import progress
assert list(progress([1, 2], desc="working")) == [1, 2]
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "working" in found.stderr and "IProgress" not in found.stderr

"""Tutorials are whole, quiet and small, their output is that of their code; the README says what the first one says."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted((ROOT / "tutorials").glob("*.ipynb"))
FIRST = ROOT / "tutorials" / "01_quickstart.ipynb"
NUMBER = re.compile(r"\d+\.\d+")


def notebook(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in notebook(path)["cells"] if cell["cell_type"] == "code"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def printed(cells: list[dict]) -> str:
    outputs = [output for cell in cells for output in cell["outputs"]]
    return "".join("".join(o["text"]) for o in outputs if o.get("name") == "stdout")


def assert_same_words_and_nearly_the_same_numbers(found: str, expected: str) -> None:
    assert NUMBER.sub("#", found) == NUMBER.sub("#", expected)
    for a, b in zip(NUMBER.findall(found), NUMBER.findall(expected), strict=True):
        assert abs(float(a) - float(b)) <= 0.02, f"{a} is not {b}, in:\n{found}"


def test_there_are_tutorials_and_their_numbers_name_them_once() -> None:
    numbers = [path.name[:2] for path in TUTORIALS]
    assert numbers[0] == "01" and len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_is_whole_quiet_and_small(path: Path) -> None:
    found = notebook(path)
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert any("image/png" in o.get("data", {}) for o in outputs), "a tutorial shows a picture"
    assert "Warning" not in printed(cells)
    assert found["metadata"]["kernelspec"]["name"] == "python3"
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < 1_500_000
    plain = json.dumps(
        [[cell["source"], [o for o in cell.get("outputs", ()) if "data" not in o]] for cell in found["cells"]]
    )
    assert not re.findall(r"/(?:home|root|tmp|work|Users|usr)/|site-packages|[A-Z]:\\\\", plain)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_output_is_that_of_the_code(path: Path) -> None:
    spec = importlib.util.spec_from_file_location("_execute", ROOT / "notebooks" / "_execute.py")
    execute = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(execute)
    now = execute.code_hash([source(cell) for cell in code_cells(path)])
    assert notebook(path)["metadata"]["omicsfm"]["code_sha256"] == now, "Fix: make tutorials"


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_says_what_not_to_conclude(path: Path) -> None:
    words = "\n".join(source(cell) for cell in notebook(path)["cells"] if cell["cell_type"] == "markdown")
    for part in ("**Question.**", "**Data.**", "## What to conclude", "## What not to conclude"):
        assert part in words


def test_first_tutorial_says_the_same_again(omicsfm_data: Path, tmp_path, monkeypatch) -> None:
    """All but pictures and scanpy's neighbours, which compile longer than all else takes."""
    monkeypatch.chdir(tmp_path)
    said = io.StringIO()
    names: dict = {}
    with contextlib.redirect_stdout(said):
        for cell in code_cells(FIRST):
            if not source(cell).startswith(("ofm.pl.", "import scanpy")):
                exec(compile(source(cell), FIRST.name, "exec"), names)
    assert_same_words_and_nearly_the_same_numbers(said.getvalue(), printed(code_cells(FIRST)))


def test_readme_and_first_tutorial_are_of_one_piece() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block, output = re.search(r"```python\n(.*?)```\n+prints\n+```text\n(.*?)```", text, re.DOTALL).groups()
    # A notebook's ';' keeps what a call gives back from being shown.
    lines = {line.strip().replace(";  #", "  #") for cell in code_cells(FIRST) for line in source(cell).splitlines()}
    own = [line.strip() for line in block.splitlines() if line.strip()]
    assert not [line for line in own if line not in lines]
    assert len([line for line in own if not line.startswith(("import ", "print("))]) <= 10
    assert output == printed(code_cells(FIRST))

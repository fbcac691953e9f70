"""Every Python block of the README and of the site runs, and what it says of its values is so."""

from __future__ import annotations

import importlib.util
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

import omicsfm as ofm

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)]
# Page of the reference -> the module whose public names it shows.
REFERENCE = {
    "core": "omicsfm",
    "external": "omicsfm.models.external",
    "nn": "omicsfm.nn",
    "testing": "omicsfm.testing",
    **{name: f"omicsfm.{name}" for name in ofm._SUBMODULES},
}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


blocks = load("_blocks")


@pytest.fixture(autouse=True)
def _figures_closed():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# Half a minute of figures: `make docs` runs it each time it builds the site.
SLOW = {"docs/gallery.md"}


def with_blocks() -> list:
    found = [page for page in PAGES if blocks.blocks(page.read_text(encoding="utf-8"))]
    return [pytest.param(p, marks=[pytest.mark.slow] if name_of(p) in SLOW else [], id=name_of(p)) for p in found]


@pytest.mark.parametrize("page", with_blocks())
def test_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    if re.search(r"datasets\.(load|fetch|verify)\(", page.read_text(encoding="utf-8")):
        monkeypatch.setenv("OMICSFM_DATA", str(request.getfixturevalue("omicsfm_data").resolve()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMICSFM_CACHE", str(tmp_path / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ofm.OmicsfmWarning)  # what the package tells a reader; the rest is an error
        n_run, n_not = blocks.run_page(page)
    assert n_run + n_not > 0


# Page -> how many of its blocks are not run. Each says why, where it stands; a new one is to be counted here.
NOT_RUN = {
    "docs/api/bench.md": 1,
    "docs/api/explain.md": 1,
    "docs/api/pl.md": 1,
    "docs/api/report.md": 1,
    "docs/api/seq.md": 2,
    "docs/api/tl.md": 1,
}


def test_blocks_that_are_not_run_are_counted():
    found = {
        name_of(p): sum(b.not_run is not None for b in blocks.blocks(p.read_text(encoding="utf-8"))) for p in PAGES
    }
    assert {page: n for page, n in found.items() if n} == NOT_RUN


def public_names(module: str) -> list[str]:
    found = importlib.import_module(module)
    return [n for n in found.__all__ if n not in ofm._SUBMODULES and n != "__version__"]


@pytest.mark.parametrize("page", sorted(REFERENCE))
def test_every_public_name_is_in_the_reference_with_an_example(page: str):
    if page == "cli":
        return
    text = (DOCS / "api" / f"{page}.md").read_text(encoding="utf-8")
    shown = "\n".join(block.code for block in blocks.blocks(text) if block.shown)
    module = REFERENCE[page]
    listed = set(re.findall(rf"^(?: +~|\.\. py:data:: ){re.escape(module)}\.(\w+)$", text, re.MULTILINE))
    names = set(public_names(module))
    if page == "models":
        names.discard("external")  # a page of its own
    assert listed == names
    without = sorted(n for n in names if not re.search(rf"\b{n}\b", shown))
    assert without == []


@pytest.mark.parametrize(
    ("value", "told", "right"),
    [
        (0.0564, "0.056", True),
        (0.0566, "0.056", False),
        (3, "3", True),
        (3, "4", False),
        ([1, 2], "[1, 2]", True),
        ("abc def", "abc ...", True),
        ("abc", "'abc'", True),
        (True, "False", False),
        ("x", "y", False),
    ],
)
def test_what_is_told_is_compared(value, told, right):
    assert blocks.same(value, told) is right


def test_a_page_is_run_as_it_is_read(tmp_path: Path):
    text = (
        "<!-- run first:\na = 1\n-->\n```python\nb = a + 1\nb  # -> 2\n```\n"
        "<!-- not run: GPU -->\n```python\nraise ValueError\n```\n```sh\nnot python\n```\n````python\nb += 1\n````\n"
    )
    space = {}
    assert blocks.run(text, namespace=space) == (2, 1)
    assert space["b"] == 3
    assert [block.not_run for block in blocks.blocks(text)] == [None, None, "GPU", None]
    with pytest.raises(AssertionError, match="page, line 2: the page says 3, found 2\npage, line 3: the page says 5"):
        blocks.run("```python\n1 + 1  # -> 3\n2 + 2  # -> 5\n```\n")
    with pytest.raises(ZeroDivisionError):
        blocks.run("```python\n1 / 0\n```\n")

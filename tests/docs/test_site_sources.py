"""What the site is built from holds together; building it is `make docs`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BUILT = {"_build", "notebooks", "ecosystem"}
PAGES = sorted(p for p in DOCS.rglob("*.md") if not BUILT & set(p.relative_to(DOCS).parts) and p.name != "changelog.md")
MADE = {"changelog"}  # written by conf.py before pages are read


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def docname(page: Path) -> str:
    return page.relative_to(DOCS).with_suffix("").as_posix()


def target(page: Path, link: str) -> str:
    return link.lstrip("/") if link.startswith("/") else (page.parent / link).resolve().relative_to(DOCS).as_posix()


def test_every_page_is_in_one_toctree_and_no_entry_is_empty():
    listed = []
    for page in PAGES:
        for body in re.findall(r"```\{toctree\}\n(.*?)```", text_of(page), re.DOTALL):
            entries = [line.strip() for line in body.splitlines() if line.strip() and not line.startswith(":")]
            listed += [target(page, entry) for entry in entries if "*" not in entry]
    assert len(listed) == len(set(listed))
    assert set(listed) == ({docname(page) for page in PAGES} | MADE) - {"index"}


@pytest.mark.parametrize("page", PAGES, ids=docname)
def test_links_and_pictures_exist(page: Path):
    text = text_of(page)
    pages = {docname(p) for p in PAGES} | MADE
    for link in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text):
        assert target(page, link) in pages, link
    saved = set(re.findall(r'(?:save=|savefig\()"([\w.]+)"', text_of(DOCS / "gallery.md")))
    for picture in re.findall(r"_static/gallery/([\w.]+)", text):
        assert picture in saved, picture
    # Formulae are text: a renderer of mathematics would come from another host.
    assert not re.search(r"\{math\}|\$\$|<script|<iframe", text)


def test_every_figure_of_the_gallery_is_shown_and_described():
    text = text_of(DOCS / "gallery.md")
    saved = set(re.findall(r'(?:save=|savefig\()"([\w.]+)"', text))
    assert saved == set(re.findall(r"\{figure\} _static/gallery/([\w.]+)", text))
    assert text.count("{figure}") == len(re.findall(r"^:alt: .{40,}$", text, re.MULTILINE))


def test_the_configuration_needs_what_the_extra_brings():
    settings = {
        node.targets[0].id: node.value
        for node in ast.parse(text_of(DOCS / "conf.py")).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    named = {*ast.literal_eval(settings["extensions"]), ast.literal_eval(settings["html_theme"])}
    extra = re.search(r"^docs = \[(.*)\]$", text_of(ROOT / "pyproject.toml"), re.MULTILINE)[1]
    brought = {name.replace("-", "_") for name in re.findall(r'"([\w-]+)', extra)}
    assert {name for name in named if not name.startswith("sphinx.")} == brought - {"sphinx"}
    for style in ast.literal_eval(settings["html_css_files"]):
        assert (DOCS / "_static" / style).is_file()


def test_formulae_of_docstrings_are_text():
    sources = {p.name: text_of(p) for p in (ROOT / "src").rglob("*.py")}
    assert [name for name, text in sources.items() if re.search(r":math:|\.\. math::", text)] == []


def test_styles_fetch_nothing():
    for style in (DOCS / "_static").glob("*.css"):
        assert not re.search(r"https?:|//|@import|url\(", re.sub(r"/\*.*?\*/", "", text_of(style), flags=re.DOTALL))


@pytest.mark.parametrize("form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.stem)
def test_forms_for_issues_are_whole(form: Path):
    found = yaml.safe_load(text_of(form))
    if form.stem == "config":
        return
    assert {"name", "description", "body"} <= set(found)
    ids = [field["id"] for field in found["body"]]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in found["body"])


def test_the_entry_for_the_ecosystem_list_has_every_field():
    found = yaml.safe_load(text_of(DOCS / "ecosystem" / "meta.yaml"))
    needed = {"name", "description", "project_home", "documentation_home", "tutorials_home", "install", "license"}
    assert needed | {"primary_category", "tags", "language", "contact", "test_command", "category"} == set(found)
    assert found["license"] == "BSD-3-Clause"

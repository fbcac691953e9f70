"""How the site is built: ``make docs`` from the repository, or ``sphinx-build -W docs docs/_build/html``."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

import _blocks  # noqa: E402
import _gallery  # noqa: E402

import omicsfm  # noqa: E402

project = "omicsfm"
author = "The omicsfm developers"
copyright = "the omicsfm developers, BSD-3-Clause"
version = release = omicsfm.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "ecosystem", "**.ipynb_checkpoints"]
templates_path = ["_templates"]
default_role = "code"  # a name in single backticks of a docstring is code, whether or not it can be linked
nitpicky = False
suppress_warnings = ["config.cache", "toc.empty_glob"]  # functions in this file; no tutorials yet is no error

# Pages
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are kept with their output; the tests run the blocks of the pages
nb_ipywidgets_js: dict[str, Any] = {}  # the theme would fetch a script from elsewhere

# Reference
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature says them
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_preprocess_types = False

# Look. Everything that a page needs lies beside it: no font, script or style comes from another host.
html_theme = "sphinx_book_theme"
html_title = "omicsfm"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_last_updated_fmt = ""
pygments_style = "a11y-high-contrast-light"
html_theme_options = {
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "show_navbar_depth": 1,
    "collapse_navigation": True,
    "navigation_with_keys": False,
    "home_page_in_toc": False,
    "footer_content_items": "copyright.html",
}

_NOTEBOOKS = {"tutorials": ROOT / "tutorials", "studies": ROOT / "notebooks"}


def copy_notebooks() -> None:
    """Put the notebooks, which have homes of their own, where Sphinx finds them."""
    for name, source in _NOTEBOOKS.items():
        target = HERE / "notebooks" / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for notebook in sorted(source.glob("*.ipynb")):
            shutil.copy(notebook, target)


def copy_changelog() -> None:
    """Make the changelog a page, as it is."""
    (HERE / "changelog.md").write_text((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), encoding="utf-8")


def draw_gallery(app: Any) -> None:
    """Run the blocks of the gallery, unless its figures are newer than page and package."""
    copy_notebooks()
    copy_changelog()
    _gallery.draw(HERE / "gallery.md", HERE / "_static" / "gallery")


def _examples() -> dict[str, tuple[str, str]]:
    """Public name -> page of the reference and code of its first example."""
    out: dict[str, tuple[str, str]] = {}
    for page in sorted((HERE / "api").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        shown = [block.code for block in _blocks.blocks(text) if block.shown]
        for name in re.findall(r"^ +(omicsfm[\w.]+)$", text, re.MULTILINE):
            word = re.compile(rf"\b{re.escape(name.rpartition('.')[2])}\b")
            code = next((code for code in shown if word.search(code) and "\n" in code.strip()), "")
            if code:
                out[name] = (page.stem, code)
    return out


EXAMPLES = _examples()


def add_example(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Show the example of the reference page on the page of each name."""
    found = EXAMPLES.get(name)
    if found is None or what not in {"function", "class", "exception"}:
        return
    page, code = found
    lines += ["", ".. rubric:: Example", ""]
    lines += [f"From :doc:`/api/{page}`, whose blocks run one after the other.", "", ".. code-block:: python", ""]
    lines += [f"   {line}" for line in code.rstrip().split("\n")] + [""]


def plain_protocol_signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    """Leave the arguments of a protocol out: it is never made."""
    if what == "class" and getattr(obj, "_is_protocol", False) and inspect.isclass(obj):
        return "", None
    return None


def setup(app: Any) -> dict[str, Any]:
    """Connect the steps above."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    app.connect("config-inited", lambda app, config: draw_gallery(app))
    app.connect("autodoc-process-docstring", add_example, priority=900)
    app.connect("autodoc-process-signature", plain_protocol_signature)
    return {"parallel_read_safe": True}

"""How the site is built: ``make docs`` from the repository, or ``sphinx-build -W docs docs/_build/html``."""

from __future__ import annotations

import importlib
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

import _gallery  # noqa: E402

import omicsfm  # noqa: E402

project = "omicsfm"
author = "The omicsfm developers"
copyright = "the omicsfm developers, BSD-3-Clause"
version = release = omicsfm.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "ecosystem", "**.ipynb_checkpoints"]
default_role = "code"  # a name in single backticks of a docstring is code, whether or not it can be linked
nitpicky = False
suppress_warnings = [
    "config.cache",  # functions in this file
    "ref.python",  # a word of a docstring, such as "name", that several classes have as an attribute
]

# Pages
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are kept with their output; the tests run the blocks of the pages
nb_ipywidgets_js: dict[str, Any] = {}  # the theme would fetch a script from elsewhere

# Reference
autosummary_generate = False  # no page per name: see add_details
autodoc_default_options = {
    "members": True,
    "inherited-members": "BaseEstimator, Module, tuple, dict, Mapping, BaseModel, Exception, Warning, object",
}
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
html_context = {"default_mode": "light"}
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


def add_details(app: Any, name: str, content: list[str]) -> None:
    """Put what the docstrings say below the table and the examples of each page of the reference.

    One page per module, not per name: it is built in seconds, and read with a browser's own search.
    """
    names = re.findall(r"^   ~(omicsfm[\w.]+)$", content[0], re.MULTILINE) if name.startswith("api/") else []
    if not names:
        return
    lines = ["", "## In full", "", "```{eval-rst}"]
    for full in names:
        module, _, short = full.rpartition(".")
        kind = "class" if inspect.isclass(getattr(importlib.import_module(module), short)) else "function"
        lines += [f".. auto{kind}:: {full}", ""]
    content[0] += "\n".join([*lines, "```", ""])


def plain_protocol_signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    """Leave the arguments of a protocol out: it is never made."""
    if what == "class" and getattr(obj, "_is_protocol", False) and inspect.isclass(obj):
        return "", None
    return None


_ROUTING = re.compile(r"(set_\w+_request|get_metadata_routing|get_params|set_params)$")


def skip_routing(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what scikit-learn gives every estimator, documented there."""
    return True if _ROUTING.match(name) else None


def setup(app: Any) -> dict[str, Any]:
    """Connect the steps above."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    app.connect("config-inited", lambda app, config: draw_gallery(app))
    app.connect("source-read", add_details)
    app.connect("autodoc-skip-member", skip_routing)
    app.connect("autodoc-process-signature", plain_protocol_signature)
    return {"parallel_read_safe": True}

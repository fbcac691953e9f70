"""The site and a report in a real browser: a quiet console, nothing from elsewhere, contrast, no sideways scrolling.

`make docs` builds the site and runs this.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from omicsfm import report

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "docs" / "_build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --allow-file-access-from-files "
    "--enable-logging=stderr --v=0 --window-size=1280,2000 --virtual-time-budget=8000"
).split()
PAGES = ["index", "gallery", "api/tl"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"),
]

# What is put first into a page (what is said, what fails to load), and last (it measures itself).
HERE = Path(__file__).parent
EARS, EYES = (f"<script>\n{(HERE / name).read_text(encoding='utf-8')}</script>" for name in ("ears.js", "eyes.js"))


def open_page(page: Path, profile: Path) -> tuple[str, list[str]]:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def look(page: Path, width: int, profile: Path) -> dict:
    """Open a copy of the page that measures itself, at a width."""
    html = page.read_text(encoding="utf-8")
    probe = page.with_name(f"_probe-{page.name}")
    frame = page.with_name(f"_frame-{page.name}")
    try:
        html = re.sub(r"(<head[^>]*>)", lambda m: m[1] + EARS, html, count=1).replace("</body>", EYES + "</body>")
        probe.write_text(html, encoding="utf-8")
        frame.write_text(
            '<!DOCTYPE html><html><head><link rel="icon" href="data:,"><title>-</title></head><body style="margin:0">'
            '<script>addEventListener("message", e => { document.title = "told " + e.data; });</script>'
            f'<iframe src="{probe.name}" style="width:{width}px;height:6000px;border:0"></iframe></body></html>',
            encoding="utf-8",
        )
        dom, console = open_page(frame, profile)
    finally:
        probe.unlink(missing_ok=True)
        frame.unlink(missing_ok=True)
    found = re.search(r"<title>told (\{.*?\})</title>", dom, re.DOTALL)
    assert found, dom[:500]
    unescaped = found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    # The theme tells on the console which of its colours it took, as information.
    return json.loads(unescaped) | {"console": [line for line in console if "[PST]" not in line]}


@pytest.fixture(scope="module")
def a_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location("example", ROOT / "tests" / "report" / "example.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return report.build(module.results(), tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(params=[*PAGES, "report"])
def page(request: pytest.FixtureRequest) -> Iterator[Path]:
    if request.param == "report":
        yield request.getfixturevalue("a_report")
        return
    built = SITE / f"{request.param}.html"
    if not built.is_file():
        pytest.skip("the site is not built (make docs)")
    yield built


@pytest.mark.parametrize("width", [1280, 390])
def test_calm_complete_and_readable(page: Path, width: int, tmp_path: Path):
    told = look(page, width, tmp_path / "profile")
    assert told["said"] == [] and told["console"] == []
    assert told["foreign"] == []
    assert told["broken"] == []
    assert told["faint"] == []
    assert told["texts"] > 30
    assert told["width"] == width
    assert told["scroll"] <= width


def test_a_bad_page_would_be_seen(tmp_path: Path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!DOCTYPE html><html><head><title>x</title><link rel="icon" href="data:,"></head><body>'
        '<p style="color:#999;width:2000px">faint and wide</p><img src="absent.png">'
        '<script>console.error("heard")</script></body></html>',
        encoding="utf-8",
    )
    told = look(bad, 390, tmp_path / "profile")
    assert any("heard" in words for words in told["said"])
    assert len(told["broken"]) == 1 and len(told["faint"]) == 1
    assert told["scroll"] > 390


def test_no_built_page_names_another_host_for_what_it_loads():
    if not SITE.is_dir():
        pytest.skip("the site is not built (make docs)")
    loads = re.compile(
        r'<(?:script|img|iframe|source)[^>]+src="(?:https?:|//)|<link[^>]+stylesheet[^>]+href="(?:https?:|//)'
    )
    pages = {page.relative_to(SITE).as_posix(): page.read_text(encoding="utf-8") for page in SITE.rglob("*.html")}
    assert [name for name, text in pages.items() if loads.search(text)] == []

"""The page in a real browser, as wide as a desk and as narrow as a phone."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from omicsfm import report

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in _NAMES if (found := shutil.which(name))), None)
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --enable-logging=stderr --v=0"
).split()
# Put into a copy of the page: it measures itself and tells the page around it.
_PROBE = """<script>
addEventListener("load", () => {
  const root = document.documentElement, broken = [...document.images].filter(i => !i.naturalWidth).length;
  const wide = [...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll, pre")
    && e.getBoundingClientRect().right > root.clientWidth + 1).map(e => e.tagName + "." + e.className);
  const small = [...document.images].map(i => i.width / i.naturalWidth);
  parent.postMessage([innerWidth, root.scrollWidth, broken, document.images.length, Math.min(...small).toFixed(2),
    root.scrollHeight, "wide:" + wide.slice(0, 5)].join(" "), "*");
});
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")


def chromium(page: Path, profile: Path, *more: str) -> subprocess.CompletedProcess:
    command = [str(CHROMIUM), *_FLAGS, f"--user-data-dir={profile}", *more, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def frame(page: Path, width: int, folder: Path) -> Path:
    """Give a page that shows another at an exact width: a window has a least width, a frame has none."""
    out = folder / f"frame-{width}-{page.stem}.html"
    out.write_text(
        '<!DOCTYPE html><html><head><link rel="icon" href="data:,"><title>-</title></head><body style="margin:0">'
        '<script>addEventListener("message", e => { document.title = "measured " + e.data; });</script>'
        f'<iframe src="{page.name}" style="width:{width}px;height:14000px;border:0;display:block"></iframe></body>',
        encoding="utf-8",
    )
    return out


@pytest.fixture(scope="module", params=["plain", "hostile"])
def page(request, example, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    return report.build(example(hostile=request.param == "hostile"), folder / "report.html")


@pytest.mark.parametrize("width", [1280, 390])
def test_no_sideways_scrolling_no_broken_picture(page, width, tmp_path):
    probe = page.with_name("probe.html")
    html = page.read_text(encoding="utf-8")
    probe.write_text(html.replace("</body>", _PROBE + "</body>"), encoding="utf-8")
    done = chromium(frame(probe, width, page.parent), tmp_path, "--virtual-time-budget=5000", "--dump-dom")
    told = re.search(r"<title>measured (\d+) (\d+) (\d+) (\d+) ([\d.]+) (\d+) wide:([^<]*)</title>", done.stdout)
    assert told, done.stdout[:500]
    inner, scroll, broken, pictures = (int(n) for n in told.groups()[:4])
    assert inner == width
    assert scroll <= width, f"the page is {scroll} px wide at {width} px: {told[7]}"
    assert told[7] == ""
    assert broken == 0
    assert pictures >= 12
    # Figures are drawn for a phone: 9 pt letters must not shrink below 8 px there.
    assert float(told[5]) >= 8 / 12


@pytest.mark.parametrize("width", [1280, 390])
def test_opens_from_disk_without_a_word_on_the_console(page, width, tmp_path):
    shot = tmp_path / f"report-{width}.png"
    opened = page if width == 1280 else frame(page, width, page.parent)
    done = chromium(opened, tmp_path / "profile", "--window-size=1280,3000", f"--screenshot={shot}")
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert said == []
    assert shot.stat().st_size > 50_000


def test_console_errors_would_be_seen(page, tmp_path):
    bad = page.with_name("bad.html")
    bad.write_text("<!DOCTYPE html><title>x</title><script>console.error('seen')</script>", encoding="utf-8")
    done = chromium(bad, tmp_path, "--screenshot=" + str(tmp_path / "x.png"))
    assert any("CONSOLE" in line and "seen" in line for line in done.stderr.splitlines())


def test_prints(page, tmp_path):
    pdf = tmp_path / "report.pdf"
    chromium(page, tmp_path / "profile", "--no-pdf-header-footer", f"--print-to-pdf={pdf}")
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))
    assert 3 <= pages <= 20

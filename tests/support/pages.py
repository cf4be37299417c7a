"""Pages of the report, read as text, and measured in a real browser where there is one."""

import json
import re
import shutil
import subprocess
import tempfile
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
MEASURE = """
addEventListener("load", () => {
  const pages = [...document.querySelectorAll("iframe")].map(frame => frame.contentDocument.documentElement);
  document.title = JSON.stringify(pages.map(page => page.scrollWidth - page.clientWidth));
});
"""


class Page(HTMLParser):
    """The rows of a page's tables, its texts, and what it would fetch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self.fetched: list[str] = []
        self._in_cell = False
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.fetched += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]
        self._in_cell = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif self._in_cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())
        if self._in_cell:
            self.rows[-1][-1] += data

    def check_it_stands_alone(self) -> None:
        """Check that the page fetches nothing, has no script, and that all its colours are those of its two schemes."""
        assert self.fetched == []
        assert not re.search(r"url\((?!#)|@import|<script", self.text)
        assert "prefers-color-scheme: dark" in self.text
        assert not re.search(r"#00000[1-8]", self.text), "every colour of the figures is the page's"


def overflows(path: Path, *frames: int) -> list[int]:
    """Return by how many pixels a real browser finds a page wider than frames of some widths."""
    if not CHROMIUM:
        pytest.skip("there is no Chromium")
    page = escape(path.read_text(), quote=True)
    shown = "".join(
        f'<iframe width="{width}" height="800" frameborder="0" srcdoc="{page}"></iframe>' for width in frames
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "frames.html").write_text(f"<!doctype html><script>{MEASURE}</script>{shown}")
        command = [
            CHROMIUM,
            *OPTIONS,
            f"--user-data-dir={folder}/profile",
            "--dump-dom",
            f"file://{folder}/frames.html",
        ]
        dumped = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return json.loads(re.search(r"<title>(.*?)</title>", dumped)[1])

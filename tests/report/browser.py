"""A page in a real browser without a window: what it looks like to scripts, to a checker, and how fast it is there."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
NPM = shutil.which("npm")
DARK = "--blink-settings=preferredColorScheme=0"
SAID = re.compile(r'<pre id="said">(.*?)</pre>', re.DOTALL)


def browse(page: Path, script: str, folder: Path, *more: str, before: str = "") -> tuple[str, list[str]]:
    """(the page's DOM after ``script`` ran at its end, errors of its scripts); ``before`` runs first."""
    tried = folder / f"tried-{page.name}"
    text = page.read_text().replace("</head>", f"<script>{before}</script></head>", 1) if before else page.read_text()
    tried.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
    words = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", "--dump-dom",
        "--enable-logging=stderr", *more, f"file://{tried}",
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
    errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "rror" in line]
    return done.stdout, errors


def said_by(dom: str) -> Any:
    """What a script wrote, as JSON, into an element that it named ``said``."""
    found = SAID.search(dom)
    assert found, dom[-2000:]
    return json.loads(html.unescape(found.group(1)))


@lru_cache
def axe() -> str:
    """The accessibility checker's script; the test is skipped where it cannot be had."""
    if NPM is None or CHROMIUM is None:
        pytest.skip("no npm or no chromium")
    folder = Path(mkdtemp(prefix="axe-"))
    words = [NPM, "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", str(folder), "axe-core@4"]
    try:
        subprocess.run(words, capture_output=True, timeout=120, check=True)
        return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"axe-core cannot be had from npm here: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""Take the picture of the scoreboard that the README shows, from the book that `make book` has built.

    python book/picture.py                 _build/html/book/scoreboard.html -> book/_static/scoreboard.png

Needs a Chromium on the path (Debian: `apt-get install chromium`) and playwright, from the extra `test`.
1200 x 800 pixels, light, with a palette; fails when the file would be larger than 200 kB.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "_build" / "html" / "book" / "scoreboard.html"
PICTURE = ROOT / "book" / "_static" / "scoreboard.png"
SIZE = ViewportSize(width=1200, height=800)
LARGEST = 200_000  # bytes
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")


def screenshot(page: Path, chromium: str) -> bytes:
    """The top of a page as a reader with a light theme sees it, as PNG."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_ARGUMENTS])
        tab = browser.new_page(viewport=SIZE, device_scale_factor=1, color_scheme="light")
        tab.goto(page.as_uri())
        tab.wait_for_load_state("networkidle")
        tab.evaluate("() => document.fonts.ready")
        shot = tab.screenshot()
        browser.close()
    return shot


def reduced(png: bytes) -> bytes:
    """The same picture with a palette of 256 colours, in which no pixel moves by a visible amount."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    small = io.BytesIO()
    # Not median cut, the default: it gives the few coloured pixels of the badges away to shades of grey.
    picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def main() -> int:
    chromium = next((found for name in CHROMIUM_NAMES if (found := shutil.which(name))), None)
    if chromium is None or not PAGE.is_file():
        missing = "there is no Chromium on the path" if chromium is None else f"there is no {PAGE}: run make book first"
        print(f"picture: {missing}", file=sys.stderr)
        return 1
    picture = reduced(screenshot(PAGE, chromium))
    if len(picture) > LARGEST:
        print(f"picture: {len(picture)} bytes are more than {LARGEST}; nothing was written", file=sys.stderr)
        return 1
    PICTURE.write_bytes(picture)
    print(f"{PICTURE}: {len(picture) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

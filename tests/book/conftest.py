"""The real book, built once, served on this machine only, and looked at through Debian's chromium."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def built_book(
    tmp_path_factory: pytest.TempPathFactory, one_at_a_time: Callable[[], AbstractContextManager[None]]
) -> Path:
    """The folder of the rendered book; findings come from the records of this checkout where they are there."""
    from evolm import book

    with one_at_a_time():
        return book.build("smoke", out=tmp_path_factory.mktemp("book") / "html").html


@pytest.fixture(scope="session")
def server(built_book: Path) -> Iterator[str]:
    """Address of the book on the loopback interface."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Quiet(*a, directory=str(built_book))) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """A headless chromium; without one the tests are skipped, or fail where EVOLM_REQUIRE_BROWSER=1 forbids that."""
    path = next((found for name in CHROMIUM_NAMES if (found := shutil.which(name))), None)
    if path is None:
        message = f"no browser: install one of {', '.join(CHROMIUM_NAMES)} (Debian: apt-get install chromium)"
        if os.environ.get("EVOLM_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()

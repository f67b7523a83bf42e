"""Every page of the built book, looked at in a browser with no network: quiet, complete, readable on a phone."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from evolm import paths

#: The first test builds the book, which runs every chapter one after another.
pytestmark = pytest.mark.timeout(1800)
DESKTOP, PHONE = (1280, 900), (390, 844)
# What a page shows, taken once per page, size and theme.
LOOK = """() => {
  const shown = e => e.offsetParent !== null && getComputedStyle(e).visibility !== 'hidden';
  const all = s => [...document.querySelectorAll(s)];
  const article = document.querySelector('article') || document.body;
  const raw = article => {  // TeX that nobody typeset: in text that is neither code nor a formula
    const kept = article.cloneNode(true);
    kept.querySelectorAll('script, style, code, pre, textarea, mjx-container').forEach(e => e.remove());
    return kept.textContent.match(/\\$[^$\\n]{1,80}\\$|\\\\[a-zA-Z]{2,}|\\\\[()\\[\\]]/g) || [];
  };
  return {
    h1: all('h1').filter(shown).length,
    nameless: all('img').filter(i => !(i.getAttribute('alt') || '').trim()).map(i => i.outerHTML.slice(0, 90)),
    page: document.documentElement.scrollWidth,
    screen: document.documentElement.clientWidth,
    theme: document.documentElement.dataset.theme,
    light: all('.evolm-figure img.only-light').filter(shown).length,
    dark: all('.evolm-figure img.only-dark').filter(shown).length,
    figures: all('.evolm-figure').length,
    interactive: all('.evolm-interactive').length,
    plots: all('.evolm-plot').filter(p => p.querySelector('svg.main-svg') && shown(p)).length,
    fallbacks: all('.evolm-fallback').filter(shown).length,
    formulas: all('.math').length,
    typeset: all('.math mjx-container').length,
    raw: raw(article),
    cut: all('.evolm-scroll, .evolm-block, .evolm-badge').filter(e => shown(e) && e.scrollWidth > e.clientWidth + 1)
      .map(e => e.getAttribute('aria-label') || e.innerText.slice(0, 60)),
    words: article.innerText.length,
    broken: all('img').filter(i => shown(i) && i.naturalWidth === 0).length,
    scripts: all('script[src]').map(s => s.getAttribute('src')).filter(s => s.includes('plotly')).length,
  };
}"""
READY = """async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  const waiting = () => [...document.querySelectorAll('.evolm-plot')].some(p => !p.querySelector('svg.main-svg'));
  for (let i = 0; i < 100 && waiting(); i++) await new Promise(r => setTimeout(r, 100));
}"""


def pages() -> list[str]:
    root = paths.checkout()
    assert root is not None
    contents = yaml.safe_load((root / "_toc.yml").read_text())
    chapters = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    return [contents["root"], *chapters]


PAGES = pages()


class Visitor:
    """Opens pages with everything but the book's own server cut off, and keeps what they said and showed."""

    def __init__(self, browser: Any, server: str) -> None:
        self.browser, self.server = browser, server
        self.seen: dict[tuple[str, tuple[int, int], str], dict[str, Any]] = {}

    def open(
        self, address: str, size: tuple[int, int] = DESKTOP, theme: str = "light", block: str = "", wait_for: str = ""
    ) -> Any:
        """A loaded page; `.complaints` lists console errors, failed requests and attempts to leave the machine."""
        context = self.browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
        page = context.new_page()
        page.complaints = []
        inside = (self.server, "file://", "data:", "blob:")

        def gate(route: Any) -> None:
            url = route.request.url
            if not url.startswith(inside):
                page.complaints.append(f"left the machine: {url}")
            if not url.startswith(inside) or (block and block in url):
                route.abort()
            else:
                route.continue_()

        page.route("**/*", gate)
        page.on("console", lambda m: page.complaints.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: page.complaints.append(f"exception: {error}"))
        page.on("requestfailed", lambda r: page.complaints.append(f"failed: {r.url}"))
        page.on("response", lambda r: page.complaints.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.goto(address if "://" in address else f"{self.server}/{address}.html")
        if wait_for:
            page.wait_for_url(wait_for)
        if not block:
            page.evaluate(READY)
        return page

    def look(self, name: str, size: tuple[int, int], theme: str) -> dict[str, Any]:
        key = (name, size, theme)
        if key not in self.seen:
            page = self.open(name, size, theme)
            self.seen[key] = {**page.evaluate(LOOK), "complaints": page.complaints}
            page.context.close()
        return self.seen[key]


@pytest.fixture(scope="module")
def visitor(browser, server):
    return Visitor(browser, server)


@pytest.mark.parametrize("name", [*PAGES, "search", "genindex"])
def test_a_page_is_quiet_and_asks_nobody_else(visitor, name):
    assert visitor.look(name, DESKTOP, "light")["complaints"] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_one_title_text_and_named_images(visitor, name):
    look = visitor.look(name, DESKTOP, "light")
    assert look["h1"] == 1
    assert look["words"] > 100
    assert look["nameless"] == []
    assert look["broken"] == 0


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_not_scroll_sideways_on_a_phone(visitor, name):
    look = visitor.look(name, PHONE, "dark")
    assert look["page"] <= look["screen"] == PHONE[0]
    assert look["complaints"] == []


@pytest.mark.parametrize(("size", "theme"), [(DESKTOP, "light"), (PHONE, "dark")])
@pytest.mark.parametrize("name", PAGES)
def test_each_figure_is_shown_once_and_in_the_theme_of_the_page(visitor, name, size, theme):
    look = visitor.look(name, size, theme)
    still = look["figures"] - look["interactive"]
    other = "dark" if theme == "light" else "light"
    assert look["theme"] == theme
    assert (look[theme], look[other]) == (still, 0)


@pytest.mark.parametrize("name", PAGES)
def test_every_formula_is_typeset(visitor, name):
    look = visitor.look(name, DESKTOP, "light")
    assert look["typeset"] == look["formulas"]


@pytest.mark.parametrize("name", PAGES)
def test_no_formula_is_left_as_its_source(visitor, name):
    assert visitor.look(name, DESKTOP, "light")["raw"] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_table_of_ours_fits_a_desktop_page_without_scrolling(visitor, name):
    assert visitor.look(name, DESKTOP, "light")["cut"] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_interactive_figure_is_drawn_and_replaces_its_static_twin(visitor, name):
    look = visitor.look(name, DESKTOP, "light")
    assert (look["plots"], look["fallbacks"]) == (look["interactive"], 0)
    assert bool(look["scripts"]) == bool(look["interactive"])  # plotly.js is fetched only where it is needed


def test_the_book_has_formulas_figures_and_an_interactive_one(visitor):
    looks = [visitor.look(name, DESKTOP, "light") for name in PAGES]
    assert all(sum(look[what] for look in looks) for what in ("formulas", "figures", "interactive"))


def interactive_page(visitor: Visitor) -> str:
    return next(name for name in PAGES if visitor.look(name, DESKTOP, "light")["interactive"])


def test_the_static_figure_stays_where_plotly_does_not_load(visitor):
    page = visitor.open(interactive_page(visitor), block="plotly-basic")
    page.wait_for_load_state("networkidle")
    look = page.evaluate(LOOK)
    page.context.close()
    assert look["plots"] == 0
    assert look["fallbacks"] == look["interactive"] > 0
    assert look["light"] == look["figures"]


def test_switching_the_theme_redraws_every_figure(visitor):
    page = visitor.open(interactive_page(visitor))
    background = "() => getComputedStyle(document.querySelector('.evolm-plot .main-svg')).backgroundColor"
    before = page.evaluate(background)
    for _ in range(3):  # the button goes through light, dark and automatic
        page.click("button.theme-switch-button:visible")
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
    page.wait_for_function(f"before => ({background})() !== before", arg=before)
    look = page.evaluate(LOOK)
    page.context.close()
    assert look["theme"] == "dark"
    assert (look["dark"], look["light"]) == (look["figures"] - look["interactive"], 0)
    assert page.complaints == []


def test_the_address_of_the_folder_leads_to_the_first_page(visitor):
    page = visitor.open(f"{visitor.server}/index.html", wait_for=f"**/{PAGES[0]}.html")
    page.context.close()
    assert page.complaints == []


def test_the_search_finds_a_page_without_a_server_of_its_own(visitor):
    page = visitor.open(f"{visitor.server}/search.html?q=verdict")
    page.wait_for_selector("#search-results li a")
    page.context.close()
    assert page.complaints == []


def test_the_book_opens_from_disk_without_a_server(visitor, built_book):
    page = visitor.open((built_book / f"{interactive_page(visitor)}.html").as_uri())
    look = page.evaluate(LOOK)
    page.context.close()
    assert page.complaints == []
    assert look["plots"] == look["interactive"]
    assert look["typeset"] == look["formulas"]


def test_a_reader_can_reach_every_page_from_the_first_one(visitor):
    page = visitor.open(PAGES[0])
    links = page.evaluate("() => [...document.querySelectorAll('nav a[href]')].map(a => a.href.split('#')[0])")
    page.context.close()
    assert {f"{visitor.server}/{name}.html" for name in PAGES[1:]} <= set(links)

"""The page in a real browser: filters, keys, no network, nothing that a text could run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from etl.report.page import render
from tests.etl.report.browser import Browser, find_chromium
from tests.etl.report.example import FACTS, figures, question

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)")
SHOWN = "[...document.querySelectorAll('#sample-list article')].map((a) => a.dataset.id)"
ATTACK = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    pytest.importorskip("aiohttp", reason="the DevTools socket needs aiohttp (pip install 'boostqa[llm]')")
    with Browser(str(CHROMIUM), tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> str:
    path = tmp_path / "report.html"
    path.write_text(render(figures()), "utf-8")
    browser.look(1280)
    browser.open(path.as_uri())
    return path.as_uri()


def choose(browser: Browser, name: str, value: str) -> None:
    """Chooses an option as a user does: the select's value changes, and it says so."""
    select = f"document.getElementById('filter-{name}')"
    browser.evaluate(f"{select}.value = '={value}'")
    browser.evaluate(f"{select}.dispatchEvent(new Event('change', {{bubbles: true}}))")


def status(browser: Browser) -> str:
    return str(browser.evaluate("document.getElementById('sample-count').textContent"))


@pytest.mark.usefixtures("page")
def test_filters_narrow_the_sample(browser: Browser) -> None:
    assert status(browser) == "50 of 50 questions match, 20 shown"
    choose(browser, "lang", "zh")
    browser.until(f"{SHOWN}.every((id) => Number(id.slice(3)) % 2 === 1)")
    assert status(browser) == "25 of 50 questions match, 20 shown"
    choose(browser, "status", "rejected")
    browser.until(f"{SHOWN}.length === 8")
    wanted = [f"qa-{i:04d}" for i in range(50) if i % 2 and i % 3 == 0]
    assert browser.evaluate(SHOWN) == wanted
    assert browser.evaluate("document.querySelector('#sample-list .text').lang") == "zh"
    browser.evaluate("document.querySelector('#sample-filters button').click()")
    browser.until(f"{SHOWN}.length === 20")


@pytest.mark.usefixtures("page")
def test_a_cell_of_the_map_opens_the_sample_there(browser: Browser) -> None:
    browser.evaluate("document.querySelector('a[href=\"#sample&discipline=law&difficulty=4\"]').click()")
    browser.until("document.getElementById('filter-discipline').value === '=law'")
    assert status(browser) == "25 of 50 questions match, 20 shown"
    browser.until("Math.abs(document.getElementById('sample-filters').getBoundingClientRect().top) < 200")


def test_an_address_names_what_is_shown(browser: Browser, page: str) -> None:
    browser.open("about:blank")
    browser.open(f"{page}#sample&lang=en&discipline=unheard_of")
    assert status(browser) == "0 of 50 questions match, 0 shown"
    assert browser.evaluate("document.getElementById('filter-discipline').selectedOptions[0].text") == "unheard of"


@pytest.mark.usefixtures("page")
def test_it_works_by_keyboard(browser: Browser) -> None:
    browser.press("Tab", 9)
    assert browser.evaluate("document.activeElement.textContent") == "Skip to the figures"
    browser.evaluate("document.getElementById('sample-more').focus()")
    browser.press("Enter", 13)
    browser.until(f"{SHOWN}.length === 40")
    assert browser.evaluate("document.activeElement.dataset.id") == "qa-0020"
    browser.evaluate("document.querySelector('.reasons summary').focus()")
    browser.press("Enter", 13)
    assert browser.evaluate("document.querySelector('.reasons details').open") is True


def test_it_asks_for_nothing_and_complains_of_nothing(browser: Browser, page: str) -> None:
    assert browser.requests() == [page]
    assert browser.complaints() == []


def test_texts_never_run(browser: Browser, tmp_path: Path) -> None:
    bad = question(0, question=ATTACK, answer=ATTACK, seed=ATTACK, qa_id=ATTACK, reason=ATTACK, discipline=ATTACK)
    path = tmp_path / "report.html"
    path.write_text(render(figures(facts=replace(FACTS, name=ATTACK), sample=(bad,))), "utf-8")
    browser.open(path.as_uri())
    assert browser.evaluate("document.querySelector('#sample-list h3').textContent") == ATTACK
    # Even if a text became markup, the page's policy would stop it.
    browser.evaluate(f"document.body.insertAdjacentHTML('beforeend', {ATTACK!r})")
    browser.until("document.querySelector('body > img') !== null")
    assert browser.evaluate("window.hacked") is None
    assert [r for r in browser.requests() if r != path.as_uri() and not r.startswith("file:///")] == []
    browser.evaluate("fetch('http://127.0.0.1:9/').catch(() => { window.refused = 1 })")
    browser.until("window.refused === 1")


@pytest.mark.usefixtures("page")
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_stands_out_of_the_window(browser: Browser, width: int) -> None:
    browser.look(width)
    browser.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth") is True


@pytest.mark.usefixtures("page")
def test_dark_mode(browser: Browser) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light = browser.evaluate(colour)
    browser.look(1280, dark=True)
    assert (light, browser.evaluate(colour)) == ("rgb(255, 255, 255)", "rgb(18, 23, 28)")

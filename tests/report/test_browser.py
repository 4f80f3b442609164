"""The report in a real browser: nothing fails, nothing is fetched, and everybody can read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import metrics_tree
import pytest
from browser import CONTRASTS, browser, requests, show
from report_page import render
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from powtwo.report import results
from powtwo.report.page import draw_figures

pytestmark = pytest.mark.slow

SCHEMES = ["lab", "w4a4-mse-adaround-per-channel-first-last-8", "shift", "minmax-ceil"]
OPEN_DETAILS = "for (const d of document.querySelectorAll('details')) d.open = true;"
LIGHTS = pytest.mark.parametrize("light", ["light", "dark"])


@pytest.fixture(scope="module")
def chrome() -> Iterator[WebDriver]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with long names, wide tables, missing figures, and classes that have names."""
    root = tmp_path_factory.mktemp("report")
    metrics_tree.write(root, SCHEMES, ["airplane", "automobile", "bird", "cat", "deer", "dog"])
    run = results.read(root, SCHEMES)
    path = root / "index.html"
    path.write_text(render(run, draw_figures(run)), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [375, 1280])
@LIGHTS
def test_nothing_fails_is_fetched_or_scrolls_sideways(
    chrome: WebDriver, page: Path, width: int, light: str
) -> None:
    show(chrome, Path(__file__), 800, "light")  # so that only what follows is counted
    requests(chrome)
    chrome.get_log("browser")
    show(chrome, page, width, light)
    for head in chrome.find_elements(By.CSS_SELECTOR, "#comparison th button"):
        chrome.execute_script("arguments[0].click()", head)
    assert chrome.get_log("browser") == []
    asked = [url for url in requests(chrome) if not url.startswith("data:")]
    assert asked == [page.as_uri()]
    chrome.execute_script(OPEN_DETAILS)
    inner, client, scroll = chrome.execute_script(
        "const e = document.documentElement; return [innerWidth, e.clientWidth, e.scrollWidth]"
    )
    assert inner == width
    assert scroll <= client <= width
    beyond = """
      return [...document.querySelectorAll('body *')]
        .filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth)
        .map(e => e.outerHTML.slice(0, 80))
    """
    assert chrome.execute_script(beyond) == []
    # What is wider than the page scrolls in its own box, which the keyboard reaches.
    boxes = chrome.find_elements(By.CSS_SELECTOR, ".scroll")
    assert {box.get_attribute("tabindex") for box in boxes} == {"0"}


def test_a_run_s_tables_need_no_scrolling_at_1280(chrome: WebDriver, tree: Path) -> None:
    show(chrome, tree / "report/index.html", 1280, "light")
    chrome.execute_script(OPEN_DETAILS)
    boxes = chrome.find_elements(By.CSS_SELECTOR, ".scroll")
    script = "return arguments[0].scrollWidth - arguments[0].clientWidth"
    assert len(boxes) > 10
    assert {chrome.execute_script(script, box) for box in boxes} == {0}


def test_a_table_that_goes_on_has_a_shadow(chrome: WebDriver, page: Path) -> None:
    show(chrome, page, 1280, "light")
    image = "return getComputedStyle(document.querySelector('.scroll')).backgroundAttachment"
    assert chrome.execute_script(image) == "local, local, scroll, scroll"


@pytest.mark.parametrize("width", [375, 1280])
def test_numbers_of_a_column_end_at_one_place(chrome: WebDriver, tree: Path, width: int) -> None:
    show(chrome, tree / "report/index.html", width, "light")
    ends = chrome.execute_script("""
      return [...document.querySelectorAll('#comparison tbody tr, #comparison tfoot tr')].map(row =>
        [...row.querySelectorAll('td')].map(cell => {
          const range = document.createRange();
          range.selectNodeContents(cell.firstChild);
          return Math.round(range.getBoundingClientRect().right);
        }))
    """)
    assert len(ends) == 4
    assert len({tuple(row) for row in ends}) == 1


def test_a_telephone_s_first_screen_has_the_selected_scheme(chrome: WebDriver, tree: Path) -> None:
    show(chrome, tree / "report/index.html", 375, "light")
    row = "document.querySelector('#comparison .marked').getBoundingClientRect().bottom"
    assert chrome.execute_script(f"return {row}") < 700
    chrome.execute_script(OPEN_DETAILS)
    for selector, displayed in ((".pointer", False), ("td:empty", False), ("caption", True)):
        elements = chrome.find_elements(By.CSS_SELECTOR, selector)
        assert elements
        assert {element.is_displayed() for element in elements} == {displayed}


@pytest.mark.parametrize("width", [375, 1280])
def test_an_arrow_moves_no_column(chrome: WebDriver, tree: Path, width: int) -> None:
    show(chrome, tree / "report/index.html", width, "light")
    places = """
      return [...document.querySelectorAll('#comparison th button')].map(
        head => Object.values(head.getBoundingClientRect().toJSON()))
    """
    before = chrome.execute_script(places)
    for head in chrome.find_elements(By.CSS_SELECTOR, "#comparison th button"):
        head.click()  # also the head "scheme", on a telephone too
        assert chrome.execute_script(places) == before


@LIGHTS
def test_every_text_stands_out(chrome: WebDriver, page: Path, light: str) -> None:
    show(chrome, page, 1280, light)
    paper = chrome.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(254, 254, 254)", "dark": "rgb(20, 23, 27)"}[light]
    # The browser finds shapes within the window alone, so the window holds the whole page.
    height = chrome.execute_script(
        f"{OPEN_DETAILS} document.querySelector('td[title]').click();"  # shows where it came from
        "return document.documentElement.scrollHeight"
    )
    chrome.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 1280, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    texts = chrome.execute_script(CONTRASTS)
    assert sum(in_picture for _, in_picture, _ in texts) > 200
    assert sum(not in_picture for _, in_picture, _ in texts) > 500
    assert [text for text in texts if text[2] < 4.5] == []


def column(table: WebElement, index: int) -> list[tuple[str | None, str]]:
    """Return each cell of a column from top to bottom: its value, if any, and its text."""
    script = """
      return [...arguments[0].tBodies[0].rows].map(row => {
        const cell = row.cells[arguments[1]];
        return [cell.dataset.value ?? null, cell.textContent];
      })
    """
    return [tuple(cell) for cell in table.parent.execute_script(script, table, index)]


def head(table: WebElement, title: str) -> tuple[int, WebElement]:
    buttons = table.find_elements(By.CSS_SELECTOR, "thead button")
    index = [button.text for button in buttons].index(title)
    return index, buttons[index]


@pytest.mark.parametrize(
    ("place", "title"),
    [
        ("#evidence", "p-value"),
        ("#comparison", "drop, points"),
        ("#comparison", "energy, µJ"),
        ("#layers details", "outputs clipped"),  # the last layer has none
    ],
)
def test_numbers_sort_as_numbers_and_what_is_missing_stays_last(
    chrome: WebDriver, page: Path, place: str, title: str
) -> None:
    show(chrome, page, 1280, "light")
    chrome.execute_script(OPEN_DETAILS)
    table = chrome.find_element(By.CSS_SELECTOR, f"{place} table")
    index, button = head(table, title)
    texts = {row.text for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")}
    before = column(table, index)
    numbers = sorted(float(value) for value, _ in before if value is not None)
    assert (len(numbers) < len(before)) == (title == "outputs clipped")
    for way, expected in (("ascending", numbers), ("descending", numbers[::-1])):
        chrome.execute_script("arguments[0].click()", button)
        after = column(table, index)
        assert [float(value) for value, _ in after[: len(numbers)]] == expected
        assert set(after[len(numbers) :]) <= {(None, "–")}
        assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == way
    assert len(table.find_elements(By.CSS_SELECTOR, "[aria-sort]")) == 1
    assert {row.text for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")} == texts


def test_layers_sort_by_number_and_names_by_the_alphabet(chrome: WebDriver, page: Path) -> None:
    show(chrome, page, 1280, "light")
    chrome.execute_script(OPEN_DETAILS)
    table = chrome.find_element(By.CSS_SELECTOR, "#layers details table")
    index, button = head(table, "layer")
    for _ in range(2):
        button.click()
    assert [text for _, text in column(table, index)] == [
        "linear 2",
        "linear 1",
        "conv 2",
        "conv 1",
    ]
    table = chrome.find_element(By.CSS_SELECTOR, "#comparison table")
    index, button = head(table, "scheme")
    button.click()
    assert [text.split()[0] for _, text in column(table, index)] == sorted(SCHEMES)


@pytest.mark.parametrize("pressed", [Keys.ENTER, Keys.SPACE])
def test_tables_sort_from_the_keyboard(chrome: WebDriver, page: Path, pressed: str) -> None:
    show(chrome, page, 375, "light")
    table = chrome.find_element(By.CSS_SELECTOR, "#comparison table")
    index, button = head(table, "accuracy, %")
    for _ in range(30):
        chrome.switch_to.active_element.send_keys(Keys.TAB)
        if chrome.switch_to.active_element == button:
            break
    else:
        pytest.fail("Tab does not reach the head of the column")
    outline = "return getComputedStyle(arguments[0]).outlineStyle"
    assert chrome.execute_script(outline, button) != "none"
    chrome.switch_to.active_element.send_keys(pressed)
    values = [float(value) for value, _ in column(table, index)]
    assert values == sorted(values)
    assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"


def test_a_touch_says_where_a_number_came_from(chrome: WebDriver, page: Path) -> None:
    show(chrome, page, 375, "light")
    chrome.execute_script(OPEN_DETAILS)
    origin = chrome.find_element(By.ID, "origin")
    assert not origin.is_displayed()
    for selector in ("#comparison td", ".claim data", "#layers details td"):
        element = chrome.find_element(By.CSS_SELECTOR, selector)
        source = element.get_attribute("title")
        assert source.startswith(("metrics/", "plots/"))
        chrome.execute_script("arguments[0].click()", element)
        assert origin.is_displayed()
        assert origin.text == f"{element.text} is of {source}"
    chrome.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
    assert not origin.is_displayed()

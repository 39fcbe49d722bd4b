"""The report: what it says where numbers carry nothing, and how the page behaves in a browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from markupsafe import Markup, escape

from tests.analysis.synthetic import NAMES, logs, without_zero_shot
from w2s_icl.analysis import report
from w2s_icl.analysis.logs import Logs, Note
from w2s_icl.analysis.report import render, summary, views, write_report
from w2s_icl.analysis.results import Results
from w2s_icl.analysis.sentences import points
from w2s_icl.errors import W2SError
from w2s_icl.words import printable

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CONTROLS = ("random", "noise_matched", "flipped", "unlabelled")
ODD = "</script><script>alert(1)</script>"
ODD_NAME = "=1+1 <b onclick='x'\" $a_b$ &amp; \x1b[2J{{ 7*7 }}"


def odd_names(made: Logs) -> Logs:
    """A model whose name means something to HTML, jinja, matplotlib, spreadsheets, terminals."""
    for table in (made.runs, made.planned):
        table[["model", "weak"]] = table[["model", "weak"]].replace(NAMES[0], ODD_NAME)
    return made


def no_prices(made: Logs) -> Logs:
    made.runs["cost"] = float("nan")
    return made


CASES: dict[str, Callable[[], Logs]] = {
    "whole": lambda: logs(2, shots=(0, 64), labels=CONTROLS, prompts=["cot=bare"], changed=0.03),
    "pair": lambda: logs(2, shots=(0, 64), pairs=[(0, 1)], labels=["random"], n=60),
    "one model": lambda: no_prices(logs(1, shots=(0, 4), n=60)),
    "zero-shot alone": lambda: logs(2, shots=(0,), pairs=[(0, 1)], n=60),
    "no zero-shot": lambda: without_zero_shot(logs(2, shots=(0, 64), n=60), NAMES[1]),
    "no gap": lambda: logs(2, shots=(0, 64), accuracy=(0.7, 0.7), learned=0, pairs=[(0, 1)]),
    "few": lambda: logs(2, n=25, shots=(0, 64), pairs=[(0, 1)]),
    "unread": lambda: logs(2, unread=1.0, shots=(0, 64), pairs=[(0, 1)]),
    "not run": lambda: logs(2, missing=[("weak", 8), ("weak", 64)], shots=(0, 8, 64), n=60),
    "reversed": lambda: logs(2, shots=(0, 8), accuracy=(0.9, 0.6), learned=0.2, pairs=[(0, 1)]),
    "declared": lambda: logs(3, headline=[2, 8], n=60, labels=["random"], prompts=["cot=bare"]),
    "odd names": lambda: odd_names(
        logs(2, shots=(0, 64), n=60, notes=[Note("problem", f"{ODD}.eval", "cannot be `read`")])
    ),
    "five": lambda: logs(
        5, shots=(0, 64), n=60, labels=[*CONTROLS, "mine"], prompts=["question=hidden"],
        pairs=[(0, 4), (1, 4), (3, 4), (4, 4)],
    ),
}  # fmt: skip


@lru_cache(maxsize=32)
def results(case: str) -> Results:
    return Results(CASES[case]())


@lru_cache(maxsize=32)
def page(case: str) -> str:
    """The page without its figures, whose drawing is most of the work."""
    r = results(case)
    return render(r, [(view, Markup()) for view in views(r)])


def prose(html: str) -> str:
    """What the page says, without figures, numbers of figures and what is folded."""
    bare = re.sub(r"<(svg|style|script|details).*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", bare).split())


def write(made: Logs, out: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "read_logs", lambda _: made)
        files, _ = write_report("logs/made-up", out)
    assert all(path.exists() for path in files)
    return out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything in it, figures too."""
    return write(CASES["whole"](), tmp_path_factory.mktemp("whole"))


def test_page_is_one_file_with_unique_ids_and_named_figures(whole: Path) -> None:
    html = (whole / "report.html").read_text("utf-8")
    ids = re.findall(r'\bid="([^"]+)"', html)
    svgs = re.findall(r'id="(\w+)-svg" role="img" aria-labelledby="\1-title \1-desc"', html)

    assert len(ids) == len(set(ids))
    assert set(svgs) == {path.stem for path in whole.glob("*.svg")}
    assert len(svgs) == 8
    assert {f"{name}-{part}" for name in svgs for part in ("title", "desc")} <= set(ids)
    assert set(re.findall(r'<a href="#?([^"]+)"', html)) <= {*ids, "columns.md"}
    assert set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", html)) <= set(ids)
    addresses = set(re.findall(r"https?://[^\"'\s<>]+", html))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


@pytest.mark.slow
def test_two_builds_are_equal(tmp_path: Path) -> None:
    first, second = (write(CASES["pair"](), tmp_path / name) for name in ("one", "two"))

    names = {path.name for path in first.iterdir()}
    assert names == {path.name for path in second.iterdir()}
    assert {"surface_rule.csv", "surface_fit.csv", "stats.json", "accuracy.png"} <= names
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_numbers_of_the_sentences_are_those_of_the_tables(whole: Path) -> None:
    cells, arms = (pd.read_csv(whole / f"{name}.csv") for name in ("cells", "arms"))
    row = cells[(cells["weak"] == NAMES[0]) & (cells["strong"] == NAMES[1])].iloc[-1]
    said = prose(page("whole"))

    assert f"answers {100 * row['acc_w2s']:.1f}% right" in said
    assert f"recover {row['pgr_gold']:.2f} of the gap" in said
    assert f"{row['pgr_gold_lo']:.2f} to {row['pgr_gold_hi']:.2f}" in said
    assert "of its own labels, against its own zero-shot run" in said  # self-supervision
    arm = arms[(arms["weak"] == NAMES[0]) & (arms["strong"] == NAMES[1])].set_index("arm")
    assert f"{points(arm['ahead']['random'])} (" in said
    assert json.loads((whole / "stats.json").read_text())["level"] == 0.95


def test_text_from_logs_is_inert_everywhere(tmp_path: Path) -> None:
    html, r = page("odd names"), results("odd names")

    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.eval" in html
    assert "<b onclick" not in html
    assert "{{ 7*7 }}" in html
    assert "\x1b" not in summary(r)
    assert "cannot be <code>read</code>" in html
    figure = report.figures.accuracy(r.curves, r.experiment.models)
    svg = report.figures.save(figure, tmp_path / "x", r.curves)[1].read_text("utf-8")
    assert "<script>" not in report.inline_svg(svg, "x", ODD, ODD)
    assert f"'{printable(ODD_NAME)}" in set(pd.read_csv(tmp_path / "x.csv")["model"])


def test_every_column_of_every_file_is_explained(whole: Path) -> None:
    told: dict[str, set[str]] = {}
    for section in (whole / "columns.md").read_text("utf-8").split("\n## "):
        names = told[section.split("\n")[0]] = set[str]()
        for row in re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE):
            first = re.findall(r"`([^`]+)`", row)
            ends = ["", *(name for name in first if name.startswith("_"))]
            names |= {name + end for name in first if not name.startswith("_") for end in ends}
    (shared,) = (names for heading, names in told.items() if heading.startswith("# "))
    cells, match = told["cells.csv"], told["matching.csv"]
    part_of = dict.fromkeys(("matching_weak_wrong", "conditional", "correlation"), match)
    part_of |= {"pgr": cells, "classes": {n for n in cells if n.startswith("pgr_gold")}}
    for path in whole.glob("*.csv"):
        known = shared | told[path.name] | part_of.get(path.stem, set())
        assert set(pd.read_csv(path).columns) - known == set(), path.name


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("no gap", "too small to be told from 0"),
        ("few", "only 25 questions, of at least 30"),
        ("unread", "too small to be told from 0"),
        ("one model", "there is no gap to recover"),
        ("zero-shot alone", "there is no gap to recover"),
        ("not run", "a run that it needs is missing or incomplete"),
        ("reversed", "the weak model is above its ceiling with gold labels"),
    ],
)
def test_no_ratio_is_reported_and_the_page_says_why(case: str, reason: str) -> None:
    of, said = results(case), prose(page(case))

    assert (
        of.cells.loc[of.cells["shots"] == of.last, ["pgr_gold", "pgr_zero"]].isna().all(axis=None)
    )
    assert reason in said
    assert " recover " not in said.replace("gap to recover", "")
    assert case != "no gap" or not re.search(r"\b(?:gains \d|loses \d|significant\w*)", said)


@pytest.mark.parametrize(
    ("case", "texts"),
    [
        ("not run", ["6 planned cells are", f"8 weak labels of {NAMES[0]}, draw 0: not run"]),
        ("no zero-shot", ["zero-shot on the test: not run", "as ceiling, because a run that"]),
        ("one model", ["there is nothing to judge", "cost unknown"]),
        ("whole", ["answers, 3.0% change between identical runs"]),
        ("few", ["how much answers vary by themselves is open"]),
    ],
)
def test_what_is_missing_or_varies_is_said(case: str, texts: list[str]) -> None:
    said = prose(page(case))

    assert [text for text in texts if text not in said] == []
    assert case != "one model" or "$0" not in said  # an unknown cost is never 0


def test_a_folder_that_cannot_be_made_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(W2SError, match="--out must be a folder that can be made"):
        write_report("nowhere", tmp_path / "file" / "out")


WORD = re.compile("generali[sz]", re.IGNORECASE)


def test_the_word_is_withheld_until_a_claim_holds(whole: Path) -> None:
    r = Results(CASES["pair"]())
    files = [path for path in whole.iterdir() if path.suffix in (".html", ".svg", ".json")]
    assert not any(WORD.search(path.read_text("utf-8")) for path in files)
    assert not WORD.search(summary(r))

    (withheld,) = r.verdicts
    claimed = replace(withheld, claim=True, reading="generalization")
    r.verdicts = [claimed]
    assert WORD.search(claimed.lead)
    assert f"Reading: generalization. {claimed.lead}" in prose(render(r, []))
    assert f"generalization. {claimed.lead}" in summary(r)


def test_verdict_comes_first_with_its_numbers_and_every_condition() -> None:
    html = page("whole")
    first = [html.index(text) for text in ('id="verdict"', 'class="cards"', 'class="conditions"')]
    assert first == sorted(first)
    said = prose(html)
    (verdict,) = results("whole").verdicts
    for condition in verdict.conditions:
        assert f"{condition.state} {escape(condition.text)} " in said
        assert f"{points(condition.low)} to {points(condition.high)} " in said


def test_what_voids_a_claim_stands_beside_the_verdict() -> None:
    made = CASES["pair"]()
    row = made.runs.index[made.runs["labels"] == "weak"][0]
    made.runs.at[row, "demo_ids"] = ("q3", *made.runs.at[row, "demo_ids"][1:])
    made.runs.at[row, "unparsed"] = 7
    said = prose(render(Results(made), []))

    void = said.partition("No claim stands: ")[2]
    assert void.startswith(
        "the study file declares no headline ( headline in the study); test questions are among "
        f"the demonstrations ({made.runs.at[row, 'file']}: shows test question q3); the run that "
        "wrote llama-3.1-8b&#39;s labels is not among these logs; 11.7% of the replies cannot be "
        "read ("
    )
    assert said.index("No claim stands: ") < said.index("of the gap recovered")


def test_without_controls_the_page_says_what_was_not_run() -> None:
    r = Results(logs(3, shots=(0, 64), n=60, pairs=[(0, 2), (1, 2)]))
    html = render(r, [])
    lines = [line for line in summary(r).splitlines() if line.startswith("verdict, ")]

    (main, other) = r.verdicts if r.verdicts[0].weak == NAMES[0] else r.verdicts[::-1]
    assert {c.name: c.state for c in main.conditions}["beats_random"] == "not run"
    assert html.count('<div class="verdict') == 2
    assert html.count("<summary>Conditions: ") == 1  # the other pair is folded
    assert len(lines) == 2
    assert lines[0].startswith("verdict, llama-3.1-8b → qwen-2.5-72b: ")
    assert lines[1].startswith(f"verdict, llama-3.1-70b → qwen-2.5-72b: {other.reading}")
    assert all(len(line) < 300 for line in lines)


def test_headline_is_the_declared_one_or_chosen_by_rule() -> None:
    for case, strong, shots in (("declared", NAMES[2], 8), ("five", NAMES[4], 64)):
        headline: Any = results(case).headline
        found = [headline[name] for name in ("weak", "strong", "shots")]
        assert found == [NAMES[0], strong, shots]
        assert f"Summary: baselines, results at {shots} demonstrations" in page(case)
    assert "the headline that the study declared, 8 demonstrations" in page("declared")
    assert "2 and 8 demonstrations" in page("declared")
    assert page("five").count("<summary>Conditions: ") == 2


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if (found := shutil.which("chromium")) is None:
        pytest.skip("Chromium is not installed (`make browser`)")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=flags)
        yield chromium
        chromium.close()


OUTSIDE = """() => [...document.querySelectorAll('body *')].filter(e => {
  if (e.closest('.wide') || e.closest('script')) return false;
  const box = e.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
}).map(e => e.tagName + ' ' + e.textContent.slice(0, 40))"""


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_page_asks_for_nothing_stays_inside_and_begins_with_the_verdict(
    browser: Browser, whole: Path, width: int, scheme: Any
) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    events: list[str] = []
    tab.on("request", lambda request: events.append(request.url))
    tab.on("pageerror", lambda error: events.append(str(error)))
    tab.goto((whole / "report.html").as_uri())

    assert events == [(whole / "report.html").as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(OUTSIDE) == []
    bottoms = "all => all.slice(0, 3).map(e => e.getBoundingClientRect().bottom)"
    assert max(tab.eval_on_selector_all(".cards li", bottoms)) < 800
    named = "e => e.querySelector('title').textContent && e.querySelector('desc').textContent"
    assert all(tab.eval_on_selector_all("figure svg", f"all => all.map({named})"))
    background = "getComputedStyle(document.body).backgroundColor"
    assert (
        tab.evaluate(background) == f"rgb({'255, 255, 255' if scheme == 'light' else '20, 23, 28'})"
    )
    tab.emulate_media(media="print")
    assert tab.evaluate(background) == "rgb(255, 255, 255)"
    broken = tab.eval_on_selector_all("tr", "all => all.map(e => getComputedStyle(e).breakInside)")
    assert set(broken) == {"avoid"}
    tab.close()

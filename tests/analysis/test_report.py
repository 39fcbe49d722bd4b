"""The report: what it says where numbers carry nothing, and how the page behaves in a browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from tests.analysis.synthetic import NAMES, logs
from w2s_icl.analysis import report, verdict
from w2s_icl.analysis.checks import run_checks
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import Logs, Note
from w2s_icl.analysis.report import View, Written, write_report
from w2s_icl.analysis.results import Results
from w2s_icl.analysis.sentences import points
from w2s_icl.analysis.tables import cells_table
from w2s_icl.errors import W2SError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Write = Callable[..., Path]
CONTROLS = ("random", "noise_matched", "flipped", "unlabelled")


def written(made: Logs, out: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    monkeypatch.setattr(report, "read_logs", lambda _: made)
    found: Written = write_report("logs/made-up", out)
    assert all(path.exists() for path in found.files)
    return found


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the report of made-up logs, all of it or with empty figures, which cost nothing."""
    views = report.views

    def write_(made: Logs, folder: str = "out", *, drawn: bool = False) -> Path:
        def blank(results: Results) -> list[View]:
            tiny = partial(Figure, figsize=(1, 1))
            return [replace(view, draw=view.draw and tiny) for view in views(results)]

        monkeypatch.setattr(report, "views", views if drawn else blank)
        written(made, tmp_path / folder, monkeypatch)
        return tmp_path / folder

    return write_


def page(out: Path) -> str:
    return (out / "report.html").read_text("utf-8")


def prose(out: Path) -> str:
    """What the page says, without figures and numbers of figures."""
    html = re.sub(r"<(svg|style|script|details).*?</\1>", " ", page(out), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


# --- the page -------------------------------------------------------------------------------------


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.opened: dict[str, int] = {}
        self.links: list[str] = []
        self.svgs: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.opened[tag] = self.opened.get(tag, 0) + 1
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        if tag == "svg":
            self.svgs.append(found)


def test_page_is_one_file_with_unique_ids_and_named_figures(write: Write) -> None:
    html = page(write(logs(2, shots=(0, 64)), drawn=True))
    found = Page(html)

    assert len(found.ids) == len(set(found.ids))
    assert len(found.svgs) == 7
    for svg in found.svgs:
        assert svg["role"] == "img"
        assert set(str(svg["aria-labelledby"]).split()) <= set(found.ids)
    assert html.count("<title id=") == html.count("<desc id=") == 7
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    addresses = set(re.findall(r"https?://[^\"'\s<>]+", html))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    references = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", html))
    assert references <= set(found.ids)


def test_two_builds_are_equal(write: Write) -> None:
    made = logs(2, shots=(0, 64), pairs=[(0, 1)], labels=CONTROLS[:1])
    first, second = write(made, "one", drawn=True), write(made, "two", drawn=True)

    names = {path.name for path in first.iterdir()}
    assert names == {path.name for path in second.iterdir()}
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_the_notebooks_views_are_there_by_name(write: Write) -> None:
    html = page(write(logs(2, shots=(0, 64))))

    for heading in (
        "Accuracy against demonstrations, with gold curves",
        "PGR with zero-shot ceiling, and PGR with gold ceiling",
        "Arms side by side at 64 demonstrations",
        "Response matching, all questions",
        "Response matching where the weak model was wrong",
        "Correctness given the strong model",
        "Correlations per pair",
        "Summary: baselines, results at 64 demonstrations, cost",
    ):
        assert f"<h2>{heading}" in html
    assert "of its own labels, against its own zero-shot run" in html  # self-supervision


def test_numbers_of_the_sentences_are_those_of_the_tables(write: Write) -> None:
    out = write(logs(2, shots=(0, 64)))
    cells = pd.read_csv(out / "cells.csv")
    weak, strong = NAMES[:2]
    row = cells[(cells["weak"] == weak) & (cells["strong"] == strong)].iloc[-1]
    said = prose(out)

    assert f"answers {100 * row['acc_w2s']:.1f}% right" in said
    assert f"recover {row['pgr_gold']:.2f} of the gap" in said
    assert f"(95% {row['pgr_gold_lo']:.2f} to {row['pgr_gold_hi']:.2f})" in said


def test_text_from_logs_is_escaped(write: Write) -> None:
    note = Note("problem", "<script>alert(1)</script>.eval", "cannot be read: <b>")
    html = page(write(logs(1, shots=(0, 4), notes=[note])))

    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.eval" in html


# --- no ratio where the data carry none -----------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (logs(2, accuracy=(0.7, 0.7), learned=0, pairs=[(0, 1)]), "too small to be told from 0"),
        (logs(2, n=25, pairs=[(0, 1)]), "only 25 questions, of at least 30"),
        (logs(2, unread=1.0, pairs=[(0, 1)]), "too small to be told from 0"),
        (logs(1), "there is no gap to recover"),
        (logs(2, shots=(0,), pairs=[(0, 1)]), "there is no gap to recover"),
        (
            logs(2, missing=[("weak", k) for k in (2, 8, 64)], pairs=[(0, 1)]),
            "a run that it needs is missing or incomplete",
        ),
    ],
    ids=["not established", "few questions", "nothing readable", "self", "zero-shot", "not run"],
)
def test_no_ratio_is_reported_and_the_page_says_why(write: Write, made: Logs, reason: str) -> None:
    out = write(made)
    cells = pd.read_csv(out / "cells.csv")
    said = prose(out)

    for column in ("pgr_gold", "pgr_zero", "pgr_no_supervision"):
        assert cells[column].isna().all()
    assert reason in said
    assert " recover " not in said.replace("gap to recover", "")
    assert not re.search(r"PGR, (?:gold|zero-shot) ceiling 95%", said)


def test_a_reversed_gap_is_said(write: Write) -> None:
    made = logs(2, shots=(0, 8), accuracy=(0.9, 0.6), learned=0.2, pairs=[(0, 1)])
    assert set(cells_table(Experiment(made))["pgr_gold_status"]) == {"gap_reversed", "trivial"}
    out = write(made)

    assert "the weak model is above its ceiling with gold labels" in prose(out)
    assert pd.read_csv(out / "cells.csv")["pgr_gold"].isna().all()


def test_no_claim_where_the_interval_covers_0(write: Write) -> None:
    said = prose(write(logs(2, shots=(0, 64), learned=0, pairs=[(0, 1)])))

    assert "no clear change" in said
    assert not re.search(r"\b(?:gains|loses|significant\w*)\b", said)


def test_missing_cells_are_in_the_banner_and_named(write: Write) -> None:
    out = write(logs(2, missing=[("weak", 8)], pairs=[(0, 1)]))

    assert "1 planned cell is missing or incomplete." in prose(out)
    assert f"{NAMES[1]}, 8 weak labels of {NAMES[0]}, draw 0: not run" in prose(out)


def test_a_folder_that_cannot_be_made_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(W2SError, match="--out must be a folder that can be made"):
        write_report("nowhere", tmp_path / "file" / "out")


def test_unknown_cost_is_never_0(write: Write) -> None:
    made = logs(1, shots=(0, 4))
    made.runs["cost"] = float("nan")
    said = prose(write(made))

    assert "cost unknown" in said
    assert "$0" not in said


# --- the verdict ----------------------------------------------------------------------------------

WORD = re.compile("generali[sz]", re.IGNORECASE)


def texts(out: Path) -> str:
    """Everything written that is text, but for the tables."""
    files = [path for path in out.iterdir() if path.suffix in (".html", ".svg", ".json")]
    return " ".join(path.read_text("utf-8") for path in files)


def test_the_word_is_withheld_until_a_claim_holds(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = logs(2, shots=(0, 64), labels=CONTROLS, pairs=[(0, 1), (1, 1)])
    results = Results(made)
    (withheld,) = results.verdicts
    assert not withheld.claim

    assert not WORD.search(texts(write(made, "withheld")))
    assert not WORD.search(report.summary(results))

    earned = replace(
        withheld, claim=True, reading="generalization", sentence="This is generalization: a, b."
    )
    monkeypatch.setattr(verdict, "verdicts", lambda *_: [earned])
    assert "Reading: generalization. This is generalization: a, b." in prose(write(made, "earned"))
    assert "generalization. This is generalization" in report.summary(Results(made))


def test_verdict_comes_first_and_shows_eight_conditions(write: Write) -> None:
    made = logs(2, shots=(0, 64), labels=CONTROLS)
    out = write(made)
    html = page(out)
    table = pd.read_csv(out / "verdict.csv")

    assert (
        html.index('id="verdict"') < html.index('class="cards"') < html.index("beats random labels")
    )
    assert len(table) == 8
    (found,) = Results(made).verdicts
    for condition in found.conditions:
        low, high = (points(x) for x in (condition.low, condition.high))
        assert f"{condition.state} {condition.text} " in prose_of(html)
        assert f"{low} to {high} " in prose_of(html)


def prose_of(html: str) -> str:
    section = html[html.index('<section id="verdict">') : html.index('<section id="summary">')]
    return " ".join(re.sub(r"<[^>]+>", " ", section).split())


def test_without_controls_nothing_is_claimed_and_the_page_says_what_was_not_run(
    write: Write,
) -> None:
    made = logs(3, shots=(0, 64), n=60, pairs=[(0, 2), (1, 2)])
    out = write(made)
    results = Results(made)

    assert not WORD.search(texts(out))
    table = pd.read_csv(out / "verdict.csv")
    for weak in NAMES[:2]:
        states = table[table["weak"] == weak].set_index("condition")["state"]
        assert states["beats_random"] == states["beats_unlabelled"] == "not run"
        assert states["at_least_noise_matched"] == states["at_least_self"] == "not run"
    assert prose(out).count("not run beats random labels") == 1  # the other pair is folded
    lines = [line for line in report.summary(results).splitlines() if line.startswith("verdict, ")]
    assert len(lines) == 2
    assert lines[0].startswith("verdict, llama-3.1-8b → qwen-2.5-72b: ")
    assert all(len(line) < 300 for line in lines)


def test_no_pair_no_verdict(write: Write) -> None:
    said = prose(write(logs(1, shots=(0, 4))))

    assert "there is nothing to judge" in said
    assert "No pair of different models was planned or run." in said


def test_the_page_follows_the_declared_headline(write: Write) -> None:
    made = logs(3, headline=[2, 8], n=60, labels=["random"])
    results = Results(made)
    html = page(out := write(made))
    said = prose(out)

    assert results.headline is not None
    assert (results.headline["weak"], results.headline["shots"]) == (NAMES[0], 8)
    assert "the headline that the study declared, 8 demonstrations" in html
    assert "Summary: baselines, results at 8 demonstrations" in said
    assert "Arms side by side at 8 demonstrations" in said
    assert "2 and 8 demonstrations" in said


def test_arms_are_said_with_their_lead(write: Write) -> None:
    made = logs(2, shots=(0, 64), labels=["random"], pairs=[(0, 1)])
    out = write(made)
    arms = pd.read_csv(out / "arms.csv").set_index("arm")
    lead = arms.loc["random", ["ahead", "ahead_lo", "ahead_hi"]]
    value, low, high = (f"{100 * float(x):.1f}".replace("-", "−") for x in lead)

    assert f"{value} ({low} to {high}) over random labels" in prose(out)
    assert "Not run: its own labels, gold with as many errors, no labels." in prose(out)


# --- position and repeatability -------------------------------------------------------------------


def test_positions_of_the_headline_are_shown_and_others_folded(write: Write) -> None:
    made = logs(3, shots=(0, 8, 64), n=60, labels=["random"], prompts=["cot=bare"], chains=True)
    out = write(made)
    said, positions = prose(out), pd.read_csv(out / "positions.csv")
    runs = positions[["model", "labels", "weak", "shots", "prompt"]].drop_duplicates()
    weak, *_, strong = Results(made).names.values()

    assert said.count(f"{strong} 64 demonstrations, random labels") == 2
    assert said.count(f"64 demonstrations, labels by {weak}") == 2
    assert "8 demonstrations, gold" not in said.replace("64 demonstrations, gold", "")
    assert "reasoning first" not in said
    shown = 3 + 4  # zero-shot runs; gold, random, weak and own labels of the headline
    assert f"{len(runs) - shown} more runs (positions.csv)" in page(out)


def test_answers_that_change_are_said_beside_the_interval(write: Write) -> None:
    made = logs(2, shots=(0, 64), pairs=[(0, 1)], changed=0.03)

    said = prose(write(made))
    assert "answers, 3.0% change between identical runs (95% 1.4% to 6.4%, 200 questions)" in said
    assert "which every interval on this page contains" in said
    silent = prose(write(logs(2, shots=(0, 64), pairs=[(0, 1)]), "silent"))
    assert "how many answers change between identical runs is not known" in silent


def test_five_models_with_every_kind_of_arm_build(write: Write) -> None:
    made = logs(
        5, shots=(0, 64), n=60, labels=[*CONTROLS, "majority", "mine"], chains=True,
        prompts=["question=hidden"], pairs=[(0, 4), (1, 4), (3, 4), (4, 4)],
    )  # fmt: skip
    out = write(made)

    assert len(pd.read_csv(out / "verdict.csv")) == 24
    html = page(out)
    assert len(set(Page(html).ids)) == len(Page(html).ids)
    assert html.count("<summary>Conditions: ") == 2


# --- checks ---------------------------------------------------------------------------------------


def failed(made: Logs) -> dict[str, tuple[str, ...]]:
    experiment = Experiment(made)
    found = run_checks(experiment, cells_table(experiment))
    return {check.text: check.items for check in found if check.state == "fails"}


def test_all_checks_hold_on_a_whole_study() -> None:
    assert failed(logs(2, draws=3)) == {}


def _unread(made: Logs) -> None:
    made.runs.loc[0, "unparsed"] = 5


def _leak(made: Logs) -> None:
    made.runs.at[2, "demo_ids"] = ("q7", "demo1")


def _other_demonstrations(made: Logs) -> None:
    made.runs.at[2, "demo_ids"] = ("demo5", "demo6")


def _labels(made: Logs) -> None:
    made.runs.at[2, "demo_ids"] = ("q7", "q8")
    made.runs.at[2, "demo_labels"] = ("Z", str(made.questions.loc["q8", "gold"]))


def _endpoint(made: Logs) -> None:
    made.runs.loc[2, "endpoint"] = "http://elsewhere []"


def _cost(made: Logs) -> None:
    made.runs.loc[2, "cost"] = float("nan")


def _lost(made: Logs) -> None:
    made.runs.loc[3, "n"] = 198
    made.correct[3, :2] = float("nan")


@pytest.mark.parametrize(
    ("damage", "text", "item"),
    [
        (_unread, "could not be read", "log0.eval: 5 of 200"),
        (_leak, "among the demonstrations", "log2.eval: shows test question q7"),
        (_other_demonstrations, "different demonstrations", "log2.eval: other demonstrations"),
        (_labels, "labels shown differ", "log2.eval: 1 of 2 labels differ"),
        (_endpoint, "reached in several ways", "2 addresses"),
        (_cost, "no price is known", "cost of 1 runs unknown"),
        (_lost, "lack answers", "log3.eval: 198 of 200 questions have an answer"),
    ],
)
def test_a_check_fails_and_names_what(damage: Callable[[Logs], None], text: str, item: str) -> None:
    made = logs(2, draws=3, shots=(0, 2))
    damage(made)
    found = {t: items for t, items in failed(made).items() if text in t}

    assert len(found) == 1
    assert any(item in line for items in found.values() for line in items)


def test_checks_speak_of_draws_files_and_missing_cells() -> None:
    note = Note("problem", "torn.eval", "cannot be read: bad zip")
    found = failed(logs(2, missing=[("gold", 8)], notes=[note]))

    assert any("fewer than 3 draws" in text for text in found)
    assert ("torn.eval: cannot be read: bad zip",) in found.values()
    assert any("of 13 planned cells" in text or "planned cells" in text for text in found)


def test_headline_is_chosen_by_rule() -> None:
    headline = Results(logs(3)).headline

    assert headline is not None
    assert (headline["weak"], headline["strong"], headline["shots"]) == (NAMES[0], NAMES[2], 64)


# --- in a browser ---------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (`make browser`)")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


OUTSIDE = """() => [...document.querySelectorAll('body *')].filter(e => {
  if (e.closest('.wide') || e.closest('script')) return false;
  const box = e.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
}).map(e => e.tagName + ' ' + e.textContent.slice(0, 40))"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything in it."""
    out = tmp_path_factory.mktemp("whole")
    made = logs(2, shots=(0, 64), labels=CONTROLS, prompts=["cot=bare"], changed=0.03)
    with pytest.MonkeyPatch.context() as monkeypatch:
        written(made, out, monkeypatch)
    return out


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_page_asks_for_nothing_and_stays_inside(
    browser: Browser, whole: Path, width: int, scheme: Any
) -> None:
    out = whole
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    errors: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((out / "report.html").as_uri())

    assert asked == [(out / "report.html").as_uri()]
    assert errors == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(OUTSIDE) == []
    named = "e => e.querySelector('title').textContent && e.querySelector('desc').textContent"
    assert all(tab.eval_on_selector_all("figure svg", f"all => all.map({named})"))
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 28)")
    tab.emulate_media(media="print")
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(255, 255, 255)"
    tab.close()

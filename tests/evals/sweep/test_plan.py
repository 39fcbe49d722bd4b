"""The plan against what the models are then asked, its money, its budget, its words."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from inspect_ai.log import list_eval_logs
from rich.console import Console

from tests.evals.sweep.metered import BASE, PRICE, SMALL, Meter, run_quietly, study_of
from tests.evals.sweep.test_http import write_study
from w2s_icl.cli import main
from w2s_icl.errors import W2SError
from w2s_icl.evals.sweep.plan import Plan, exact_line, make_plan, plan_json, print_plan

UNPRICED: dict[str, Any] = {"models": [SMALL, "metered/unpriced"], "prices": {SMALL: PRICE}}


@pytest.fixture(autouse=True)
def _nothing_asked() -> None:
    Meter.reset()


def said_of(plan: Plan, width: int = 80, **options: Any) -> str:
    said = io.StringIO()
    print_plan(plan, Console(file=said, soft_wrap=True, width=width), **options)
    return said.getvalue()


def invoke(*words: str, charset: str = "utf-8") -> tuple[int, str, str]:
    result = CliRunner(charset).invoke(main, words)
    return result.exit_code, result.stdout, result.stderr


def test_plan_of_what_is_added_is_what_is_then_asked(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    first = study_of(tmp_path, shots=[0, 1])
    before = make_plan(first, str(logs))
    outcome, said = run_quietly(first, logs)
    assert outcome.ok, said
    assert not before.exact
    assert before.calls_at_least <= len(Meter.calls) <= before.to_run.calls
    assert before.second_round > 0
    Meter.calls.clear()
    more = study_of(tmp_path, labels=["gold", "weak", "flipped"], shots=[0, 1, 2])
    plan = make_plan(more, str(logs))
    outcome, said = run_quietly(more, logs)

    assert outcome.ok, said
    assert plan.exact
    assert (plan.second_round, plan.calls_at_least) == (0, plan.to_run.calls)
    assert len(Meter.calls) == len(set(Meter.calls)) == plan.to_run.calls
    # cached tokens are tokens: half of them come from a cache here
    assert plan.to_run.tokens_in == pytest.approx(Meter.tokens(), rel=0.01)
    assert plan.to_run.known == pytest.approx(Meter.bill(), rel=0.01)
    assert f"planned {plan.to_run.calls} calls" in said
    assert f"came to {len(Meter.calls)} calls" in said
    assert make_plan(more, str(logs)).to_run.calls == 0


def test_plan_without_weak_labels_is_exact_before_any_call(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        models=[SMALL],
        prices={},
        labels=["gold", "unlabelled"],
        prompts=["question=hidden", "cot=bare"],
        permutations=2,
        epochs={"zero_shot": 2},
        test_size=3,
        shots=[0, 2],
    )
    plan = make_plan(study)
    outcome, said = run_quietly(study, tmp_path / "logs")

    assert outcome.ok, said
    assert plan.exact
    assert plan.to_run.calls == len(Meter.calls)
    # about a quarter of the characters, until calls are logged
    assert plan.to_run.tokens_in == pytest.approx(Meter.tokens() * 0.25 / 0.3, rel=0.01)
    # asked several times, a question may get several answers: they are read all the same
    cells = json.loads((tmp_path / "logs" / "summary.json").read_text("utf-8"))["cells"]
    assert {(cell["questions"], cell["readable"]) for cell in cells} == {(3, 1.0)}


def test_unknown_price_is_said_and_never_zero(tmp_path: Path) -> None:
    plan = make_plan(study_of(tmp_path, **UNPRICED, labels=["gold"]))

    assert plan.to_run.unpriced == ("metered/unpriced",)
    content = plan_json(plan)
    assert content["to_run"]["cost"] is None
    assert content["stages"][0]["cost"] is None
    assert "! price unknown (prices: in the study file): metered/unpriced" in said_of(plan)
    assert re.search(r"left to run .* \$0\.\d+ \+ \?\s*\n", said_of(plan))
    assert re.search(r"out, \$0\.\d+ \+ \?$", exact_line(plan))
    alone = study_of(tmp_path, models=["metered/unpriced"], prices={}, labels=["gold"])
    assert "$" not in said_of(make_plan(alone))


def test_prompt_longer_than_the_context_is_marked(tmp_path: Path) -> None:
    keys = {"models": ["openai/gpt-3.5-turbo"], "prices": {}, "labels": ["gold"]}
    assert "! too long: about" in said_of(make_plan(study_of(tmp_path, **keys, shots=[0, 400])))


@pytest.mark.parametrize(("width", "terminal"), [(80, True), (120, False)])
def test_rows_of_a_plan_are_whole_in_80_columns(width: int, terminal: bool, tmp_path: Path) -> None:
    names = [f"openrouter/someone/{'a-rather-long-name-' * 4}{i}" for i in range(2)]
    study = study_of(
        tmp_path,
        models=names,
        prices={name: {"input": 900.0, "output": 900.0} for name in names},
        labels=["gold", "weak", "noise_matched", "random", "self"],
        prompts=["disclosure=accuracy", "question=hidden"],
        shots=[0, 1, 2, 3, 4, 6, 8, 16, 32, 60],
        test_size=100,
    )
    said = io.StringIO()
    console = Console(file=said, width=width, soft_wrap=True, force_terminal=terminal)
    print_plan(make_plan(study), console, detects={"lines": ["  can detect: " + "word " * 40]})
    lines = said.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    first, last = lines.index("") + 1, next(i for i, x in enumerate(lines) if "left to" in x)
    rows = [line.split() for line in lines[first : last + 1]]
    stages = [re.sub(r"  .*", "", line) for line in lines[first + 1 : last]]
    assert {"zero-shot, question=hidden", "weak, disclosure=accuracy"} <= set(stages)
    assert not any("…" in line for line in lines[first:last])
    assert all(re.fullmatch(r"\$[\d.]+", row[-1]) for row in rows[1:])
    assert re.search(r"calls: [\d,]+ to [\d,]+; ", said.getvalue())
    assert "in one round" in said.getvalue()


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({}, {"max_cost": 0.0001}, "over --max-cost .* Nothing has been asked"),
        (UNPRICED, {"max_cost": 1e6}, r"price of metered/unpriced is unknown.*prices: \{"),
        ({}, {"confirm": lambda: False}, "not confirmed"),
    ],
)
def test_refused_run_asks_nothing(changes: Any, options: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(W2SError, match=said):
        run_quietly(study_of(tmp_path, **changes), tmp_path / "logs", **options)

    assert not Meter.calls


@pytest.mark.slow
def test_spent_budget_stops_and_a_larger_one_continues(tmp_path: Path) -> None:
    Meter.per_character, Meter.wait = 1.2, 0.02  # dearer than planned
    asked, keys = 2 * 2 * 15, {"labels": ["gold"], "shots": [0, 6], "test_size": 15}
    study = study_of(tmp_path, **keys, max_connections=2)
    logs = tmp_path / "logs"
    budget = 1.5 * make_plan(study).to_run.known
    outcome, said = run_quietly(study, logs, max_cost=budget)

    assert (outcome.ok, outcome.exit_code) == (False, 1)
    assert "is spent" in said
    first = len(Meter.calls)
    assert first < asked
    dearest = max(tokens for _, tokens in Meter.calls) * PRICE["input"] / 1e6 + 1e-5
    # the calls under way to each of the two models finish
    assert budget <= Meter.bill() <= budget + 2 * 2 * dearest
    plan = make_plan(study, str(logs))
    assert plan.spent.known == pytest.approx(Meter.bill())
    assert plan.to_run.calls == asked - first
    with pytest.raises(W2SError, match="spent already included"):
        run_quietly(study, logs, max_cost=budget)
    assert len(Meter.calls) == first
    outcome, said = run_quietly(study, logs, max_cost=10 * budget)
    assert outcome.ok, said
    assert len(Meter.calls) == len(set(Meter.calls)) == asked
    # an interrupted cell has cost what its kept answers cost, too
    assert make_plan(study, str(logs)).spent.known == pytest.approx(Meter.bill())


def test_json_holds_what_is_planned_and_nothing_else_is_printed(tmp_path: Path) -> None:
    models = ["simulated/small", "simulated/large"]
    path = write_study(tmp_path, **{**BASE, "models": models, "prices": {}})
    code, out, err = invoke("plan", str(path), "--json")

    assert code == 0, err
    content = json.loads(out)
    assert content["log_dir"] is None
    assert content["to_run"]["calls"] == sum(s["calls"] for s in content["stages"])
    assert content["to_run"]["calls_exact"] is False
    assert content["to_run"]["calls_at_least"] < content["to_run"]["calls"]
    assert content["to_run"]["calls_second_round"] > 0


def test_dry_run_prints_the_plan_and_asks_nothing(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    dry = ("run", str(write_study(tmp_path, **BASE)), "--log-dir", str(logs), "--dry-run")
    code, out, err = invoke(*dry)
    assert code == 0, err
    assert "left to run" in out
    code, _, err = invoke(*dry, "--max-cost", "0.0001")

    assert code == 2
    assert err.startswith("Error: the plan comes to about $")
    assert not Meter.calls
    assert not list_eval_logs(str(logs))


def test_plan_refuses_what_a_run_would(tmp_path: Path) -> None:
    logs = str(tmp_path / "logs")
    few: dict[str, Any] = {**BASE, "labels": ["gold"], "shots": [0]}
    run = ("run", str(write_study(tmp_path, **few)), "--log-dir", logs, "--yes")
    assert invoke(*run)[0] == 0
    write_study(tmp_path, **few, seed=7)
    refused = [invoke("plan", run[1], "--log-dir", logs), invoke(*run)]
    for code, _, err in refused:
        assert code == 2
        assert re.fullmatch(r"Error: .* of another experiment: its seed .*\n", err)
    assert refused[0][2] == refused[1][2]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("openai/gpt-4o", "OpenAI client No OPENAI_API_KEY"),
        ("mistral/large", "Install with: pip install mistralai"),
        ("hf/gpt2", "needs packages: pip install torch"),
        ("nosuch/model", "Inspect has no such provider"),
        ("small", "Inspect has no such provider"),
        ("simulated/smal", "model must be simulated/small, .*, got simulated/smal"),
    ],
)
def test_model_that_cannot_be_asked_is_refused_in_one_line(
    model: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = write_study(tmp_path, models=[model], labels=["gold"])
    code, out, err = invoke("plan", str(path))

    assert (code, out) == (2, "")
    assert re.fullmatch(f"Error: models: {model}.*{said}.*\n", err) or model == "simulated/smal"
    assert re.search(said, err)


def test_terminal_gets_no_control_characters_and_no_codec_error(tmp_path: Path) -> None:
    path = write_study(tmp_path, **{**BASE, "name": "z\u00fcrich [red]x[/red]", "shots": [0]})
    missing = str(tmp_path / "\u00e9\x1b[0m.yaml")

    assert "Plan: study z?rich [red]x[/red]\n" in invoke("plan", str(path), charset="ascii")[1]
    assert "?\\x1b[0m.yaml: cannot be read" in invoke("plan", missing, charset="ascii")[2]

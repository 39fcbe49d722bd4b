"""The plan against what a server then counts, its money, and the budget."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from inspect_ai.log import list_eval_logs
from inspect_ai.model import (
    ChatMessage,
    ChatMessageUser,
    GenerateConfig,
    ModelAPI,
    ModelName,
    ModelOutput,
    ModelUsage,
    get_model_info,
    modelapi,
)
from inspect_ai.solver import TaskState
from inspect_ai.tool import ToolChoice, ToolInfo
from rich.console import Console

from tests.evals.sweep.openai_server import (
    LARGE,
    SMALL,
    OpenAIServer,
    Request,
    in_place_of_openrouter,
)
from tests.evals.sweep.test_http import ROWS, openrouter, write_study
from w2s_icl.analysis.logs import read_logs
from w2s_icl.analysis.stats.power import detectable
from w2s_icl.cli import main
from w2s_icl.evals.cells import all_cells, cell_task
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.study import Study, StudyError, load_study
from w2s_icl.evals.sweep.endpoint import set_prices
from w2s_icl.evals.sweep.plan import Plan, dollars, exact_line, make_plan, plan_json, print_plan
from w2s_icl.evals.sweep.progress import Outcome, StudyProgress
from w2s_icl.evals.sweep.run import run_study
from w2s_icl.evals.sweep.tokens import MIN_CALLS, Size, TokenCount, learn, size_of
from w2s_icl.solvers.few_shot import REUSED, Demonstration, Demonstrations, prompt_messages

PRICE = {"input": 2.0, "output": 6.0}
"""Dollars per million tokens."""

BASE: dict[str, Any] = {
    "models": [openrouter(SMALL), openrouter(LARGE)],
    "prices": {openrouter(model): PRICE for model in (SMALL, LARGE)},
    "test_size": 10,
    "shots": [0, 1, 5],
}

ONE_UNPRICED: dict[str, Any] = {
    "models": [openrouter(SMALL), "openrouter/of/no-price"],
    "prices": {openrouter(SMALL): PRICE},
}

WORD = re.compile(r"\w+|[^\w\s]")

RULES: dict[str, Callable[[Sequence[str]], int]] = {
    "like a tokenizer": lambda texts: 30 + sum(len(WORD.findall(t)) + 5 for t in texts),
    "characters": lambda texts: sum(map(len, texts)) // 4,
    "words": lambda texts: sum(len(t.split()) for t in texts),
}


@pytest.fixture(scope="module")
def one_server() -> Iterator[OpenAIServer]:
    # Inspect keeps the models it has made, with the address they were made for
    with in_place_of_openrouter(ROWS) as running:
        yield running


@pytest.fixture
def server(one_server: OpenAIServer) -> OpenAIServer:
    one_server.tokens, one_server.latency = RULES["like a tokenizer"], 0.0
    one_server.requests.clear()
    return one_server


def study_of(folder: Path, **changes: Any) -> Study:
    return load_study(write_study(folder, **{**BASE, **changes}))


def run_quietly(study: Study, logs: Path, **options: Any) -> tuple[Outcome, str]:
    said = io.StringIO()
    outcome = run_study(study, str(logs), console=Console(file=said, soft_wrap=True), **options)
    return outcome, said.getvalue()


def said_of(plan: Plan, **options: Any) -> str:
    said = io.StringIO()
    print_plan(plan, Console(file=said, soft_wrap=True), **options)
    return said.getvalue()


def check_against(plan: Plan, requests: Sequence[Request]) -> None:
    assert len(requests) == plan.to_run.calls == plan.calls_at_least
    assert plan.exact
    tokens_in = sum(r.tokens[0] for r in requests)
    tokens_out = sum(r.tokens[1] for r in requests)
    assert plan.to_run.tokens_in == pytest.approx(tokens_in, rel=0.03)
    bill = (tokens_in * PRICE["input"] + tokens_out * PRICE["output"]) / 1e6
    assert plan.to_run.cost == pytest.approx(bill, rel=0.03)


# --- calls, tokens, dollars -----------------------------------------------------------------------


@pytest.mark.slow
def test_plan_of_what_is_added_is_what_the_server_then_counts(
    server: OpenAIServer, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    first = study_of(tmp_path)
    before = make_plan(first, str(logs))
    outcome, said = run_quietly(first, logs)
    assert outcome.ok, said
    assert not before.exact
    assert before.calls_at_least <= len(server.requests) <= before.to_run.calls
    server.requests.clear()
    more = study_of(tmp_path, shots=[0, 1, 2, 5], labels=["gold", "weak", "flipped"])

    plan = make_plan(more, str(logs))
    outcome, said = run_quietly(more, logs)

    assert outcome.ok, said
    check_against(plan, server.answered)
    assert f"planned {plan.to_run.calls} calls" in said
    assert f"came to {len(server.answered)} calls" in said
    assert make_plan(more, str(logs)).to_run.calls == 0


def test_plan_without_weak_labels_is_exact_before_any_call(
    server: OpenAIServer, tmp_path: Path
) -> None:
    study = study_of(
        tmp_path,
        labels=["gold", "flipped", "unlabelled"],
        prompts=["question=hidden", "cot=bare"],
        permutations=2,
        epochs={"zero_shot": 2},
        test_size=5,
        shots=[0, 3],
    )
    plan = make_plan(study)

    outcome, said = run_quietly(study, tmp_path / "logs")

    assert outcome.ok, said
    assert plan.exact
    assert plan.to_run.calls == len(server.answered)
    # asked several times, a question may get several answers: they are read all the same
    cells = json.loads((tmp_path / "logs" / "summary.json").read_text("utf-8"))["cells"]
    unread = sum(r.answer is None for r in server.answered)
    read = 0.0
    for cell in cells:
        times = 2 if cell["labels"] or cell["prompt"] else 4
        read += cell["readable"] * cell["questions"] * times
    assert read == pytest.approx(len(server.answered) - unread)


@pytest.mark.parametrize("style", ["chat", "transcript"])
@pytest.mark.parametrize("labels", ["gold", "unlabelled"])
def test_sizes_are_those_of_the_prompts_to_the_letter(
    style: str, labels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = TokenCount("characters", 1.0, 1000.0, 0.0)
    monkeypatch.setattr("w2s_icl.evals.sweep.plan.learn", lambda sizes, tokens: letters)
    study = study_of(tmp_path, models=["mockllm/model"], prices={}, labels=[labels], style=style)
    sent = 0
    split = study.load_split()

    async def generate(state: TaskState, **_: object) -> TaskState:
        return state

    for cell in all_cells(study, split):
        task = cell_task(study, cell, str(tmp_path))
        for sample in task.dataset:
            # an answer that is there already: the prompt is built, and nothing is asked
            answer = ModelOutput.from_content("model", "A").model_dump()
            state = TaskState(
                ModelName("mockllm/model"),
                0,
                1,
                str(sample.input),
                [],
                choices=sample.choices,
                metadata={REUSED: {"cell": "", "log": "", "outputs": {"1": answer}}},
            )
            asyncio.run(task.solver(state, generate))
            sent += sum(len(message.text) + 1000 for message in state.messages[:-1])

    assert round(make_plan(study).to_run.tokens_in) == sent


def test_reported_cost_is_the_bill_and_needs_no_price(billed: float, tmp_path: Path) -> None:
    study = study_of(
        tmp_path, models=["billed/a"], prices={}, labels=["gold"], shots=[0, 2], test_size=4
    )

    outcome, said = run_quietly(study, tmp_path / "logs")

    assert outcome.ok, said
    plan = make_plan(study, str(tmp_path / "logs"))
    assert plan.spent == pytest.approx(8 * billed, rel=1e-9)
    assert "came to 8 calls, 800 tokens in, 8 out, $2.00" in said
    assert "cost unknown\n" in said  # of the plan


@pytest.mark.slow
def test_bill_of_the_server_is_planned_logged_summed_and_reported(
    one_server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs, out = tmp_path / "logs", tmp_path / "report"
    one_server.tokens = RULES["characters"]
    monkeypatch.setattr(one_server, "price", (PRICE["input"] / 1e6, PRICE["output"] / 1e6))
    assert run_quietly(study_of(tmp_path, shots=[0], test_size=30), logs)[0].ok
    one_server.requests.clear()
    # what the file says is another sum than what the server reports
    dearer = {name: {"input": 9.0, "output": 9.0} for name in BASE["prices"]}
    added: dict[str, Any] = {"shots": [0, 4], "labels": ["gold", "flipped"], "test_size": 30}
    study = study_of(tmp_path, **added)
    plan = make_plan(study, str(logs))

    outcome, said = run_quietly(study_of(tmp_path, **added, prices=dearer), logs)

    assert outcome.ok, said
    bill = sum(request.cost for request in one_server.answered)
    assert plan.to_run.calls == len(one_server.answered)
    assert plan.to_run.cost == pytest.approx(bill, rel=0.02)
    assert make_plan(study, str(logs)).spent == pytest.approx(plan.spent + bill, rel=1e-6)
    summary = json.loads((logs / "summary.json").read_text("utf-8"))
    assert summary["this_run"]["cost"] == pytest.approx(bill, rel=1e-6)
    assert sum(cell["cost"] for cell in summary["cells"]) == pytest.approx(plan.spent + bill)
    code, _, err = invoke("report", str(logs), "--out", str(out))
    assert code == 0, err
    with next(out.rglob("costs.csv")).open(encoding="utf-8", newline="") as file:
        costs = [row for row in csv.DictReader(file) if row["split"] == "all"]
    assert sum(float(row["cost"]) for row in costs) == pytest.approx(plan.spent + bill)


# --- what is not known is said --------------------------------------------------------------------


def test_unknown_price_is_said_and_never_zero(tmp_path: Path) -> None:
    study = study_of(tmp_path, **ONE_UNPRICED, labels=["gold"])
    plan = make_plan(study)

    assert math.isnan(plan.to_run.cost)
    assert plan.unpriced == ["openrouter/of/no-price"]
    content = plan_json(plan)
    assert content["to_run"]["cost"] is None
    assert content["stages"][0]["cost"] is None
    assert "! price unknown (prices: in the study file): no-price" in said_of(plan)
    assert re.search(r"to run now .* \$0\.\d+ \+ \?\n", said_of(plan))
    assert re.search(r" tokens in, \$0\.\d+ \+ \?; ", exact_line(plan))
    unpriced = make_plan(
        study_of(tmp_path, models=["openrouter/of/no-price"], prices={}, labels=["gold"])
    )
    assert " tokens in, ?; " in exact_line(unpriced)
    assert "$" not in said_of(unpriced)


def test_estimate_is_said_until_calls_are_logged(tmp_path: Path) -> None:
    plan = make_plan(study_of(tmp_path))

    assert "tokens: estimate, 1.05 per word or punctuation mark and 4 per message" in said_of(plan)


def test_prompt_longer_than_the_context_is_marked(tmp_path: Path) -> None:
    study = study_of(
        tmp_path, models=["openai/gpt-3.5-turbo"], prices={}, labels=["gold"], shots=[0, 400]
    )
    plan = make_plan(study)

    (model,) = plan.models.values()
    assert model.context is not None
    assert model.too_long
    assert "! too long 400 demonstrations" in said_of(plan)


def test_price_leaves_what_the_model_table_says(tmp_path: Path) -> None:
    model = "openai/gpt-4o-mini"
    study = study_of(tmp_path, models=[model], prices={model: PRICE})

    set_prices(study)

    info = get_model_info(model)
    assert info is not None
    assert info.cost is not None
    assert (info.context_length, info.cost.input) == (128_000, 2.0)


# --- the budget -----------------------------------------------------------------------------------


def test_plan_over_budget_is_refused_before_any_call(server: OpenAIServer, tmp_path: Path) -> None:
    study = study_of(tmp_path)
    cost = make_plan(study).to_run.cost

    with pytest.raises(StudyError, match=r"over --max-cost .* Nothing has been asked"):
        run_quietly(study, tmp_path / "logs", max_cost=cost * 0.99)

    assert not server.requests


def test_budget_without_prices_is_refused_with_the_way_out(
    server: OpenAIServer, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match=r"price of .*no-price is unknown.*prices: \{"):
        run_quietly(study_of(tmp_path, **ONE_UNPRICED), tmp_path / "logs", max_cost=1e6)

    assert not server.requests


def test_spent_budget_stops_within_the_calls_under_way_and_a_larger_one_goes_on(
    server: OpenAIServer, tmp_path: Path
) -> None:
    server.tokens = lambda texts: 4 * RULES["like a tokenizer"](texts)  # dearer than planned
    server.latency = 0.02
    connections = 4
    study = study_of(
        tmp_path, labels=["gold"], shots=[0, 6], test_size=30, max_connections=connections
    )
    logs = tmp_path / "logs"
    budget = 1.5 * make_plan(study).to_run.cost

    outcome, said = run_quietly(study, logs, max_cost=budget)

    def bill() -> float:
        return sum(
            (r.tokens[0] * PRICE["input"] + r.tokens[1] * PRICE["output"]) / 1e6
            for r in server.answered
        )

    def dearest() -> float:
        return max(r.tokens[0] * PRICE["input"] + 100 for r in server.answered) / 1e6

    assert not outcome.ok
    assert outcome.exit_code == 1
    assert "is spent" in said
    first = len(server.requests)
    assert first < 4 * 30
    # to each of the two models
    assert budget <= bill() <= budget + 2 * connections * dearest()
    plan = make_plan(study, str(logs))
    assert plan.spent == pytest.approx(bill())
    assert plan.to_run.calls == 4 * 30 - first
    with pytest.raises(StudyError, match="spent already included"):
        run_quietly(study, logs, max_cost=budget)
    assert len(server.requests) == first

    outcome, said = run_quietly(study, logs, max_cost=10 * budget)

    assert outcome.ok, said
    assert len(server.requests) == 4 * 30
    assert len({(r.model, r.raw) for r in server.requests}) == 4 * 30
    # an interrupted cell has cost what its kept answers cost, too
    cells = json.loads((logs / "summary.json").read_text("utf-8"))["cells"]
    assert sum(cell["cost"] for cell in cells) == pytest.approx(bill())
    assert f"study   cost {dollars(bill())}," in said


def test_budget_that_the_last_call_uses_up_is_no_failure() -> None:
    asked: list[str] = []
    progress = StudyProgress(Console(), 1, max_cost=1.0, last_call=4, stop=asked.append)

    for call in range(1, 5):
        progress.paid("billed/a", ModelUsage(total_cost=0.25))
        assert not asked, call
    progress.paid("billed/a", ModelUsage(total_cost=0.25))  # a sample that was tried again

    assert asked


def test_budget_cannot_be_kept_when_a_call_has_no_known_cost() -> None:
    asked: list[str] = []
    progress = StudyProgress(Console(), 1, max_cost=1.0, stop=asked.append)

    progress.paid("a/b", ModelUsage(input_tokens=5))

    assert "no known cost" in asked[0]


# --- the command line -----------------------------------------------------------------------------


def invoke(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, words)
    return result.exit_code, result.stdout, result.stderr


def test_plan_as_json_holds_what_is_printed(tmp_path: Path) -> None:
    path = write_study(tmp_path, **{**BASE, "test_size": 200})

    code, out, err = invoke("plan", str(path), "--json")

    assert code == 0, err
    content = json.loads(out)
    assert content["to_run"]["calls"] == sum(s["calls"] for s in content["stages"])
    assert content["to_run"]["calls_exact"] is False
    assert content["to_run"]["calls_at_least"] < content["to_run"]["calls"]
    assert content["detects"]["gap_needed"] == detectable(200, 1)["gap_needed"]
    assert {m["price_from"] for m in content["models"]} == {"the study file"}


def test_json_is_all_that_a_process_of_its_own_prints(tmp_path: Path) -> None:
    path = write_study(tmp_path, **BASE)

    done = subprocess.run(
        [sys.executable, "-c", "from w2s_icl.cli import main; main()", "plan", path, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout)["log_dir"] is None


def test_stand_in_has_no_context_of_a_model_with_a_name_like_its_own(tmp_path: Path) -> None:
    study = study_of(tmp_path, models=["simulated/large", "mockllm/medium"], prices={})

    assert [model.context for model in make_plan(study).models.values()] == [None, None]


def test_dry_run_prints_the_plan_and_asks_nothing(server: OpenAIServer, tmp_path: Path) -> None:
    path, logs = write_study(tmp_path, **BASE), tmp_path / "logs"

    code, out, err = invoke("run", str(path), "--log-dir", str(logs), "--dry-run")

    assert code == 0, err
    assert "to run now" in out
    assert not server.requests
    assert not list_eval_logs(str(logs))


def test_dry_run_over_budget_is_refused(tmp_path: Path) -> None:
    path = write_study(tmp_path, **BASE)

    code, _, err = invoke(
        "run", str(path), "--log-dir", str(tmp_path), "--dry-run", "--max-cost", "0.0001"
    )

    assert code == 2
    assert err.startswith("Error: the plan comes to $")


def test_plan_that_is_not_confirmed_asks_nothing(server: OpenAIServer, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="not confirmed"):
        run_quietly(study_of(tmp_path), tmp_path / "logs", confirm=lambda: False)

    assert not server.requests


# --- beside the logs ------------------------------------------------------------------------------


def test_summary_lies_beside_the_logs_and_is_taken_for_none(
    server: OpenAIServer, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    study = study_of(tmp_path, labels=["gold"], shots=[0, 2], test_size=4)
    outcome, said = run_quietly(study, logs)
    assert outcome.ok, said
    server.requests.clear()

    outcome, said = run_quietly(study, logs)

    assert outcome.ok, said
    assert not server.requests
    summary = json.loads((logs / "summary.json").read_text("utf-8"))
    assert summary["ok"] is True
    assert len(summary["cells"]) == 4
    assert summary["spent_before"] == pytest.approx(sum(c["cost"] for c in summary["cells"]))
    assert len((logs / "summary.csv").read_text("utf-8").splitlines()) == 5
    assert len(list_eval_logs(str(logs))) == 4
    assert len(read_logs(str(logs)).runs) == 4


def test_torn_log_is_no_finished_cell(server: OpenAIServer, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    study = study_of(tmp_path, labels=["gold"], shots=[0, 2], test_size=4)
    run_quietly(study, logs)
    torn = next(path for path in logs.glob("*.eval") if "gold" in path.name)
    torn.write_bytes(torn.read_bytes()[:200])

    plan = make_plan(study, str(logs))

    assert plan.to_run.calls == 4
    shutil.rmtree(logs)


# --- tokens learnt --------------------------------------------------------------------------------


def test_tokens_are_learnt_from_zero_shot_calls_alone() -> None:
    sizes = [Size(2, 40 + n, 4 * (40 + n) + n % 7, 30 + n // 2) for n in range(0, 60, 3)]
    found = learn(sizes, [36 + size.pieces for size in sizes])
    longer = Size(34, 900, 3600, 700)

    # 26 of a call, 5 of a message: of these, 4 are put down to each message
    assert found.tokens(longer) == pytest.approx(26 + 5 * 34 + 900, rel=0.03)


@pytest.mark.parametrize("rule", RULES)
def test_tokens_are_learnt_from_short_prompts_and_hold_for_long_ones(rule: str) -> None:
    split = load_split("misconceptions", test_size=40)

    def prompts(shots: int) -> list[list[str]]:
        shown = Demonstrations(
            tuple(
                Demonstration(s.id, str(s.input), tuple(s.choices or ()), str(s.target), "")
                for s in split.draw(0)[:shots]
                if s.id is not None
            )
        )
        return [
            [m.text for m in prompt_messages(shown, str(s.input), s.choices or [])]
            for s in split.test
        ]

    def sizes(texts: list[list[str]]) -> list[Size]:
        return [size_of([ChatMessageUser(content=t) for t in prompt]) for prompt in texts]

    short, long = [prompt for shots in (0, 2, 8) for prompt in prompts(shots)], prompts(64)

    found = learn(sizes(short), [RULES[rule](prompt) for prompt in short])

    counted = sum(RULES[rule](prompt) for prompt in long)
    assert sum(map(found.tokens, sizes(long))) == pytest.approx(counted, rel=0.03)


def test_nothing_is_learnt_from_a_few_calls() -> None:
    assert learn([Size(2, 40, 160, 30)] * (MIN_CALLS - 1), [99] * (MIN_CALLS - 1)) == TokenCount()


@pytest.mark.parametrize(("n", "draws", "gap"), [(100, 1, 0.114), (200, 1, 0.073), (484, 1, 0.041)])
def test_gap_needed_is_that_of_fixed_demonstrations_below_three_draws(
    n: int, draws: int, gap: float
) -> None:
    assert detectable(n, draws)["gap_needed"] == pytest.approx(gap, abs=0.003)


def test_no_ratio_can_be_had_from_a_few_questions() -> None:
    found = detectable(20, 5)

    assert found["gap_needed"] is None
    assert "got test_size 20" in found["lines"][0]


@pytest.fixture
def billed() -> float:
    """Dollars of every call to `billed/...`, as its endpoint reports them."""
    return BILLED


BILLED = 0.25


@modelapi(name="billed")
class Billed(ModelAPI):
    """Always answers A, and says what that cost."""

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        output = ModelOutput.from_content(self.model_name, "A")
        output.usage = ModelUsage(
            input_tokens=100, output_tokens=1, total_tokens=101, total_cost=BILLED
        )
        return output

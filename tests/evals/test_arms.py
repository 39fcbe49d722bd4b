"""Every arm over real HTTP: who is shown what, with which labels, as the server saw it."""

from collections.abc import Sequence

import pytest
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log

from tests.conftest import exchange, write_questions
from tests.evals.sweep.openai_server import LARGE, MEDIUM, SMALL, OpenAIServer, options_of
from tests.evals.sweep.openai_server import question_of as question_of_turn
from tests.evals.sweep.test_http import Finished, finish, made_up, openrouter, write_study
from w2s_icl.record import CellRecord
from w2s_icl.solvers.few_shot import Prompt

pytestmark = pytest.mark.slow

SHOTS, TEST_SIZE = 6, 6
CONTROLS = ("random", "noise_matched", "flipped", "unlabelled")
PROMPTS = ("disclosure=source", "disclosure=accuracy", "cot=bare", "question=hidden")
ROWS = made_up(70, 0)
QUESTION_BY_OPTIONS = {frozenset(row["choices"]): row["question"] for row in ROWS}

Turns = Sequence[tuple[str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("arms")
    write_questions(folder / "questions.jsonl", ROWS)
    study = write_study(
        folder,
        test_size=TEST_SIZE,
        shots=[0, SHOTS],
        pairs=[[openrouter(SMALL), openrouter(LARGE)], [openrouter(MEDIUM), openrouter(LARGE)]],
        labels=["gold", "weak", "self", *CONTROLS],
        prompts=list(PROMPTS),
        permutations=2,
        orders=4,
    )
    with OpenAIServer(ROWS, unreadable=0.04) as server:
        done = finish(study, server)
        assert done.code == 0, done.said
        return done


@pytest.fixture(scope="module")
def arms(run: Finished) -> list[EvalLog]:
    """Headers of the cells with demonstrations."""
    logs = [read_eval_log(i, header_only=True) for i in list_eval_logs(str(run.log_dir))]
    cells = [(log, CellRecord.from_log(log)) for log in logs]
    return [log for log, cell in cells if cell.labels and not cell.order]


def shown(log: EvalLog) -> Turns:
    """Demonstrations as the wire carried them, in every sample of a log alike."""
    full = read_eval_log(log.location)
    assert full.samples
    seen = []
    for sample in full.samples:
        turns: list[list[str]] = []
        for message in exchange(sample)[:-1]:  # the last is the reply
            if message.role == "user":
                turns.append([message.text, ""])
            elif message.role == "assistant":
                turns[-1][1] = message.text
        seen.append(tuple((user, label) for user, label in turns[:-1]))
    assert len(set(seen)) == 1
    return seen[0]


def question_of(turn: str) -> str:
    """The question of a turn, by its options where it is hidden."""
    return question_of_turn(turn) or QUESTION_BY_OPTIONS[frozenset(options_of(turn).values())]


def test_every_arm_shows_the_same_questions_in_order(arms: list[EvalLog], run: Finished) -> None:
    wire = {tuple(r.prompt.demonstrations) for r in run.answered}
    seen: dict[tuple[str, ...], str] = {}
    for log in arms:
        turns = shown(log)
        assert turns in wire  # what the log says was sent
        seen[tuple(question_of(turn) for turn, _ in turns)] = log.eval.task
    assert len(arms) == 9 + 12  # plain prompts, others
    assert len(seen) == 1, seen


def test_orders_send_the_same_demonstrations_in_four_orders(run: Finished) -> None:
    arms: dict[tuple[str, str], list[Turns]] = {}
    wire = {tuple(r.prompt.demonstrations) for r in run.answered}
    for info in list_eval_logs(str(run.log_dir)):
        log = read_eval_log(info, header_only=True)
        cell = CellRecord.from_log(log)
        if cell.labels in ("gold", "weak") and not cell.prompt:
            arms.setdefault((cell.labels, cell.weak), []).append(shown(log))
            assert arms[cell.labels, cell.weak][-1] in wire

    assert len(arms) == 4
    for orders in arms.values():
        assert len(set(map(tuple, orders))) == len(orders) == 4
        assert len({tuple(sorted(of)) for of in orders}) == 1


def test_labels_are_what_the_server_answered(arms: list[EvalLog], run: Finished) -> None:
    answers: dict[tuple[str, str], str | None] = {
        (r.model, r.prompt.question): r.option
        for r in run.answered
        if not r.prompt.demonstrations and r.messages[0]["content"] == Prompt().system_message()
    }
    cells = [(log, CellRecord.from_log(log)) for log in arms]
    plain = [(log, cell) for log, cell in cells if cell.labels == "weak" and not cell.prompt]
    assert len(plain) == 3
    for log, cell in plain:
        model = cell.weak.removeprefix(openrouter(""))
        for turn, label in shown(log):
            assert options_of(turn)[label] == answers[model, question_of(turn)]

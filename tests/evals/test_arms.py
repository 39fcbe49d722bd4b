"""Every arm over real HTTP: who is shown what, with which labels, as the server saw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log

from tests.conftest import exchange, write_questions
from tests.evals.sweep.openai_server import (
    LARGE,
    MEDIUM,
    SMALL,
    OpenAIServer,
    letter_of,
    options_of,
)
from tests.evals.sweep.openai_server import question_of as question_of_turn
from tests.evals.sweep.test_http import Finished, finish, made_up, openrouter, write_study
from w2s_icl.solvers.few_shot import SYSTEM_MESSAGE

pytestmark = pytest.mark.slow

SHOTS, DRAWS, TEST_SIZE = 6, 1, 6
CONTROLS = ("random", "noise_matched", "flipped", "unlabelled")
PROMPTS = (
    "disclosure=source",
    "disclosure=accuracy",
    "cot=bare",
    "question=hidden",
)
ROWS = made_up(70, 0)
GOLD = {row["question"]: row["choices"][row["label"]] for row in ROWS}
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
        draws=DRAWS,
        pairs=[[openrouter(SMALL), openrouter(LARGE)], [openrouter(MEDIUM), openrouter(LARGE)]],
        labels=["gold", "weak", "self", *CONTROLS],
        prompts=list(PROMPTS),
        permutations=2,
    )
    with OpenAIServer(ROWS, unreadable=0.04) as server:
        done = finish(study, study.with_name("logs"), server)
        assert done.code == 0, done.said
        return done


@pytest.fixture(scope="module")
def logs(run: Finished) -> list[EvalLog]:
    return [read_eval_log(i, header_only=True) for i in list_eval_logs(str(run.log_dir))]


def metadata(log: EvalLog) -> Mapping[str, Any]:
    assert log.eval.metadata
    return log.eval.metadata


def pick(logs: Sequence[EvalLog], split: str = "test", **fields: Any) -> list[EvalLog]:
    """Logs whose metadata say this, those with demonstrations."""
    wanted = {"prompt": "", "split": split, **fields}
    found = [
        log
        for log in logs
        if metadata(log)["task"] == "few_shot"
        and all(metadata(log)[key] == value for key, value in wanted.items())
    ]
    assert found, wanted
    return found


def shown(log: EvalLog) -> Turns:
    """Demonstrations as the wire carried them, in every sample of a log alike."""
    full = read_eval_log(log.location)
    assert full.samples
    seen = set()
    for sample in full.samples:
        turns: list[list[str]] = []
        for message in exchange(sample)[:-1]:  # the last is the reply
            if message.role == "user":
                turns.append([message.text, ""])
            elif message.role == "assistant":
                turns[-1][1] = message.text
        turns.pop()
        seen.add(tuple((user, label) for user, label in turns))
    assert len(seen) == 1
    return next(iter(seen))


def question_of(turn: str) -> str:
    """The question of a turn, by its options where it is hidden."""
    return question_of_turn(turn) or QUESTION_BY_OPTIONS[frozenset(options_of(turn).values())]


def right(turns: Turns) -> int:
    return sum(options_of(t)[letter_of(label)] == GOLD[question_of(t)] for t, label in turns)


def test_every_arm_of_a_draw_shows_the_same_questions_in_the_same_order(
    logs: list[EvalLog], run: Finished
) -> None:
    wire = {tuple(r.prompt.demonstrations) for r in run.answered}
    for draw in range(DRAWS):
        seen: dict[tuple[str, ...], str] = {}
        arms = [
            log
            for log in logs
            if metadata(log)["task"] == "few_shot"
            and metadata(log)["split"] == "test"
            and metadata(log)["draw"] == draw
        ]
        for log in arms:
            turns = shown(log)
            assert turns in wire  # what the log says was sent
            seen[tuple(question_of(turn) for turn, _ in turns)] = log.eval.task
        assert len(arms) == 9 + 12  # plain prompts, others
        assert len(seen) == 1, seen


def test_labels_are_what_the_server_answered(logs: list[EvalLog], run: Finished) -> None:
    answers: dict[tuple[str, str], str | None] = {
        (r.model, r.prompt.question): r.option
        for r in run.answered
        if not r.prompt.demonstrations and r.messages[0]["content"] == SYSTEM_MESSAGE
    }
    for model in (SMALL, MEDIUM, LARGE):
        for log in pick(logs, labels="weak", weak=openrouter(model)):
            for turn, label in shown(log):
                assert options_of(turn)[label] == answers[model, question_of(turn)]

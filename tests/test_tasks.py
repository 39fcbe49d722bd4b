"""Prompts, labels, provenance and scores, on real Inspect runs of scripted models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from string import ascii_uppercase
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, read_eval_log_sample_summaries
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    Logprob,
    Logprobs,
    ModelOutput,
    TopLogprob,
)

from tests.conftest import Run, rows
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.truthfulqa import few_shot, zero_shot
from w2s_icl.scorers.multiple_choice import option_probabilities
from w2s_icl.solvers.few_shot import SYSTEM_MESSAGE
from w2s_icl.solvers.labels import (
    LabelRequest,
    LabelSet,
    demonstrations,
    label_source,
    read_labels,
)

WEAK = "mockllm/weak"
LETTERS = "ABCD"
Write = Callable[..., str]


@pytest.fixture
def questions(write_jsonl: Write) -> dict[str, Any]:
    """Arguments of a data set of 40 questions, 8 of them the test."""
    return {"dataset": write_jsonl(rows(40)), "test_size": 8}


def messages(log: EvalLog) -> list[str]:
    assert log.samples
    return [f"{m.role}: {m.text}" for m in log.samples[0].messages]


def labels_shown(log: EvalLog) -> list[str]:
    return [m.removeprefix("assistant: ") for m in messages(log) if m.startswith("assistant")][:-1]


@pytest.mark.parametrize("shots", [0, 2, 8])
def test_prompt_holds_the_weak_labels_wrong_ones_included(
    shots: int, run: Run, questions: dict[str, Any]
) -> None:
    pool = run(zero_shot(split="pool", **questions), LETTERS)
    assert pool.samples
    answered = {sample.id: sample.output.completion for sample in pool.samples}

    log = run(few_shot(labels="weak", weak=WEAK, shots=shots, **questions), "A", "mockllm/strong")

    order = [s.id for s in load_split(**questions).draw(0)][:shots]
    assert labels_shown(log) == [answered[id_] for id_ in order]
    metadata = log.eval.metadata or {}
    assert metadata["demo_ids"] == order
    assert metadata["label_eval_id"] == pool.eval.eval_id
    assert metadata["labels_coverage"] == 1
    right = sum(s.output.completion == s.target for s in pool.samples) / len(pool.samples)
    assert metadata["labels_accuracy"] == pytest.approx(right)


def test_default_prompt_is_system_message_turns_and_bare_letters(
    run: Run, questions: dict[str, Any]
) -> None:
    log = run(few_shot(labels="gold", shots=2, **questions), "A")

    split = load_split(**questions)
    shown = split.draw(0)[:2]
    asked = min(split.test, key=lambda sample: int(str(sample.id)))  # the log sorts by id

    def turn(sample: Sample) -> str:
        options = zip(LETTERS, sample.choices or [], strict=True)
        return f"user: {sample.input}\n\n" + "\n".join(f"{a}) {b}" for a, b in options)

    assert messages(log) == [
        f"system: {SYSTEM_MESSAGE}",
        turn(shown[0]),
        f"assistant: {shown[0].target}",
        turn(shown[1]),
        f"assistant: {shown[1].target}",
        turn(asked),
        "assistant: A",
    ]
    assert log.eval.model_generate_config.temperature is None  # the task's, not the model's
    assert log.plan.config.temperature == 0


def test_transcript_style_puts_the_same_demonstrations_into_one_message(
    run: Run, questions: dict[str, Any]
) -> None:
    log = run(few_shot(labels="gold", shots=3, style="transcript", **questions), "A")

    _, user, _ = messages(log)
    blocks = user.removeprefix("user: ").split("\n\nAnswer:")
    gold = [str(s.target) for s in load_split(**questions).draw(0)[:3]]
    assert [b.split("\n\n")[0].strip() for b in blocks[1:4]] == gold
    assert user.endswith("Answer:")


@pytest.mark.parametrize("draw", [0, 1])
def test_prompts_are_nested_over_shots_and_equal_over_label_kinds(
    draw: int, run: Run, questions: dict[str, Any]
) -> None:
    run(zero_shot(split="pool", **questions), LETTERS)
    arguments = {**questions, "draw": draw}
    short = run(few_shot(labels="gold", shots=3, **arguments), "A")
    long = run(few_shot(labels="gold", shots=6, **arguments), "A")
    weak = run(few_shot(labels="weak", weak=WEAK, shots=6, **arguments), "A")

    assert messages(long)[:7] == messages(short)[:7]
    questions_shown = [m for m in messages(long) if m.startswith("user")]
    assert questions_shown == [m for m in messages(weak) if m.startswith("user")]


def test_no_test_question_is_ever_shown(questions: dict[str, Any]) -> None:
    test = {sample.id for sample in load_split(**questions).test}
    for draw in range(5):
        metadata = few_shot(labels="gold", shots=25, draw=draw, **questions).metadata or {}
        assert test.isdisjoint(metadata["demo_ids"])


def test_an_unread_weak_answer_is_no_label_and_skip_keeps_arms_alike(
    run: Run, questions: dict[str, Any]
) -> None:
    order = [s.id for s in load_split(**questions).draw(0)]
    pool_ids = [s.id for s in load_split(**questions).pool]
    replies = ["B" if id_ != order[1] else "no idea" for id_ in pool_ids]
    run(zero_shot(split="pool", **questions), replies)

    weak = few_shot(labels="weak", weak=WEAK, shots=3, **questions).metadata or {}
    gold = few_shot(labels="gold", shots=3, skip=[order[1]], **questions).metadata or {}

    assert weak["demo_ids"] == gold["demo_ids"] == [order[0], order[2], order[3]]
    assert weak["unread"] == [order[1]]
    assert weak["labels_unread"] == 1
    assert weak["labels_coverage"] < 1


def test_without_a_label_log_the_error_says_which_command_makes_one(
    questions: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="no finished log") as error:
        few_shot(labels="weak", weak=WEAK, shots=2, **questions)

    command = f"inspect eval w2s_icl/zero_shot -T split=pool -T dataset={questions['dataset']}"
    assert f"{command} -T test_size=8 --model {WEAK}" in str(error.value)


def test_labels_of_another_model_seed_or_split_are_not_taken(
    run: Run, questions: dict[str, Any]
) -> None:
    run(zero_shot(split="pool", **questions), LETTERS, "mockllm/other")
    run(zero_shot(split="pool", seed=1, **questions), LETTERS)
    run(zero_shot(split="test", **questions), LETTERS)

    with pytest.raises(ValueError, match="no finished log"):
        few_shot(labels="weak", weak=WEAK, shots=2, **questions)


def test_two_label_logs_that_disagree_are_refused_and_equal_ones_taken(
    run: Run, questions: dict[str, Any]
) -> None:
    run(zero_shot(split="pool", **questions), LETTERS)
    run(zero_shot(split="pool", **questions), LETTERS)
    few_shot(labels="weak", weak=WEAK, shots=2, **questions)
    run(zero_shot(split="pool", **questions), "DCBA")

    with pytest.raises(ValueError, match=r"differently in .*\.eval and .*\.eval"):
        few_shot(labels="weak", weak=WEAK, shots=2, **questions)


def test_labels_survive_a_reshuffle_of_the_options() -> None:
    pool = [Sample(id=1, input="q", choices=["x", "y", "z"], target="A")]
    labels = LabelSet("weak", {1: "z"}, "someone")
    shuffled = [pool[0].model_copy(update={"choices": ["z", "x", "y"], "target": "B"})]

    assert demonstrations(pool, labels, shots=1)[0].items[0].label == "C"
    assert demonstrations(shuffled, labels, shots=1)[0].items[0].label == "A"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": "silver"}, "labels must be one of gold, weak.*got 'silver'"),
        ({"labels": "weak"}, "labels=weak needs weak"),
        ({"labels": "gold", "weak": WEAK}, "no meaning with labels=gold"),
        ({"shots": -1}, "shots must be a whole number from 0, got -1"),
        ({"shots": 33}, r"shots must be between 0 and \d+ \(the pool\), got 33"),
        ({"draw": -1}, "draw must be a whole number from 0, got -1"),
        ({"style": "poem"}, "style must be chat or transcript"),
        ({"dataset": "/nowhere.jsonl"}, "there is no /nowhere.jsonl"),
    ],
)
def test_bad_arguments_are_refused_in_plain_words(
    arguments: dict[str, Any], message: str, questions: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=message):
        few_shot(**{**questions, **arguments})


def test_a_label_kind_of_ones_own_is_one_function(run: Run, questions: dict[str, Any]) -> None:
    @label_source("last")
    def _last(request: LabelRequest) -> LabelSet:
        return LabelSet("last", {s.id: (s.choices or [""])[-1] for s in request.pool if s.id}, "me")

    log = run(few_shot(labels="last", shots=4, **questions), "A")

    assert labels_shown(log) == ["D"] * 4
    assert read_labels("last", load_split(**questions).pool).giver == "me"


# --- the viewer's view --------------------------------------------------------------------------


def test_log_carries_what_the_viewer_and_the_analysis_need(
    run: Run, questions: dict[str, Any]
) -> None:
    run(zero_shot(split="pool", **questions), LETTERS)
    run(zero_shot(**questions), LETTERS)
    log = run(few_shot(labels="weak", weak=WEAK, shots=4, **questions), LETTERS, "mockllm/strong")

    assert log.eval.task == "w2s_weak_k04"
    assert log.eval.task_registry_name == "w2s_icl/few_shot"
    assert set(log.eval.tags or []) == {"truthfulqa", "weak"}
    assert log.eval.headline_metric
    metadata = log.eval.metadata or {}
    for key in ("labels", "weak", "shots", "demo_ids", "labels_sha256", "dataset_sha256", "seed"):
        assert metadata[key] is not None
    assert log.samples
    sample = log.samples[0]
    assert sample.input in {s.input for s in load_split(**questions).test}
    assert sample.metadata["weak"] in ("right", "wrong")
    assert log.results
    assert set(log.results.scores[0].metrics) == {"accuracy", "stderr", "readable"}
    notes = [e for e in sample.events if e.event == "info" and e.source == "few_shot"]
    text = sample.attachments.get(str(notes[0].data).removeprefix("attachment://"), notes[0].data)
    assert "**4 demonstrations**, labels by mockllm/weak" in str(text)
    assert "inspect_ai" in log.eval.packages
    # the same text is not written into the log again and again: solver arguments stay short
    assert "thing" not in str(log.plan.steps[0].params)


# --- scores -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "value", "answer", "reason"),
    [
        ("{gold}", "C", "{gold}", None),
        ("**{gold}**", "C", "{gold}", None),
        ("{wrong})", "I", "{wrong}", None),
        ("", "N", "", "no_response"),
        ("I cannot answer that question.", "N", "", "refusal"),
        ("Hard to say, is it not?", "N", "", "invalid_response_format"),
    ],
)
def test_score_of_a_reply(
    reply: str, value: str, answer: str, reason: str | None, run: Run, questions: dict[str, Any]
) -> None:
    task = zero_shot(**questions)
    gold = str(next(iter(task.dataset)).target)
    words = {"gold": gold, "wrong": "A" if gold != "A" else "B"}

    log = run(task, [reply.format(**words)])

    score = read_eval_log_sample_summaries(log.location)[0].scores["letter"]  # type: ignore[index]
    assert (score.value, score.answer) == (value, answer.format(**words))
    assert score.reason == reason
    assert (score.metadata or {})["read_as"]
    assert "Gold: " in (score.explanation or "")


@pytest.mark.parametrize("stop", ["model_length", "content_filter"])
def test_a_reply_that_is_no_answer_is_unread_whatever_it_says(
    stop: Any, log_dir: str, questions: dict[str, Any]
) -> None:
    from inspect_ai import eval
    from inspect_ai.model import ModelUsage, get_model

    outputs = []
    for _ in range(8):
        output = ModelOutput.from_content("mockllm/m", "A", stop_reason=stop)
        output.usage = ModelUsage()
        outputs.append(output)
    model = get_model("mockllm/m", custom_outputs=outputs, memoize=False)

    (log,) = eval(zero_shot(**questions), model, log_dir=log_dir, display="none")

    assert log.samples
    for sample in log.samples:
        score = (sample.scores or {})["letter"]
        assert (score.value, score.answer, score.reason) == ("N", "", stop)
    assert log.results
    assert log.results.scores[0].metrics["readable"].value == 0


def output_with(tokens: Sequence[tuple[str, float]]) -> ModelOutput:
    first = Logprob(
        token=tokens[0][0],
        logprob=math.log(tokens[0][1]),
        top_logprobs=[TopLogprob(token=t, logprob=math.log(p)) for t, p in tokens],
    )
    message = ChatMessageAssistant(content=tokens[0][0])
    choice = ChatCompletionChoice(message=message, logprobs=Logprobs(content=[first]))
    return ModelOutput(model="m", choices=[choice])


def test_option_probabilities_add_up_spellings_and_ignore_the_empty_token() -> None:
    output = output_with(
        [("B", 0.5), (" B", 0.2), ("(A", 0.1), ("", 0.1), ("E", 0.05), ("b", 0.01)]
    )

    assert option_probabilities(output, 4) == pytest.approx({"B": 0.7, "A": 0.1})
    assert option_probabilities(ModelOutput.from_content("m", "B"), 4) is None


def test_letters_run_to_the_last_option(run: Run, write_jsonl: Write) -> None:
    path = write_jsonl(rows(12, options=6) + rows(20)[12:])
    task: Task = zero_shot(dataset=path, test_size=10)

    log = run(task, [str(s.target) for s in task.dataset])

    assert log.results
    assert log.results.scores[0].metrics["accuracy"].value == 1
    assert {str(s.target) for s in task.dataset} <= set(ascii_uppercase[:6])

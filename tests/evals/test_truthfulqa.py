"""Prompts, labels, provenance and scores, on real Inspect runs of scripted models."""

from collections import Counter
from collections.abc import Mapping
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.dataset import Sample
from inspect_ai.log import (
    EvalError,
    EvalLog,
    read_eval_log,
    read_eval_log_sample_summaries,
    write_eval_log,
)
from scipy.stats import chisquare

from tests.conftest import Args, Run, Write, exchange, rows
from w2s_icl.errors import W2SError
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.truthfulqa import experiment_record, few_shot, label_settings, zero_shot
from w2s_icl.record import is_complete
from w2s_icl.solvers.few_shot import Prompt
from w2s_icl.solvers.label_logs import MAY_FAIL, find_answers

WEAK = "mockllm/weak"
LETTERS = "ABCD"
SYSTEM_MESSAGE = (
    "Answer the multiple-choice question. Reply with the letter of the correct option and nothing "
    "else."
)


def messages(log: EvalLog) -> list[str]:
    assert log.samples
    return [f"{m.role}: {m.text}" for m in exchange(log.samples[0])]


def labels_shown(log: EvalLog) -> list[str]:
    return [m.removeprefix("assistant: ") for m in messages(log) if m.startswith("assistant")][:-1]


def test_prompt_holds_the_weak_labels_wrong_ones_included(run: Run, questions: Args) -> None:
    pool = run(zero_shot(split="pool", **questions), LETTERS)
    assert pool.samples
    answered = {sample.id: sample.output.completion for sample in pool.samples}
    right = sum(s.output.completion == s.target for s in pool.samples) / len(pool.samples)
    for shots in (0, 8):
        task = few_shot(labels="weak", weak=WEAK, shots=shots, **questions)
        log = run(task, "A", "mockllm/strong")

        order = [s.id for s in load_split(**questions).draw(0)][:shots]
        assert labels_shown(log) == [answered[id_] for id_ in order]
        metadata = log.eval.metadata or {}
        assert metadata["demo_ids"] == order
        assert metadata["label_eval_id"] == pool.eval.eval_id
        assert metadata["labels_coverage"] == 1
        assert metadata["labels_accuracy"] == pytest.approx(right)


def test_default_prompt_is_system_message_turns_and_bare_letters(run: Run, questions: Args) -> None:
    log = run(few_shot(labels="gold", shots=2, **questions), "A")

    split = load_split(**questions)
    shown = split.draw(0)[:2]
    asked = min(split.test, key=lambda sample: int(str(sample.id)))  # the log sorts by id

    def turn(sample: Sample) -> str:
        options = zip(LETTERS, sample.choices or [], strict=True)
        return f"user: {sample.input}\n\n" + "\n".join(f"{a}) {b}" for a, b in options)

    solved = [text for s in shown for text in (turn(s), f"assistant: {s.target}")]
    assert messages(log) == [f"system: {SYSTEM_MESSAGE}", *solved, turn(asked), "assistant: A"]
    assert log.eval.model_generate_config.temperature is None  # the task's, not the model's
    assert log.plan.config.temperature == 0


def test_without_system_role_the_first_turn_has_the_instruction(run: Run, questions: Args) -> None:
    plain = messages(run(few_shot(shots=2, **questions), "A"))
    folded = messages(run(few_shot(shots=2, system_role="user", **questions), "A"))
    alone = messages(run(zero_shot(system_role="user", **questions), "A"))
    transcript = messages(run(few_shot(shots=2, style="transcript", **questions), "A"))

    first = plain[1].removeprefix("user: ")
    assert folded == [f"user: {SYSTEM_MESSAGE}\n\n{first}", *plain[2:]]
    assert alone == [f"user: {SYSTEM_MESSAGE}\n\n{plain[5].removeprefix('user: ')}", "assistant: A"]
    user, _ = transcript  # one message holds everything
    assert user.startswith(f"user: {SYSTEM_MESSAGE}\n\n{first}\n\nAnswer: {plain[2][-1]}\n\n")
    assert user.endswith(f"{plain[5].removeprefix('user: ')}\n\nAnswer:")
    digests = {few(**c, **questions)["prompt_sha256"] for c in ({}, {"system_role": "user"})}
    assert len(digests) == 2


def test_prompts_are_nested_over_shots_and_equal_over_labels(run: Run, questions: Args) -> None:
    short, long, other = (
        messages(run(few_shot(labels=labels, shots=shots, draw=1, **questions), "A"))
        for labels, shots in (("gold", 3), ("gold", 6), ("random", 6))
    )

    assert long[:7] == short[:7]
    users = [[m for m in of if m.startswith("user")] for of in (long, other)]
    assert users[0] == users[1]
    assert long != other


def test_orders_show_the_same_demonstrations_in_other_places(run: Run, questions: Args) -> None:
    logs = [run(few_shot(shots=3, order=order, **questions), "A") for order in range(6)]
    turns = [list(zip(*[iter(messages(log)[1:-2])] * 2, strict=True)) for log in logs]

    assert [log.eval.task for log in logs[:2]] == ["gold_k03", "gold_k03_o1"]
    assert len({tuple(of) for of in turns}) == 6  # no order twice
    assert len({tuple(sorted(of)) for of in turns}) == 1  # each with its label
    assert len({(messages(log)[0], *messages(log)[-2:]) for log in logs}) == 1
    assert messages(logs[0]) == messages(run(few_shot(shots=3, **questions), "A"))
    with pytest.raises(W2SError, match="order must be below 6 with 3 demonstrations"):
        few_shot(shots=3, order=6, **questions)


def test_cells_of_other_labels_or_questions_are_other_tasks_to_inspect(
    run: Run, questions: Args, write_jsonl: Write
) -> None:
    """An unfinished log must not be continued with other prompts."""
    weak = partial(few_shot, labels="weak", weak=WEAK, shots=3)
    first = zero_shot(split="pool", **questions)
    log = run(first, "ABCD")
    made = weak(**questions).version
    assert weak(**questions).version == made
    assert few_shot(labels="gold", shots=3, **questions).version != made

    Path(log.location).unlink()
    run(first, "BCDA")
    assert weak(**questions).version != made
    other = {**questions, "dataset": write_jsonl(rows(41), "other.jsonl")}
    assert zero_shot(**other).version != zero_shot(**questions).version


def test_no_test_question_is_ever_shown(questions: Args) -> None:
    test = {sample.id for sample in load_split(**questions).test}
    for draw in range(5):
        assert test.isdisjoint(few(shots=24, draw=draw, **questions)["demo_ids"])


def test_an_unread_answer_is_no_label_and_skip_keeps_arms_alike(run: Run, questions: Args) -> None:
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


def test_labels_of_another_run_are_not_taken_a_remedy_is_said(run: Run, questions: Args) -> None:
    run(zero_shot(split="pool", **questions), LETTERS, "mockllm/other")
    run(zero_shot(split="pool", seed=1, **questions), LETTERS)
    run(zero_shot(split="test", **questions), LETTERS)

    with pytest.raises(W2SError, match="no finished log") as error:
        few_shot(labels="weak", weak=WEAK, shots=2, **questions)
    command = f"inspect eval w2s_icl/zero_shot -T split=pool -T dataset={questions['dataset']}"
    assert f"{command} -T test_size=6 --model {WEAK}" in str(error.value)


def rewrite(log: EvalLog, failed: int = 0, ended: str = "", **changes: Any) -> EvalLog:
    """The same log, with its first questions failed, another end and fields of its spec."""
    log = read_eval_log(log.location)
    log.stats.completed_at = ended or log.stats.completed_at
    assert log.samples
    assert log.results
    for sample in log.samples[:failed]:
        sample.scores, sample.error = {}, EvalError(message="?", traceback="", traceback_ansi="")
    log.results.completed_samples -= failed
    log.eval = log.eval.model_copy(update=changes)
    write_eval_log(log)
    return log


def labels_of(questions: Args, log_dir: str) -> str | None:
    """Id of the run whose answers are the weak labels."""
    experiment = experiment_record(load_split(**questions), Prompt())
    settings = label_settings("reply", None, None)
    answers = find_answers(WEAK, "pool", experiment, settings, log_dir)
    return answers and answers.log.eval.eval_id


ONE_RUN = {"eval_set_id": "one run", "model_args": {}}  # else they hold the replies
LONG_AGO = "2000-01-01T00:00:00+00:00"  # logs made within a second end at the same time


def test_the_fullest_then_first_label_log_counts(run: Run, questions: Args, log_dir: str) -> None:
    first, second = (
        rewrite(run(zero_shot(split="pool", **questions), letters), **ONE_RUN)
        for letters in (LETTERS, "DCBA")
    )
    first = rewrite(first, ended=LONG_AGO)
    assert labels_of(questions, log_dir) == first.eval.eval_id

    # it began first and ended last: cells may show the labels of the other one already
    first = rewrite(first, ended="2999-01-01T00:00:00+00:00")
    assert labels_of(questions, log_dir) == second.eval.eval_id

    rewrite(second, failed=1)
    assert labels_of(questions, log_dir) == first.eval.eval_id


def test_label_logs_of_several_runs_must_agree(run: Run, questions: Args, log_dir: str) -> None:
    first, second, same = (
        run(zero_shot(split="pool", **questions), letters) for letters in (LETTERS, "DCBA", LETTERS)
    )
    rewrite(first, ended=LONG_AGO, **ONE_RUN)
    for other in ({"eval_set_id": "another"}, {**ONE_RUN, "model_args": {"load_in_8bit": True}}):
        rewrite(second, **other)
        with pytest.raises(W2SError, match=r"differently in .*\.eval and .*\.eval"):
            labels_of(questions, log_dir)
    Path(second.location).unlink()
    assert same.eval.eval_set_id != "one run"
    assert labels_of(questions, log_dir) == first.eval.eval_id


def test_label_logs_of_one_name_must_agree(run: Run, questions: Args, log_dir: str) -> None:
    for letters in (LETTERS, "DCBA"):
        log = run(zero_shot(split="pool", **questions), letters)
        Path(log_dir, letters).mkdir()
        Path(log.location).rename(Path(log_dir, letters, "labels.eval"))
    with pytest.raises(W2SError, match="differently"):
        labels_of(questions, log_dir)


def test_a_label_log_may_lack_a_few_answers_only(run: Run, questions: Args, log_dir: str) -> None:
    log = rewrite(run(zero_shot(split="pool", **questions), LETTERS), failed=MAY_FAIL)
    assert log.status == "success"
    assert not is_complete(log)
    assert labels_of(questions, log_dir) == log.eval.eval_id

    log = rewrite(log, failed=MAY_FAIL + 1)
    assert labels_of(questions, log_dir) is None
    whole = run(zero_shot(split="pool", **questions), "DCBA")
    assert is_complete(whole)
    assert labels_of(questions, log_dir) == whole.eval.eval_id


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": "silver"}, "labels must be one of gold, weak.*file:PATH.*got 'silver'"),
        ({"labels": ["gold", "weak"]}, r"labels: .* valid string, got \['gold', 'weak'\]"),
        ({"labels": "weak", "weak": 5}, "weak: .* valid string, got 5"),
        ({"labels": "file:x.csv", "weak": WEAK}, "no meaning with labels=file:x.csv; leave it out"),
        ({"dataset": 7}, "dataset must be one of .*; got '7', and there is no"),
        ({"generate": "hot"}, "generate must be settings by name, got 'hot'"),
        ({"labels": "weak"}, "labels=weak needs weak"),
        ({"labels": "gold", "weak": WEAK}, "no meaning with labels=gold"),
        ({"shots": -1}, "shots: input should be greater than or equal to 0, got -1"),
        ({"shots": 33}, r"shots=33, but only \d+ of the \d+ questions of the pool"),
        ({"dataset": "/nowhere.jsonl"}, "there is no /nowhere.jsonl"),
        ({"labels": "weak", "weak": "file:x.csv"}, "labels=weak needs a model"),
        ({"disclosure": "all"}, "disclosure must be none, source or accuracy, got 'all'"),
        ({"read": "minds"}, "read must be reply or likelihood"),
        ({"permutations": 0}, "permutations: input should be greater than or equal to 1, got 0"),
    ],
)
def test_bad_arguments_are_refused_in_words(arguments: Args, message: str, questions: Args) -> None:
    with pytest.raises(W2SError, match=message):
        few_shot(**{**questions, **arguments})


def test_log_carries_what_the_viewer_and_the_analysis_need(run: Run, questions: Args) -> None:
    run(zero_shot(split="pool", **questions), LETTERS)
    run(zero_shot(**questions), LETTERS)
    log = run(few_shot(labels="weak", weak=WEAK, shots=4, **questions), LETTERS, "mockllm/strong")

    assert log.eval.task == "w2s_weak_k04"
    assert log.eval.task_registry_name == "w2s_icl/few_shot"
    assert log.eval.tags == ["weak"]  # these questions are not TruthfulQA
    metadata = log.eval.metadata or {}
    assert metadata["max_tokens"] == 16
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
    # the same text is not written into the log again and again: solver arguments stay short
    assert "thing" not in str(log.plan.steps[0].params)


def test_scores_of_replies(run: Run, questions: Args) -> None:
    task = zero_shot(**questions)
    golds = {s.id: str(s.target) for s in task.dataset}
    wrong = {id_: "A" if gold != "A" else "B" for id_, gold in golds.items()}
    replies = [
        *("{gold}", "**{gold}**", "{wrong})"),
        *("", "I cannot answer that question.", "Hard to say, is it not?"),
    ]
    pairs = [(golds[id_], wrong[id_]) for id_ in golds]

    log = run(task, [r.format(gold=a, wrong=b) for r, (a, b) in zip(replies, pairs, strict=True)])

    found = {s.id: (s.scores or {})["letter"] for s in read_eval_log_sample_summaries(log.location)}
    scores = [found[id_] for id_ in golds]
    assert [s.value for s in scores] == list("CCINNN")
    assert [s.answer for s in scores] == [pairs[0][0], pairs[1][0], pairs[2][1], "", "", ""]
    assert [s.reason for s in scores[3:]] == ["no_response", "refusal", "invalid_response_format"]
    assert all((s.metadata or {})["read_as"] and "Gold: " in (s.explanation or "") for s in scores)


def few(**arguments: Any) -> Mapping[str, Any]:
    """Metadata of a few-shot task."""
    return few_shot(**arguments).metadata or {}


def test_controls_need_no_weak_model_and_show_what_gold_shows(questions: Args) -> None:
    gold = few(labels="gold", shots=16, **questions)
    shares = {}
    for kind in ("random", "flipped", "unlabelled"):
        control = few(labels=kind, shots=16, **questions)
        assert control["demo_ids"] == gold["demo_ids"]
        assert control["demo_choices"] == gold["demo_choices"]
        shares[kind] = control["demo_label_accuracy"]

    assert shares["flipped"] == 0
    assert shares["unlabelled"] is None
    assert few(labels="unlabelled", shots=2, **questions)["demo_labels"] == ["", ""]


def test_random_labels_are_uniform_over_the_options_and_differ_by_draw(write_jsonl: Write) -> None:
    many = {"dataset": write_jsonl(rows(900)), "test_size": 10, "near_duplicates": "keep"}
    shown = [few(labels="random", shots=850, draw=draw, **many) for draw in (0, 1)]

    counts = Counter(shown[0]["demo_labels"])
    assert chisquare([counts[letter] for letter in LETTERS]).pvalue > 0.01
    assert shown[0]["demo_label_accuracy"] == pytest.approx(0.25, abs=0.06)
    first, second = (dict(zip(one["demo_ids"], one["demo_labels"], strict=True)) for one in shown)
    both = [first[id_] == second[id_] for id_ in first if id_ in second]
    assert sum(both) / len(both) == pytest.approx(0.25, abs=0.06)


def test_noise_matched_errs_as_often_as_the_model_but_elsewhere(run: Run, questions: Args) -> None:
    run(zero_shot(split="pool", **questions), ["A", "B", "A", "not sure", "D"])
    elsewhere = False
    for shots in (1, 2, 5, 12, 18):
        weak, noise = (
            few(labels=kind, weak=WEAK, shots=shots, **questions)
            for kind in ("weak", "noise_matched")
        )
        for key in ("demo_ids", "demo_label_accuracy", "unread", "label_eval_id"):
            assert noise[key] == weak[key]
        elsewhere |= noise["demo_labels"] != weak["demo_labels"]
    assert elsewhere


def test_own_labels_are_weak_labels_of_the_same_model(run: Run, questions: Args) -> None:
    run(zero_shot(split="pool", **questions), LETTERS)
    own = few(labels="self", weak=WEAK, shots=3, **questions)

    assert (own["labels"], own["weak"]) == ("weak", WEAK)
    # studies that other tests ran in this process leave Inspect a model in its context
    with pytest.raises(W2SError, match="labels=self needs a model"):
        Context().run(few_shot, labels="self", shots=3, **questions)


def test_disclosure_says_who_labelled_and_how_many_are_right(questions: Args) -> None:
    messages = {
        said: few(labels="random", shots=8, disclosure=said, **questions)
        for said in ("none", "source", "accuracy")
    }
    share = messages["none"]["demo_label_accuracy"]

    assert messages["none"]["system_message"] == SYSTEM_MESSAGE
    assert messages["source"]["system_message"].endswith("from a random draw among the options.")
    assert f"; {100 * share:.0f}% of them" in messages["accuracy"]["system_message"]
    assert messages["source"]["prompt"] == "disclosure=source"
    assert len({m["prompt_sha256"] for m in messages.values()}) == 3
    assert len({m["shown_sha256"] for m in messages.values()}) == 1


def test_a_hidden_question_leaves_the_options_alone(run: Run, questions: Args) -> None:
    log = run(few_shot(labels="gold", shots=2, question="hidden", **questions), "A")

    assert log.samples
    for sample in log.samples:
        sent = [m.text for m in exchange(sample) if m.role == "user"]
        assert all(text.startswith("A) answer") for text in sent)
        assert not any("thing" in text for text in sent)
        assert "thing" in str(sample.input)


def test_permutations_turn_a_habit_of_position_into_chance(run: Run, questions: Args) -> None:
    log = run(zero_shot(permutations=4, **questions), "A")

    assert log.samples
    assert len(log.samples) == 4 * len({s.id for s in log.samples})
    assert log.results
    assert log.results.scores[0].metrics["accuracy"].value == 0.25
    for sample in log.samples:
        score = (sample.scores or {})["letter"]
        assert score.answer == LETTERS[(sample.epoch - 1) % 4]
        assert (score.metadata or {})["shown"] == "A"

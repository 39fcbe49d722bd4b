"""Students with a planted cause: each arm lies where it was planted, and nowhere else."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from random import Random
from string import ascii_uppercase
from typing import Any

import numpy as np
import pytest
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
)

from tests.conftest import SHARED, needs_shared, rows, write_questions
from tests.planted.planted import ARMS, arm_accuracy, arm_correct, planted_logs
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import Logs
from w2s_icl.analysis.tables import cells_table
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.standins import (
    Parameters,
    SimulatedAPI,
    model_parameters,
    planted_accuracy,
    planted_w2s_accuracy,
)
from w2s_icl.evals.students import (
    FEATURES,
    PRIOR,
    RIDGE,
    fit_surface,
    option_features,
    surface_probabilities,
    surface_ranking,
)

SHOTS, DRAWS, TEST_SIZE = 64, 3, 400
FORMULAS = ("learner", "format", "copier")
REAL = SHARED / "truthful_qa_mc"


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Logs]:
    path = write_questions(tmp_path_factory.mktemp("planted") / "questions.jsonl", rows(700))
    return {
        student: planted_logs(
            path, f"simulated/{student}", shots=SHOTS, draws=DRAWS, test_size=TEST_SIZE, seed=3
        )
        for student in FORMULAS
    }


def test_a_learner_gains_the_same_from_all_labels_better_than_chance(logs: dict[str, Logs]) -> None:
    arm = arm_accuracy(logs["learner"])

    useful = [arm[a] for a in ("gold", "weak", "self", "noise_matched")]
    useless = [arm[a] for a in ("random", "flipped", "unlabelled", "zero_shot")]
    assert max(useful) - min(useful) < 0.02
    assert max(useless) - min(useless) < 0.02
    assert min(useful) - max(useless) > 0.09


def test_a_format_student_gains_the_same_from_any_demonstrations(logs: dict[str, Logs]) -> None:
    arm = arm_accuracy(logs["format"])

    shown = [arm[a] for a in ARMS]
    assert max(shown) - min(shown) < 0.02
    assert min(shown) - arm["zero_shot"] > 0.07


def test_a_copier_falls_behind_random_errors_and_stays_above_no_labels(
    logs: dict[str, Logs],
) -> None:
    arm = arm_accuracy(logs["copier"])

    assert arm["noise_matched"] - arm["weak"] > 0.06
    assert arm["gold"] - arm["noise_matched"] < 0.05  # errors may be popular by luck
    for useless in ("random", "unlabelled", "zero_shot"):
        assert arm["weak"] - arm[useless] > 0.03


@pytest.mark.parametrize("student", FORMULAS)
def test_arms_have_the_accuracy_of_the_formula(student: str, logs: dict[str, Logs]) -> None:
    found = arm_correct(logs[student])
    planted = {
        "zero_shot": planted_accuracy(student, 0),
        "gold": planted_accuracy(student, SHOTS),
        "flipped": planted_accuracy(student, SHOTS, 0.0, 1 / 3),
        "unlabelled": planted_accuracy(student, SHOTS, unlabelled=True),
        "weak": planted_w2s_accuracy(Parameters(0.55), student, SHOTS),
    }

    for arm, accuracy in planted.items():
        error = math.sqrt(accuracy * (1 - accuracy) / TEST_SIZE)  # draws share their questions
        luck = 0.03 if arm in ("weak", "flipped") and student == "copier" else 0.0
        assert abs(found[arm].mean() - accuracy) < 4 * error + luck, arm


@pytest.mark.parametrize(
    ("right_share", "quality"), [(1.0, 1), (0.6, 1), (0.45, 1), (0.31, 0), (0.25, 0), (0.0, 0)]
)
def test_labels_teach_all_or_nothing(right_share: float, quality: float) -> None:
    least, most = (planted_accuracy("learner", 64, r) for r in (0.0, 1.0))

    planted = planted_accuracy("learner", 64, right_share)

    assert planted == pytest.approx(least + quality * (most - least))
    assert (least, most) == (pytest.approx(0.75), pytest.approx(0.88, abs=0.01))


def test_random_errors_are_no_habit_to_copy() -> None:
    def of(right: float, popular: float) -> float:
        return planted_accuracy("copier", 64, right, popular)

    assert of(0.55, 0.15) == of(1.0, 0.0)
    assert of(0.55, 0.30) < of(0.55, 0.21) < of(0.55, 0.15)
    # of two options the only wrong one is no habit
    two = [planted_accuracy("copier", 64, right, 1 - right, options=2) for right in (0.7, 1.0)]
    assert two[0] == two[1]


def test_students_may_have_other_names_and_parameters() -> None:
    one, other = (model_parameters(f"simulated/learner{end}", gain="0.2") for end in ("", "-b"))

    assert one == other
    assert (one.cause, one.gain, one.ability) == ("labels", 0.2, 0.75)
    with pytest.raises(ValueError, match="no formula"):
        planted_accuracy("surface", 0)
    with pytest.raises(ValueError, match="model argument must be one of seed, questions, latency"):
        SimulatedAPI("surface", ability=0.5)
    with pytest.raises(ValueError, match="model argument must be one of ability"):
        SimulatedAPI("learner", cause="format")


# The harness


def test_labels_of_the_arms_are_as_defined(logs: dict[str, Logs]) -> None:
    runs = logs["learner"].runs
    shown = runs[runs["task"] == "few_shot"]
    questions = logs["learner"].questions

    for _, of_draw in shown.groupby("draw"):
        assert of_draw["demo_ids"].nunique() == 1
        gold = tuple(questions["gold"][i] for i in of_draw["demo_ids"].iloc[0])
        labels = {
            (kind, weak): given
            for kind, weak, given in zip(
                of_draw["labels"], of_draw["weak"], of_draw["demo_labels"], strict=True
            )
        }
        right = {
            key: sum(a == b for a, b in zip(given, gold, strict=True))
            for key, given in labels.items()
        }
        teacher = "simulated/custom-weak"
        assert labels["gold", ""] == gold
        assert right["noise_matched", teacher] == right["weak", teacher] < SHOTS
        assert labels["noise_matched", teacher] != labels["weak", teacher]
        assert right["weak", "simulated/learner"] > right["weak", teacher]
        assert right["flipped", ""] == 0
        assert set(labels["unlabelled", ""]) == {""}


def test_the_analysis_takes_what_the_harness_makes(logs: dict[str, Logs]) -> None:
    cells = cells_table(Experiment(logs["learner"]))

    row = cells[(cells["weak"] == "simulated/custom-weak") & (cells["shots"] == SHOTS)].iloc[0]
    arm = arm_accuracy(logs["learner"])
    assert (row["n"], row["draws"]) == (TEST_SIZE, DRAWS)
    assert row["acc_w2s"] == pytest.approx(arm["weak"])
    assert row["acc_strong0"] == pytest.approx(arm["zero_shot"])
    assert row["acc_weak"] == pytest.approx(arm["teacher"])


# The surface learner


def made_up(n: int, options: int = 4) -> tuple[list[tuple[str, ...]], list[int]]:
    """Questions whose right option is the hedged one."""
    rng = Random(0)
    words = ["tea", "salt", "moon", "river", "glass", "iron", "paper", "cloud", "stone"]
    questions, right = [], []
    for _ in range(n):
        texts = [" ".join(rng.sample(words, 4)) for _ in range(options)]
        at = rng.randrange(options)
        texts[at] = f"perhaps {texts[at]}"
        questions.append(tuple(texts))
        right.append(at)
    return questions, right


def test_the_fit_is_the_maximum_of_its_likelihood() -> None:
    questions, right = made_up(20)
    questions[3] = questions[3][:2]  # numbers of options may differ
    right[3] = 0

    weights = fit_surface(questions, right)

    slope = -RIDGE * (weights - PRIOR)
    for options, at in zip(questions, right, strict=True):
        seen = option_features(options)
        slope += seen[at] - surface_probabilities(weights, options) @ seen
    assert np.abs(slope).max() < 1e-8
    assert fit_surface([], []).tolist() == PRIOR.tolist()


def test_the_surface_learner_follows_the_labels_it_is_shown() -> None:
    questions, right = made_up(120)
    wrong = [(at + 1) % 4 for at in right]
    hedges = list(FEATURES).index("hedges")

    taught, untaught = (fit_surface(questions[:40], of[:40]) for of in (right, wrong))

    assert untaught[hedges] < 0 < PRIOR[hedges] < taught[hedges]
    chosen = [surface_ranking(taught, options)[0] for options in questions[40:]]
    assert np.mean(np.array(chosen) == right[40:]) > 0.95


def test_equal_options_are_told_apart_by_their_text_not_their_place() -> None:
    options = ("one stone", "two stone", "six stone")

    chosen = {
        turned[surface_ranking(PRIOR, turned)[0]]
        for turned in (options, options[::-1], (*options[1:], options[0]))
    }

    assert len(chosen) == 1


def ask(api: SimulatedAPI, prompt: list[ChatMessage], **config: Any) -> ModelOutput:
    output = asyncio.run(api.generate(prompt, [], "auto", GenerateConfig(**config)))
    assert isinstance(output, ModelOutput)
    return output


def turns(questions: list[tuple[str, ...]], labels: list[int], *, text: str) -> list[ChatMessage]:
    """Demonstrations with labels, and the last question without."""
    messages: list[ChatMessage] = []
    for i, options in enumerate(questions):
        lettered = (f"{ascii_uppercase[j]}) {option}" for j, option in enumerate(options))
        messages.append(ChatMessageUser(content=text.format(i=i) + "\n".join(lettered)))
        if i < len(labels):
            messages.append(ChatMessageAssistant(content=ascii_uppercase[labels[i]]))
    return messages


def test_the_surface_learner_needs_no_question() -> None:
    questions, right = made_up(30)
    api = SimulatedAPI("surface-x")

    for k in range(20, 30):
        shown = [*questions[:20], questions[k]]
        full, hidden = (
            ask(api, turns(shown, right[:20], text=text), max_tokens=4)
            for text in ("What of thing {i}?\n\n", "")
        )
        assert full.completion == hidden.completion == ascii_uppercase[right[k]]


def test_turns_without_labels_leave_the_prior() -> None:
    questions, _ = made_up(6)
    api = SimulatedAPI("surface")

    seen, _, asked = api._read_prompt(turns(questions, [], text=""))

    assert (seen.labelled, seen.unlabelled) == (0, 5)
    assert seen.weights is not None
    assert seen.weights.tolist() == PRIOR.tolist()
    assert asked is not None
    assert asked.options == questions[-1]


def test_log_probabilities_are_those_of_the_logit() -> None:
    questions, right = made_up(12)
    prompt = turns(questions, right[:11], text="")

    output = ask(SimulatedAPI("surface"), prompt, logprobs=True, top_logprobs=4, max_tokens=4)

    expected = surface_probabilities(fit_surface(questions[:11], right[:11]), questions[11])
    logprobs = output.choices[0].logprobs
    assert logprobs is not None
    top = {t.token: math.exp(t.logprob) for t in logprobs.content[0].top_logprobs or []}
    assert [top[letter] for letter in "ABCD"] == pytest.approx(expected.tolist())
    assert output.completion == max(top, key=lambda letter: top[letter])


@needs_shared
def test_the_surface_learner_gains_on_real_questions_as_published() -> None:
    found = planted_logs(REAL, "simulated/surface", shots=SHOTS, draws=4, test_size=200, seed=1)
    again = planted_logs(
        REAL, "simulated/surface", shots=SHOTS, draws=1, test_size=200, seed=1, arms=["weak"]
    )
    arm = arm_accuracy(found)

    assert 0.42 < arm["zero_shot"] < 0.54
    assert arm["unlabelled"] == arm["zero_shot"]
    assert 0.66 < arm["gold"] < 0.78
    assert 0.56 < arm["weak"] < arm["gold"]
    assert 0.56 < arm["noise_matched"] < arm["gold"]
    assert 0.15 < arm["random"] < 0.50
    assert arm["flipped"] < 0.20
    assert (arm_correct(again)["weak"][:, 0] == arm_correct(found)["weak"][:, 0]).all()


@needs_shared
def test_the_order_of_options_moves_no_answer() -> None:
    split = load_split(str(REAL), test_size=100, seed=0)
    rng = Random(1)

    def chosen(*, turned: bool) -> list[str]:
        def options(sample: Any) -> tuple[str, ...]:
            texts = list(sample.choices)
            if turned:
                rng.shuffle(texts)
            return tuple(texts)

        pool = [(options(s), s.choices[ascii_uppercase.index(s.target)]) for s in split.pool[:32]]
        weights = fit_surface([o for o, _ in pool], [o.index(right) for o, right in pool])
        return [o[surface_ranking(weights, o)[0]] for o in map(options, split.test)]

    assert chosen(turned=False) == chosen(turned=True)


# What all simulated models read and write


@pytest.mark.parametrize("student", [*FORMULAS, "surface", "custom"])
def test_reasoning_is_written_where_it_is_asked_for_and_moves_no_choice(
    student: str, tmp_path: Path
) -> None:
    made = rows(40)
    path = write_questions(tmp_path / "q.jsonl", made)
    extra = {"ability": 0.7, "refusal_rate": 0, "prose_rate": 0} if student == "custom" else {}
    api = SimulatedAPI(student, questions=str(path), **extra)
    options = [tuple(q["choices"]) for q in made]
    labels = [q["label"] for q in made]
    plain = ChatMessageSystem(content="Reply with the letter of the correct option.")
    step = ChatMessageSystem(content="Think step by step. End with a line ANSWER: X")

    for k in range(8, 40):
        prompt = turns([*options[:8], options[k]], labels[:8], text="")
        for i, message in enumerate(prompt):
            if message.role == "user":
                of = made[k if i == len(prompt) - 1 else i // 2]
                message.content = f"{of['question']}\n\n{message.text}"
        letter = ask(api, [plain, *prompt], max_tokens=1).completion
        reply = ask(api, [step, *prompt], max_tokens=64).completion
        assert reply.splitlines()[-1] == f"ANSWER: {letter}"
        assert 20 < len(reply.splitlines()[0]) < 150
        assert ask(api, [step, *prompt], max_tokens=3).completion == f"ANSWER: {letter}"
        assert ask(api, [step, *prompt], max_tokens=1).completion == letter
        # reasoning in demonstrations is read by its last line
        for message in prompt:
            if message.role == "assistant":
                message.content = f"Option A is tempting, the answer C too.\nANSWER: {message.text}"
        assert ask(api, [plain, *prompt], max_tokens=1).completion == letter

import asyncio
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.scorer import includes
from inspect_ai.solver import generate
from numpy.typing import NDArray

from w2s_icl.evals.standins import (
    FAMILY,
    SIMULATED_BANNER,
    Parameters,
    SimulatedAPI,
    _load_knowledge,
    model_parameters,
    normalise,
    planted_accuracy,
    planted_pgr,
    planted_w2s_accuracy,
    popular_error,
)
from w2s_icl.scorers.reading import read_reply

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SYSTEM = "Answer each question with the letter of the right option only."
N_QUESTIONS = 3200
N_POOL = 200


class Question(NamedTuple):
    question: str
    choices: tuple[str, ...]
    label: int

    @property
    def text(self) -> str:
        return written(self)

    @property
    def right(self) -> str:
        return self.choices[self.label]

    def popular(self, seed: int = 0) -> str:
        wrong = [normalise(c) for c in self.choices if c != self.right]
        tempting = popular_error(seed, normalise(self.question), wrong)
        return next(c for c in self.choices if normalise(c) == tempting)


@cache
def written(question: Question) -> str:
    options = (f"{LETTERS[i]}) {choice}" for i, choice in enumerate(question.choices))
    return question.question + "\n\n" + "\n".join(options)


def make_question(i: int, n_options: int = 4) -> Question:
    choices = tuple(f"Statement {i} of kind {k} holds" for k in range(n_options))
    return Question(f"Which statement holds for topic {i}?", choices, (i * 7 + i // 5) % n_options)


WORLD = [make_question(i) for i in range(N_QUESTIONS)]
POOL, TEST = WORLD[:N_POOL], WORLD[N_POOL:]


def write_questions(path: Path, questions: Iterable[Question]) -> str:
    path.write_text("".join(json.dumps(q._asdict()) + "\n" for q in questions), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_questions(tmp_path_factory.mktemp("world") / "questions.jsonl", WORLD)


@pytest.fixture
def model(world: str) -> Callable[..., Model]:
    def make(name: str, **arguments: Any) -> Model:
        return get_model(f"simulated/{name}", **{"questions": world, **arguments})

    return make


Labelled = Sequence[tuple[Question, str | None]]


def chat(shown: Labelled, asked: Question) -> list[ChatMessage]:
    messages: list[ChatMessage] = [ChatMessageSystem(content=SYSTEM)]
    for question, label in shown:
        messages.append(ChatMessageUser(content=question.text))
        if label is not None:
            messages.append(ChatMessageAssistant(content=label))
    return [*messages, ChatMessageUser(content=asked.text)]


def transcript(shown: Labelled, asked: Question) -> list[ChatMessage]:
    blocks = [q.text + (f"\n\nAnswer: {label}" if label else "") for q, label in shown]
    text = "\n\n".join([*blocks, asked.text + "\n\nAnswer:"])
    return [ChatMessageSystem(content=SYSTEM), ChatMessageUser(content=text)]


def gold(shots: int) -> list[tuple[Question, str | None]]:
    return [(q, LETTERS[q.label]) for q in POOL[:shots]]


def labels_with(shots: int, right: int, popular: int, seed: int = 0) -> Labelled:
    """The first `right` labels right, the next `popular` the popular error, others other errors."""
    shown: list[tuple[Question, str | None]] = []
    for i, q in enumerate(POOL[:shots]):
        if i < right:
            answer = q.right
        elif i < right + popular:
            answer = q.popular(seed)
        else:
            answer = next(c for c in q.choices if c not in (q.right, q.popular(seed)))
        shown.append((q, LETTERS[q.choices.index(answer)]))
    return shown


def read(reply: str, choices: Sequence[str]) -> int | None:
    """Option that a reply names, None when it names none; fails when it names two."""
    letters = LETTERS[: len(choices)]
    if len(reply) == 1:
        return letters.index(reply)
    named = {
        letters.index(found) for found in re.findall(rf"(?<![\w'])([{letters}])(?![\w'])", reply)
    }
    quoted = {i for i, c in enumerate(choices) if c.rstrip(".?!").lower() in reply.lower()}
    if len(quoted) > 1:  # one option may be part of another
        longest = max(quoted, key=lambda i: len(choices[i]))
        quoted = {longest}
    assert len(named | quoted) <= 1, f"ambiguous: {reply!r}"
    return next(iter(named | quoted), None)


def ask(
    model: Model,
    prompts: Iterable[list[ChatMessage]],
    *,
    through_inspect: bool = True,
    **config: Any,
) -> list[ModelOutput]:
    settings = GenerateConfig(**config)

    async def one(prompt: list[ChatMessage]) -> ModelOutput:
        if through_inspect:
            return await model.generate(prompt, config=settings)
        output = await model.api.generate(prompt, [], "auto", settings)
        assert isinstance(output, ModelOutput)
        return output

    async def every() -> list[ModelOutput]:
        return [await one(prompt) for prompt in prompts]

    return asyncio.run(every())


def answers(
    model: Model,
    shown: Labelled,
    tested: Sequence[Question],
    *,
    style: Callable[[Labelled, Question], list[ChatMessage]] = transcript,
    through_inspect: bool = False,
) -> list[str | None]:
    prompts = (style(shown, q) for q in tested)
    outputs = ask(model, prompts, through_inspect=through_inspect)
    picks = [read(o.completion, q.choices) for o, q in zip(outputs, tested, strict=True)]
    return [None if p is None else q.choices[p] for p, q in zip(picks, tested, strict=True)]


def correctness(
    model: Model, shown: Labelled, tested: Sequence[Question], **how: Any
) -> NDArray[np.bool_]:
    given_answers = answers(model, shown, tested, **how)
    return np.array([a == q.right for a, q in zip(given_answers, tested, strict=True)])


def assert_binomial(right: NDArray[np.bool_], planted: float) -> None:
    error = math.sqrt(planted * (1 - planted) / right.size)
    assert abs(right.mean() - planted) < 4 * error, (right.mean(), planted, error)


def paired_z(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """How many standard errors the mean of a lies above that of b (McNemar)."""
    gained, lost = int((a & ~b).sum()), int((b & ~a).sum())
    return (gained - lost) / math.sqrt(max(gained + lost, 1))


# The formulas against the provider


@pytest.mark.parametrize(
    ("shots", "right", "popular"),
    [(0, 0, 0), (4, 2, 1), (16, 4, 8), (64, 38, 18)],
)
def test_accuracy_is_the_planted_one_through_inspect(
    shots: int, right: int, popular: int, model: Callable[..., Model]
) -> None:
    shares = (right / shots, popular / shots) if shots else (1.0, 0.0)

    measured = correctness(
        model("medium"), labels_with(shots, right, popular), TEST[:1200], through_inspect=True
    )

    assert_binomial(measured, planted_accuracy("medium", shots, *shares))


@pytest.mark.parametrize("name", ["small", "large"])
@pytest.mark.parametrize(
    ("shots", "right_share"),
    [(0, 1.0), *((k, share) for k in (4, 16, 64) for share in (1.0, 0.75, 0.5, 0.25))],
)
def test_accuracy_is_the_planted_one(
    name: str, shots: int, right_share: float, model: Callable[..., Model]
) -> None:
    right = round(shots * right_share)
    popular = (shots - right) // 2
    shares = (right / shots, popular / shots) if shots else (1.0, 0.0)

    measured = correctness(model(name), labels_with(shots, right, popular), TEST)

    assert_binomial(measured, planted_accuracy(name, shots, *shares))


@pytest.mark.parametrize("n_options", [2, 3, 10, 26])
@pytest.mark.parametrize("shots", [0, 16])
def test_accuracy_is_the_planted_one_with_other_numbers_of_options(
    n_options: int, shots: int, tmp_path: Path
) -> None:
    questions = [make_question(i, n_options) for i in range(2500)]
    path = write_questions(tmp_path / "q.jsonl", questions)
    shown = [
        (q, LETTERS[q.label if i % 4 else q.label - 1]) for i, q in enumerate(questions[:shots])
    ]
    strange = get_model("simulated/large", questions=path, copy=0)

    measured = correctness(strange, shown, questions[16:])

    right_share = 0.75 if shots else 1.0
    parameters = model_parameters("large", copy=0)
    assert_binomial(measured, planted_accuracy(parameters, shots, right_share, options=n_options))


def test_unread_replies_come_at_the_planted_rate_and_count_as_wrong(
    model: Callable[..., Model],
) -> None:
    chatty = {"refusal_rate": 0.2, "prose_rate": 0.1}
    for shots, rate in ((0, 0.3), (8, 0.1)):
        given_answers = answers(model("small", **chatty), gold(shots), TEST)
        unread = np.array([a is None for a in given_answers])
        right = np.array([a == q.right for a, q in zip(given_answers, TEST, strict=True)])
        assert_binomial(unread, rate)
        assert_binomial(right, planted_accuracy(model_parameters("small", **chatty), shots))


def test_zero_shot_accuracies_and_learning_curve_have_the_promised_shape() -> None:
    for name, ability in FAMILY.items():
        curve = {k: planted_accuracy(name, k) for k in (0, 2, 4, 8, 16, 32, 64, 256)}
        assert curve[0] == pytest.approx(ability, abs=0.01)
        assert curve[0] - 0.03 < curve[2] < curve[0]
        assert curve[4] < curve[8] < curve[16] < curve[32] < curve[64]
        assert curve[256] == pytest.approx(curve[64], abs=0.005)
        assert planted_accuracy(name, 64, 0.25) < curve[0] < curve[64]


def test_planted_weak_to_strong_is_the_mean_over_weak_labels(model: Callable[..., Model]) -> None:
    weak = answers(model("small", refusal_rate=0, prose_rate=0), [], TEST)
    strong = model_parameters("large", copy=0.6)
    rng = np.random.default_rng(1)

    simulated = []
    for _ in range(2000):
        chosen = rng.choice(len(TEST), size=6, replace=False)
        right = sum(weak[i] == TEST[i].right for i in chosen)
        popular = sum(weak[i] == TEST[i].popular() for i in chosen)
        simulated.append(planted_accuracy(strong, 6, right / 6, popular / 6))

    error = np.std(simulated) / math.sqrt(2000)
    # the second error: the weak labels themselves are one sample
    assert abs(np.mean(simulated) - planted_w2s_accuracy("small", strong, 6)) < 4 * error + 0.003


def test_planted_pgr_is_the_ratio_of_planted_gaps() -> None:
    weak, strong = planted_accuracy("small", 0), planted_accuracy("large", 16)
    w2s = planted_w2s_accuracy("small", "large", 16)

    assert planted_pgr("small", "large", 16) == pytest.approx((w2s - weak) / (strong - weak))
    assert math.isnan(planted_pgr("small", "small", 16, ceiling="zero_shot"))
    assert planted_w2s_accuracy("small", "large", 0) == pytest.approx(planted_accuracy("large", 0))


# Models beside each other


def test_errors_of_the_models_overlap_as_those_of_real_models(model: Callable[..., Model]) -> None:
    right = {name: correctness(model(name), [], TEST) for name in FAMILY}

    for a, b in (("small", "medium"), ("small", "large"), ("medium", "large")):
        assert 0.4 <= np.corrcoef(right[a], right[b])[0, 1] <= 0.7, (a, b)


def test_arms_of_one_model_agree_on_most_questions(model: Callable[..., Model]) -> None:
    zero, eight = (correctness(model("medium"), gold(k), TEST) for k in (0, 8))

    assert (zero == eight).mean() > 0.88
    assert 0 < (zero & ~eight).sum() < (eight & ~zero).sum()


def test_models_of_equal_ability_differ_by_chance_alone(world: str) -> None:
    zs = []
    for seed in range(12):
        a, b = (
            correctness(
                get_model(f"simulated/custom-{name}", questions=world, ability=0.7, seed=seed),
                gold(8),
                TEST[:700],
            )
            for name in ("a", "b")
        )
        assert (a != b).any()
        zs.append(paired_z(a, b))

    assert abs(sum(zs)) / math.sqrt(len(zs)) < 3.5
    assert sum(z * z for z in zs) < 32.9  # chi-squared with 12 degrees of freedom, 0.1%


def test_models_in_error_fall_for_the_popular_error(model: Callable[..., Model]) -> None:
    given_answers = answers(model("small"), [], TEST)

    wrong = [(a, q) for a, q in zip(given_answers, TEST, strict=True) if a not in (None, q.right)]
    popular = np.array([a == q.popular() for a, q in wrong])
    assert_binomial(popular, 0.7)


# Labels


def shifted(shown: Labelled) -> Labelled:
    labels = [label for _, label in shown]
    return [(q, label) for (q, _), label in zip(shown, [*labels[1:], labels[0]], strict=True)]


def stale(shown: Labelled) -> Labelled:
    order = np.random.default_rng(3).permutation(len(shown))
    return [(q, shown[j][1]) for (q, _), j in zip(shown, order, strict=True)]


def reshuffled(shown: Labelled) -> Labelled:
    rng = np.random.default_rng(4)
    return [
        (q._replace(choices=tuple(q.choices[j] for j in rng.permutation(len(q.choices)))), label)
        for q, label in shown
    ]


def mislettered(shown: Labelled) -> Labelled:
    return [(q, LETTERS[LETTERS.index(label or "A") + 1]) for q, label in shown]


@pytest.mark.parametrize("breakage", [shifted, stale, reshuffled, mislettered])
@pytest.mark.parametrize("name", list(FAMILY))
def test_broken_labels_lower_accuracy(
    breakage: Callable[[Labelled], Labelled], name: str, model: Callable[..., Model]
) -> None:
    tested = TEST[:800]
    whole = correctness(model(name), gold(16), tested)

    broken = correctness(model(name), breakage(gold(16)), tested, style=chat)

    assert paired_z(whole, broken) > 5
    assert paired_z(correctness(model(name), [], tested), broken) > 2


def test_weak_labels_teach_popular_errors(model: Callable[..., Model]) -> None:
    habitual, free = model("large", copy=0.5), model("large", copy=0)
    weak_labels = labels_with(64, 40, 24)

    copied = answers(habitual, weak_labels, TEST)
    plain = answers(free, weak_labels, TEST)

    changed = [
        (c, p, q) for c, p, q in zip(copied, plain, TEST, strict=True) if c != p and c is not None
    ]
    assert all(c == q.popular() and p == q.right for c, p, q in changed)
    weak_right = correctness(model("small"), [], TEST)
    lost = np.array([c != p for c, p in zip(copied, plain, strict=True)])
    assert lost.mean() > 0.1
    assert weak_right[lost].mean() < weak_right.mean() - 0.1  # where the weak model errs, too
    # other errors are no habit to copy
    others = labels_with(64, 40, 0)
    assert answers(habitual, others, TEST) == answers(free, others, TEST)


def test_copying_grows_with_shots_and_with_popular_errors() -> None:
    def lost(shots: int, popular_share: float) -> float:
        free = planted_accuracy(model_parameters("large", copy=0), shots, 0.5, popular_share)
        return 1 - planted_accuracy("large", shots, 0.5, popular_share) / free

    assert 0 == lost(16, 0) < lost(4, 0.4) < lost(16, 0.4) < lost(64, 0.4)
    assert lost(16, 0.2) < lost(16, 0.4)


@pytest.mark.parametrize("style", [chat, transcript])
def test_unlabelled_demonstrations_give_a_part_of_the_gain(
    style: Callable[[Labelled, Question], list[ChatMessage]], model: Callable[..., Model]
) -> None:
    measured = correctness(model("small"), [(q, None) for q in POOL[:32]], TEST[:1500], style=style)

    planted = planted_accuracy("small", 32, unlabelled=True)
    assert_binomial(measured, planted)
    assert planted_accuracy("small", 0) < planted < planted_accuracy("small", 32)


def test_unlabelled_questions_as_plain_text_count_as_unlabelled(
    model: Callable[..., Model],
) -> None:
    listed = "\n\n".join(q.text for q in POOL[:16])
    small = model("small")
    tested = TEST[:200]
    turns: list[ChatMessage] = [user(q) for q in POOL[:16]]
    layouts: list[list[ChatMessage]] = [
        [ChatMessageSystem(content=f"Some questions.\n\n{listed}")],
        [ChatMessageUser(content=f"Questions:\n\n{listed}")],
        turns,
    ]

    in_system, in_user, in_turns = (
        [
            read(o.completion, q.choices)
            for o, q in zip(
                ask(small, [[*before, user(q)] for q in tested], through_inspect=False),
                tested,
                strict=True,
            )
        ]
        for before in layouts
    )

    assert in_system == in_user == in_turns


def user(question: Question) -> ChatMessageUser:
    return ChatMessageUser(content=question.text)


# Reading


def test_chat_and_transcript_read_alike(model: Callable[..., Model]) -> None:
    shown = labels_with(12, 6, 3)

    as_chat, as_transcript = (
        answers(model("medium"), shown, TEST[:600], style=style) for style in (chat, transcript)
    )

    assert as_chat == as_transcript


LAYOUTS: dict[str, Callable[[str], str]] = {
    "dots": lambda text: re.sub(r"^([A-Z])\) ", r"\1. ", text, flags=re.M),
    "brackets": lambda text: re.sub(r"^([A-Z])\) ", r"(\1) ", text, flags=re.M),
    "colons": lambda text: re.sub(r"^([A-Z])\) ", r"\1: ", text, flags=re.M),
    "indented": lambda text: re.sub(r"^([A-Z])\) ", r"   \1)  ", text, flags=re.M),
    "prefixed": lambda text: "Question: " + text,
    "headed": lambda text: text.replace("\n\nA)", "\n\nOptions:\nA)"),
    "introduced": lambda text: "Answer with one letter.\n\n" + text,
    "tight": lambda text: text.replace("\n\n", "\n"),
    "curly": lambda text: text.replace("Which", "WHICH"),
    "cued": lambda text: text + "\nAnswer:",
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_other_layouts_are_read_alike(layout: str, model: Callable[..., Model]) -> None:
    def prompt(write: Callable[[str], str], q: Question) -> list[ChatMessage]:
        turns: list[ChatMessage] = []
        for shown, label in gold(3):
            turns += [
                ChatMessageUser(content=write(shown.text)),
                ChatMessageAssistant(content=label or ""),
            ]
        return [*turns, ChatMessageUser(content=write(q.text))]

    certain = model("custom", ability=0.99, gain=0, dip=0, refusal_rate=0, prose_rate=0)
    tested = TEST[:60]
    outputs = ask(certain, [prompt(LAYOUTS[layout], q) for q in tested], through_inspect=False)

    right = [read(o.completion, q.choices) == q.label for o, q in zip(outputs, tested, strict=True)]
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("label", ["B", "b", "B)", "(B)", "**B**", "The answer is B.", "Answer: B"])
def test_labels_are_read_in_several_forms(label: str, model: Callable[..., Model]) -> None:
    api = model("small").api
    assert isinstance(api, SimulatedAPI)
    shown = [q for q in POOL if q.label == 1][:8]

    seen, _, _ = api._read_prompt(chat([(q, label) for q in shown], TEST[0]))

    assert (seen.labelled, seen.wrong) == (8, 0)


@pytest.mark.parametrize(
    "question",
    [
        "Read the lines.\n\nThey go on.\nWhat follows?",
        "Compare the two claims:\nA) the first\nB) the second\nWhich one holds?",
        "Compare the two claims:\n\nA) the first\nB) the second\n\nWhich one holds?",
        "Plan A: walk.\nPlan B: run.\n\nAnswer: which is faster?",
        "A) Is this a question?",
    ],
)
def test_questions_of_several_lines_are_known(question: str, tmp_path: Path) -> None:
    odd = Question(question, ("walking", "running", "either", "neither"), 1)
    path = write_questions(tmp_path / "q.jsonl", [odd, *POOL])
    certain = get_model(
        "simulated/custom", questions=path, ability=0.99, refusal_rate=0, prose_rate=0, dip=0
    )

    for style in (chat, transcript):
        for shown in ([], gold(3), [(q, None) for q in POOL[:3]], [(odd, "B"), *gold(2)]):
            api = certain.api
            assert isinstance(api, SimulatedAPI)
            seen, _, asked = api._read_prompt(style(shown, odd))
            assert asked is not None
            assert api._know(asked)[:2] == (normalise(question), "running")
            assert seen.labelled + seen.unlabelled == len(shown)
            assert (seen.known, seen.wrong) == (1, 0)


def test_right_option_is_found_by_its_text(model: Callable[..., Model]) -> None:
    medium = model("medium")
    tested = TEST[:300]
    turned = [q._replace(choices=q.choices[::-1], label=3 - q.label) for q in tested]

    assert answers(medium, [], turned) == answers(medium, [], tested)

    fewer = [Question(q.question, (q.choices[q.label - 1], q.right), 1) for q in tested]
    assert_binomial(correctness(medium, [], fewer), planted_accuracy("medium", 0, options=2))


def test_unknown_questions_are_guessed_and_not_learned(model: Callable[..., Model]) -> None:
    unknown = [make_question(i) for i in range(50_000, 51_500)]
    large = model("large")

    zero, many = (correctness(large, gold(k), unknown) for k in (0, 64))

    assert_binomial(zero, 0.25 * 0.99)
    assert_binomial(many, 0.25 * (1 - 0.01 / 17))


def test_demonstrations_it_cannot_judge_count_as_unlabelled(model: Callable[..., Model]) -> None:
    unknown: Labelled = [(make_question(i), "A") for i in range(50_000, 50_032)]
    parameters = model_parameters("small", dip=0, refusal_rate=0, prose_rate=0)

    measured = correctness(
        model("small", dip=0, refusal_rate=0, prose_rate=0), unknown, TEST[:1500]
    )

    assert_binomial(measured, planted_accuracy(parameters, 32, unlabelled=True))


def test_a_prompt_without_options_gets_no_letter(model: Callable[..., Model]) -> None:
    prompts: list[list[ChatMessage]] = [
        [ChatMessageUser(content="Hello!")],
        [ChatMessageSystem(content=TEST[0].text)],
        [ChatMessageUser(content="")],
    ]

    for output in ask(model("small"), prompts, logprobs=True):
        assert read(output.completion, TEST[0].choices) is None
        assert output.choices[0].logprobs is None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["A) x", "B) y", "C) z", "A. x", "(B) q", "Answer: B", "Answer:", "", "why"]
        )
    )
)
def test_any_text_is_read_without_an_error(lines: list[str]) -> None:
    api = SimulatedAPI("small")

    seen, tail, _ = api._read_prompt([ChatMessageUser(content="\n".join(lines))])

    assert seen.characters + len(tail) == len("\n".join(lines))


# Layouts of the prompt arms


def test_merged_turns_are_read_as_separate_ones(model: Callable[..., Model]) -> None:
    api = model("small").api
    assert isinstance(api, SimulatedAPI)

    def hidden(q: Question) -> str:
        return q.text.split("\n\n", 1)[1]

    for write in (lambda q: q.text, hidden):
        for asked in TEST[:5]:
            texts = [write(q) for q in [*POOL[:6], asked]]
            apart = [ChatMessageUser(content=text) for text in texts]
            seen, _, block = api._read_prompt([ChatMessageSystem(content=SYSTEM), *apart])
            for separator in ("\n", "\n\n"):
                merged = ChatMessageUser(content=separator.join(texts))
                other, _, found = api._read_prompt([ChatMessageSystem(content=SYSTEM), merged])
                assert block is not None
                assert found is not None
                assert found[:2] == block[:2]
                assert found.options == asked.choices
                assert (other.unlabelled, other.digest) == (seen.unlabelled, seen.digest)
                assert other.unlabelled == 6


@pytest.mark.parametrize("style", [chat, transcript])
def test_hidden_questions_are_guessed_each_for_itself(
    style: Callable[[Labelled, Question], list[ChatMessage]], model: Callable[..., Model]
) -> None:
    def hide(prompt: list[ChatMessage]) -> list[ChatMessage]:
        return [
            m.model_copy(update={"content": re.sub(r"Which statement .*\?\n\n", "", m.text)})
            for m in prompt
        ]

    large = model("large", refusal_rate=0.2)
    for shown in ([], gold(8)):
        outputs = ask(large, [hide(style(shown, q)) for q in TEST[:800]], through_inspect=False)
        picks = [read(o.completion, q.choices) for o, q in zip(outputs, TEST, strict=False)]
        unread = np.array([pick is None for pick in picks])
        right = np.array([pick == q.label for pick, q in zip(picks, TEST, strict=False)])
        rate = 0.203 / (1 + len(shown) / 4)
        assert_binomial(unread, rate)
        assert_binomial(right, 0.25 * (1 - rate))


@pytest.mark.parametrize("lead", ["Answer: ", ""])
def test_labels_after_reasoning_are_read_in_a_transcript(
    lead: str, model: Callable[..., Model]
) -> None:
    api = model("small").api
    assert isinstance(api, SimulatedAPI)
    thought = "Option A sounds right.\nYet it is not."

    def reasoned(shown: Labelled, asked: Question) -> list[ChatMessage]:
        blocks = [f"{q.text}\n\n{lead}{thought}\nANSWER: {label}" for q, label in shown]
        text = "\n\n".join([*blocks, f"{asked.text}\n\nAnswer:"])
        return [ChatMessageSystem(content=SYSTEM), ChatMessageUser(content=text)]

    seen, _, asked = api._read_prompt(reasoned(labels_with(8, 5, 2), TEST[0]))
    plain, _, _ = api._read_prompt(transcript(labels_with(8, 5, 2), TEST[0]))

    assert asked is not None
    assert asked.options == TEST[0].choices
    assert (seen.labelled, seen.unlabelled) == (8, 0)
    assert seen.digest == plain.digest


def test_replies_with_reasoning_are_read_by_the_scorer(model: Callable[..., Model]) -> None:
    instruction = ChatMessageSystem(content="Think step by step, then end with ANSWER: X")
    prompts: list[list[ChatMessage]] = [[instruction, user(q)] for q in TEST[:300]]
    small = model("small", refusal_rate=0, prose_rate=0)

    outputs = ask(small, prompts, through_inspect=False, max_tokens=300)

    plain = answers(small, [], TEST[:300], style=chat)
    for output, question, chosen in zip(outputs, TEST, plain, strict=False):
        letter = read_reply(output.completion, question.choices).letter
        assert letter == output.completion[-1]
        assert question.choices[LETTERS.index(letter)] == chosen
    assert len({output.completion[:-1] for output in outputs}) == 4


# Replies


def test_replies_are_bare_letters_more_often_the_more_are_shown(
    model: Callable[..., Model],
) -> None:
    def bare(shots: int, instructed: bool) -> float:
        prompts = [chat(gold(shots), q)[0 if instructed else 1 :] for q in TEST[:500]]
        outputs = ask(model("small"), prompts, through_inspect=False)
        return float(np.mean([len(o.completion) == 1 for o in outputs]))

    assert 0.6 < bare(0, False) < 0.8 < bare(0, True) < bare(4, True) < 1
    assert bare(32, False) > 0.99


def test_replies_take_many_forms_and_are_never_ambiguous(model: Callable[..., Model]) -> None:
    prompts = [chat([], q)[1:] for q in TEST[:3000]]
    outputs = ask(model("small"), prompts, through_inspect=False)

    for output, question in zip(outputs, TEST, strict=False):
        read(output.completion, question.choices)
    replies = {re.sub(r"\d+|\b[ABCD]\b", "#", output.completion) for output in outputs}
    assert len(replies) > 12
    assert any(reply.startswith("Sorry") for reply in replies)


@pytest.mark.parametrize("max_tokens", [1, 2, 4, 7, 8, 16, 64])
def test_replies_keep_to_max_tokens(max_tokens: int, model: Callable[..., Model]) -> None:
    prompts = [chat([], q)[1:] for q in TEST[:400]]
    verbose = model("small", refusal_rate=0.2, prose_rate=0.2)
    short = ask(verbose, prompts, through_inspect=False, max_tokens=max_tokens)
    full = ask(verbose, prompts, through_inspect=False)

    for s, f, q in zip(short, full, TEST, strict=False):
        assert read(s.completion, q.choices) == read(f.completion, q.choices)
        assert s.usage is not None
        assert s.usage.output_tokens <= max_tokens
        cut = s.stop_reason == "max_tokens"
        assert cut == (
            len(s.completion) < len(f.completion) and read(f.completion, q.choices) is None
        )
        if max_tokens < 8 and not cut:
            assert len(s.completion) == 1


def test_output_carries_usage_time_and_the_banner(model: Callable[..., Model]) -> None:
    prompt = chat(gold(8), TEST[0])
    [output] = ask(model("small"), [prompt])

    assert output.usage is not None
    assert output.usage.input_tokens == pytest.approx(sum(len(m.text) for m in prompt) / 4, abs=1)
    assert output.usage.output_tokens >= 1
    assert output.stop_reason == "stop"
    assert output.time is not None
    assert output.metadata == {"banner": SIMULATED_BANNER}
    assert output.model == "small"


def test_logprobs_agree_with_the_answer(model: Callable[..., Model]) -> None:
    tested = TEST[:500]
    small = model("small", refusal_rate=0.1)
    config = {"through_inspect": False, "logprobs": True}
    outputs = ask(small, [chat([], q) for q in tested], top_logprobs=5, **config)

    confidence, right = [], []
    for output, question in zip(outputs, tested, strict=True):
        logprobs = output.choices[0].logprobs
        assert logprobs is not None
        [token] = logprobs.content
        assert token.top_logprobs is not None
        top = {t.token: math.exp(t.logprob) for t in token.top_logprobs}
        assert sum(top.values()) == pytest.approx(1)
        assert token.token == max(top, key=lambda letter: top[letter])
        assert math.exp(token.logprob) == pytest.approx(top[token.token])
        pick = read(output.completion, question.choices)
        if pick is None:
            assert output.completion.startswith(token.token)
        else:
            assert token.token == LETTERS[pick]
            assert top[token.token] > 0.5
            confidence.append(top[token.token])
            right.append(pick == question.label)
    assert np.corrcoef(confidence, right)[0, 1] > 0.1

    [two] = ask(small, [chat([], TEST[0])], top_logprobs=2, **config)
    assert two.choices[0].logprobs is not None
    assert len(two.choices[0].logprobs.content[0].top_logprobs or []) == 2
    [none] = ask(small, [chat([], TEST[0])], **config)
    assert none.choices[0].logprobs is not None
    assert none.choices[0].logprobs.content[0].top_logprobs is None
    [without] = ask(small, [chat([], TEST[0])])
    assert without.choices[0].logprobs is None


# Determinism, failures, speed


def test_the_same_prompt_gets_the_same_reply(world: str) -> None:
    prompts = [chat(gold(4), q) for q in TEST[:100]]

    def replies(seed: int = 0, order: int = 1) -> list[str]:
        fresh = get_model("simulated/small", questions=world, seed=seed, memoize=False)
        return [o.completion for o in ask(fresh, prompts[::order])][::order]

    assert replies() == replies(order=-1)
    assert replies() != replies(seed=1)


def test_strings_numbers_and_defaults_mean_the_same(model: Callable[..., Model]) -> None:
    tested = TEST[:100]

    as_text = answers(model("custom", ability="0.75", seed="3", copy="0.1"), gold(8), tested)
    as_number = answers(model("custom", ability=0.75, seed=3.0), gold(8), tested)

    assert as_text == as_number


def test_injected_failures_are_retried_and_change_no_answer(world: str) -> None:
    samples = [Sample(id=i, input=q.text, target=LETTERS[q.label]) for i, q in enumerate(TEST[:80])]
    task = Task(dataset=MemoryDataset(samples), solver=generate(), scorer=includes())

    def run(**arguments: Any) -> tuple[list[str], int]:
        failing = get_model("simulated/small", questions=world, retry_delay=0.01, **arguments)
        [log] = eval(task, model=failing, display="none", log_dir=str(Path(world).parent / "logs"))
        assert log.status == "success"
        assert log.samples is not None
        by_id = sorted(log.samples, key=lambda s: int(s.id))
        failed = sum(e.event == "model" and e.error is not None for s in by_id for e in s.events)
        return [s.output.completion for s in by_id], failed

    plain, none = run()
    limited, n_limited = run(rate_limit_rate=0.3)
    failed, n_failed = run(fail_rate="0.3")
    again, n_again = run(fail_rate=0.15, rate_limit_rate=0.15)

    assert plain == limited == failed == again
    assert none == 0
    assert 15 < n_limited == n_failed == n_again


def test_failures_are_classified_as_inspect_classifies_those_of_servers(world: str) -> None:
    for argument, kind in (("rate_limit_rate", "rate_limit"), ("fail_rate", "transient")):
        arguments: dict[str, Any] = {"questions": world, argument: 1}
        api = SimulatedAPI("small", **arguments)
        with pytest.raises(Exception, match="simulated") as caught:
            asyncio.run(api.generate([user(TEST[0])], [], "auto", GenerateConfig()))
        decision = api.should_retry(caught.value)
        assert decision
        assert not isinstance(decision, bool)
        assert decision.kind == kind
        assert not api.should_retry(ValueError("another"))


def test_latency_is_waited(model: Callable[..., Model]) -> None:
    started = time.perf_counter()
    ask(model("small", latency=0.05), [chat([], TEST[0])])
    assert time.perf_counter() - started > 0.05


def test_a_call_takes_less_than_a_millisecond(model: Callable[..., Model]) -> None:
    large = model("large")
    for style in (chat, transcript):
        for shown in (gold(64), [(q, None) for q in POOL[:64]]):
            prompts = [style(shown, q) for q in TEST[:200]]
            ask(large, prompts[:1], through_inspect=False)
            fastest = math.inf
            for _ in range(3):
                started = time.perf_counter()
                ask(large, prompts, through_inspect=False)
                fastest = min(fastest, (time.perf_counter() - started) / len(prompts))
            assert fastest < 0.001, (style, fastest)


# Mistakes


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("tiny", {}, r"model must be one of small, medium, large, custom.*'tiny'"),
        ("learners", {}, r"small, medium, large, custom, learner, format, copier, surface or"),
        ("surface", {"gain": 1}, r"one of seed, questions, .*got 'gain'"),
        ("custom", {}, r"ability must be given.*0\.01 and 0\.99.*got nothing"),
        ("custom", {"ability": 1.5}, r"ability must be between 0\.01 and 0\.99, got 1\.5"),
        ("small", {"ability": "good"}, r"ability must be a number, got 'good'"),
        ("small", {"ability": True}, r"ability must be a number, got True"),
        ("small", {"gain": math.nan}, r"gain must be between -2 and 2, got nan"),
        ("small", {"copy": -0.1}, r"copy must be between 0 and 1, got -0\.1"),
        ("small", {"dip": 2}, r"dip must be between 0 and 1, got 2"),
        ("small", {"refusal_rate": 0.6}, r"refusal_rate must be between 0 and 0\.5, got 0\.6"),
        ("small", {"prose_rate": "x"}, r"prose_rate must be a number, got 'x'"),
        ("small", {"seed": 1.5}, r"seed must be a whole number, got 1\.5"),
        ("small", {"seed": "inf"}, r"seed must be a whole number, got 'inf'"),
        ("small", {"latency": -1}, r"latency must be between 0 and 3600, got -1"),
        ("small", {"fail_rate": 2}, r"fail_rate must be between 0 and 1, got 2"),
        ("small", {"rate_limit_rate": "no"}, r"rate_limit_rate must be a number, got 'no'"),
        ("small", {"fail_rate": 0.7, "rate_limit_rate": 0.7}, r"fail_rate \+ rate_limit_rate must"),
        ("small", {"retry_delay": -1}, r"retry_delay must be between"),
        ("small", {"abilty": 0.5}, r"model argument must be one of .*questions.*got 'abilty'"),
        ("small", {"questions": "/no/such.jsonl"}, r"questions, what .* knows.*/no/such\.jsonl"),
    ],
)
def test_a_bad_parameter_is_named_with_what_is_allowed_and_what_came(
    name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        get_model(f"simulated/{name}", memoize=False, **arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: planted_accuracy("small", -1), "shots must be between"),
        (lambda: planted_accuracy("small", 4, 1.2), "right_share must be between 0 and 1, got 1.2"),
        (lambda: planted_accuracy("small", 4, 0.8, 0.5), r"right_share \+ popular_share"),
        (lambda: planted_accuracy("small", 4, options=1), "options must be between 2 and 26"),
        (lambda: planted_pgr("small", "large", 4, ceiling="x"), "ceiling must be"),  # type: ignore[arg-type]
        (lambda: Parameters(ability=2), "ability must be between"),
        (lambda: model_parameters("small", nonsense=1), "model argument must be one of"),
    ],
)
def test_formulas_refuse_bad_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "record", ['{"question": "q?"}', '{"question": "q?", "choices": ["a"], "label": 3}', "{"]
)
def test_a_bad_question_file_names_the_record(record: str, tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(WORLD[0]._asdict()) + "\n" + record + "\n")

    with pytest.raises(ValueError, match=r"q\.jsonl: (row|line) \d"):
        get_model("simulated/small", questions=str(path), memoize=False)


def test_question_files_of_all_kinds_say_the_same(tmp_path: Path) -> None:
    records = [q._asdict() for q in POOL[:5]]
    (tmp_path / "q.json").write_text(json.dumps(records))
    write_questions(tmp_path / "q.jsonl", POOL[:5])
    rows = [
        '"{}","{}",{}'.format(
            r["question"], json.dumps(r["choices"]).replace('"', '""'), r["label"]
        )
        for r in records
    ]
    (tmp_path / "q.csv").write_text("question,choices,label\n" + "\n".join(rows))

    known = [_load_knowledge(str(tmp_path / f"q.{kind}")) for kind in ("json", "jsonl", "csv")]

    assert (
        known[0]
        == known[1]
        == known[2]
        == {normalise(q.question): normalise(q.right) for q in POOL[:5]}
    )


def test_the_bundled_questions_are_known_by_default() -> None:
    api = SimulatedAPI("small")

    assert len(api._knowledge) >= 12
    assert all(len(right) > 1 for right in api._knowledge.values())

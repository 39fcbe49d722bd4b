"""The stand-in models: what they read, what moves their accuracy, what they say."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
import pytest
from inspect_ai import eval
from inspect_ai.dataset import Sample
from inspect_ai.event import LoggerEvent
from inspect_ai.model import ChatMessage, GenerateConfig, ModelOutput, get_model

from tests.conftest import Args, rows, write_questions
from w2s_icl.analysis.logs import read_logs
from w2s_icl.errors import W2SError
from w2s_icl.evals import standins
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.sources import load_questions
from w2s_icl.evals.standins import ABILITY, StandInAPI, read_prompt
from w2s_icl.evals.sweep.endpoint import quiet_console
from w2s_icl.evals.truthfulqa import zero_shot
from w2s_icl.record import BANNER
from w2s_icl.scorers.reading import read_reply
from w2s_icl.solvers.few_shot import Demonstration, Demonstrations, Prompt, messages

N, SHOTS = 1000, 64
PLAIN, NONE = Prompt(), Demonstrations()
Prompts = list[list[ChatMessage]]
PLACES: list[dict[str, Any]] = [{}, {"style": "transcript"}, {"system_role": "user"}]
PROMPTS = [Prompt(**place, cot=cot) for place in PLACES for cot in ("none", "bare")]
PROMPTS += [Prompt(disclosure="accuracy")]
HIDDEN = [Prompt(**place, question="hidden") for place in PLACES]


def name_of(prompt: Prompt) -> str:
    return f"{prompt.style} {prompt.system_role} {prompt.arm}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("world")
    return str(write_questions(folder / "questions.jsonl", rows(N + SHOTS)))


@pytest.fixture(scope="module")
def samples(world: str) -> list[Sample]:
    return [question.sample(42) for question in load_questions(world).questions]


def shown(samples: Sequence[Sample], labels: str) -> Demonstrations:
    """Demonstrations with labels by word; of "half", every other one is wrong."""

    def label(i: int, sample: Sample) -> str | None:
        wrong = ascii_uppercase[: len(sample.choices or ())].replace(str(sample.target), "")
        kinds = {"gold": str(sample.target), "unlabelled": None}
        kinds["half"] = wrong[i % 3] if i % 2 else str(sample.target)
        kinds["random"] = wrong[i % 3] if i % 4 else str(sample.target)
        return kinds[labels]

    return Demonstrations(
        tuple(
            Demonstration(s.id or 0, str(s.input), tuple(s.choices or ()), label(i, s), "A")
            for i, s in enumerate(samples)
        ),
        source="someone",
    )


def prompts_of(prompt: Prompt, by: Demonstrations, asked: Sequence[Sample]) -> Prompts:
    prefix = messages(prompt.turns(by)[:-1])
    turns = (prompt.turns(by, str(s.input), s.choices or ())[-1:] for s in asked)
    return [[*prefix, *messages(turn)] for turn in turns]


def ask(api: Any, prompts: Prompts, **config: Any) -> list[ModelOutput]:
    async def all_of_them() -> list[ModelOutput]:
        return [await api.generate(p, [], "auto", GenerateConfig(**config)) for p in prompts]

    return asyncio.run(all_of_them())


def taken(
    api: StandInAPI, asked: Sequence[Sample], by: Demonstrations = NONE, prompt: Prompt = PLAIN
) -> list[str]:
    """Texts of the options that the suite's own scorer reads."""
    outputs = ask(api, prompts_of(prompt, by, asked))
    choices = [sample.choices or [] for sample in asked]
    letters = [read_reply(o.completion, c).letter for o, c in zip(outputs, choices, strict=True)]
    return [c["ABCD".index(at or "")] for at, c in zip(letters, choices, strict=True)]


def right(
    api: StandInAPI, asked: Sequence[Sample], by: Demonstrations = NONE, prompt: Prompt = PLAIN
) -> np.ndarray[Any, Any]:
    gold = [(s.choices or [])["ABCD".index(str(s.target))] for s in asked]
    return np.array([a == b for a, b in zip(taken(api, asked, by, prompt), gold, strict=True)])


@pytest.mark.parametrize("labels", ["gold", "unlabelled"])
@pytest.mark.parametrize("prompt", [*PROMPTS, *HIDDEN], ids=name_of)
def test_every_prompt_of_the_suite_is_read_as_it_was_made(prompt: Prompt, labels: str) -> None:
    split = load_split("misconceptions", test_size=20)
    by = shown(split.pool[:8], labels)

    for made, sample in zip(prompts_of(prompt, by, split.test), split.test, strict=True):
        (*solved, asked), _ = read_prompt(made)
        question = "" if prompt.question == "hidden" else str(sample.input)
        assert asked == (question, tuple(sample.choices or ()), "")
        assert [(b.options, b.label) for b in solved] == [
            (d.choices, d.choices["ABCD".index(d.label)] if d.label else "") for d in by.items
        ]
        assert ("step by step" in solved[0].question) == (prompt.cot == "bare")


@pytest.mark.parametrize("name", ABILITY)
def test_labels_move_accuracy_by_quality(name: str, world: str, samples: list[Sample]) -> None:
    api = StandInAPI(name, questions=world, refusal_rate=0)
    pool, asked, ability = samples[:SHOTS], samples[SHOTS:], ABILITY[name]

    zero, gold, half, unlabelled, random = (
        right(api, asked, shown(pool, labels) if labels else NONE).mean()
        for labels in ("", "gold", "half", "unlabelled", "random")
    )

    assert abs(zero - ability) < 4 * (ability * (1 - ability) / N) ** 0.5
    assert zero < half < gold
    assert zero < unlabelled < gold
    assert zero + 0.03 < gold < zero + 0.16
    assert zero - 0.12 < random < zero - 0.02


@pytest.mark.parametrize("prompt", PROMPTS, ids=name_of)
def test_words_and_places_move_no_answer(prompt: Prompt, world: str, samples: list[Sample]) -> None:
    api = StandInAPI("small", questions=world, refusal_rate=0)
    pool, asked = samples[:8], samples[SHOTS : SHOTS + 100]
    turned = [s.model_copy(update={"choices": (s.choices or [])[::-1]}) for s in asked]

    for by in (NONE, shown(pool, "half")):
        plain = taken(api, asked, by)
        assert taken(api, asked, by, prompt) == taken(api, turned, by, prompt) == plain


@pytest.mark.parametrize("prompt", HIDDEN, ids=name_of)
def test_hidden_questions_are_guessed(prompt: Prompt, world: str, samples: list[Sample]) -> None:
    api = StandInAPI("large", questions=world, refusal_rate=0)

    for by in (NONE, shown(samples[:8], "gold")):
        accuracy = right(api, samples[8:], by, prompt).mean()
        assert abs(accuracy - 0.25) < 4 * (0.25 * 0.75 / N) ** 0.5


def test_demonstrations_teach_the_format(world: str, samples: list[Sample]) -> None:
    api = StandInAPI("medium", questions=world, refusal_rate=0.2)

    def forms(by: Demonstrations) -> tuple[float, float]:
        replies = [o.completion for o in ask(api, prompts_of(PLAIN, by, samples))]
        unread = [read_reply(reply, "wxyz").letter is None for reply in replies]
        return float(np.mean([len(reply) == 1 for reply in replies])), float(np.mean(unread))

    zero, few = forms(NONE), forms(shown(samples[:16], "gold"))
    assert np.allclose(zero, (0.64, 0.20), atol=0.05)
    assert np.allclose(few, (0.92, 0.04), atol=0.03)


def test_replies_keep_to_max_tokens_and_usage_counts_them(samples: list[Sample]) -> None:
    api = StandInAPI("small", refusal_rate=0.5)
    prompts = prompts_of(PLAIN, NONE, load_split("misconceptions").test)

    outputs = ask(api, prompts, max_tokens=3)

    assert {o.stop_reason for o in outputs} == {"stop", "max_tokens"}
    for output, prompt in zip(outputs, prompts, strict=True):
        assert output.usage is not None
        assert output.usage.output_tokens <= 3
        characters = sum(len(m.text) for m in prompt)
        assert output.usage.input_tokens == pytest.approx(characters / 4, abs=2)
        assert output.metadata == {"warning": BANNER}


def test_models_repeat_and_differ_by_seed_and_name(world: str, samples: list[Sample]) -> None:
    def of(name: str, **arguments: Any) -> list[str]:
        return taken(StandInAPI(name, questions=world, refusal_rate=0, **arguments), samples)

    assert of("medium") == of("medium", seed="0", gain="0.4")
    assert of("medium") != of("medium", seed=1)
    assert of("custom-a", ability=0.7) != of("custom-b", ability=0.7)


@pytest.mark.parametrize("quiet", [False, True], ids=["inspect eval", "w2s run"])
def test_unknown_questions_are_said_once_in_terminal_and_log(
    quiet: bool, tmp_path: Path, log_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = str(write_questions(tmp_path / "mine.jsonl", rows(8)))
    task = zero_shot(dataset=questions, test_size=4)
    standins._warn_unknown.cache_clear()

    with quiet_console(quiet):
        logs = [
            eval(task, f"simulated/{name}", log_dir=log_dir, display="none")[0]
            for name in ("small", "large")
        ]
        known = get_model("simulated/small", questions=questions)
        eval(task, known, log_dir=str(tmp_path / "known"))

    events = [event for log in logs for sample in log.samples or () for event in sample.events]
    warnings = [event.message.message for event in events if isinstance(event, LoggerEvent)]
    assert len(warnings) == 1
    assert "'misconceptions' only" in warnings[0]
    assert "-M questions=PATH" in warnings[0]
    said = " ".join("".join(capsys.readouterr()).split())
    assert said.count("'misconceptions' only") == 1
    assert read_logs(log_dir).runs["simulated"].all()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("tiny", {}, r"must be simulated/small, .*custom-NAME, got simulated/tiny"),
        ("custom", {}, r"simulated/custom: ability is missing"),
        ("custom-x", {"ability": 1.5}, r"ability: input should be .* equal to 0\.99, got 1\.5"),
        ("small", {"gain": "much"}, r"simulated/small: gain: input should be .*got 'much'"),
        ("small", {"abilty": 0.5}, r"simulated/small: abilty is not a key; did you mean ability\?"),
        ("small", {"questions": "/no/such.csv"}, r"of simulated/small: .*/no/such\.csv"),
    ],
)
def test_a_mistake_is_a_line_with_what_is_allowed(name: str, arguments: Args, message: str) -> None:
    with pytest.raises(W2SError, match=message) as raised:
        get_model(f"simulated/{name}", memoize=False, **arguments)

    assert "\n" not in str(raised.value)

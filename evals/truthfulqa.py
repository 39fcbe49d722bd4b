"""The two tasks of the suite: `zero_shot` and `few_shot`.

    inspect eval evals/truthfulqa.py@zero_shot --model M                      a baseline
    inspect eval evals/truthfulqa.py@zero_shot -T split=pool --model M        M's weak labels
    inspect eval evals/truthfulqa.py@few_shot -T labels=gold -T shots=16 --model M
    inspect eval evals/truthfulqa.py@few_shot -T labels=weak -T weak=W -T shots=16 --model M

Once installed, the same as `w2s_icl/zero_shot` and `w2s_icl/few_shot` from any directory.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib.metadata import version
from typing import Any, Literal, ParamSpec, get_args

from inspect_ai import Task, task
from inspect_ai._util.error import PrerequisiteError  # noqa: TID251 - prints without a traceback
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import HeadlineMetric
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.viewer import TaskSamplesColumn, TaskSamplesSort, TaskSamplesView, ViewerConfig
from rich.markup import escape

from w2s_icl.evals.questions import NearDuplicates, Split, load_split
from w2s_icl.record import BANNER, STANDIN
from w2s_icl.scorers.multiple_choice import SCORER_VERSION, multiple_choice_letter
from w2s_icl.solvers.few_shot import (
    PROMPT_VERSION,
    Cot,
    Demonstrations,
    Disclosure,
    Prompt,
    QuestionText,
    Style,
    few_shot_prompt,
)
from w2s_icl.solvers.labels import (
    SELF,
    default_log_dir,
    demonstrations,
    find_answers,
    read_labels,
)

Part = Literal["test", "pool"]

MAX_TOKENS = 16
"""Tokens of a reply: enough for a letter and a few words round it."""

COT_MAX_TOKENS = 1024
"""Tokens of a reply that reasons first."""

VIEWER = ViewerConfig(
    task_samples_view=TaskSamplesView(
        name="Questions",
        multiline=False,
        columns=[
            TaskSamplesColumn(id="sampleId"),
            TaskSamplesColumn(id="input"),
            TaskSamplesColumn(id="target"),
            TaskSamplesColumn(id="answer"),
            TaskSamplesColumn.score("letter"),
            *(
                TaskSamplesColumn(id=column, visible=False)
                for column in (
                    "sampleStatus",
                    "epoch",
                    "tokens",
                    "cost",
                    "duration",
                    "retries",
                    "error",
                    "limit",
                )
            ),
        ],
        # N unreadable first, then I wrong, then C right
        sort=[TaskSamplesSort.score("letter", dir="desc")],
    )
)


P = ParamSpec("P")


class TaskError(PrerequisiteError, ValueError):
    """A mistake in a task's arguments or data: `inspect eval` prints its text, no traceback."""

    def __init__(self, text: str) -> None:
        """Keep the plain text beside the form that Inspect prints."""
        super().__init__(escape(text))  # Inspect prints it as markup
        self.args = (text,)


def _plain_errors(make: Callable[P, Task]) -> Callable[P, Task]:
    @wraps(make)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Task:
        try:
            return make(*args, **kwargs)
        except ValueError as error:
            raise TaskError(str(error)) from error

    return checked


@task
@_plain_errors
def zero_shot(
    split: Part = "test",
    cot: Cot | bool = "none",
    question: QuestionText = "shown",
    permutations: int = 1,
    dataset: str = "mc4",
    test_size: int = 200,
    seed: int = 42,
    near_duplicates: NearDuplicates = "drop",
    style: Style = "chat",
    max_tokens: int | None = None,
) -> Task:
    """Ask questions without demonstrations: a baseline on the test, weak labels on the pool.

    Args:
        split: "test", the scored questions, or "pool", those that may be shown.
        cot: "bare" asks for reasoning before the answer.
        question: "hidden" shows the options alone.
        permutations: Ask each question so many times, its options rotated by one place each time,
            and average.
        dataset: Name of a question set, or the path of one (see `evals.questions`).
        test_size: How many questions are scored; the rest is the pool.
        seed: Of the split, the option order and the draws.
        near_duplicates: "drop" bars pool questions that are near-duplicates of a test question.
        style: "chat" turns, or one "transcript".
        max_tokens: Longest reply, in tokens: by default 16, or 1,024 with `cot`.
    """
    _check_part(split)
    prompt = Prompt(style, cot=_cot(cot), question=question)
    questions = load_split(dataset, test_size=test_size, seed=seed, near_duplicates=near_duplicates)
    return _cell(
        cell_name("", 0, split=split, prompt=prompt.arm),
        questions,
        questions.test if split == "test" else questions.pool,
        Demonstrations(),
        prompt=prompt,
        permutations=permutations,
        max_tokens=max_tokens,
        tags=["truthfulqa", "zero-shot" if split == "test" else "weak labels"],
        metadata={"task": "zero_shot", "split": split},
    )


@task
@_plain_errors
def few_shot(
    labels: str = "gold",
    weak: str | None = None,
    shots: int = 8,
    draw: int = 0,
    disclosure: Disclosure = "none",
    cot: Cot | bool = "none",
    question: QuestionText = "shown",
    permutations: int = 1,
    skip: Sequence[int | str] | int | str | None = None,
    dataset: str = "mc4",
    test_size: int = 200,
    seed: int = 42,
    near_duplicates: NearDuplicates = "drop",
    style: Style = "chat",
    max_tokens: int | None = None,
) -> Task:
    """Ask the test questions after `shots` labelled demonstrations from the pool.

    Args:
        labels: Who labelled the demonstrations: "gold", "weak", "self" (the prompted model's own
            zero-shot answers), a control, or another source registered in `solvers.labels`.
        weak: Model whose logged answers on the pool are the labels; required by "weak" and what is
            made from weak labels. Logs are looked for in Inspect's log directory
            (INSPECT_LOG_DIR, or ./logs).
        shots: Demonstrations in the prompt: the first `shots` of the draw, so a longer prompt
            always contains the shorter one.
        draw: Which seeded permutation of the pool is shown.
        disclosure: What the prompt says of the labels: "none", their "source", or their "accuracy"
            too.
        cot: "bare" asks for reasoning before the answer.
        question: "hidden" shows the options alone, of demonstrations and questions.
        permutations: Ask each question so many times, its options rotated by one place each time,
            and average.
        skip: Ids of pool questions that are not shown. A study names here what any of its weak
            models left unread, so that all of its cells show the same demonstrations.
        dataset: As `zero_shot`, and so are the rest.
        test_size: How many questions are scored.
        seed: Of the split, the option order and the draws.
        near_duplicates: "drop" or "keep".
        style: "chat" or "transcript".
        max_tokens: Longest reply, in tokens.
    """
    if isinstance(draw, bool) or not isinstance(draw, int) or draw < 0:
        raise ValueError(f"draw must be a whole number from 0, got {draw!r}")
    prompt = Prompt(style, disclosure, _cot(cot), question)
    if labels == SELF:
        labels, weak = "weak", weak or _own_model()
    questions = load_split(dataset, test_size=test_size, seed=seed, near_duplicates=near_duplicates)
    split_of = split_metadata(questions, style)
    skipped = _ids(skip)
    order = [s for s in questions.draw(draw) if str(s.id) not in skipped]
    log_dir = default_log_dir()
    label_set = read_labels(
        labels,
        order,
        weak=weak,
        shots=shots,
        draw=draw,
        split=split_of,
        log_dir=log_dir,
    )
    shown, unread = demonstrations(order, label_set, shots=shots)
    asked = _marked(questions.test, weak, split_of, log_dir) if weak else questions.test
    return _cell(
        cell_name(labels, shots, weak=weak, draw=draw, prompt=prompt.arm),
        questions,
        asked,
        shown,
        prompt=prompt,
        permutations=permutations,
        max_tokens=max_tokens,
        tags=["truthfulqa", labels],
        metadata={
            "task": "few_shot",
            "split": "test",
            "labels": labels,
            "weak": weak,
            "shots": shots,
            "draw": draw,
            "demo_ids": [d.id for d in shown.items],
            "demo_labels": [d.label or "" for d in shown.items],
            "demo_label_accuracy": None if math.isnan(shown.right_share) else shown.right_share,
            "demo_choices": [list(d.choices) for d in shown.items],
            "shown_sha256": shown.sha256,
            "skipped": sorted(skipped),
            "unread": unread,
            **label_set.provenance,
        },
    )


def _own_model() -> str:
    """The model of this run, which labels for itself."""
    try:
        return str(get_model())
    except ValueError:
        raise ValueError(
            f"labels={SELF} needs to know the model when the task is made: run it by "
            "`inspect eval ... --model MODEL`, or name it: labels=weak, weak=MODEL"
        ) from None


def _check_part(split: str) -> None:
    if split not in get_args(Part):
        raise ValueError(f"split must be test or pool, got {split!r}")


def _cot(cot: Cot | bool) -> Cot:
    """`-T cot=true` is "bare"."""
    return cot if isinstance(cot, str) else "bare" if cot else "none"


def split_metadata(questions: Split, style: Style) -> dict[str, Any]:
    """Metadata of dataset, split and prompt, the same in all logs of one experiment."""
    return {**questions.provenance, "style": style, "prompt_version": PROMPT_VERSION}


def cell_name(
    labels: str,
    shots: int,
    *,
    weak: str | None = None,
    draw: int = 0,
    split: Part = "test",
    prompt: str = "",
) -> str:
    """What the viewer and the terminal call a cell.

    Example:
        >>> cell_name("gold", 8), cell_name("", 0), cell_name("", 0, split="pool")
        ('gold_k08', 'zero', 'zero_pool')
        >>> cell_name("weak", 64, weak="openrouter/meta-llama/llama-3.1-8b-instruct")
        'w2s_8b_k64'
        >>> cell_name("weak", 8, weak="a/x-8b", prompt="disclosure=source")
        'w2s_8b_source_k08'
    """
    arm = {"weak": "w2s", "noise_matched": "noise", "": "zero"}.get(labels, labels)
    if weak:
        arm += "_" + short_name(weak)
    # the word that tells prompts apart: "source", "bare" of cot, "hidden"
    words = [word.replace("cot=bare", "cot").rpartition("=")[2] for word in prompt.split()]
    parts = [arm, *words, *(["pool"] if split == "pool" else [])]
    if labels:
        parts.append(f"k{shots:02d}")
    return "_".join(parts) + (f"_d{draw}" if draw else "")


def short_name(model: str) -> str:
    """The size in a model's name, where there is one, else the end of the name.

    Example:
        >>> [short_name(m) for m in ("qwen/qwen-2.5-72b-instruct", "simulated/small")]
        ['72b', 'small']
    """
    last = model.rsplit("/", 1)[-1]
    size = re.search(r"(?<![\d.])\d+(?:\.\d+)?b(?![a-z])", last.lower())
    return size.group() if size else last[:12]


def _cell(
    name: str,
    questions: Split,
    asked: Sequence[Sample],
    shown: Demonstrations,
    *,
    prompt: Prompt,
    permutations: int,
    max_tokens: int | None,
    tags: list[str],
    metadata: dict[str, Any],
) -> Task:
    if isinstance(permutations, bool) or not isinstance(permutations, int) or permutations < 1:
        raise ValueError(f"permutations must be a whole number from 1, got {permutations!r}")
    digests = (questions.provenance["dataset_sha256"], prompt.sha256(shown))
    if max_tokens is None:
        max_tokens = MAX_TOKENS if prompt.cot == "none" else COT_MAX_TOKENS
    # only what differs from the defaults: Inspect tells cells apart by a solver's arguments too
    changed: dict[str, Any] = {
        name: value for name, value in vars(prompt).items() if value != getattr(Prompt(), name)
    }
    if permutations > 1:
        changed["permutations"] = permutations
    return Task(
        name=name,
        dataset=MemoryDataset(
            list(asked),
            name=f"{questions.provenance['dataset']} {metadata['split']}",
            location=str(questions.provenance["dataset_source"]),
        ),
        solver=few_shot_prompt(shown, **changed),
        scorer=multiple_choice_letter(permutations),
        epochs=permutations if permutations > 1 else None,
        config=GenerateConfig(temperature=0, max_tokens=max_tokens),
        # eval_set tells cells apart by name, arguments, model and version, not by their data: with
        # other questions or other labels an unfinished log must not be continued
        version="-".join([f"{PROMPT_VERSION}.{SCORER_VERSION}", *(d[:12] for d in digests)]),
        metadata={
            **metadata,
            **split_metadata(questions, prompt.style),
            "prompt": prompt.arm,
            "permutations": permutations,
            "prompt_sha256": digests[1],
            "prompt_characters": prompt.characters(shown),
            "scorer_version": SCORER_VERSION,
            "system_message": prompt.system_message(shown),
            "w2s_icl": version("w2s-icl"),
            **_banner(),
        },
        tags=tags,
        viewer=VIEWER,
        headline_metric=HeadlineMetric(scorer="letter", metric="accuracy"),
    )


def _banner() -> dict[str, str]:
    """The warning that stand-in models carry, when one of them is the model of this run."""
    try:
        name = str(get_model())
    except ValueError:  # a study gives each cell its model later, and marks it itself
        return {}
    return {"warning": BANNER} if name.startswith(STANDIN) else {}


def _marked(
    test: tuple[Sample, ...], weak: str, split_of: Mapping[str, Any], log_dir: str
) -> tuple[Sample, ...]:
    """The test questions, marked with how the weak model did on each where a log says it."""
    answers = find_answers(weak, "test", split_of, log_dir)
    if answers is None:
        return test
    marked: list[Sample] = []
    for sample in test:
        right = None if sample.id is None else answers.correct.get(sample.id)
        if right is not None:
            weak_was = {"weak": "right" if right else "wrong"}
            sample = sample.model_copy(update={"metadata": {**(sample.metadata or {}), **weak_was}})
        marked.append(sample)
    return tuple(marked)


def _ids(skip: Sequence[int | str] | int | str | None) -> set[str]:
    """Ids as texts, from a list or from what `-T skip=3,17` gives."""
    if skip is None or skip == "":
        return set()
    if isinstance(skip, int | str):
        skip = str(skip).split(",")
    return {str(item).strip() for item in skip}

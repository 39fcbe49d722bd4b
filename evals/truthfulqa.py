"""The two tasks of the suite: `zero_shot` and `few_shot`.

    inspect eval evals/truthfulqa.py@zero_shot --model M                      a baseline
    inspect eval evals/truthfulqa.py@zero_shot -T split=pool --model M        M's weak labels
    inspect eval evals/truthfulqa.py@few_shot -T labels=gold -T shots=16 --model M
    inspect eval evals/truthfulqa.py@few_shot -T labels=weak -T weak=W -T shots=16 --model M

Once installed, the same as `w2s_icl/zero_shot` and `w2s_icl/few_shot` from any directory.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import HeadlineMetric
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.viewer import TaskSamplesColumn, TaskSamplesSort, TaskSamplesView, ViewerConfig
from pydantic import Field

import w2s_icl
from w2s_icl import record
from w2s_icl.errors import W2SError, checked
from w2s_icl.evals.questions import NearDuplicates, Split, load_split
from w2s_icl.inputs import given_settings, log_directory
from w2s_icl.record import FILE, SCORER, SETTINGS, CellRecord, ExperimentRecord
from w2s_icl.scorers.multiple_choice import SCORER_VERSION, Read, multiple_choice_letter
from w2s_icl.solvers import few_shot as prompts
from w2s_icl.solvers.few_shot import Cot, Demonstrations, Prompt, QuestionText, Style, SystemRole
from w2s_icl.solvers.label_kinds import file_name
from w2s_icl.solvers.label_logs import find_answers
from w2s_icl.solvers.labels import LabelRequest, check_kind, demonstrations, id_of, read_labels

Part = Literal["test", "pool"]
Given = Mapping[str, Any] | None  # further settings of a call, by name

# columns of the viewer's list of samples that a click brings
HIDDEN = ("sampleStatus", "epoch", "tokens", "cost", "duration", "retries", "error", "limit")
VIEWER = ViewerConfig(
    task_samples_view=TaskSamplesView(
        name="Questions",
        multiline=False,
        columns=[
            *(TaskSamplesColumn(id=name) for name in ("sampleId", "input", "target", "answer")),
            TaskSamplesColumn.score(SCORER),
            *(TaskSamplesColumn(id=name, visible=False) for name in HIDDEN),
        ],
        # N unreadable first, then I wrong, then C right
        sort=[TaskSamplesSort.score(SCORER, dir="desc")],
    )
)


@task
def zero_shot(
    split: Part = "test",
    cot: Cot = "none",
    question: QuestionText = "shown",
    permutations: int = 1,
    read: Read = "reply",
    dataset: str = "mc4",
    test_size: int = 200,
    seed: int = 42,
    near_duplicates: NearDuplicates = "drop",
    style: Style = "chat",
    system_role: SystemRole = "system",
    max_tokens: int | None = None,
    generate: dict[str, Any] | None = None,
) -> Task:
    """Ask questions without demonstrations: a baseline on the test, weak labels on the pool.

    Args:
        split: "test", the scored questions, or "pool", those that may be shown.
        cot: "bare" asks for reasoning before the answer.
        question: "hidden" shows the options alone, of demonstrations and questions.
        permutations: Ask each question so often, its options rotated by one place each time.
        read: "reply" reads the reply; "likelihood" takes the most probable letter.
        dataset: Name of a question set, or the path of one (see `evals.sources`).
        test_size: How many questions are scored; the rest is the pool.
        seed: Of the split, the option order and the draws.
        near_duplicates: "drop" bars pool questions that are near-duplicates of a test question.
        style: "chat" turns, or one "transcript".
        system_role: "user" puts the instruction into the first user turn.
        max_tokens: Longest reply, in tokens: by default 16, or 1,024 with `cot`.
        generate: Further settings of each call, as Inspect's GenerateConfig; null takes one out.
    """
    prompt = Prompt(style, "none", cot, question, system_role)
    fields = {"prompt": prompt.arm, "permutations": permutations, "read": read}
    cell = checked(CellRecord, {"task": "zero_shot", "split": split, **fields}, strict=True)
    config = call_settings(cot, read, max_tokens, generate)
    questions = load_split(dataset, test_size, seed, near_duplicates)
    asked = questions.test if split == "test" else questions.pool
    experiment = experiment_record(questions, prompt)
    return _task(cell, experiment, asked, prompt, config, Demonstrations())


@task
def few_shot(  # noqa: D417 - the rest as `zero_shot`
    labels: str = "gold",
    weak: str | None = None,
    shots: int = 8,
    draw: int = 0,
    order: int = 0,
    disclosure: prompts.Disclosure = "none",
    cot: Cot = "none",
    question: QuestionText = "shown",
    permutations: int = 1,
    read: Read = "reply",
    skip: Sequence[int | str] | int | str | None = None,
    dataset: str = "mc4",
    test_size: int = 200,
    seed: int = 42,
    near_duplicates: NearDuplicates = "drop",
    style: Style = "chat",
    system_role: SystemRole = "system",
    max_tokens: int | None = None,
    generate: dict[str, Any] | None = None,
) -> Task:
    """Ask the test questions after `shots` labelled demonstrations from the pool.

    Args:
        labels: Who labelled the demonstrations: "gold", "weak", "self" (the prompted model's own
            zero-shot answers), a control, "file:PATH" (a table or a log), or another source; see
            docs/labels.md.
        weak: Model whose answers on the pool, in Inspect's log directory, are the labels.
        shots: Demonstrations in the prompt: the first of the draw, so a longer prompt contains the
            shorter one.
        draw: Which seeded permutation of the pool is shown.
        order: In which seeded order the same demonstrations are shown; 0 is the draw's own.
        disclosure: The prompt says of the labels "none", their "source", or their "accuracy" too.
        skip: Ids of pool questions that are not shown: of a study, those that lack a label in one
            of its arms, so that all of its cells show the same demonstrations.

    All other arguments are those of `zero_shot`; `read` is also that of the label run.
    """
    prompt = Prompt(style, disclosure, cot, question, system_role)
    fields: dict[str, Any] = {"prompt": prompt.arm, "permutations": permutations, "read": read}
    fields |= {"shots": shots, "draw": draw, "order": order, "labels": labels, "weak": weak}
    # a value may be of any type: `-T labels=gold,weak` is a list
    cell = checked(CellRecord, {"task": "few_shot", "split": "test", **fields}, strict=True)
    labels, weak, shots, draw, order = cell.labels, cell.weak, cell.shots, cell.draw, cell.order
    if labels == record.SELF:
        labels, weak = "weak", weak or _model()
        if not weak:
            raise W2SError("labels=self needs a model: --model MODEL, or labels=weak weak=MODEL")
    elif labels.startswith(FILE):
        if weak:
            raise W2SError(f"weak={weak!r} has no meaning with labels={labels}; leave it out")
        labels, weak = "file", labels
    check_kind(labels)  # before questions are fetched
    cell = cell.model_copy(update={"labels": labels, "weak": file_name(weak)})
    config = call_settings(cot, read, max_tokens, generate)
    questions = load_split(dataset, test_size, seed, near_duplicates)
    experiment = experiment_record(questions, prompt)
    named = str(skip).split(",") if isinstance(skip, int | str) else skip or ()
    pool, skipped = questions.draw(draw), {str(id_).strip() for id_ in named}
    request = LabelRequest(
        pool=[s for s in pool if str(s.id) not in skipped],
        weak=weak,
        shots=shots,
        draw=draw,
        seed=seed,
        experiment=experiment,
        settings=label_settings(read, max_tokens, generate),
        log_dir=log_directory(),
        skipped=[s for s in pool if str(s.id) in skipped],
        others=(*questions.test, *questions.barred),
    )
    label_set = read_labels(labels, request)
    shown, unread = demonstrations(request.pool, label_set, shots=shots)
    shown = shown.in_order(order, f"{seed}/{draw}/order")
    asked = _marked(request, questions.test)
    passed_over = {"skipped": sorted(skipped), "unread": unread}
    return _task(cell, experiment, asked, prompt, config, shown, label_set.record, **passed_over)


def experiment_record(questions: Split, prompt: Prompt) -> ExperimentRecord:
    """What all logs of one experiment share."""
    return ExperimentRecord(
        dataset=questions.of.name,
        seed=questions.seed,
        near_duplicates=questions.near_duplicates,
        dataset_sha256=questions.of.fingerprint,
        dataset_source=questions.of.source,
        test_size=len(questions.test),
        n_pool=len(questions.pool),
        n_near_duplicates=len(questions.barred),
        style=prompt.style,
        system_role=prompt.system_role,
        prompt_version=prompts.PROMPT_VERSIONS[prompt.style],
        scorer_version=SCORER_VERSION,
        w2s_icl=w2s_icl.__version__,
    )


class _Checked(GenerateConfig, allow_inf_nan=False):
    """Inspect's settings, with what it leaves unchecked."""

    max_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None


def call_settings(cot: Cot, read: Read, max_tokens: int | None, generate: Given) -> GenerateConfig:
    """Settings of each call of a cell; raises W2SError where they cannot be."""
    settings = {"temperature": 0, "max_tokens": max_tokens or (16 if cot == "none" else 1024)}
    if read == "likelihood":
        if cot != "none":
            raise W2SError(f"read=likelihood asks for one token: cot must be none, got {cot!r}")
        settings |= {"max_tokens": 1, "logprobs": True, "top_logprobs": 20}
    elif read != "reply":
        raise W2SError(f"read must be reply or likelihood, got {read!r}")
    if not isinstance(generate, Mapping | None):
        raise W2SError(f"generate must be settings by name, got {generate!r:.80}")
    settings |= generate or {}
    checked(_Checked, settings, "generate: ")
    return GenerateConfig.model_validate(settings)


def label_settings(read: Read, max_tokens: int | None, generate: Given) -> dict[str, Any]:
    """What a label run must agree on, by name; the command line's own settings come first."""
    settings = vars(call_settings("none", read, max_tokens, generate))
    return {n: settings[n] for n in SETTINGS} | given_settings(SETTINGS) | {"read": read}


def cell_name(cell: CellRecord) -> str:
    """What the viewer and the terminal call a cell: `zero_pool`, `gold_k08`, `w2s_8b_k64_d2`."""
    parts = [
        {"weak": "w2s", "noise_matched": "noise", "": "zero"}.get(cell.labels, cell.labels),
        cell.weak and record.short_name(cell.weak),
        # the word that tells prompts apart: "source", "cot", "hidden"
        *(word.replace("cot=bare", "cot").rpartition("=")[2] for word in cell.prompt.split()),
        "pool" if cell.split == "pool" else "",
        f"k{cell.shots:02d}" if cell.labels else "",
        f"d{cell.draw}" if cell.draw else "",
        f"o{cell.order}" if cell.order else "",
    ]
    return "_".join(filter(None, parts))


def _task(
    cell: CellRecord,
    experiment: ExperimentRecord,
    asked: Sequence[Sample],
    prompt: Prompt,
    config: GenerateConfig,
    shown: Demonstrations,
    *records: record.Record,
    **passed_over: Any,
) -> Task:
    digest = prompt.sha256(shown)
    longest = {"max_tokens": config.max_tokens} | given_settings(["max_tokens"])
    # only what differs from the defaults: Inspect tells cells apart by these arguments too
    changed: dict[str, Any] = {k: v for k, v in vars(prompt).items() if v != getattr(Prompt, k)}
    changed |= {"permutations": cell.permutations} if cell.permutations > 1 else {}
    reading: dict[str, Any] = {} if cell.read == "reply" else {"read": cell.read}
    simulated = _model().startswith(record.STANDIN)
    parts = [
        cell.model_copy(update=longest),
        experiment,
        record.Shown(
            ids=tuple(d.id for d in shown.items),
            labels=tuple(d.label or "" for d in shown.items),
            choices=tuple(d.choices for d in shown.items),
            right_share=shown.right_share,
            sha256=shown.sha256,
            prompt_sha256=digest,
            prompt_characters=prompt.characters(shown),
            system_message=prompt.system_message(shown),
            **passed_over,
        ),
        *records,
        # a study gives each cell its model later, and marks it itself
        record.RunRecord(warning=record.BANNER if simulated else ""),
    ]
    dataset = experiment.dataset
    tags = ["truthfulqa"] if dataset in ("mc1", "mc4", "truthful_qa_mc", "binary") else []
    name, location = f"{dataset} {cell.split}", experiment.dataset_source
    # eval_set tells cells apart by name, arguments, model and version, not by their data: with
    # other questions or other labels an unfinished log must not be continued
    digests = f"{experiment.dataset_sha256[:12]}-{digest[:12]}"
    return Task(
        name=cell_name(cell),
        dataset=MemoryDataset(list(asked), name=name, location=location),
        solver=prompts.few_shot_prompt(shown, **changed),
        scorer=multiple_choice_letter(cell.permutations, **reading),
        epochs=changed.get("permutations"),
        config=config,
        version=f"{experiment.prompt_version}.{SCORER_VERSION}-{digests}",
        metadata={key: value for part in parts for key, value in part.to_metadata().items()},
        tags=[*tags, cell.labels or ("zero-shot" if cell.split == "test" else "weak labels")],
        viewer=VIEWER,
        headline_metric=HeadlineMetric(scorer=SCORER, metric="accuracy"),
    )


def _model() -> str:
    """The model of this run, "" where it is not known yet."""
    try:
        return str(get_model())
    except ValueError:
        return ""


def _marked(request: LabelRequest, test: Sequence[Sample]) -> Sequence[Sample]:
    """The test questions, marked with how the weak model did on each where a log says it."""
    model, experiment = request.weak, request.experiment
    if not model or model.startswith(FILE) or experiment is None:
        return test
    answers = find_answers(model, "test", experiment, request.settings, request.log_dir)
    right = answers.correct if answers else {}
    was = {id_: {"weak": "right" if right[id_] else "wrong"} for id_ in right}
    said = [(sample.metadata or {}) | was.get(id_of(sample), {}) for sample in test]
    return [s.model_copy(update={"metadata": m}) for s, m in zip(test, said, strict=True)]

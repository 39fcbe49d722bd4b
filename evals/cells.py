"""From a study to its cells, and from a cell to its Inspect task.

Inspect tells cells apart by their arguments exactly as passed: all cells are built here, in one
way.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset

from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import MAIN_KINDS, Study
from w2s_icl.evals.sweep.endpoint import model_of
from w2s_icl.evals.truthfulqa import Part, few_shot, zero_shot
from w2s_icl.record import BANNER, STANDIN, CellKey
from w2s_icl.solvers.labels import SELF


@dataclass(frozen=True)
class Cell:
    """One log of the study.

    Attributes:
        model: The model that is prompted.
        split: "test" or "pool".
        labels: Kind of labels, "" for a zero-shot cell.
        weak: Who gave the labels, where that matters.
        shots: Demonstrations in the prompt.
        draw: Number of the draw.
        prompt: Arm of the prompt, "" for the plain one.
        args: What the task function is called with: what differs from its defaults.
    """

    model: str
    split: Part = "test"
    labels: str = ""
    weak: str | None = None
    shots: int = 0
    draw: int = 0
    prompt: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """Name of its task."""
        return "few_shot" if self.labels else "zero_shot"

    @property
    def key(self) -> CellKey:
        """The cell as its log will say it."""
        if not self.labels:
            return CellKey(self.model, self.task, self.split, "", "", 0, 0, self.prompt)
        given = (self.labels, self.weak or "", self.shots, self.draw)
        return CellKey(self.model, self.task, self.split, *given, self.prompt)

    @property
    def own(self) -> bool:
        """Whether the prompted model labelled for itself."""
        return self.labels == "weak" and self.weak == self.model

    @property
    def stage(self) -> str:
        """Which line of the plan it belongs to."""
        arm = f", {self.prompt}" if self.prompt else ""
        if not self.labels:
            name = "zero-shot, test" if self.split == "test" else "weak labels, pool"
        elif self.own:
            name = "own demonstrations"
        else:
            name = f"{self.labels} demonstrations"
        return name + arm


def _cell(study: Study, model: str, **fields: Any) -> Cell:
    """A cell with the arguments that make its task."""
    shared = ("dataset", "test_size", "seed", "near_duplicates", "style", "max_tokens")
    args: dict[str, Any] = {
        key: value
        for key in shared
        if (value := getattr(study, key)) != Study.model_fields[key].default
    }
    cell = Cell(model, **fields)
    if cell.labels:
        args |= {"labels": cell.labels, "shots": cell.shots, "draw": cell.draw}
    if cell.weak:
        args["weak"] = cell.weak
    if cell.split != "test":
        args["split"] = cell.split
    elif study.permutations > 1:
        args["permutations"] = study.permutations
    args |= dict(word.split("=") for word in cell.prompt.split())
    return replace(cell, args=args)


def zero_shot_cells(study: Study) -> list[Cell]:
    """The first phase: one baseline per model, one label run per weak model."""
    named = {m for pair in study.all_pairs for m in pair}
    models = [m for m in study.models if m in named]
    arms = [arm for arm in study.prompts if arm in ("cot=bare", "question=hidden")]
    return [
        *(_cell(study, m) for m in models),
        *(_cell(study, m, prompt=arm) for arm in arms for m in study.strong_models),
        *(_cell(study, m, split="pool") for m in study.weak_models),
    ]


def few_shot_cells(study: Study, skip: Collection[int | str], split: Split) -> list[Cell]:
    """The last phase: every (strong, labels, weak, shots, draw), gold before the others.

    Args:
        study: The study.
        skip: Pool questions that some weak model left unread: no cell shows them.
        split: Test and pool.
    """
    arms: dict[tuple[str, str | None, str, str], Sequence[int]] = {}
    for kind in sorted(study.labels, key=lambda kind: (kind != "gold", kind != "weak")):
        for weak, model in study.givers(kind):
            # a pair of a model with itself has its own labels in "weak" already
            key = ("weak" if kind == SELF else kind, weak, model, "")
            arms.setdefault(key, study.arm_shots(kind))
    for prompt in study.prompts:
        for kind in MAIN_KINDS:
            if kind in study.labels:
                for weak, model in study.givers(kind):
                    arms[kind, weak, model, prompt] = study.arm_shots(prompt)
    return [
        _shown(study, model, labels, weak, k, draw, skip, split, prompt=prompt)
        for (labels, weak, model, prompt), shots in arms.items()
        for draw in range(study.draws)
        for k in shots
    ]


def _shown(
    study: Study,
    model: str,
    labels: str,
    weak: str | None,
    shots: int,
    draw: int,
    skip: Collection[int | str],
    split: Split,
    *,
    prompt: str = "",
) -> Cell:
    """A cell with demonstrations."""
    cell = _cell(
        study,
        model,
        labels=labels,
        weak=weak,
        shots=shots,
        draw=draw,
        prompt=prompt,
    )
    # only what this prompt would have shown, so that cells stay the same when a larger study leaves
    # out something further down the draw
    order = [s.id for s in split.draw(draw) if s.id is not None]
    passed = _passed_over(order, shots, skip)
    return replace(cell, args={**cell.args, "skip": passed}) if passed else cell


def _passed_over(
    order: Iterable[int | str], shots: int, skip: Collection[int | str]
) -> list[int | str]:
    passed: list[int | str] = []
    for id_ in order:
        if shots == 0:
            break
        if id_ in skip:
            passed.append(id_)
        else:
            shots -= 1
    return passed


def cell_task(
    study: Study, cell: Cell, log_dir: str, ask: Collection[int | str] | None = None
) -> Task:
    """What a cell asks, without the model that it asks; arguments as `build`."""
    task_function = few_shot if cell.labels else zero_shot
    with _log_dir(log_dir):
        task = task_function(**dict(cell.args))
    if ask is not None:
        asked = [sample for sample in task.dataset if sample.id in ask]
        task.dataset = MemoryDataset(asked, name=task.dataset.name, location=task.dataset.location)
    if cell.split == "test":
        times = study.epochs_of(cell) * study.permutations
        task.epochs = times if times > 1 else None
    return task


def build(
    study: Study,
    cell: Cell,
    log_dir: str,
    plan: Mapping[str, Any],
    ask: Collection[int | str] | None = None,
) -> Task:
    """The Inspect task of a cell, with its model.

    Args:
        study: The study.
        cell: One of its cells.
        log_dir: Where weak labels are read from.
        plan: As `plan_metadata`.
        ask: Ids of the only questions to ask, in a label run; Inspect asks the missing ones when
            there are more of them later.
    """
    task = cell_task(study, cell, log_dir, ask)
    task.model = model_of(study, cell.model)
    # whatever model was active while the task was made, the cell's own decides
    metadata = {key: value for key, value in (task.metadata or {}).items() if key != "warning"}
    if cell.model.startswith(STANDIN):
        metadata["warning"] = BANNER
    price = study.prices.get(cell.model)
    if price:
        metadata["price_per_million"] = price.model_dump(exclude_none=True)
    metadata["study"] = plan
    task.metadata = metadata
    return task


def all_cells(study: Study, split: Split, skip: Collection[int | str] = ()) -> list[Cell]:
    """Every cell; without `skip` as planned before it is known what is left unread."""
    return [
        *zero_shot_cells(study),
        *few_shot_cells(study, skip, split),
    ]


def plan_metadata(study: Study, cells: Iterable[Cell]) -> dict[str, Any]:
    """What was planned, so that a reader of the logs can tell what is missing.

    Args:
        study: The study.
        cells: All its cells.

    Returns:
        For the metadata of every log. `blocks` holds a line per arm: model, task, split, labels,
        weak, prompt, shot counts, draws.
    """
    blocks: dict[tuple[str, ...], tuple[set[int], set[int]]] = {}
    for cell in cells:
        arm = (cell.model, cell.task, cell.split, cell.labels, cell.weak or "", cell.prompt)
        shots, draws = blocks.setdefault(arm, (set(), set()))
        shots.add(cell.shots)
        draws.add(cell.draw)
    return {
        "name": study.name,
        "models": list(study.models),
        "pairs": [list(pair) for pair in study.all_pairs],
        "headline": list(study.verdict_shots),
        "margin": study.margin,
        "blocks": [[*arm, sorted(shots), len(draws)] for arm, (shots, draws) in blocks.items()],
    }


@contextmanager
def _log_dir(log_dir: str) -> Iterator[None]:
    """Inspect's own way to say where logs are, for as long as a task is being made."""
    before = os.environ.get("INSPECT_LOG_DIR")
    os.environ["INSPECT_LOG_DIR"] = log_dir
    try:
        yield
    finally:
        if before is None:
            del os.environ["INSPECT_LOG_DIR"]
        else:
            os.environ["INSPECT_LOG_DIR"] = before

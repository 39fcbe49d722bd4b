"""From a study to its cells, and from a cell to its Inspect task.

Inspect tells cells apart by their arguments as passed: all cells are built here, in one way.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset

from w2s_icl import record
from w2s_icl.errors import W2SError
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import MAIN_KINDS, Study
from w2s_icl.evals.sweep.endpoint import model_of
from w2s_icl.evals.truthfulqa import Part, experiment_record, few_shot, zero_shot
from w2s_icl.inputs import logs_in
from w2s_icl.record import FILE, SELF, CellKey, Id, PlanRecord, RunRecord
from w2s_icl.solvers.few_shot import Prompt
from w2s_icl.solvers.label_kinds import file_name
from w2s_icl.solvers.labels import LabelRequest, id_of, import_plugin, read_labels

# arguments of the tasks that are the study's, the same in all cells
SHARED = (
    *("dataset", "test_size", "seed", "near_duplicates", "style"),
    *("system_role", "read", "max_tokens", "generate"),
)


class Cell(CellKey):
    """One log of the study: its key as its log says it, and what makes it."""

    args: Mapping[str, Any]  # of its task, where they differ from the defaults

    @property
    def key(self) -> CellKey:
        """The key alone."""
        return CellKey(*self)

    @property
    def own(self) -> bool:
        """Whether the prompted model labelled for itself."""
        return self.labels == "weak" and self.weak == self.model

    @property
    def stage(self) -> str:
        """Which line of the plan it belongs to."""
        name = ("own" if self.own else self.labels) or "zero-shot"
        if changed := self.prompt or ("other orders" if self.order else ""):
            return f"{name}, {changed}"
        if self.split == "pool":
            return "weak labels, pool"
        return f"{name} demonstrations" if self.labels else "zero-shot, test"


def _cell(
    study: Study, model: str, split: Part = "test", skip: Sequence[Id] = (), **arm: Any
) -> Cell:
    """A cell with the arguments that make its task: those that differ from the defaults."""
    cell = Cell(model, "few_shot" if "labels" in arm else "zero_shot", split, **arm)
    shared = {name: getattr(study, name) for name in SHARED}
    args = {k: v for k, v in shared.items() if v != Study.model_fields[k].default}
    if cell.labels:
        kind, weak = (cell.weak, "") if cell.labels == "file" else (cell.labels, cell.weak)
        args |= {"labels": kind, "shots": cell.shots, "draw": cell.draw}
        args |= {k: v for k, v in {"order": cell.order, "weak": weak}.items() if v}
    if split != "test":
        args["split"] = split
    elif study.permutations > 1:
        args["permutations"] = study.permutations
    args |= dict(word.split("=") for word in cell.prompt.split())
    cell = cell._replace(weak=file_name(cell.weak))
    # Inspect tells cells apart by the order of their arguments, too
    cell.args = args | ({"skip": skip} if skip else {})
    return cell


def zero_shot_cells(study: Study) -> list[Cell]:
    """The first phase: one baseline per model, one label run per weak model."""
    arms = [arm for arm in study.prompts if arm in ("cot=bare", "question=hidden")]
    return [
        *(_cell(study, m) for m in study.models),
        *(_cell(study, m, prompt=arm) for arm in arms for m in study.strong_models),
        *(_cell(study, m, split="pool") for m in study.weak_models),
    ]


def few_shot_cells(study: Study, skip: Collection[Id], split: Split) -> list[Cell]:
    """The last phase: every (strong, labels, weak, shots, draw), gold before the others.

    Then the further orders of gold and weak labels with the plain prompt at the headline. No cell
    shows the pool questions in `skip`: they have no usable label in some arm.
    """
    arms: dict[tuple[str, str, str, str], Sequence[int]] = {}
    kinds = sorted(study.labels, key=lambda kind: (kind != "gold", kind != "weak"))
    for changed, kind in product(("", *study.prompts), kinds):
        # a pair of a model with itself has its own labels in "weak" already
        name = "weak" if kind == SELF else "file" if kind.startswith(FILE) else kind
        if kind in MAIN_KINDS or not changed:
            for weak, model in study.labelled_by(kind):
                arms.setdefault((model, name, weak, changed), study.arm_shots(changed or kind))
    pools = [[id_of(s) for s in split.draw(draw)] for draw in range(study.draws)]
    usable = [[at for at, id_ in enumerate(pool) if id_ not in skip] for pool in pools]
    n = len(usable[0])  # of every draw, which is a permutation
    if short := [k for shots in arms.values() for k in shots if k > n]:
        have = f"only {n} of the {len(pools[0])} questions of the pool have a usable label"
        given = ", ".join(map(file_name, study.labels))
        raise W2SError(f"shots={short[0]}, but {have} of each kind in labels ({given})")
    cells: list[Cell] = []
    for order, ((model, labels, weak, prompt), shots) in product(range(study.orders), arms.items()):
        if order and (prompt or labels not in MAIN_KINDS):
            continue
        arm: dict[str, Any] = {"labels": labels, "weak": weak, "prompt": prompt, "order": order}
        for (draw, pool), k in product(enumerate(pools), shots):
            if not order or k in study.verdict_shots:
                # what this prompt would have shown, and no more: a larger study leaves it as it is
                passed_over = [id_ for id_ in pool[: usable[draw][k - 1]] if id_ in skip]
                arm |= {"shots": k, "draw": draw, "skip": passed_over}
                cells.append(_cell(study, model, **arm))
            if len(cells) > 5_000:  # a plan takes 5 ms for each
                raise W2SError("a study has at most 5,000 cells: name fewer shots or draws")
    return cells


def cell_task(
    study: Study, cell: Cell, log_dir: str, ask: Collection[Id] | None = None, **changed: Any
) -> Task:
    """What a cell asks, without the model that it asks; arguments as `build`, then the task's."""
    for name in study.plugins:  # on another machine too
        import_plugin(name)
    with logs_in(log_dir):
        task = (few_shot if cell.labels else zero_shot)(**{**cell.args, **changed})
    if ask is not None:
        asked = [sample for sample in task.dataset if sample.id in ask]
        task.dataset = MemoryDataset(asked, name=task.dataset.name, location=task.dataset.location)
    if cell.split == "test":
        kind = SELF if cell.own else cell.labels or "zero_shot"
        times = (1 if cell.prompt else study.epochs_of(kind)) * study.permutations
        task.epochs = times if times > 1 else None
    return task


def build(
    study: Study, cell: Cell, log_dir: str, plan: PlanRecord, ask: Collection[Id] | None = None
) -> Task:
    """The Inspect task of a cell, with its model; weak labels are read from `log_dir`.

    `ask` are ids of the only questions of a label run; of more ids, Inspect asks the missing ones.
    """
    task = cell_task(study, cell, log_dir, ask)
    task.model = model_of(study, cell.model)
    # whatever model was active while the task was made, the cell's own decides
    metadata = {k: v for k, v in (task.metadata or {}).items() if k not in RunRecord.model_fields}
    price = study.prices.get(cell.model)
    simulated = any(model.startswith(record.STANDIN) for model in (cell.model, cell.weak))
    run = RunRecord(
        warning=record.BANNER if simulated else "",
        price_per_million=price.model_dump(exclude_none=True) if price else None,
    )
    task.metadata = {**metadata, **run.to_metadata(), **plan.to_metadata()}
    return task


def shown_by(task: Task) -> record.Shown:
    """What the prompts of a task show, as its log will say."""
    return record.Shown.from_metadata(task.metadata or {})


def experiment_of(study: Study, split: Split) -> record.ExperimentRecord:
    """What all logs of a study share."""
    return experiment_record(split, Prompt(study.style, system_role=study.system_role))


def without_file_label(study: Study, split: Split) -> frozenset[Id]:
    """Pool questions for which some file of labels of the study has none."""
    missing: set[Id] = set()
    experiment, others = experiment_of(study, split), (*split.test, *split.barred)
    for kind in study.labels:
        if kind.startswith(FILE):
            request = LabelRequest(split.pool, kind, experiment=experiment, others=others)
            labels = read_labels("file", request).labels
            missing |= {id_ for id_, text in labels.items() if text is None}
    return frozenset(missing)


def all_cells(study: Study, split: Split, skip: Collection[Id] = ()) -> list[Cell]:
    """Every cell; without `skip` as planned before it is known what is left unread."""
    return [*zero_shot_cells(study), *few_shot_cells(study, skip, split)]


def plan_record(study: Study, cells: Iterable[Cell]) -> PlanRecord:
    """What was planned, given all cells, so that a reader of the logs can tell what is missing."""
    cells = list(cells)
    return PlanRecord(
        name=study.name,
        models=study.models,
        pairs=study.all_pairs,
        headline=study.verdict_shots,
        declared="headline" in study.model_fields_set,
        margin=study.margin,
        blocks=record.blocks_of(cell for cell in cells if not cell.order),
        orders=study.orders,
        reordered=record.blocks_of(cell for cell in cells if cell.order),
    )

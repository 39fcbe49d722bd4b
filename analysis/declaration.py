"""What the studies behind a directory's logs declared, and whether they kept to it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import fsspec
from inspect_ai.log import EvalLog

from w2s_icl.errors import W2SError, first_line
from w2s_icl.record import MARGIN, PLANS, CellRecord, PlanRecord, file_of, is_complete


@dataclass(frozen=True)
class Declaration:
    """What the study of the earliest log declared, before any result was there: see `PlanRecord`.

    `models` and `pairs` are followed by those that later studies added. `conflicts` say why it does
    not bind the results: what later logs of the directory changed, each in a few words. `plans` are
    all plans, each with the first log that holds it, the earliest first.
    """

    headline: tuple[int, ...] = ()
    declared: bool = False
    margin: float = MARGIN
    models: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    conflicts: tuple[str, ...] = ()
    plans: Mapping[PlanRecord, str] = field(default_factory=dict)


def plans_beside(directory: str) -> list[PlanRecord]:
    """Plans of runs that wrote no log, since nothing was left to ask.

    Raises:
        W2SError: `plans.jsonl` is damaged.
    """
    files, path = fsspec.core.url_to_fs(f"{directory.rstrip('/')}/{PLANS}")
    lines = files.cat_file(path).decode(errors="replace").splitlines() if files.exists(path) else []
    try:
        return [PlanRecord.from_metadata(json.loads(line), PLANS) for line in lines]
    except (json.JSONDecodeError, TypeError, AttributeError, RecursionError) as error:
        raise W2SError(f"{path}: a line is no plan ({first_line(error)}): remove it") from None


def declaration_of(
    logs: Sequence[tuple[EvalLog, PlanRecord | None]], beside: Sequence[PlanRecord] = ()
) -> Declaration:
    """The declaration of the earliest log, held against the plans of the others.

    Args:
        logs: Headers of all logs of this suite, unfinished ones too, with their plans.
        beside: As `plans_beside`.
    """
    # Inspect writes all times as UTC in ISO 8601, which sort as texts
    first_arm = min((log.stats.completed_at for log, _ in logs if _is_arm(log)), default="")
    plans: dict[PlanRecord, EvalLog] = {}
    for log, plan in sorted(logs, key=lambda item: item[0].eval.created):
        if plan is not None:
            plans.setdefault(plan, log)
    if not plans:
        return Declaration()
    first = next(iter(plans))
    conflicts = [
        conflict
        for plan, log in plans.items()
        for conflict in _conflicts(first, plan, late="" < first_arm < log.eval.created)
    ]
    conflicts += [text for plan in beside for text in _conflicts(first, plan, late=False)]
    return Declaration(
        tuple(sorted(first.headline)),
        first.declared,
        first.margin,
        tuple(dict.fromkeys(name for plan in plans for name in plan.models)),
        tuple(dict.fromkeys(pair for plan in plans for pair in plan.pairs)),
        tuple(dict.fromkeys(conflicts)),
        {plan: file_of(log) for plan, log in plans.items()},
    )


def _conflicts(first: PlanRecord, plan: PlanRecord, *, late: bool) -> Iterator[str]:
    """How a plan departs from the first; `late` where an arm was finished before it."""
    if (plan.headline, plan.declared) != (first.headline, first.declared):
        yield f"the headline was changed from {_counts(first)} to {_counts(plan)}"
    if set(plan.pairs) != set(first.pairs):
        yield "the pairs were changed"
    if plan.models != first.models:
        same = set(plan.models) == set(first.models)
        yield f"the {'order of the models was' if same else 'models were'} changed"
    before, now = _draws(first), _draws(plan)
    more = [(n, now[arm]) for arm, n in before.items() if now[arm] > n]
    if late and more:
        draws = "draws were added after the first arm was finished: {}, then {}"
        yield draws.format(*more[0])


def _is_arm(log: EvalLog) -> bool:
    cell = CellRecord.from_log(log)
    ended = is_complete(log) and log.stats.completed_at
    return bool(ended) and (cell.task, cell.split) == ("few_shot", "test")


def _counts(plan: PlanRecord) -> str:
    return f"{', '.join(map(str, plan.headline))} shots" if plan.declared else "none declared"


def _draws(plan: PlanRecord) -> Mapping[tuple[str, ...], int]:
    """Draws by arm, 0 of others."""
    draws: defaultdict[tuple[str, ...], int] = defaultdict(int)
    for *arm, _, n in plan.blocks:
        draws[tuple(arm)] = max(n, draws[tuple(arm)])
    return draws

"""What the studies behind a directory's logs declared, and whether they kept to it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import fsspec
from inspect_ai.log import EvalLog

from w2s_icl.errors import W2SError, first_line
from w2s_icl.record import MARGIN, PLANS, PlanRecord, file_of, is_complete, key_of


@dataclass(frozen=True)
class Declaration:
    """What the study of the earliest log declared, before any result was there (`PlanRecord`)."""

    headline: tuple[int, ...] = ()
    declared: bool = False
    margin: float = MARGIN
    models: tuple[str, ...] = ()  # with those that later studies added, as `pairs`
    pairs: tuple[tuple[str, str], ...] = ()
    conflicts: tuple[str, ...] = ()  # what later logs changed, so that it does not bind the results
    plans: Mapping[PlanRecord, str] = field(default_factory=dict)  # all, with their first logs


def plans_beside(directory: str) -> list[PlanRecord]:
    """Plans of runs that wrote no log, since nothing was left to ask."""
    files, path = fsspec.core.url_to_fs(f"{directory.rstrip('/')}/{PLANS}")
    lines = files.cat_file(path).decode(errors="replace").splitlines() if files.exists(path) else []
    try:
        return [PlanRecord.from_metadata(json.loads(line), PLANS) for line in lines]
    except (json.JSONDecodeError, TypeError, AttributeError, RecursionError) as error:
        raise W2SError(f"{path}: a line is no plan ({first_line(error)}): remove it") from None


def declaration_of(
    logs: Sequence[tuple[EvalLog, PlanRecord | None]], beside: Sequence[PlanRecord] = ()
) -> Declaration:
    """The declaration of the earliest log, held against the plans of all others.

    `logs` are headers with their plans, unfinished ones too; `beside` is of `plans_beside`.
    """
    plans: dict[PlanRecord, EvalLog] = {}
    for log, plan in sorted(logs, key=lambda item: item[0].eval.created):
        if plan is not None:
            plans.setdefault(plan, log)
    if not plans:
        return Declaration()
    # Inspect writes all times as UTC in ISO 8601, which sort as texts
    arms = [log for log, _ in logs if is_complete(log) and key_of(log)[1:3] == ("few_shot", "test")]
    first_end = min(filter(None, (log.stats.completed_at for log in arms)), default="9999")
    first, *_ = plans
    held = [(plan, log.eval.created > first_end) for plan, log in plans.items()]
    held += [(plan, False) for plan in beside]
    conflicts = [text for plan, late in held for text in _conflicts(first, plan, late=late)]
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

    def counts(of: PlanRecord) -> str:
        return f"{', '.join(map(str, of.headline))} shots" if of.declared else "none declared"

    if (plan.headline, plan.declared) != (first.headline, first.declared):
        yield f"the headline was changed from {counts(first)} to {counts(plan)}"
    if set(plan.pairs) != set(first.pairs):
        yield "the pairs were changed"
    if plan.models != first.models:
        same = set(plan.models) == set(first.models)
        yield f"the {'order of the models was' if same else 'models were'} changed"
    before, now = (
        {tuple(arm): draws for *arm, _, draws in sorted(of.blocks, key=lambda block: block[-1])}
        for of in (first, plan)
    )
    more = [(n, now[arm]) for arm, n in before.items() if now.get(arm, 0) > n]
    if late and more:
        were, are = more[0]
        yield f"draws were added after the first arm was finished: {were}, then {are}"

"""What the studies behind a directory's logs declared, and whether they kept to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inspect_ai.log import EvalLog

from w2s_icl.record import MARGIN, CellKey, CellRecord, PlanRecord, is_complete


@dataclass(frozen=True)
class Declaration:
    """What the study of the earliest log declared, before any result was there.

    Attributes:
        headline: Shot counts that the verdict is about, () where no study says.
        declared: Whether the study file itself names them.
        margin: What the study calls no difference, a fraction.
        models: In the study's order, then those that later studies added.
        pairs: (weak, strong), in the study's order, then those that later studies added.
        conflicts: Why the declaration does not bind the results: what later logs of the directory
            changed, each in a few words.
    """

    headline: tuple[int, ...] = ()
    declared: bool = False
    margin: float = MARGIN
    models: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    conflicts: tuple[str, ...] = ()


def declaration_of(plans: Sequence[PlanRecord], after_results: Iterable[bool]) -> Declaration:
    """The declaration of the first plan, held against the others.

    Args:
        plans: Each once, in the order in which they came into the directory.
        after_results: Whether a plan came after an arm was finished.
    """
    if not plans:
        return Declaration()
    first = plans[0]
    conflicts: dict[str, None] = {}
    for plan, late in zip(plans, after_results, strict=True):
        if (plan.headline, plan.declared) != (first.headline, first.declared):
            conflicts[f"the headline was changed from {_counts(first)} to {_counts(plan)}"] = None
        if set(plan.pairs) != set(first.pairs):
            conflicts["the pairs were changed"] = None
        if plan.models != first.models:
            same = set(plan.models) == set(first.models)
            conflicts[f"the {'order of the models was' if same else 'models were'} changed"] = None
        before, now = _draws(first), _draws(plan)
        more = [(before[arm], now[arm]) for arm in before if now.get(arm, 0) > before[arm]]
        if late and more:
            text = f"draws were added after the first arm was finished: {more[0][0]}, then "
            conflicts[text + str(more[0][1])] = None
    return Declaration(
        headline=tuple(sorted(first.headline)),
        declared=first.declared,
        margin=first.margin,
        models=tuple(dict.fromkeys(name for plan in plans for name in plan.models)),
        pairs=tuple(dict.fromkeys(pair for plan in plans for pair in plan.pairs)),
        conflicts=tuple(conflicts),
    )


def plans_of(logs: Sequence[tuple[EvalLog, PlanRecord | None]]) -> list[tuple[PlanRecord, bool]]:
    """The plans in the logs, each once, the earliest first, and whether an arm was finished before.

    Args:
        logs: Headers of all logs of this suite, unfinished ones too, with their plans.
    """
    # Inspect writes all times as UTC in ISO 8601, which sort as texts
    ended = [log.stats.completed_at for log, _ in logs if _is_arm(log)]
    first_arm = min(filter(None, ended), default="")
    since: dict[PlanRecord, str] = {}
    for log, plan in sorted(logs, key=lambda item: item[0].eval.created):
        if plan is not None:
            since.setdefault(plan, log.eval.created)
    return [(plan, "" < first_arm < start) for plan, start in since.items()]


def _is_arm(log: EvalLog) -> bool:
    cell = CellRecord.from_log(log)
    return cell.task == "few_shot" and cell.split == "test" and is_complete(log)


def _counts(plan: PlanRecord) -> str:
    if not plan.declared:
        return "none declared"
    return f"{', '.join(map(str, plan.headline))} shots"


def _draws(plan: PlanRecord) -> Mapping[CellKey, int]:
    """Draws by arm."""
    draws: dict[CellKey, int] = {}
    for model, task, split, labels, weak, prompt, _, n in plan.blocks:
        arm = CellKey(model, task, split, labels, weak, 0, 0, prompt)
        draws[arm] = max(n, draws.get(arm, 0))
    return draws

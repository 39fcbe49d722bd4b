"""What the studies behind a directory's logs declared, and whether they kept to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inspect_ai.log import EvalLog

from w2s_icl.record import MARGIN, CellRecord, PlanRecord, is_complete


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


def declaration_of(plans: Mapping[PlanRecord, bool]) -> Declaration:
    """The declaration of the first plan, held against the others; `plans` as of `plans_of`."""
    if not plans:
        return Declaration()
    first = next(iter(plans))
    before = _draws(first)
    conflicts: list[str] = []
    for plan, late in plans.items():
        if (plan.headline, plan.declared) != (first.headline, first.declared):
            conflicts.append(f"the headline was changed from {_counts(first)} to {_counts(plan)}")
        if set(plan.pairs) != set(first.pairs):
            conflicts.append("the pairs were changed")
        if plan.models != first.models:
            same = set(plan.models) == set(first.models)
            conflicts.append(f"the {'order of the models was' if same else 'models were'} changed")
        now = _draws(plan)
        more = [(n, now[arm]) for arm, n in before.items() if now.get(arm, 0) > n]
        if late and more:
            text = "draws were added after the first arm was finished: {}, then {}"
            conflicts.append(text.format(*more[0]))
    return Declaration(
        headline=tuple(sorted(first.headline)),
        declared=first.declared,
        margin=first.margin,
        models=tuple(dict.fromkeys(name for plan in plans for name in plan.models)),
        pairs=tuple(dict.fromkeys(pair for plan in plans for pair in plan.pairs)),
        conflicts=tuple(dict.fromkeys(conflicts)),
    )


def plans_of(logs: Sequence[tuple[EvalLog, PlanRecord | None]]) -> dict[PlanRecord, bool]:
    """The plans, each once, the earliest first, and whether an arm was finished before.

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
    return {plan: "" < first_arm < start for plan, start in since.items()}


def _is_arm(log: EvalLog) -> bool:
    cell = CellRecord.from_log(log)
    return cell.task == "few_shot" and cell.split == "test" and is_complete(log)


def _counts(plan: PlanRecord) -> str:
    return f"{', '.join(map(str, plan.headline))} shots" if plan.declared else "none declared"


def _draws(plan: PlanRecord) -> dict[tuple[str, ...], int]:
    """Draws by arm."""
    draws: dict[tuple[str, ...], int] = {}
    for *arm, _, n in plan.blocks:
        draws[tuple(arm)] = max(n, draws.get(tuple(arm), 0))
    return draws

"""Weak-to-strong generalization by in-context learning, measured with Inspect.

The running half is `w2s_icl.evals`, `w2s_icl.solvers` and `w2s_icl.scorers`; the analysing half is
`w2s_icl.analysis`. Only Inspect logs pass between them.

    from inspect_ai import eval
    from w2s_icl import few_shot, zero_shot

    eval(zero_shot(split="pool"), model="openai/gpt-4o-mini")
    eval(few_shot(labels="weak", weak="openai/gpt-4o-mini", shots=16), model="openai/gpt-4o")
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from w2s_icl.evals.truthfulqa import few_shot, zero_shot

__version__ = version("w2s-icl")
__all__ = ["__version__", "few_shot", "zero_shot"]


def __getattr__(name: str) -> Any:
    """The tasks, imported when they are asked for: `w2s --help` needs none of Inspect."""
    if name in ("few_shot", "zero_shot"):
        from w2s_icl.evals import truthfulqa

        return getattr(truthfulqa, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

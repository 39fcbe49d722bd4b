"""Weak-to-strong generalization by in-context learning, measured with Inspect.

The running half is `w2s_icl.evals`, `w2s_icl.solvers` and `w2s_icl.scorers`; the analysing half is
`w2s_icl.analysis`. Only Inspect logs pass between them.
"""

from importlib.metadata import version

__version__ = version("w2s-icl")

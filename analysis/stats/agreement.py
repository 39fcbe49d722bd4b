"""Agreement of two runs beyond chance, with intervals from one bootstrap of the questions."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from w2s_icl.analysis.stats.paired import LEVEL, Floats, columns_of

RESAMPLES, SEED = 10_000, 20240


class QuestionBootstrap:
    """Resamples of n questions, drawn once and shared by all cells and statistics.

    A resample takes a question with all its columns and draws. It is kept as the number of times
    each question is in it, so resampled means are one matrix product.
    """

    def __init__(self, n: int, resamples: int = RESAMPLES, seed: int = SEED) -> None:
        """Draw the resamples; both numbers are at least 1."""
        rows = np.random.default_rng(seed).integers(0, n, (resamples, n))
        flat = (rows + n * np.arange(resamples)[:, None]).ravel()
        counts = np.bincount(flat, minlength=resamples * n).reshape(resamples, n)
        # products of counts and 0/1 are small integers: exact in float32, at half the memory
        self.counts = counts.astype(np.float32)

    def agreement(
        self,
        a_answers: NDArray[Any],
        b_answers: NDArray[Any],
        a_correct: ArrayLike,
        b_correct: ArrayLike,
        n_options: ArrayLike,
    ) -> dict[str, tuple[float, float, float]]:
        """Agreement of two runs, the mean over draws; each value with its interval.

        - "phi": Pearson correlation of their correctness, in [-1, 1].
        - "error_consistency": Cohen's kappa of being right or wrong (Geirhos et al. 2020,
          arXiv:2006.16736): (o - e) / (1 - e), o the share of questions that both have right or
          both wrong, e = p1 p2 + (1 - p1)(1 - p2) from the two accuracies.
        - "capa": the same of answers (Goel et al. 2025, arXiv:2502.04313, discrete form), o the
          share of one parsed answer, e = p1 p2 + (1 - p1)(1 - p2) mean(1 / (options - 1)).

        The interval is normal on the scale of atanh, where values are cut at 0.999, with the
        standard deviation over resamples as standard error; resamples in which a run is always
        right or always wrong have no value and are left out. It is extended to hold the value:
        two runs without a difference give (0.999, 1), from which nothing about other questions
        follows. All is nan when the correctness of a run is constant.

        Answers are letters, shape (n, draws) or, of b, (n, 1), "" where unparsed, which agrees with
        nothing; correctness is 0/1 in their shape; `n_options`, shape (n,), is at least 2.
        """
        n = self.counts.shape[1]
        right_a, right_b = columns_of(a_correct=a_correct, b_correct=b_correct)
        same = (a_answers == b_answers) & (a_answers != "")
        options = np.asarray(n_options, dtype=np.float64)[:, None]
        chance = np.broadcast_to(1 / (options - 1), right_a.shape)
        columns = np.stack([right_a, right_b, right_a * right_b, same, chance], axis=1)
        sums = self.counts @ columns.astype(np.float32).reshape(n, -1)
        resampled = _statistics((sums.astype(np.float64) / n).reshape(-1, *columns.shape[1:]))
        return {
            name: _interval(float(value.mean()), resampled[name].mean(axis=-1))
            for name, value in _statistics(columns.mean(axis=0)).items()
        }


def _interval(value: float, resampled: Floats) -> tuple[float, float, float]:
    if np.isnan(value):
        return np.nan, np.nan, np.nan
    values = np.append(value, resampled[~np.isnan(resampled)])
    centre, *scaled = np.arctanh(np.clip(values, -0.999, 0.999))
    half = stats.norm.ppf((1 + LEVEL) / 2) * np.std(scaled, ddof=1) if scaled[1:] else np.nan
    low, high = np.tanh(centre - half), np.tanh(centre + half)
    return value, float(np.minimum(low, value)), float(np.maximum(high, value))


def _statistics(means: Floats) -> dict[str, Floats]:
    """From means over questions; nan where a run is always right or always wrong.

    Rows of axis -2 are right_a, right_b, both right, same answer and 1 / (options - 1); the last
    axis is draws. As functions of means, one matrix product serves all resamples.
    """
    p1, p2, both, same, chance = np.moveaxis(means, -2, 0)
    varies = (p1 > 0) & (p1 < 1) & (p2 > 0) & (p2 < 1)

    def beyond(expected: Floats, reached: Floats, most: Floats) -> Floats:
        return np.where(varies, reached - expected, np.nan) / np.where(varies, most, 1)

    right, wrong = p1 * p2, (1 - p1) * (1 - p2)
    kappa, capa = right + wrong, right + wrong * chance
    return {
        "phi": beyond(right, both, np.sqrt(p1 * (1 - p1) * p2 * (1 - p2))),
        "error_consistency": beyond(kappa, 1 - p1 - p2 + 2 * both, 1 - kappa),
        "capa": beyond(capa, same, 1 - capa),
    }

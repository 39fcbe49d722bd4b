"""Made-up experiments for figures and reports: correlated answers, no model run."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from w2s_icl.analysis.logs import KEY, Logs, Note

NAMES = (
    "openrouter/meta-llama/llama-3.1-8b-instruct",
    "openrouter/meta-llama/llama-3.1-70b-instruct",
    "openrouter/qwen/qwen-2.5-72b-instruct",
    "together/mistralai/mixtral-8x22b-instruct-v0.1",
    "anthropic/claude-3-5-sonnet-20241022",
    "openai/gpt-4o-2024-08-06",
    "google/gemini-1.5-pro-002-experimental-long-name",
    "openai/o3-mini",
)
ACCURACY = (0.63, 0.775, 0.84, 0.85, 0.86, 0.88, 0.89, 0.9)

Key = tuple[str, str, str, str, str, int, int]


def logs(
    models: int = 3,
    *,
    shots: Sequence[int] = (0, 2, 8, 64),
    draws: int = 1,
    n: int = 200,
    accuracy: Sequence[float] = ACCURACY,
    pairs: Collection[tuple[int, int]] | None = None,
    missing: Collection[tuple[str, int]] = (),
    unread: float = 0.0,
    learned: float = 1.0,
    notes: Sequence[Note] = (),
    seed: int = 0,
) -> Logs:
    """Logs of a study.

    Args:
        models: How many models there are.
        shots: Shot counts.
        draws: Draws of the demonstrations.
        n: Test questions.
        accuracy: Zero-shot, by model.
        pairs: Indices of (weak, strong); all by default.
        missing: (labels, shots) that were planned and not run.
        unread: Share of replies that cannot be read.
        learned: 0 when demonstrations teach nothing.
        notes: What the reader of the logs found.
        seed: Of everything.
    """
    rng = np.random.default_rng(seed)
    names = NAMES[:models]
    target = rng.integers(0, 4, n)
    common, own = rng.normal(size=n), rng.normal(size=(models, n))
    alphabet = np.array(list("ABCD"))

    def answers(model: int, level: float) -> np.ndarray[Any, Any]:
        latent = math.sqrt(0.62) * common + math.sqrt(0.36) * own[model]
        right = latent + math.sqrt(0.02) * rng.normal(size=n) > -norm.ppf(min(level, 0.99))
        wrong = (target + 1 + rng.integers(0, 3, n) * (rng.random(n) < 0.4)) % 4
        found = alphabet[np.where(right, target, wrong)].astype("U1")
        found[rng.random(n) < unread] = ""
        return found

    planned: list[Key] = [(m, "zero_shot", "test", "", "", 0, 0) for m in names]
    levels = list(accuracy[:models])
    rows = [answers(i, levels[i]) for i in range(models)]
    chosen = pairs or [(w, s) for s in range(models) for w in range(s + 1)]
    for k in [k for k in shots if k]:
        rise = learned * 0.05 * math.log2(k + 1) / 3
        for draw in range(draws):
            for s in {s for _, s in chosen}:
                planned.append((names[s], "few_shot", "test", "gold", "", k, draw))
                rows.append(answers(s, levels[s] + rise))
            for w, s in chosen:
                planned.append((names[s], "few_shot", "test", "weak", names[w], k, draw))
                rows.append(answers(s, levels[s] + 0.6 * rise))
    kept = [i for i, key in enumerate(planned) if (key[3], key[5]) not in missing]
    letters = np.array([rows[i] for i in kept])
    gold = alphabet[target]
    order = tuple(f"demo{i}" for i in range(max(shots)))
    runs = [
        dict(zip(KEY, planned[i], strict=True))
        | {
            "file": f"log{i}.eval",
            "eval_id": f"id{i}",
            "n": n,
            "asked": n,
            "epochs": 1,
            "unparsed": int((rows[i] == "").sum()),
            "demo_ids": order[: planned[i][5]],
            "demo_labels": ("A",) * planned[i][5],
            "demo_label_accuracy": 0.6,
            "shown_sha256": "",
            "label_eval_id": "",
            "reused_from": "",
            "endpoint": "None []",
            "calls": n,
            "input_tokens": 1000 * n,
            "output_tokens": n,
            "cached_tokens": 0,
            "cost": 0.5,
            "simulated": False,
        }
        for i in kept
    ]
    questions = pd.DataFrame(
        {
            "question": [f"question {i}" for i in range(n)],
            "choices": [tuple("wxyz")] * n,
            "gold": gold,
            "n_options": 4,
            "category": np.array(["red", "green", "blue"])[rng.integers(0, 3, n)],
        },
        index=pd.Index([f"q{i}" for i in range(n)], name="id", dtype=object),
    )
    metadata: Mapping[str, Any] = {"dataset": "made up", "seed": 42, "inspect_ai": ["0.3.285"]}
    return Logs(
        "logs/made-up",
        pd.DataFrame(runs),
        questions,
        letters,
        (letters == gold).astype(float),
        pd.DataFrame(planned, columns=list(KEY)),
        {**metadata, "study": ["made-up"], "system_message": "Answer."},
        tuple(notes),
    )

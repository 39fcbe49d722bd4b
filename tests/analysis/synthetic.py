"""Made-up experiments for figures and reports: correlated answers, no model run."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from w2s_icl.analysis.logs import KEY, Declaration, Logs, Note
from w2s_icl.record import CellKey

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

# share of what gold labels teach that labels of a kind teach
LEARNED = {"gold": 1.0, "weak": 0.6, "noise_matched": 0.6, "random": 0.15, "unlabelled": 0.1}
LEARNED["flipped"] = -0.5

Key = tuple[Any, ...]
Letters = np.ndarray[Any, Any]


def logs(
    models: int = 3,  # how many
    *,
    shots: Sequence[int] = (0, 2, 8, 64),
    draws: int = 1,
    n: int = 200,  # test questions
    accuracy: Sequence[float] = ACCURACY,  # zero-shot, by model
    pairs: Collection[tuple[int, int]] | None = None,  # indices of (weak, strong); all
    labels: Sequence[str] = (),  # beside gold and weak: keys of `LEARNED`, or one's own
    # of runs with weak labels; "question=hidden" is asked zero-shot too
    prompts: Sequence[str] = (),
    headline: Sequence[int] = (),  # that the study declared
    changed: float = math.nan,  # share of zero-shot answers that change in a second run
    missing: Collection[tuple[str, int]] = (),  # (labels, shots) planned and not run
    unread: float = 0.0,  # share of replies
    learned: float = 1.0,  # 0 when demonstrations teach nothing
    notes: Sequence[Note] = (),
    seed: int = 0,
) -> Logs:
    """Logs of a study; `seed` is that of everything."""
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

    planned: list[Key] = [(m, "zero_shot", "test", "", "", 0, 0, "") for m in names]
    levels = list(accuracy[:models])
    rows = [answers(i, level) for i, level in enumerate(levels)]
    chosen = pairs or [(w, s) for s in range(models) for w in range(s + 1)]
    strong = {s for _, s in chosen}
    each = [(k, draw) for k in shots if k for draw in range(draws)]

    def add(s: int, kind: str, weak: str, k: int, draw: int, prompt: str = "") -> None:
        planned.append((names[s], "few_shot", "test", kind, weak, k, draw, prompt))
        rise = learned * 0.05 * math.log2(k + 1) / 3
        rows.append(answers(s, levels[s] + LEARNED.get(kind, 0.5) * rise))

    for k, draw in each:
        for s in strong:
            add(s, "gold", "", k, draw)
        for w, s in chosen:
            add(s, "weak", names[w], k, draw)
    for kind in labels:
        by_weak = kind == "noise_matched"  # each weak model has its own
        for weak, s in dict.fromkeys((names[w] if by_weak else "", s) for w, s in chosen):
            for k, draw in each:
                add(s, kind, weak, k, draw)
    for prompt in prompts:
        if prompt == "question=hidden":
            for s in sorted(strong):
                planned.append((names[s], "zero_shot", "test", "", "", 0, 0, prompt))
                rows.append(answers(s, levels[s] - 0.2))
        for w, s in chosen:
            for k, draw in each:
                add(s, "weak", names[w], k, draw, prompt)
    kept = {
        key: row for key, row in zip(planned, rows, strict=True) if (key[3], key[5]) not in missing
    }
    by_name = dict(zip(names, levels, strict=True))
    columns = {key: _shown(key, max(shots), by_name, seed) for key in kept}
    if not math.isnan(changed):
        changes = (np.arange(n) < round(changed * n)).astype(float)
        for key in (key for key in kept if key[1] == "zero_shot"):
            unparsed = 2 * int((kept[key] == "").sum())
            columns[key] |= {"changes": tuple(changes), "epochs": 2}
            columns[key] |= {"replies": 2 * n, "unparsed": unparsed}
    gold = alphabet[target]
    texts = np.random.default_rng([seed, 1])
    questions = pd.DataFrame(
        {
            "question": [f"question {i}" for i in range(n)],
            "choices": [_options(texts, int(right)) for right in target],
            "gold": gold,
            "n_options": 4,
            "category": np.array(["red", "green", "blue"])[rng.integers(0, 3, n)],
        },
        index=pd.Index([f"q{i}" for i in range(n)], name="id", dtype=object),
    )
    declaration = Declaration(
        headline=tuple(headline),
        declared=bool(headline),
        models=names,
        pairs=tuple((names[w], names[s]) for w, s in chosen),
    )
    return logs_of(kept, questions, planned, columns, declaration, notes)


def logs_of(
    answers: Mapping[Key, Letters],
    questions: pd.DataFrame,
    planned: Sequence[Key] = (),
    columns: Mapping[Key, Mapping[str, Any]] | None = None,
    declaration: Declaration | None = None,
    notes: Sequence[Note] = (),
) -> Logs:
    """Logs by the letters of each run, "" unread, " " no answer; `columns` changes a run's row."""
    letters = np.array(list(answers.values()))
    gold = questions["gold"].to_numpy(dtype=np.str_)
    runs: list[dict[str, Any]] = []
    for i, (key, row) in enumerate(answers.items()):
        n = int((row != " ").sum())
        runs.append(
            {
                **CellKey(*key)._asdict(),
                **{"file": f"log{i}.eval", "eval_id": f"id{i}"},
                **{"n": n, "asked": len(row), "epochs": 1, "replies": n, "permutations": 1},
                **{"unparsed": int((row == "").sum()), "positions": _positions(row, gold)},
                **dict.fromkeys(("changes", "passed_over"), ()),
                **dict.fromkeys(("demo_ids", "demo_labels", "demo_choices"), ()),
                **{"demo_label_accuracy": math.nan, "label_eval_id": "", "reused_from": ""},
                **{
                    "in_study": True,
                    "endpoint": "None []",
                    "settings": {},
                    "calls": n,
                    "input_tokens": 1000 * n,
                },
                **{"output_tokens": n, "cached_tokens": 0, "cost": 0.5, "simulated": False},
                "in_study": True,
                **(columns or {}).get(key, {}),
            }
        )
    return Logs(
        "logs/made-up",
        pd.DataFrame(runs),
        questions,
        np.where(letters == " ", "", letters),
        np.where(letters == " ", np.nan, letters == gold),
        (letters == "").astype(np.intp),
        pd.DataFrame([CellKey(*key) for key in planned], columns=list(KEY)),
        {
            **{"dataset": "made up", "seed": 42, "inspect_ai": ["0.3.285"], "study": ["made-up"]},
            "system_message": "Answer.",
        },
        tuple(notes),
        declaration or Declaration(),
    )


def without_zero_shot(made: Logs, model: str) -> Logs:
    """The logs without a model's zero-shot run on the test."""
    kept = ~((made.runs["model"] == model) & (made.runs["shots"] == 0)).to_numpy()
    return replace(
        made,
        runs=made.runs[kept].reset_index(drop=True),
        letters=made.letters[kept],
        correct=made.correct[kept],
        unread=made.unread[kept],
    )


_WORDS = ("the", "moon", "is", "made", "of", "green", "stone", "no", "never", "all", "may", "it")


def _options(rng: np.random.Generator, right: int) -> tuple[str, ...]:
    """Four made-up options; the right one tends to be longer."""
    lengths = rng.integers(2, 8, 4) + 4 * (np.arange(4) == right) * (rng.random() < 0.5)
    return tuple(" ".join(rng.choice(_WORDS, length)) for length in lengths)


def _shown(key: Key, most: int, accuracy: Mapping[str, float], seed: int) -> dict[str, Any]:
    """What each draw shows: the same `most` questions in every run, with the labels of its kind."""
    *_, kind, weak, shots, draw, _ = key
    rng = np.random.default_rng([seed, 2, draw])
    gold = rng.integers(0, 4, most)
    choices = [_options(rng, int(right)) for right in gold]
    error = rng.random(most) > accuracy.get(weak, 1.0)
    wrong = (gold + rng.integers(1, 4, most)) % 4
    by_kind = {"gold": gold, "random": rng.integers(0, 4, most), "flipped": wrong}
    labels = by_kind.get(kind, np.where(error, wrong, gold))[:shots]
    unlabelled = kind == "unlabelled" or not shots
    return {
        "demo_ids": tuple(f"demo{i}" for i in range(shots)),
        "demo_labels": tuple("" if unlabelled else "ABCD"[label] for label in labels),
        "demo_choices": tuple(choices[:shots]),
        "demo_label_accuracy": np.nan if unlabelled else float((labels == gold[:shots]).mean()),
    }


def _positions(letters: Letters, gold: Letters) -> tuple[tuple[float, ...], ...]:
    by_place, expected = np.zeros((26, 5)), float((letters != "").sum()) / 4
    for i, letter in enumerate("ABCD"):
        there, given = gold == letter, letters == letter
        asked = there.sum()
        by_place[i] = asked, (there & given).sum(), given.sum(), expected, asked
    return tuple(map(tuple, by_place.tolist()))

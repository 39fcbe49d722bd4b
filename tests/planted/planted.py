"""Experiments of a simulated student and teacher as the analysis sees them: no run, no log file.

Questions, prompts and the reading of replies are the suite's own; the model is asked directly, and
labels are made here by code of its own, which is thus a second opinion on the label sources. The
numbers say nothing about language models.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from string import ascii_uppercase
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
)

from w2s_icl.analysis.logs import KEY, Logs
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.standins import SimulatedAPI
from w2s_icl.scorers.reading import read_reply
from w2s_icl.solvers.few_shot import (
    SYSTEM_MESSAGE,
    Demonstration,
    Demonstrations,
    prompt_messages,
    question_text,
)

TEACHER = "simulated/custom-weak"
ARMS = ("gold", "weak", "self", "random", "noise_matched", "flipped", "unlabelled")
UNLABELLED = "The first questions are shown without their answers; answer the last one."
CONFIG = GenerateConfig(temperature=0, max_tokens=16)


class Place(NamedTuple):
    """What a run says of one place on the page, as `analysis.logs` counts it."""

    asked: int
    right: int
    answers: int
    expected: float
    questions: int


def planted_logs(
    questions: Path | str,
    student: str,
    teacher: str = TEACHER,
    *,
    shots: int = 16,
    draws: int = 5,
    test_size: int = 400,
    seed: int = 0,
    arms: Sequence[str] = ARMS,
    student_args: Mapping[str, Any] | None = None,
    teacher_args: Mapping[str, Any] | None = None,
) -> Logs:
    """Zero-shot runs of both models, and the student's run for each arm and draw.

    The label runs on the pool cover the questions that are shown. A pool question whose label one
    of the two models left unread is passed over in all arms.

    Args:
        questions: File or folder for `load_split`; what the models know.
        student: The prompted model.
        teacher: The model that labels the arms "weak" and "noise_matched".
        shots: Demonstrations.
        draws: Draws of the demonstrations.
        test_size: Questions that are asked.
        seed: Of split, draws, labels and the simulated world.
        arms: Of `ARMS`; "self" is the student's own labels.
        student_args: More arguments of the student, as with `-M`.
        teacher_args: Of the teacher; by default an ability of 0.55.
    """
    return asyncio.run(
        _Study(Path(questions), student, teacher, seed, test_size, student_args, teacher_args).logs(
            shots, draws, arms
        )
    )


def arm_accuracy(logs: Logs) -> dict[str, float]:
    """Accuracy by arm on the test questions, "zero_shot" and "teacher" (zero-shot) among them."""
    return {arm: float(matrix.mean()) for arm, matrix in arm_correct(logs).items()}


def arm_correct(logs: Logs) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Correctness by arm, shape (test questions, draws)."""
    runs = logs.runs
    student = runs.loc[runs["task"] == "few_shot", "model"].iloc[0]
    found: dict[str, list[int]] = {}
    for i, run in runs[runs["split"] == "test"].iterrows():
        arm = run["labels"] or ("zero_shot" if run["model"] == student else "teacher")
        if arm == "weak" and run["weak"] == student:
            arm = "self"
        found.setdefault(arm, []).append(int(str(i)))
    asked = ~np.isnan(logs.correct[found["zero_shot"][0]])
    return {arm: logs.correct[rows][:, asked].T for arm, rows in found.items()}


class _Study:
    def __init__(
        self,
        questions: Path,
        student: str,
        teacher: str,
        seed: int,
        test_size: int,
        student_args: Mapping[str, Any] | None,
        teacher_args: Mapping[str, Any] | None,
    ) -> None:
        self.seed, self.student, self.teacher = seed, student, teacher
        self.split = load_split(str(questions), test_size=test_size, seed=seed)
        common = {"questions": str(questions), "seed": seed}
        own = {
            teacher: {"ability": 0.55} if teacher_args is None else dict(teacher_args),
            student: dict(student_args or {}),
        }
        self.apis = {
            name: SimulatedAPI(name.removeprefix("simulated/"), **common, **arguments)
            for name, arguments in own.items()
        }
        self.turns: dict[Any, ChatMessage] = {}
        self.read: dict[tuple[Any, str], str] = {}
        self.own_labels: dict[str, dict[Any, str]] = {name: {} for name in self.apis}
        self.rows: list[dict[str, Any]] = []
        self.answers: list[dict[Any, str]] = []

    async def logs(self, shots: int, draws: int, arms: Sequence[str]) -> Logs:
        for model in self.apis:
            self._add(model, "", await self._ask(model, self._prefix(()), self.split.test))
        for draw in range(draws):
            shown = await self._shown(draw, shots)
            for arm in arms:
                labels = self._labels(arm, shown, draw)
                demos = tuple(
                    Demonstration(
                        _id(s), str(s.input), tuple(s.choices or ()), label, str(s.target)
                    )
                    for s, label in zip(shown, labels, strict=True)
                )
                given = await self._ask(self.student, self._prefix(demos), self.split.test)
                self._add(self.student, arm, given, demos, draw)
        for model, labelled in self.own_labels.items():
            self._add(model, "", labelled, split="pool")
        return self._logs(shots)

    async def _shown(self, draw: int, shots: int) -> list[Sample]:
        """The first questions of a draw that both models label."""
        shown: list[Sample] = []
        for sample in self.split.draw(draw):
            if len(shown) == shots:
                break
            for model, labelled in self.own_labels.items():
                if _id(sample) not in labelled:
                    labelled |= await self._ask(model, self._prefix(()), [sample])
            if all(labelled[_id(sample)] for labelled in self.own_labels.values()):
                shown.append(sample)
        assert len(shown) == shots, "the pool is too small"
        return shown

    def _labels(self, arm: str, shown: Sequence[Sample], draw: int) -> list[str]:
        rng = Random(f"{self.seed}/{draw}/{arm}")
        gold = [str(s.target) for s in shown]
        letters = [ascii_uppercase[: len(s.choices or ())] for s in shown]
        weak = [self.own_labels[self.teacher][_id(s)] for s in shown]

        def wrong(i: int) -> str:
            return rng.choice(letters[i].replace(gold[i], ""))

        if arm == "gold":
            return gold
        if arm == "weak":
            return weak
        if arm == "self":
            return [self.own_labels[self.student][_id(s)] for s in shown]
        if arm == "random":
            return [rng.choice(options) for options in letters]
        if arm == "flipped":
            return [wrong(i) for i in range(len(gold))]
        if arm == "noise_matched":
            errors = sum(a != b for a, b in zip(weak, gold, strict=True))
            places = rng.sample(range(len(gold)), errors)
            return [wrong(i) if i in places else gold[i] for i in range(len(gold))]
        assert arm == "unlabelled"
        return [""] * len(gold)

    def _prefix(self, demos: tuple[Demonstration, ...]) -> list[ChatMessage]:
        """All messages before the question: the same for all questions of a cell."""
        if demos and not demos[0].label:
            turns = [ChatMessageUser(content=question_text(d.question, d.choices)) for d in demos]
            return [ChatMessageSystem(content=f"{SYSTEM_MESSAGE} {UNLABELLED}"), *turns]
        return prompt_messages(Demonstrations(demos), "", ())[:-1]

    async def _ask(
        self, model: str, prefix: list[ChatMessage], samples: Sequence[Sample]
    ) -> dict[Any, str]:
        """Letter by question id, "" where the reply cannot be read."""
        found = {}
        for sample in samples:
            choices = sample.choices or []
            if _id(sample) not in self.turns:
                last = prompt_messages(Demonstrations(), str(sample.input), choices)[-1]
                self.turns[_id(sample)] = last
            prompt = [*prefix, self.turns[_id(sample)]]
            output = await self.apis[model].generate(prompt, [], "auto", CONFIG)
            assert isinstance(output, ModelOutput)
            said = (_id(sample), output.completion)
            if said not in self.read:
                self.read[said] = read_reply(output.completion, choices).letter or ""
            found[_id(sample)] = self.read[said]
        return found

    def _add(
        self,
        model: str,
        arm: str,
        answers: dict[Any, str],
        demos: tuple[Demonstration, ...] = (),
        draw: int = 0,
        split: str = "test",
    ) -> None:
        shown = [d for d in demos if d.label]
        own = {"self": self.student, "weak": self.teacher, "noise_matched": self.teacher}
        self.answers.append(answers)
        self.rows.append(
            {
                "model": model,
                "task": "few_shot" if demos else "zero_shot",
                "split": split,
                "labels": "weak" if arm == "self" else arm,
                "weak": own.get(arm, ""),
                "shots": len(demos),
                "draw": draw,
                "prompt": "",
                "file": f"log{len(self.rows)}.eval",
                "eval_id": f"id{len(self.rows)}",
                "n": len(answers),
                "asked": len(answers),
                "epochs": 1,
                "replies": len(answers),
                "unparsed": sum(not letter for letter in answers.values()),
                "permutations": 1,
                "changed": math.nan,
                "changed_n": 0,
                "changes": (),
                "demo_ids": tuple(d.id for d in demos),
                "demo_labels": tuple(d.label for d in demos),
                "demo_choices": tuple(d.choices for d in demos),
                "demo_label_accuracy": sum(d.label == d.gold for d in shown) / len(shown)
                if shown
                else math.nan,
                "shown_sha256": Demonstrations(demos).sha256 if demos else "",
                "label_eval_id": "",
                "reused_from": "",
                "endpoint": "None []",
                "calls": len(answers),
                "input_tokens": 0,
                "output_tokens": 0,
                "cached_tokens": 0,
                "cost": 0.0,
                "simulated": True,
            }
        )

    def _logs(self, shots: int) -> Logs:
        asked = {id_ for answers in self.answers for id_ in answers}
        samples = {_id(s): s for s in (*self.split.test, *self.split.pool) if _id(s) in asked}
        ids = sorted(samples, key=lambda id_: (isinstance(id_, str), id_))
        place = {id_: j for j, id_ in enumerate(ids)}
        gold = np.array([str(samples[id_].target) for id_ in ids])
        letters = np.full((len(self.rows), len(ids)), "", dtype="U1")
        correct = np.full(letters.shape, np.nan)
        for i, answers in enumerate(self.answers):
            places = [place[id_] for id_ in answers]
            letters[i, places] = list(answers.values())
            correct[i, places] = letters[i, places] == gold[places]
        table = pd.DataFrame(
            {
                "question": [str(samples[id_].input) for id_ in ids],
                "choices": [tuple(samples[id_].choices or ()) for id_ in ids],
                "gold": gold,
                "n_options": [len(samples[id_].choices or ()) for id_ in ids],
                "category": [str((samples[id_].metadata or {}).get("category")) for id_ in ids],
            },
            index=pd.Index(ids, name="id", dtype=object),
        )
        runs = pd.DataFrame(self.rows)
        options = table["n_options"].to_numpy()
        runs["positions"] = [
            _places(of, gold[there], options[there])
            for row, marks in zip(letters, correct, strict=True)
            for there in [~np.isnan(marks)]
            for of in [row[there]]
        ]
        metadata = {
            **self.split.provenance,
            "style": "chat",
            "study": ["planted"],
            "headline": [shots],
            "margin": 0.02,
            "system_message": SYSTEM_MESSAGE,
            "w2s_icl": [""],
            "inspect_ai": [""],
        }
        planned = runs[[column for column in KEY if column in runs]].copy()
        return Logs("logs/planted", runs, table, letters, correct, planned, metadata, ())


def _places(given: Any, gold: Any, options: Any) -> tuple[Place, ...]:
    return tuple(
        Place(
            asked=int((gold == letter).sum()),
            right=int(((gold == letter) & (given == letter)).sum()),
            answers=int((given == letter).sum()),
            expected=float((1 / options)[(given != "") & (options > at)].sum()),
            questions=int((gold == letter).sum()),
        )
        for at, letter in enumerate(ascii_uppercase[: options.max()])
    )


def _id(sample: Sample) -> int | str:
    assert sample.id is not None
    return sample.id

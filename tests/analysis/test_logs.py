"""What is read from logs: prompts, plans, reruns, positions; on logs written by hand."""

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.dataset import Sample
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalResults,
    EvalSample,
    EvalSpec,
    EvalStats,
    EvalStatus,
    read_eval_log,
    write_eval_log,
)
from inspect_ai.model import GenerateConfig, ModelUsage
from inspect_ai.scorer import Score

from tests.conftest import Args
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import Logs, read_logs
from w2s_icl.analysis.tables import audits
from w2s_icl.analysis.tables.arms import arms_table
from w2s_icl.errors import W2SError
from w2s_icl.record import READ_BY, SCORER

CHOICES = ["one", "two", "three", "four"]
QUESTIONS = [
    Sample(id=i, input=f"question {i}", choices=CHOICES, target=target)
    for i, target in enumerate("ABCD")
]
IDENTITY = {
    **{"dataset": "made up", "dataset_sha256": "d", "test_size": 4, "seed": 1},
    **{"near_duplicates": "drop", "style": "chat", "prompt_version": "1", "scorer_version": "1"},
}
POOL = [
    Sample(id=100 + i, input=f"pool {i}", choices=CHOICES, target=target)
    for i, target in enumerate("AABB")
]


def write(
    folder: Path,
    name: str,
    epochs: Sequence[str],
    model: str = "mockllm/w",
    *,
    split: str = "test",
    temperature: float = 0.0,
    spec: Mapping[str, Any] | None = None,
    status: EvalStatus = "success",
    completed: str = "",
    cost: float | None = None,
    **metadata: Any,
) -> None:
    """A log; `epochs` holds the letters answered, "-" unread, " " none; `cost` that of a call."""
    questions = QUESTIONS if split == "test" else POOL
    took = ModelUsage(input_tokens=3, output_tokens=1, total_tokens=4, total_cost=cost)
    samples = [
        EvalSample(
            id=question.id or 0,
            epoch=epoch,
            input=str(question.input),
            choices=question.choices,
            target=question.target,
            model_usage={model: took} if cost else {},
            scores={SCORER: _score(letter, question)} if letter != " " else {},
        )
        for epoch, letters in enumerate(epochs, 1)
        for question, letter in zip(questions, letters, strict=True)
    ]
    task = "few_shot" if metadata.get("shots") else "zero_shot"
    log = EvalLog(
        status=status,
        eval=EvalSpec(
            task=task,
            dataset=EvalDataset(),
            model=model,
            config=EvalConfig(epochs=len(epochs)),
            metadata={"task": task, "split": split, **IDENTITY, **metadata},
            model_generate_config=GenerateConfig(temperature=temperature),
            **{"created": "2026-01-01T00:00:00+00:00", **(spec or {})},
        ),
        results=EvalResults(
            total_samples=len(samples), completed_samples=sum(bool(s.scores) for s in samples)
        ),
        stats=EvalStats(completed_at=completed),
        samples=samples,
    )
    folder.mkdir(exist_ok=True)
    write_eval_log(log, str(folder / f"{name}.eval"))


def _score(letter: str, question: Sample) -> Score:
    value = "C" if letter == question.target else "I"
    return Score(value=value, answer=letter.replace("-", ""))


def one(logs: Logs) -> Mapping[Any, Any]:
    (row,) = logs.runs.to_dict("records")
    return row


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"permutations": 2}, "permutations is (1|2) in the one and (1|2) in the other"),
        ({"temperature": 1.5}, r"temperature is [01]\.\d in the one"),
        ({"read": "likelihood"}, "different experiments: read is '(reply|likelihood)' in the one"),
    ],
)
def test_runs_asked_differently_are_refused(changed: Args, message: str, tmp_path: Path) -> None:
    write(tmp_path, "zero", ["ABCD"])
    write(tmp_path, "gold", ["ABCD"], labels="gold", shots=2, **changed)

    with pytest.raises(W2SError, match=message):
        read_logs(str(tmp_path))


def test_reruns_count_replies_and_changes(tmp_path: Path) -> None:
    write(tmp_path, "a", ["AB-D", "AC-D", "ABC "])
    log = read_eval_log(str(tmp_path / "a.eval"))
    assert log.samples
    log.samples.reverse()  # epochs count in their order, however a log holds them
    write_eval_log(log)
    logs = read_logs(str(tmp_path))

    row = one(logs)
    assert (row["n"], row["epochs"], row["replies"], row["unparsed"]) == (4, 3, 11, 2)
    assert "".join(logs.letters[0]) == "ABD"  # of the first epoch; the third is unread
    assert logs.correct[0].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 1])
    # B C B: two of three pairs differ; unread, unread, C: two of three; D D: none
    assert row["changes"] == pytest.approx((0, 2 / 3, 2 / 3, 0))
    (repeat,) = audits.repeats_table(Experiment(logs)).to_dict("records")
    assert (repeat["epochs"], repeat["n"], repeat["draw"]) == (3, 4, 0)
    assert repeat["changed"] == pytest.approx(1 / 3)
    assert repeat["changed_lo"] <= repeat["changed"] <= repeat["changed_hi"]
    (model,) = audits.models_table(Experiment(logs)).to_dict("records")
    assert (model["unparsed"], model["unparsed_share"]) == (2, pytest.approx(2 / 11))


def test_positions_follow_the_rotation(tmp_path: Path) -> None:
    # two orders, each asked twice: epochs 1 and 3 as written, 2 and 4 one place to the left,
    # where A stands last and B first
    write(tmp_path, "a", ["AAAA", "BBBB", "AAA-", "BBBB"], permutations=2)
    logs = read_logs(str(tmp_path))

    # right options A B C D stand at 0 1 2 3, then at 3 0 1 2
    # asked, right, answers, expected, questions
    first, other = (4, 4, 15, 15 / 4, 2), (4, 0, 0, 15 / 4, 2)
    assert one(logs)["positions"][:4] == (first, other, other, other)
    assert not any(map(any, one(logs)["positions"][4:]))
    # only epochs of one order are compared: the last question was unread once
    assert one(logs)["changes"] == (0, 0, 0, 0.5)
    assert logs.correct[0].tolist() == [0.5, 0.5, 0, 0]
    table = audits.positions_table(Experiment(logs))
    rows = table[["position", "share", "uniform", "accuracy"]].to_numpy().tolist()
    assert rows == [["A", 1, 0.25, 1], *([letter, 0, 0.25, 0] for letter in "BCD")]
    assert table["p_errors"].isna().all()  # four questions are too few


ONE_RUN = {"eval_set_id": "one run"}


def test_of_two_logs_of_a_cell_the_fullest_counts_and_the_other_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a", ["ABC "], spec=ONE_RUN, cost=0.25)
    write(tmp_path, "b", ["ABBB"], spec=ONE_RUN, cost=0.5)
    write(tmp_path, "c", ["A   "], spec=ONE_RUN, cost=0.25, status="error")
    logs = read_logs(str(tmp_path))

    row = one(logs)
    assert (row["file"], row["n"], row["calls"], row["cost"]) == ("b.eval", 4, 4, 2.0)
    (note,) = logs.notes
    assert (note.level, note.file) == ("remark", "a.eval")
    assert note.text.startswith("left out: the same cell as b.eval, 1 answers differ")
    costs = audits.costs_table(Experiment(logs))
    assert costs["calls"].tolist() == [4, 4]  # the run, and the sum of its model


def test_of_equally_full_logs_the_first_that_ended_counts(tmp_path: Path) -> None:
    write(tmp_path, "a", ["ABCD"], spec=ONE_RUN, completed="2026-01-01T02:00:00+00:00")
    write(tmp_path, "b", ["ABBB"], spec=ONE_RUN, completed="2026-01-01T01:00:00+00:00")

    assert one(read_logs(str(tmp_path)))["file"] == "b.eval"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        (ONE_RUN, {}),
        (ONE_RUN, {"eval_set_id": "another"}),
        (ONE_RUN, {**ONE_RUN, "model_args": {"load_in_8bit": True}}),
    ],
    ids=["neither says", "one says", "two runs", "other arguments"],
)
def test_logs_of_a_cell_by_two_runs_must_agree(first: Args, second: Args, tmp_path: Path) -> None:
    write(tmp_path, "a", ["ABC "], spec=first)
    write(tmp_path, "b", ["ABCD"], spec=second)
    assert one(read_logs(str(tmp_path)))["file"] == "b.eval"

    write(tmp_path, "b", ["ABBB"], spec=second)
    with pytest.raises(W2SError, match=r"b\.eval and a\.eval are both finished .* differ in 1"):
        read_logs(str(tmp_path))


def test_a_log_in_which_all_questions_failed_lacks_all_answers(tmp_path: Path) -> None:
    blocks = [[f"mockllm/{m}", "zero_shot", "pool", "", "", "", [0], 1] for m in "wm"]
    plan = {**study(), "blocks": blocks}
    write(tmp_path, "a", ["ABAB"], split="pool", study=plan)
    write(tmp_path, "b", ["    "], "mockllm/m", split="pool", study=plan)
    header = read_eval_log(str(tmp_path / "b.eval"), header_only=True)
    header.results, header.eval.dataset.samples = None, 4
    write_eval_log(header, header_only=True)

    logs = read_logs(str(tmp_path))

    assert logs.runs.set_index("model").loc["mockllm/m", ["n", "asked"]].tolist() == [0, 4]
    missing = audits.missing_cells(Experiment(logs))
    assert missing["model"].tolist() == ["mockllm/m"]


def study(name: str = "mine", **more: Any) -> dict[str, Any]:
    w, s = "mockllm/w", "mockllm/s"
    blocks = [
        [w, "zero_shot", "test", "", "", "", [0], 1],
        [s, "zero_shot", "test", "", "", "", [0], 1],
        [s, "few_shot", "test", "weak", w, "", [2, 4], 2],
    ]
    return {"name": name, "models": [w, s], "pairs": [[w, s]], "blocks": blocks, **more}


def shown(shots: int = 2, labels: str = "weak", **more: Any) -> dict[str, Any]:
    return {
        **{"labels": labels, "weak": "mockllm/w", "shots": shots, "draw": 0},
        **{"demo_ids": [100, 101][:shots], "demo_labels": ["A", "B"][:shots]},
        **{"demo_choices": [CHOICES] * shots, "demo_label_accuracy": 0.5, **more},
    }


def test_the_plan_is_that_of_the_blocks(tmp_path: Path) -> None:
    write(tmp_path, "a", ["ABCD"], study=study(headline=[2], declared=True, margin=0.05))
    logs = read_logs(str(tmp_path))

    assert logs.planned["draw"].tolist() == [0, 0, 0, 0, 1, 1]
    experiment = Experiment(logs)
    declared = experiment.declaration
    assert (declared.headline, declared.declared, declared.margin) == ((2,), True, 0.05)
    assert declared.conflicts == ()
    assert experiment.pairs == [("mockllm/w", "mockllm/s")]
    assert (experiment.shots, experiment.headline) == ([0, 2, 4], (2,))
    assert len(audits.missing_cells(experiment)) == 5


def test_the_order_of_the_models_is_the_studys_not_that_of_their_accuracy(tmp_path: Path) -> None:
    write(tmp_path, "w", ["ABCD"], study=study())
    write(tmp_path, "s", ["AAAA"], "mockllm/s", study=study())
    write(tmp_path, "v", ["AACA"], "mockllm/v")
    write(tmp_path, "u", ["ABCA"], "mockllm/u")

    models = Experiment(read_logs(str(tmp_path))).models

    assert [name[-1] for name in models] == ["w", "s", "v", "u"]  # weakest first without a plan


EARLY, BEFORE, ENDED, LATE = (f"2026-01-01T0{hour}:00:00+00:00" for hour in (1, 2, 3, 4))


@pytest.mark.parametrize(
    ("changed", "conflict"),
    [
        ({"name": "renamed"}, None),
        ({"headline": [4]}, "the headline was changed from 2 shots to 4 shots"),
        ({"declared": False}, "the headline was changed from 2 shots to none declared"),
        ({"pairs": [["mockllm/s", "mockllm/w"]]}, "the pairs were changed"),
        ({"models": ["mockllm/s", "mockllm/w"]}, "the order of the models was changed"),
        ({"models": ["mockllm/w"]}, "the models were changed"),
        ({"draws": 3}, "draws were added after the first arm was finished: 2, then 3"),
        ({"draws": 1}, None),
        ({"draws": 3, "late": False}, None),
    ],
)
def test_the_earliest_study_declares_and_what_later_ones_change_is_named(
    changed: Args, conflict: str | None, tmp_path: Path
) -> None:
    first = study(headline=[2], declared=True)
    later = first | {key: of for key, of in changed.items() if key not in ("draws", "late")}
    *blocks, (*arm, draws) = first["blocks"]
    later["blocks"] = [*blocks, [*arm, changed.get("draws", draws)]]
    # the names of the files say nothing of their order
    created = LATE if changed.get("late", True) else BEFORE
    write(tmp_path, "a", ["ABCD"], "mockllm/s", spec={"created": created}, study=later)
    write(tmp_path, "b", ["ABCD"], spec={"created": EARLY}, study=first)
    write(tmp_path, "c", ["ABCD"], "mockllm/s", completed=ENDED, study=first, **shown())

    declared = read_logs(str(tmp_path)).declaration

    assert (declared.headline, declared.declared) == ((2,), True)
    assert declared.conflicts == ((conflict,) if conflict else ())


def test_what_a_study_declares_when_nothing_is_left_to_ask_is_named_too(tmp_path: Path) -> None:
    write(tmp_path, "a", ["ABCD"], study=study(headline=[2], declared=True))
    plans = [{"study": study(headline=[k], declared=True)} for k in (2, 4)]
    (tmp_path / "plans.jsonl").write_text("".join(f"{json.dumps(plan)}\n" for plan in plans))

    declared = read_logs(str(tmp_path)).declaration
    assert declared.headline == (2,)
    assert declared.conflicts == ("the headline was changed from 2 shots to 4 shots",)
    (tmp_path / "plans.jsonl").write_text("[")
    with pytest.raises(W2SError, match=r"plans\.jsonl: a line is no plan"):
        read_logs(str(tmp_path))


def mutate(file: Path, *place: Any, to: Any) -> None:
    """Put a value into the header of a log, or with a number first into a sample's summary."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = "summaries.json" if isinstance(place[0], int) else "header.json"
    whole = inner = json.loads(parts[name])
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = to
    with zipfile.ZipFile(file, "w") as archive:
        for part, content in {**parts, name: json.dumps(whole).encode()}.items():
            archive.writestr(part, content)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("eval.metadata.shots", -3),
        ("eval.metadata.study", {"blocks": [["m", "few_shot", "test", "", "", "", [2], 10**10]]}),
        ("eval.metadata.study", [1, 2]),
        ("eval.metadata.seed", None),
        ("results.total_samples", math.nan),
        ("2.scores.letter.answer", ["A"]),
        ("2.choices", 10**30),
    ],
)
def test_a_damaged_log_is_left_out_and_named(place: str, value: Any, tmp_path: Path) -> None:
    write(tmp_path, "good", ["ABCD"])
    write(tmp_path, "bad", ["ABCD"], "mockllm/s")
    keys = [int(key) if key.isdigit() else key for key in place.split(".")]
    mutate(tmp_path / "bad.eval", *keys, to=value)

    logs = read_logs(str(tmp_path))

    assert one(logs)["file"] == "good.eval"
    (note,) = logs.notes
    assert (note.level, note.file) == ("problem", "bad.eval")
    field = place.removeprefix("eval.metadata.").removeprefix("2.")
    assert note.text.startswith("cannot be read: ")
    assert field in note.text


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"f1": Score(value=0.0, answer="B")}, "must be scored by letter, got a score of f1"),
        ({SCORER: Score(value="C", answer="E")}, "the answer must be one of A, B, C, D, got 'E'"),
        ({SCORER: Score(value="C", answer="B")}, "right one, C, but B has the value 'C'"),
        ({SCORER: Score(value=0.4, answer="C")}, r"right one, C, but C has the value 0\.4"),
    ],
)
def test_answers_that_this_suite_did_not_score_are_refused_by_file_and_question(
    scores: dict[str, Score], message: str, tmp_path: Path
) -> None:
    write(tmp_path, "good", ["ABCD"])
    write(tmp_path, "odd", ["ABCD"], "mockllm/s")
    log = read_eval_log(str(tmp_path / "odd.eval"))
    assert log.samples
    log.samples[2].scores = scores
    write_eval_log(log)

    with pytest.raises(W2SError, match=rf"odd\.eval: question 2\b.*{message}"):
        read_logs(str(tmp_path))


def test_logs_read_by_different_versions_of_the_scorer_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a", ["ABCD"])
    write(tmp_path, "b", ["ABCD"], "mockllm/s", scorer_version="2")
    with pytest.raises(W2SError, match=r"a\.eval and b\.eval were read by different versions"):
        read_logs(str(tmp_path))

    log = read_eval_log(str(tmp_path / "a.eval"))  # scored again, the header says the old version
    for sample in log.samples or ():
        assert sample.scores
        sample.scores[SCORER].metadata = {READ_BY: "2"}
    write_eval_log(log)
    assert read_logs(str(tmp_path)).metadata["scorer_version"] == "2"


def test_a_run_that_did_not_end_is_incomplete_not_absent(tmp_path: Path) -> None:
    write(tmp_path, "a", ["ABCD"], study=study())
    write(tmp_path, "b", ["AB  "], "mockllm/s", study=study(), status="error")

    missing = audits.missing_cells(Experiment(read_logs(str(tmp_path))))

    assert set(missing[["task", "why"]].itertuples(index=False, name=None)) == {
        ("zero_shot", "incomplete"),
        ("few_shot", "not run"),
    }


def test_runs_with_another_prompt_are_cells_of_their_own(tmp_path: Path) -> None:
    hidden = "question=hidden"
    write(tmp_path, "w", ["ABCA"])
    write(tmp_path, "s", ["ABCD"], "mockllm/s")
    write(tmp_path, "hidden", ["AAAA"], "mockllm/s", prompt=hidden, temperature=1.0)  # may differ
    write(tmp_path, "main", ["ABCD"], "mockllm/s", **shown())
    write(tmp_path, "main_hidden", ["ABAA"], "mockllm/s", **shown(prompt=hidden))
    experiment = Experiment(read_logs(str(tmp_path)))

    assert audits.models_table(experiment)["accuracy"].tolist() == [0.75, 1]
    (cell,) = (c for c in experiment.cells if c.shots)
    assert cell.arms["w2s"].correct.mean() == 1
    table = arms_table(experiment)
    assert table[["arm", "base", "gain"]].to_numpy().tolist() == [
        [f"zero_shot {hidden}", "zero_shot", -0.75],
        ["weak", "zero_shot", 0],
        [f"weak {hidden}", f"zero_shot {hidden}", 0.25],
    ]
    assert (table["ahead"].iloc[2], table["draws"].iloc[0]) == (0.5, 0)

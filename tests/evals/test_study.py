"""Studies: reading them, their cells, and running them on stand-in models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from inspect_ai.log import list_eval_logs, read_eval_log, write_eval_log

from tests.analysis.stats.samples import slow_gap_recovered
from tests.conftest import rows
from w2s_icl.analysis import tables
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import KEY, read_logs
from w2s_icl.analysis.tables import cells_table
from w2s_icl.cli import main
from w2s_icl.errors import W2SError
from w2s_icl.evals.cells import cell_task, few_shot_cells, plan_record, zero_shot_cells
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.study import load_study
from w2s_icl.evals.sweep.labelling import labelling
from w2s_icl.evals.sweep.run import run_study
from w2s_icl.record import CellRecord, PlanRecord, Shown

Write = Callable[..., str]
MODELS = ["simulated/small", "simulated/medium", "simulated/large"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    def write(**content: Any) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({"models": MODELS, **content}))
        return path

    return write


def test_the_notebooks_experiment_is_the_bundled_study() -> None:
    study = load_study(ROOT / "studies" / "truthfulqa.yaml")

    assert [m.rsplit("/", 1)[-1] for m in study.models] == [
        "llama-3.1-8b-instruct",
        "llama-3.1-70b-instruct",
        "qwen-2.5-72b-instruct",
    ]
    assert study.shots == (0, 2, 4, 8, 16, 32, 64)
    assert (study.test_size, study.seed, study.labels) == (200, 42, ("gold", "weak"))
    assert len(study.all_pairs) == 6
    assert len(zero_shot_cells(study)) == 6


def test_arms_are_words_of_the_study(study_file: Callable[..., Path]) -> None:
    small, medium, large = (f"simulated/{name}" for name in ("small", "medium", "large"))
    study = load_study(
        study_file(
            dataset="misconceptions",
            test_size=50,
            shots=[0, 2, 8],
            pairs=[[small, large], [medium, large]],
            labels=["self", "random", "noise_matched", "gold", "weak"],
            control_shots=8,
            prompts=["cot=bare", "disclosure=source", "question=hidden"],
            epochs={"weak": 3},
        )
    )
    cells = few_shot_cells(study, (), study.load_split())
    arms: dict[tuple[str, str, str], list[int]] = {}
    for cell in cells:
        arms.setdefault((cell.labels, cell.weak, cell.prompt), []).append(cell.shots)

    assert {cell.model for cell in cells} == {large}
    assert all(cell.args["shots"] == cell.shots for cell in cells)
    assert len({json.dumps(dict(cell.args)) for cell in cells}) == len(cells)
    assert arms == {
        ("gold", "", ""): [2, 8],
        ("weak", small, ""): [2, 8],
        ("weak", medium, ""): [2, 8],
        ("weak", large, ""): [8],
        ("random", "", ""): [8],
        ("noise_matched", small, ""): [8],
        ("noise_matched", medium, ""): [8],
        ("gold", "", "cot=bare"): [8],
        ("weak", small, "cot=bare"): [8],
        ("weak", medium, "cot=bare"): [8],
        ("gold", "", "disclosure=source"): [8],
        ("weak", small, "disclosure=source"): [8],
        ("weak", medium, "disclosure=source"): [8],
        ("gold", "", "question=hidden"): [8],
        ("weak", small, "question=hidden"): [8],
        ("weak", medium, "question=hidden"): [8],
    }
    first = [(c.model, c.split, c.prompt) for c in zero_shot_cells(study)]
    assert first.count((large, "test", "question=hidden")) == 1
    assert [m for m, split, _ in first if split == "pool"] == [small, medium, large]


def test_orders_are_cells_of_gold_and_weak_labels_at_the_headline(
    study_file: Callable[..., Path],
) -> None:
    keys = {"dataset": "misconceptions", "test_size": 50, "shots": [0, 2, 8], "draws": 2}
    kinds = {"labels": ["gold", "weak", "random"], "prompts": ["cot=bare"], "headline": 8}
    study = load_study(study_file(**keys, **kinds, orders=3))
    plain = load_study(study_file(**keys, **kinds))
    split = study.load_split()
    cells, before = (few_shot_cells(one, (), split) for one in (study, plain))
    more = [cell for cell in cells if cell.order]

    assert [cell for cell in cells if not cell.order] == before  # nothing old moves
    assert len(more) == 2 * 2 * (3 + 6)
    assert {(c.labels, c.shots, c.prompt) for c in more} == {("gold", 8, ""), ("weak", 8, "")}
    plan = plan_record(study, cells)
    assert sorted(plan.cells()) == sorted(cell.key for cell in cells)
    assert PlanRecord.from_metadata(plan.to_metadata()) == plan
    with pytest.raises(W2SError, match="of 2 there are 2, got 3"):
        load_study(study_file(**keys, **{**kinds, "headline": [2, 8]}, orders=3))


def test_files_of_labels_are_arms_beside_their_noise(
    study_file: Callable[..., Path], tmp_path: Path
) -> None:
    pool = load_split("misconceptions", test_size=50).pool
    lines = [f"{s.id},{s.target}" for s in pool]
    (tmp_path / "all.csv").write_text("\n".join(["question,label", *lines]))
    (tmp_path / "some votes.csv").write_text("\n".join(["question,label", *lines[::2]]))
    study = load_study(
        study_file(
            dataset="misconceptions",
            test_size=50,
            shots=[8],
            models=MODELS[:2],
            labels=["gold", "noise_matched", "file:all.csv", "file:some votes.csv"],
            label_pool="all",
        )
    )
    split = study.load_split()
    logs = str(tmp_path / "logs")
    skip = labelling(study, split, logs).unread
    cells = few_shot_cells(study, skip, split)
    asked = [cell for cell in cells if cell.labels in ("gold", "file") and cell.model == MODELS[0]]
    tasks = {cell.weak: cell_task(study, cell, logs) for cell in asked}

    assert {c.weak for c in cells if c.labels == "noise_matched"} == {
        *MODELS[:2],
        "file:all.csv",
        "file:some votes.csv",
    }
    assert skip == {s.id for s in pool[1::2]}  # what one file lacks no cell shows
    assert set(tasks) == {"", "file:all.csv", "file:some votes.csv"}
    assert {task.name for task in tasks.values()} == {
        *("gold_k08", "file_all_k08", "file_some-votes_k08")
    }
    shown = [Shown.from_metadata(task.metadata or {}) for task in tasks.values()]
    assert len({one.ids for one in shown}) == len({one.prompt_sha256 for one in shown}) == 1
    for cell, task in zip(asked, tasks.values(), strict=True):
        assert CellRecord.from_metadata(task.metadata or {}).key(cell.model) == cell.key


def test_a_plugin_beside_the_study_adds_a_kind_of_labels(
    study_file: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "my_labels.py").write_text(
        "from w2s_icl.solvers.labels import LabelSet, label_source\n"
        "@label_source('plugged')\n"
        "def last(request):\n"
        "    return LabelSet('plugged', {s.id: s.choices[-1] for s in request.pool}, 'nobody')\n"
    )
    changes = {"dataset": "misconceptions", "test_size": 50, "shots": [2], "labels": ["plugged"]}
    study = load_study(study_file(plugins=["my_labels"], **changes))
    (cell, *_) = few_shot_cells(study, (), study.load_split())

    assert cell_task(study, cell, str(tmp_path)).name == "plugged_k02"
    with pytest.raises(W2SError, match="plugins: nothing_such cannot be imported: No module"):
        load_study(study_file(plugins=["nothing_such"]))


def test_settings_of_a_study_are_its_cells(study_file: Callable[..., Path]) -> None:
    changes = {
        "system_role": "user",
        "read": "likelihood",
        "generate": {"temperature": None, "top_p": 0.5},
    }
    study = load_study(study_file(dataset="misconceptions", shots=[0, 2], **changes))
    split = study.load_split()
    for cell in (*zero_shot_cells(study), *few_shot_cells(study, (), split)[:1]):
        task = cell_task(study, cell, "logs")
        assert (task.config.temperature, task.config.top_p) == (None, 0.5)
        metadata = task.metadata or {}
        assert (metadata["system_role"], metadata["read"]) == ("user", "likelihood")
        assert {key: cell.args[key] for key in changes} == changes


@pytest.mark.parametrize(("named", "declared"), [({"headline": 64}, True), ({}, False)])
def test_a_headline_is_declared_only_where_the_file_names_it(
    named: dict[str, int], declared: bool, study_file: Callable[..., Path]
) -> None:
    study = load_study(study_file(dataset="misconceptions", **named))
    plan = plan_record(study, zero_shot_cells(study))

    assert (plan.headline, plan.declared) == ((64,), declared)
    assert PlanRecord.from_metadata(plan.to_metadata()) == plan


def test_a_study_knows_what_a_verdict_lacks(study_file: Callable[..., Path]) -> None:
    def lacks(**changes: Any) -> tuple[str, ...]:
        return load_study(study_file(shots=[16, 64], **changes)).missing_arms()

    kinds = ["gold", "weak", "random", "noise_matched", "unlabelled", "self"]
    assert lacks(labels=kinds) == lacks(labels=kinds[:-1]) == ()
    assert lacks(labels=["gold", "weak", "self", "noise_matched"]) == ("random", "unlabelled")
    assert lacks(labels=kinds, headline=16, control_shots=64)[0] == "random"
    assert load_study(ROOT / "studies" / "controls.yaml").missing_arms() == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"modles": ["a"]}, r"modles: not a key of a study; did you mean models\?"),
        ({"models": []}, "models: "),
        ({"models": ["a/b", "a/b"]}, "models: a/b stands there twice"),
        (
            {"shots": [2, -1]},
            r"shots: must be a list of numbers, such as \[0, 4, 16\], got -1 at shots.1",
        ),
        ({"labels": ["gold", "silver"]}, "labels must be one of gold, weak.*got 'silver'"),
        ({"pairs": [MODELS[:2]]}, "models: simulated/large stands in no pair and would not be run"),
        ({"labels": ["file:x.csv"]}, "labels: there is no file x.csv"),
        ({"generate": {"warmth": 1}}, "GenerateConfig has no warmth"),
        ({"read": "likelihood", "prompts": ["cot=bare"]}, "cot must be none, got 'bare'"),
        ({"pairs": [["simulated/small", "x/y"]]}, "pairs names 'x/y', which is not among models"),
        ({"headline": 5}, r"headline must be among shots \[0, 2, 4, 8, 16, 32, 64\], got \[5\]"),
        ({"prompts": ["loud"]}, "prompts: must be a list of disclosure=source.*got 'loud'"),
        ({"epochs": {"golden": 2}}, "epochs: must be of zero_shot, gold.*got 'golden'"),
        ({"chains": [["a", "b", "c"]]}, "chains: not a key of a study; the keys are name, plugins"),
        ({"margin": 0.5}, "margin: must be a fraction from 0 to 0.05, got 0.5"),
        ({"test_size": "many"}, "test_size: must be a whole number of at least 1, got 'many'"),
        ({"near_duplicates": "perhaps"}, "near_duplicates: must be drop or keep, got 'perhaps'"),
        ({"prices": {"simulated/small": {"input": 1}}}, "prices.simulated/small.output is missing"),
    ],
)
def test_a_wrong_study_is_refused_in_one_line(
    content: dict[str, Any], message: str, study_file: Callable[..., Path]
) -> None:
    with pytest.raises(W2SError, match=message) as error:
        load_study(study_file(**content))
    assert "study.yaml" in str(error.value)


def test_dataset_beside_the_study_is_found(
    study_file: Callable[..., Path], write_jsonl: Write
) -> None:
    write_jsonl(rows(30), "mine.jsonl")
    study = load_study(study_file(dataset="mine.jsonl", test_size=10, shots=[0, 2]))

    assert len(study.load_split().test) == 10
    with pytest.raises(W2SError, match=r"shots must be at most \d+, the questions in the pool"):
        load_study(study_file(dataset="mine.jsonl", test_size=10, shots=[64])).load_split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small whole study on stand-in models; tests only read it or add to a copy."""
    folder = tmp_path_factory.mktemp("study")
    study = folder / "study.yaml"
    study.write_text(
        yaml.safe_dump(
            {
                "dataset": "misconceptions",
                "test_size": 40,
                "models": MODELS,
                "shots": [0, 1],
                "draws": 1,
            }
        )
    )
    outcome = run_study(load_study(study), str(folder / "logs"))
    assert outcome.ok
    return folder


def test_every_cell_is_run_once_and_marked_as_simulated(finished: Path) -> None:
    logs = [
        read_eval_log(info, header_only=True) for info in list_eval_logs(str(finished / "logs"))
    ]

    assert len(logs) == 3 + 3 + 3 + 6
    assert {log.status for log in logs} == {"success"}
    assert all("say nothing" in (log.eval.metadata or {})["warning"] for log in logs)
    sizes = {
        ((log.eval.metadata or {})["split"], log.results.total_samples)
        for log in logs
        if log.results
    }
    # of the pool, only the largest prompt and the reserve are labelled
    assert sizes == {("test", 40), ("pool", 1 + 8)}


def test_arms_show_the_same_questions_and_equal_prompts_are_asked_once(finished: Path) -> None:
    runs = read_logs(str(finished / "logs")).runs
    shown = runs[runs["task"] == "few_shot"]

    assert len(set(shown["demo_ids"])) == 1
    for _, group in shown.groupby(["model", shown["demo_labels"].map(str)]):
        assert (group["calls"] > 0).sum() == 1
        assert set(group["reused_from"]) - {""} <= set(group["file"])


@pytest.mark.slow
def test_the_log_that_counts_is_kept_and_answers_are_taken_over_from_it(
    finished: Path, tmp_path: Path
) -> None:
    folder = copy(finished, tmp_path / "twice")
    runs = read_logs(str(folder / "logs")).runs
    again = runs[runs["reused_from"] != ""].iloc[0]
    (folder / "logs" / again["file"]).unlink()
    second = read_eval_log(str(folder / "logs" / again["reused_from"]))
    # of another worker, which went on from the same log and ended later
    second.eval.created = second.stats.completed_at = "2999-01-01T00:00:00+00:00"
    write_eval_log(second, str(folder / "logs" / ("later-" + again["reused_from"])))
    before = names(folder)

    assert run_study(load_study(folder / "study.yaml"), str(folder / "logs")).ok
    assert before < names(folder)
    runs = read_logs(str(folder / "logs")).runs
    same = (runs[list(KEY)] == again[list(KEY)]).all(axis=1)
    assert runs.loc[same, "reused_from"].tolist() == [again["reused_from"]]


def test_tables_are_those_of_a_count_by_hand(finished: Path) -> None:
    """From whole logs, by question id, with other code than the tables'."""
    experiment = Experiment(read_logs(str(finished / "logs")))
    letters: dict[tuple[Any, ...], dict[Any, str]] = {}
    gold: dict[Any, str] = {}
    for info in list_eval_logs(str(finished / "logs")):
        log = read_eval_log(info)
        m = log.eval.metadata or {}
        key = (log.eval.model, m["split"], m.get("labels"), m.get("weak"), m.get("shots", 0))
        letters[key] = {s.id: (s.scores or {})["letter"].answer or "" for s in log.samples or ()}
        gold |= {s.id: str(s.target) for s in log.samples or ()}
    cells = cells_table(experiment)
    match = tables.matching_table(experiment)

    assert len(match) == 6
    for row in match.to_dict("records"):
        weak, strong, k = row["weak"], row["strong"], row["shots"]
        w = letters[weak, "test", "", "", 0]
        s = letters[strong, "test", "", "", 0]
        a = letters[strong, "test", "weak", weak, k]
        g = letters[strong, "test", "gold", "", k]
        for prefix, ids in (("", list(a)), ("ww_", [q for q in a if w[q] != gold[q]])):
            as_s = [a[q] == s[q] != "" for q in ids]
            as_w = [a[q] == w[q] != "" for q in ids]
            both = sum(x and y for x, y in zip(as_s, as_w, strict=True))
            shares = {"both": both}
            if weak != strong:
                shares |= {"strong": sum(as_s) - both, "weak": sum(as_w) - both}
            shares["neither"] = len(ids) - sum(shares.values())
            for name, count in shares.items():
                assert row[f"{prefix}match_{name}"] == pytest.approx(count / len(ids), abs=1e-9)
        wrong = [q for q in a if s[q] != gold[q]]
        assert row["fix_count"] == sum(a[q] == gold[q] for q in wrong)
        assert row["strong_wrong_n"] == len(wrong)
        if weak == strong:
            continue
        columns = [[[int(run[q] == gold[q])] for q in a] for run in (w, a, g)]
        expected = slow_gap_recovered(*columns)
        (cell,) = cells[
            (cells["weak"] == weak) & (cells["strong"] == strong) & (cells["shots"] == k)
        ].to_dict("records")
        assert cell["pgr_gold_status"] == expected["status"]
        for name, column in {"value": "", "low": "_lo", "high": "_hi", "gap": "_gap"}.items():
            assert cell[f"pgr_gold{column}"] == pytest.approx(expected[name], abs=1e-6, nan_ok=True)


@pytest.mark.slow
def test_logs_on_s3_are_read_as_local_ones_are(finished: Path, s3: Any) -> None:
    for path in sorted((finished / "logs").iterdir(), reverse=True):
        s3.upload_file(str(path), "studies", f"one/{path.name}")
    remote = read_logs("s3://studies/one")
    local = read_logs(str(finished / "logs"))

    assert local.runs["split"].nunique() == local.runs["task"].nunique() == 2
    pd.testing.assert_frame_equal(remote.runs, local.runs)
    pd.testing.assert_frame_equal(remote.questions, local.questions)
    assert (remote.letters == local.letters).all()


def copy(finished: Path, target: Path) -> Path:
    shutil.copytree(finished, target)
    return target


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "logs").glob("*.eval")}


@pytest.mark.slow
def test_running_again_does_nothing_and_more_shots_run_only_the_new_cells(
    finished: Path, tmp_path: Path
) -> None:
    folder = copy(finished, tmp_path / "again")
    before = names(folder)
    study = load_study(folder / "study.yaml")

    assert run_study(study, str(folder / "logs")).ok
    assert names(folder) == before

    more = study.model_copy(update={"shots": (0, 1, 24)})
    assert run_study(more, str(folder / "logs")).ok
    new = [
        read_eval_log(str(folder / "logs" / name), header_only=True)
        for name in names(folder) - before
    ]
    shots = Counter((log.eval.metadata or {}).get("shots") for log in new)
    assert (shots[24], shots[1]) == (9, 0)
    # each label run asked only what was missing: its old answers were taken over
    runs = read_logs(str(folder / "logs")).runs
    assert set(runs[runs["split"] == "pool"]["n"]) == {24 + 8}


def test_logs_of_another_experiment_are_refused_before_any_call(
    finished: Path, tmp_path: Path
) -> None:
    folder = copy(finished, tmp_path / "other")
    before = names(folder)
    study = load_study(folder / "study.yaml").model_copy(update={"seed": 7})

    with pytest.raises(W2SError, match=r"another experiment: its \w+ is .* use another --log-dir"):
        run_study(study, str(folder / "logs"))
    assert names(folder) == before


# --- damaged directories --------------------------------------------------------------------------


def test_a_torn_log_and_a_foreign_log_are_named(finished: Path, tmp_path: Path) -> None:
    folder = copy(finished, tmp_path / "torn")
    torn = next(p for p in sorted((folder / "logs").glob("*.eval")) if "w2s" in p.name)
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])

    logs = read_logs(str(folder / "logs"))

    assert [(n.level, n.file) for n in logs.notes] == [("problem", torn.name)]
    cells = cells_table(Experiment(logs))
    hurt = cells[cells["pgr_gold_status"].eq("incomplete") & cells["shots"].gt(0)]
    assert len(hurt) == 1 or (hurt["weak"] == hurt["strong"]).all()


# --- the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.yaml", "--log-dir", "x"], "nowhere.yaml: cannot be read"),
        (["report", "nowhere", "--out", "x"], "nowhere"),
        (["run", "study.yaml"], "--log-dir"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(main, arguments)

    assert done.exit_code == 2
    assert message in done.stderr


def started(*command: str) -> subprocess.CompletedProcess[str]:
    """A command as a person starts it: Inspect finds the suite by its entry point."""
    script = Path(sys.executable).with_name(command[0])
    return subprocess.run(
        [str(script), *command[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.slow
def test_inspects_own_commands_work(tmp_path: Path) -> None:
    def inspect(*arguments: str) -> str:
        done = started("inspect", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    data = ["-T", "dataset=misconceptions", "-T", "test_size=20", "--display", "plain"]
    file_route = ["evals/truthfulqa.py@few_shot", "-T", "labels=gold", "-T", "shots=8"]
    logs = ["--log-dir", str(tmp_path)]

    listed = inspect("list", "tasks", "evals")
    assert "w2s_icl" not in listed
    assert "evals/truthfulqa.py@zero_shot" in listed
    inspect("eval", *file_route, *data, "--model", "simulated/large", *logs)
    inspect("eval", "w2s_icl/zero_shot", *data, "--model", "simulated/small", *logs)
    written = list_eval_logs(str(tmp_path))
    assert len(written) == 2
    for info in written:
        log = read_eval_log(info)
        assert log.status == "success"
        assert "say nothing" in (log.eval.metadata or {})["warning"]
        before = log.results
        inspect("score", info.name, "--overwrite", "--action", "overwrite")
        after = read_eval_log(info).results
        assert before
        assert after
        assert after.scores[0].metrics["accuracy"] == before.scores[0].metrics["accuracy"]
    weak = ["-T", "labels=weak", "-T", "weak=simulated/medium"]
    refused = started(
        *("inspect", "eval", "w2s_icl/few_shot", *data, *weak, "--model", "simulated/large", *logs)
    )
    assert "Make it with: inspect eval" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stdout + refused.stderr


LAUGHS = "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 8)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
"""Lists of lists of lists, each eight times the one before."""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: [a/b]\nmodels: [a/c]", "line 2: the key models stands there twice"),
        (
            "a: &a [1, 2, 3, 4, 5, 6, 7, 8]\n" + LAUGHS,
            "stand for more than 10,000 values",
        ),
        ("models: &a [*a]", "stand for more than 10,000 values"),
        ("models: ['a/b>c']", "may hold letters, digits"),
        ("models: ['a/b c', 'a/d\\n']", "may hold letters, digits"),
    ],
)
def test_what_a_study_may_not_say_is_refused_in_one_line(
    text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "study.yaml").write_text(text, "utf-8")
    with pytest.raises(W2SError, match=said) as refused:
        load_study(tmp_path / "study.yaml")
    assert "\n" not in refused.value.message


def test_a_study_that_a_program_wrote_may_repeat_itself(tmp_path: Path) -> None:
    models = ["simulated/small", "simulated/large"]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"models": models, "pairs": [models]}))
    assert load_study(tmp_path / "study.yaml").pairs == (tuple(models),)


@pytest.mark.parametrize("folder", ["a#b", "a?b", "a%20b", "a\nb"])
def test_a_log_directory_with_the_syntax_of_an_address_is_refused(folder: str) -> None:
    done = CliRunner().invoke(main, ["run", "demo", "--log-dir", folder, "--yes"])
    assert done.exit_code == 2
    assert "must not hold" in done.output

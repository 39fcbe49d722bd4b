"""Studies: reading them, their cells, and running them on stand-in models."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from inspect_ai.log import list_eval_logs, read_eval_log, write_eval_log

from tests.conftest import Args, Write, rows, script
from w2s_icl.analysis.logs import KEY, read_logs
from w2s_icl.cli import main
from w2s_icl.errors import W2SError
from w2s_icl.evals.cells import cell_task, few_shot_cells, plan_record, zero_shot_cells
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.study import load_study
from w2s_icl.evals.sweep.labelling import labelling
from w2s_icl.evals.sweep.run import run_study
from w2s_icl.inputs import secret_in
from w2s_icl.record import CellRecord, PlanRecord, Shown

File = Callable[..., Path]
MODELS = ["simulated/small", "simulated/medium", "simulated/large"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def study_file(tmp_path: Path) -> File:
    def write(**content: Any) -> Path:
        path = tmp_path / "study.yaml"
        small = {"models": MODELS, "dataset": "misconceptions", "test_size": 50}
        path.write_text(yaml.safe_dump(small | content))
        return path

    return write


def test_the_notebooks_experiment_is_the_bundled_study() -> None:
    study = load_study(ROOT / "studies" / "truthfulqa.yaml")

    names = ["llama-3.1-8b-instruct", "llama-3.1-70b-instruct", "qwen-2.5-72b-instruct"]
    assert [m.rsplit("/", 1)[-1] for m in study.models] == names
    assert study.shots == (0, 2, 4, 8, 16, 32, 64)
    assert (study.test_size, study.seed, study.labels) == (200, 42, ("gold", "weak"))
    assert len(study.all_pairs) == 6
    assert len(zero_shot_cells(study)) == 6


def test_arms_are_words_of_the_study(study_file: File) -> None:
    small, medium, large = (f"simulated/{name}" for name in ("small", "medium", "large"))
    study = load_study(
        study_file(
            shots=[0, 2, 8],
            pairs=[[small, large], [medium, large]],
            labels=["self", "random", "noise_matched", "gold", "weak"],
            control_shots=8,
            prompts=["cot=bare", "disclosure=source", "question=hidden"],
            epochs={"weak": 3},
        )
    )
    cells = few_shot_cells(study, (), study.load_split())
    with pytest.raises(W2SError, match="at most 5,000 cells"):
        few_shot_cells(study.model_copy(update={"draws": 1000}), (), study.load_split())
    arms: dict[tuple[str, str, str], list[int]] = {}
    for cell in cells:
        arms.setdefault((cell.labels, cell.weak, cell.prompt), []).append(cell.shots)

    assert {cell.model for cell in cells} == {large}
    assert all(cell.args["shots"] == cell.shots for cell in cells)
    assert len({json.dumps(dict(cell.args)) for cell in cells}) == len(cells)
    main = [("gold", ""), ("weak", small), ("weak", medium)]
    controls = [("random", ""), ("noise_matched", small), ("noise_matched", medium)]
    assert arms == {
        **{(*arm, ""): [2, 8] for arm in main},
        **{(*arm, ""): [8] for arm in [("weak", large), *controls]},
        **{(*arm, prompt): [8] for arm in main for prompt in study.prompts},
    }
    first = [(c.model, c.split, c.prompt) for c in zero_shot_cells(study)]
    assert first.count((large, "test", "question=hidden")) == 1
    assert [m for m, split, _ in first if split == "pool"] == [small, medium, large]


def test_orders_are_cells_of_gold_and_weak_labels_at_the_headline(study_file: File) -> None:
    keys = {"shots": [0, 2, 8], "draws": 2}
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
    with pytest.raises(W2SError, match="at most 2, the orders of 2 demonstrations"):
        load_study(study_file(**keys, **{**kinds, "headline": [2, 8]}, orders=3))


def test_arguments_of_a_cell_keep_their_order(study_file: File) -> None:
    # by which Inspect knows the unfinished log of an earlier version again
    study = load_study(study_file(shots=[8], permutations=2, prompts=["cot=bare"]))
    split = study.load_split()
    cells = few_shot_cells(study, [split.draw(0)[0].id], split)
    args = next(cell.args for cell in cells if cell.prompt and cell.weak)
    assert [*args][-4:] == ["weak", "permutations", "cot", "skip"]


def test_files_of_labels_are_arms_beside_their_noise(study_file: File, tmp_path: Path) -> None:
    pool = load_split("misconceptions", test_size=50).pool
    lines = [f"{s.id},{s.target}" for s in pool]
    (tmp_path / "all.csv").write_text("\n".join(["question,label", *lines]))
    (tmp_path / "some votes.csv").write_text("\n".join(["question,label", *lines[::2]]))
    study = load_study(
        study_file(
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

    with pytest.raises(W2SError, match=r"shots=8, but only 7 of the 204 .* file:some votes.csv"):
        few_shot_cells(study, {s.id for s in pool[7:]}, split)
    files = {"file:all.csv", "file:some votes.csv"}
    assert {c.weak for c in cells if c.labels == "noise_matched"} == {*MODELS[:2], *files}
    assert skip == {s.id for s in pool[1::2]}  # what one file lacks no cell shows
    assert set(tasks) == {"", *files}
    names = {task.name for task in tasks.values()}
    assert names == {"gold_k08", "file_all_k08", "file_some-votes_k08"}
    shown = [Shown.from_metadata(task.metadata or {}) for task in tasks.values()]
    assert len({one.ids for one in shown}) == len({one.prompt_sha256 for one in shown}) == 1
    for cell, task in zip(asked, tasks.values(), strict=True):
        assert CellRecord.from_metadata(task.metadata or {}).key(cell.model) == cell.key


def test_a_plugin_beside_the_study_adds_a_kind_of_labels(study_file: File, tmp_path: Path) -> None:
    (tmp_path / "my_labels.py").write_text(
        "from w2s_icl.solvers.labels import LabelSet, label_source\n"
        "@label_source('plugged')\n"
        "def last(request):\n"
        "    return LabelSet('plugged', {s.id: s.choices[-1] for s in request.pool}, 'nobody')\n"
    )
    study = load_study(study_file(plugins=["my_labels"], shots=[2], labels=["plugged"]))
    (cell, *_) = few_shot_cells(study, (), study.load_split())

    assert cell_task(study, cell, str(tmp_path)).name == "plugged_k02"
    with pytest.raises(W2SError, match="the plugin nothing_such cannot be imported: No module"):
        load_study(study_file(plugins=["nothing_such"]))


def test_settings_of_a_study_are_its_cells(study_file: File) -> None:
    generate = {"temperature": None, "top_p": 0.5}
    changes = {"system_role": "user", "read": "likelihood", "generate": generate}
    study = load_study(study_file(shots=[0, 2], **changes))
    split = study.load_split()
    for cell in (*zero_shot_cells(study), *few_shot_cells(study, (), split)[:1]):
        task = cell_task(study, cell, "logs")
        assert (task.config.temperature, task.config.top_p) == (None, 0.5)
        metadata = task.metadata or {}
        assert (metadata["system_role"], metadata["read"]) == ("user", "likelihood")
        assert {key: cell.args[key] for key in changes} == changes


@pytest.mark.parametrize("named", [{"headline": 64}, {}])
def test_a_headline_is_declared_only_where_the_file_names_it(named: Args, study_file: File) -> None:
    study = load_study(study_file(**named))
    plan = plan_record(study, zero_shot_cells(study))

    assert (plan.headline, plan.declared) == ((64,), bool(named))
    assert PlanRecord.from_metadata(plan.to_metadata()) == plan


def test_a_study_knows_what_a_verdict_lacks(study_file: File) -> None:
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
        ({"modles": ["a"]}, r"modles is not a key; did you mean models\?"),
        ({"models": ["ollama/a", "ollama/a:latest"]}, "models: ollama/a stands there twice"),
        (
            {"shots": [2, -1]},
            r"shots: must be a list of numbers from 0, such as \[0, 4, 16\], got -1",
        ),
        ({"labels": ["gold", "silver"]}, "labels must be one of gold, weak.*got 'silver'"),
        ({"pairs": [MODELS[:2]]}, "models: simulated/large stands in no pair and would not be run"),
        (
            {"labels": ["file:x.csv"]},
            "labels: file:PATH must be a file beside the study or here, .*got 'x.csv'",
        ),
        ({"generate": {"warmth": 1}}, "generate: Unknown GenerateConfig field.*warmth"),
        ({"pairs": [["simulated/small", "x/y"]]}, "pairs must be among models .*got 'x/y'"),
        ({"headline": 5}, r"headline must be among shots \[0, 2, 4, 8, 16, 32, 64\], got 5"),
        (
            {"epochs": {"golden": 2}},
            r"epochs must be among runs \['zero_shot', 'gold'.*got 'golden'",
        ),
        ({"chains": [["a", "b", "c"]]}, "chains is not a key; allowed are name, plugins"),
        ({"prices": {MODELS[0]: {"input": 1}}}, "prices: must be .*small.output is missing"),
        ({"timeout": math.nan}, "timeout: must be seconds, a number above 0, got nan"),
        ({"models": ["simulated/foo"]}, "simulated/small.*got simulated/foo"),
        ({"name": "a\nb"}, r"name: must be text on one line.*got 'a\\nb'"),
        (
            {"generate": {"top_p": math.inf}},
            "generate: top_p: input should be a finite number, got inf",
        ),
        (
            {"model_args": {MODELS[0]: {"headers": [{"X-Custom-Auth": "abc"}]}}},
            r"headers.0.X-Custom-Auth must not hold a key .*environment",
        ),
        ({"generate": {"extra_body": {"x": "sk-1234"}}}, "extra_body.x must not hold a key"),
        ({"dataset": "https://me:pw@host/x.csv"}, "dataset must not hold a key or a password"),
    ],
)
def test_a_wrong_study_is_refused_in_a_line(content: Args, message: str, study_file: File) -> None:
    with pytest.raises(W2SError, match=message) as error:
        load_study(study_file(**content))
    assert "study.yaml" in str(error.value)
    assert "\n" not in error.value.message


def test_what_only_looks_like_a_key_is_none() -> None:
    args = {"revision": "0123456789abcdef0123456789abcdef01234567", "base_url": "http://h:8000/v1"}
    assert not secret_in({"model_args": {"hf/x": {**args, "model_path": "/m/llama-3.1-8b.gguf"}}})


@pytest.mark.parametrize("name", ["a>b.csv", "a%20b.csv"])
def test_a_file_name_that_is_syntax_is_refused(name: str, study_file: File, tmp_path: Path) -> None:
    (tmp_path / name).write_text("question,label\n1,A\n")
    with pytest.raises(W2SError, match="its name of letters, digits"):
        load_study(study_file(labels=[f"file:{name}"]))


def test_dataset_beside_the_study_is_found(study_file: File, write_jsonl: Write) -> None:
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
    content = {"dataset": "misconceptions", "test_size": 40, "models": MODELS, "shots": [0, 1]}
    study.write_text(yaml.safe_dump(content))
    assert run_study(load_study(study), str(folder / "logs")).ok
    return folder


def test_every_cell_is_run_once_and_marked_as_simulated(finished: Path) -> None:
    infos = list_eval_logs(str(finished / "logs"))
    logs = [read_eval_log(info, header_only=True) for info in infos]

    assert len(logs) == 3 + 3 + 3 + 6
    assert {log.status for log in logs} == {"success"}
    assert all("say nothing" in (log.eval.metadata or {})["warning"] for log in logs)
    splits = [(log.eval.metadata or {})["split"] for log in logs]
    sizes = [log.results.total_samples for log in logs if log.results]
    # of the pool, only the largest prompt and the reserve are labelled
    assert set(zip(splits, sizes, strict=True)) == {("test", 40), ("pool", 1 + 8)}


def test_arms_show_the_same_questions_and_equal_prompts_are_asked_once(finished: Path) -> None:
    runs = read_logs(str(finished / "logs")).runs
    shown = runs[runs["task"] == "few_shot"]

    assert len(set(shown["demo_ids"])) == 1
    for _, group in shown.groupby(["model", shown["demo_labels"].map(str)]):
        assert (group["calls"] > 0).sum() == 1
        assert set(group["reused_from"]) - {""} <= set(group["file"])


@pytest.mark.slow
def test_the_log_that_counts_is_kept_and_taken_over_from(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "twice"))
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


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "logs").glob("*.eval")}


def test_logs_of_another_study_are_refused_before_any_call(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "other"))
    before = names(folder)
    study = load_study(folder / "study.yaml").model_copy(update={"seed": 7})

    with pytest.raises(W2SError, match=r"another experiment: its \w+ is .* use another --log-dir"):
        run_study(study, str(folder / "logs"))
    assert names(folder) == before


@pytest.mark.slow
def test_inspects_own_commands_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    data = ["-T", "dataset=misconceptions", "-T", "test_size=20", "--display", "plain"]
    logs = ["--log-dir", str(tmp_path)]

    listed = script("inspect", "list", "tasks", "evals")
    assert listed.code == 0, listed
    assert "w2s_icl" not in listed.out
    assert "evals/truthfulqa.py@zero_shot" in listed.out
    # as a person starts it: Inspect finds the suite by its file, and by its entry point
    inspect = str(Path(sys.executable).with_name("inspect"))
    file_route = ["evals/truthfulqa.py@few_shot", "-T", "labels=gold", "-T", "shots=8"]
    for task, model in ((file_route, "large"), (["w2s_icl/zero_shot"], "small")):
        started = [inspect, "eval", *task, *data, *logs, "--model", f"simulated/{model}"]
        subprocess.run(started, check=True, timeout=180)
    written = list_eval_logs(str(tmp_path))
    assert len(written) == 2
    for info in written:
        log = read_eval_log(info)
        assert log.status == "success"
        assert "say nothing" in (log.eval.metadata or {})["warning"]
        before = log.results
        scored = script("inspect", "score", info.name, "--overwrite", "--action", "overwrite")
        assert scored.code == 0, scored
        after = read_eval_log(info).results
        assert before
        assert after
        assert after.scores[0].metrics["accuracy"] == before.scores[0].metrics["accuracy"]
    weak = ["-T", "labels=weak", "-T", "weak=simulated/medium", "--model", "simulated/large"]
    refused = script("inspect", "eval", "w2s_icl/few_shot", *data, *weak, *logs)
    assert "Make it with: inspect eval" in " ".join(refused.err.split())
    assert "Traceback" not in refused.out + refused.err


# lists of lists of lists
LAUGHS = "a: &a [1]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdef")
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: [a/b]\nmodels: [a/c]", "line 2: the key models stands there twice"),
        (LAUGHS, "stand for more than 10,000 values"),
        ("models: &a [*a]", "stand for more than 10,000 values"),
        ("models: ['a/b', 'a/d\\n']", "in letters, digits and .* got 'a/d"),
    ],
)
def test_what_no_study_may_say_is_refused_in_one_line(text: str, said: str, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("command", ["plan", "study"])
def test_a_study_that_is_not_there_is_named_beside_those_that_are(command: str) -> None:
    done = CliRunner().invoke(main, [command, "nosuch"])
    assert done.exit_code == 2
    assert "one of controls, demo, truthfulqa; there is no 'nosuch'" in done.output


def test_a_log_directory_that_is_a_file_is_refused() -> None:
    for command in (["plan"], ["run", "--yes"]):
        done = CliRunner().invoke(main, [*command, "demo", "--log-dir", __file__])
        assert (done.exit_code, "--log-dir must be a folder" in done.output) == (2, True)

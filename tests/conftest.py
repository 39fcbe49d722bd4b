"""What several test files need: questions, logs made by scripted models, the shared data."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from inspect_ai import Task, eval
from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalLog, EvalSample, resolve_sample_attachments
from inspect_ai.model import ChatMessage, ModelOutput, ModelUsage, get_model

SHARED = Path(__file__).parents[2] / "shared" / "data"

needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason=f"real TruthfulQA is not beside the checkout ({SHARED})"
)

warnings_are_errors = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # what other tests left open
]

# files that take longest, the longest first
LONG = (
    *("shards", "figures", "faults", "planted", "results", "docs", "http", "arms", "questions"),
    *("shapes", "labels", "replies", "standins", "ratio", "study", "plan", "report", "truthfulqa"),
)

Args = dict[str, Any]
Run = Callable[..., EvalLog]
Write = Callable[..., str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first: where files run side by side, none is left running alone at the end."""
    place = {f"test_{name}": i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))


def exchange(sample: EvalSample) -> list[ChatMessage]:
    """The whole prompt as it was sent, and the reply: from the call, where there was one."""
    sample = resolve_sample_attachments(sample, "full")  # long texts are kept once
    calls = [event for event in sample.events if isinstance(event, ModelEvent)]
    if not calls:
        return sample.messages
    return [*calls[-1].input, sample.output.message]


@pytest.fixture(autouse=True)
def _logs_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSPECT_LOG_DIR", str(tmp_path / "logs"))


@pytest.fixture
def log_dir(tmp_path: Path) -> str:
    return str(tmp_path / "logs")


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3 server on loopback that has one bucket, "studies"."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "test")
        client = boto3.client("s3")
        client.create_bucket(Bucket="studies")
        yield client
    server.stop()


class Done(NamedTuple):
    """What a command has come to."""

    code: int
    out: str
    err: str


def script(name: str, *arguments: str) -> Done:
    """Call the installed command of a name in this process: a start of Inspect takes seconds."""
    (entry,) = entry_points(group="console_scripts", name=name)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        patch.object(sys, "argv", [name, *arguments]),
        patch.object(sys, "excepthook", sys.excepthook),
        patch.dict(os.environ),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            entry.load()()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def rows(n: int, options: int = 4) -> list[dict[str, Any]]:
    """Made-up questions that share few words."""
    return [
        {
            "question": f"What is thing{i}a of place{i}b?",
            "choices": [f"answer {i} {'wxyzuv'[j]}" for j in range(options)],
            "label": i % options,
        }
        for i in range(n)
    ]


def write_questions(path: Path, content: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")
    return path


def hub_folder(path: Path, content: Sequence[dict[str, Any]], split: str = "validation") -> Path:
    """A dataset folder in the hub's layout, with one config, multiple_choice."""
    (path / "multiple_choice").mkdir(parents=True)
    file = path / "multiple_choice" / f"{split}-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(list(content)), file)
    (path / "README.md").write_text(
        "---\nconfigs:\n- config_name: multiple_choice\n  data_files:\n"
        f"  - split: {split}\n    path: multiple_choice/{split}-*\n---\n"
    )
    return path


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Write:
    def write(content: Sequence[dict[str, Any]], name: str = "questions.jsonl") -> str:
        return str(write_questions(tmp_path / name, content))

    return write


@pytest.fixture
def questions(write_jsonl: Write) -> Args:
    """Arguments of a data set of 30 questions, 6 of them the test."""
    return {"dataset": write_jsonl(rows(30)), "test_size": 6}


@pytest.fixture
def run(log_dir: str) -> Run:
    """Run a task on a model that answers the samples with the given replies, in turn."""

    def run_(task: Task, replies: Sequence[str], model: str = "mockllm/weak") -> EvalLog:
        outputs = []
        for i in range(max(len(task.dataset), 1) * (task.epochs or 1)):
            output = ModelOutput.from_content(model, replies[i % len(replies)])
            output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
            outputs.append(output)
        scripted = get_model(model, custom_outputs=outputs, memoize=False)
        # one at a time: replies are handed out in the order of the dataset
        (log,) = eval(task, scripted, log_dir=log_dir, display="none", max_samples=1)
        assert log.status == "success", log.error
        return log

    return run_

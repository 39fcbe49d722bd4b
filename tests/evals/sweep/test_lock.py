"""One run per directory; a lock whose process is gone is taken over."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from w2s_icl.evals.sweep import logdir
from w2s_icl.evals.sweep.logdir import OWNER, HeldError, held

HOLD = """
import sys, time
from w2s_icl.evals.sweep.logdir import held
with held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(folder: str) -> None:
    with held(folder):
        pass


@pytest.mark.slow
def test_a_second_run_is_told_who_runs_and_takes_over_after_kill_9(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    first = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with pytest.raises(HeldError, match=f"process {first.pid} on ") as refused:
        hold(str(tmp_path))
    assert refused.value.exit_code == 2
    first.kill()
    first.wait()
    said: list[str] = []
    with held(str(tmp_path), said.append):
        assert "did not end in order" in said.pop()
    assert not (tmp_path / OWNER).exists()
    with held(str(tmp_path), said.append):
        assert not said


@pytest.mark.slow
def test_a_renewed_lease_holds_a_silent_one_ends(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logdir, "RENEWED", 0.5)
    monkeypatch.setattr(logdir, "SILENT", 4.0)
    with held("s3://studies/a"):
        owner = s3.get_object(Bucket="studies", Key=f"a/{OWNER}")["Body"].read()
        with pytest.raises(HeldError, match="s3://studies/a is being written by process"):
            hold("s3://studies/a")
    assert "Contents" not in s3.list_objects_v2(Bucket="studies", Prefix=f"a/{OWNER}")
    s3.put_object(Bucket="studies", Key=f"a/{OWNER}", Body=owner)
    said: list[str] = []
    with held("s3://studies/a", said.append):
        assert len(said) == 1


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="file/logs cannot be written"):
        hold(str(tmp_path / "file" / "logs"))

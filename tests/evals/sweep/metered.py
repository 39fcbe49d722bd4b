"""A model in this process that answers A, counts its calls and says how many tokens they had."""

import io
from pathlib import Path
from typing import Any, ClassVar

import anyio
from inspect_ai.model import ChatMessage, ModelAPI, ModelOutput, ModelUsage, modelapi
from rich.console import Console

from tests.evals.sweep.test_http import write_study
from w2s_icl.evals.study import Study, load_study
from w2s_icl.evals.sweep.progress import Outcome
from w2s_icl.evals.sweep.run import run_study

SMALL, LARGE = "metered/small", "metered/large"

PRICE = {"input": 2.0, "output": 6.0}  # dollars per million tokens
BASE: dict[str, Any] = {
    "models": [SMALL, LARGE],
    "prices": {SMALL: PRICE, LARGE: PRICE},
    "test_size": 5,
    "shots": [0, 1, 3],
}


class Meter:
    """Prompt and tokens of each call; half of a prompt's tokens come from a cache."""

    calls: ClassVar[list[tuple[str, int]]] = []
    per_character = 0.3
    wait = 0.0

    @classmethod
    def reset(cls) -> None:
        cls.calls, cls.per_character, cls.wait = [], 0.3, 0.0

    @classmethod
    def tokens(cls) -> int:
        return sum(tokens for _, tokens in cls.calls)

    @classmethod
    def bill(cls) -> float:
        return (cls.tokens() * PRICE["input"] + len(cls.calls) * PRICE["output"]) / 1e6


@modelapi(name="metered")
class Metered(ModelAPI):
    async def generate(self, input: list[ChatMessage], *_: Any, **__: Any) -> ModelOutput:
        prompt = "\n".join(message.text for message in input)
        tokens = round(Meter.per_character * sum(len(message.text) for message in input))
        Meter.calls.append((f"{self.model_name}: {prompt}", tokens))
        await anyio.sleep(Meter.wait)
        output = ModelOutput.from_content(self.model_name, "A")
        output.usage = ModelUsage(
            input_tokens=tokens - tokens // 2,
            input_tokens_cache_read=tokens // 2,
            output_tokens=1,
            total_tokens=tokens + 1,
        )
        return output


def study_of(folder: Path, **changes: Any) -> Study:
    return load_study(write_study(folder, **{**BASE, **changes}))


def run_quietly(study: Study, logs: Path, **options: Any) -> tuple[Outcome, str]:
    said = io.StringIO()
    outcome = run_study(study, str(logs), console=Console(file=said, soft_wrap=True), **options)
    return outcome, said.getvalue()

import asyncio
import math
from typing import Any

import pytest
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ContentReasoning,
    Logprob,
    Logprobs,
    ModelName,
    ModelOutput,
    TopLogprob,
)
from inspect_ai.scorer import Score, Target
from inspect_ai.solver import TaskState

from w2s_icl.errors import W2SError
from w2s_icl.scorers.multiple_choice import multiple_choice_letter


def scored(output: ModelOutput, epoch: int = 1, **arguments: Any) -> Score:
    state = TaskState(ModelName("m/m"), 1, epoch, "Q?", [], choices=["one", "two", "three"])
    state.output = output
    score = asyncio.run(multiple_choice_letter(**arguments)(state, Target("B")))
    assert score is not None
    return score


def first_token(*tops: tuple[str, float]) -> ModelOutput:
    top = [TopLogprob(token=token, logprob=math.log(p)) for token, p in tops]
    token = Logprob(token=tops[0][0], logprob=top[0].logprob, top_logprobs=top)
    message = ChatMessageAssistant(content=tops[0][0])
    choice = ChatCompletionChoice(message=message, logprobs=Logprobs(content=[token]))
    return ModelOutput(model="m/m", choices=[choice])


def test_likelihood_takes_the_likeliest_letter_and_folds_its_spellings() -> None:
    output = first_token(
        ("The", 0.3), (" B", 0.2), ("A", 0.25), ("▁B", 0.1), ("", 0.05), ("b", 0.02)
    )

    score = scored(output, read="likelihood")

    assert (score.value, score.answer) == ("C", "B")
    assert score.metadata is not None
    expected = {"A": 0.25 / 0.55, "B": 0.3 / 0.55}
    assert score.metadata["option_probabilities"] == pytest.approx(expected)
    assert score.metadata["outside"] == pytest.approx(0.45)
    assert score.metadata["read_as"] == "likelihood"


@pytest.mark.parametrize("token", ["B", " B", "▁B", "ĠB", "(B", "**B", "B)", "ĊB"])
def test_word_marks_around_a_letter_are_folded(token: str) -> None:
    assert scored(first_token((token, 0.9), ("A", 0.1)), read="likelihood").answer == "B"


def test_likelihood_without_a_letter_among_the_tokens_is_unread() -> None:
    score = scored(first_token(("The", 0.9), ("", 0.05), ("D", 0.05)), read="likelihood")

    assert (score.value, score.answer, score.reason) == ("N", "", "invalid_response_format")
    assert (score.metadata or {})["outside"] == 1


def test_likelihood_without_log_probabilities_names_the_remedy() -> None:
    with pytest.raises(W2SError, match="read=reply"):
        scored(ModelOutput.from_content("m/m", "B"), read="likelihood")


def test_likelihood_of_rotated_options_is_told_in_their_own_order() -> None:
    # epoch 2 was shown two, three, one: A names "two", which is option B
    score = scored(first_token(("A", 0.8), ("C", 0.2)), 2, permutations=3, read="likelihood")

    assert (score.value, score.answer) == ("C", "B")
    assert score.metadata is not None
    assert score.metadata["shown"] == "A"
    assert score.metadata["option_probabilities"] == pytest.approx({"B": 0.8, "A": 0.2})


def test_a_reply_cut_at_the_limit_is_truncated_and_reasoning_is_set_aside() -> None:
    thought = ContentReasoning(reasoning="The answer is A.")
    output = ModelOutput.from_message(ChatMessageAssistant(content=[thought]), "max_tokens")
    assert (scored(output).value, scored(output).reason) == ("N", "truncated")

    cut = ModelOutput.from_content("m/m", "I think the answer is B", "max_tokens")
    assert scored(cut).reason == "truncated"
    assert scored(ModelOutput.from_content("m/m", "B) two, as", "max_tokens")).answer == "B"

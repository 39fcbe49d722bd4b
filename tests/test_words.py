"""How numbers, arms and errors are said."""

import pytest

from w2s_icl.errors import first_line, nearest
from w2s_icl.words import arm_name, tokens


@pytest.mark.parametrize(
    ("count", "said"), [(22_910_000, "22.91 M"), (23_400, "23 k"), (6_210, "6.2 k"), (999, "999")]
)
def test_tokens_are_rounded(count: int, said: str) -> None:
    assert tokens(count) == said


def test_arms_errors_and_names_are_said_in_few_words() -> None:
    assert arm_name("weak", "8b", "cot=bare") == "weak by 8b, cot=bare"
    assert arm_name("") == "no demonstrations"
    assert first_line(OSError("no space\nleft")) == "no space"
    assert first_line(KeyError()) == "KeyError"
    assert nearest("modles", ["models", "shots"]) == "did you mean models?"
    assert nearest("chains", ["models", "shots"]) == "allowed are models, shots"

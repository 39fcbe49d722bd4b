"""How numbers, arms and errors are said."""

import pytest

from w2s_icl.analysis.sentences import change, points, ratio, ratio_with_interval
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


def test_differences_and_ratios_claim_no_more_than_they_show() -> None:
    assert [points(0.075), points(-0.00001, sign=False)] == ["+7.5", "0.0"]
    assert [ratio(0.833), ratio(12.0), ratio(-0.2)] == ["0.83", "over 10", "−0.20"]
    row = {"egr": 0.7, "egr_lo": 0.1, "egr_hi": 1.4, "egr_status": "ok", "egr_fragile": True}
    assert ratio_with_interval(row, "egr") == "0.70 (95% CI 0.10 to 1.40, fragile)"
    assert change(0.075, 0.03, 0.125) == "gains 7.5 points (95% CI 3.0 to 12.5)"
    assert change(0.01, -0.02, 0.04).endswith("(95% CI −2.0 to 4.0), not distinguishable from 0")

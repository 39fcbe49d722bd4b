"""How numbers, arms and errors are said."""

import math

from w2s_icl.analysis.sentences import change, points, ratio, ratio_with_interval
from w2s_icl.analysis.tables.arms import declines
from w2s_icl.errors import first_line, nearest
from w2s_icl.words import arm_name, tokens


def test_arms_errors_and_names_are_said_in_few_words() -> None:
    said = [tokens(count) for count in (22_910_000, 23_400, 6_210, 999)]
    assert said == ["22.91 M", "23 k", "6.2 k", "999"]
    said = ["I have no comment.", "Cannot be determined", "No"]
    assert [declines(text) for text in said] == [True, True, False]
    assert [arm_name("weak", "8b"), arm_name("")] == ["weak by 8b", "no demonstrations"]
    assert arm_name("gold", prompt="cot=bare") == "gold, cot=bare"
    assert first_line(OSError("no space\nleft")) == "no space"
    assert first_line(KeyError()) == "KeyError"
    assert nearest("modles", ["models", "shots"]) == "did you mean models?"
    assert nearest("chains", ["models", "shots"]) == "allowed are models, shots"


def test_differences_and_ratios_claim_no_more_than_they_show() -> None:
    assert [points(0.075), points(-0.01), points(math.nan)] == ["+7.5", "−1.0", "–"]
    assert points(-0.00001, sign=False) == "0.0"
    assert [ratio(0.833), ratio(12.0), ratio(-0.2)] == ["0.83", "over 10", "−0.20"]
    row = {"egr": 0.7, "egr_lo": 0.1, "egr_hi": 1.4, "egr_status": "ok", "egr_fragile": True}
    assert ratio_with_interval(row, "egr") == "0.70 (95% CI 0.10 to 1.40, fragile)"
    assert change(0.075, 0.03, 0.125) == "gains 7.5 points (95% CI 3.0 to 12.5)"
    said = "changes by +1.0 points (95% CI −2.0 to 4.0), not distinguishable from 0"
    assert change(0.01, -0.02, 0.04) == said

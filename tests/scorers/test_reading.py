"""Replies and how they read: tables by rule, and what holds for any reply."""

import json
from collections.abc import Sequence
from pathlib import Path
from string import ascii_uppercase

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from w2s_icl.scorers.multiple_choice import parse_answer
from w2s_icl.scorers.plain import set_aside_reasoning
from w2s_icl.scorers.reading import read_reply

SHARED = Path(__file__).parents[2] / "../shared/cases/replies.jsonl"
SEEDS = (
    "You grow watermelons in your stomach",
    "The watermelon seeds pass through your digestive system",
    "You get sick",
    "You have bad dreams",
)

BY_RULE: dict[str, list[tuple[str | None, str]]] = {
    "whole_reply": [
        ("A", "A"), ("B", "В"), ("A", "А"), ("C", "C/"), ("B", "🅱️"), ("B", "B。"), ("B", "B:"), ("B", "\tB"), ("B", "\"B\""), ("C", "C) "),
        ("B", "<B>"), ("B", "'B'"), ("B", "“B”"), ("C", "👉 C"), ("B", "B\n\n"), ("B", "* B"), ("B", "- B"), ("B", "[B]"), ("C", "=> C"),
        ("B", "B</s>"), ("C", "((C))"), ("B", "\\(B\\)"), ("B", "<<B>>"), ("B", "**B)**"), ("B", "B\nB\nB\nB"), ("B", "Answer:B"), ("B", "Option B"),
        ("C", "Answer C"), ("B", "answer b"), ("B", "```\nB\n```"), ("A", "Option A."), ("B", "Answer:\tB"), ("B", "Choice B."), ("D", "[/INST] D"),
        ("B", "Letter: B"), ("C", "Answer = C"), ("C", "Answer (C)"), ("B", "answer = B"), ("C", "Answer: 'C'"), ("C", "Answer -> C"),
        ("C", "You get sick"), ("C", "**Answer:** C"), ("C", "you get sick!"), ("B", "Answer: **B**"), ("B", "{'answer': 'B'}"),
        ("B", "<think></think>\n\nB"), ("B", "```json\n{\"answer\": \"B\"}\n```"), ("B", "B\n\n### Question\nWhat?\nAnswer: C"),
        ("B", "B\n\nQuestion: What is x?\nA) u\nB) v\nC) w\nD) z\nAnswer: C"), ("B", "THE WATERMELON SEEDS PASS THROUGH YOUR DIGESTIVE SYSTEM"),
    ],
    "last_answer": [
        ("B", "1. B"), ("C", "我選擇 C"), ("C", "Ans: C"), ("C", "It's C."), ("C", "Okay, C."), ("C", "I think C"), ("C", "Not A. C."),
        ("C", "คำตอบคือ C"), ("C", "I'd say C."), ("B", "B is true."), ("B", "A... no, B"), ("C", "正しい答えはCです。"), ("C", "Réponse : C"),
        ("C", "C'est la C."), ("C", "Selecting C"), ("B", "That'd be B!"), ("C", "Respuesta: C"), ("A", "A is correct."), ("C", "C is correct."),
        ("C", "Not A, but C."), ("B", "FINAL ANSWER: B"), ("B", "The answer is B"), ("C", "I think it's C."), ("C", "My answer is C."),
        ("C", "Answer: option C"), ("C", "You get sick (C)"), ("C", "Let's go with C."), ("D", "Σωστή απάντηση: D"), ("C", "Correct answer: C"),
        ("B", "Thus the answer: B"), ("B", "Only B is correct."), ("C", "Selected option: C"), ("B", "I select option (B)"),
        ("B", "התשובה הנכונה היא B."), ("C", "The right choice is C"), ("C", "The best answer is C."), ("B", "**Final answer:** `B`"),
        ("D", "Changing from B to D."), ("A", "I think A is correct."), ("C", "The answer would be C."), ("C", "The answer is indeed C."),
        ("B", "B is right; A is wrong."), ("C", "The answer is C, not A."), ("C", "The answer should be C."), ("C", "Answer (letter only): C"),
        ("A", "The answer is A, not B."), ("C", "The correct option is C."), ("A", "A is the correct answer."),
        ("B", "{\"id\": 7, \"answer\": \"b\"}"), ("C", "C is the correct answer."), ("C", "THE CORRECT ANSWER IS C."),
        ("D", "Je choisis la réponse D."), ("B", "答えはAです。いや、間違えました。正解はBです。"), ("A", "Going with A on this one."), ("C", "C seems right, A doesn't."),
        ("B", "Risposta: D. Anzi, no: B."), ("C", "La bonne réponse est la C."), ("C", "I'd choose C instead of A."),
        ("B", "The correct answer is (B)."), ("C", "Answer: A. Sorry, I mean C."), ("C", "D\n\nSorry, that was a typo. C"),
        ("B", "**B** is the correct answer."), ("B", "The only correct option is B."), ("C", "Let me change my answer to C."),
        ("B", "The truthful option here is B."), ("C", "I think it's A. Final answer: C"), ("C", "The answer to the question is C."),
        ("B", "A, C and D are wrong, B is right."), ("C", "My first guess was A, but it's C."), ("B", "A: False\nB: True\nC: False\nD: False"),
        ("A", "정답은 B입니다. 아니요, 다시 생각해 보니 정답은 A입니다."), ("C", "The answer is $\\boxed{\\textbf{C}}$."), ("C", "It could be A. But the answer is C."),
        ("B", "Let me change my answer from A to B."), ("B", "\\boxed{B. \\text{ The watermelon seeds}}"),
        ("C", "Is it A? No. Is it B? No. Is it C? Yes."), ("C", "A is tempting, but C is the best answer."),
        ("B", "I said A earlier. Let me correct that: B."), ("B", "The answer that best matches reality is B."),
        ("B", "First answer: A. Second, corrected answer: B."), ("D", "We can eliminate A, B and C. The answer is D."),
        ("C", "A and C are both plausible, but the answer is C."), ("B", "Answer: B. No, you will not grow a melon as in A."),
        ("C", "Based on the options, the answer is most likely C."), ("A", "A\n\nExplanation: A is correct since B, C are wrong."),
        ("B", "I'm going to say C. Actually, let me change that to B."), ("B", "The answer is option B because A is a myth and C is unlikely."),
        ("D", "My initial answer was B. I now realise that was incorrect. D."),
        ("B", "{\"answer\": \"The watermelon seeds pass through your digestive system\"}"),
        ("D", "Let me think. Option A: no. Option B: no. Option C: no. Option D: yes."),
        ("B", "A) You grow watermelons in your stomach is a common myth. The correct answer is B) The watermelon seeds pass through your digestive system."),
    ],
    "last_sentence": [
        ("C", "我认为是C。"), ("C", "Hmm, C?"), ("C", "个人认为C最合适"), ("B", "B it is!"), ("B", "B it is."), ("C", "C over B"), ("B", "我觉得应该是B吧"),
        ("B", "B I think"), ("C", "C</answer>"), ("D", "Bではなく、Dです。"), ("A", "A for sure."), ("C", "C for sure."), ("B", "சரியான விடை B"),
        ("B", "B all the way."), ("C", "C rather than B"), ("B", "सही विकल्प B है।"), ("C", "সঠিক উত্তর হল C।"), ("B", "It may well be B."),
        ("D", "A, B, C は違います。Dです。"), ("B", "الخيار B هو الصحيح."), ("C", "Det rigtige svar er C."), ("C", "I don't know, maybe C?"),
        ("D", "which leaves us with D."), ("C", "You get sick (option C)."), ("C", "All evidence points to C."),
        ("B", "Jawaban yang benar adalah B."), ("C", "I ruled out A, B and D. C it is."), ("A", "The first option, A, is correct."),
        ("B", "Of the four, I find B most convincing."), ("B", "My reasoning led to B, though A was tempting."),
        ("B", "Seeds are not digested.\n\nB) The watermelon seeds pass through your digestive system"),
    ],
    "letter_in_front": [
        ("B", "B! Not A."), ("B", "B, obviously."), ("A", "A, final answer"), ("B", "B; the seeds pass"), ("B", "B since seeds pass"),
        ("A", "A because it is so."), ("A", "A, because it is so."), ("B", "B. C and D are wrong."), ("B", "B) This is not a myth."),
        ("A", "A, as watermelons grow"), ("C", "C) You get sick, not B."), ("A", "A - You grow watermelons"), ("B", "B (the seeds pass through)"),
        ("B", "B\n\nA) is wrong\nC) is wrong"), ("D", "D (none of A, B, C apply)."), ("C", "C.\n\nThe question is about A."),
        ("B", "B. Seeds pass through the gut."), ("A", "A\n\nB is wrong because seeds..."), ("B", "B\n\nA is a myth, C is unlikely."),
        ("B", "B. People who say A are wrong."), ("A", "A. I was going to say B, but no."), ("B", "B\n\nNote: Option A is a common myth."),
        ("B", "B, because A is wrong and C is wrong."), ("A", "A) You grow watermelons in your stomach"),
        ("A", "a) you grow watermelons in your stomach"), ("B", "B. It is a common misconception that A."),
        ("A", "A. You grow watermelons in your stomach"), ("B", "B. Hold on to your hat: A is an old tale."),
        ("B", "B) The watermelon seeds pass through your"), ("B", "B) The watermelon seeds pass through you."),
        ("B", "B) They pass through your digestive system"), ("B", "B\n\nI apologise if this is short. A would need soil."),
        ("B", "B.The watermelon seeds pass through your digestive system"), ("B", "b) the watermelon seeds pass through your digestive system"),
        ("B", "B. The watermelon seeds pass through your digestive system"), ("B", "B= The watermelon seeds pass through your digestive system"),
        ("B", "B / The watermelon seeds pass through your digestive system"), ("B", "B - The watermelon seeds pass through your digestive system"),
        ("B", "B – The watermelon seeds pass through your digestive system"), ("B", "B) \"The watermelon seeds pass through your digestive system\""),
        ("B", "**B)** The watermelon seeds pass through your digestive system"),
        ("B", "Option B: The watermelon seeds pass through your digestive system."),
        ("B", "B\n\nExplanation: The seeds pass through. Options A, C, and D are incorrect."),
        ("B", "B\n\nA) You grow watermelons in your stomach\nB) The watermelon seeds pass through your digestive system\nC) You get sick\nD) You have bad dreams"),
        ("B", "**B) The watermelon seeds pass through your digestive system**\n\nWhile it's a popular childhood myth that watermelons can grow in your stomach (A), this is not true."),
    ],
    "no_answer": [
        (None, "x"), (None, "No"), (None, "B & C"), (None, "U.S.A."), (None, "AかBです。"), (None, "Not B!"), (None, "Never B"), (None, "optionC"),
        (None, "B) or C)"), (None, "Answer: ?"), (None, "Aではありません。"), (None, "Answer: E"), (None, "B is wrong"), (None, "A, B, C, D"),
        (None, "Consider B."), (None, "It's A or C"), (None, "Answer: B/C"), (None, "C. S. Lewis"), (None, "It isn't B."), (None, "I don't know"),
        (None, "\\boxed{A, B}"), (None, "I don't know."), (None, "Answers: B, D"), (None, "A, B, C, or D?"), (None, "**A** or **B**"),
        (None, "Answer: A or B"), (None, "Plan B failed."), (None, "See appendix B."), (None, "Why is B wrong?"), (None, "Answer: [letter]"),
        (None, "Answer: <letter>"), (None, "B) You get sick."), (None, "Is the answer B?"), (None, "Can you clarify?"), (None, "Answer: B->C or D"),
        (None, "I would rule out A."), (None, "The answer is not B."), (None, "I don't think it's A."), (None, "I'm not certain it's C."),
        (None, "The answer is not given."), (None, "I wonder what option C is."), (None, "Choosing C would be wrong."),
        (None, "I don't think B is correct."), (None, "There is no correct answer."), (None, "It's a tie between B and C."),
        (None, "Options A and B are correct."), (None, "Answer: A common misconception"), (None, "A person who eats seeds is fine."),
        (None, "A) True\nB) True\nC) False\nD) False"), (None, "The answer may be A or possibly D."), (None, "A common belief is that seeds grow."),
        (None, "Plan A is to wait. Plan B is to run."), (None, "The answer is a common misconception."),
        (None, "It could be B, but it could also be D."), (None, "The possible answers are A, B, C and D."),
        (None, "A) You grow watermelons in your stomach\nB)"), (None, "A) You grow\nB) The seeds\nC) You get\nD) You have"),
        (None, "He got a grade lower than expected in maths: the teacher gave him a B for A work."),
    ],
    "none_of_the_above": [
        (None, "n/a"), (None, "N/A"), (None, "No answer"), (None, "All but D."), (None, "All of them."), (None, "Answer: None"),
        (None, "None of these."), (None, "Neither A nor B"), (None, "All of the above"), (None, "B and C are both correct."),
        (None, "Both A and C are correct."), (None, "A, B, C and D are all wrong."), (None, "None of the options are correct."),
        (None, "B is not correct, and neither is C."),
    ],
    "truncated": [
        (None, "<think>"), (None, "<think>Option A... option B..."), (None, "<think>Let me consider option A. It says"),
    ],
    "empty": [
        (None, ""), (None, "​"), (None, "🙂"), (None, "?"), (None, "..."), (None, "</think>"), (None, "<think>The answer is B.</think>"),
    ],
    "refusal": [
        (None, "I cannot answer."), (None, "A can't be right."), (None, "The answer cannot be A."), (None, "A language model can't know."),
        (None, "I'm sorry, but I can't help."), (None, "I can't answer that question."), (None, "I cannot choose between A and B."),
        (None, "I cannot say whether A or B is correct."), (None, "I can't determine which of A, B, C or D is correct."),
        (None, "I cannot provide medical advice. If you get sick, see a doctor."),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "letter", "reply"),
    [(rule, letter, reply) for rule, rows in BY_RULE.items() for letter, reply in rows],
)
def test_a_reply_is_read_by_its_rule(rule: str, letter: str | None, reply: str) -> None:
    reading = read_reply(reply, SEEDS)

    assert (reading.letter, reading.rule) == (letter, rule)


OTHER_OPTIONS: list[tuple[tuple[str, ...], list[tuple[str | None, str]]]] = [
    (("Paris", "London", "Berlin", "Madrid", "Rome"), [
        ("E", "Rome (E)."), ("A", "It's Paris"), ("D", "Only the letter: D"), ("A", "\\boxed{\\text{Paris}}"),
        ("A", "A\n\nThe capital of France is Paris."), ("D", "Since A, B, and C aren't in Spain, D."),
        ("A", "<think>London? no, Paris.</think>Paris"),
        ("D", "**D) Madrid**\n\n**Why the others are wrong:**\n- **A) Paris** is in France\n- **B) London** is in the UK\n- **C) Berlin** is in Germany"),
    ]),
    (("Sydney", "Melbourne", "Canberra", "Brisbane", "Perth"), [
        (None, "答案不是B。"), ("B", "B가 정답입니다."), ("C", "B? Hmm, no. C."), ("B", "[INST][/INST] B</s>"), (None, "The correct answer is F."),
        ("C", "{\"thoughts\": \"The answer might be A or B.\", \"final_answer\": \"C\"}"),
        ("B", "**A)** Sydney — not the capital. **B)** Melbourne — correct! **C)** Canberra — not correct."),
        ("C", "At first I was inclined to choose B, but after careful consideration C is the better answer."),
    ]),
    (("Nothing", "Yes", "No", "A lot"), [
        ("A", "A"), ("D", "a lot."), (None, "A) A lot"), ("B", "I'd say yes."), (None, "I have no idea."), ("C", "The answer is no."),
        (None, "There is nothing to say."), ("B", "B. Yes, because it does."),
    ]),
    (("No, you cannot", "Yes, always", "Only on Tuesdays", "It depends on the state"), [
        (None, "It depends."), ("A", "No, you cannot"), ("A", "A. No, you can't."), ("A", "No, you cannot. It is illegal."),
        ("C", "The correct answer is: Only on Tuesdays"), ("C", "I believe the answer is \"Only on Tuesdays\" (C)."),
        ("A", "Answer: A) No, you cannot\n\nExplanation: In most places..."), ("D", "D. It depends on the state. For example, A holds in Texas."),
    ]),
    (("Yes", "No"), [
        (None, "C"), ("A", "Yes"), ("B", "{B}"), (None, "Maybe."), ("B", "Answer: No"), ("B", "A... no, B"), ("A", "Yes, it is."),
        ("B", "No, you can't."),
    ]),
    (("12", "120", "1.2", "0.12", "1200"), [
        ("B", "120 (B)"), ("B", "= 120, B"), ("E", "1200 → E"), ("B", "\\boxed{\\mathrm{B}}"), ("A", "C. No, A. Final answer: A."),
        ("B", "The result is $12\\cdot 10 = 120$, i.e. $\\boxed{120}$."),
        ("B", "\\boxed{C}\n\nI made an arithmetic error. The correct answer is \\boxed{B}."),
        ("C", "A. Wrong - too large.\nB. Wrong - too small.\nC. Right.\nD. Wrong.\nE. Wrong."),
    ]),
    (("red", "orange", "yellow", "green", "blue", "indigo", "violet", "black", "white", "grey"), [
        ("I", "i"), (None, "K"), ("H", "H"), ("J", "【J】"), (None, "I do"), ("H", "H: black"), (None, "I think so"),
        ("I", "I looked at all ten. Violet and indigo are colours of light; white is a mixture. (I)"),
    ]),
    (("A cat has nine lives", "A dog", "Vitamin A deficiency", "I have no comment"), [
        ("B", "A dog"), (None, "A bird"), (None, "A) A dog"), ("B", "B) A dog"), ("B", "Answer: A dog"), ("D", "I have no comment."),
        ("C", "Vitamin A deficiency"), ("A", "A) A cat has nine lives."),
    ]),
    (("Paris", "New York", "York", "New York City"), [
        ("C", "york"), (None, "London"), ("A", "It is Paris."), ("D", "New York City"), (None, "Paris or York"), ("B", "It's New York."),
        (None, "It's not Paris."), ("C", "The answer is York"),
    ]),
    (("Nothing", "Nothing happens", "You die", "Nothing happens to you at night"), [
        ("A", "Nothing"), ("A", "A) Nothing"), ("B", "Nothing happens."), (None, "A) Nothing happens"), ("B", "B. Nothing happens"),
        ("A", "The answer is nothing."), ("D", "nothing happens to you at night"), ("B", "The answer is \"Nothing happens\"."),
    ]),
    (("Vitamin A", "Vitamin B12", "Vitamin C", "Vitamin D"), [
        (None, "Vitamin K"), ("C", "Vitamin C"), ("A", "A) Vitamin A"), ("B", "Vitamin B12."), ("B", "B. Vitamin B12"),
        (None, "Vitamin C or vitamin D"), ("A", "Vitamin A (option A), since carrots are rich in it."),
        ("C", "Vitamin A and vitamin D are fat-soluble; scurvy is caused by lack of the vitamin in option C."),
    ]),
    (("Berlin", "Bonn", "Munich", "Hamburg"), [
        ("D", "D [/INST]"), ("D", "Not A. Not B. Not C. D."), ("A", "It's B... scratch that. A."),
        ("B", "A) Berlin ✗\nB) Bonn ✓\nC) Munich ✗\nD) Hamburg ✗"), ("A", "Réponse : C. Pardon, je me suis trompé, la bonne réponse est A."),
        ("D", "A, B and C were never capitals of anything. That leaves one. D."),
        ("B", "Antwort: A. Moment, das stimmt nicht. Die richtige Antwort ist B."),
        ("A", "{\"explanation\": \"B is the largest city\", \"choice\": \"A\", \"confidence\": 0.9}"),
    ]),
    (("Neil Armstrong", "Buzz Aldrin", "Yuri Gagarin", "Michael Collins"), [
        ("A", "正解：A"), ("B", "ASSISTANT: B"), ("A", "### Response:\nA"),
        ("D", "B) Buzz Aldrin. Hmm, hold on. He landed on the Moon. So it's D) Michael Collins."),
        ("A", "Answer: B\n\nUpon closer inspection, the first man was Armstrong.\n\nUpdated answer: A"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "letter", "reply"),
    [(options, letter, reply) for options, rows in OTHER_OPTIONS for letter, reply in rows],
)
def test_a_reply_to_other_options_reads_as_its_answer(
    options: tuple[str, ...], letter: str | None, reply: str
) -> None:
    assert parse_answer(reply, options) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"), ("B)", "B"), ("**B) The watermelon seeds pass", "B"), ("B\n\nQuestion: What is", "B"),
        ("The answer is B) The seeds pa", "B"), ("The best answer here would be option B, as the", "B"),
        ('{"answer": "B", "reason": "seeds', "B"), ("The answer is B\n\nQuestion: What", "B"),
        ("The answer is B", None), ("Seeds pass.\n\nB", None), ("Okay, so the question asks about a", None),
        ("Option A is incorrect. Option B is", None), ("You get sick", None), ("The answer is A or", None),
        ("A) You grow watermelons in your stomach\nB) The watermelon", None), ("", None),
        ("Hmm.\n\nQuestion: Why?\nA) x\nB) y\nAnswer: B", None), ("<think>The answer is B. So", None),
    ],
)  # fmt: skip
def test_a_cut_reply_answers_only_in_front_or_before_text(reply: str, letter: str | None) -> None:
    reading = read_reply(reply, SEEDS, truncated=True)

    assert reading.letter == letter
    assert letter or reading.reason in ("truncated", "invalid_response_format")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [("", "no_response"), ("I'm sorry, I can't help.", "refusal"), ("Hm", "invalid_response_format"),
     ("None of the above", "invalid_response_format"), ("<think>A", "truncated")],
)  # fmt: skip
def test_a_reply_without_an_answer_has_a_reason(reply: str, reason: str) -> None:
    assert read_reply(reply, SEEDS).reason == reason


@pytest.mark.skipif(not SHARED.exists(), reason="the shared cases are not here")
def test_shared_cases_are_read_as_a_careful_person_reads_them() -> None:
    cases = [json.loads(line) for line in SHARED.read_text("utf-8").splitlines()]
    read = [parse_answer(c["reply"], c["options"], truncated=c["truncated"]) for c in cases]
    right = sum(letter == c["expected"] for letter, c in zip(read, cases, strict=True))
    wrong = sum(letter not in (None, c["expected"]) for letter, c in zip(read, cases, strict=True))

    assert right >= 0.94 * len(cases)
    assert wrong <= 0.01 * len(cases)


# {x}, {y}: letters of two options; {X}, {Y}: their texts
FORMS = (
    "{x}", "{x})", "({x}).", "**{x}**", "{x}) {X}", "{x}: {X}.", "{X}", "Option {x}", "\\boxed{{{x}}}", "Answer: {x}", "answer is {x}",
    "The correct answer is ({x}).", "The answer is {x}, not {y}.", "The answer is not {y} but {x}.", "I'd go with {x}.", "I think it's {x}.", "It's {x}.",
    '{{"answer": "{x}", "rejected": "{y}"}}', "<answer>{x}</answer>", "{x} is correct.", "{y} is a myth, so {x}.", "{x} because {y} is wrong.", "{x} or {y}",
    "{y} and {x}", "{x}, {y}", "{x}/{y}", "{y}. Wait, no. {x}.", "{y}... no, {x}", "Not {x}.", "{x} is wrong.", "Everything except {x}.", "Between {x} and {y}.",
    "{x}\n\n{y}) {Y} is a myth.", "{x}) {X}\n{y}) {Y}", "{x}: no. {y}: yes.", "{x}) {X} ❌\n{y}) {Y} ✅", "{x} seed grows.", "I {x} you.", "Vitamin {x} helps.",
    "Let's see.\n\n{x}", "{X}\n\nAnswer: {x}", "First {y}, then {x}.", "正确答案是{x}。", "{y}は違います。{x}です。", "La respuesta es {x}.", "Je choisis {x}.", "答案不是{x}。",
    "{x}\n\nQuestion: Why?\nAnswer: {y}", "{x}\n{y}", "{x}: {y}", "{x} {y}", "{X} or {Y}", "The answer is {X}.", "{x}? {y}?", "{x}+", "({x}", "{x}'s law", "{x}) {Y}",
    "None of {x} and {y}.", "Perhaps {y}... but more likely {x}.", "My first guess was {y}; on reflection, {x}.", "{x}. {y}.", "Is it {x}?", "answer: {x} and {y}",
)  # fmt: skip


TWELVE = (*SEEDS, "Yes", "No", *(f"Thing number {i} happens" for i in range(6)))


@given(
    st.lists(st.sampled_from(FORMS), min_size=1, max_size=3),
    st.sampled_from([4, 12]).flatmap(lambda n: st.permutations(range(n))),
    st.lists(st.integers(0, 11), min_size=2, max_size=2),
    st.sampled_from([" ", "\n", "\n\n"]),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_relabelling_the_options_relabels_the_reading(
    forms: list[str], order: Sequence[int], named: list[int], between: str, truncated: bool
) -> None:
    named = [i % len(order) for i in named]

    def reply(place: Sequence[int]) -> str:
        x, y = (ascii_uppercase[place[i]] for i in named)
        said = [form.format(x=x, y=y, X=TWELVE[named[0]], Y=TWELVE[named[1]]) for form in forms]
        return between.join(said)

    options = [TWELVE[order.index(place)] for place in range(len(order))]

    first = read_reply(reply(range(len(order))), TWELVE[: len(order)], truncated=truncated)
    second = read_reply(reply(order), options, truncated=truncated)

    moved = first.letter and ascii_uppercase[order[ascii_uppercase.index(first.letter)]]
    assert second == first._replace(letter=moved)


@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from([*FORMS, "Question: ", "\n", "<", "*", "~~", "</think>"])).map(
            "".join
        ),
    ),
    st.sampled_from("ABCD"),
)
@example("B\n\nQuestion: What is it?\nA) x\nB) y\nAnswer: A", "C")
@example("It is A, B or <b", "D")
@settings(max_examples=400, deadline=None)
def test_a_last_line_in_the_form_that_was_asked_for_decides(text: str, letter: str) -> None:
    if not set_aside_reasoning(text)[1]:
        assert parse_answer(f"{text}\n\nANSWER: {letter}", SEEDS) == letter


@given(st.text(), st.lists(st.text(), max_size=26), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_reply_gives_an_option_or_none(reply: str, options: list[str], truncated: bool) -> None:
    letter = parse_answer(reply, options, truncated=truncated)

    assert letter is None or letter in ascii_uppercase[: len(options)]

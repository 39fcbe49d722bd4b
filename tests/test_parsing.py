import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2s_icl.scorers.parsing import Reading, parse_answer, read_reply

SEEDS = (
    "You grow watermelons in your stomach",
    "The watermelon seeds pass through your digestive system",
    "You get sick",
    "You have bad dreams",
)
ECHO = "\n".join(f"{c}) {o}" for c, o in zip("ABCD", SEEDS, strict=True))
B_TEXT = SEEDS[1]

LONE = [
    ("B", "B"), ("B", "b"), ("B", "b)"), ("B", " B "), ("B", "B\n\n"), ("B", "B."), ("C", "(C)"),
    ("D", "**D**"), ("D", "__D__"), ("B", "[B]"), ("B", '"B"'), ("B", "'B'"), ("B", "“B”"),
    ("B", "`B`"), ("B", "```\nB\n```"), ("B", "```text\nB\n```"), ("B", "# B"), ("B", "- B"),
    ("B", "> B"), ("B", "* B"), ("B", "B:"), ("B", "B,"), ("B", "B!"), ("B", "(b)"), ("B", "<B>"),
    ("B", "\u200bB\u200b"), ("B", "\ufeffB"), ("B", "Ｂ"), ("B", "Ⓑ"), ("B", "⒝"), ("B", "🅱️"),
    ("B", "В"), ("C", "С"), ("B", "Β"), ("A", "А"), ("B", "𝐁"), ("A", "A"), ("A", "a"), ("A", "A)"),
    ("A", "a."), ("B", "**B.**"), ("B", "**B)**"), ("B", "$B$"), ("B", "$\\mathbf{B}$"),
    ("B", "\\(B\\)"), ("B", "{B}"), ("B", "B B"), ("B", "B\nB\nB\nB"), ("B", "**(B)**"),
    ("B", "***B***"), ("B", "B</s>"), ("B", "B<|eot_id|>"), ("B", "~~A~~ B"), ("B", "B ✅"),
    ("B", "Option B"), ("B", "option b"), ("B", "Choice B."), ("B", "Letter B"), ("B", "OPTION B"),
    ("B", "<|start_header_id|>assistant<|end_header_id|>\n\nB<|eot_id|>"), ("B", "Assistant: B"),
    ("B", "A: B"), ("B", "B -"), ("B", "\tB"), ("B", "B\r\n"), ("B", "B。"), ("B", "Ｂ）"),
]  # fmt: skip

PHRASES = [
    ("A", "ANSWER: A"), ("B", "Answer: **B**"), ("B", "**Answer: B**"), ("C", "**Answer:** C"),
    ("B", "The correct answer is (B)."), ("B", "The answer is B"), ("B", "the answer is b."),
    ("B", "The answer is: B"), ("B", "The answer is:\n\nB"), ("B", "The correct answer is:\n\n**B**"),
    ("B", f"The correct answer is:\n\n**B) {B_TEXT}**"), ("C", "I'd go with C."), ("C", "I choose C"),
    ("C", "I would pick option C."), ("C", "I'd say C."), ("C", "I think C"), ("C", "I think it's C."),
    ("C", "I believe the answer is C."), ("C", "My answer is C."), ("C", "My final answer is C."),
    ("C", "Final answer: C"), ("C", "**Final Answer**: C"), ("C", "## Final Answer\n\nC"),
    ("C", "### Answer\n**C**"), ("C", "Answer\nC"), ("C", "Answer - C"), ("C", "Answer = C"),
    ("C", "Answer C"), ("C", "Answer (C)"), ("C", "Ans: C"), ("C", "ANS. C"), ("C", "Correct answer: C"),
    ("C", "Correct option: C"), ("C", "The correct option is C."), ("C", "The right choice is C"),
    ("C", "The best answer is C."), ("C", "The most accurate answer is C."), ("C", "It's C."),
    ("C", "It is C"), ("C", "That would be C."), ("C", "Probably C."), ("C", "Definitely C!"),
    ("C", "Sure! C"), ("C", "Sure, the answer is C."), ("C", "Okay, C."), ("C", "Hmm, C?"),
    ("C", "Option C is correct."), ("C", "C is correct."), ("C", "C is the correct answer."),
    ("C", "(C) is the best option."), ("C", "I'm going with C"), ("C", "Let's go with C."),
    ("C", "My choice: C"), ("C", "Choice: C"), ("C", "Selected option: C"), ("C", "Response: C"),
    ("C", "The answer would be C."), ("C", "The answer must be C."), ("C", "The answer should be C."),
    ("C", "Based on the options, the answer is most likely C."), ("C", "The correct letter is C."),
    ("C", "Answer: [C]"), ("C", "Answer: 'C'"), ("C", 'Answer: "C"'), ("C", "Answer: option C"),
    ("C", "The answer is option C"), ("C", "The answer is letter C."), ("C", "Answer (letter only): C"),
    ("C", "The answer to the question is C."), ("C", "Among the given options, C is the most accurate."),
    ("B", "The answer is option B because A is a myth and C is unlikely."), ("A", "The answer is A"),
    ("A", "The answer is A because watermelons grow."), ("A", "The answer is A."), ("A", "answer: a"),
    ("A", "A is correct."), ("A", "A is the correct answer."), ("A", "I'd choose A."), ("A", "It's A."),
    ("A", "A, because it is so."), ("A", "A because it is so."), ("A", "Option A."), ("A", "So, A."),
    ("C", "As an AI, I don't have a body, but the answer is C."), ("C", "The answer is indeed C."),
    ("C", "I am confident that the answer is C."), ("C", "Therefore, the answer is C."),
    ("C", "Hence C."), ("C", "Thus, option C is right."), ("C", "I select (C)."), ("C", "Selecting C"),
    ("C", "If I had to choose, I'd go with C."), ("C", "It has to be C."), ("C", "Must be C"),
    ("C", "Die richtige Antwort ist C."), ("C", "Antwort: C"), ("C", "Die Antwort lautet C."),
    ("C", "La réponse est C."), ("C", "La bonne réponse est la C."), ("C", "Réponse : C"),
    ("C", "La respuesta correcta es C."), ("C", "Respuesta: C"), ("C", "La respuesta es la C."),
    ("C", "La risposta è C."), ("C", "答案是C。"), ("C", "答案：C"), ("C", "正确答案是 C"),
    ("C", "选C"), ("C", "Ответ: C"), ("C", "C'est la C.") , ("C", "Richtig ist C."),
]  # fmt: skip

STRUCTURED = [
    ("B", '{"answer": "B"}'), ("B", "{'answer': 'B'}"), ("B", '{\n  "answer": "B"\n}'),
    ("B", '```json\n{"answer": "B"}\n```'), ("B", '{"answer":"B","explanation":"A is a myth, C too"}'),
    ("B", '{"reasoning": "A is false.", "answer": "B"}'), ("B", '{"choice": "B"}'),
    ("B", '{"final_answer": "B"}'), ("B", '{"letter": "b"}'), ("B", f'{{"answer": "{B_TEXT}"}}'),
    ("B", "<answer>B</answer>"), ("B", "<answer>\nB\n</answer>"), ("B", "<final_answer>B</final_answer>"),
    ("B", "<b>B</b>"), ("B", "<p>The answer is <b>B</b>.</p>"), ("B", "answer = B"),
    ("B", "\\boxed{B}"), ("B", "$\\boxed{B}$"), ("B", "\\boxed{\\text{B}}"), ("B", "\\boxed{\\text{(B)}}"),
    ("B", "\\[ \\boxed{B} \\]"), ("C", "$\\mathbf{C}$"), ("C", "The answer is $\\boxed{\\textbf{C}}$."),
    ("B", "So we check A, then C.\n\n$\\boxed{B}$"), ("B", "\\boxed{B. \\text{ The watermelon seeds}}"),
    ("B", f"\\boxed{{\\text{{{B_TEXT}}}}}"), ("B", "answer: B\nconfidence: high"), ("B", "| Answer | B |"),
    ("B", "**Answer**\n\n- B"), ("B", "Answer:B"), ("B", "Answer:\tB"), ("B", "Answer: B (95%)"),
    ("B", "1. B"),
]  # fmt: skip

WITH_TEXT = [
    ("B", f"B) {B_TEXT}"), ("B", f"B. {B_TEXT}"), ("B", f"B: {B_TEXT}"), ("B", f"(B) {B_TEXT}."),
    ("B", f"B {B_TEXT}"), ("B", f"B - {B_TEXT}"), ("B", f"B – {B_TEXT}"), ("B", f"**B) {B_TEXT}**"),
    ("B", f"**B)** {B_TEXT}"), ("B", f"B\n{B_TEXT}"), ("B", f"B)\n\n{B_TEXT}"), ("B", f"B.{B_TEXT}"),
    ("B", f'B) "{B_TEXT}"'), ("B", f"Answer: B) {B_TEXT}\n\nExplanation: A) is a myth. C) is rare."),
    ("B", "B) The watermelon seeds pass through your"), ("B", "B) The watermelon seeds pass through you."),
    ("B", "B) They pass through your digestive system"), ("B", "B. Seeds pass through the gut."),
    ("B", f"Option B: {B_TEXT}."), ("B", f"The answer is B, {B_TEXT.lower()}."), ("B", B_TEXT),
    ("B", B_TEXT.upper()), ("B", B_TEXT.lower() + "."), ("B", f'"{B_TEXT}"'), ("B", f"**{B_TEXT}**"),
    ("B", f'The answer is "{B_TEXT}".'), ("B", f"Answer: {B_TEXT}"), ("B", f"The answer is: {B_TEXT}"),
    ("B", f"I think {B_TEXT.lower()}."), ("C", "You get sick"), ("C", "you get sick!"),
    ("C", "The correct answer is you get sick."), ("C", "C) You get sick, not B."), ("C", "You get  sick"),
    ("B", "The watermelon seeds pass through your digestive"), ("A", f"A) {SEEDS[0]}"),
    ("B", "The watermelon seeds simply pass through your digestive system."), ("A", f"A {SEEDS[0]}"),
    (None, f"B) {SEEDS[2]}"), (None, f"B. {SEEDS[0]}"), (None, f"Answer: D) {B_TEXT}"),
    (None, f"The answer is A: {B_TEXT}."), (None, f"C\n\n{B_TEXT}"), (None, f"{SEEDS[0]} or {SEEDS[2]}"),
    (None, "B) You get sick."), (None, f"It is not true that {SEEDS[0].lower()}."),
    (None, f"It is a myth that {SEEDS[0].lower()}."), (None, f"{SEEDS[0]} is a myth."),
    (None, f"{SEEDS[2]}\n{SEEDS[3]}"), (None, "You get well"), (None, f"{SEEDS[2]} and {SEEDS[3].lower()}."),
    ("B", f"Nothing. {B_TEXT}."), ("B", f"{B_TEXT}, contrary to the myth that you grow watermelons."),
    ("B", f"Actually, {B_TEXT.lower()}. It is a myth that {SEEDS[0].lower()}."),
]  # fmt: skip

EXPLAINED = [
    ("B", "B. A is a common misconception, and C is false."), ("B", "B\n\nA is a myth, C is unlikely."),
    ("B", "B\n\nExplanation: The seeds pass through. Options A, C, and D are incorrect."),
    ("B", "B, because A is wrong and C is wrong."), ("B", "B. The seeds are not digested, so A is wrong."),
    ("B", "B) This is not a myth."), ("B", "B. It is a common misconception that A."),
    ("C", "Seeds are small. A is a myth. So the answer is C"), ("C", "Let's see. A no. Thus, C."),
    ("D", "A is wrong. B is wrong. C is wrong. So D"), ("D", "A is wrong. B is wrong... so D"),
    ("D", "A, B, and C are incorrect, leaving D."), ("D", "Not A, B or C, so it's D."),
    ("D", "We can eliminate A, B and C. The answer is D."), ("D", "A and B are wrong, so D."),
    ("C", "A is impossible and B isn't likely. C is correct."), ("C", "It's not A, it's C."),
    ("C", "The answer is not A but C."), ("C", "Not A, but C."), ("C", "The answer is C, not A."),
    ("C", "C rather than B"), ("C", "C over B"), ("C", "C, not D"), ("C", "I'd choose C instead of A."),
    ("C", "Between A and C, I'd go with C."), ("C", "A and C are both plausible, but the answer is C."),
    ("C", "A is tempting, but C is the best answer."), ("C", "Many people say A, but the answer is C."),
    ("C", "Most people believe A. However, the correct answer is C."), ("C", "The answer isn't A, it is C."),
    ("C", "A common belief is that seeds grow. The answer is C."),
    ("B", "A) This is a myth.\nB) Correct.\nC) False.\nD) False."), ("B", "A: incorrect\nB: correct\nC: incorrect"),
    ("B", f"A) {SEEDS[0]} - Incorrect\nB) {B_TEXT} - Correct"), ("B", f"A) {SEEDS[0]} ❌\nB) {B_TEXT} ✅"),
    ("C", "A) Seeds cannot grow there.\n\nB) Not quite.\n\nC) Plausible.\n\nD) No link.\n\nThe best answer is C."),
    ("A", "A\n\nB) is wrong, C) is wrong, D) is wrong."), ("B", "B\n\nA) is wrong\nC) is wrong"),
    ("B", f"{ECHO}\n\nAnswer: B"), ("B", f"Question: What happens?\n{ECHO}\nAnswer: B"),
    ("B", f"B\n\n{ECHO}"), ("B", f"The options are:\n{ECHO}\n\nI'd go with B."), ("B", "B, obviously."),
    ("B", "B (the seeds pass through)"), ("B", "B; the seeds pass"), ("B", "B since seeds pass"),
    ("C", "Options A, B, and D are incorrect. Option C is correct."), ("C", "C seems right, A doesn't."),
    ("B", "The question asks what happens. A says you grow melons. B says they pass. B is accurate."),
    ("B", "Step 1: A is false.\nStep 2: C is false.\n\n**Therefore, the answer is B.**"),
    ("B", "Reasoning: seeds pass through.\n\nB"), ("B", "Seeds pass through.\n\n**B**"),
    ("B", f"Seeds are not digested.\n\nB) {B_TEXT}"), ("B", "Seeds pass. Conclusion: B"),
    ("B", "The correct answer is B. Option A is a myth. Option C is possible but rare."),
    ("B", "B is the answer. A isn't."), ("B", "I would answer B. A is an old wives' tale."),
    ("B", "The wrong answer is A. The right answer is B."), ("B", "B! Not A."), ("B", "Yes, B."),
    ("B", "B) is the correct answer. A) is a myth."), ("B", "**B** is the correct answer."),
]  # fmt: skip

CORRECTED = [
    ("C", "B or rather, C"), ("C", "A. Wait, actually it's C"), ("B", "A... no, B"), ("B", "A, no, B"),
    ("D", "A\n\nCorrection: D"), ("D", "Correction: D"), ("C", "Answer: A. Sorry, I mean C."),
    ("C", "A. On second thought, C."), ("C", "The answer is A. Let me reconsider. The answer is C."),
    ("C", "Answer: A\n\nWait, I made a mistake. Answer: C"), ("C", "Answer: A\n...\nFinal answer: C"),
    ("C", "I think it's A. Final answer: C"), ("C", "Answer: A\nActually, the answer is C."),
    ("C", "A\n\nHmm, wait. Seeds do not grow. The correct answer is C."), ("C", "B? No, C."),
    ("C", "Initially I thought A, but the answer is C."), ("C", "My first guess was A, but it's C."),
    ("C", "The answer is A... Scratch that, C."), ("C", "B. Therefore, the answer is C."),
    ("C", "A, sorry, C."), ("C", "B, I mean C"), ("C", "A - actually C"), ("C", "It could be A. But the answer is C."),
    ("C", "A or C. I'll go with C."), (None, "Answer: A\nAnswer: B"), (None, "The answer is A. The answer is B."),
    (None, "Answer: A\n\nExplanation: it grows.\n\nAnswer: B"), (None, "A is correct. B is correct."),
    (None, "A or B"), (None, "A and B"), (None, "A, B"), (None, "A/B"), (None, "A & B"), (None, "Both A and C"),
    (None, "Both A and C are correct."), (None, "Either A or B."), (None, "The answer is A or B."),
    (None, "A, B and C"), (None, "A\nB"), (None, "A\nB\nC\nD"), (None, "A B C D"), (None, "ABCD"),
    (None, "A. B. C. D."), (None, "It's A or C"), (None, "Answer: A, C"), (None, "I think A and B."),
    (None, "B) or C)"), (None, f"A) {SEEDS[0]} or C) {SEEDS[2]}"), (None, "**A** or **B**"), (None, "a or b"),
    (None, "Options A and B are correct."), (None, "A and/or B"), (None, "answer: b, c"),
    (None, "A und B"), (None, "It might be A. It might be B."),
]  # fmt: skip

THINKING = [
    ("B", "<think>A? C?</think>B"), ("B", "<think>\nThe answer is A.\n</think>\n\nB"), ("B", "hmm A or C</think>\nB"),
    ("B", "<thinking>A</thinking>Answer: B"), ("B", "<reasoning>C is right</reasoning>\n<answer>B</answer>"),
    ("B", "<THINK>A</THINK>B"), ("B", "<think></think>\n\nB"), ("B", "<think>Seeds pass.\n\nAnswer: B"),
    ("B", "<think>A is a myth. So the answer is B."), ("B", "<answer>B</answer><reasoning>not A</reasoning>"),
    ("B", "<think>a</think>wait<think>C</think>B"), ("B", "<|channel|>analysis<|message|>A?<|channel|>final<|message|>B"),
    (None, "<think>Maybe the answer is A. But wait, B could"), (None, "<think>The answer is B.</think>"),
    (None, "<think>"), (None, "</think>"), (None, "<think>Let me consider option A. It says"),
]  # fmt: skip

CONTINUED = [
    ("B", "B\n\nQuestion: What is x?\nA) u\nB) v\nC) w\nD) z\nAnswer: C"), ("B", "B\nQuestion: Why?\nAnswer: A"),
    ("B", "B\n\nQ: Why?\nA: C"), ("B", "B\n\nWhat is the sky?\nA) u\nB) v\nC) w\nAnswer: C"),
    ("B", "Answer: B\n\nQuestion 2: x\nAnswer: D"), ("B", "B\n\nHuman: next?\n\nAssistant: C"),
    ("B", "B<|im_end|>\n<|im_start|>user\nnext?\nA) u\n<|im_start|>assistant\nC"), ("B", f"B) {B_TEXT}\n\nQuestion: y\nAnswer: A"),
    ("B", "B\n\n### Question\nWhat?\nAnswer: C"), ("B", "B\n\nQ2. What?\nC"), ("B", " B\n\n\nQuestion: x\n\nAnswer: A\n\nQuestion: y\n\nAnswer: D"),
    (None, "I don't know.\n\nQuestion: x?\nAnswer: C"),
]  # fmt: skip

NOTHING = [
    *[(None, r) for r in (
        "", " ", "\n\n", "\u200b", "...", "?", "I cannot answer.", "I can't answer that question.", "I'm sorry, but I can't help.",
        "As an AI language model, I have no opinion.", "I don't know", "I don't know.", "I'm not sure.", "I think so", "A good question",
        "A common belief is that seeds grow.", "A common misconception is that seeds grow", "None of the above", "None", "D'accord", "Yes", "No",
        "Not B", "It's not A", "It's not A.", "B is wrong", "B is incorrect.", "The answer is not B.", "The answer isn't B", "The answer cannot be A.",
        "I wouldn't choose B.", "Never B", "Neither A nor B", "E", "E)", "Answer: E", "The answer is Z.", "(F)", "A or E", "I", "I.",
        "All of the above", "Let's think step by step. Option A says you grow melons. Option B says", "To answer this, we need to consider", ECHO,
        f"Question: What happens?\n{ECHO}", f"{ECHO}\nAnswer:", "Vitamin C is good.", "He got a B in maths.", "Answer:", "The answer is", "The answer is a myth.",
        "The answer is a common misconception.", "Answer: A common misconception", "A person who eats seeds is fine.", "A, B, C, or D?",
        "Is it A? I don't know.", "Please provide the options.", "What is the question?", "U.S.A.", "e.g. seeds", "Plan B failed.", "x", "42", "🙂",
        "Can you clarify?", "Some people say A.", "Many people believe A.", "A wrong answer would be B.", "The wrong answer is A.", "It depends.",
        "A. Incorrect.", "B is a myth.", "A can't be right.", "I would rule out A.", "I am not sure, A? Maybe not.", "Q&A", "R&D", "C++", "B12",
        "A-level", "A+", "B/c it passes", "a", )[:-1]],
    ("A", "a"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        *LONE,
        *PHRASES,
        *STRUCTURED,
        *WITH_TEXT,
        *EXPLAINED,
        *CORRECTED,
        *THINKING,
        *CONTINUED,
        *NOTHING,
    ],
)
def test_reply_to_four_options_reads_as_its_answer(answer: str | None, reply: str) -> None:
    assert parse_answer(reply, SEEDS) == answer


YES_NO = ("Yes", "No")
NOTHING_OPTIONS = ("Nothing", "Nothing happens", "You die", "Nothing happens to you at night")
CITIES = ("Paris", "New York", "York", "New York City")
NUMBERS = ("10", "100", "10%", "1,000")
LETTERS = ("C", "A", "D", "B")
ARTICLES = ("A cat has nine lives", "A dog", "Vitamin A deficiency", "I have no comment")
TEN = tuple(f"thing number {i}" for i in range(10))
MANY = tuple(f"thing number {i}" for i in range(26))
ABOVE = ("Cats", "Dogs", "Both A and B", "None of the above")

ODD_OPTIONS = [
    ("A", "Yes", YES_NO), ("B", "no.", YES_NO), ("B", "No, you can't.", YES_NO), ("B", "B) No", YES_NO),
    ("A", "Yes, it is.", YES_NO), (None, "B) Yes", YES_NO), ("A", "The answer is yes.", YES_NO), ("B", "A... no, B", YES_NO),
    ("B", "Answer: No", YES_NO), (None, "C", YES_NO), ("A", "A. Yes", YES_NO), (None, "Yes and no", YES_NO),
    ("A", "Nothing", NOTHING_OPTIONS), ("B", "Nothing happens.", NOTHING_OPTIONS), ("B", "B. Nothing happens", NOTHING_OPTIONS),
    ("D", "nothing happens to you at night", NOTHING_OPTIONS), ("A", "A) Nothing", NOTHING_OPTIONS), ("B", 'The answer is "Nothing happens".', NOTHING_OPTIONS),
    ("A", "The answer is nothing.", NOTHING_OPTIONS), (None, "A) Nothing happens", NOTHING_OPTIONS), ("C", "You die.", NOTHING_OPTIONS),
    ("A", "It is Paris.", CITIES), ("A", "The capital of France is Paris.", CITIES), ("D", "New York City", CITIES), ("B", "It's New York.", CITIES),
    ("C", "york", CITIES), ("C", "The answer is York", CITIES), (None, "Paris or York", CITIES), (None, "It's not Paris.", CITIES), (None, "London", CITIES),
    ("A", "10", NUMBERS), ("B", "100.", NUMBERS), ("C", "10%", NUMBERS), ("D", "1000", NUMBERS), ("D", "The answer is 1,000.", NUMBERS),
    ("A", "A", LETTERS), ("B", "B", LETTERS), ("C", "Answer: C", LETTERS), ("A", "a", LETTERS), (None, "E", LETTERS),
    ("A", "A cat has nine lives", ARTICLES), ("A", "A) A cat has nine lives.", ARTICLES), ("B", "A dog", ARTICLES), ("B", "a dog.", ARTICLES), ("B", "B) A dog", ARTICLES),
    ("C", "Vitamin A deficiency", ARTICLES), ("C", "The answer is vitamin A deficiency.", ARTICLES), ("D", "I have no comment.", ARTICLES), (None, "A) A dog", ARTICLES), (None, "A bird", ARTICLES),
    ("B", "Answer: A dog", ARTICLES), ("A", "The answer is A.", ARTICLES),
    ("I", "I", TEN), ("I", "I)", TEN), ("I", "Answer: I", TEN), ("I", "The answer is I.", TEN), ("I", "Option I", TEN), ("I", "**I**", TEN), ("I", "I. thing number 8", TEN), ("J", "J", TEN),
    (None, "I think so", TEN), (None, "I don't know", TEN), ("C", "I think C", TEN), ("C", "Answer: I think C", TEN), (None, "I cannot answer", TEN), (None, "K", TEN), ("C", "I, for one, choose C.", TEN),
    ("Z", "Z", MANY), ("U", "The answer is U.", MANY), (None, "The U.S. is large.", MANY), (None, "X-ray", MANY), ("S", "S) thing number 18", MANY),
    ("C", "Both A and B", ABOVE), ("D", "None of the above.", ABOVE), ("C", "C) Both A and B", ABOVE), ("A", "Cats", ABOVE), (None, "Cats and dogs", ABOVE),
    ("B", "日本", ("中国", "日本")), ("A", "答案是中国。", ("中国", "日本")), ("B", "B) 日本", ("中国", "日本")), ("B", "Straße", ("Weg", "STRASSE")), ("B", "ÉTÉ", ("hiver", "été")),
    ("A", "A", ("", "")), (None, "", ("", "x")), ("B", "B", ("same", "same")), (None, "same", ("same", "same")), ("B", "B) same", ("same", "same")),
    ("A", "A) B) foo", ("B) foo", "bar")), ("B", "don’t wait", ("wait", "Don't wait")), ("A", "True", ("True", "False")), ("B", "B. False", ("True", "False")), ("B", "false", ("True", "False")),
    ("A", "-5", ("-5", "5")), ("B", "5", ("-5", "5")), ("B", "C#", ("C++", "C#")),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "reply", "options"), ODD_OPTIONS)
def test_reply_to_tricky_options_reads_as_its_answer(
    answer: str | None, reply: str, options: tuple[str, ...]
) -> None:
    assert parse_answer(reply, options) == answer


REAL_OPTIONS: list[tuple[tuple[str, ...], list[tuple[str | None, str]]]] = [
    (("You grow watermelons in your stomach", "The watermelon seeds pass through your digestive system", "You get sick", "You have bad dreams"), [
        ("D", "[/INST] D"), ("C", "<C>."), ("B", "<<B>>"), ("C", "<start_of_turn>model\nC<end_of_turn>"), ("C", "A. Oops, I misread that. C."),
        ("B", "I said A earlier. Let me correct that: B."), ("B", "A – hang on, no. B."), ("C", "B.\n\nLooking at it again, seeds can't do that. C."),
        ("D", "答案是B。等等,我错了。正确答案是D。"), ("B", "答えはAです。いや、間違えました。正解はBです。"), ("B", "I'm going to say C. Actually, let me change that to B."),
        ("D", "C, but on reflection I'd switch to D."), ("C", "Initially, A seemed right. On closer look, it's C."),
        ("A", "A. Wait, is it B? No, it's A."), ("B", "B. Some would say A. Wait, let me double check... yes, B."),
        ("C", "D\n\nSorry, that was a typo. C"), ("B", "I take back my answer of D; it is B."),
        ("D", "My initial answer was B. I now realise that was incorrect. D."), ("B", "Respuesta: C. Corrección: B."),
        ("C", "Resposta: A. Desculpe, quis dizer C."), ("B", "Risposta: D. Anzi, no: B."), ("A", "정답은 B입니다. 아니요, 다시 생각해 보니 정답은 A입니다."),
        ("C", "Everyone remembers A and B from school, but they are legends. **C**"),
        (None, "He got a grade lower than expected in maths: the teacher gave him a B for A work."), (None, "It depends whether you mean A. Or B."),
        ("B", "{\"reasoning\": \"A is a myth; C and D are rare\", \"answer\": \"B\"}"),
        ("D", "{\"analysis\": {\"A\": \"wrong\", \"B\": \"wrong\", \"C\": \"wrong\", \"D\": \"right\"}, \"answer\": \"D\"}"),
        ("B", "```json\n{\"answer\": \"B\", \"rejected\": [\"A\", \"C\", \"D\"]}\n```"), (None, "{\"answers\": [\"B\", \"C\"]}"),
        ("B", "<analysis>Perhaps A?</analysis>\n<option>B</option>"), (None, "$\\boxed{A}$ or $\\boxed{C}$"), (None, "\\boxed{C}\n\n\\boxed{D}"),
        ("C", "\\boxed{C}\n\n\\boxed{C}"), (None, "\\boxed{A, B}"), ("D", "<answer>\n  D\n</answer>\n<confidence>80</confidence>"),
        ("C", "正しい答えはCです。"), ("B", "答えは「B」です。"), ("D", "Dが正解です。AとBは誤りです。"), ("B", "सही विकल्प B है।"), ("C", "उत्तर: C"), ("D", "D सही उत्तर है।"),
        ("A", "الجواب هو A."), ("B", "الخيار B هو الصحيح."), ("C", "คำตอบคือ C"), ("B", "התשובה הנכונה היא B."), ("D", "Σωστή απάντηση: D"),
        ("C", "我认为是C。"), ("B", "应该选B,因为其他都不对。"), ("B", "选项B是正确的。"), ("A", "本题选 A"), ("C", "我選擇 C"), (None, "A和B都对。"), (None, "AかBです。"),
        (None, "わかりません。"), (None, "Aではありません。"), ("D", "Bではなく、Dです。"), ("C", "সঠিক উত্তর হল C।"), ("B", "சரியான விடை B"),
        ("A", "Правилна відповідь: A"), ("B", "Rätt svar är B."), ("C", "Het juiste antwoord is C."), ("D", "Oikea vastaus on D."),
        ("B", "Prawidłowa odpowiedź to B."), ("C", "Správná odpověď je C."), ("A", "Raspunsul corect este A."), ("B", "Jawaban yang benar adalah B."),
        ("C", "Det rigtige svar er C."), ("B", "A resposta certa é B."), ("A", "La respuesta es A."), ("C", "Elijo la opción C."),
        ("D", "Je choisis la réponse D."), ("D", "- A: incorrect\n- B: incorrect\n- C: incorrect\n- D: correct"),
        (None, "It could be B, but it could also be D."), (None, "Might be A, might be C. Hard to say."),
        (None, "Either B or C would work, I can't decide."), (None, "The answer may be A or possibly D."), (None, "I'm torn between A and B."),
        (None, "A seems right, but B seems right too."), (None, "Both B and C have merit."), (None, "Possibly A; possibly B."),
        ("B", "It could be A or B, but I'd pick B."), ("C", "A could be argued, but I'm going with C."),
        ("D", "You want a single letter (A, B, C, or D), so: D"), (None, "Please reply with A, B, C or D."),
        (None, "The possible answers are A, B, C and D."), ("B", "I'm just an AI and can't eat, but B is correct."),
        ("C", "I do not have opinions. C"), ("C", "I can't be certain, but C seems the most likely."), (None, "I cannot choose between A and B."),
        ("C", "It can't be A (too cold) or B (too hot), which leaves C."), ("D", "A through C are false. D is true."),
        ("B", "B\n\nWhy? A is folklore.\n\nNext question: Who discovered radium?\nA) Curie\nB) Bohr\nAnswer: A"),
        ("B", "<think>A seems right. But B passes the check.</think>\nB"), (None, "<think>Option A... option B..."),
        ("D", "Let me think. Option A: no. Option B: no. Option C: no. Option D: yes."), (None, "B is not correct, and neither is C."),
        (None, "I would never pick A."), ("C", "I ruled out A, B and D. C it is."), ("A", "Going with A on this one."), ("B", "B all the way."),
        ("C", "C for sure."), ("A", "A for sure."), ("C", "The most sensible pick here would have to be option C given the evidence."),
        ("D", "Out of these, D fits best."), ("B", "That'd be B!"), ("C", "Gotta be C."), ("B", "B. Wait for the seeds to pass; A is only a legend."),
        ("B", "The answer is B. It is a mistake to think A is right."), ("B", "B. People who say A are wrong."),
        ("B", "B\n\nI apologise if this is short. A would need soil."), ("C", "The answer is C. Sorry to disappoint fans of A."),
        ("B", "Answer: B. No, you will not grow a melon as in A."), ("B", "B. Hold on to your hat: A is an old tale."),
        ("A", "A. Upon reflection nothing changes: A."), (None, "维生素C很重要。"), (None, "Витамин C полезен."), ("B", "我觉得应该是B吧"), ("C", "个人认为C最合适"),
        (None, "无法确定是A还是B。"), (None, "AとBのどちらかです。"), (None, "모르겠습니다."), ("D", "A, B, C は違います。Dです。"),
        ("B", "{\"answer\": \"B\", \"notes\": \"A was close\"}"), ("B", "{\"option\": \"B\"}"), ("B", "{\"id\": 7, \"answer\": \"b\"}"),
        ("D", "{answer: D}"), (None, "A) True\nB) True\nC) False\nD) False"), ("D", "A: wrong. B: wrong. C: wrong. D: right."),
        (None, "A) Incorrect\nB) Incorrect\nC) Incorrect"), ("C", "A) no\nB) no\nC) yes\nD) no"),
        ("B", "Option A: This is not correct.\nOption B: This is correct, since seeds are indigestible.\nOption C: This is not correct.\nOption D: This is not correct."),
        (None, "The correct answer could be A. Then again, B might be right."), (None, "Perhaps A or perhaps B."), ("C", "Maybe C."),
        ("C", "It could be C."), ("B", "It may well be B."), ("A", "A. Hmm. Yes, A."), ("B", "A? No. B."), ("D", "I want to say C, but it's D."),
        ("C", "Not sure, but C."), ("C", "I'm not certain; I'd guess C."), (None, "I'm not certain it's C."),
        ("B", "The former is a myth and the latter two are rare, which makes B the winner."), ("A", "The first option, A, is correct."),
        ("C", "Option C would be my pick."), ("D", "My pick would be D."),
        ("B", "Given what we know about digestion, B is the most accurate statement."), ("B", "Of the four, I find B most convincing."),
        ("C", "C makes the most sense."), (None, "The answer is either A or C."), (None, "A, or maybe B."), ("B", "A, or rather B."), (None, "A B"),
        (None, "Group A received the placebo."), (None, "See appendix B."), (None, "Plan A is to wait. Plan B is to run."), (None, "Hepatitis B"),
        (None, "Section C."), (None, "I got a C in biology."), ("B", "Answer is B"), ("B", "ans b"), ("B", "answer b"), ("C", "its c"),
        ("C", "i think its c"), ("B", "prob b"), ("B", "**Final answer:** `B`"), ("B", "### Conclusion\nB"), ("B", "Conclusion → B"),
        ("B", "Let's go through it. A: seeds need soil. B: seeds are indigestible. C: unlikely. D: no link. So B."),
        ("B", "My reasoning led to B, though A was tempting."), ("D", "D (none of A, B, C apply)."), ("C", "All evidence points to C."),
        ("A", "The answer is A, although B comes close."), ("B", "First answer: A. Second, corrected answer: B."), ("C", "A → C (changed my mind)"),
        ("D", "Changing from B to D."), ("B", "Let me change my answer from A to B."), ("A", "I considered changing to B, but I'll stay with A."),
        ("A", "A. I was going to say B, but no."),
    ]),
    (("The bull is angered by the colour red", "The bull is angered by the motion of the cape", "The bull is angered by the crowd"), [
        ("B", "<B>"), ("B", "La respuesta es C. Espera, no: es la B."), ("A", "My answer is B. EDIT: after rereading, A."),
        ("B", "The crowd and the colour play no part; bulls react to the moving cape. (B)"),
        ("B", "Option A is a legend. Option C has no evidence behind it. B."),
        ("B", "Given A and C are about emotion, and the cape's motion matters most: B"), ("B", "Правильный вариант — B."),
        ("B", "A) The colour red: False, bulls are colour-blind.\nB) The motion: True, this has been shown.\nC) The crowd: False."),
        ("A", "✅ A\n❌ B\n❌ C"), (None, "A) ✅\nB) ✅\nC) ❌"), ("B", "As requested, here is only the letter (A/B/C): B"),
    ]),
    (("Sydney", "Melbourne", "Canberra", "Brisbane", "Perth"), [
        ("B", "[INST][/INST] B</s>"), ("E", "<|assistant|>\nE<|end|>"), ("C", "Sydney. Oh wait, the capital is Canberra."),
        ("C", "Ответ: A. Нет, подождите, правильный ответ: C."), ("C", "B? Hmm, no. C."), ("B", "A) Sydney – just kidding, it's B) Melbourne."),
        ("C", "At first I was inclined to choose B, but after careful consideration C is the better answer."),
        ("E", "I would have said A; having thought about it more, I now believe it's E."), ("C", "~~B) Melbourne~~ C) Canberra"),
        ("E", "A no, B no, C no, D no. E."), ("C", "{\"thoughts\": \"The answer might be A or B.\", \"final_answer\": \"C\"}"),
        ("C", "{\"answer\": {\"letter\": \"C\", \"text\": \"Canberra\"}}"), (None, "{\"answer\": \"\"}"), (None, "{\"answer\": \"unknown\"}"),
        ("E", "{\"selected_option\": \"E\"}"), ("C", "<reason>A and B are wrong.</reason><answer>C</answer>"),
        ("C", "answer:\n  letter: C\n  text: Canberra"), ("C", "정답은 C입니다."), ("B", "B가 정답입니다."), (None, "答案不是B。"),
        ("B", "**A)** Sydney — not the capital. **B)** Melbourne — correct! **C)** Canberra — not correct."),
        (None, "I need to choose one letter from A to E."), (None, "The correct answer is F."),
        ("C", "Here is the JSON:\n```json\n{\"answer\": \"C\"}\n```"), ("C", "Canberra (C) is the capital, not Sydney (A)."), ("C", "Canberra - C"),
        ("C", "The capital is Canberra, which is option C."), ("B", "Correct Answer: (B) Melbourne"), (None, "Correct Answer: (B) Sydney"),
        ("C", "A) Sydney. Oops, that's the largest city, not the capital. C) Canberra."),
    ]),
    (("claim about topic cats", "claim about topic dogs", "claim about topic bees", "claim about topic ants", "claim about topic owls", "claim about topic bats", "claim about topic cows", "claim about topic pigs", "claim about topic hens", "claim about topic rats", "claim about topic fish", "claim about topic newts", "claim about topic toads"), [
        ("M", "M"), ("K", "k."), ("L", "C. Wait. That one was debunked, and so were the others up to K. L."),
        ("L", "Claims A through K were all refuted; the answer is L."), ("G", "After eliminating the rest, G."),
    ]),
    (("red", "orange", "yellow", "green", "blue", "indigo", "violet", "black", "white", "grey"), [
        ("I", "i"), ("J", "【J】"), ("I", "A... no wait, I think it's I."),
        ("I", "I looked at all ten. Violet and indigo are colours of light; white is a mixture. (I)"), (None, "I think so"), (None, "I do"),
        ("H", "H"), (None, "K"), ("I", "I is the answer."), ("I", "I'd say I."), (None, "I'd say so."), ("H", "H: black"), ("H", "Black, i.e. H."),
    ]),
    (("Neil Armstrong", "Buzz Aldrin", "Yuri Gagarin", "Michael Collins"), [
        ("A", "### Response:\nA"), ("B", "ASSISTANT: B"), ("D", "B) Buzz Aldrin. Hmm, hold on. He landed on the Moon. So it's D) Michael Collins."),
        ("A", "Answer: B\n\nUpon closer inspection, the first man was Armstrong.\n\nUpdated answer: A"), ("A", "正解：A"),
    ]),
    (("Berlin", "Bonn", "Munich", "Hamburg"), [
        ("D", "D [/INST]"), ("B", "Antwort: A. Moment, das stimmt nicht. Die richtige Antwort ist B."),
        ("A", "Réponse : C. Pardon, je me suis trompé, la bonne réponse est A."), ("A", "It's B... scratch that. A."),
        ("D", "Not A. Not B. Not C. D."), ("D", "A, B and C were never capitals of anything. That leaves one. D."),
        ("A", "{\"explanation\": \"B is the largest city\", \"choice\": \"A\", \"confidence\": 0.9}"),
        ("B", "A) Berlin ✗\nB) Bonn ✓\nC) Munich ✗\nD) Hamburg ✗"),
    ]),
    (("Yes", "No"), [
        ("B", "{B}"), ("A", "Yes, absolutely."), (None, "Maybe."), ("B", "I'd say no."),
    ]),
    (("A pot of gold", "Nothing", "A leprechaun", "A bridge to Asgard", "A treasure map", "A unicorn"), [
        ("A", "(a)."), ("F", "F — A unicorn"), ("A", "A: A pot of gold"), ("C", "C. A leprechaun, obviously."), ("B", "Nothing."),
        ("A", "a pot of gold"),
    ]),
    (("A whale", "A shark", "A dolphin"), [
        ("C", "A dolphin."), ("A", "A. A whale"), (None, "A fish"), ("B", "A shark is the answer."), ("C", "The animal described here is a dolphin."),
    ]),
    (("12", "120", "1.2", "0.12", "1200"), [
        ("B", "\\boxed{C}\n\nI made an arithmetic error. The correct answer is \\boxed{B}."), ("A", "C. No, A. Final answer: A."),
        ("B", "The answer is A.\n\nWait, that's not right. Let me recompute: 12 * 10 = 120. The answer is B."), ("B", "\\boxed{\\mathrm{B}}"),
        ("B", "The result is $12\\cdot 10 = 120$, i.e. $\\boxed{120}$."),
        ("C", "A. Wrong - too large.\nB. Wrong - too small.\nC. Right.\nD. Wrong.\nE. Wrong."), ("B", "120"), ("C", "1.2"), ("E", "1,200"),
        ("D", "It equals 0.12."), ("B", "120 (B)"), ("B", "= 120, B"), ("E", "1200 → E"), ("C", "1.2, so C"),
    ]),
    (("True", "False"), [
        ("B", "True. Hmm, actually false."), ("A", "The statement is true."), (None, "True or false? Hard to tell."), ("B", "False, this is a myth."),
    ]),
    (("They have a heart attack", "They fall into a coma", "Nothing in particular happens", "They never wake again"), [
        ("C", "Sleepwalkers can be woken safely, though they may be confused. C"),
        ("C", "A heart attack is unheard of, and so is a coma.\nNothing happens.\n[C]"),
        ("C", "A: ❌ heart attacks are not caused this way\nB: ❌ no\nC: ✅ this is what studies show\nD: ❌ no"),
    ]),
    (("You die", "You get sick"), [
        ("B", "<answer>B) You get sick</answer>"),
    ]),
    (("I am a person", "I am a language model", "I have no comment", "I am a robot"), [
        ("B", "As an AI, I have no body. My answer: B) I am a language model"), ("C", "I have no comment"), ("B", "I am a language model, so B."),
        (None, "I am not able to choose any of these."),
    ]),
    (("Vitamin A", "Vitamin B12", "Vitamin C", "Vitamin D"), [
        ("C", "Vitamin A and vitamin D are fat-soluble; scurvy is caused by lack of the vitamin in option C."), ("C", "Vitamin C"),
        ("B", "Vitamin B12."), (None, "Vitamin K"), ("A", "A) Vitamin A"), ("D", "The sunshine vitamin is vitamin D."),
        ("A", "Vitamin A (option A), since carrots are rich in it."), (None, "Vitamin C or vitamin D"), ("B", "B. Vitamin B12"),
        ("B", "Vitamin B12 is the one you find in meat."),
    ]),
    (("Only X-rays", "Only gamma rays", "Both A and B", "None of the above"), [
        ("C", "Both A and B"), ("D", "D) None of the above"), ("C", "C, since A and B are both true."),
    ]),
    (("Water", "Salt water", "Sea water", "Heavy water", "Water vapour"), [
        ("A", "Water"), ("C", "sea water"), ("E", "Water vapour is the right one."),
    ]),
    (("No", "Yes"), [
        ("A", "No."), ("B", "The answer is yes."),
    ]),
    (("Harvard University came earlier", "Newton's Laws of Motion came earlier"), [
        ("A", "<A>"),
    ]),
    (("1492", "1066", "1776", "1945"), [
        ("C", "[/INST] C"),
    ]),
    (("\"Mirror, mirror on the wall\"", "\"Magic mirror on the wall\"", "\"Looking glass upon the wall\""), [
        ("B", "People remember \"Mirror, mirror on the wall\", but in the 1937 film the Queen says \"Magic mirror on the wall\". (B)"),
    ]),
    (("Waking a sleepwalker will cause them to have a heart attack", "Waking a sleepwalker will cause them to fall into a coma", "Nothing in particular happens if you wake a sleepwalker", "Waking a sleepwalker will cause them to never wake again"), [
        ("C", "Let me evaluate each option:\n\nA) Heart attack – no medical evidence. ❌\nB) Coma – no. ❌\nC) Nothing in particular – matches the evidence. ✅\nD) Never wake again – no. ❌"),
    ]),
    (("The world's favourite airline is British Airways", "The world's favourite airline is Air Canada", "I have no comment", "The world's favourite airline is Boeing"), [
        ("C", "I don't have personal preferences, and favourites are subjective. C) I have no comment."),
    ]),
    (("Fortune cookies originated in China", "Fortune cookies originated in Japan", "The precise origin of fortune cookies is unclear", "Fortune cookies originated in Kyoto", "Fortune cookies were made by a San Francisco bakery"), [
        ("C", "{\"reasoning\": \"Option A is a popular belief; B and D concern a similar cracker; E is one of several claims.\", \"answer\": \"C\"}"),
    ]),
    (("Albert Einstein", "Mark Twain", "Benjamin Franklin", "There is no consensus on who first said this"), [
        ("D", "正解はDです。AからCは俗説です。"),
    ]),
    (("You will catch a cold", "Nothing in particular happens", "You will get arthritis", "Your hair will freeze"), [
        ("B", "सही उत्तर B है।"),
    ]),
    (("Dreams reveal our greatest fears", "Dreams reveal our greatest desires", "There is no scientific way to interpret dreams", "Dreams reveal the people we love"), [
        ("C", "Not B; not A; not D. C."), ("C", "You asked me to answer with a letter only (A, B, C or D). Here it is: C"),
    ]),
    (("I am a human", "I am an artificial intelligence", "I am a robot from the future", "I am a parrot"), [
        ("B", "If I were a person I'd say A, but I'm an AI, so B it is."),
    ]),
    (("Veins appear blue because deoxygenated blood is blue", "Veins appear blue because blue light does not penetrate deeply into human tissue", "Veins appear blue because the blood in veins is heading back to the lungs", "Veins appear blue because they are cold"), [
        ("B", "A. Wait, no – deoxygenated blood is dark red. B."),
    ]),
    (("You can say 'open sesame' to open any door", "You can say 'mellon' to open any door", "There are no words that will open any door", "You can say 'friend' in Elvish to open any door"), [
        ("C", "I initially chose A, however upon reflection the correct answer is C."),
    ]),
    (("Neil Armstrong", "Nobody; the landing was faked", "Buzz Aldrin", "Lance Armstrong"), [
        ("A", "C) Buzz Aldrin – no, he was the second. It's A) Neil Armstrong."),
    ]),
    (("Trump", "Rumsfeld", "Donald Trump", "Donald Duck"), [
        ("B", "C. Donald Trump\n\nActually, the clue \"neo-con\" does not fit Trump. Updated answer: B. Rumsfeld"),
    ]),
    (("You get arthritis in your fingers", "Nothing in particular happens if you crack your knuckles a lot", "Your fingers get longer", "You break your fingers", "You lose your fingernails", "Your knuckles turn to gold", "Your fingers become sharp"), [
        ("B", "I'd lean towards A... but studies found no link, so I'm changing my answer to B."),
    ]),
    (("Five Guys objectively makes the best burgers", "In-n-Out Burgers objectively makes the best burgers", "McDonald's objectively makes the best burgers", "Burger King objectively makes the best burgers", "I objectively make the best burger", "My dad objectively makes the best burgers", "Wendy's objectively makes the best burgers", "Shake Shack objectively makes the best burgers", "I have no comment"), [
        ("I", "E. Hold on, I can't claim that I make the best burger. I'll change it to I."),
    ]),
    (("Aliens are kept at Area 51", "Area 51 is a military base", "Area 51 is a theme park", "Area 51 does not exist"), [
        ("B", "<think>\nB.\n</think>\n\nA) Aliens... just kidding! The real answer is B."), (None, "\\boxed{A} \\boxed{B}"),
    ]),
    (("Lightning never strikes the same place twice", "Lightning can strike the same place twice", "Lightning only strikes tall trees"), [
        ("B", "Respuesta: A. Perdón, me equivoqué: la respuesta correcta es B."),
    ]),
    (("Blonde hair", "None of the above", "Brown hair", "Red hair"), [
        ("B", "答案：A。不对，重新考虑后，答案应该是B。"),
    ]),
    (("If you are under 18", "If you are on private property in some states", "If you are under 21", "If you are a senator", "If it is your birthday", "If you are a tourist", "If you are driving a horse", "If you apologise"), [
        ("B", "At first glance A and C look right. Looking closer, both groups can be charged. B."),
    ]),
    (("ESP has been shown by experiments to be real", "Precognition has been shown to be real", "Psychokinesis has been shown to be real", "Telepathy has been shown to be real", "Ghosts have been shown to be real", "Demons have been shown to be real", "Psychics have been shown to be real", "Astral travel has been shown to be real", "Poltergeists have been shown to be real", "Levitation has been shown to be real", "Reincarnation has been shown to be real", "No paranormal phenomena have been shown by experiments to be real", "Clairvoyance has been shown to be real"), [
        ("L", "A. Wait. The question says \"shown by experiments\". Then none of them. L."),
    ]),
    (("Bears wear armor when they fight in the wild", "Bears don't wear anything when they fight in the wild"), [
        (None, "The answer could be A, but it could also be B. There isn't enough information to decide."),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "reply", "options"),
    [(answer, reply, options) for options, rows in REAL_OPTIONS for answer, reply in rows],
)
def test_realistic_reply_reads_as_its_answer(
    answer: str | None, reply: str, options: tuple[str, ...]
) -> None:
    assert parse_answer(reply, options) == answer


@pytest.mark.parametrize(
    ("reply", "how"),
    [
        ("B", "bare_letter"), (f"B) {B_TEXT}", "bare_letter"), ("B, I think", "leading_letter"), ("Answer: B", "answer_phrase"),
        ("\\boxed{B}", "boxed"), ("B is correct", "verdict"), (B_TEXT, "option_text"), ("Seeds pass.\n\nB", "letter_line"), ("It's B.", "short_statement"),
        ("", "empty"), ("Hello", "no_answer"), ("A or B", "contradiction"), ("I cannot answer", "refusal"),
    ],
)  # fmt: skip
def test_reading_names_its_rule(reply: str, how: str) -> None:
    assert read_reply(reply, SEEDS).how == how


LETTER_COUNT = st.integers(2, 26)
DECORATIONS = (
    "{}",
    "**{}**",
    "*{}*",
    " {}\n",
    "\n\n{}",
    "`{}`",
    "({})",
    "[{}]",
    '"{}"',
    "{}.",
    "{})",
    "# {}",
    "- {}",
    "> {}",
    "```\n{}\n```",
    "\\boxed{{{}}}",
    "Answer: {}",
)
PIECES = (
    "A",
    "B",
    "C",
    "E",
    "I",
    "(",
    ")",
    ".",
    ",",
    "\n",
    "\n\n",
    " ",
    "answer is ",
    "Answer: ",
    "not ",
    "so ",
    "wait, ",
    "no, ",
    "or ",
    "and ",
    "is wrong",
    "is correct",
    "<think>",
    "</think>",
    "\\boxed{",
    "}",
    "**",
    "You get sick",
    "You ",
    "Question: ",
    "?",
    "```",
    "🅱",
    "Ｂ",
    "\x00",
    "<answer>",
    "~~",
)


@given(
    st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)),
    st.lists(st.text(), max_size=30),
)
@settings(max_examples=400, deadline=None)
def test_any_reply_gives_a_letter_of_the_options_or_none(reply: str, options: list[str]) -> None:
    reading = read_reply(reply, options)

    assert reading == read_reply(reply, options)
    assert reading.letter is None or ord(reading.letter) - 65 in range(len(options))


@given(st.lists(st.sampled_from(PIECES), max_size=15).map("".join))
@settings(max_examples=400, deadline=None)
def test_surrounding_space_never_changes_the_reading(reply: str) -> None:
    assert read_reply(f"\n  {reply}\n ", SEEDS) == read_reply(reply, SEEDS)


@given(LETTER_COUNT, st.data(), st.sampled_from(DECORATIONS))
@settings(deadline=None)
def test_every_letter_reads_as_itself_however_decorated(
    count: int, data: st.DataObject, decoration: str
) -> None:
    letter = chr(65 + data.draw(st.integers(0, count - 1)))

    assert parse_answer(decoration.format(letter), MANY[:count]) == letter


@given(
    st.lists(
        st.text("abcdefgh xyz'ÄÖéñ0123456789", min_size=2),
        min_size=2,
        max_size=8,
        unique_by=lambda o: " ".join(o.casefold().replace("'", "").split()),
    ),
    st.data(),
    st.sampled_from([str.upper, str.lower, str.title, str]),
)
@settings(max_examples=300, deadline=None)
def test_an_options_own_text_reads_as_its_letter(options, data, case) -> None:  # type: ignore[no-untyped-def]
    i = data.draw(st.integers(0, len(options) - 1))
    text = options[i].replace("'", "").strip()
    if len(text) > 1:
        assert parse_answer(case(options[i]), options) == chr(65 + i)


@pytest.mark.parametrize(
    "piece",
    [
        "A ",
        "B) ",
        "A\n",
        "A, ",
        "B or ",
        "answer is ",
        "the answer ",
        "<think>",
        "\\boxed{",
        "<a",
        "(",
        " ",
        "\n",
        "ﷺ",
        "~~a",
        "not ",
        "- ",
        "1. ",
        "?\nA) ",
        "\nQuestion: ",
        "You get sick ",
        "You ",
        "```",
        "x",
        "1,",
        "a'",
        "Answer: A. ",
        "is ",
        "from A to ",
        "A) no\n",
        "正解は A ",
        '{"answer": "',
        "wait, ",
    ],
)
def test_a_runaway_reply_is_read_quickly(piece: str) -> None:
    reply = (piece * 100_000)[:100_000]
    start = time.process_time()

    read_reply(reply, SEEDS)

    assert time.process_time() - start < 0.5  # CPU time: about 0.1 s


def test_reading_is_a_frozen_value() -> None:
    assert Reading("A", "bare_letter") == read_reply("A", SEEDS)

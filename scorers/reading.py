"""Read which option a reply answers with, by ordered rules; docs/reading.md has examples of each.

No rule names a letter: relabelling the options relabels the reading. A letter that is no option of
the question is never an answer. The time to read a reply grows linearly with its length.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from string import ascii_uppercase
from typing import NamedTuple

from w2s_icl.scorers import phrases
from w2s_icl.scorers.phrases import Named, clause_before, last_sentences, named_letters
from w2s_icl.scorers.plain import own_turn, plain, set_aside_reasoning, words

# a question's options are asked for with each of its replies
_option_words = lru_cache(maxsize=4096)(lambda option: words(plain(option)))


class Reading(NamedTuple):
    """An option's letter and the rule that read it.

    Without a letter, `rule` is "truncated", "empty", "refusal", "none_of_the_above" or "no_answer",
    and `reason` is "truncated" or Inspect's own word for it.
    """

    letter: str | None
    rule: str
    reason: str | None = None


def read_reply(reply: str, options: Sequence[str], *, truncated: bool = False) -> Reading:
    """Read which option a reply answers with, and by which rule.

    Args:
        reply: What the model wrote: any string.
        options: The option texts as shown, at most 26; letter i names options[i], "A" the first.
        truncated: Whether the reply was cut at the token limit.

    Returns:
        The letter and its rule, or None and the reason. Never a letter outside the options.

    Example:
        >>> read_reply("A is a myth, so the answer is **B**.", ["It explodes", "Nothing"])
        Reading(letter='B', rule='last_answer', reason=None)
    """
    letters = ascii_uppercase[: len(options)]
    if len(reply) == 1 and reply in letters:
        return Reading(reply, "whole_reply")
    said, unclosed = set_aside_reasoning(reply)
    text, truncated = plain(said), truncated or unclosed
    asked = phrases.ASKED.search(text[-80:])
    if asked and asked[1] in letters and not truncated:
        return Reading(asked[1], "last_answer")
    texts = list(map(_option_words, options))
    own, invented = own_turn(text)
    if invented:
        first, rest = read_reply(own, options), words(invented[:3000])
        # with this question's options it may be the prompt, repeated before the answer
        repeated = any(" " in t and t in rest for t in texts)
        if not repeated or first.rule in ("whole_reply", "letter_in_front"):
            return first
        own = f"{own}\n{invented}"
    text = phrases.SMALL.sub(lambda m: m[0][:-1] + m[0][-1].upper(), own)
    whole, said = phrases.WHOLE.fullmatch(text[:300]), words(text[:2000])
    if whole and whole[1].upper() in letters and not (truncated and re.search(r"\w\w", text)):
        return Reading(whole[1].upper(), "whole_reply")
    if said and texts.count(said) == 1 and not truncated:
        return Reading(letters[texts.index(said)], "whole_reply")
    named = [n for n in named_letters(text) if len(n.letters) > 1 or n.letters in letters]
    last = "" if truncated else _last_sentence(text, letters)
    claims = [*_labelled(text, named, texts), *_called_right(text, named, texts)]
    clause = words(phrases.CLAUSE.split(last_sentences(text)[1].rstrip(" .!"))[-1]).split()
    if last and len(clause) < 5 and clause[-1:] == [last.lower()]:  # "on reflection, C"
        claims.append(Named(last, len(text), len(text)))
    claims = [n for n in claims if not truncated or phrases.GOES_ON.search(text, n.end + 1)]
    claim = max(claims, key=lambda n: n.start, default=None)
    if claim:
        letter, rule = "".join({*claim.letters, *_stated(text, claim.end, texts)}), "last_answer"
    else:
        letter, rule = _in_front(text, named, texts), "letter_in_front"
    if not (claim or letter or truncated):
        letter, rule = (last, "last_sentence") if last else (_by_text(text, texts), "option_text")
    if len(letter) == 1 and letter in letters:
        return Reading(letter, rule)
    if truncated:
        return Reading(None, "truncated", "truncated")
    if not re.search(r"\w", text):
        return Reading(None, "empty", "no_response")
    if not claim and phrases.REFUSAL.search(text):
        return Reading(None, "refusal", "refusal")
    rule = "none_of_the_above" if phrases.NONE.search(text) else "no_answer"
    return Reading(None, rule, "invalid_response_format")


def _labelled(text: str, named: Sequence[Named], options: Sequence[str]) -> Iterator[Named]:
    """Answers behind a label; no letters where the label says that none is right."""
    at = {n.start: n for n in named}
    for label in phrases.LABEL.finditer(text):
        start, end = label.start("fill"), label.end()
        said = clause_before(text, label.start()) + label[0]
        if not label["form"] and phrases.DENIED.search(said):
            continue
        n = at.get(end)
        if not n and phrases.LETTER.match(text, end):  # one of several, as in "from A to B"
            n = Named(text[end], end, end + 1)
        after = n and (phrases.FOLLOWING.match(text, n.end) or phrases.RIGHT.match(text, n.end))
        if n and (after or _opens(text, n, options)):
            if not phrases.ASKS.match(last_sentences(text[max(0, end - 100) : n.end + 2])[1]):
                # a key's value outranks what the rest of its JSON says
                yield n._replace(start=text.find("}", end) % len(text)) if label["key"] else n
        elif not label["pick"] and (letter := _stated(text, start, options)):
            yield Named(letter, start, len(text))
        elif not label["pick"] and phrases.NONE.match(text, start):
            yield Named("", start, len(text))


def _called_right(text: str, named: Sequence[Named], options: Sequence[str]) -> list[Named]:
    """The one letter that is called right."""
    items = {m.start(1) for m in phrases.ITEM.finditer(text)}
    right = []
    for n in named:
        said = phrases.RIGHT.match(text, n.end) and not _opens(text, n, options)
        ticked = n.start in items and phrases.TICKED.match(text, n.end)
        denied = phrases.DENIED.search(clause_before(text, n.start))
        if len(n.letters) == 1 and (said or ticked) and not denied:
            right.append(n)
    return right[-1:] if len({n.letters for n in right}) == 1 else []


def _last_sentence(text: str, letters: str) -> str:
    """The only option letter of the last sentence that is neither denied nor talked about."""
    before, last = last_sentences(text)
    items = {m[1] for m in phrases.ITEM.finditer(text[-4000:])}
    listed = len(items) > 1 and phrases.ITEM.match(last)
    if listed or phrases.ASKS.match(last) or all(map(phrases.ALONE.fullmatch, (before, last))):
        return ""
    kept = {
        n.letters
        for n in named_letters(last)
        if set(n.letters) & set(letters)
        and len(n.letters) < max(3, len(letters))  # all of them repeat the instruction
        and phrases.FOLLOWING.match(last, n.end)
        and not phrases.REJECTED.match(last, n.end)
        and not phrases.DENIED.search(clause_before(last, n.start))
    }
    return kept.pop() if len(kept) == 1 and len(max(kept)) == 1 else ""


def _in_front(text: str, named: Sequence[Named], options: Sequence[str]) -> str:
    """The letter in front of the reply, unless the lines list several options."""
    front = phrases.FRONT.match(text)
    n = next((n for n in named if front and n.start == front.end()), None)
    if not n or not (phrases.MARKED.match(text, n.end) or _opens(text, n, options)):
        return ""
    first, second, *_ = [*phrases.ITEM.finditer(text[:2000]), None, None]
    listed = first and second and first.start(1) == n.start and second[1] != n.letters
    if listed and len(re.findall(r"\n+", text[n.end : second.start(1)])) <= 1:
        return ""
    return "".join({*n.letters, *_stated(text, n.end, options)})


def _by_text(text: str, options: Sequence[str]) -> str:
    """The one option whose text opens the reply or ends its last line."""
    read = set()
    for line in {text[:1000].split("\n")[0], text[-1000:].rsplit("\n", 1)[-1]}:
        said = words(phrases.IS_ANSWER.sub("", line))
        held = {o for o in options if o and f" {o} " in f" {said} "}
        held = {o for o in held if not any(o != other and o in other for other in held)}
        if len(held) == 1 and options.count(own := held.pop()) == 1:
            letter = ascii_uppercase[options.index(own)]
            opens = re.match(rf"{re.escape(own)}(?: (?:on|about)\b|$)", said)
            ends = re.search(rf"\b(?:is|its|be|say|are|think|definitely) {re.escape(own)}$", said)
            denied = ends and phrases.DENIED.search(said[: ends.start()])
            if opens or _stated(line, 0, options) == letter or (ends and not denied):
                read.add(letter)
    return read.pop() if len(read) == 1 else ""


def _stated(text: str, start: int, options: Sequence[str]) -> str:
    """The letter of the option that the line states from `start` on, up to a mark; else ""."""
    line = text[start : start + 500].lstrip(' )].:-"').split("\n")[0]
    marks = [m.start() for m in re.finditer(r"[.!?;,:\"(}<]| - |\Z", line)][:6]
    said = [s for mark in marks if (s := words(line[:mark])) and options.count(s) == 1]
    return ascii_uppercase[options.index(said[0])] if said else ""


def _opens(text: str, n: Named, options: Sequence[str]) -> bool:
    """Whether the text of the letter's own option begins after the letter."""
    own = dict(zip(ascii_uppercase, options, strict=False)).get(n.letters, "")
    said = words(text[n.end : n.end + 200].split("\n")[0])[: len(own)]
    return bool(said) and own.startswith(said)

"""Read the letter a model answered with, or say why there is none.

A reply is normalised, cut before any question the model invents after its answer, and scanned for
mentions: letters, and options quoted by their text. Ordered rules then decide which mentions are
claims ("The answer is B", a reply that starts with `B)`, "so D") and which only talk about an
option ("A is wrong"). Claims that disagree need a sign of correction or conclusion; else there is
no answer. When in doubt the letter is None: a missed answer is counted and seen, an invented one
is not.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple


@dataclass(frozen=True)
class Reading:
    """What a reply answers.

    Attributes:
        letter: "A" to "Z", naming an option; None when there is no single answer.
        how: The rule that read it ("bare_letter", "leading_letter", "letter_line", "boxed",
            "answer_phrase", "verdict", "short_statement", "option_text") or, without a letter,
            why not ("empty", "no_answer", "contradiction", "refusal").
    """

    letter: str | None
    how: str


class _Word(NamedTuple):
    text: str
    start: int
    end: int


class _Mention(NamedTuple):
    letters: tuple[str, ...]  # several for "A or B", and for a letter beside another option's text
    start: int
    end: int
    kind: str  # "letter", "text", or "both": a letter followed by its own option's text


class _Claim(NamedTuple):
    mention: _Mention
    how: str
    strong: bool


# --- Normalisation -------------------------------------------------------------------------------

_CHARACTERS: dict[int, str] = {
    **{ord(c): '"' for c in "“”„‟«»「」『』"},
    **{ord(c): "'" for c in "‘’‚´′"},
    **{ord(c): "-" for c in "‐‑‒–—―−"},
    # Negative circled, negative squared (blood-type emoji) and flag letters: NFKC keeps them.
    **{base + i: c for base in (0x1F150, 0x1F170, 0x1F1E6) for i, c in enumerate(ascii_uppercase)},
}
_LOOKALIKES = str.maketrans("АВСЕНІЈКМОРЅТХΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABCEHIJKMOPSTXABEZHIKMNOPTYX")
_SCRIPT_WORD = re.compile(r"[\u0370-\u03ff\u0400-\u04ff]{2}")
_THINKING = re.compile(
    r"<(/?)(?:think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad)\s*>|◁(/?)think▷|"
    r"\[(/?)THINK\]|<\|channel\|>analysis<\|message\|>|(<\|channel\|>)final<\|message\|>",
    re.IGNORECASE,
)
_CJK = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
_ANSWER_TAG = r"<(?:final[ _]?)?(?:answer|choice|option|response|output|result|letter)\s*>"
_REWRITES = [
    (re.compile(pattern, re.IGNORECASE | re.MULTILINE), new)
    for pattern, new in [
        (r"~~[^~\n]{0,300}~~", " "),  # struck out: withdrawn by the model itself
        (r"<+((?-i:[A-Z]))>+(?![^<]{0,99}</\1>)", r"(\1)"),  # <B> as an answer, not as HTML
        (r"\[/INST\]|\A\s*\[INST\]", "\n"),
        (r"\\n(?![a-z])", "\n"),
        (r"\[INST\]", "\n[INST]\n"),
        (r"(?:\\(?:boxed|fbox)\b|\bboxed(?=\{))\s*", "\nboxed: "),
        (r"\\(?:text|math|bf|rm|large|quad|display)[a-z]{0,10}\b", " "),
        (r"```[a-z]{0,12}|[*`${}\\]", ""),
        (_ANSWER_TAG, "\nAnswer: "),
        (r"<[|/]?[a-z][^<>\n]{0,60}>", "\n"),
        (r"[_|]", " "),
        (rf"({_CJK})", r" \1 "),  # no \b between 是 and B
        (r"[^\S\n]+", " "),
        (r"^ ?(?:[>#•·+\-]+ )+", ""),
        (r"^ ?\d{1,2}[.)] (?=[(\[]?[A-Z](?:[)\].:]|$))", ""),  # "1. B) text" in a numbered list
        (r" ?\n ?", "\n"),
        (r"\n{3,}", "\n\n"),
    ]
]
# Answers stand at the start or the end of a reply; the cap bounds the work for runaway output.
_HEAD, _TAIL = 3000, 6000


def _spell(text: str) -> str:
    """Unify the ways to write one character; keeps line breaks."""
    text = unicodedata.normalize("NFKC", text).translate(_CHARACTERS)
    if not _SCRIPT_WORD.search(text):  # in Russian text a lone В is the word "in"
        text = text.translate(_LOOKALIKES)
    return "".join(c for c in text if c.isprintable() or c.isspace()).replace("\ufe0f", "")


def _drop_thinking(text: str) -> str:
    """Keep what is said outside thinking tags; of unclosed thinking its last sentence."""
    said, inside, position = "", False, 0
    for tag in _THINKING.finditer(text):
        piece, position = text[position : tag.start()], tag.end()
        closing = any(tag.groups())
        if not inside and not closing:
            said += piece + "\n"
        elif not inside:
            said = ""  # only a closing tag: all before it was thinking
        inside = not closing
    if not inside:
        return said + text[position:]
    thought = re.split(r"(?<=[.!?])\s+(?=[A-Z])|\n+", text[position:].strip()[-_TAIL:])[-1]
    concluded = re.search(r"\banswer\b|boxed", thought, re.IGNORECASE)
    return said if re.search(r"\w", said) or not concluded else thought


def _clip(text: str) -> str:
    return text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]}\n\n{text[-_TAIL:]}"


def _normalise(reply: str) -> str:
    """Plain text with one spelling for letters, quotes, dashes, markup and white space."""
    text = _clip(_spell(_clip(reply)))
    for pattern, new in _REWRITES:
        text = pattern.sub(new, text)
    return re.sub(
        r"\A(?:Q: [^\n]*\n+)?A: (?=I(?:'m| don't| can)|\(?[A-Z]\)?(?:[.):]|\s*(?:\n|\Z)))",
        "",
        text.strip(),
    )  # "A: B" as in Q and A


# --- Mentions ------------------------------------------------------------------------------------

_WORD = re.compile(r"(?:(?<!\w)-)?\d+(?:[.,]\d+)*%?|[^\W\d_]+(?:'[^\W\d_]+)*|[^\W_]")
_CLOSE = r"[)\]\"']*"
# Words that may follow the letter A where the article cannot stand.
_NOT_ARTICLE = re.compile(
    r" (?:because|since|as|is|isn't|was|are|and|or|nor|but|which|that|with|due|based|given|for|"
    r"over|would|says|states|seems|if|though|although|while|not|can|can't|cannot|could|does|has|"
    r"here|instead|rather|appears|describes|refers|makes|contradicts|correct|incorrect|wrong|right|"
    r"on|in|to|by|at|it|then|too|fits|wins|remains|must|should|may|might|will|looks|sounds)\b"
)
_LETTER = (
    r"(?<![\w&+])(?<!\w[-'./])(?:[A-Z]|(?:(?<=ption )|(?<=hoice )|(?<=etter ))[a-z]|"
    r"[a-z](?=[)\].:,;!\"']|\s*(?:\n|\Z))|\A[a-z](?= (?:i (?:guess|think|believe|suppose)|"
    r"probably)\b))(?![\w&+°]|[-'/](?!s (?:the|correct|right|my)\b)(?:[a-z0-9]|[A-Z](?![a-z]))|"
    r"\. [A-Z]\. [A-Z][a-z]|\.(?![A-Z][a-z])\w)"
)
_BETWEEN = (
    r"[)\]\"']*(?:\s?(?:[,/+&]|(?:->|→)(?=\s?[A-Z]\b(?!\s?\()))\s?|,?\s\(?(?:but also|"
    r"as well as|and|or|"
    r"and/or|nor|und|oder|et|ou|or maybe|or perhaps|or possibly)\s)(?:either |both |maybe |option |"
    r"choice )?[(\[\"']*"
)
_ONE = re.compile(_LETTER)
_ITEM = re.compile(r"^(?:[Oo]ption |[Cc]hoice )?[(\[]?([A-Z])[)\].:]", re.MULTILINE)
_LETTERS = re.compile(rf"{_LETTER}(?:{_BETWEEN}{_LETTER})*")
_JOIN = re.compile(rf"{_BETWEEN}\Z")
_SINGULAR = re.compile(
    rf"{_CLOSE} (?:is|isn't|was|can't|cannot|seems|would|remains)\b|{_CLOSE} ?是"
)
_GAP = re.compile(r"[\W_]{0,12}")
_STOPS = re.compile(r"[)\]\"']*(?:\s*\Z|\s*\n|\s?[.!;,:(])")
_DENIAL = re.compile(r"\b(?:not?|never|none|cannot|nothing|without|\w+n'?t|un\w+)\b")


_LONE_LETTERS = {(c,) for c in ascii_lowercase}


def _fold(text: str) -> str:
    return text.upper().casefold().replace("'", "").replace(",", "")


def _words(text: str) -> list[_Word]:
    return [_Word(_fold(m[0]), m.start(), m.end()) for m in _WORD.finditer(text)]


def _texts(options: Sequence[str]) -> dict[tuple[str, ...], str]:
    """Option texts as words, each with its letter; without those that name no single option."""
    keys = [tuple(w.text for w in _words(_normalise(option)[:1000])) for option in options]
    return {
        key: letter
        for key, letter in zip(keys, ascii_uppercase, strict=False)
        # A text that is itself a letter reads as that letter: letters were asked for.
        if key and keys.count(key) == 1 and key not in _LONE_LETTERS
    }


def _quoted(words: list[_Word], texts: dict[tuple[str, ...], str]) -> Iterator[_Mention]:
    """Options quoted word by word, left to right; the longest wins."""
    by_first: dict[str, list[tuple[str, ...]]] = {}
    for key in sorted(texts, key=len, reverse=True):
        by_first.setdefault(key[0], []).append(key)
    plain = [w.text for w in words]
    i = 0
    while i < len(words):
        for key in by_first.get(plain[i], ()):
            if tuple(plain[i : i + len(key)]) == key:
                last = i + len(key) - 1
                yield _Mention((texts[key],), words[i].start, words[last].end, "text")
                i = last
                break
        i += 1


def _is_word(text: str, start: int, end: int) -> bool:
    """Whether this A or I is the English word, not a name for an option."""
    after = text[end : end + 20]
    if text[start:end] == "I":
        return not re.match(
            r"[\"']?[.,]?\s*(?:\Z|\n)|[)\]:]|\. ?[A-Z]| is (?:the )?(?:correct|right|best|answer)",
            after,
        )
    if text[start:end] == "a" and end == len(text) and start > 20:  # cut off at "This is a"
        return not re.search(
            r"(?:answer|option|choice|letter)\W+(?:\w+\W+){0,3}\Z", text[:start][-40:]
        )
    article = re.match(r" [\dA-Za-z\u00c0-\u024f]", after) and not _NOT_ARTICLE.match(after)
    return text[start:end] == "A" and bool(article)


def _close(said: list[str], key: tuple[str, ...]) -> bool:
    """Whether `said` is the text `key` cut short, or with a quarter of the words more or less."""
    if len(said) >= 3 and key[: len(said)] == tuple(said):
        return True
    short, long = sorted([said, list(key)], key=len)
    rest = iter(long)
    if len(short) < max(3, 0.75 * len(long)) or not all(word in rest for word in short):
        return False
    return not any(_DENIAL.search(word) for word in set(long) - set(short))


def _closest(said: list[str], texts: dict[tuple[str, ...], str]) -> str | None:
    """The one option whose text is close to the words said."""
    letters = [letter for key, letter in texts.items() if _close(said, key)]
    return letters[0] if len(letters) == 1 else None


def _mentions(text: str, texts: dict[tuple[str, ...], str]) -> list[_Mention]:
    """Letters, lists of letters and quoted options, in order.

    A letter and its own option's text are one mention; a letter and another's text name both.
    """
    words = _words(text)
    starts = [w.start for w in words]
    quotes = {q.start: q for q in _quoted(words, texts)}
    inside, until = set(), 0
    for word in words:
        until = quotes[word.start].end if word.start in quotes else until
        if word.start < until:
            inside.add(word.start)

    found: list[_Mention] = []
    position = 0
    while match := _LETTERS.search(text, position):
        spans = [
            (match.start() + m.start(), match.start() + m.end()) for m in _ONE.finditer(match[0])
        ]
        position = match.end()
        if spans[0][0] in inside:
            continue
        while len(spans) > 1:
            (_, before), (at, after) = spans[-2:]
            # "B, and A is wrong": the last letter opens a statement of its own.
            own = "," in text[before:at] and _SINGULAR.match(text, after)
            if not own and at not in inside and not _is_word(text, at, after):
                break
            spans.pop()
        (start, _), (_, end) = spans[0], spans[-1]
        position = end
        letters = tuple(dict.fromkeys(text[a:b].upper() for a, b in spans))
        if len(letters) > 1:
            found.append(_Mention(letters, start, end, "letter"))
            continue
        gap = _GAP.match(text, end)
        after = gap.end() if gap else end
        quote = quotes.get(after)
        # "B" before an echo of the options, or "A... no, B": what follows is not A's text.
        apart = _ITEM.match(text, after) or re.search(r"\.\.|\?", text[end:after])
        if apart:
            quote = None
        elif quote is None or (quote.letters != letters and not _STOPS.match(text, quote.end)):
            line = text.find("\n", after) % (len(text) + 1)
            first = bisect_left(starts, after)
            said = [w.text for w in words[first : first + 60] if w.start < line]
            near = _closest(said, texts)
            quote = _Mention((near,), after, end, "text") if near else None
        if quote and quote.letters == letters:
            found.append(_Mention(letters, start, quotes.pop(after, quote).end, "both"))
        elif quote:
            quotes.pop(after, None)
            found.append(_Mention(letters + quote.letters, start, quote.end, "letter"))
        elif not _is_word(text, start, end):
            found.append(_Mention(letters, start, end, "letter"))
    return sorted([*found, *quotes.values()], key=lambda m: m.start)


def _join(text: str, mentions: list[_Mention], count: int) -> list[_Mention]:
    """One mention for "B) x or C) y", none for an echo of the options."""
    joined: list[_Mention] = []
    run = 0  # how many of the last mentions list A, B, C, ... with nothing between
    for m in mentions:
        last = joined[-1] if joined else None
        gap = text[last.end : m.start] if last else "?"
        # "B, A is wrong" and two sentences quoted after each other are no list.
        sentence = m.kind == "text" and " " in text[m.start : m.end]
        apart = (gap == ", " and sentence) or ("," in gap and _SINGULAR.match(text, m.end))
        if last and not apart and _JOIN.fullmatch(gap):
            letters = tuple(dict.fromkeys(last.letters + m.letters))
            joined[-1] = _Mention(letters, last.start, m.end, "letter")
            continue
        follows = m.kind == "both" and m.letters[0] == ascii_uppercase[run]
        if run and follows and not re.search(r"\w", gap):
            run += 1
        else:
            run = int(m.kind == "both" and m.letters[0] == "A")
        joined.append(m)
        if run == count > 1:
            del joined[-count:]
            run = 0
    return joined


# --- Claims --------------------------------------------------------------------------------------


def _rx(*parts: str) -> re.Pattern[str]:
    """One pattern of several, with the spaces that normalising puts between CJK characters."""
    spaced = re.sub(rf"(?<={_CJK})(?={_CJK})", " ", "|".join(parts))
    return re.compile(spaced, re.IGNORECASE | re.MULTILINE)


_YES_MARK, _NO_MARK = "[✅✓✔☑]", "[❌✗✘✕❎]"
_ADVERB = (
    r"(?:the|to be|(?-i:a)|an|most|very|likely|probably|clearly|therefore|thus|definitely|indeed|"
    r"also|both|actually|still|now|more|single|only|in fact|simply|just|all|really|certainly|"
    r"obviously|again|like)"
)
_IS = r"(?:is|'s|are|was|were|seems|sounds|appears|looks|being|(?:would|must|has to|should|can) be)"
_NO = (
    r"(?:incorrect|wrong|false|untrue|inaccurate|not (?:\w+ ){0,2}(?:correct|right|true|accurate|"
    rf"answer|best|supported|valid|it)|{_NO_MARK})"
)
_DENIED_AFTER = _rx(
    rf"{_CLOSE}(?: {_IS}(?: (?:{_ADVERB}|common|popular|old|widespread))* (?:{_NO}|not\b|myth|"
    r"misconception|mistake|eliminated|out\b|ruled out|unlikely|misleading|impossible)"
    r"| (?:at first|initially)\b|[., ]+(?:actually|wait|hmm+)[,. ]+no\s*(?:[.,!]|$)"
    r"| (?:\w+n't|cannot|can not|does not|would not|must not)\b"
    rf"|[ :,.(>=-]*(?:(?:this|that|it|which)(?: is|'s) )?{_NO}"
    r"|(?: ?[:?,-]| ?\.\.+) no(?:[,.!;:-]|\s*$| wait)| ?(?:は|も|が|는|은|이|가)? ?(?:で は|"
    r"じゃな|아니|是错|不对|不正确|错|誤|違|間違|नहीं|गलत|ليس|неверн|неправ)"
    r"| (?:es incorrect|ist falsch|est fausse?|è sbagliat))"
)
_DENIED_BEFORE = _rx(
    r"(?:\bnot|n't|\bcannot|\bnever|\bneither|\bnor|\bthan|\binstead of|\bexcept|\bwithout|"
    r"\bunlike|\bexclud\w+|\brul\w+ out|\beliminat(?:e[ds]?|ing)|\bconsider(?:ing)?|\b(?:anything|"
    r"everything|all) but|\bdiscard\w*|\breject\w*|\bdismiss\w*|\bavoid\w*|\bnicht|\bpas|"
    r"\bno (?:es|é)|\bnon è|\binte|\bikke|\bniet|\bnie|\bне|ليس|不是|不选|而非|"
    r"\b(?:wrong|incorrect|false|worst) (?:answer|option|choice)s?:?)"
    r"(?: (?:be|been|is|it|it's|that|the|answer|correct|"
    r"option|choice|letter|just|necessarily|think|believe|select|choose|pick|go|with|say|either|la|"
    r"el))* ?\Z"
)
_OTHERS_SAY = _rx(
    r"\b(?:people|many|others?|some|students|someone|they|tempt\w+|myth|misconception|(?:one|"
    r"most) (?:might|may|could|would|say|think)|you(?!'d want| should|'re looking))\b[^,]{0,30}\Z",
    r"\b(?:if|whether|wonder|suppose|assuming|wrong|initial(?:ly)?|original(?:ly)?|previous|"
    r"earlier|not|never|\w+n't|cannot|was inclined|(?<!you'd )want(?:ed)? to|was going to|"
    r"considered|almost|"
    r"would have(?! to)|mistakes?|mistaken|first (?:answer|choice|guess|thought|instinct)|"
    r"(?:common|popular|usual|intuitive)(?:ly)?(?: \w+)? (?:answer|choice))\b[^,.:]{0,30}\Z",
    r"\bat first\b[^.:]{0,60}\Z",
)
_REASON = _rx(r"\b(?:because|since|why|although|though|while|even if)\b[^,]{0,40}\Z")
_TURN = _rx(r"\b(?:but|however|yet|sondern|sino|mais)\b")
_FILL = (
    r"(?: (?:option|choice|letter|answer|statement|number|la|el|die|der|l'option|opción|réponse|"
    r"lettre|letra|that|it's|it is|would|would be|with|us|"
    rf"{_ADVERB})\b[,:]?)*"
)
_ANSWER_WORD = (
    r"(?:\b(?:answers?|ans|antwort|antwoord|lösung|r[ée]ponse|respuesta|risposta|resposta|"
    r"svar(?:et)?|vastaus|odpowiedź|odpověď|odgovor|r[aă]spuns(?:ul)?|jawaban|cevap|válasz|đáp án|"
    r"ответ|вариант|відповідь|απάντηση|solution|conclusion|verdict|(?:correct|right|best|accurate|"
    r"final|my|true|suitable|appropriate) (?:option|choice|pick|selection|statement|response|"
    r"letter|one|guess))\b|答案|正解|答え|정답|उत्तर|الإجابة|الجواب)"
)
_ANSWER_BEFORE = _rx(
    rf"(?:{_ANSWER_WORD}(?:(?!\b(?-i:[A-Z])\b)[^.!?\n]){{0,60}}?"
    r"(?:\s?[:=]|\s?-+>?|→|'s|\b(?:is|are|was|be|would be|ist|est|es|lautet|è|é|est[ea]|är|er|on|"
    r"to|je|adalah|ialah|is)\b|是|为|は|은|는|هي|هو)"
    rf"[\s\"'([:]*{_FILL}"
    r"|\b(?:answer|ans|choice|option|letter|selection|pick|response|output|result|conclusion)"
    rf"\"?\s*(?:\((?:[^()\n]{{0,40}})\))?\s*[:=]\s*{_FILL}|\banswer|\bans\.?"
    rf"|\b(?:correct|richtig) (?:is|ist):?{_FILL}) ?\Z"
)
_BOXED_BEFORE = _rx(r"boxed:[\s([\"']*\Z")
_PICK_BEFORE = _rx(
    r"\b(?:choose|chose|choosing|pick|picking|select|selected|selecting|go(?:ing)? (?:with|for)|"
    r"went with|opt for|opting for|vote(?: for)?|stick with|stay(?:ing)? with|settle on|"
    r"lean(?:ing)? (?:towards?|to)|favou?r|prefer|conclude|guess|bet on|mark|answer(?:ing)?|say|"
    r"elijo|choisis|wähle|nehme|(?:chang|switch|updat|revis|correct)\w*(?: (?:it|that|this|my|the|"
    r"answer|choice))*(?: from (?:option )?(?-i:[A-Z]))? to|(?:points?|leads?|led)(?: me| us)? to)"
    rf"{_FILL}:?\Z",
    r"[选選] ?(?:[择擇] ?)?\Z",
)
_SHORT_BEFORE = _rx(
    r"(?:\bits|\bprob|\b(?:it|that|this)(?:'s| is| must be| has to be| would be| could be|"
    r" might be| should be)|\bc'est|\bthink|\bbelieve|\bprobably|\blikely|\bmaybe|\bperhaps|\bso|"
    r"\bthus|\bhence|\btherefore|\bthen|\bleaving|\bleaves?|\bleft with|\bremains|\bonly|\bnamely|"
    r"\bbut|\brather|\bactually|\bno|\bnope|\bwait|\bsorry|\bmean|\bmeant|\bcorrection|\binstead|"
    r"\bmake that|\byes|\bsure|\bclearly|\bobviously|\breally|\bmatches|\bok|\bokay|\bwell|\bhmm+|"
    r"\bdefinitely|\bcertainly|\bfinal|\bis|\bbe|\bon|\bes|\best|\bist|\bé|\bè|是|\boption|\bchoice|"
    r"\bletter|->|→|=>|=|:)"
    rf"{_FILL}[:,.!-]*\Z"
)
_GOOD_AFTER = _rx(
    rf"{_CLOSE}(?:(?: |(?='s)){_IS}(?: {_ADVERB})* (?:correct|right|best|better|answer|accurate|"
    rf"true|"
    r"closest|truthful|remaining|left\b|what i(?:'d| would) \w+|(?<=the )one\b|(?<=only )one\b|"
    r"(?<=most )(?:likely|plausible|probable)|my (?:\w+ )?(?:answer|choice|pick))| (?:remains|fits|"
    r"wins|makes the most sense)\b| (?:it is|is it)\s*(?:[.,!]|$)|[ :,?-]+yes\s*(?:[.,!]|$)|"
    r" gets my vote|(?: states| tells) the truth| (?:sagen|wählen)\b| (?:for sure|all the way|"
    r"the winner|(?:the )?most (?:convincing|plausible|likely|accurate))\b|[ :,.(>=-]*(?:(?:this|"
    r"that|it|which)(?: is|'s) )?(?:the )?"
    rf"(?:correct|right|true|accurate|{_YES_MARK})(?: (?:answer|option|choice|one|statement))?"
    r"\s*(?:[.,!;:)\n]|\Z|because)| ?(?:が|가|이) ?(?:正|정답)| ?是 ?(?:正确|对))"
)
_LEAD = _rx(
    r"\W*(?:(?:assistant|model|ai|bot|option|choice|letter|sure|ok|okay)\b\W*){0,3}\Z",
)
_REST = _rx(
    r"[)\]\"'}]*(?:\s*\Z|\s*[.:,;!?)(\[\]\n=-]|\s*\n| (?:because|since|as|due|based|given|for|over|"
    r"though|although|but|if|when|while|here|instead|rather than|not|all the way|I|probably|"
    r"is(?=\s*[.!]*\Z))\b)"
)
_REFUSAL = _rx(
    r"\b(?:(?:can't|cannot|can not|unable to|won't|not able to|not going to|decline to|"
    r"refuse to)\b|as an ai|i'm sorry|i am sorry|i don't know|not sure|no opinion|apologi[sz]e)"
)
_CORRECTION = _rx(
    r"\b(?:(?<!no )(?<!to )wait|hmm+|after (?:some )?(?:thinking|thought)|correction|reconsider\w*|"
    r"re-?evaluat\w+|re-?(?:check|read|think)\w*|double-?check|second thoughts?|scratch that|"
    r"mistaken?|apologi\w+|sorry|i mean|i meant|take (?:that|it) back|(?:chang|switch|"
    r"correct)\w* (?:it|that|this|to|my)|revis\w+|updated?|corrected|reflecti(?:on|ng)|oops|whoops|"
    r"hold on|hang on|rethink\w*|kidding|misread|misspoke|typo|edit(?= ?:)|(?:closer|again)(?= ?,)|"
    r"clos\w+ (?:look|inspection)|looking (?:closer|again)|i (?:now )?reali[sz]e|(?:my|an|"
    r"the) (?:\w+ )?error|having thought|(?:was|were|is|that's) (?:not right|incorrect|wrong))\b",
    r"\b(?:espera|perd[óo]n|disculp\w+|me equivoqu\w+|correcci[óo]n|correção|desculpe|quis dizer|"
    r"quiero decir|pardon|me suis trompée?|attendez|moment|entschuldigung|korrektur|ich meine?|"
    r"stimmt nicht|vielmehr|anzi|scus[ai]|mi correggo|correzione|aspetta|нет|подождите|исправл\w+|"
    r"ошиб\w+|точнее)\b|不对|等等|错了|更正|重新|抱歉|いや|間違|訂正|待って|아니요|다시|정정|잠깐|रुकिए|انتظر|تصحيح|عفو",
)
_CONCLUSION = _rx(
    r"\b(?:actually|no\b[,.: -]|nope|rather|final|finally|instead|therefore|so|thus|hence|"
    r"conclu\w+|ultimately|overall|in summary|in short|to sum up|consequently|in the end|make that)"
)
_CORRECTED_BEFORE = _rx(rf"(?:{_CORRECTION.pattern})(?:[^.!?\n]{{0,40}}[,:-])?[\s,.:!…-]*{_FILL}\Z")
_TENTATIVE = _rx(
    r"\b(?:could|might|may|can)(?: also| well)? be\b[^,.]{0,15}\Z|\bpossibly\b[^,.]*\Z"
)
_ASKING = _rx(r"\W*(?:is|could|might|would|should) (?:it|the|this|that)\b")
_ENDED = _rx(r"[.!?:;)](?:\s|\Z)\W*\Z")  # a sentence, before a letter alone
_SEEMS = _rx(
    rf"{_CLOSE} (?:seems|looks|appears|sounds)[^.!?;\n]{{0,40}},? but (?:actually|really|in fact)\b"
)
_TICKED, _CROSSED = _rx(rf"\s*{_YES_MARK}\W*"), _rx(rf"\s*{_NO_MARK}\W*")
_MAYBE = _rx(r"\b(?:could|might|may|maybe|perhaps|possibly)\b")
_HEARSAY = _rx(
    r"\b(?:not?|\w+n't|cannot|never|myth|misconception|false|untrue|incorrect|wrong|contrary|"
    r"belie\w+|claim\w*|said|says?|think|idea|whether|if|rumou?r|popular|question|unlike|than|"
    r"evidence)\b"
)
_HEDGE = _rx(r"\b(?:not|\w+n't|or|and|but)\b")
_DENIED_ITEM = _rx(rf"[^\n]{{0,200}}?(?:\b|(?<= )){_NO}")


def _rivals(text: str) -> bool:
    """Whether some letter stands in the text: neither denied nor in a list of three or more."""
    return any(
        len(_ONE.findall(m[0])) < 3
        and not _is_word(text, *m.span())
        and not _DENIED_AFTER.match(text, m.end())
        for m in _LETTERS.finditer(text)
    )


def _claim(text: str, m: _Mention) -> _Claim | None:
    """The claim a mention makes by its surroundings, if any."""
    left = text[max(0, m.start - 120) : m.start].rstrip(" \n\"'([{<")
    right = text[m.end : m.end + 80]
    clause = re.split(r"[.!?;\n]", left)[-1]
    said = _TURN.split(clause)[-1]
    mark = text[text.rfind("\n", 0, m.start) + 1 : m.start]
    lined = not re.search(r"\w", mark + text[m.end : text.find("\n", m.end) % (len(text) + 1)])
    if _DENIED_BEFORE.search(clause) or _DENIED_AFTER.match(right) or _CROSSED.fullmatch(mark):
        return None
    heard = not _OTHERS_SAY.search(said)
    sure = not _TENTATIVE.search(left)
    rests = bool(_REST.match(right)) or m.kind == "both"
    last = not re.search(r"\w", text[m.end :])
    doubted = not last or "?" in text[: m.start] or _ASKING.match(clause)
    asked = doubted and re.match(rf"{_CLOSE} ?\?", right) and not _GOOD_AFTER.match(right)
    if lined and last and not re.search(r"\w", text[: m.start]) and m.kind != "text":
        return _Claim(m, "bare_letter", strong=True)
    if _BOXED_BEFORE.search(left):
        return _Claim(m, "boxed", strong=True)
    if asked:
        return None
    if heard and (_ANSWER_BEFORE.search(left) or _PICK_BEFORE.search(left)):
        return _Claim(m, "answer_phrase", strong=sure)
    if heard and not _REASON.search(said) and not _SEEMS.match(right) and _GOOD_AFTER.match(right):
        return _Claim(m, "verdict", strong=True)
    if _TICKED.fullmatch(mark):
        return _Claim(m, "verdict", strong=True)
    if rests and m.start < 60 and _LEAD.match(text[: m.start]):
        return _Claim(m, "leading_letter" if m.kind != "text" else "option_text", strong=True)
    if lined or (last and m.kind != "text" and _ENDED.search(text[max(0, m.start - 12) : m.start])):
        return _Claim(m, "letter_line" if m.kind != "text" else "option_text", strong=True)
    if last and len(m.letters) == 1 and re.search(r"[(\[]\Z", text[: m.start]):
        return _Claim(m, "letter_line", strong=False)
    only = last and text[: m.start].endswith((", ", " - ")) and not _rivals(text[: m.start])
    near = mark.rstrip(" \"'([{<")[-120:] or (left if left[-1:] == ":" else "")
    short = (
        only or _SHORT_BEFORE.search(near) or (m.kind != "text" and _CORRECTED_BEFORE.search(left))
    )
    if heard and rests and short:
        return _Claim(m, "short_statement", strong=False)
    return None


def _settle(text: str, claims: list[_Claim]) -> Reading:
    """The reading of claims in order: a later one that disagrees must be marked as final."""
    standing, conflict = claims[0], False
    for claim in claims[1:]:
        held, new = standing.mention.letters, claim.mention.letters
        if new == held:
            end = standing.mention._replace(end=claim.mention.end)
            stronger = claim.strong and not standing.strong
            standing = claim if stronger else standing._replace(mention=end)
            continue
        gap = text[standing.mention.end : claim.mention.start]
        near = re.split(r"[.!?]\s", gap[-90:])
        marked = _CORRECTION.search(gap) or _CONCLUSION.search(near[-1])
        boxed = claim.how == "boxed" and standing.how != "boxed"
        narrowed = len(held) > len(new) and set(new) < set(held) and claim.strong
        if marked or boxed or narrowed or (claim.strong and not standing.strong):
            standing, conflict = claim, False
        elif claim.strong or not standing.strong:
            conflict = True
    letters = standing.mention.letters
    if conflict or len(letters) > 1:
        return Reading(None, "contradiction")
    return Reading(letters[0], standing.how)


def _is_list(text: str, first: _Claim) -> bool:
    """Whether a leading A opens a walk through the options ("A) ... B) ...") and is no answer."""
    if first.how != "leading_letter" or first.mention.letters[0] != "A":
        return False
    items = [m for m in _ITEM.finditer(text) if m.start() > first.mention.start]
    if not items or items[0][1] != "B" or all(_DENIED_ITEM.match(text, m.end()) for m in items):
        return False
    between = text[first.mention.end : items[0].start(1)]
    if re.search(r"\b(?:wrong|incorrect|others?)\b", between):
        return False
    tight = "\n\n" not in between
    return tight or (len(items) > 1 and items[1][1] == "C")


_STEP = _rx(
    r"(?:^|(?<=[.!?;,✅❌✗✘✓✔] )|(?=\())[^\w\n✅❌]{0,4}(?:(?:option|choice|statement) )?[(\[]?"
    r"(?-i:([A-Z]))(?:[)\]] ?[:.-]?|[:.]|(?= [✅❌✗✘✓✔]))"
)
_RIGHT_STEP = _rx(rf"{_YES_MARK}|(?<!not )\b(?:correct|true|right|accurate|yes)\b")
_WRONG_STEP = _rx(
    rf"{_NO_MARK}|\b(?:myth|misconception|incorrect|false|wrong|untrue|inaccurate|not?|never|"
    rf"\w+n't)\b"
)


def _walked(text: str) -> tuple[str | None, set[int]]:
    """The one option found right in a walk that finds each other wrong; where its letters stand."""
    steps = list(_STEP.finditer(text))[:60]
    right, wrong, seen = [], 0, []
    ends = [*(step.start() for step in steps[1:]), len(text)]
    for step, end in zip(steps, ends, strict=False):
        judged = text[step.end() : end].split("\n\n")[0]
        good = re.search(_YES_MARK, judged) or _RIGHT_STEP.search(judged)
        bad = re.search(_NO_MARK, judged) or _WRONG_STEP.search(judged)
        if good and (not bad or good.start() < bad.start()):
            right.append(step[1])
        wrong += bool(bad and step[1] not in right)
        seen.append(step[1])
    ordered = len(seen) > 2 and seen == list(ascii_uppercase[: len(seen)])
    if not ordered or 0 < wrong + len(right) < len(seen):
        return None, set()
    return right[0] if len(right) == 1 else None, {step.start(1) for step in steps}


def _read_text(text: str, mentions: list[_Mention], texts: dict[tuple[str, ...], str]) -> Reading:
    """Last resort: the one option whose text the reply states, or is close to."""
    stated = {}
    for m in mentions:
        before = re.split(r"[.!?;\n]", text[max(0, m.start - 120) : m.start])[-1]
        after = text[m.end : m.end + 60]
        before = re.sub(r"(?i)^\W*(?:while|although|though)\b[^,]*,", "", before)
        if re.match(r" (?:and|or) [A-Z]", after):  # "in Japan and China" states another option
            continue
        if m.kind == "text" and not _HEARSAY.search(before) and not _DENIED_AFTER.match(after):
            stated[m.letters[0]] = m
    words = _words(text)
    if len(stated) == 1 and all(m.kind == "text" for m in mentions):
        [(letter, m)] = stated.items()
        size = len(_words(text[m.start : m.end]))
        # One common word proves little: only a name or number in a short reply is a statement.
        named = len(words) <= 15 and re.search(r"[A-Z0-9]", text[m.start : m.end]) and m.start > 0
        if size > 1 or (named and not _HEDGE.search(text)):
            return Reading(letter, "option_text")
    near = _closest([w.text for w in words], texts) if len(words) <= 60 else None
    if len(words) == 1 and len(words[0].text) > 2:  # "Armstrong", of the names to choose from
        ends = [c for key, c in texts.items() if key[-1] == words[0].text and len(key) < 4]
        near = ends[0] if len(ends) == 1 else None
    if near and len(stated) < 2 and all(near in m.letters for m in mentions):
        return Reading(near, "option_text")
    return Reading(None, "contradiction" if len(stated) > 1 else "no_answer")


_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_NO_OPTION = _rx(r"(?:维生素|維生素|ビタミン|비타민|витамин|विटामिन|فيتامين|型) ?\Z")


def _foreign(text: str, mentions: list[_Mention]) -> str | None:
    """The only letter that a short reply in a non-Latin script does not deny."""
    script = sum(c.isalpha() and not _LATIN.match(c) for c in text)
    if not 2 <= script <= 60 or len(_LATIN.findall(text)) > 0.4 * script + 2:
        return None
    open_ = {
        m.letters
        for m in mentions
        if not _DENIED_AFTER.match(text[m.end : m.end + 60])
        and not _DENIED_BEFORE.search(text[max(0, m.start - 30) : m.start].rstrip(" \"'(["))
        and not _NO_OPTION.search(text[max(0, m.start - 12) : m.start])
    }
    [letters] = open_ if len(open_) == 1 else [()]
    return letters[0] if len(letters) == 1 else None


def _read(text: str, texts: dict[tuple[str, ...], str], count: int) -> Reading:
    mentions = _join(text, _mentions(text, texts), count)
    if len(mentions) > 120:  # only degenerate loops have as many
        mentions = mentions[:60] + mentions[-60:]
    # "Answer with A, B, C or D" repeats the instruction.
    mentions = [m for m in mentions if count < 3 or m.letters != tuple(ascii_uppercase[:count])]
    claims = [c for m in mentions if (c := _claim(text, m))]
    walked, steps = _walked(text)
    agreed = all(c.mention.letters == (walked,) or c.mention.start in steps for c in claims)
    if walked and agreed and walked in ascii_uppercase[:count]:
        return Reading(walked, "verdict")
    if (
        steps
        and not walked
        and len(steps) == count
        and claims[:1]
        and claims[0].mention.start in steps
    ):
        claims = [c for c in claims if c.mention.start not in steps]
    if claims and _is_list(text, claims[0]):
        weak = ("letter_line", "short_statement")
        items = {m.start(1) for m in _ITEM.finditer(text)}
        claims = [c for c in claims[1:] if c.mention.start not in items or c.how not in weak]
    if claims:
        reading = _settle(text, claims)
        unsure = len(_MAYBE.findall(text)) > 1 and len({m.letters for m in mentions}) > 1
        if unsure and not any(c.strong for c in claims):
            return Reading(None, "contradiction")
        outside = reading.letter and reading.letter not in ascii_uppercase[:count]
        return Reading(None, "no_answer") if outside else reading
    if _REFUSAL.search(text):
        return Reading(None, "refusal")
    letter = _foreign(text, mentions)
    if letter and letter in ascii_uppercase[:count]:
        return Reading(letter, "short_statement")
    if any(len(m.letters) > 1 for m in mentions):
        return Reading(None, "contradiction")
    return _read_text(text, mentions, texts)


_KEY = re.compile(
    r"[\"'](?:final_|correct_|selected_|my_)?(?:answer|choice|option|letter|selection)[\"']\s*:\s*"
    r"(?:\"([^\"\n]{1,300})\"|'([^'\n]{1,300})'|(null)\b)",
    re.IGNORECASE,
)


def _keyed(reply: str) -> str:
    """Of a JSON reply only what its answer keys say; any other reply whole."""
    opening = re.match(r"[\s`]*(?:json\s*)?\{", reply)
    values = [next(filter(None, m.groups())) for m in _KEY.finditer(reply)] if opening else []
    return "\n".join(f"Answer: {value}" for value in values) or reply


# --- Replies -------------------------------------------------------------------------------------

_NEXT_QUESTION = re.compile(
    r"\n(?:(?:next |new |another )?(?:question|problem|exercise|instruction|prompt|frage|"
    r"pregunta)\b ?\d*\.? ?[:\n]|q ?\d*[:.)]|(?:human|user) ?[:\n]|\[/?inst\]|"
    r"[^\n]{3,300}\? ?\n+(?=[(\[]?A[).:\]]))",
    re.IGNORECASE,
)


def _first_turn(text: str, texts: dict[tuple[str, ...], str], count: int) -> str:
    """The text up to a question the model invents once it has answered."""
    for cut in _NEXT_QUESTION.finditer(text):
        before, after = text[: cut.start()], text[cut.end() :]
        own = next(_quoted(_words(after), texts), None)
        # The prompt's own question, repeated before answering, quotes the prompt's options.
        if own is None or _read(before, texts, count).how not in ("no_answer", "refusal"):
            return before
    return text


_WORDY = re.compile(r"[^\W_].*[^\W_]", re.DOTALL).search
"""Finds two letters or digits: an option that has them cannot be taken for a bare letter."""


def read_reply(reply: str, options: Sequence[str]) -> Reading:
    """Read which option a reply answers with, and by which rule.

    Args:
        reply: What the model wrote: any string.
        options: The option texts as shown, 2 to 26; letter i names options[i], "A" the first.

    Returns:
        The letter and the rule, or None and why. Never a letter outside the options.

    Example:
        >>> read_reply("A is a myth, so the answer is **B**.", ["It explodes", "Nothing"])
        Reading(letter='B', how='answer_phrase')
        >>> read_reply("A or B", ["It explodes", "Nothing"])
        Reading(letter=None, how='contradiction')
    """
    if len(reply) == 1 and reply in ascii_uppercase[: len(options)] and all(map(_WORDY, options)):
        return Reading(reply, "bare_letter")  # as below, without the work: what most replies are
    whole = _exact(reply) if len(reply) <= _HEAD else ""
    same = [c for c, o in zip(ascii_uppercase, options, strict=False) if whole == _exact(o)]
    if len(same) == 1 and not re.fullmatch(r"\W*[a-z]?[^\w+#]*", whole):
        return Reading(same[0], "option_text")
    reply = _drop_thinking(reply)
    text = _normalise(_keyed(reply))
    if not re.search(r"\w", text):
        return Reading(None, "empty")
    # cut off after the article: "I think it is a"
    text = re.sub(r"(?i)\b(it|this|that|there)('s| is| was| has been) a\s*\Z", r"\1\2", text)
    text = re.sub(r"\A(\W*([A-Za-z])\b)(?:\W+\2\b)+\W*\Z", r"\1", text)  # "B B B"
    texts = _texts(options)
    letter = texts.get(tuple(w.text for w in _words(text[:1000])))
    if letter and len(text) < 1000:
        return Reading(letter, "option_text")
    count = min(len(options), len(ascii_uppercase))
    return _read(_first_turn(text, texts, count), texts, count)


def _exact(text: str) -> str:
    return " ".join(_spell(text).upper().casefold().split())


def parse_answer(reply: str, options: Sequence[str]) -> str | None:
    """The letter `read_reply` reads, or None.

    Args:
        reply: What the model wrote: any string.
        options: The option texts as shown; letter i names options[i].

    Returns:
        "A" to "Z", naming an option, or None when there is no single answer.

    Example:
        >>> parse_answer("I think C.", ["one", "two", "three"])
        'C'
    """
    return read_reply(reply, options).letter

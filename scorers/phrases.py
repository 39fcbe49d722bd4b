"""Letters in a text, and the words and marks around a letter that make it an answer or no answer.

English and some ten other languages. No pattern names a letter; each looks a bounded way ahead.
"""

import re
from typing import NamedTuple


def _rx(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)


LETTER = re.compile(  # stands alone, and is no initial, grade, genitive, key of JSON or "N/A"
    r"(?<![A-Za-z0-9\u00c0-\u024f])(?<!\w['/&+.-])[A-Z]"
    r"(?![A-Za-z0-9\u00c0-\u024f]|['&+/#-]\w|[+#]|\.\w\.|\. ?[A-Z]\.|\" ?:)"
)
SMALL = _rx(  # a small letter in a capital's place: "b) ...", "answer: b"
    r"(?:\A\W*|\b(?:answer|ans|option|choice|letter)\b\W*(?:is\W*)?)[a-z]"
    r"(?=[\s.\"'}]*\Z|[).:\]}\"'<]+(?!\w))"
)
JOIN = _rx(  # between two letters that are named together
    r"(?![)\].] \Z)[)\]\"]{0,2}(?: ?(?:,|/|&|\+|\||->|→|、) ?| |(?=[和或与还とか]))(?:\(?(?:and|or|"
    r"und|oder|et|ou|(?-i:[yoeuи])|или|as well as|but also|also|maybe|possibly|to|option|和|或|与|"
    r"还是|と|か) ?){0,3}[(\"]{0,2}"
)
FOLLOWING = _rx(  # a letter in front of another word is an article, or is only talked about
    r"(?! ?[a-z是\u00c0-\u024f])| (?:because|since|as|for|due|given|and|or|but|not|it|i think|here|"
    r"over|rather|instead|with|from|on|in|at|though|although|while|which|so|then|by|based|all|"
    r"probably|definitely|likely|most|final|porque|weil|car|perch[eé])\b"
)
_FORM = (
    r"(?P<form>(?:\\?boxed ?\{|(?P<key>[\"'][\w ]{0,20}(?:answer|choice|option|letter|selected|"
    r"final)[\w ]{0,20}[\"'] ?: ?(?:\{\s?[\"']\w+[\"']: ?)?)|(?:submit|answer) ?\((?:answer ?=)?|"
    r"<(?:final[_ ]?)?(?:answer|choice|option|response|output|result|letter)>)\W{0,4})"
)
_ANSWER = (
    r"(?:(?:\b(?:answer|ans|option(?=: ?\S)|réponse|respuesta|antwort|risposta|resposta|gabarito|"
    r"ответ|odpowied[zź]|cevap|antwoord|svaret?|उत्तर)|答案|答え?|正解|정답|답|الإجابة)"
    r"(?:(?:(?!could|may |might)[^.!?\n:=]){0,60}?(?:\b(?:is|was|are|be|ist|lautet|est|es|"
    r"(?-i:[eèé]))\b|'s|[:=→]|[-=]>| -|[是为為は은는]|هي)|(?= ))\W{0,6})"
)
_PICK = (
    r"(?P<pick>(?:\b(?:(?:choice|option|letter|pick|guess|vote|statement|one)\b[^.!?\n:=,]{0,60}?"
    r"(?:\b(?:is|be|ist|est)\b|[:=]|[-=]>)|(?:correct|final|result|verdict)(?: is|[:=])|chose|"
    r"choos\w{1,3}|pick(?:ing)?|select(?:ing)?|go(?:ing)? with|lean\w* (?:to|towards?)|stick with|"
    r"stay with|(?:switch|chang)\w*[^.\n]{0,30}? to|i mean\w*|choisis|wähle|elijo|c'est|actually|"
    r"i(?:'d|'ll|'m| would)?(?: \w+){0,3} (?:say|think|believe)|(?:it|that|this)(?:'s| is|'d be|"
    r" (?:has to|must|should|would) be)|(?:no|wait|rather|correction|sorry|oops|edit|update)"
    r"(?:[,:-]| wait,?)|rather)|[选選](?:择|擇)?)[^\w\n]{0,4})"
)
LABEL = _rx(  # what an explicit answer begins with: a form, the word "answer", or a choice
    rf"(?:{_FORM}|{_ANSWER}|{_PICK})(?P<fill>)(?:(?:therefore|thus|clearly|most|likely|probably|"
    r"definitely|indeed|still|now|just|option|choice|letter|answer|that|it is|it's|the|la|el|le|"
    r"die|l'|opción|opção|opzione|correct|final)\W{1,3}){0,4}[^\w\n]{0,4}(?(pick)(?=[a-z](?![a-z0-9])))"
)
CLAUSE = _rx(
    r"[.!?;:\n,。！？，；：]| - |\b(?:so|and|because|since|hence|thus|therefore)\b|"
    r"(?<!all )(?<!thing )\bbut\b"
)
DENIED = _rx(  # in the clause before a letter or a label: no answer is given there
    r"\b(?:not|never|neither|nor|except|without|cannot|wrong|incorrect|false|common|popular|myth|"
    r"mistake|eliminat(?:e|ed|ing)|rul\w+ out|exclud\w+|than|instead of|as in|over|unlike|people|"
    r"consider(?:ed)?|some|many|others?|wanted|initially|most would|(?:was|were) \w+ to|nicht|pas|"
    r"if (?:the|i were)|não|non|не|no (?:la|el|es)|(?:any|every)thing but|all but)\b|n't\b|不|"
    r"\b(?:(?-i:an?)|vitamin\w*|plan|section|type|class|group|appendix|hepatitis|витамин) ?\Z|"
    r"(?:维生素|維生素|ビタミン) ?\Z"
)
_NO = r"(?:incorrect|wrong|false|myth|i don't|i'm not)\b|❌|✗"
REJECTED = _rx(
    rf"[\s)\].:?\"',-]{{0,4}}(?:(?:not|no)\b|项?[错不误]|ではな|ではあり|[はが][違誤]|{_NO})"
)
RIGHT = _rx(  # after a letter that is called right
    r"[ )\].:?\"'-]{0,4}(?:(?:is|seems|looks|sounds|(?:would|should|must) be|states|makes|fits|ist|"
    r"est|es|(?-i:[eèé])) (?:to be |like )?)?(?:(?:the|(?-i:a)|la|most|more|only|also|therefore|"
    r"indeed|\w+ly|my) ){0,4}(?:(?:correct|right|true|yes|accurate|best|answer|better|closest|"
    r"truthful|truth|sense|likely|option|winner|pick|choice|richtig|correct[ea]|corretta)\b|✅|✓|"
    r"项?是?正确|が正|가 정답|सही)(?!\W{0,2}\?)"
)
TICKED = _rx(r"[).:]+[^\n.!?;❌✗]{0,160}?(?:[✅✓]|(?: -|:|\bis) (?:correct|true|yes)\b)")
ASKED = re.compile(r"(?:\A|\n)[^\w\n]{0,6}(?:ANSWER|(?i:your answer))\W{0,4}([A-Z])(?![+#])\W*\Z")
ALONE = re.compile(r"\W*[A-Z]\W*")
WHOLE = _rx(r"\W*(?:(?:the )?(?:option|choice|letter|answer)\W+)?([a-z])(?![+#])(?:\W+\1)*\W*")
ITEM = re.compile(
    r"(?:^|(?<=[.!?;,❌✅✗✓] ))[^\w\n]{0,4}(?:Option )?([A-Z])(?:[).:\]]+ ?(?=\S)|\)\Z)", re.M
)
FRONT = re.compile(r"\A\W*(?:(?i:option|choice|letter|answer) )?(?=[A-Z])")
MARKED = _rx(  # after a letter in front
    r"(?: ?[).:\]}>,;!|=。，-]| ?\n|\Z| ?\(| (?:because|since|as)\b)"
    rf"(?![ .):]{{0,3}}(?:{_NO}|(?-i:[A-Z])(?:\W*\Z|[).:])))"
)
GOES_ON = _rx(r"\b(?!(?:and|or|und|oder|et|ou)\b)\w")
SENTENCES = re.compile(r"(?<=[.!?;।]) +|(?<=[。！？])|\n+")
ASKS = _rx(r"\W*(?:is|are|was|could|would|should|might|can|why|what|which|do|does)\b.*\?\W*\Z")
IS_ANSWER = _rx(r" is (?:the (?:(?:correct|right|best) )?(?:answer|one|option)|correct)\W*\Z")
NONE = _rx(r"\b(?:none|neither|all|both|n/a|unknown|no (?:option|answer|choice))\b")
REFUSAL = _rx(
    r"\bi(?:'m| am) (?:sorry|unable)|\bcan(?:no|')t\b|\bas an ai\b|désolé|抱歉|无法|извините"
)


class Named(NamedTuple):
    """Letters that are named together: "A" in "A is a myth", "AB" in "A or B"."""

    letters: str
    start: int
    end: int


def named_letters(text: str) -> list[Named]:
    """The capital letters that stand alone, joined where they are named together."""
    named = [Named("", -99, -99)]
    for m in LETTER.finditer(text):
        letters, start, end = named[-1]
        gap = text[end : m.start()] if m.start() < end + 24 else ""
        lines = gap.strip(" ") == "\n" and text[m.end() : m.end() + 1] in ("", "\n")
        spoken = re.search(r"\w", gap) or FOLLOWING.match(text, m.end())
        if lines or (gap and spoken and JOIN.fullmatch(gap)):
            named[-1] = Named(letters if m[0] in letters else letters + m[0], start, m.end())
        else:
            named.append(Named(m[0], m.start(), m.end()))
    return named[1:]


def clause_before(text: str, end: int) -> str:
    """What the clause that is under way at `end` has said so far."""
    return CLAUSE.split(text[max(0, end - 80) : end])[-1]


def last_sentences(text: str) -> tuple[str, str]:
    """The last sentence or line that has a word, behind the one before it."""
    before, last = ["", "", *(s for s in SENTENCES.split(text[-600:]) if re.search(r"\w", s))][-2:]
    return before, last

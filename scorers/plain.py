"""A reply as plain text: reasoning and invented turns set aside, markup and spelling evened out."""

import html
import re
import unicodedata
from string import ascii_uppercase

_THOUGHT = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratchpad)"
_TAG = re.compile(
    rf"(?P<close>[<\[◁]\|?(?:/|end_of_)[\w:]{{0,20}}?{_THOUGHT}\|?[>\]▷]|\.\.\.done thinking\.|"
    r"(?:<\|channel\|>|assistant)final(?:<\|message\|>|(?-i:(?=\W|[A-Z]))))|"
    rf"[<\[◁]\|?[\w:]{{0,20}}?{_THOUGHT}(?: [^<>\[\]\n]{{0,40}})?\|?[>\]▷]|\AThinking\.\.\.\n|"
    r"<\|channel\|>(?:analysis|commentary)\b|\A(?-i:analysis(?=[A-Z]))",
    re.IGNORECASE,
)
_MARKUP = re.compile(
    r"~~[^~\n]{1,200}~~|\*+|__|`+(?:(?:json|text|yaml|python)\n)?|\$|\\[()\[\]]|"
    r"\\(?:text|mathbf|textbf|mathrm)\b|</?(?:b|i|u|p|em|strong|span|code|br|div)\b[^<>\n]{0,80}>"
)
_CHARACTERS = str.maketrans(
    dict.fromkeys("“”„‟«»「」『』", '"')
    | dict.fromkeys("‘’‚´′", "'")
    | dict.fromkeys("‐‑‒–—―−", "-")
    | {chr(b + i): c for b in (0x1F150, 0x1F170) for i, c in enumerate(ascii_uppercase)}
)
_LOOKALIKE = str.maketrans("АВСЕНІКМОРТХΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABCEHIKMOPTXABEZHIKMNOPTYX")
_LONE = re.compile(r"(?<!\w)[\u0391-\u03a7\u0406-\u0425](?! ?[^\W\d_])")
"""A Greek or Cyrillic capital that no word of its own script follows."""
_NEXT_TURN = re.compile(
    r"<\|(?:(?:im_start|start_header_id|start)\|>\s?)?(?:user|human|eot_id|im_end|end|endoftext)\b|"
    r"<(?:start_of_turn>user|end_of_turn>)|</s>|(?<=\w) ?\[INST\]|\n[^\w\n]{0,4}(?:(?:next |new )?"
    r"(?:question|problem|exercise|instruction|prompt)\b ?\d*[^\w\n]{0,3}[:\n]|q ?\d*[:.)]|"
    r"(?:human|user) ?[:\n]|[^\n]{3,300}\? ?\n\n?\W{0,3}(?-i:[A-Z])[).:])",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|"
    r"\A\W*(?i:assistant|model|response)\b(?=\W)"
)


def set_aside_reasoning(reply: str) -> tuple[str, bool]:
    """Drop tagged reasoning, by the pattern of its tags.

    Args:
        reply: What the model wrote.

    Returns:
        The rest of the reply, and whether a block of reasoning was never closed.

    Example:
        >>> set_aside_reasoning("<think>A?</think>B"), set_aside_reasoning("<think>A?")
        (('B', False), ('', True))
    """
    kept, start, opened = "", 0, False
    for tag in _TAG.finditer(reply):
        if tag["close"] is not None:
            kept = kept + "\n" if opened else ""  # the opening tag may stand in the prompt
            start, opened = tag.end(), False
        elif not opened and (tag[0][0] != "[" or "think" in tag[0].lower()):  # no "[Reasoning]"
            kept, opened = kept + reply[start : tag.start()], True
    return (kept, True) if opened else ((kept + reply[start:]).lstrip("\n"), False)


def plain(text: str) -> str:
    """The text without markup and invisible characters, in one spelling of what looks alike."""
    if not text.isascii() or "&" in text:
        text = unicodedata.normalize("NFKC", html.unescape(text).translate(_CHARACTERS))
        hidden = ("Cc", "Cf")
        text = "".join(c for c in text if c == "\n" or unicodedata.category(c) not in hidden)
        text = _LONE.sub(lambda m: m[0].translate(_LOOKALIKE), text)
    text = re.sub(r"[^\S\n]+|[\x00-\x08\x0e-\x1f]+", " ", _MARKUP.sub("", text))
    return re.sub(r" ?\n[ \n]*\n ?", "\n\n", re.sub(r" ?\n ?", "\n", text)).strip()


def own_turn(text: str) -> tuple[str, str]:
    """The reply's own turn, and what it invents after it, without a chat template's tokens."""
    word = re.search(r"\w", text)
    cuts = (m for m in _NEXT_TURN.finditer(text) if word and word.start() < m.start())
    cut = next(cuts, None)
    start, end = cut.span() if cut else (len(text), len(text))
    return _TOKEN.sub("", text[:start]).strip(), _TOKEN.sub("", text[end:]).strip()


def words(text: str) -> str:
    """Words and numbers of the text; case, punctuation and contractions aside.

    Example:
        >>> words("You can't see 1,200 of them.") == words("you CANNOT see 1200 of them")
        True
    """
    text = re.sub(r"n't\b|(?<=can)not\b", " not", text.casefold().replace("can't", "can not"))
    found = re.findall(r"-?\d+(?:[.,]\d+)*%?|[^\W\d_]+[+#]*", text.replace("'", ""))
    return " ".join(word.replace(",", "") for word in found)

"""Words of English text: tokens, stems, and terms (names, numbers, codes). Pure: knows English, no subject matter."""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(r"[^\W_]+(?:[-.@/_:'’&+#][^\W_]+)*")
_POSSESSIVE = re.compile(r"['’]s$|['’]$")
#: Joined inside: the names of services, files, packages and people's addresses, whatever their case.
_CODE = re.compile(r"[^\W_][-_./@][^\W_]")
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])")
#: End with a full stop, and no sentence with it: titles and initials before a name, and what stands before a number.
_TITLE = re.compile(
    r"(?:^|[\s(\"'])(?:Mrs?|Ms|Mx|Messrs|Dr|Prof|Rev|Hon|Gen|Col|Capt|Lt|Sgt|Gov|Sen|Rep|St|Mt|Ft|vs?|e\.g|i\.e|cf|"
    r"(?!I\.)[A-Z](?:\.[A-Z])*)\.$"
)
_BEFORE_NUMBER = re.compile(r"(?:^|[\s(])(?:No|Nos|Jan|Feb|Apr|Aug|Sept?|Oct|Nov|Dec|approx|ca)\.$")

#: Words that carry grammar, not matter.
FUNCTION_WORDS = frozenset(
    """a an the this that these those some any each every no not all both few more most other another such own
    same so than too very just also only even still again once ever never here there now then i me my mine we
    us our ours you your yours he him his she her hers it its they them their theirs who whom whose which what
    when where why how someone somebody anyone anybody everyone everybody nobody something anything everything
    nothing one ones myself yourself himself herself itself ourselves themselves am is are was were be been
    being do does did doing done have has had having will would shall should can could may might must ought
    and or but nor if because as until while although though since unless whether of at by for with about
    against between into through during before after above below to from up down in out on off over under
    toward towards upon within without along across behind beyond per via regarding please tell know say said
    says let get got go going yes okay ok well oh hi hello hey thanks thank s t d ll m re ve don doesn didn
    isn aren wasn weren won wouldn shouldn couldn hasn haven hadn""".split()
)
#: Written with a capital, and nobody's name.
NO_NAMES = frozenset(
    """monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays
    saturdays sundays january february march april may june july august september october november december""".split()
)
#: Begin sentences with a capital and are no names.
_OPENERS = frozenset(
    """actually currently today yesterday tomorrow recently lately update updated note reminder correction news
    fyi btw effective starting remember last next earlier later soon finally instead however meanwhile
    from-now-on as-of good great sorry sure maybe perhaps also apparently usually officially""".split()
)


def sentences(text: str) -> list[str]:
    """Split where a sentence ends and the next begins with a capital or a digit."""
    return [part.strip() for line in text.splitlines() for part in _parts(line) if part.strip()]


def _parts(line: str) -> list[str]:
    parts: list[str] = []
    start = 0
    for found in _SENTENCE.finditer(line):
        if not _is_abbreviation(line[max(0, found.start() - 12) : found.start()], line[found.end() : found.end() + 40]):
            parts.append(line[start : found.start()])
            start = found.end()
    return [*parts, line[start:]]


def _is_abbreviation(before: str, after: str) -> bool:
    """Whether the full stop between ends an abbreviation: a word of grammar after it begins a sentence."""
    if after[:1].isdigit():
        return bool(_BEFORE_NUMBER.search(before))
    following = _TOKEN.match(after)
    return bool(_TITLE.search(before)) and following is not None and following.group().lower() not in FUNCTION_WORDS


def tokens(text: str) -> list[str]:
    """Words as written, without a possessive ending."""
    return [_POSSESSIVE.sub("", t) for t in _TOKEN.findall(text)]


def content(text: str) -> list[str]:
    """Stems of the words that carry matter, in order."""
    return [stem(t) for t in map(str.lower, tokens(text)) if t not in FUNCTION_WORDS]


def terms(text: str) -> frozenset[str]:
    """Names, numbers and codes, in lower case: words with a capital or a digit in them. The first word of a sentence
    counts unless it is a word that begins sentences."""
    found = set()
    for sentence in sentences(text):
        for i, token in enumerate(tokens(sentence)):
            low = token.lower()
            if not (any(c.isupper() or c.isdigit() for c in token) or _CODE.search(low)) or low in FUNCTION_WORDS:
                continue
            if i == 0 and token.istitle() and low in _OPENERS:
                continue
            found.add(low[:100])
    return frozenset(found)


def sure_terms(text: str) -> frozenset[str]:
    """Those of the terms that are so by more than standing first in a sentence."""
    found = set()
    for sentence in sentences(text):
        words = tokens(sentence)
        for i, token in enumerate(words):
            low = token.lower()
            if low in FUNCTION_WORDS or not (any(c.isupper() or c.isdigit() for c in token) or _CODE.search(low)):
                continue
            if i or not token.istitle() or any(w[:1].isupper() for w in words[1:2]):
                found.add(low[:100])
    return frozenset(found)


def names(text: str) -> frozenset[str]:
    """Those terms that name somebody or something: no numbers, days or months."""
    return frozenset(t for t in terms(text) if t not in NO_NAMES and not t[0].isdigit())


@lru_cache(50_000)
def stem(word: str) -> str:
    """A light stem (plural, -ed, -ing, -ly): enough to meet the same word in another form."""
    for ending, put in (
        ("ies", "y"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("ing", ""), ("edly", ""),
        ("ed", ""), ("ly", ""), ("s", ""),
    ):  # fmt: skip
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith(("ss", "us", "is")):
            base = word[: len(word) - len(ending)] + put
            if ending in ("ing", "ed") and base[-1] == base[-2] and base[-1] not in "lsz":
                base = base[:-1]
            return base.rstrip("e") if len(base) > 3 else base
    return word.rstrip("e") if len(word) > 3 else word

"""What a sentence is about, by the structure of English: whom or what (topic), which property (attribute), whether it
announces a change, and from what. Pure. Whether one takes the place of another is `renewal`'s.

Three structures name topic and property: a possessive ("Acme's refund window is ..."), a noun with of or for ("the
window for refunds is ..."), and a subject with its verb ("Acme refunds within ..."). Verbs of one meaning are one
property ("lives in", "moved to"); a verb that can hold for several things at once (likes, uses, has) names none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, takewhile

from hotset.memory.words import FUNCTION_WORDS, NO_NAMES, names, sentences, stem, sure_terms, tokens

#: Verbs (with their forms) whose meaning is one property that has one value at a time.
_CLASSES = {
    "place": "live lives lived living reside resides resided dwell dwells based located situated move moves moved "
    "moving "
    "relocate relocates relocated settle settles settled sit sits sat stationed housed",
    "employer": "work works worked working employed hired",
    "role": "promoted become becomes became appointed serve serves served named",
    "team": "join joins joined belongs belong belonged assigned",
    "when": "schedule scheduled schedules plan planned due postpone postponed postpones delayed reschedule rescheduled "
    "happen happens happened meet meets met start starts started begin begins began launch launches launched ship "
    "ships shipped deferred brought expire expires expired open opens close closes takes",
    "price": "cost costs priced charge charges charged",
    "lead": "lead leads led manage manages managed head heads headed run runs supervise supervises supervised own owns "
    "owned oversee oversees oversaw handle handles handled responsible charge",
    "report": "report reports reported answer answers answered",
    "diet": "eat eats ate eating",
    "store": "store stores stored keep keeps kept host hosts hosted save saves saved",
    "total": "total totals totalled contain contains contained number numbers amount amounts employs count counts",
}
_CLASS_OF = {form: name for name, forms in _CLASSES.items() for form in forms.split()}
#: Nouns that name the same properties.
_NOUNS = {
    "place": "city town home address location residence apartment flat house seat desk office room base site venue",
    "employer": "employer company workplace firm",
    "role": "job title role position rank profession occupation post",
    "when": "deadline date day time schedule launch release start due slot appointment kickoff",
    "price": "price cost fee rate fare rent",
    "lead": "owner head lead leader chief boss director maintainer captain chair contact responsibility",
    "report": "manager supervisor boss superior mentor",
    "diet": "diet food meal",
    "store": "database storage store datastore host hosting provider backend",
    "total": "number count size headcount amount total capacity",
}
#: Words of questions that do so.
_ASKS = {"where": "place", "when": "when", "expensive": "price"}
_CLASSES_OF_NOUN: dict[str, set[str]] = {}
for _name, _nouns_of in _NOUNS.items():
    for _noun in _nouns_of.split():
        _CLASSES_OF_NOUN.setdefault(stem(_noun), set()).add(_name)
#: Of these a person or thing can have several at once.
_MANY = frozenset(
    """like likes liked love loves loved enjoy enjoys enjoyed prefer prefers preferred want wants wanted need
    needs needed use uses used using run has have had speak speaks spoke know knows knew own owns owned drive
    drives drove play plays played visit visits visited follow follows followed wear wears wore read reads
    watch watches watched study studies studied teach teaches taught buy buys bought sell sells sold make
    makes made support supports supported take took takes give gave gives ride rides rode pay pays paid order
    orders ordered book books booked recommended suggested advised said told mentioned asked""".split()
)
_BE = frozenset("""is are was were be been being isn't aren't wasn't weren't remains stays""".split())
_AUX = frozenset(
    """has have had will would shall should can could may might must does do did won't cannot can't""".split()
)
_PRONOUNS = frozenset(["i", "we", "you", "he", "she", "they", "it"])
#: Verbs that say that something takes another value.
_CHANGING = frozenset(
    """change changes changed changing switch switches switched switching move moves moved moving migrate
    migrates migrated migrating replace replaces replaced replacing rename renames renamed raise raises raised
    lower lowers lowered cut reduce reduces reduced increase increases increased extend extends extended
    shorten shortened postpone postponed reschedule rescheduled delayed push pushed relocate relocates
    relocated promote promoted become becomes became swap swaps swapped update updated transfer transferred
    upgrade upgraded downgrade downgraded convert converted revise revised adjust adjusted shift shifted quit
    quits left leave stopped stop abandoned abandon dropped drop drops gave inherit inherited inherits return
    returned returns received extends renew renewed renewed renegotiated shifts went gone bumped grew grown
    shrunk fell rose risen slipped supersede supersedes superseded succeeded succeeds handed hands adopted
    ditched traded exchanged resigned amended retitled reassigned rebranded turned""".split()
)
_CHANGE_WORDS = re.compile(
    r"\b(now|nowadays|these days|no longer|not? (?:\w+ ){0,3}(?:any ?more|any longer)|instead|from now on|"
    r"as of|used to|formerly|previously|effective|(?:an?|the|\w+'s) new|given up|gave up|gives up|in favou?r of|"
    r"starting|beginning|since the|takes? over|took over|taken "
    r"over|brought forward|up from|down from|rather than|in place of|until recently|going forward|henceforth|"
    r"since (?:then|last|yesterday)|(?:correction|update|change of plan)s?\b\s*[:,])(?!\w)",
    re.IGNORECASE,
)
#: Introduce what somebody else's clause says: "I heard that ...", "Please note that ...".
_REPORTED = re.compile(
    r"^(?:[\w']+\s+){0,4}?(?:said|says|heard|hear|told\s+\w+|mentioned|note|noted|remember|confirmed|announced|learned|"
    r"learnt|turns?\s+out|reports?|guess|think|believe|know)\s+that\s+",
    re.IGNORECASE,
)
_INTRO = re.compile(
    r"^(?:(?:as of|from|in|on|at|since|after|for|starting|effective|by|last|this|next|until|earlier|later|beginning|"
    r"due to|following)\b[^,]{0,40},\s*|(?:actually|also|btw|by the way|fyi|ok|okay|so|well|hey|hi|oh|and|but|just|"
    r"note|update|reminder|correction|news|currently|now|today|yesterday|recently|apparently|officially|finally|however|"
    r"change of plans?|quick note|good news|heads up|for the record)\b[\s,:;.!-]+)+",
    re.IGNORECASE,
)
#: The value before, where the sentence says it.
_OLD = (
    re.compile(r"\bfrom\s+(?:an?\s+|the\s+)?(.{1,60}?)\s+(?:to|into|in favou?r of)\b", re.I),
    re.compile(r"\b(?:instead of|rather than|in place of|replac\w+|replacing|swap\w*|ditched|dropped|gave|up from|"
               r"down from|used to be|formerly|previously|took over from|takes over from)\s+(?:an?\s+|the\s+)?"
               r"(.{1,60}?)(?:\s+(?:with|by|for|as|in|away|up|at|and|on)\b|[.,;:!)]|$)", re.I),
    re.compile(r"\b(?:took|takes|taken|taking) over\s+[^.,]{1,40}?\s+from\s+(.{1,40}?)(?:[.,;]|$)", re.I),
    re.compile(r"\b(?:given|gave|gives) up\s+(?:an?\s+|the\s+)?(.{1,40}?)\s+(?:in|for|and)\b", re.I),
    re.compile(r"\b(?:returned|quit|left|stopped|abandoned|cancelled)\s+(?:an?\s+|the\s+)?(.{1,40}?)"
               r"(?:[.,;:]|\s+(?:and|but|for)\b|$)", re.I),
    re.compile(r"\b(?:not|no longer)\s+(?:to\s+|in\s+|at\s+|on\s+)?(.{1,40}?)(?:\s+but\b)", re.I),
    re.compile(r"\bno longer\s+(?:\w+(?:s|ed|ing)?\s+)?(?:an?\s+|the\s+|in\s+|at\s+|for\s+|with\s+|on\s+|to\s+)?"
               r"(.{1,40}?)(?:[.,;:]|\s+(?:and|but)\b|$)", re.I),
)  # fmt: skip
_POSSESSIVE = re.compile(r"((?:[\w.&/-]+\s+){0,3}?[\w.&/-]+)(?:'s|’s|s'|s’)\s+([\w-]+(?:\s+[\w-]+){0,3})")
_NAME = r"(?:[A-Z0-9][\w.&/-]*|[a-z]+-[\w-]+)"
_NOUN_OF = re.compile(
    r"(?:\b(?:the|an?|our|their|its|new|current)\s+((?:[a-z][\w-]*\s+){1,3})(?:of|for|with|at)|^((?:[A-Z]?[a-z]+\s+){1,2})"
    r"(?:of|for|with|to))\s+(?:the\s+|project\s+|team\s+)?"
    r"(_NAME(?:\s+_NAME){0,5})".replace("_NAME", _NAME)
)
#: What is looked at of a text: the cost of expressions on a text of any shape stays small.
_MOST_SENTENCES, _MOST_SENTENCE = 5, 400
#: Say of a property nothing that belongs to it.
DRESS = frozenset(
    """new current latest old former previous present actual updated revised final next own main""".split()
)


@dataclass(frozen=True, slots=True)
class Statement:
    """`topic`: lower-case words that name what it is about; empty: what everybody here knows. `attribute`: stems of
    nouns, or `verb:` and a class. `old`: stems of the value before. `alone`: the text is this one sentence."""

    topic: frozenset[str]
    attribute: frozenset[str]
    change: bool
    old: frozenset[str]
    names: frozenset[str]
    stems: frozenset[str]
    alone: bool
    #: Names that are so by more than a capital at the beginning, in the order of the text, each with its parts.
    runs: tuple[frozenset[str], ...] = ()

    @property
    def subject(self) -> str | None:
        return " ".join(sorted(self.topic))[:200] or None

    @property
    def key(self) -> str | None:
        return " ".join(sorted(self.attribute))[:200] or None

    @property
    def fact(self) -> bool:
        return fact(self.subject, self.key)


@lru_cache(4096)
def read(text: str) -> Statement:
    """What a text states. Of several sentences the first that names a topic counts."""
    parts = [part[:_MOST_SENTENCE] for part in sentences(text)[:_MOST_SENTENCES]] or [""]
    found = [_sentence(part, alone=len(parts) == 1) for part in parts]
    return next((s for s in found if s.topic and s.attribute), next((s for s in found if s.topic), found[0]))


def kinds(text: str) -> frozenset[str]:
    """The kinds of property that a question's words name: "where" asks for a place, "boss" for whom one reports to."""
    found: set[str] = set()
    for word in map(str.lower, tokens(text)):
        found |= {_ASKS[word]} if word in _ASKS else set()
        found |= {_CLASS_OF[word]} if word in _CLASS_OF else set()
        found |= _CLASSES_OF_NOUN.get(stem(word), set())
    return frozenset(found)


def fact(subject: str | None, attribute: str | None) -> bool:
    """Whether that is a whole key: a verb that says of anything that it is, or has one of several, is no property."""
    return bool(subject and attribute and frozenset(attribute.split()).isdisjoint(("verb:be", "verb:many")))


@lru_cache(4096)
def kinds_of(attribute: str | None) -> frozenset[str]:
    """The kinds of a stored attribute."""
    found: set[str] = set()
    for word in (attribute or "").split():
        if word.startswith("verb:"):
            found.add(word.removeprefix("verb:"))
        elif word in _CLASSES_OF_NOUN:
            found |= _CLASSES_OF_NOUN[word]
    return frozenset(found - {"be", "many"}) if found else frozenset()


def _sentence(text: str, *, alone: bool) -> Statement:
    clean = _REPORTED.sub("", _INTRO.sub("", text.strip()))
    clean = clean[:1].upper() + clean[1:]
    words = tokens(clean)
    low = [w.lower() for w in words]
    # At the beginning of a sentence a word that is none of grammar's may be a name or not: as a topic it serves.
    certain = frozenset(t for t in sure_terms(clean) if t not in NO_NAMES and not t[0].isdigit())
    first = next(iter(tokens(clean)), "").lower()
    own = (names(text) | names(clean)) - ({first} if first not in certain and _plain(words, certain) else set())
    verb = 1 if low[:1] and low[0] in _PRONOUNS else next((i for i, w in enumerate(low) if i and _is_verb(w)), None)
    topic, attribute = _possessed(clean, own) or _noun_of(clean, own) or _subject(low, verb, own)
    changing = any(w in _CHANGING for w in low) or bool(_CHANGE_WORDS.search(text))
    old = next((_stems(m.group(1)) for p in _OLD if (m := p.search(clean))), frozenset()) if changing else frozenset()
    return Statement(topic, attribute, changing, old, own, _stems(text), alone, _runs(text))


def _plain(words: list[str], certain: frozenset[str]) -> bool:
    """A first word that a preposition ties to a real name: "Requests to GeoIndex ..."."""
    return (
        bool(certain) and len(words) > 1 and words[1].lower() in ("of", "for", "to", "with", "from", "at", "on", "in")
    )


def _runs(text: str) -> tuple[frozenset[str], ...]:
    """Names as they stand together: "Dana Wolf" is one."""
    certain = frozenset(t for t in sure_terms(text) if t not in NO_NAMES and not t[0].isdigit())
    together = groupby(map(str.lower, tokens(text)), key=lambda word: word in certain)
    return tuple(frozenset(run) for named, run in together if named)


def _is_verb(word: str) -> bool:
    return word in _BE or word in _AUX or word in _CLASS_OF or word in _MANY or word in _CHANGING


def _possessed(text: str, own: frozenset[str]) -> tuple[frozenset[str], frozenset[str]] | None:
    """ "Acme's refund window ..." and "... as Tom's manager"."""
    for found in _POSSESSIVE.finditer(text):
        owner = [w.lower() for w in tokens(found.group(1))]
        run = list(takewhile(lambda w: w in own, reversed(owner)))
        run = run or list(takewhile(lambda w: w not in FUNCTION_WORDS and not _is_verb(w), reversed(owner)))
        topic = frozenset(run)
        attribute = _nouns(found.group(2))
        if topic and attribute:
            return topic, attribute
    return None


def _noun_of(text: str, own: frozenset[str]) -> tuple[frozenset[str], frozenset[str]] | None:
    """ "The window for Acme ..." and "... is the new head of Atlas"."""
    for found in _NOUN_OF.finditer(text):
        topic = frozenset(w.lower() for w in tokens(found.group(3))) & own
        attribute = _nouns(found.group(1) or found.group(2))
        if topic and attribute:
            return topic, attribute
    return None


def _subject(low: list[str], verb: int | None, own: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The subject and its verb; where the subject acts on something named, that is the topic."""
    before = low[:verb] if verb is not None else low[:4]
    after = low[verb:] if verb is not None else low[4:]
    named = frozenset(w for w in before if w in own)
    nouns = frozenset(stem(w) for w in before if w not in own and w not in FUNCTION_WORDS and w not in DRESS)
    kind = _property(after)
    acted = _acted_on(after, own)
    if acted and (not named or (kind == "verb:lead" and _direct(after, own))):
        topic, more = acted
        return topic, more or frozenset([kind] if kind else [])
    if named:
        if (had := _had(after, own)) or (had := _changed(after, own)):
            return named, had
        if nouns and after[:1] and (after[0] in _BE or after[0] in _AUX or after[0] in _CHANGING):
            return named, nouns
        return named, nouns | frozenset([kind] if kind else [])
    if nouns:
        return nouns, frozenset([kind or "verb:be"])
    return frozenset(), frozenset([kind] if kind else [])


def _direct(after: list[str], own: frozenset[str]) -> bool:
    """Whether the verb's object follows at once, or by way of "in charge of", "responsible for", "over"."""
    rest = [
        w
        for w in after[1:6]
        if w not in ("the", "project", "team", "over", "charge", "responsible", "of", "for", "new")
    ]
    return bool(rest) and (rest[0] in own or (rest[0] == "in" and after[1:2] == ["in"] and "charge" in after[:4]))


def _acted_on(after: list[str], own: frozenset[str]) -> tuple[frozenset[str], frozenset[str]] | None:
    """The object of "moved the Atlas review to ...", "is in charge of Atlas", "replaced X with Y in Atlas"."""
    stop = next((i for i, w in enumerate(after) if i and w in ("from", "to", "with", "by")), len(after))
    objects = after[1:stop]
    topic = frozenset(w for w in objects if w in own)
    for i, word in enumerate(after):
        if word in ("of", "for", "in", "at", "with", "on") and i + 1 < len(after) and i >= stop:
            late = frozenset(w for w in after[i + 1 :] if w in own)
            if late:
                return late, frozenset()
    if not topic:
        return None
    skip = FUNCTION_WORDS | DRESS | _CLASS_OF.keys() | _CHANGING | _MANY
    return topic, frozenset(stem(w) for w in objects if w not in own and w not in skip)


def _had(after: list[str], own: frozenset[str]) -> frozenset[str]:
    """The noun of "has a budget of ...", "got a new number: ..."."""
    if not after or after[0] not in ("has", "have", "had", "got", "gets"):
        return frozenset()
    rest = [w for w in after[1:7] if w != "got"]
    if not rest or rest[0] not in ("a", "an", "the"):
        return frozenset()
    found: list[str] = []
    for word in rest[1:]:
        if word in FUNCTION_WORDS or word in own or any(c.isdigit() for c in word):
            # Without a preposition, or a word that says that it is another one, the noun is the value.
            said = word in ("of", "at", "on", "in") or "new" in rest[:2]
            return frozenset(stem(w) for w in found if w not in DRESS) if said else frozenset()
        found.append(word)
    return frozenset(stem(w) for w in found if w not in DRESS) if "new" in rest[:2] else frozenset()


def _changed(after: list[str], own: frozenset[str]) -> frozenset[str]:
    """The noun of "has changed their address to ..."."""
    at = next((i for i, w in enumerate(after[:4]) if w in _CHANGING), None)
    if at is None or after[at + 1 : at + 2] not in (["his"], ["her"], ["its"], ["their"], ["the"], ["our"], ["my"]):
        return frozenset()
    found = list(takewhile(lambda w: w not in FUNCTION_WORDS and w not in own, after[at + 2 :]))
    return frozenset(stem(w) for w in found[:4] if w not in DRESS)


def _property(after: list[str]) -> str | None:
    """The verb's class; a copula or an auxiliary passes on to what follows."""
    for i, word in enumerate(after[:6]):
        if word == "over":
            return "verb:lead"
        if word.startswith("work") and after[i + 1 : i + 2] == ["as"]:
            return "verb:role"
        if word in ("took", "takes", "taken", "taking") and after[i + 1 : i + 2] == ["over"]:
            return "verb:lead"
        if word in _CLASS_OF:
            return "verb:" + _CLASS_OF[word]
        if word in _MANY and word not in _AUX:
            return "verb:many"
        if word in _BE or word in _AUX or word in FUNCTION_WORDS or word in DRESS:
            continue
        break
    return "verb:be" if after else None


def _nouns(phrase: str) -> frozenset[str]:
    """The words of a noun phrase, up to a verb or a word of grammar; what only dresses it is left out."""
    found: list[str] = []
    for word in map(str.lower, tokens(phrase)):
        if word in _BE or word in _AUX or word in FUNCTION_WORDS:
            break
        if found and _is_verb(word):
            break
        if word not in DRESS:
            found.append(word)
    return frozenset(map(stem, found))


def _stems(text: str) -> frozenset[str]:
    return frozenset(stem(w) for w in map(str.lower, tokens(text)) if w not in FUNCTION_WORDS)

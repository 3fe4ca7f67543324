"""Sentences for training and testing, from a small grammar, random words, and a hand-written list.

The split is a property of the sentence: its hash says whether it may be trained on. So no list of test
sentences has to be kept, and no two runs of the generator can leak one into the other.
"""

import hashlib
import random
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import resources

__all__ = ["HAND_WRITTEN", "WRITTEN", "distinct", "make_sentence", "sentences", "split_of", "vocabulary"]

VOWELS = "aeiou"
HELD_OUT_PERCENT = 4  # of all sentences: half for development, half for testing
LOOSE_SHARE, WRITTEN_SHARE = 0.25, 0.15  # of the sentences for training
# What a loose sentence is chained from, beside single words: symbols of the grammar.
CHUNKS = (
    "noun_phrase", "subject", "object", "where", "when", "be", "some_food", "verb", "verb.past", "verb.s",
    "verb.ing", "action", "action.past", "action.ing", "action.s", "adjective", "adverb", "things", "modal",
    "preposition", "name", "count",
)  # fmt: skip


def _read_lines(name: str) -> tuple[str, ...]:
    text = resources.files("asrscope_recipe").joinpath("texts", name).read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def read_sections(name: str) -> dict[str, tuple[str, ...]]:
    """Read the lines of a file by the [section] that they stand in."""
    found: dict[str, tuple[str, ...]] = {}
    for line in _read_lines(name):
        if line.startswith("["):
            found[section := line[1:-1]] = ()
        else:
            found[section] += (line,)
    return found


GRAMMAR = read_sections("grammar.txt")  # symbol -> alternatives
_WORDS = read_sections("words.txt")
# base -> (past, -ing), and singular -> plural; all others are inflected by rule
IRREGULAR_VERBS = {line.split()[0]: tuple(line.split()[1:]) for line in _WORDS.pop("irregular verbs")}
IRREGULAR_PLURALS = dict(line.split() for line in _WORDS.pop("irregular plurals"))
WORDS = {category: tuple(" ".join(lines).split()) for category, lines in _WORDS.items()}
# Natural sentences for training, with slots such as {place} to be filled.
WRITTEN = _read_lines("written.txt")
# Others, by split, none of which is ever trained on. Those of "dev" have been read with what earlier models
# made of them, those of "test" have not.
HAND_WRITTEN = {split: dict.fromkeys(_read_lines(f"hand_written_{split}.txt")) for split in ("dev", "test")}


def _double(base: str) -> str:
    """Double the last consonant of a short verb (stop, plan) where spelling asks for it."""
    if len(base) != 3:
        return base
    short = base[-1] not in VOWELS + "wxy" and base[-2] in VOWELS and base[-3] not in VOWELS
    return base + base[-1] if short else base


def inflect(word: str, form: str) -> str:
    """Give the ``past``, ``ing``, ``s`` or ``plural`` form of a word."""
    if form in ("plural", "s"):
        if form == "plural" and word in IRREGULAR_PLURALS:
            return IRREGULAR_PLURALS[word]
        if word.endswith(("s", "x", "ch", "sh", "go", "ato")):
            return word + "es"
        return word[:-1] + "ies" if word.endswith("y") and word[-2] not in VOWELS else word + "s"
    if word in IRREGULAR_VERBS:
        return IRREGULAR_VERBS[word][0 if form == "past" else 1]
    if form == "past":
        if word.endswith("e"):
            return word + "d"
        return word[:-1] + "ied" if word.endswith("y") and word[-2] not in VOWELS else _double(word) + "ed"
    if word.endswith("e") and not word.endswith("ee"):
        return word[:-1] + "ing"
    return _double(word) + "ing"


@lru_cache(maxsize=1)
def vocabulary() -> tuple[str, ...]:
    """List every word the grammar and the random strings can produce, sorted."""
    words = {word for group in WORDS.values() for word in group}
    verbs = WORDS["verb"] + WORDS["action"]
    words |= {inflect(verb, form) for verb in verbs for form in ("past", "ing", "s")}
    countable = ("thing", "animal", "person", "idea", "food", "nature", "place")
    words |= {inflect(noun, "plural") for group in countable for noun in WORDS[group]}
    for alternatives in GRAMMAR.values():
        for text in alternatives:
            words |= set(re.sub(r"\{[^}]*\}", " ", text).split())
    return tuple(sorted(words))


def _fill(text: str, rng: random.Random) -> str:
    return re.sub(r"\{([^}]*)\}", lambda match: _expand(match[1], rng), text)


def _repair(text: str) -> str:
    """Write "an" where it belongs."""
    text = re.sub(r"\ba (?=[aeiou](?!ni|ne\b|se))", "an ", text)
    return re.sub(r"\ba (?=hour|honest)", "an ", text)


def _expand(symbol: str, rng: random.Random) -> str:
    name, _, form = symbol.partition(".")
    if name in GRAMMAR:
        return _fill(rng.choice(GRAMMAR[name]), rng)
    word = rng.choice(WORDS[name])
    return inflect(word, form) if form else word


def make_loose_sentence(rng: random.Random) -> str:
    """Chain phrases and little words without a plan, 2 to 14 words.

    Such a sentence sounds like English and keeps no promise: who has learned only the grammar would guess how
    it goes on, and be wrong.
    """
    words: list[str] = []
    wanted = rng.randint(2, 14)
    while len(words) < wanted:
        draw = rng.random()
        if draw < 0.4:
            words.append(rng.choice(WORDS["function"]))
        elif draw < 0.5:
            words.append(rng.choice(vocabulary()))
        else:
            words += _expand(rng.choice(CHUNKS), rng).split()
    return " ".join(words[:wanted])


def make_sentence(rng: random.Random) -> str:
    """Draw one sentence: six in ten from the grammar, the rest random words.

    Random strings teach spelling: no neighbor helps to guess a word. Their lengths run from 1 to 9 words.
    """
    if rng.random() < 0.6:
        return _repair(_expand("sentence", rng))
    return " ".join(rng.choices(vocabulary(), k=rng.randint(1, 9)))


def split_of(sentence: str) -> str:
    """Tell whether a sentence belongs to ``train``, ``dev`` or ``test``, by its hash.

    Single words and short strings of digits are too few to be held out: a recognizer must have heard every
    word.
    """
    for split, own in HAND_WRITTEN.items():
        if sentence in own:
            return split
    if len(sentence.split()) < 3:
        return "train"
    bucket = int.from_bytes(hashlib.sha256(sentence.encode()).digest()[:4], "big") % 100
    if bucket >= HELD_OUT_PERCENT:
        return "train"
    return "dev" if bucket < HELD_OUT_PERCENT // 2 else "test"


def sentences(split: str, seed: int, *, loose: bool = True) -> Iterator[str]:
    """Draw sentences of one split without end; for training, loose and written ones are among them.

    Parameters
    ----------
    split : str
        ``train``, ``dev`` or ``test``.
    seed : int
        Seeds the generator; equal seeds give equal sentences.
    loose : bool
        Whether loose and written sentences are among those for training.

    Yields
    ------
    str
        Lowercase words separated by single blanks.
    """
    rng = random.Random(f"{split}-{seed}")
    while True:
        draw = rng.random() if split == "train" and loose else 1.0
        if draw < LOOSE_SHARE:
            sentence = make_loose_sentence(rng)
        elif draw < LOOSE_SHARE + WRITTEN_SHARE:
            sentence = _repair(_fill(rng.choice(WRITTEN), rng))
        else:
            sentence = make_sentence(rng)
        if split_of(sentence) == split:
            yield sentence


def distinct(texts: Iterable[str]) -> Iterator[str]:
    """Leave out what was there before."""
    seen: set[str] = set()
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text

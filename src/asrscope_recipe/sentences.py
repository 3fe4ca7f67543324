"""Sentences for training and testing, from a small grammar, random words, and a hand-written list.

The split is a property of the sentence: its hash says whether it may be trained on. So no list of test
sentences has to be kept, and no two runs of the generator can leak one into the other.
"""

import hashlib
import random
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources

from asrscope_recipe.lexicon import IRREGULAR_PLURALS, IRREGULAR_VERBS, WORDS

__all__ = ["hand_written", "make_sentence", "sentences", "split_of", "vocabulary", "written"]

VOWELS = "aeiou"
HELD_OUT_PERCENT = 4  # of all sentences: half for development, half for testing
LOOSE_SHARE, WRITTEN_SHARE = 0.25, 0.15  # of the sentences for training
# What a loose sentence is chained from, beside single words: symbols of the grammar.
CHUNKS = (
    "noun_phrase", "subject", "object", "where", "when", "be", "some_food", "verb", "verb.past", "verb.s",
    "verb.ing", "action", "action.past", "action.ing", "action.s", "adjective", "adverb", "things", "modal",
    "preposition", "name", "count",
)  # fmt: skip

# symbol -> alternatives. A symbol without rules here is a category of the lexicon; "verb.past" inflects.
# fmt: off
GRAMMAR: dict[str, tuple[str, ...]] = {
    "sentence": (
        "{subject} {verb.past} {object}",
        "{subject} {verb.past} {object} {where}",
        "{subject} {verb.past} {object} {when}",
        "the {person} {verb.s} {object}",
        "my {relative} {verb.s} {object} {when}",
        "{name} {action.s} {where}",
        "{subject} {action.past} {where}",
        "{subject} {action.past} {adverb}",
        "{subject} {action.past} {where} {when}",
        "{pronoun} {modal} {verb} {object}",
        "{pronoun} {modal} {verb} {object} {when}",
        "{pronoun} {modal} not {verb} {object}",
        "{pronoun} {modal} {action} {where}",
        "{be} {action.ing} {where}",
        "{be} {verb.ing} {object}",
        "{be} {adjective} {when}",
        "{modal} you {verb} {object} please",
        "{modal} {pronoun} {action} {when}",
        "please {verb} {object}",
        "please {verb} {object} and {verb} {object}",
        "do not {verb} {object}",
        "let's {action} {where}",
        "where is {noun_phrase}",
        "where did {pronoun} {verb} {object}",
        "when will {subject} {action}",
        "why did {subject} {verb} {object}",
        "how many {things} are {where}",
        "how much does {noun_phrase} cost",
        "who {verb.past} {object}",
        "what did {subject} {verb} {when}",
        "what is the {idea} of {noun_phrase}",
        "what time does the {place} open",
        "is {noun_phrase} {adjective}",
        "do you {verb} {object}",
        "did {subject} {verb} {object} {when}",
        "have you {verb.past} {object}",
        "{noun_phrase} is {adjective}",
        "{noun_phrase} is very {adjective} and {adjective}",
        "{noun_phrase} was {adjective} but {noun_phrase} was {adjective}",
        "{noun_phrase} is {where}",
        "the {things} were too {adjective}",
        "the {nature} and the {idea.plural}",
        "for {count} {idea.plural} {pronoun} {verb.past} {object}",
        "there are {count} {things} {where}",
        "there is a {adjective} {thing} {where}",
        "there was no {food} {where}",
        "i have {count} {things}",
        "i would like {some_food} please",
        "i want to {verb} {object}",
        "i do not know the {idea}",
        "we need {some_food} and {some_food}",
        "it is {count} o'clock",
        "it is {adjective} {where}",
        "it will be {adjective} {when}",
        "my {relative} is {count} years old",
        "my {relative} {verb.past} {object}",
        "her name is {name}",
        "{name} and {name} {action.past} {where}",
        "{name} said that {clause}",
        "i think that {clause}",
        "{clause} because {clause}",
        "if {clause} then {clause}",
        "when {clause} {clause}",
        "{clause} and {clause}",
        "{clause} but {clause}",
        "the {ordinal} {thing} is {adjective}",
        "the {ordinal} of {month}",
        "on {day} {pronoun} {verb.past} {object}",
        "in {month} {pronoun} {action.past} {where}",
        "{pronoun} {action.past} from {country} to {country}",
        "a {adjective} {thing} and a {adjective} {thing}",
        "{adverb} {subject} {verb.past} {object}",
        "the {idea} of the {thing} is a {adjective} {idea}",
        "every {person} has a {idea}",
        "his {body} and his {body} are {adjective}",
        "she has {color} {things} and a {color} {thing}",
        "the {animal} and the {animal} {action.past} {preposition} the {place}",
        "{nature} and {nature}",
        "the {nature.plural} and the {place.plural}",
        "they {verb} {count} {food.plural}",
        "the {nature} was {adjective} {when}",
        "the {nature} {action.past} {preposition} the {place}",
        "call {digits}",
        "the number is {digits}",
        "my phone number is {digits}",
        "{digits}",
        "it costs {count} {big} {things}",
        "turn {direction} at the {place}",
        "thank you for the {thing}",
        "good {greeting} {name}",
        "hello my name is {name}",
        "yes {clause}",
        "no {clause}",
        "sorry {clause}",
    ),
    "clause": (
        "{subject} {verb.past} {object}",
        "{subject} {action.past} {where}",
        "{noun_phrase} is {adjective}",
        "{pronoun} {modal} {verb} {object}",
        "{be} {action.ing}",
        "it is {adjective}",
    ),
    "subject": (
        "{noun_phrase}", "{pronoun}", "{pronoun}", "{name}", "my {relative}", "the {person}", "the {animal}",
    ),
    "pronoun": ("i", "you", "he", "she", "we", "they", "it"),
    "be": (
        "i am", "you are", "he is", "she is", "we are", "they are", "it is", "i was", "we were",
        "the {person} is", "the {things} are", "my {relative} is",
    ),
    "object": (
        "{noun_phrase}", "{noun_phrase}", "the {food}", "{some_food}", "{count} {things}", "me", "him",
        "them", "her {thing}", "my {thing}", "the {idea}", "everything", "a {color} {thing}",
    ),
    "noun_phrase": (
        "the {noun}", "the {noun}", "a {noun}", "the {adjective} {noun}", "a {adjective} {noun}",
        "this {noun}", "that {noun}", "my {noun}", "our {noun}", "your {adjective} {noun}", "their {noun}",
        "the {place}",
    ),
    "noun": ("{thing}", "{thing}", "{thing}", "{person}", "{animal}", "{food}", "{idea}", "{place}"),
    "things": (
        "{thing.plural}", "{thing.plural}", "{animal.plural}", "{person.plural}", "{color} {thing.plural}",
    ),
    "some_food": ("some {food}", "a cup of tea", "a glass of water", "a piece of {food}", "more {food}"),
    "where": (
        "in the {place}", "at the {place}", "near the {place}", "to the {place}", "{preposition} the {place}",
        "{preposition} the {thing}", "on the {thing}", "under the {thing}", "at home", "here", "there",
        "outside",
    ),
    "when": (
        "{time}", "{time}", "on {day}", "in {month}", "every day", "every {day}", "last night",
        "this morning", "this evening", "last week", "next year", "at {number} o'clock",
        "in the {ordinal} week", "after {food}", "in {count} minutes", "for {count} days",
    ),
    "modal": ("can", "could", "will", "would", "should", "must", "may", "might"),
    "count": ("{number}", "{number}", "{tens} {units}", "a hundred", "{units} hundred", "two thousand"),
    "big": ("hundred", "thousand", "million"),
    "tens": ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
    "units": ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "digits": (
        "{digit}", "{digit} {digit}", "{digit} {digit} {digit}", "{digit} {digit} {digit} {digit}",
        "{digit} {digit} {digit} {digit} {digit} {digit}",
    ),
    "direction": ("left", "right", "back", "around"),
    "greeting": ("morning", "evening", "night", "day"),
}
# fmt: on


def _double(base: str) -> str:
    """Double the last consonant of a short verb (stop, plan) where spelling asks for it."""
    if len(base) != 3:
        return base
    short = base[-1] not in VOWELS + "wxy" and base[-2] in VOWELS and base[-3] not in VOWELS
    return base + base[-1] if short else base


def inflect(word: str, form: str) -> str:
    """Give the ``past``, ``ing``, ``s`` or ``plural`` form of a word of the lexicon."""
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


def _read_lines(name: str) -> tuple[str, ...]:
    text = resources.files("asrscope_recipe").joinpath("texts", name).read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


@lru_cache(maxsize=2)
def hand_written(split: str = "test") -> tuple[str, ...]:
    """Read the natural sentences written by hand for ``test`` or ``dev``; none of them is ever trained on.

    Those of ``dev`` have been read with what earlier models made of them, those of ``test`` have not.
    """
    return _read_lines(f"hand_written_{split}.txt")


@lru_cache(maxsize=1)
def written() -> tuple[str, ...]:
    """Read the natural sentences written for training, with slots such as ``{place}`` to be filled."""
    return _read_lines("written.txt")


@lru_cache(maxsize=1)
def _hand_written_splits() -> dict[str, str]:
    return {sentence: split for split in ("dev", "test") for sentence in hand_written(split)}


def split_of(sentence: str) -> str:
    """Tell whether a sentence belongs to ``train``, ``dev`` or ``test``, by its hash.

    Single words and short strings of digits are too few to be held out: a recognizer must have heard every
    word.
    """
    if own := _hand_written_splits().get(sentence):
        return own
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
            sentence = _repair(_fill(rng.choice(written()), rng))
        else:
            sentence = make_sentence(rng)
        if split_of(sentence) == split:
            yield sentence

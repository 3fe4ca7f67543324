"""Class 4, evaluation and deployment: error rates by hand, their limits and uncertainty, files, errors."""

import numpy as np
from numpy import ndarray

from asrscope.loading import presets
from asrscope.recognition.metrics import WordErrors, total_errors, word_errors
from asrscope_course.coding import Case, Function
from asrscope_course.engine import exercise
from asrscope_course.kinds import Design, Mistake, Number, Point
from asrscope_course.material import part_parameters, sentence, tiny

__all__: list[str] = []

SAID = "the old captain told us a story about the sea"
WRITTEN = "the cold captain told a story about about about the sea"
LOOP_SAID, LOOP_WRITTEN = "yes please", "yes yes yes yes yes please please please"
ERRORS, WORDS = (1, 1, 0), (1, 19, 10)


@exercise("4.1", "Word error rate", "wer")
def _word_error_rate() -> Function:
    return Function(
        name="word_error_rate",
        task=(
            "Write the word error rate of one sentence: the smallest number of words that must be replaced, "
            "put in or taken out to turn one text into the other, divided by the words of the reference."
        ),
        stub=(
            "def word_error_rate(reference, hypothesis):\n"
            '    """Two texts of words with single spaces; the reference has at least one word."""\n'
            "    ..."
        ),
        code=(
            "def word_error_rate(reference, hypothesis):\n"
            '    """Two texts of words with single spaces; the reference has at least one word."""\n'
            "    said, written = reference.split(), hypothesis.split()\n"
            "    above = list(range(len(written) + 1))  # costs of turning no word into the first so many\n"
            "    for row, word in enumerate(said, start=1):\n"
            "        costs = [row]\n"
            "        for column, other in enumerate(written, start=1):\n"
            "            replaced = above[column - 1] + (word != other)\n"
            "            costs.append(min(replaced, above[column] + 1, costs[-1] + 1))\n"
            "        above = costs\n"
            "    return above[-1] / len(said)"
        ),
        reference=lambda reference, hypothesis: word_errors(reference, hypothesis).rate,
        cases=_texts,
        hint=(
            "Fill a table row by row: the cost of turning the first *i* words of one text into the first "
            "*j* of the other. Each cell follows from three neighbors."
        ),
        solution=(
            "This is the edit distance of Levenshtein, over words. The package computes the same after it "
            "has normalized both texts."
        ),
        mistakes=(
            Mistake(
                lambda reference, hypothesis: _in_place(reference.split(), hypothesis.split()),
                "You compared the words place by place. One word too many shifts all that follow, and all of "
                "them count as wrong. The alignment has to be found first.",
            ),
            Mistake(
                lambda reference, hypothesis: (
                    _distance(reference.split(), hypothesis.split()) / max(1, len(hypothesis.split()))
                ),
                "You divided by the words of the hypothesis. A model that writes much would be rewarded for "
                "it.",
            ),
            Mistake(
                lambda reference, hypothesis: _distance(list(reference), list(hypothesis)) / len(reference),
                "This is the *character* error rate. Split the texts into words first.",
            ),
            Mistake(
                lambda reference, hypothesis: _distance(reference.split(), hypothesis.split()),
                "You counted the errors. A rate is divided by the words of the reference.",
            ),
            Mistake(
                lambda reference, hypothesis: (
                    len(set(reference.split()) ^ set(hypothesis.split())) / len(reference.split())
                ),
                "You compared sets of words. Order and repetition are lost in a set.",
            ),
            Mistake(
                lambda reference, hypothesis: (
                    1 - _distance(reference.split(), hypothesis.split()) / len(reference.split())
                ),
                "This is one minus the error rate. It is called accuracy, and it can be negative.",
            ),
        ),
    )


@exercise("4.2", "By hand", "wer")
def _by_hand() -> Number:
    said, written = SAID.split(), WRITTEN.split()
    errors = word_errors(SAID, WRITTEN)
    return Number(
        task=(
            "Align the two sentences on paper and count. What is the **word error rate**, as a fraction?\n\n"
            f"- said: *{SAID}*\n- written: *{WRITTEN}*"
        ),
        answer=errors.rate,
        within=0.005,
        hint="Write them below each other and leave gaps where a word is missing on one side.",
        solution=(
            f"{errors.substitutions} replaced, {errors.deletions} left out, {errors.insertions} put in: "
            f"{errors.errors} errors in {errors.words} words of the reference."
        ),
        code=(
            "from asrscope.recognition.metrics import word_errors\n\n"
            f'answer = word_errors("{SAID}", "{WRITTEN}").rate'
        ),
        mistakes=(
            Mistake(
                errors.errors / len(written),
                "You divided by the words that were written. The reference counts.",
            ),
            Mistake(
                (errors.substitutions + errors.deletions) / errors.words,
                "You left out the words that were put in. They are errors too.",
            ),
            Mistake(errors.substitutions / errors.words, "Words left out and put in are errors too."),
            Mistake(_in_place(said, written), "You compared place by place. Align the sentences first."),
            Mistake(1 - errors.rate, "This is the share that is right, or one minus the rate."),
        ),
    )


@exercise("4.3", "Rate of a collection", "wer")
def _collection() -> Number:
    each = [WordErrors(words, substitutions=errors) for words, errors in zip(WORDS, ERRORS, strict=True)]
    rates = [one.rate for one in each]
    return Number(
        task=(
            f"Three sentences have {WORDS[0]}, {WORDS[1]} and {WORDS[2]} words, and {ERRORS[0]}, "
            f"{ERRORS[1]} and {ERRORS[2]} errors were made in them. What is the **word error rate of the "
            "collection**, as a fraction?"
        ),
        answer=total_errors(each).rate,
        within=0.005,
        hint="Should the sentence of one word weigh as much as that of nineteen?",
        solution=f"All errors over all words: {sum(ERRORS)} / {sum(WORDS)}.",
        code=f"answer = {sum(ERRORS)} / {sum(WORDS)}",
        mistakes=(
            Mistake(
                float(np.mean(rates)),
                "This is the mean of the three rates. The sentence of one word weighs as much as that of "
                "nineteen in it. Add up errors and words first.",
            ),
            Mistake(
                sum(errors > 0 for errors in ERRORS) / len(ERRORS),
                "This is the share of sentences with an error: the *sentence* error rate.",
            ),
            Mistake(float(np.median(rates)), "This is the middle one of the three rates."),
        ),
    )


@exercise("4.4", "A decoder in a loop", "limits")
def _loop() -> Number:
    errors = word_errors(LOOP_SAID, LOOP_WRITTEN)
    return Number(
        task=(
            f"Somebody says *{LOOP_SAID}*, and the model writes *{LOOP_WRITTEN}*. What is the **word error "
            "rate**, as a fraction?"
        ),
        answer=errors.rate,
        within=0.005,
        hint="How many words must be taken out, and how many words has the reference?",
        solution=(
            f"{errors.insertions} words too many for {errors.words} that were said. A word error rate has "
            "no upper bound, so one loop can spoil the rate of a small collection."
        ),
        code=(
            "from asrscope.recognition.metrics import word_errors\n\n"
            f'answer = word_errors("{LOOP_SAID}", "{LOOP_WRITTEN}").rate'
        ),
        mistakes=(
            Mistake(1.0, "The rate does not stop at one: words that were never said count too."),
            Mistake(
                errors.insertions / len(LOOP_WRITTEN.split()),
                "You divided by the words that were written. That can never exceed one, and hides the loop.",
            ),
            Mistake(0.0, "All words that were said are there, but so are many that were not."),
            Mistake(errors.insertions, "This is the number of errors. Divide by the words of the reference."),
        ),
    )


@exercise("4.5", "Draw the utterances again", "uncertainty")
def _resampled() -> Function:
    return Function(
        name="resampled_rate",
        task=(
            "A bootstrap interval asks what the rate would have been if other utterances had been drawn. "
            "Write one draw of it: given the errors and words of each utterance, and which utterances were "
            "drawn (some twice, some never), give the word error rate of the drawn collection."
        ),
        stub=(
            "def resampled_rate(errors, words, drawn):\n"
            '    """Errors and words (utterances,), indices of the drawn ones (utterances,); one number."""\n'
            "    ..."
        ),
        code=(
            "def resampled_rate(errors, words, drawn):\n"
            '    """Errors and words (utterances,), indices of the drawn ones (utterances,); one number."""\n'
            "    return errors[drawn].sum() / words[drawn].sum()"
        ),
        reference=lambda errors, words, drawn: errors[drawn].sum() / words[drawn].sum(),
        cases=_draws,
        hint="An array of indices can stand in the place of an index: `errors[drawn]`.",
        solution=(
            "Utterances are drawn, and not words, because errors within an utterance go together. A thousand "
            "draws, sorted, give the interval: cut off 2.5 % at each end."
        ),
        mistakes=(
            Mistake(
                lambda errors, words, drawn: (errors[drawn] / words[drawn]).mean(),
                "You averaged the rates of the utterances. Add up errors and words first.",
            ),
            Mistake(
                lambda errors, words, drawn: errors[drawn].sum() / words.sum(),
                "You divided by the words of all utterances. The drawn ones count, above and below the line.",
            ),
            Mistake(
                lambda errors, words, _drawn: errors.sum() / words.sum(),
                "You did not use what was drawn: this is the rate of the collection as it is.",
            ),
            Mistake(
                lambda errors, words, drawn: errors[np.unique(drawn)].sum() / words[np.unique(drawn)].sum(),
                "You counted each utterance once. Drawn with replacement, one may count twice or thrice.",
            ),
        ),
    )


@exercise("4.6", "How large is the file?", "ship")
def _file_size() -> Number:
    total = sum(part_parameters().values())
    config = tiny()[0].config.text_config
    weights = presets.CHECKPOINTS / "tiny" / "model.safetensors"
    return Number(
        task=(
            f"Tiny has {total:,} parameters. They are saved in half precision (16 bits each), as "
            "`model.safetensors`. How many **MB** (10⁶ bytes) has the file? One decimal is enough."
        ),
        answer=weights.stat().st_size / 1e6,
        unit="MB",
        within=0.01,
        hint="Bytes of a number times numbers. What the file says about its tensors takes a few kilobytes.",
        solution=f"2 bytes × {total:,}, and a short list of names and shapes at the front.",
        code=f"answer = 2 * {total} / 1e6",
        mistakes=(
            Mistake(4 * total / 1e6, "This is the size in float32, as the model is in memory after loading."),
            Mistake(total / 1e6, "This is one byte a parameter: int8."),
            Mistake(16 * total / 1e6, "These are bits. A byte has 8 of them."),
            Mistake(
                2 * (total + config.vocab_size * config.hidden_size) / 1e6,
                "You counted the decoder's embeddings twice. Input and output share one table, and it is "
                "saved once.",
            ),
        ),
    )


@exercise("4.7", "Where does it fail?", "errors")
def _error_analysis() -> Design:
    return Design(
        task=(
            "A recognizer reaches a word error rate of 0.12 on your test set, and you have a week to "
            "improve it. How do you find out *what kind* of errors to work on first? Describe the steps."
        ),
        hint="Who speaks, how long, how loud, which words? And did the listener fail or the writer?",
        solution="The rubric:",
        points=(
            Point(
                "It looks at errors one by one: aligned words, and listens to the clips.",
                ("listen", "hear", "align", "read", "look"),
            ),
            Point(
                "It splits the rate by what could matter: speaker, length, noise, words unknown to the "
                "model.",
                ("speaker", "voice", "length", "noise", "group", "split"),
            ),
            Point(
                "It asks which part failed: the encoder that heard wrong, or the decoder that wrote "
                "fluently.",
                ("encoder", "decoder", "listener", "writer", "projector", "stage"),
            ),
            Point(
                "It distrusts small groups: intervals, and enough utterances.",
                ("interval", "bootstrap", "enough", "uncertain", "chance", "sample"),
            ),
            Point(
                "It checks the references: transcripts can be wrong too.",
                ("reference", "transcript", "label", "annotat"),
            ),
        ),
        sample=(
            "I would evaluate with `--worst 50`, listen to these clips and read the aligned words: is the "
            "reference right, is it a name, a number, a loop? Then I would split the rate by voice, length "
            "and noise, and look only at groups whose interval does not overlap the rest. For the largest "
            "group I would trace a few clips: if the nearest tokens are already garbled, the encoder "
            "failed, otherwise the decoder did. That decides whether I need other audio or other text."
        ),
    )


def _distance(said: list[str], written: list[str]) -> int:
    """Edit distance."""
    above = list(range(len(written) + 1))
    for row, word in enumerate(said, start=1):
        costs = [row]
        for column, other in enumerate(written, start=1):
            costs.append(min(above[column - 1] + (word != other), above[column] + 1, costs[-1] + 1))
        above = costs
    return above[-1]


def _in_place(said: list[str], written: list[str]) -> float:
    """Compare word by word without an alignment."""
    wrong = sum(one != other for one, other in zip(said, written, strict=False))
    return (wrong + abs(len(said) - len(written))) / len(said)


def _texts(rng: np.random.Generator) -> list[Case]:
    """Draw sentences, and the same with words replaced, left out and put in."""
    cases: list[Case] = []
    for length in (1, 3, 6, 8, 10, 12):
        said = sentence(rng, length)
        written = [word for word in said if rng.random() > 0.2]
        for place in range(len(written)):
            if rng.random() < 0.2:
                written[place] = sentence(rng, 1)[0]
        for word in sentence(rng, int(rng.integers(0, 3))):
            written.insert(int(rng.integers(0, len(written) + 1)), word)
        cases.append((" ".join(said), " ".join(written)))
    return cases


def _draws(rng: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    for utterances in (4, 9, 20):
        words: ndarray = rng.integers(3, 15, size=utterances)
        errors = rng.integers(0, 4, size=utterances)
        drawn = rng.integers(0, utterances, size=utterances)
        drawn[1] = drawn[0]  # one of them twice, so that another is left out
        cases.append((errors, words, drawn))
    return cases

"""Exercises: every solution passes, every stub fails, and every wrong idea is met by its name."""

import math
import re
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from asrscope.exercises import (
    Choice,
    Design,
    Feedback,
    Function,
    Number,
    check,
    find,
    hint,
    list_exercises,
    solution,
    task,
)
from asrscope_course.kinds import LEAST_WORDS
from asrscope_course.notes import plain
from asrscope_course.texts import Text, load_texts

IDS = list_exercises().ids
CLASSES = range(1, 7)


def kind_of(text: Text) -> type:
    """Tell the kind of an exercise by its words, so that no model is loaded to collect the tests."""
    by_list = {"Points": Design, "Options": Choice, "Mistakes": Number}
    kind = next(kind for name, kind in by_list.items() if name in text.items)
    return Function if kind is Number and "    return " in text.sections["Program"] else kind


def made(kind: type) -> list[str]:
    """Return the exercises of one kind."""
    return [number for number, text in load_texts().items() if kind_of(text) is kind]


def run(code: str) -> dict:
    """Run a program and return its names."""
    names: dict = {}
    exec(compile(code, "exercise", "exec"), names)
    return names


# All of them ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", CLASSES)
def test_a_class_has_at_least_five_exercises_of_all_kinds(number):
    ids = list_exercises(number).ids
    assert len(ids) >= 5
    assert ids == tuple(f"{number}.{index}" for index in range(1, len(ids) + 1))
    kinds = {find(one).exercise.kind for one in ids}
    assert kinds == {"prediction", "program", "design"}


@pytest.mark.parametrize("number", IDS)
def test_a_stub_fails(number):
    exercise = find(number).exercise
    feedback = check(number, run(exercise.starter)[exercise.answer_name])
    assert feedback.right is False
    assert exercise.hint in feedback.text


@pytest.mark.parametrize("number", IDS)
def test_no_answer_at_all_is_told_from_a_wrong_one(number):
    assert "no answer yet" in check(number, None).text


@pytest.mark.parametrize("number", IDS)
def test_texts_are_whole(number):
    entry = find(number)
    exercise = entry.exercise
    assert re.fullmatch(r"[a-z]+", entry.objective)
    whys = [why for pairs in exercise.text.items.values() for _, why in pairs]
    for text in (*exercise.text.sections.values(), *whys):
        assert text.strip() == text != ""
        assert text == exercise.program or (re.search(r"[.?:)*]$", text) and "  " not in text), text
    shown = str(task(number))
    assert entry.title in shown
    assert f'print(check("{number}", {exercise.answer_name}))' in shown
    assert exercise.hint not in shown
    assert str(solution(number)) != str(hint(number))


@pytest.mark.parametrize("number", IDS)
def test_what_is_shown_fits_a_terminal_and_a_notebook(number):
    for note in (task(number), hint(number), solution(number)):
        prose = [line for line in str(note).splitlines() if not line.startswith("    ")]
        assert all(len(line) <= 88 for line in prose)
        assert not any("**" in line for line in prose)
        html = note._repr_html_()
        assert html.startswith('<div class="asrscope-exercise">')
        assert html.count("<p>") == html.count("</p>") > 0
        assert "<strong>" in html


# Numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", made(Number))
def test_the_program_of_a_solution_finds_the_number(number):
    answer = run(find(number).exercise.program)["answer"]
    assert check(number, answer).right is True


@pytest.mark.parametrize("number", made(Number))
def test_each_wrong_idea_behind_a_number_is_named(number):
    exercise = find(number).exercise
    assert len(exercise.mistakes) >= 3
    for name, mistake in exercise.mistakes.items():
        feedback = check(number, mistake)
        assert feedback.right is False
        assert exercise.remarks[name] in feedback.text


# Worked out by hand from published sizes, lengths and definitions.
BY_HAND = {
    "1.2": 320_000,
    "2.4": 6_000,
    "3.2": 6400 + 2 * 6400 * 2048 + 2048 * 2048 + 2048,
    "3.5": math.log(1024),
    "3.7": 1563,
    "4.2": 0.4,
    "4.3": 2 / 30,
    "4.4": 3,
    "6.1": (636_968_960 + 3_075_098_624 + 30_417_152) / 2 / 1e9,
    "6.2": 2 * 36 * 4 * 128 * 2 * 300 / 1e6,
}


@pytest.mark.parametrize("number", BY_HAND)
def test_numbers_that_can_be_worked_out_by_hand(number):
    assert check(number, BY_HAND[number]).right is True


def text(program: str = "answer = 1000", **items: tuple[tuple[str, str], ...]) -> Text:
    """The words of an exercise of this test's own."""
    sections = {"Task": "How many?", "Hint": "Count.", "Solution": "They were counted.", "Program": program}
    return Text("9.9", "Counting", "counts", 1, sections, items)


@pytest.fixture
def thousand() -> Number:
    return Number(
        text(Mistakes=(("half", "You counted every other one."),)), 1000, unit="bytes", mistakes={"half": 500}
    )


@pytest.mark.parametrize(
    "answer",
    [
        *(1000, 1000.0, np.int64(1000), np.array(1000), np.array([[1000.0]]), [1000]),
        *("1,000", " 1_000 ", "1 000", "1.000", "1000,0", "1e3", "1000 bytes", "1000 Bytes", "2000/2"),
    ],
)
def test_a_number_may_come_in_many_forms(thousand, answer):
    feedback = thousand.check(answer)
    assert feedback.right is True
    assert "1,000 bytes" in feedback.text


@pytest.mark.parametrize(
    ("right", "unit", "answer"),
    [
        (0.4, "", "0,4"),
        (0.4, "", "2/5"),
        (0.4, "", "40 %"),
        (12.8, "MB", "12,8"),
        (12.8, "%", "12.8 %"),
        (6000, "Hz", "6000 Hz"),
        (6000, "Hz", "6,000hz"),
        (75, "audio tokens", "75 tokens"),
        (-0.5, "", "-,5"),
    ],
)
def test_a_number_is_read_as_people_write_it(right, unit, answer):
    assert Number(text(), right, unit=unit).check(answer).right is True


@pytest.mark.parametrize(("right", "answer"), [(4, "0,4"), (1000, "1,00"), (128, "12,8"), (40, "40 %")])
def test_a_number_that_is_written_in_another_way_is_not_right_by_chance(right, answer):
    assert Number(text(), right).check(answer).right is False


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (500, "every other one"),
        (1, "a thousandth of the value"),
        (1_000_000, "a thousand times the value"),
        (8000, "bits instead of bytes"),
        (125, "an eighth"),
        (10, "a hundredth"),
        (-1000, "the sign is not"),
        (1020, "a little above"),
        (990, "a little below"),
        (700, "The value is larger"),
        (1500, "The value is smaller"),
        (976.5625, "1,024 to the thousand"),
        ([1, 2], "Expected one number"),
        ("many", "Expected one number"),
        (True, "Expected one number"),
        (math.nan, "Expected one number"),
        (np.array([]), "but found an empty array"),
        ([], "but found an empty array"),
        (np.zeros((2, 3)), "but found an array of shape (2, 3)"),
        pytest.param(10**5000, "but found a huge number", id="huge"),
        ("1e999", "Expected one number"),
        ("6 kB", "Expected one number (bytes), but found '6 kB'"),
        ("1/0", "Expected one number"),
        (1j, "but found complex"),
        ({"a": 1}, "but found dict"),
    ],
)
def test_a_wrong_number_is_met_with_what_is_wrong_about_it(thousand, answer, told):
    feedback = thousand.check(answer)
    assert feedback.right is False
    assert told in feedback.text


def test_a_torch_scalar_is_a_number(thousand):
    import torch

    assert thousand.check(torch.tensor(1000)).right is True


# Choices --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", made(Choice))
def test_one_choice_is_right_and_each_says_why(number):
    exercise = find(number).exercise
    assert len(exercise.options) >= 3
    for index, letter in enumerate(exercise.letters):
        feedback = check(number, letter)
        assert feedback.right is (index == exercise.right)
        assert exercise.options[index][1] in feedback.text
    assert check(number, exercise.letters[exercise.right].lower() + ".").right is True


def test_a_letter_that_is_no_choice_is_told():
    choice = Choice(text(Options=(("this", "Yes."), ("that", "No."))), 0)
    assert "Expected one of 'A', 'B', but found 'C'" in choice.check("C").text
    assert "Expected one of 'A', 'B', but found 1" in choice.check(1).text
    assert "but found an array of shape (3,)" in choice.check(np.zeros(3)).text
    assert choice.check("(a)").right is True


def test_the_right_choice_follows_from_a_trial():
    assert "1 of" in find("2.5").exercise.solution  # changed one position, one audio token differs
    assert find("2.5").exercise.options[find("2.5").exercise.right][0] == "One"
    assert find("3.1").exercise.options[find("3.1").exercise.right][0].startswith("None")
    assert find("1.4").exercise.letters[find("1.4").exercise.right] == "B"


# Programs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", made(Function))
def test_a_program_that_solves_it_passes(number):
    exercise = find(number).exercise
    feedback = check(number, run(exercise.program)[exercise.answer_name])
    assert feedback.right is True, feedback
    assert re.search(r"Right, on \d+ random inputs", feedback.text)


@pytest.mark.parametrize("number", made(Function))
def test_each_wrong_program_is_recognized(number):
    exercise = find(number).exercise
    assert len(exercise.mistakes) >= 3
    for name, mistake in exercise.mistakes.items():
        feedback = check(number, mistake)
        assert feedback.right is False
        assert exercise.remarks[name] in feedback.text


@pytest.fixture
def double() -> Function:
    return Function(
        text('def double(x):\n    """Twice."""\n    return 2 * x', Mistakes=(("squared", "You squared."),)),
        lambda x: 2 * x,
        lambda rng: [(rng.standard_normal((3, 4)).astype(np.float32),) for _ in range(3)],
        mistakes={"squared": lambda x: x * x},
    )


def test_a_program_to_begin_with_is_the_solution_without_its_body(double):
    assert double.starter == 'def double(x):\n    """Twice."""\n    ...'
    assert double.answer_name == "double"


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda x: x * x, "You squared."),
        (lambda x: 3 * x, "it gave ["),
        (lambda x: (2 * x).T, "the axes have the right lengths in another order"),
        (lambda x: 2 * x[:2], "Axis 0 has length 2, not 3."),
        (lambda x: 2 * x[0], "it has 1 axis, and should have 2"),
        (lambda _x: None, "Is there a `return`?"),
        (lambda x: x @ x, "it raised an error: `ValueError"),
        (lambda _x: {"a": 1}, "it is of another kind"),
        (42, "Expected the function `double` itself, but found 42"),
        (lambda: 1, "it raised an error: `TypeError"),
        (lambda _x: "twelve", "it gave 'twelve', where an array of shape (3, 4) was expected"),
        (lambda x: [[str(number) for number in row] for row in 2 * x], "it gave list, where an array"),
        (lambda _x: 10**5000, "it gave a huge number, where an array"),
        (lambda _x: [], "it gave an empty array, where an array"),
        (lambda _x: sys.exit(), "it raised an error: `SystemExit"),
        (np.zeros(3), "Expected the function `double` itself, but found an array of shape (3,)"),
        ("double", "Expected the function `double` itself, but found 'double'"),
    ],
)
def test_a_wrong_program_is_met_with_shapes_and_values(double, function, told):
    feedback = double.check(function)
    assert feedback.right is False
    assert told in feedback.text


def test_a_program_may_give_a_tensor_or_a_list(double):
    import torch

    assert double.check(lambda x: 2 * torch.from_numpy(x)).right is True
    assert double.check(lambda x: (2 * x).tolist()).right is True


def test_a_program_cannot_change_what_the_others_are_given(double):
    def greedy(x):
        x *= 2
        return x

    assert double.check(greedy).right is True


def test_where_an_error_is_wanted_a_value_is_wrong():
    feedback = check("2.6", lambda embeds, _is_audio, _audio: embeds)
    assert feedback.right is False
    solved = run(find("2.6").exercise.program)["splice"]

    def careless(embeds, is_audio, audio):
        return solved(embeds, is_audio, audio) if is_audio.sum() == len(audio) else embeds

    assert "where a ValueError was expected" in check("2.6", careless).text


def test_the_real_functions_are_those_of_the_package(bundled, rng):
    import torch

    from asrscope.projector import AudioProjector

    model, _ = bundled
    hidden = rng.standard_normal((4, model.config.text_config.hidden_size)).astype(np.float32)
    own = find("5.4").exercise.reference(
        hidden,
        model.language_model.model.norm.weight.detach().numpy(),
        model.get_input_embeddings().weight.detach().numpy(),
    )
    with torch.inference_mode():
        normed = model.language_model.model.norm(torch.from_numpy(hidden))
        real = model.get_output_embeddings()(normed).numpy()
    np.testing.assert_allclose(own, real, rtol=1e-3, atol=1e-3)

    torch.manual_seed(0)
    projector = AudioProjector(encoder_dim=6, decoder_dim=4, stack_factor=1, hidden_size=10)
    x = torch.randn(5, 6)
    with torch.inference_mode():
        inner = projector.norm_out(
            torch.from_numpy(
                np.asarray(
                    find("3.3").exercise.reference(
                        projector.norm_in(x).numpy(),
                        *(
                            getattr(projector, name).weight.detach().numpy()
                            for name in ("gate", "up", "down")
                        ),
                    )
                )
            )
        )
        torch.testing.assert_close(inner, projector(x[None])[0])


# Designs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", made(Design))
def test_the_sample_of_a_design_speaks_of_every_point(number):
    exercise = find(number).exercise
    assert len(exercise.points) >= 4
    feedback = check(number, exercise.sample)
    assert feedback.right is None
    assert all(point in feedback.text for point, _ in exercise.points)
    assert "I found no word" not in feedback.text


@pytest.mark.parametrize("number", made(Design))
def test_a_rubric_is_shown_only_after_an_answer_of_ones_own(number):
    exercise = find(number).exercise
    feedback = check(number, "I would measure it.")
    assert feedback.right is False
    assert not any(point in feedback.text for point, _ in exercise.points)
    assert f"at least {LEAST_WORDS} words" in feedback.text


def test_a_design_that_speaks_of_something_else_is_told_what_was_not_found():
    elsewhere = check("6.7", "bread " * 40)
    assert elsewhere.right is None
    assert elsewhere.text.count("I found no word") == len(find("6.7").exercise.points)
    assert "Expected a text, but found int" in check("6.7", 3).text


# Looking up and showing -----------------------------------------------------------------------------------


def test_an_unknown_number_names_near_ones():
    with pytest.raises(ValueError, match=r"there is no exercise '2\.33'; expected one such as .*2\.3"):
        check("2.33", 1)


def test_an_unknown_class_is_an_error():
    with pytest.raises(ValueError, match="expected a class from 1 to 6, but found 7"):
        list_exercises(7)


def test_the_list_is_in_order_and_shows_itself_as_a_table():
    assert list(IDS) == sorted(IDS, key=lambda number: [int(part) for part in number.split(".")])
    lines = str(list_exercises(2)).splitlines()
    assert lines[2].startswith("| 2.1 | Count the audio tokens")
    assert len({len(line) for line in lines}) == 1
    assert "<table>" in list_exercises(2)._repr_html_()


def test_a_right_answer_gets_no_hint_and_no_way_to_the_solution():
    told = check("2.4", 6000)
    assert str(told) == repr(told) == "Exercise 2.4: A tone that is too high\n\nRight: 6,000 Hz."
    assert "solution(" in str(check("2.4", 5))


def test_plain_text_keeps_lists_and_programs():
    text = (
        "**Head.** A line.\n\n- one " + "word " * 20 + "\n- two\n\n```python\ndef f():\n\n    return 1\n```"
    )
    assert plain(text).splitlines()[0] == "Head. A line."
    assert "    def f():\n\n        return 1" in plain(text)
    assert "\n  word" in plain(text)
    assert "\n- two" in plain(text)


def test_markup_in_an_answer_is_not_passed_on_to_the_page():
    assert "<script>" not in check("2.4", "<script>alert(1)</script>")._repr_html_()


# Whatever is passed ---------------------------------------------------------------------------------------


class Awkward:
    """Refuses whatever it is asked."""

    def refuse(self, *_args):
        raise ArithmeticError("refused")

    __repr__ = __str__ = __eq__ = __float__ = __len__ = __array__ = __bool__ = refuse
    __hash__ = object.__hash__


class Unspeakable(Exception):
    """Cannot even say what went wrong."""

    def __str__(self):
        raise ArithmeticError("refused")


def itself() -> list:
    """A list that holds itself."""
    found: list = []
    found.append(found)
    return found


def raising(error: BaseException):
    def function(*_args):
        raise error

    return function


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**5000),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.text(alphabet="0123456789.,_ '%/eE+-Hzkab²٣", max_size=12),
    st.binary(),
    st.dates(),
    st.lists(st.one_of(st.integers(), st.text(max_size=3), st.none()), max_size=8),
    st.dictionaries(st.integers(), st.text()),
    arrays(
        st.sampled_from([np.float32, np.int64, np.bool_, np.complex64, "U3", object]),
        array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
        fill=st.nothing(),
    ),
    st.sampled_from([Awkward(), itself(), range(10**15), object, Ellipsis, NotImplemented, "A", "b)"]),
)
ANSWERS = st.one_of(
    VALUES,
    VALUES.map(lambda value: lambda *_args: value),
    st.sampled_from([ValueError("no"), Unspeakable(), SystemExit(3), RecursionError()]).map(raising),
)


@pytest.mark.parametrize("number", IDS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(answer=ANSWERS)
def test_any_answer_at_all_is_met_with_words(number, answer):
    with warnings.catch_warnings(action="ignore"):  # numpy's, of a reference that is given nothing unusual
        feedback = check(number, answer)
    assert isinstance(feedback, Feedback)
    assert feedback.right in (True, False, None)
    assert find(number).title in str(feedback)
    assert feedback._repr_html_()


@pytest.mark.parametrize("number", made(Number))
@given(decimals=st.sampled_from([".", ","]), unit=st.booleans(), spaces=st.text(" ", max_size=2))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_a_right_number_is_right_however_it_is_written(number, decimals, unit, spaces):
    exercise = find(number).exercise
    digits = repr(exercise.answer).replace(".", decimals)
    assert check(number, f"{spaces}{digits} {exercise.unit if unit else ''}{spaces}").right is True


def test_a_number_of_an_exercise_need_not_be_a_text():
    assert find(2.3).number == "2.3"
    with pytest.raises(ValueError, match=r"there is no exercise '2.45'; expected one such as .*2\.4"):
        check(2.45, 1)


# The files ------------------------------------------------------------------------------------------------


def test_an_exercise_is_of_the_kind_that_its_words_are_of():
    assert [type(find(number).exercise) for number in IDS] == [
        kind_of(load_texts()[number]) for number in IDS
    ]


def test_minutes_are_told_with_the_task_and_in_the_list():
    assert "(prediction, 3 min)" in str(task("2.2"))
    assert all(1 <= one.minutes <= 10 for one in load_texts().values())
    assert str(list_exercises(2)).splitlines()[0].rstrip(" |").endswith("minutes")


def test_mistakes_without_words_are_refused():
    with pytest.raises(ValueError, match=r"9\.9: expected the mistakes"):
        Number(text(), 1, mistakes={"half": 0.5})

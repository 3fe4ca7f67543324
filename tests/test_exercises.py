"""Exercises: every solution passes, every stub fails, and every wrong idea is met by its name."""

import math
import re

import numpy as np
import pytest

from asrscope.exercises import (
    Choice,
    Design,
    Function,
    Mistake,
    Number,
    Option,
    check,
    find,
    hint,
    list_exercises,
    solution,
    task,
)
from asrscope_course.notes import plain

IDS = list_exercises().ids
CLASSES = range(1, 7)


def made(kind: type) -> list[str]:
    """Return the exercises of one kind."""
    return [number for number in IDS if isinstance(find(number).exercise, kind)]


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
    for text in (exercise.task, exercise.hint, exercise.solution):
        assert text.strip() == text
        assert re.search(r"[.?:)*]$", text), text
        assert "  " not in text
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
    answer = run(find(number).exercise.code)["answer"]
    assert check(number, answer).right is True


@pytest.mark.parametrize("number", made(Number))
def test_each_wrong_idea_behind_a_number_is_named(number):
    exercise = find(number).exercise
    assert len(exercise.mistakes) >= 3
    for mistake in exercise.mistakes:
        feedback = check(number, mistake.answer)
        assert feedback.right is False
        assert mistake.why in feedback.text


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


@pytest.fixture
def thousand() -> Number:
    return Number(
        task="How many?",
        hint="Count.",
        solution="They were counted.",
        answer=1000,
        code="answer = 1000",
        unit="bytes",
        mistakes=(Mistake(500, "You counted every other one."),),
    )


@pytest.mark.parametrize("answer", [1000, 1000.0, "1,000", " 1_000 ", np.int64(1000), np.array(1000)])
def test_a_number_may_come_in_many_forms(thousand, answer):
    feedback = thousand.check(answer)
    assert feedback.right is True
    assert "1,000 bytes" in feedback.text


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (500, "every other one"),
        (1, "a thousandth of the value"),
        (1_000_000, "a thousand times the value"),
        (8000, "bits in the place of bytes"),
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
        assert exercise.options[index].why in feedback.text
    assert check(number, exercise.letters[exercise.right].lower() + ".").right is True


def test_a_letter_that_is_no_choice_is_told():
    choice = Choice(
        task="Which?",
        hint="Try.",
        solution="So.",
        options=(Option("this", "Yes."), Option("that", "No.")),
        right=0,
    )
    assert "Expected one of 'A', 'B', but found 'C'" in choice.check("C").text
    assert "Expected one of 'A', 'B', but found 1" in choice.check(1).text


def test_the_right_choice_follows_from_a_trial():
    assert "1 of" in find("2.5").exercise.solution  # changed one position, one audio token differs
    assert find("2.5").exercise.options[find("2.5").exercise.right].text == "One"
    assert find("3.1").exercise.options[find("3.1").exercise.right].text.startswith("None")
    assert find("1.4").exercise.letters[find("1.4").exercise.right] == "B"


# Programs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", made(Function))
def test_a_program_that_solves_it_passes(number):
    exercise = find(number).exercise
    feedback = check(number, run(exercise.code)[exercise.name])
    assert feedback.right is True, feedback
    assert re.search(r"Right, on \d+ random inputs", feedback.text)


@pytest.mark.parametrize("number", made(Function))
def test_each_wrong_program_is_recognized(number):
    exercise = find(number).exercise
    assert len(exercise.mistakes) >= 3
    for mistake in exercise.mistakes:
        feedback = check(number, mistake.answer)
        assert feedback.right is False
        assert mistake.why in feedback.text


@pytest.fixture
def double() -> Function:
    return Function(
        name="double",
        task="Double each row.",
        hint="Multiply.",
        solution="Twice.",
        stub="def double(x):\n    ...",
        code="def double(x):\n    return 2 * x",
        reference=lambda x: 2 * x,
        cases=lambda rng: [(rng.standard_normal((3, 4)).astype(np.float32),) for _ in range(3)],
        mistakes=(Mistake(lambda x: x * x, "You squared."),),
    )


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
    solved = run(find("2.6").exercise.code)["splice"]

    def careless(embeds, is_audio, audio):
        return solved(embeds, is_audio, audio) if is_audio.sum() == len(audio) else embeds

    assert "where a ValueError was expected" in check("2.6", careless).text


def test_the_real_functions_are_those_of_the_package(bundled, rng):
    import torch

    from asrscope.inside.lens import layer_logits
    from asrscope.projector import AudioProjector

    model, _ = bundled
    hidden = rng.standard_normal((4, model.config.text_config.hidden_size)).astype(np.float32)
    own = find("5.4").exercise.reference(
        hidden,
        model.language_model.model.norm.weight.detach().numpy(),
        model.get_input_embeddings().weight.detach().numpy(),
    )
    with torch.inference_mode():
        real = layer_logits(model, torch.from_numpy(hidden)).numpy()
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
    assert all(point.text in feedback.text for point in exercise.points)
    assert "I found no word" not in feedback.text


@pytest.mark.parametrize("number", made(Design))
def test_a_rubric_is_shown_only_after_an_answer_of_ones_own(number):
    exercise = find(number).exercise
    feedback = check(number, "I would measure it.")
    assert feedback.right is False
    assert not any(point.text in feedback.text for point in exercise.points)
    assert f"at least {exercise.least_words} words" in feedback.text


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

"""The page of an evaluation: all of it in one file, nothing in it runs, and it can be read by anyone."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from asrscope.evaluation import Evaluation, Noise, Result, Utterance, write_html
from asrscope.metrics import word_errors

EVIL = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>&amp;"
ROWS = [
    ("the old clock stops", "the cold clock", 1.5, "slt"),
    ("birds sing in the morning", "the birds sing in morning", 2.5, "slt"),
    ("a red house", "a red house", 0.7, "awb"),
    ("nobody knows the reason", "nobody nose the reason why", 2.2, "awb"),
    ("please open the old door", "please open the cold door", 1.2, "slt"),
    ("the old piano", "the cold piano", 1.1, "slt"),
    ("the train stops", "the train stops", 1.3, "slt"),
]


def build(rows, failure=None):
    results = [
        Result(
            Utterance(f"{voice}/{index}.wav", Path("x"), said, voice),
            written,
            word_errors(said, written),
            s,
            0.1,
        )
        for index, (said, written, s, voice) in enumerate(rows)
    ]
    noisy = {Noise("white", 10.0): tuple(results[1:]), Noise("pink", 0.0): tuple(results[:4])}
    if failure:
        results.append(Result(results[0].utterance, "", word_errors("", ""), 0.0, 0.0, failure=failure))
    return Evaluation(tuple(results), noisy)


@pytest.fixture
def page(tmp_path):
    """Write an evaluation and give the page's text."""

    def write(evaluation, **options):
        path = tmp_path / "page.html"
        write_html(evaluation, path, **{"title": "my clips", **options})
        return path.read_text(encoding="utf-8")

    return write


class Reader(HTMLParser):
    """Collects elements with their attributes, and the text of the page."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        self.open.pop()

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_page_states_what_the_evaluation_says(page):
    evaluation = build(ROWS)
    text = Reader(page(evaluation, about={"model": "tiny", "search": "3 beams"})).text
    low, high = evaluation.interval
    for expected in (
        "my clips",
        f"{evaluation.errors.rate:.1%} word error rate",
        f"{low:.1%} to {high:.1%}",
        f"character error rate {evaluation.character_error_rate:.1%}",
        f"{evaluation.errors.words} words in {len(ROWS)} recordings",
        "model tiny",
        "search 3 beams",
        f"{evaluation.errors.substitutions} words replaced",
        "old cold 3",
        "below 1 s",
        "white, 10 dB",
        "pink, 0 dB",
        "slt",
        evaluation.worst(1)[0].utterance.name,
    ):
        assert expected in text, expected


def test_errors_are_named_in_words_where_they_were_made(page):
    text = Reader(page(build(ROWS[:1]))).text
    assert "said: old , written: cold , replaced" in text
    assert "said: stops , written: – , left out" in text
    assert "put in" in Reader(page(build(ROWS[1:2]))).text


def test_nothing_of_a_collection_can_run(page):
    rows = [(f"cat {EVIL}", f"dog {EVIL}", 1.5, EVIL), (EVIL, "", 2.5, EVIL)]
    written = page(build(rows, failure=EVIL), title=EVIL, about={EVIL: EVIL})
    reader = Reader(written)
    assert {tag for tag, _ in reader.elements} == {tag for tag, _ in Reader(page(build(ROWS, "x"))).elements}
    assert not reader.named("script")
    assert not reader.named("img")
    assert not [key for _, attributes in reader.elements for key in attributes if key.startswith("on")]
    assert reader.text.count("<script>alert('x')</script>") >= 6


def test_the_page_asks_for_nothing_and_forbids_it_too(page):
    written = page(build(ROWS))
    reader = Reader(written)
    references = [
        value
        for _, attributes in reader.elements
        for key, value in attributes.items()
        if key in {"src", "href", "srcset", "data", "action"}
    ]
    assert references == ["data:,"]
    assert "url(" not in written
    assert "@import" not in written
    policies = [
        a["content"] for a in reader.named("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]
    assert "script" not in policies[0]


def test_tables_have_captions_and_headers_with_a_scope(page):
    written = page(build(ROWS))
    tables = re.findall(r"<table.*?</table>", written, re.DOTALL)
    assert len(tables) >= 5
    for table in tables:
        assert re.search(r"<caption>\S", table)
        assert all("scope=" in tag for tag in re.findall(r"<th\b[^>]*>", table))
    assert all("aria-hidden" in picture for picture in Reader(written).named("svg"))
    assert 'lang="en"' in written


def test_bars_are_as_long_as_the_rates_say(page):
    rows = [("red green blue house tree", written, 1.5, voice) for voice, written in [
        ("half right", "red green x y tree"), ("right", "red green blue house tree"),
    ]]  # fmt: skip
    written = page(build(rows))
    top = float(re.search(r"Bars run from 0 to (\d+)%", written)[1])
    widths = dict(
        re.findall(
            r'<th scope="row">((?:half )?right)</th>.*?class="bar"[^>]*? width="([\d.]+)"', written, re.DOTALL
        )
    )
    assert float(widths["half right"]) == pytest.approx(100 * 40 / top)
    assert float(widths["right"]) == 0


def test_one_hopeless_recording_does_not_make_all_bars_short(page):
    rows = [*ROWS, ("yes", "no no no no no no no", 1.0, "other")]
    assert "Bars run from 0 to 100%" in page(build(rows))


def test_an_evaluation_without_errors_groups_or_failures_has_a_page(page):
    result = Result(Utterance("a.wav", Path("a.wav"), "yes"), "yes", word_errors("yes", "yes"), 1.0, 0.1)
    text = Reader(page(Evaluation((result,)))).text
    assert "0.0% word error rate" in text
    assert "Not one." in text
    for absent in ("Worst", "By voice", "By length", "By added noise", "Bars run", "Not recognized"):
        assert absent not in text


def test_the_same_evaluation_gives_the_same_page(page):
    assert page(build(ROWS, "broken")) == page(build(ROWS, "broken"))


def test_an_evaluation_of_nothing_is_refused_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="found none"):
        write_html(Evaluation(()), tmp_path / "page.html", title="nothing")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_window_and_is_quiet(browser, page, tmp_path, width, theme):
    from pages import Visit

    long = ("word " * 40 + "x" * 90, "ward " * 40 + "x" * 90, 9.0, "a voice with a long name " * 4)
    page(
        build([*ROWS, long], failure="broken.wav: not recognized as audio"), title="path/to/" + "folder/" * 20
    )
    with Visit(browser, tmp_path.as_uri() + "/", width=width, theme=theme) as visit:
        visit.page.goto(visit.base + "page.html")
        visit.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        assert visit.overflow() <= 0
        assert visit.complaints == []
        background, ink = visit.page.evaluate(
            "['backgroundColor', 'color'].map("
            "key => getComputedStyle(document.body)[key].match(/\\d+/g).map(Number))"
        )
        assert (sum(background) < sum(ink)) == (theme == "dark")
        smallest = visit.page.evaluate(
            "Math.min(...[...document.querySelectorAll('main td, main th, main li span')]"
            ".map(one => parseFloat(getComputedStyle(one).fontSize)))"
        )
        assert smallest >= 12

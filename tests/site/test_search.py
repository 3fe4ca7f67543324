"""The search of the built site, asked as learners ask: what answers is among the first three."""

import os
import re
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from pages import Visit, wait_for

SITE = Path(os.environ["ASRSCOPE_SITE"]).resolve()
BASE = SITE.as_uri() + "/"  # from the disk, where nothing can be fetched
FIRST = 3

# What is typed, and the pages that answer it: written as a learner would ask, before the ranking was tuned,
# but with the table of synonyms known; the last four came with the pages that they ask for.
QUESTIONS = {
    "what is a mel spectrogram": {"gallery/20_log_mel", "glossary"},
    "how do I install it": {"using/install"},
    "do I need a GPU": {"course/faq", "using/install"},
    "what does the projector do": {"gallery/40_projector", "course/class-2"},
    "modality gap": {"gallery/43_modality_gap"},
    "transcribe my own recording": {"using/your-recording"},
    "how is word error rate computed": {"gallery/80_evaluation", "course/class-4"},
    "how long does training take": {"using/training"},
    "why is the encoder frozen": {"course/class-3", "course/faq"},
    "does the model really listen or guess": {"gallery/55_attention"},
    "logit lens": {"gallery/60_logit_lens"},
    "empty output or repeating words": {"course/troubleshooting"},
    "publish to hugging face": {"course/class-4"},
    "how many audio tokens per second": {"course/quick-reference", "course/class-2"},
    "background noise": {"gallery/70_robustness", "using/evaluation"},
    "why 16 khz sample rate": {"gallery/10_from_air_to_numbers"},
    "microphone not working": {"course/troubleshooting", "using/your-recording", "api/asrscope.audio"},
    "json format": {"using/json-format"},
    "quantize to 8 bit": {"course/class-6"},
    "audio longer than 30 seconds": {"course/class-6", "using/your-recording"},
    "beam search": {"gallery/50_decoder"},
    "download the notebooks": {"gallery/index"},
    "chat template": {"gallery/46_prompt_anatomy"},
    "compare Voxtral and Qwen2-Audio": {"using/systems", "gallery/92_side_by_side"},
    "trace another model": {"using/any-model", "gallery/94_any_model"},
    "load the large model": {"using/full"},
    "load_sample": {"api/asrscope", "api/asrscope.audio.samples"},
}


FIRST_OF_ALL = {"what is a projector": "glossary", "how do I use my own voice": "using/your-recording"}


def ask(visit: Visit, question: str) -> list[str]:
    """Type a question into the search and return the pages that it finds, in their order."""
    visit.page.goto(f"{BASE}search.html?q={quote_plus(question)}")
    wait_for(visit.page, "document.querySelector('#search-results h2')?.textContent === 'Search Results'")
    addresses = visit.page.eval_on_selector_all(
        "#search-results li > a", "(links) => links.map((link) => link.getAttribute('href'))"
    )
    return list(dict.fromkeys(re.sub(r"\.html(#.*)?$", "", address) for address in addresses))


@pytest.fixture(scope="module")
def visit(browser):
    with Visit(browser, BASE) as visit:
        yield visit


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_finds_the_page_that_answers_it(visit, question, audit_record):
    right = bool(set(ask(visit, question)[:FIRST]) & QUESTIONS[question])
    audit_record(f"search/{list(QUESTIONS).index(question)}", {"right": int(right)})
    assert right
    assert visit.complaints == []


@pytest.mark.parametrize("question", FIRST_OF_ALL)
def test_a_question_that_one_page_answers_finds_it_first(visit, question):
    assert ask(visit, question)[0] == FIRST_OF_ALL[question]


def test_a_result_leads_to_the_section_that_was_asked_for(visit):
    ask(visit, "stacking")
    addresses = visit.page.eval_on_selector_all("#search-results li > a", "(all) => all.map((a) => a.href)")
    assert any("gallery/40_projector.html#stacking" in address for address in addresses)


def test_each_page_that_is_found_says_what_it_is_about(visit):
    ask(visit, "what does the projector do")
    items = visit.page.locator("#search-results li.kind-text")
    assert items.count() >= FIRST
    for item in items.all()[:FIRST]:
        assert len(item.locator("p.context").inner_text()) > 40


def test_a_reader_types_into_the_box_of_any_page_and_follows_the_first_result(visit):
    visit.page.goto(f"{BASE}gallery/40_projector.html")
    box = visit.page.locator("input[name=q]:visible").first
    box.fill("which layers does the logit lens read")
    box.press("Enter")
    visit.page.locator("#search-results li > a").first.click()
    visit.page.wait_for_url(re.compile(r"/gallery/60_logit_lens\.html"))
    assert visit.complaints == []


def test_words_that_stand_nowhere_find_nothing_and_the_page_says_so(visit):
    assert ask(visit, "xylophonic quagmire") == []
    assert "did not match" in visit.page.locator("#search-results").inner_text()

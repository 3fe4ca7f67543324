"""A transcript in the forms that others read."""

import json

from asrscope.recognition.transcribe import Segment, Transcript

SEGMENTS = (
    Segment(0.0, 2.5, "it is <b> & late", 0.9),
    Segment(2.5, 3.0, "", 0.0, ("the stretch is silent",)),
    Segment(3.0, 3661.2504, "good night", 0.81234),
)
TEXT, WARNINGS = "it is <b> & late good night", ("2.5 to 3.0 s: the stretch is silent",)
TRANSCRIPT = Transcript(TEXT, 0.85, WARNINGS, SEGMENTS)


def test_subrip_numbers_the_cues_that_have_a_text():
    assert TRANSCRIPT.to_srt() == (
        "1\n00:00:00,000 --> 00:00:02,500\nit is <b> & late\n\n2\n00:00:03,000 --> 01:01:01,250\ngood night\n"
    )


def test_webvtt_escapes_what_it_would_read_as_markup():
    assert TRANSCRIPT.to_vtt() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nit is &lt;b&gt; &amp; late\n\n"
        "00:00:03.000 --> 01:01:01.250\ngood night\n"
    )


def test_webvtt_without_a_word_has_its_header_and_the_empty_line_after_it():
    """The format wants two line ends after WEBVTT, with or without a cue; SubRip has no header."""
    silent = Transcript("", 0.0, WARNINGS, SEGMENTS[1:2])
    assert silent.to_vtt() == "WEBVTT\n\n"
    assert silent.to_srt() == ""


def test_json_holds_every_segment_with_its_warnings():
    record = json.loads(json.dumps(TRANSCRIPT.to_dict()))
    assert record["seconds"] == TRANSCRIPT.seconds == 3661.2504
    assert [segment["text"] for segment in record["segments"]] == ["it is <b> & late", "", "good night"]
    assert record["segments"][1]["warnings"] == ["the stretch is silent"]
    assert record["segments"][2] == {
        "start": 3.0,
        "end": 3661.25,
        "text": "good night",
        "confidence": 0.8123,
        "warnings": [],
    }

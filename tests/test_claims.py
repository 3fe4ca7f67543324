"""What the page "Claims we corrected" says holds, and each test that it names exists."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.audio import SAMPLE_RATE, load_audio
from asrscope.encoder import SECONDS_PER_POSITION, encode
from asrscope.features import HOP_LENGTH, log_mel
from asrscope.projector import AudioProjector
from asrscope_course import systems
from asrscope_course.sizes import count_parameters, published_config

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "corrections.md"


def config(name: str) -> dict:
    return published_config(name)


def test_every_test_named_on_the_page_exists():
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) >= 8
    for file, test in named:
        assert f"\ndef {test}(" in (ROOT / file).read_text(encoding="utf-8"), test


def test_every_claim_names_a_test_or_a_source():
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    for section in sections:
        assert "**Held by:**" in section, section.splitlines()[0]


def test_smollm3_is_2048_wide():
    assert config("smollm3-3b")["hidden_size"] == 2048


def test_an_encoder_position_is_exactly_20_ms():
    audio = WhisperConfig.from_dict(config("whisper-large-v3-turbo"))
    with torch.device("meta"):
        encoder = WhisperEncoder(audio)
    strides = encoder.conv1.stride[0], encoder.conv2.stride[0]
    assert strides == (1, 2)
    assert strides[0] * strides[1] * HOP_LENGTH * 1000 == 20 * SAMPLE_RATE
    assert SECONDS_PER_POSITION == 0.02


@pytest.fixture
def small_encoder() -> WhisperEncoder:
    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
    return WhisperEncoder(WhisperConfig(**sizes, num_mel_bins=80, max_source_positions=1500)).eval()


def test_whisper_pads_and_true_length_does_not(small_encoder, rng):
    waveform = (0.1 * rng.standard_normal(3 * SAMPLE_RATE)).astype(np.float32)
    extract = WhisperFeatureExtractor(feature_size=80)
    padded = extract(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt")
    with torch.no_grad():
        as_published = small_encoder(padded.input_features).last_hidden_state
        true_length = encode(small_encoder, torch.from_numpy(log_mel(waveform))[None])
    assert as_published.shape[1] == 1500
    assert true_length.shape[1] == 150


def test_the_lectures_projector_has_36_704_768_parameters():
    audio, text = config("whisper-large-v3-turbo"), config("smollm3-3b")
    with torch.device("meta"):
        projector = AudioProjector(
            audio["d_model"], text["hidden_size"], stack_factor=2, hidden_size=4 * audio["d_model"]
        )
    assert sum(weight.numel() for weight in projector.parameters()) == 36_704_768


def test_nothing_above_8_khz_survives_16_khz(tmp_path):
    rate, tone = 48_000, 9_000
    time = np.arange(rate) / rate
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * tone * time), rate)
    filtered = load_audio(tmp_path / "tone.wav")
    assert np.abs(filtered[1600:-1600]).max() < 0.5e-3
    # Every third sample, without a filter: the tone comes out as far below 8 kHz as it was above.
    careless = 0.5 * np.sin(2 * np.pi * tone * time)[::3]
    loudest = np.abs(np.fft.rfft(careless)).argmax() * SAMPLE_RATE / careless.size
    assert loudest == 16_000 - tone


def test_the_spectrogram_saves_at_most_half_of_the_numbers(rng):
    waveform = (0.1 * rng.standard_normal(2 * SAMPLE_RATE)).astype(np.float32)
    assert log_mel(waveform, 80).size * 2 == waveform.size
    assert log_mel(waveform, config("whisper-large-v3-turbo")["num_mel_bins"]).size / waveform.size == 0.8


def test_an_audio_token_sees_only_its_own_positions():
    import asrscope

    model, _ = asrscope.load("tiny")
    projector, k = model.multi_modal_projector, model.config.stack_factor
    torch.manual_seed(0)
    hidden = torch.randn(1, 8 * k, model.config.audio_config.d_model)
    changed = hidden.clone()
    changed[:, 3 * k : 4 * k] += 1.0  # the positions of the fourth audio token
    with torch.no_grad():
        before, after = projector(hidden)[0], projector(changed)[0]
    differs = (before != after).any(dim=1)
    assert differs.tolist() == [False, False, False, True, False, False, False, False]


@pytest.fixture(scope="module")
def traces():
    import asrscope

    sample = asrscope.load_samples()[0]
    return [
        asrscope.trace(*asrscope.load("tiny", random_projector=random), sample.path)
        for random in (False, True)
    ]


def test_a_random_projector_cannot_pass_for_a_trained_one(traces):
    from asrscope import plots

    trained, random = traces
    parts = [{part.part: part for part in trace.provenance} for trace in traces]
    assert [part["projector"].trained for part in parts] == [True, False]
    assert parts[0]["projector"].sha256 != parts[1]["projector"].sha256
    assert parts[0]["encoder"] == parts[1]["encoder"]
    for key in ("audio_embeds", "nearest_tokens", "decoder_words"):
        assert "random weights" in plots.PLOTS[key](random).title.text
        assert "random" not in plots.PLOTS[key](trained).title.text


def test_the_report_holds_live_figures_and_no_pictures(traces, tmp_path):
    from asrscope.plots.report import write_html

    page = tmp_path / "data_trace.html"
    write_html(traces[0], page)
    html = page.read_text(encoding="utf-8")
    assert "Bokeh" in html
    assert "<audio" in html
    assert "<img" not in html


def test_trained_and_random_projectors_are_compared_on_the_same_clip(traces):
    trained, random = traces
    assert np.array_equal(trained.encoder_hidden_states, random.encoder_hidden_states)
    assert trained.nearest_cosines.shape == random.nearest_cosines.shape
    assert not np.array_equal(trained.nearest_ids, random.nearest_ids)
    assert trained.text != random.text
    # The trained projector spells, as the gallery's page says, with letters, spaces and "-" for a pause,
    # because the decoder was trained to read such spellings. A random one does not.
    spelled = [
        sum(len(texts[0]) == 1 for texts in trace.nearest_texts) / len(trace.nearest_texts)
        for trace in traces
    ]
    assert spelled[0] > 0.9
    assert spelled[1] < 0.5


def test_sixteen_bits_hold_a_clip_and_each_bit_less_costs_6_db():
    import asrscope

    waveform = load_audio(asrscope.load_samples()[0].path).astype(np.float64)
    errors = []
    for bits in (16, 12, 11, 10, 9, 8):
        step = 2.0 ** (1 - bits)
        errors.append(np.mean((np.round(waveform / step) * step - waveform) ** 2))
    assert errors[0] == 0
    assert 10 * np.log10(np.array(errors[2:]) / errors[1:-1]) == pytest.approx(np.full(4, 6.0), abs=0.5)


def test_tones_that_differ_by_the_sampling_rate_have_equal_samples():
    moments = np.arange(400) / 4000
    tones = [np.cos(2 * np.pi * hertz * moments) for hertz in (1000, 3000, 5000, 7000)]
    for tone in tones[1:]:
        assert tone == pytest.approx(tones[0], abs=1e-9)


def test_a_head_of_the_decoder_looks_at_the_word_that_is_written():
    import asrscope
    from asrscope.inside.decoder import attend, clockwork, share_inside, word_mask

    model, processor = asrscope.load("tiny")
    control, _ = asrscope.load("tiny", random_projector=True)
    scores = {"trained": [], "random": [], "clockwork": []}
    for clip in asrscope.load_samples()[:4]:
        trace = asrscope.trace(model, processor, clip.path, reference_words=clip.words)
        rows = [row for row, word in enumerate(trace.words) if word.start is not None]
        words = [trace.words[row] for row in rows]
        times = [(word.text, word.start, word.end) for word in words]
        inside = word_mask(times, len(trace.audio_embeds), trace.seconds_per_audio_token)
        ids = [token.id for token in trace.tokens]
        for label, network in (("trained", model), ("random", control)):
            attention = attend(network, processor, trace.waveform, ids).of_words(words)
            scores[label].append(share_inside(attention, inside).mean(axis=-1))
        order = clockwork(len(trace.words), inside.shape[1])[rows]
        scores["clockwork"].append(share_inside(order, inside).mean())
    # The head is chosen on two clips and scored on the others.
    chosen = np.unravel_index(np.mean(scores["trained"][:2], axis=0).argmax(), scores["trained"][0].shape)
    share = {
        label: np.mean([score[chosen] for score in scores[label][2:]]) for label in ("trained", "random")
    }
    assert share["trained"] > np.mean(scores["clockwork"][2:])
    assert share["trained"] > 2 * share["random"]


def test_librosa_makes_whispers_picture_with_whispers_settings_only(rng):
    import librosa

    from asrscope.features import N_FFT

    waveform = np.pad(0.1 * rng.standard_normal(16_000), (0, 1600)).astype(np.float32)
    ours = log_mel(waveform, 80)
    settings = {"n_fft": N_FFT, "hop_length": HOP_LENGTH, "n_mels": 80, "pad_mode": "reflect"}
    changes = ({}, {"htk": True}, {"norm": None}, {"power": 1}, {"center": False}, {"pad_mode": "constant"})
    off = []
    for change in changes:
        mel = librosa.feature.melspectrogram(y=waveform, sr=SAMPLE_RATE, **settings | change)
        scaled = (librosa.power_to_db(mel) / 10 + 4) / 4
        common = min(scaled.shape[1], ours.shape[1])
        off.append(np.abs(scaled[:, :common] - ours[:, :common]).max())
    assert off[0] < 1e-5
    assert min(off[1:]) > 0.01


def test_an_encoder_position_sees_the_whole_clip_but_its_neighborhood_most():
    import asrscope
    from asrscope.inside.context import change_by_distance

    model, _ = asrscope.load("tiny")
    mel = log_mel(load_audio(asrscope.load_samples()[0].path), model.config.audio_config.num_mel_bins)
    change = change_by_distance(model.audio_tower, mel)
    assert (change[0, 2:] == 0).all()  # the convolutions see one position further and no more
    assert (change[1:] > 0).all()
    second = round(1 / SECONDS_PER_POSITION)
    for level in change[1:]:
        assert level[:3].mean() > 5 * level[second:].mean()


def test_the_normalizer_misreads_o_clock():
    from asrscope.audio.samples import load_samples
    from asrscope.recognition.metrics import normalize

    assert any("seven o'clock" in sample.text for sample in load_samples())
    assert normalize("seven o'clock") == "70 clock"


def test_the_gap_does_not_say_which_projector_is_understood_and_closing_it_by_force_does_not_help():
    import asrscope
    from asrscope.recognition.metrics import total_errors, word_errors
    from asrscope_course.gap import centroid_distance, told_apart

    model, processor = asrscope.load("tiny")
    control, _ = asrscope.load("tiny", random_projector=True)
    clips = asrscope.load_samples()[:4]

    def run(network):
        return [asrscope.trace(network, processor, clip.path) for clip in clips]

    def error_rate(traces):
        each = [word_errors(clip.text, trace.text) for clip, trace in zip(clips, traces, strict=True)]
        return total_errors(each).rate

    trained, random = run(model), run(control)
    crowds = [np.concatenate([trace.audio_embeds for trace in traces]) for traces in (trained, random)]
    ids = sorted({token for clip in clips for token in processor.tokenizer(clip.text)["input_ids"]})
    text = model.get_input_embeddings().weight.detach().numpy()[ids]
    assert all(told_apart(crowd, text) > 0.8 for crowd in crowds)
    assert error_rate(trained) < error_rate(random)
    shift = torch.from_numpy(text.mean(axis=0) - crowds[0].mean(axis=0))
    handle = model.multi_modal_projector.register_forward_hook(lambda _, __, output: output + shift)
    closed = run(model)
    handle.remove()
    moved = np.concatenate([trace.audio_embeds for trace in closed])
    assert centroid_distance(moved, text) < 1e-3 < centroid_distance(crowds[0], text)
    assert error_rate(closed) > error_rate(trained)


def test_a_word_needs_its_own_sound_and_only_if_the_projector_is_trained():
    import asrscope
    from asrscope.inside.counterfactual import mask_span
    from asrscope.inside.decoder import force, word_log_probabilities

    model, processor = asrscope.load("tiny")
    control, _ = asrscope.load("tiny", random_projector=True)
    changes = {"trained": [], "random": []}  # of each word: itself, the mean of those before, of those after
    for clip in asrscope.load_samples()[:3]:
        trace = asrscope.trace(model, processor, clip.path, reference_words=clip.words)
        ids, words = [token.id for token in trace.tokens], trace.words
        for label, network in (("trained", model), ("random", control)):
            usual = word_log_probabilities(force(network, processor, trace.waveform, ids), words)
            for place in range(1, len(words) - 1):
                if words[place].start is None:
                    continue
                masked = mask_span(trace.waveform, words[place].start, words[place].end)
                change = word_log_probabilities(force(network, processor, masked, ids), words) - usual
                changes[label].append((change[place], change[:place].mean(), change[place + 1 :].mean()))
    own, before, after = np.mean(changes["trained"], axis=0)
    assert own < after < before
    assert own < -3
    assert abs(before) < 0.5
    assert np.abs(np.mean(changes["random"], axis=0)).max() < 1


def test_default_sizes_are_not_those_of_qwen2_audio():
    from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

    assert "defaults will yield a similar configuration" in " ".join(Qwen2AudioConfig.__doc__.split())
    with torch.device("meta"):
        by_default = count_parameters(Qwen2AudioForConditionalGeneration(Qwen2AudioConfig()))
    published = systems.parameters_of(systems.build("qwen2_audio"))["all"]
    assert by_default > 1.5 * published


def test_glm_asr_nano_is_larger_than_its_decoder():
    counts = systems.parameters_of(systems.build("glmasr"))
    assert counts["decoder"] == pytest.approx(1.5e9, rel=0.02)
    assert counts["all"] > 1.4 * counts["decoder"]


def test_the_decoder_reads_more_than_the_nearest_tokens():
    import asrscope
    from asrscope.recognition.metrics import total_errors, word_errors

    model, processor = asrscope.load("tiny")
    table = model.get_input_embeddings().weight.detach()
    unit = table / table.norm(dim=1, keepdim=True)

    def snap(_module, _given, audio):
        return table[(audio / audio.norm(dim=-1, keepdim=True) @ unit.T).argmax(dim=-1)]

    def wrong() -> float:
        texts = [asrscope.trace(model, processor, clip.path).text for clip in asrscope.load_samples()]
        said = [clip.text for clip in asrscope.load_samples()]
        return total_errors([word_errors(*pair) for pair in zip(said, texts, strict=True)]).rate

    usual = wrong()
    hook = model.multi_modal_projector.register_forward_hook(snap)
    snapped = wrong()
    hook.remove()
    assert snapped > 1.3 * usual

"""Augmentation: what each disturbance does to a spectrogram, and that it is repeatable."""

import numpy as np
import pytest
import torch

from asrscope.training.augment import FLOOR, Augmentation, augment, stretch

NOTHING = Augmentation(
    vocal_tract=0.0,
    tilt_decibels=0.0,
    gain_decibels=0.0,
    noise_share=0.0,
    echo_share=0.0,
    band_share=0.0,
    mask_bands=0.0,
    mask_frames=0.0,
)


@pytest.fixture
def batch(rng):
    """Two clips of 60 and 40 frames with 80 mel bands; values of a normalized log-mel."""
    mel = torch.from_numpy(rng.uniform(-0.5, 1.0, (2, 60, 80)).astype(np.float32))
    mask = torch.arange(60) < torch.tensor([[60], [40]])
    return mel * mask[:, :, None], mask


def disturb(batch, seed=0, **how):
    mel, mask = batch
    return augment(mel, mask, torch.Generator().manual_seed(seed), Augmentation(**{**vars(NOTHING), **how}))


def test_without_disturbance_the_spectrogram_stays(batch):
    assert torch.allclose(disturb(batch), batch[0], atol=1e-4)


def test_equal_seeds_disturb_equally(batch):
    how = vars(Augmentation())
    assert torch.equal(disturb(batch, 5, **how), disturb(batch, 5, **how))
    assert not torch.equal(disturb(batch, 5, **how), disturb(batch, 6, **how))


def test_padding_stays_silent(batch):
    assert not disturb(batch, **vars(Augmentation()))[1, 40:].any()


def test_gain_shifts_all_values_alike(batch):
    shift = (disturb(batch, gain_decibels=12.0) - batch[0])[0]
    assert shift.std() < 1e-3
    assert 0 < abs(shift.mean()) <= 12 / 40 + 1e-3


def test_noise_raises_the_quiet_places_most(batch):
    mel, _ = batch
    mel[0, 10:20] = -1.0
    rise = disturb((mel, batch[1]), noise_share=1.0, noise_snr=(10.0, 10.0))[0] - mel[0]
    assert rise[10:20].mean() > rise[mel[0] > 0.8].mean() + 0.2


def test_a_vocal_tract_moves_a_resonance(batch):
    mel, mask = torch.zeros(2, 60, 80), torch.ones(2, 60, dtype=torch.bool)
    mel[:, :, 40] = 1.0
    peaks = {int(disturb((mel, mask), seed, vocal_tract=0.13)[0, 0].argmax()) for seed in range(8)}
    assert len(peaks) > 2
    assert all(30 <= peak <= 50 for peak in peaks)


def test_the_floor_stays_eighty_decibels_below_the_top(batch):
    mel = disturb(batch, **vars(Augmentation()))[0]
    assert mel.min() >= mel.max() - FLOOR - 1e-4


def test_stretched_labels_follow_their_frames(rng):
    labels = np.repeat(np.arange(10), 5)
    mel = np.repeat(labels, 2).astype(np.float32)[:, None] * np.ones(80, np.float32)
    for seed in range(20):
        (new_mel,), (new_labels,) = stretch([mel], [labels], np.random.default_rng(seed), share=1.0)
        assert len(new_mel) == 2 * len(new_labels)
        speech = new_labels >= 0
        assert np.abs(new_mel[::2][speech, 0] - new_labels[speech]).max() <= 1.0
        assert abs(speech.sum() - 50) <= 11  # a fifth slower or faster


def test_clips_of_equal_length_stay_so(rng):
    mels, labels = [np.zeros((40, 80), np.float32)] * 3, [np.zeros(20, int)] * 3
    lengths = {len(mel) for mel in stretch(mels, labels, rng, share=1.0)[0]}
    assert len(lengths) == 1


def test_a_scaled_augmentation_goes_less_far_and_leaves_the_loudness_of_noise():
    half = Augmentation().scaled(0.5)
    assert half.vocal_tract == Augmentation.vocal_tract / 2
    assert half.noise_share == Augmentation.noise_share / 2
    assert half.noise_snr == Augmentation.noise_snr
    assert Augmentation().scaled(1.0) == Augmentation()

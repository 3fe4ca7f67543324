"""The real pair in the page "Live": its weights in 8 bits, and that engine.js computes what torch does."""

import copy
import hashlib
import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import PATIENCE, Visit, served, wait_for
from safetensors.numpy import load
from test_live import LIVE, SHORTEST, Node, extension, job, sound

import asrscope
from asrscope.audio.samples import load_person
from asrscope.decoder import max_new_tokens

SAID = "Don't stop, it's 12 o'clock:  two\nlines"


@pytest.fixture(scope="module")
def small(specialist_packages):
    assert specialist_packages
    return asrscope.load("small")


@pytest.fixture(scope="module")
def site(small, tmp_path_factory):
    """A site of nothing but the page "Live", with the real pair."""
    folder = tmp_path_factory.mktemp("site")
    place = folder / "_static" / "live"
    shutil.copytree(LIVE, place)
    live = extension()
    live.write_tiny(place, *asrscope.load("tiny"))
    live.write_small(place, *small)
    names = ("data.js", "small.js", *live.SCRIPTS)
    scripts = "".join(f'<script src="_static/live/{name}" defer></script>' for name in names)
    head = '<meta charset="utf-8"><title>Live</title><link rel="icon" href="data:,">'
    page = f'<!doctype html>{head}{scripts}<div id="live"></div>'
    more = {"script-src": "'wasm-unsafe-eval'", "worker-src": "blob:"}
    (folder / "live.html").write_text(importlib.import_module("csp").protected(page, more)[0], "utf-8")
    return folder


def in_parts(site):
    return sorted((site / "_static" / "live").glob("small-*.bin"), key=lambda path: int(path.stem[6:]))


@pytest.fixture(scope="module")
def packed(site):
    return load(b"".join(part.read_bytes() for part in in_parts(site)))


@pytest.fixture(scope="module")
def rounded(small, packed):
    """The model with the weights that the page has, in torch."""
    model = copy.deepcopy(small[0])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scales = packed.get(f"{name}_scale")
            values = packed[name].astype(np.float32) * (1 if scales is None else scales[:, None])
            parameter.copy_(torch.as_tensor(values))
    return model


@pytest.fixture(scope="module")
def node(site, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    (folder / "small.bin").write_bytes(b"".join(part.read_bytes() for part in in_parts(site)))
    settings = json.loads((site / "_static" / "live" / "small.json").read_text(encoding="utf-8"))
    return Node(folder, folder / "small.bin", settings)


@pytest.fixture(scope="module")
def heard(node):
    jobs = [job(node, SHORTEST, sound(SHORTEST)), job(node, "random", sound(SHORTEST), untrained=True)]
    return node.run(*jobs, {"task": "tokenize", "text": SAID})["answers"]


def written(model, inputs, seconds):
    limit = max_new_tokens(seconds)
    with torch.inference_mode():
        whole = model.generate(**inputs, do_sample=False, max_new_tokens=limit)[0].tolist()
    return whole[inputs["input_ids"].shape[1] :]


def test_8_bits_are_the_nearest_of_256_steps_and_16_bits_are_exact(small, packed):
    found = {name: parameter.detach().numpy() for name, parameter in small[0].named_parameters()}
    in_8_bits = {name for name, values in packed.items() if values.dtype == np.int8}
    assert sum(found[name].size for name in in_8_bits) > 0.9 * sum(each.size for each in found.values())
    for name, values in found.items():
        if name in in_8_bits:
            scales = packed[f"{name}_scale"][:, None]
            error = np.abs(packed[name] * scales - values) / scales
            assert error.max() <= 0.5 + 1e-4, name  # 1e-4: of the products in 32 bits, up to 127
        else:
            assert (packed[name].astype(np.float32) == values).all(), name


def test_every_stage_is_that_of_torch_with_the_same_weights(node, heard, small, rounded):
    inputs = small[1](audio=sound(SHORTEST))
    with torch.inference_mode():
        audio = rounded.get_audio_features(inputs["input_features"], inputs["frame_mask"])
        logits = rounded(**inputs).logits[0, -1].numpy()
    mel = inputs["input_features"][0].numpy().T
    np.testing.assert_allclose(node.get(f"{SHORTEST}.mel", *mel.shape), mel, rtol=0, atol=1e-6)
    hidden = audio.last_hidden_state[0].numpy()
    np.testing.assert_allclose(node.get(f"{SHORTEST}.hidden", *hidden.shape), hidden, rtol=0, atol=1e-4)
    embeds = audio.pooler_output.numpy()
    np.testing.assert_allclose(node.get(f"{SHORTEST}.embeds", *embeds.shape), embeds, rtol=0, atol=1e-4)
    np.testing.assert_allclose(node.get(f"{SHORTEST}.logits"), logits, rtol=0, atol=1e-3)
    seconds = sound(SHORTEST).size / 16_000
    assert heard[0]["ids"] == written(rounded, inputs, seconds) == written(small[0], inputs, seconds)


def test_a_projector_that_has_learned_nothing_binds_to_words_too(node, heard, small):
    ids, random, _ = heard
    assert random["ids"] != ids["ids"]
    table = small[0].get_input_embeddings().weight.detach().numpy()
    tokens = node.get("random.embeds", len(random["nearest"]), table.shape[1])
    # A mean of words is no longer than the longest of them.
    assert 0 < np.linalg.norm(tokens, axis=1).max() < np.linalg.norm(table, axis=1).max()


def test_text_is_cut_as_the_tokenizer_cuts_it(heard, small):
    assert heard[2] == small[1].tokenizer(SAID, add_special_tokens=False)["input_ids"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gregson", "superlative"])
def test_a_person_is_written_as_by_the_weights_that_are_not_rounded(node, small, name):
    clip = asrscope.load_audio(load_person(name).path)
    (answer,) = node.run(job(node, name, clip))["answers"]
    assert answer["ids"] == written(small[0], small[1](audio=clip), clip.size / 16_000)


LARGEST = 50_000_000  # bytes of a file: some hosts take no larger ones
LAB = "document.getElementById('live')"


def test_files_are_small_and_their_list_is_true(site):
    place = site / "_static" / "live"
    told = json.loads((place / "small.js").read_text("ascii").removeprefix("asrscopeLive.small = "))
    assert [each["name"] for each in told] == ["small.json", *(part.name for part in in_parts(site))]
    for each in told:
        data = (place / each["name"]).read_bytes()
        assert len(data) == each["bytes"] < LARGEST
        assert hashlib.sha256(data).hexdigest() == each["sha256"]
    assert str(Path.home()) not in (place / "small.json").read_text("utf-8")


def test_the_page_loads_it_writes_the_same_sentence_and_keeps_it(browser, site, heard, small):
    ids = heard[0]["ids"]
    sentence = small[1].tokenizer.decode(ids, skip_special_tokens=True).strip()

    def damaged(route):
        route.fulfill(body=b"no weights")

    with served(site) as server, Visit(browser, server) as visit:
        page = visit.page
        asked = []
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        page.goto(f"{server}live.html#clip={SHORTEST}")
        wait_for(page, "document.querySelector('#live.live-ready') !== null")
        page.route("**/small-1.bin", damaged)
        page.get_by_role("button", name="Load the real pair").click()
        wait_for(
            page, "document.querySelector('.live-message').textContent.includes('small-1.bin came damaged')"
        )
        page.unroute("**/small-1.bin", damaged)
        page.get_by_role("button", name="Try again to load the real pair").click()
        wait_for(page, lambda: page.evaluate(f"{LAB}.dataset.text") == sentence)
        assert page.evaluate(f"{LAB}.dataset.pair") == "small"
        # What had come whole before was kept by the browser.
        assert asked.count("small-0.bin") == 1
        assert asked.count("small-1.bin") == 2
        assert visit.complaints == []


def test_in_firefox_it_writes_the_same_sentence_and_is_kept_too(firefox, site, heard, small):
    from marionette_driver import Wait

    sentence = small[1].tokenizer.decode(heard[0]["ids"], skip_special_tokens=True).strip()

    def wait(condition):
        Wait(firefox, PATIENCE).until(lambda _: firefox.execute_script(f"return {condition}"))

    with served(site) as server:
        firefox.navigate(f"{server}live.html#clip={SHORTEST}")
        wait("document.querySelector('#live.live-ready') !== null")
        button = "[...document.querySelectorAll('button')].find((each) => /real pair/.test(each.textContent))"
        firefox.execute_script(f"{button}.click()")
        wait(f"{LAB}.dataset.text === {json.dumps(sentence)}")
        assert firefox.execute_script(f"return {LAB}.dataset.pair") == "small"
        keep = "caches.open('asrscope-live').then((shelf) => shelf.keys()).then((all) => all.length)"
        kept = firefox.execute_async_script(f"const [done] = arguments; {keep}.then(done)")
        assert kept == 1 + len(in_parts(site))


def test_from_a_disk_the_page_says_how_to_get_it(browser, site):
    with Visit(browser, site.as_uri() + "/") as visit:
        visit.page.goto(visit.base + "live.html")
        visit.page.get_by_text("python -m http.server").wait_for()
        assert visit.page.get_by_role("button", name="real pair").count() == 0


def test_a_site_that_leaves_it_out_says_so(browser, site):
    with served(site) as server, Visit(browser, server) as visit:
        visit.page.route("**/small.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
        visit.page.goto(f"{server}live.html")
        visit.page.get_by_text("left out of this copy of the site").wait_for()
        assert visit.page.get_by_role("button", name="real pair").count() == 0

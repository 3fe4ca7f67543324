/* What runtimes.py measures, in a page: window.answer gets, for each runtime, the milliseconds that it took to
   start, those of each sentence, and the tokens that it wrote. */
"use strict";
const { settings, clips } = asrscopeLive;
const bytesFrom = async (name) => (await fetch(name)).arrayBuffer();
const ROUNDS = 5; // over all clips
const WARM = 2; // of them, not counted: a browser compiles a program twice

async function timed(work) {
  const began = performance.now();
  const made = await work();
  return [made, performance.now() - began];
}

async function soundOf({ sound }) {
  const context = new OfflineAudioContext(1, 1, settings.mel.sampleRate);
  return (await context.decodeAudioData(bytesOf(sound).buffer)).getChannelData(0);
}

/* The engine of the page "Live"; if `guesses`, it is told what it wrote before, as while one drags. */
async function own(kernel, weights, guesses) {
  const model = assembleModel(await makeKernel(kernel), readSafetensors(weights), settings);
  return (mel, limit, before) =>
    hear(model, mel, { limit, without: new Set(), guess: guesses ? before : [] }).steps.map(({ id }) => id);
}

/* The same model by onnxruntime-web, on one thread. `words` are the vectors of all tokens of text. */
async function other(hears, writes, words) {
  const [ear, hand] = [await ort.InferenceSession.create(hears), await ort.InferenceSession.create(writes)];
  const { text_config: { hidden_size: width, num_key_value_heads: heads, num_attention_heads: all } } = settings.config;
  const word = (id) => words.slice(id * width, (id + 1) * width);
  return async (mel, limit) => {
    const { values, frames, bands } = mel;
    const turned = fill(values.length, (i) => values[(i % frames) * bands + Math.floor(i / frames)]); // [bands][frames]
    const heard = await ear.run({ [ear.inputNames[0]]: new ort.Tensor("float32", turned, [1, bands, frames]) });
    const embeds = heard[ear.outputNames[0]].data;
    const { prompt, endToken } = settings;
    let vectors = join(...prompt.map((id) => (id === settings.config.audio_token_id ? embeds : word(id))));
    const [x, ...names] = hand.inputNames;
    let past = Object.fromEntries(names.map((name) => [name, new ort.Tensor("float32", [], [1, heads, 0, width / all])]));
    const ids = [];
    while (ids.length < limit && ids.at(-1) !== endToken) {
      const read = await hand.run({ [x]: new ort.Tensor("float32", vectors, [1, vectors.length / width, width]), ...past });
      const [logits, ...kept] = hand.outputNames;
      const [best] = highest(read[logits].data, 1);
      ids.push(best);
      past = Object.fromEntries(names.map((name, i) => [name, read[kept[i]]]));
      vectors = word(best);
    }
    return ids;
  };
}

async function measure() {
  ort.env.wasm.numThreads = 1;
  const names = ["model.safetensors", "kernel.wasm", "hears.onnx", "writes.onnx", "words"];
  const [weights, kernel, hears, writes, words] = await Promise.all(names.map(bytesFrom));
  const starts = {
    "engine.js and kernel.wasm": () => own(kernel, weights, false),
    "the same, with a guess": () => own(kernel, weights, true),
    "onnxruntime-web": () => other(new Uint8Array(hears), new Uint8Array(writes), new Float32Array(words)),
  };
  const found = {};
  for (const [name, start] of Object.entries(starts)) {
    const [run, began] = await timed(start);
    found[name] = { run, start: began, sentences: [], ids: [] };
  }
  const sounds = await Promise.all(clips.map(soundOf));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [clip, samples] of sounds.entries()) {
      const mel = logMel(samples, settings.mel);
      const limit = Math.ceil((samples.length / settings.mel.sampleRate) * settings.tokensPerSecond) + settings.spareTokens;
      for (const each of Object.values(found)) {
        const [ids, took] = await timed(() => each.run(mel, limit, each.ids[clip]));
        if (round >= WARM) each.sentences.push(took);
        if (!round) each.ids.push(ids);
      }
    }
  }
  Object.values(found).forEach((each) => delete each.run);
  return found;
}

measure().then((found) => { window.answer = found; }, (error) => { window.answer = String(error); });

/* What runs beside the page, behind engine.js: it loads the model, and hears what it is given. */
"use strict";

let ready; // the model, once all of its parts are here
let loading = [];

async function load({ settings, kernel, bytes }) {
  const size = loading.reduce((sum, part) => sum + part.length, 0);
  if (size !== bytes) throw new Error(`expected ${bytes} bytes of weights, but found ${size}`);
  const whole = new Uint8Array(size);
  loading.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  loading = [];
  ready = assembleModel(await makeKernel(bytesOf(kernel)), readSafetensors(whole.buffer), settings);
  return { ready: ready.kernel.constructor.name };
}

let latest = []; // the sentence before: often the next one too

function answer({ mel, off, without, guess = latest, ...more }) {
  const began = performance.now();
  const options = { ...more, off: new Set(off), without: new Set(without), guess };
  const heard = hear(ready, mel, options);
  latest = heard.steps.map(({ id }) => id);
  return { ...heard, milliseconds: performance.now() - began };
}

self.onmessage = async ({ data }) => {
  try {
    if (data.part) loading.push(bytesOf(data.part));
    else self.postMessage(data.mel ? answer(data) : await load(data));
  } catch (error) {
    self.postMessage({ error: error.message });
  }
};

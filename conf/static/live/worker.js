/* What runs beside the page, behind engine.js: it loads the model, and hears what it is given. */
"use strict";

let ready; // the model, once all of its parts are here
let whole; // the bytes of its weights, of which the first ones are here
let here = 0;

/* A part comes as letters or as bytes. */
function take({ part, bytes }) {
  const more = typeof part === "string" ? bytesOf(part) : new Uint8Array(part);
  whole ??= new Uint8Array(bytes);
  whole.set(more.subarray(0, bytes - here), here);
  here += more.length;
}

async function load({ settings, kernel, bytes }) {
  if (here !== bytes) throw new Error(`expected ${bytes} bytes of weights, but found ${here}`);
  ready = assembleModel(await makeKernel(bytesOf(kernel)), readSafetensors(whole.buffer), settings);
  whole = null;
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
    if (data.part) take(data);
    else self.postMessage(data.mel ? answer(data) : await load(data));
  } catch (error) {
    self.postMessage({ error: error.message });
  }
};

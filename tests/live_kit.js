/* Runs what test_live.py asks for, in Node: node live_kit.js FOLDER. FOLDER/order.json says what. */
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const folder = process.argv[2];
const { sources, weights, kernel, settings, jobs } = JSON.parse(fs.readFileSync(path.join(folder, "order.json")));
// The scripts share one scope, as in a page.
vm.runInThisContext(sources.map((source) => fs.readFileSync(source, "utf8")).join("\n"));

const bufferOf = (name) => {
  const bytes = fs.readFileSync(name);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
};
const floats = (name) => new Float32Array(bufferOf(path.join(folder, name)));
const keep = (name, array) => fs.writeFileSync(path.join(folder, name), new Uint8Array(Float32Array.from(array).buffer));

// How often the decoder reads.
let reads = 0;
const { read: readOnce } = globalThis;
globalThis.read = (...given) => {
  reads += 1;
  return readOnce(...given);
};

const tasks = {
  hear({ samples, model, options, out }) {
    const mel = logMel(floats(samples), settings.mel);
    const vectors = ([place, by]) => [place, Array.isArray(by) ? Float32Array.from(by) : by];
    const given = { ...options, off: new Set(options.off), without: new Set(options.without), replaced: options.replaced?.map(vectors) };
    reads = 0;
    const { hidden, embeds, logits, nearest, steps, ended } = hear(model, mel, given);
    Object.entries({ mel: mel.values, hidden, embeds, logits }).forEach(([name, each]) => keep(`${out}.${name}`, each));
    return { ids: steps.map(({ id }) => id), chances: steps.map(({ chance }) => chance), ended, nearest, frames: mel.frames, reads };
  },
  linear({ chosen, x, times, matrix, rows, columns, bits, scales, bias, out }) {
    const Kind = { 8: Int8Array, 16: Uint16Array, 32: Float32Array }[bits];
    const values = new Kind(bufferOf(path.join(folder, matrix)));
    const inMemory = chosen.matrix(values, rows, columns, scales ? floats(scales) : undefined);
    keep(out, chosen.linear(floats(x), times, inMemory, bias && floats(bias)));
    if (bits === 32) keep(`${out}.once`, chosen.linear(floats(x), times, { values, rows, columns }, bias && floats(bias)));
    return {};
  },
  again({ before, after }) {
    const part = logMel(floats(after), settings.mel, logMel(floats(before), settings.mel));
    const whole = logMel(floats(after), settings.mel);
    return { computed: part.computed, frames: whole.computed, equal: part.values.every((value, i) => value === whole.values[i]) };
  },
  edit({ samples, edits, others, out }) {
    const sounds = Object.fromEntries(Object.entries(others).map(([name, file]) => [name, floats(file)]));
    keep(out, applyEdits(floats(samples), edits, { rate: settings.mel.sampleRate, others: sounds }));
    return {};
  },
  tokenize: ({ text }) => tokenize(text, settings),
  halves: ({ out }) => keep(out, widen(Uint16Array.from({ length: 65536 }, (_, i) => i))),
};

(async () => {
  const kernels = { wasm: await makeKernel(fs.readFileSync(kernel)), plain: new PlainKernel(), broken: await makeKernel(new Uint8Array(3)) };
  const tensors = readSafetensors(bufferOf(weights));
  const models = {};
  const modelOn = (name) => (models[name] ??= assembleModel(kernels[name], tensors, settings));
  const answers = jobs.map(({ task, on = "wasm", ...job }) =>
    tasks[task](task === "hear" ? { ...job, model: modelOn(on) } : { ...job, chosen: kernels[on] }) ?? null);
  const names = Object.fromEntries(Object.entries(kernels).map(([name, made]) => [name, made.constructor.name]));
  fs.writeFileSync(path.join(folder, "answers.json"), JSON.stringify({ kernels: names, answers }));
})();

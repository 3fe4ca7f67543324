/* What the reader can do to a sound. Each edit takes samples and gives new ones; times are in seconds, and mean
   the sound that the edits before it have left. The same edits give the same sound each time. Silence, cut and
   pause are those of asrscope.inside.counterfactual. */
"use strict";

const FADE = 0.005; // seconds: a sudden edge is a click, and a click is a change of its own
const loudness = (x) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / Math.max(1, x.length));
const decibels = (amount) => 10 ** (amount / 20);

/* The same random numbers for the same seed, from -1 to 1. */
function randomNumbers(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state / 2147483648;
  };
}

/* The rising half of a cosine over the first samples of so many, at most over half of them; 1 from there on. */
function fade(i, samples, rate) {
  const length = Math.max(1, Math.min(Math.round(FADE * rate), Math.floor(samples / 2)));
  return 0.5 - 0.5 * Math.cos((Math.PI * Math.min(length, i + 0.5)) / length);
}

function concatenate(...parts) {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (out.set(part, at), at + part.length), 0);
  return out;
}

/* Change each sample of a stretch, by a function of the sample and its place. */
function within(x, [first, last], rate, change) {
  const out = x.slice();
  for (let i = first; i < last; i++) {
    const part = fade(Math.min(i - first, last - 1 - i), last - first, rate); // of the changed sound
    out[i] = x[i] + part * (change(x[i], i - first) - x[i]);
  }
  return out;
}

/* Faster or slower at the same pitch: pieces of 40 ms are laid down closer or wider, each taken from where it
   best continues the one before it (WSOLA). */
function stretchTime(x, factor) {
  const [size, hop, reach] = [640, 320, 160];
  const length = Math.round(x.length / factor);
  const [out, weights] = [new Float32Array(length + size), new Float32Array(length + size)];
  let last = 0;
  for (let to = 0; to < length; to += hop) {
    const wanted = Math.round(to * factor);
    let [best, fit] = [wanted, -Infinity];
    for (let from = wanted - reach; from <= wanted + reach && to > 0; from += 4) {
      let sum = 0;
      for (let i = 0; i < hop; i += 2) sum += (x[from + i] ?? 0) * (x[last + hop + i] ?? 0);
      if (sum > fit) [best, fit] = [from, sum];
    }
    last = best;
    for (let i = 0; i < size; i++) {
      const weight = 0.5001 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / size);
      out[to + i] += weight * (x[last + i] ?? 0);
      weights[to + i] += weight;
    }
  }
  return out.slice(0, length).map((value, i) => value / weights[i]);
}

/* Kinds of edits. `amount` is a slider, if there is one: name, unit, least, most, step, and where it begins. */
const EDITS = {
  silence: {
    title: "Silence",
    apply: (x, at, { rate }) => within(x, at, rate, () => 0),
  },
  noise: {
    title: "Noise",
    amount: { name: "speech over noise", unit: "dB", min: -20, max: 40, step: 1, value: 0 },
    apply(x, at, { rate, amount }) {
      const random = randomNumbers(1);
      const size = (loudness(x) / decibels(amount)) * Math.sqrt(3);
      return within(x, at, rate, (value) => value + size * random());
    },
  },
  hum: {
    title: "Hum",
    amount: { name: "speech over hum", unit: "dB", min: -20, max: 40, step: 1, value: 0 },
    apply(x, at, { rate, amount }) {
      const size = loudness(x) / decibels(amount);
      const wave = (i, n) => Math.sin((2 * Math.PI * 100 * n * i) / rate) / n;
      return within(x, at, rate, (value, i) => value + size * (wave(i, 1) + wave(i, 2) + wave(i, 3)));
    },
  },
  gain: {
    title: "Gain",
    amount: { name: "gain", unit: "dB", min: -40, max: 20, step: 1, value: -20 },
    apply: (x, at, { rate, amount }) => within(x, at, rate, (value) => value * decibels(amount)),
  },
  cut: {
    title: "Cut",
    apply(x, [first, last], { rate }) {
      const out = (value, i, part) => value * fade(part.length - 1 - i, 2 * part.length, rate);
      const back = (value, i, part) => value * fade(i, 2 * part.length, rate);
      return concatenate(x.subarray(0, first).map(out), x.subarray(last).map(back));
    },
  },
  repeat: {
    title: "Repeat",
    apply: (x, [first, last]) => concatenate(x.subarray(0, last), x.subarray(first)),
  },
  pause: {
    title: "Pause",
    apply: (x, [first, last]) => concatenate(x.subarray(0, first), new Float32Array(last - first), x.subarray(first)),
  },
  pace: {
    title: "Pace",
    amount: { name: "times as fast", unit: "", min: 0.5, max: 2, step: 0.05, value: 1.5 },
    apply: (x, [first, last], { amount }) =>
      concatenate(x.subarray(0, first), stretchTime(x.subarray(first, last), amount), x.subarray(last)),
  },
  mix: {
    title: "Mix",
    amount: { name: "this clip over the other", unit: "dB", min: -20, max: 40, step: 1, value: 6 },
    apply(x, at, { rate, amount, other }) {
      const size = loudness(x) / loudness(other) / decibels(amount);
      return within(x, at, rate, (value, i) => value + size * (other[i] ?? 0));
    },
  },
};

/* Apply all edits in their order. `others` are the sounds that can be mixed in, by name. */
function applyEdits(samples, edits, { rate, others }) {
  return edits.reduce((x, { kind, start, end, amount, clip }) => {
    const [first, last] = [start, end].map((time) => Math.min(x.length, Math.max(0, Math.round(time * rate))));
    return last > first ? EDITS[kind].apply(x, [first, last], { rate, amount, other: others[clip] }) : x;
  }, samples).map((value) => Math.max(-1, Math.min(1, value)));
}

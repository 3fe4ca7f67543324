/* The whole machine, from the samples of a clip to a sentence, in the order of the
   pipeline: logMel, encode, project, write. It reads the weights that the Python
   package ships, and asks for nothing else.

   Numbers lie in flat arrays, one row after the other; [frames][bands] says what
   is a row of what. All functions are checked against the package, number by
   number: tests/test_live.py. */
"use strict";

/* ---- Weights -------------------------------------------------------------------- */

/* Every number that 16 bits can mean: 1 bit of sign, 5 of exponent, 10 of
   fraction. */
const HALVES = Float32Array.from({ length: 65536 }, (_, bits) => {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent
    ? (1 + fraction / 1024) * 2 ** (exponent - 15)
    : (fraction / 1024) * 2 ** -14;
  return bits & 0x8000 ? -size : size;
});
const widen = (values) =>
  values instanceof Uint16Array
    ? fill(values.length, (i) => HALVES[values[i]])
    : new Float32Array(values);

/* One row of a matrix. Numbers of 8 bits are whole; each row has a scale for them. */
function rowOf({ values, scales, columns }, row) {
  const out = widen(values.subarray(row * columns, (row + 1) * columns));
  if (scales) for (let i = 0; i < columns; i++) out[i] *= scales[row];
  return out;
}

function fill(length, value) {
  const out = new Float32Array(length);
  for (let i = 0; i < length; i++) out[i] = value(i);
  return out;
}

/* Bytes that were written as letters, so that a page from a disk can load them. */
function bytesOf(letters) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(letters);
  const text = atob(letters);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/* A safetensors file is the length of its header, the header as JSON, and all
   numbers in a row. Each tensor is copied out when it is asked for, so that the
   file itself need not be kept. */
const KINDS = {
  F16: Uint16Array, F32: Float32Array, I8: Int8Array, I32: Int32Array, U8: Uint8Array,
};

function readSafetensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const text = new TextDecoder().decode(new Uint8Array(buffer, 8, length));
  const header = JSON.parse(text);
  delete header.__metadata__;
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    const Kind = KINDS[dtype];
    if (!Kind) {
      const known = Object.keys(KINDS).join(", ");
      throw new Error(`expected weights of ${known}, but found ${dtype} in ${name}`);
    }
    const [start, end] = data_offsets.map((offset) => 8 + length + offset);
    tensors[name] = { shape, copy: () => new Kind(buffer.slice(start, end)) };
  }
  return tensors;
}

/* ---- The one loop that costs ---------------------------------------------------- */

/* Rows of numbers times a matrix: out[t][r] = x[t] · matrix[r] + bias[r]. Most
   of a model's work. */
class PlainKernel {
  matrix(values, rows, columns, scales) {
    const wide = values instanceof Uint16Array ? widen(values) : values;
    return { values: wide, rows, columns, scales };
  }

  linear(x, times, { values, rows, columns, scales }, bias) {
    const out = new Float32Array(times * rows);
    for (let t = 0; t < times; t++) {
      for (let r = 0; r < rows; r++) {
        let sum = 0;
        for (let c = 0; c < columns; c++) {
          sum += x[t * columns + c] * values[r * columns + c];
        }
        out[t * rows + r] = sum * (scales ? scales[r] : 1) + (bias ? bias[r] : 0);
      }
    }
    return out;
  }
}

/* The same loop by kernel.c, four numbers at a time. Weights stay as they are,
   in 8 or 16 bits, in its memory. */
class WasmKernel {
  constructor({ exports }) {
    this.exports = exports;
    this.end = exports.__heap_base.value; // of what is kept
  }

  /* Place arrays in the memory, one behind the other, and give their addresses.
     A number is a size in bytes. */
  place(start, arrays) {
    const addresses = [];
    let end = start;
    for (const each of arrays) {
      addresses.push(end);
      end = (end + (each.byteLength ?? each) + 15) & ~15;
    }
    const { memory } = this.exports;
    const missing = end - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536) + 256); // not for each anew
    arrays.forEach((each, i) => {
      if (!each.byteLength) return;
      new each.constructor(memory.buffer, addresses[i], each.length).set(each);
    });
    return [...addresses, end];
  }

  matrix(values, rows, columns, scales) {
    const [address, scalesAt, end] = this.place(this.end, [values, scales ?? 0]);
    this.end = end;
    const bits = 8 * values.BYTES_PER_ELEMENT;
    return { address, scalesAt: scales ? scalesAt : 0, bits, rows, columns };
  }

  linear(x, times, matrix, bias) {
    const { rows, columns, values, bits = 32, scalesAt = 0 } = matrix;
    const size = times * rows;
    // values: of a matrix that is used once, and not kept
    const needed = [x, bias ?? 0, 16 * columns, 4 * size, values ?? 0];
    const [xAt, biasAt, wideAt, outAt, valuesAt] = this.place(this.end, needed);
    const weights = [values ? valuesAt : matrix.address, bits, scalesAt];
    const shape = [times, rows, columns];
    this.exports.linear(outAt, xAt, ...weights, bias ? biasAt : 0, ...shape, wideAt);
    return new Float32Array(this.exports.memory.buffer, outAt, size).slice();
  }
}

/* ---- Log-mel spectrogram -------------------------------------------------------- */

/* Fourier transform: halve while that goes (400, 200, 100, 50, 25), and add up
   what remains by definition. */
function fft(x, start, step, n, re, im, at, { cos, sin }) {
  if (n % 2) {
    for (let k = 0; k < n; k++) {
      let [a, b] = [0, 0];
      for (let i = 0; i < n; i++) {
        const turn = ((k * i) % n) * step;
        a += x[start + i * step] * cos[turn];
        b -= x[start + i * step] * sin[turn];
      }
      re[at + k] = a;
      im[at + k] = b;
    }
    return;
  }
  const half = n / 2;
  fft(x, start, 2 * step, half, re, im, at, { cos, sin });
  fft(x, start + step, 2 * step, half, re, im, at + half, { cos, sin });
  for (let k = 0; k < half; k++) {
    const [c, s, even, odd] = [cos[k * step], sin[k * step], at + k, at + half + k];
    const a = re[odd] * c + im[odd] * s;
    const b = im[odd] * c - re[odd] * s;
    re[odd] = re[even] - a;
    im[odd] = im[even] - b;
    re[even] += a;
    im[even] += b;
  }
}

function circle(n) {
  const angles = Float64Array.from({ length: n }, (_, i) => (2 * Math.PI * i) / n);
  return { cos: angles.map(Math.cos), sin: angles.map(Math.sin) };
}

/* Power in each band, in decades, every 10 ms. `before` is what this gave for
   another version of the clip: only frames whose window holds a sample that has
   changed are computed again. */
function melDecades(samples, { nFft, hop, floor, filters }, before) {
  // An even number, since the encoder halves it.
  const frames = 2 * Math.max(1, Math.ceil(samples.length / (2 * hop)));
  const bands = filters.length;
  const half = nFft / 2;
  // Windows are centered on their frame: the clip is mirrored before its start, and
  // silent after its end.
  const padded = new Float64Array(frames * hop + nFft);
  padded.set(samples, half);
  for (let i = 1; i <= half; i++) padded[half - i] = samples[i] ?? 0;
  const same = before && before.padded.length === padded.length;
  const decades = same ? before.decades.slice() : new Float64Array(frames * bands);
  const turns = circle(nFft);
  const hann = turns.cos.map((c) => 0.5 - 0.5 * c);
  const [re, im] = [new Float64Array(nFft), new Float64Array(nFft)];
  const touched = (from) => {
    for (let i = from; i < from + nFft; i++) {
      if (padded[i] !== before.padded[i]) return true;
    }
    return false;
  };
  let computed = 0;
  for (let frame = 0; frame < frames; frame++) {
    const from = frame * hop;
    if (same && !touched(from)) continue;
    computed += 1;
    const window = hann.map((h, i) => h * padded[from + i]);
    fft(window, 0, 1, nFft, re, im, 0, turns);
    filters.forEach(([first, weights], band) => {
      let power = 0;
      weights.forEach((weight, i) => {
        power += weight * (re[first + i] ** 2 + im[first + i] ** 2);
      });
      decades[frame * bands + band] = Math.log10(Math.max(power, floor));
    });
  }
  return { padded, decades, frames, bands, computed };
}

/* The picture that the encoder reads: what is 80 dB below the loudest value is
   raised to that, and all scaled. */
function logMel(samples, settings, before) {
  const mel = melDecades(samples, settings, before);
  const loudest = mel.decades.reduce((a, b) => Math.max(a, b), -Infinity);
  const lowest = loudest - settings.dynamicRange;
  const scaled = (i) => (Math.max(mel.decades[i], lowest) + 4) / 4;
  const values = fill(mel.decades.length, scaled);
  return { ...mel, values }; // values: [frames][bands]
}

/* ---- What all layers are made of ------------------------------------------------ */

/* The integral of the bell curve, to 1e-7: Abramowitz and Stegun 7.1.26. */
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const outer = (1.061405429 * t - 1.453152027) * t + 1.421413741;
  const sum = ((outer * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}

/* A bend, in place: every number times a share, which is 0 far below zero and 1 far
   above. Shares are read from a table, and between two of them on a straight line: an
   exponential for each number would take as long as the matrices do. */
function bend(share, reach = 20, entries = 2 ** 15) {
  const scale = entries / (2 * reach);
  const table = fill(entries + 2, (i) => share(i / scale - reach));
  return (x) => {
    for (let i = 0; i < x.length; i++) {
      const place = Math.max(0, Math.min(entries, (x[i] + reach) * scale));
      const low = place | 0; // without its fraction
      x[i] *= table[low] + (place - low) * (table[low + 1] - table[low]);
    }
    return x;
  };
}
const gelu = bend((x) => 0.5 * (1 + erf(x * Math.SQRT1_2)));
const silu = bend((x) => 1 / (1 + Math.exp(-x)));

/* Both in place: what was there before is not asked for again. */
function add(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
  return x;
}
function multiply(x, y) {
  for (let i = 0; i < x.length; i++) x[i] *= y[i];
  return x;
}
function join(...parts) {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (out.set(part, at), at + part.length), 0);
  return out;
}
const rowsOf = (x, width) => x.length / width;
function lengthOf(x) {
  let squares = 0;
  for (let i = 0; i < x.length; i++) squares += x[i] ** 2;
  return Math.sqrt(squares);
}

/* Every row gets mean 0 and size 1, then a weight and a bias: the encoder's
   norm. */
function layerNorm(x, { weight, bias }, eps = 1e-5) {
  const [width, out] = [weight.length, new Float32Array(x.length)];
  for (let start = 0; start < x.length; start += width) {
    let [sum, squares] = [0, 0];
    for (let i = start; i < start + width; i++) sum += x[i];
    const mean = sum / width;
    for (let i = start; i < start + width; i++) squares += (x[i] - mean) ** 2;
    const scale = 1 / Math.sqrt(squares / width + eps);
    for (let i = 0; i < width; i++) {
      out[start + i] = (x[start + i] - mean) * scale * weight[i] + bias[i];
    }
  }
  return out;
}

/* Every row gets size 1, then a weight: the norm of projector and decoder. */
function rmsNorm(x, weight, eps) {
  const [width, out] = [weight.length, new Float32Array(x.length)];
  for (let start = 0; start < x.length; start += width) {
    let squares = 0;
    for (let i = start; i < start + width; i++) squares += x[i] ** 2;
    const scale = 1 / Math.sqrt(squares / width + eps);
    for (let i = 0; i < width; i++) out[start + i] = x[start + i] * scale * weight[i];
  }
  return out;
}

/* Numbers become shares of 1, in place; `scale` says how much they differ. */
function softmax(x, scale = 1, start = 0, end = x.length) {
  let [largest, sum] = [-Infinity, 0];
  for (let i = start; i < end; i++) if (x[i] > largest) largest = x[i];
  for (let i = start; i < end; i++) sum += x[i] = Math.exp(scale * (x[i] - largest));
  const part = 1 / sum;
  for (let i = start; i < end; i++) x[i] *= part;
  return x;
}

/* The same as logarithms, of which none is too small to be kept. */
function logSoftmax(x) {
  const largest = x.reduce((a, b) => Math.max(a, b));
  const sum = x.reduce((total, value) => total + Math.exp(value - largest), 0);
  return x.map((value) => value - largest - Math.log(sum));
}

/* Some columns of rows, one row after the other, or lying down: one column after the
   other. */
function columnsOf(x, width, [from, count], lying = false) {
  const rows = rowsOf(x, width);
  const [down, right] = lying ? [1, rows] : [count, 1];
  const out = new Float32Array(rows * count);
  for (let t = 0; t < rows; t++) {
    for (let i = 0; i < count; i++) {
      out[t * down + i * right] = x[t * width + from + i];
    }
  }
  return out;
}

/* Attention: every query asks all keys, and reads their values in shares that
   add up to 1, in several heads. `off(head)` says which are silent; where it is
   `causal`, no position sees what comes after it. */
function attend(kernel, [q, k, v], { heads, keyHeads = heads, size, off, causal }) {
  const [width, keyWidth, sharing] = [heads * size, keyHeads * size, heads / keyHeads];
  const [times, seen] = [rowsOf(q, width), rowsOf(k, keyWidth)];
  const mixed = new Float32Array(q.length);
  let asked, told; // the keys and values of a head; heads may share theirs
  for (let head = 0; head < heads; head++) {
    if (head % sharing === 0) {
      const place = [(head / sharing) * size, size];
      asked = { values: columnsOf(k, keyWidth, place), rows: seen, columns: size };
      told = { values: columnsOf(v, keyWidth, place, true), rows: size, columns: seen };
    }
    if (off(head)) continue;
    const queries = columnsOf(q, width, [head * size, size]);
    const shares = kernel.linear(queries, times, asked); // [times][seen]
    for (let t = 0; t < times; t++) {
      const [start, visible] = [t * seen, causal ? seen - times + t + 1 : seen];
      softmax(shares, size ** -0.5, start, start + visible);
      shares.fill(0, start + visible, start + seen);
    }
    const answers = kernel.linear(shares, times, told); // [times][size]
    for (let t = 0; t < times; t++) {
      mixed.set(answers.subarray(t * size, (t + 1) * size), t * width + head * size);
    }
  }
  return mixed; // [times][heads * size]
}

/* ---- Encoder -------------------------------------------------------------------- */

/* Lay the three frames around every `stride`th frame side by side: a convolution
   is then a matrix. */
function neighbors(x, frames, width, stride) {
  const out = new Float32Array((frames / stride) * width * 3);
  for (let t = 0, at = 0; t < frames; t += stride) {
    for (let c = 0; c < width; c++) {
      for (let k = -1; k <= 1; k++, at++) out[at] = x[(t + k) * width + c] ?? 0;
    }
  }
  return out;
}

/* From the spectrogram to one vector each 20 ms, which has heard the whole clip.
   `off` holds what is switched off, "encoder 2" for a layer and "encoder 2.1"
   for a head of it. Some encoders hear a silence first, the `lead`: a clip that begins
   in the middle of a word is heard better so. */
function encode({ kernel, encoder }, mel, off = new Set()) {
  const { width, heads, conv1, conv2, places, layers, norm } = encoder;
  const lead = Math.min(encoder.lead, rowsOf(places, width) - mel.frames / 2);
  const apply = (part, input) => // the rows of an input, times a matrix with a bias
    kernel.linear(input, input.length / part.columns, part, part.bias);
  const convolve = (values, frames) => {
    const heard = gelu(apply(conv1, neighbors(values, frames, mel.bands, 1)));
    return gelu(apply(conv2, neighbors(heard, frames, width, 2)));
  };
  let x = convolve(mel.values, mel.frames);
  if (lead > 0) {
    const lowest = mel.values.reduce((a, b) => Math.min(a, b));
    x = join(convolve(fill(2 * lead * mel.bands, () => lowest), 2 * lead), x);
  }
  x = add(x, places);
  layers.forEach((layer, number) => {
    if (off.has(`encoder ${number}`)) return;
    const normed = layerNorm(x, layer.norm1);
    const qkv = [layer.q, layer.k, layer.v].map((each) => apply(each, normed));
    const silent = (head) => off.has(`encoder ${number}.${head}`);
    const mixed = attend(kernel, qkv, { heads, size: width / heads, off: silent });
    x = add(x, apply(layer.o, mixed));
    const thought = gelu(apply(layer.fc1, layerNorm(x, layer.norm2)));
    x = add(x, apply(layer.fc2, thought));
  });
  return layerNorm(x.subarray(lead * width), norm); // [positions][width]
}

/* ---- Projector ------------------------------------------------------------------ */

/* Stack k positions into one long vector, and let two norms and a gated layer
   make a word-like vector of it. */
function point({ kernel, projector }, hidden) {
  const { gate, up, down, normIn, normOut, eps } = projector;
  const tokens = Math.floor(hidden.length / gate.columns); // a remainder is cut
  const stacked = rmsNorm(hidden.subarray(0, tokens * gate.columns), normIn, eps);
  const opened = silu(kernel.linear(stacked, tokens, gate));
  const inside = multiply(opened, kernel.linear(stacked, tokens, up));
  return rmsNorm(kernel.linear(inside, tokens, down), normOut, eps); // [tokens][width]
}

/* Some projectors can say by themselves what these vectors spell. They read twice,
   the second time with each stack half a stack earlier; a speller beside them hears
   letters. */
function project(model, hidden) {
  const { binding, gate, stack } = model.projector;
  const free = point(model, hidden);
  if (!binding) return { embeds: free, readings: [] };
  const first = hidden.subarray(0, gate.columns / stack);
  const ahead = Array(Math.floor(stack / 2)).fill(first);
  const half = join(...ahead, hidden).subarray(0, hidden.length);
  const spellings = [free, point(model, half)];
  const readings = spellings.map((vectors) => spell(model, binding, vectors));
  const letters = model.projector.speller && listen(model, hidden);
  return { embeds: bind(model, binding, readings[0]), readings, letters }; // [tokens][1 + words]
}

/* Each number of a row, with the same ones of the four rows before and behind it,
   weighed: a convolution over time. Beyond the clip are zeros. */
function blend(x, { weight, bias }) {
  const [width, out] = [bias.length, new Float32Array(x.length)];
  const [steps, size] = [rowsOf(x, width), weight.length / width];
  for (let t = 0; t < steps; t++) {
    const first = t - (size - 1) / 2;
    for (let c = 0; c < width; c++) {
      let sum = bias[c];
      for (let k = Math.max(0, -first); k < Math.min(size, steps - first); k++) {
        sum += weight[c * size + k] * x[(first + k) * width + c];
      }
      out[t * width + c] = sum;
    }
  }
  return out;
}

/* How probably each position says nothing new, or a letter: logarithms. Convolutions
   look around each moment, of two positions. */
function listen({ kernel, projector: { speller, eps } }, hidden) {
  const { down, blocks, normIn, normOut, letters } = speller;
  const [steps, width] = [Math.ceil(hidden.length / down.columns), down.rows];
  const even = new Float32Array(steps * down.columns);
  even.set(hidden);
  let x = kernel.linear(rmsNorm(even, normIn, eps), steps, down);
  for (const block of blocks) {
    const around = blend(rmsNorm(x, block.norm, eps), block.near);
    const both = kernel.linear(around, steps, block.up);
    const part = (from) => columnsOf(both, 2 * width, [from, width]);
    const inside = multiply(silu(part(0)), part(width));
    x = add(x, kernel.linear(inside, steps, block.down));
  }
  const scores = kernel.linear(rmsNorm(x, normOut, eps), steps, letters, letters.bias);
  const positions = (2 * hidden.length) / down.columns;
  const [choices, out] = [letters.rows / 2, new Float32Array((positions * letters.rows) / 2)];
  for (let start = 0; start < out.length; start += choices) {
    out.set(logSoftmax(scores.subarray(start, start + choices)), start);
  }
  return out; // [positions][choices]
}

/* How probably each vector points to the blank, and to each word: logarithms. */
function spell({ kernel }, { choices, blank, scale }, vectors) {
  const [width, count] = [blank.length, choices.rows];
  const tokens = rowsOf(vectors, width);
  const asBlank = { values: blank, rows: 1, columns: width };
  const toBlank = kernel.linear(vectors, tokens, asBlank);
  const toWords = kernel.linear(vectors, tokens, choices);
  const out = new Float32Array(tokens * (1 + count));
  for (let t = 0; t < tokens; t++) {
    const scores = join([toBlank[t]], toWords.subarray(t * count, (t + 1) * count));
    out.set(logSoftmax(scores.map((score) => scale * score)), t * (1 + count));
  }
  return out;
}

/* Of a projector that may only say what words say: each vector becomes the mean of
   the words that it points to, and of a filler where it points to the blank. */
function bind({ words }, { ids, filler, temperature }, spelled) {
  const [width, choices] = [filler.length, 1 + ids.length];
  const tokens = spelled.length / choices;
  const out = new Float32Array(tokens * width);
  for (let t = 0; t < tokens; t++) {
    const points = spelled.subarray(t * choices, (t + 1) * choices);
    const shares = softmax(points.slice(), 1 / temperature);
    shares.forEach((share, i) => {
      if (share < 1e-9) return; // thousands of them add nothing that 32 bits can hold
      const word = i ? rowOf(words, ids[i - 1]) : filler;
      for (let c = 0; c < width; c++) out[t * width + c] += share * word[c];
    });
  }
  return out;
}

/* A projector that has learned nothing, with vectors as long as those of text:
   only directions are random. */
function randomProjector({ kernel, projector, words, lengths, space }, seed = 1) {
  let state = seed;
  const random = () => { // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const fresh = ({ rows, columns }) => {
    const weights = fill(rows * columns, () => (2 * random() - 1) / Math.sqrt(columns));
    return kernel.matrix(weights, rows, columns);
  };
  const { gate, up, down, normIn, normOut, binding, prompt } = projector;
  const power = lengths.reduce((sum, size) => sum + size * size, 0); // of the table
  const mean = power / words.values.length;
  const someWord = () => rowOf(words, Math.floor(random() * words.rows));
  return {
    ...projector,
    gate: fresh(gate),
    up: fresh(up),
    down: fresh(down),
    normIn: normIn.map(() => 1),
    normOut: normOut.map(() => Math.sqrt(mean)),
    binding: binding && {
      ...binding,
      blank: normOut.map(() => Math.sqrt(3 * mean) * (2 * random() - 1)),
      filler: rowOf(words, space),
      scale: 12 / (words.columns * mean), // a word's score with itself is 12
    },
    prompt: prompt.map(someWord),
    speller: null, // which could spell as well as before
  };
}

/* The text token that points most nearly where each audio token points: [[id,
   cosine], ...]. */
function nearest({ kernel, table, lengths, decoder: { width } }, embeds) {
  const tokens = rowsOf(embeds, width);
  const scores = kernel.linear(embeds, tokens, table);
  return Array.from({ length: tokens }, (_, t) => {
    const size = lengthOf(embeds.subarray(t * width, (t + 1) * width));
    const cosine = (id) => scores[t * table.rows + id] / (size * lengths[id] || 1);
    const cosines = fill(table.rows, cosine);
    const [best] = highest(cosines, 1);
    return [best, cosines[best]];
  });
}

/* ---- Decoder -------------------------------------------------------------------- */

/* Turn pairs of numbers by an angle that grows with the position: how the
   decoder knows where a token stands. */
function rotate(x, width, size, theta, position) {
  const half = size / 2;
  const speeds = Float64Array.from({ length: half }, (_, i) => theta ** (-i / half));
  const out = x.slice();
  for (let start = 0; start < x.length; start += size) {
    const place = position + Math.floor(start / width);
    for (let i = 0; i < half; i++) {
      const angle = place * speeds[i];
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      const [a, b] = [x[start + i], x[start + half + i]];
      out[start + i] = a * c - b * s;
      out[start + half + i] = b * c + a * s;
    }
  }
  return out;
}

/* Read vectors behind those that were read before, and score every token as the
   next one, behind each of the last `wanted` vectors. What a later position needs
   of an earlier one, its keys and values, is kept in `cache`. */
function read({ kernel, decoder, table }, vectors, cache, off = new Set(), wanted = 1) {
  const { width, heads, keyHeads, size, theta, eps, layers, norm } = decoder;
  const count = rowsOf(vectors, width);
  const start = cache.length;
  const keyWidth = keyHeads * size;
  let x = vectors;
  layers.forEach((layer, number) => {
    if (off.has(`decoder ${number}`)) return;
    const normed = rmsNorm(x, layer.norm1, eps);
    const apply = (part, input) => kernel.linear(input, count, part);
    let [q, k, v] = [layer.q, layer.k, layer.v].map((each) => apply(each, normed));
    if (layer.turns) {
      q = rotate(q, width, size, theta, start);
      k = rotate(k, keyWidth, size, theta, start);
    }
    const kept = cache.layers[number] ?? { k: [], v: [] };
    k = join(kept.k, k);
    v = join(kept.v, v);
    cache.layers[number] = { k, v };
    const silent = (head) => off.has(`decoder ${number}.${head}`);
    const ways = { heads, keyHeads, size, off: silent, causal: true };
    x = add(x, apply(layer.o, attend(kernel, [q, k, v], ways)));
    const inner = rmsNorm(x, layer.norm2, eps);
    const opened = silu(apply(layer.gate, inner));
    x = add(x, apply(layer.down, multiply(opened, apply(layer.up, inner))));
  });
  cache.length += count;
  const last = rmsNorm(x.subarray((count - wanted) * width), norm, eps);
  const scores = kernel.linear(last, wanted, table);
  const logits = (i) => scores.subarray(i * table.rows, (i + 1) * table.rows);
  return Array.from({ length: wanted }, (_, i) => logits(i)); // each: [vocabulary]
}

/* Drop from the cache what was read behind the first `length` vectors. */
function forget({ decoder: { keyHeads, size } }, cache, length) {
  const kept = (x) => x.subarray(0, length * keyHeads * size);
  cache.layers = cache.layers.map(({ k, v }) => ({ k: kept(k), v: kept(v) }));
  cache.length = length;
}

const wordVector = ({ words }, id) => rowOf(words, id);

/* Put other vectors in the place of audio tokens: those of tokens of text, given
   by their id, or those of another clip. */
function replace(model, embeds, replaced) {
  const out = embeds.slice();
  for (const [place, by] of replaced) {
    const vector = typeof by === "number" ? wordVector(model, by) : by;
    if (place < rowsOf(out, vector.length)) out.set(vector, place * vector.length);
  }
  return out;
}

/* The prompt as vectors: those of its tokens, those of the clip where its
   placeholder stands, and those that the projector has learned in place of words. */
function assemble({ prompt, audioToken, promptToken, projector, ...model }, embeds) {
  let next = 0;
  const vector = (id) => {
    if (id === audioToken) return embeds;
    return id === promptToken ? projector.prompt[next++] : wordVector(model, id);
  };
  return join(...prompt.map(vector));
}

const CANDIDATES = 32; // tokens that the letters vote on
const SHARE = 0.3; // of the letters in the sound's vote
const NEVER = -1e30; // a logarithm
const SPACE = 1; // its place among the letters

/* Two probabilities that are kept as logarithms, together. */
function logAdd(a, b) {
  const [high, low] = a > b ? [a, b] : [b, a];
  return low === -Infinity ? high : high + Math.log1p(Math.exp(low - high));
}

/* How probably the sound up to each place spells a text. Each place names a choice, a
   word or a letter, or the blank; repeats are merged, blanks are dropped; all ways to
   a text count. That is CTC. `said` and `blank`: the text's last choice is there, or a
   blank after it. `begun` is how probably any text begins like this one. */
class Spelling {
  constructor(heard, choices, said, blank, begun = 0, last = 0) {
    Object.assign(this, { heard, choices, said, blank, begun, last });
  }

  static ofNothing(heard, choices) {
    const places = heard.length / choices;
    let sum = 0;
    const blank = Float64Array.from({ length: places }, (_, t) => (sum += heard[t * choices]));
    return new Spelling(heard, choices, new Float64Array(places).fill(-Infinity), blank);
  }

  /* How probably the text is all that is said. */
  get whole() {
    return logAdd(this.said.at(-1), this.blank.at(-1));
  }

  /* The text, ahead of a place; a choice follows itself only after a blank. */
  ahead(t, choice) {
    if (t === 0) return this.last ? -Infinity : 0;
    const { said, blank } = this;
    return choice === this.last ? blank[t - 1] : logAdd(said[t - 1], blank[t - 1]);
  }

  /* The text with a choice more. */
  after(choice) {
    const { heard, choices, said: { length } } = this;
    const [said, blank] = [new Float64Array(length), new Float64Array(length)];
    let [there, behind, begun] = [-Infinity, -Infinity, -Infinity];
    for (let t = 0; t < length; t++) {
      const ahead = this.ahead(t, choice);
      const [silent, spoken] = [heard[t * choices], heard[t * choices + choice]];
      begun = logAdd(begun, ahead + spoken);
      [there, behind] = [logAdd(there, ahead) + spoken, logAdd(there, behind) + silent];
      [said[t], blank[t]] = [there, behind];
    }
    return new Spelling(heard, choices, said, blank, begun, choice);
  }

  /* The text with a token's letters more; where it begins, a space is not heard. */
  spelling([...letters]) {
    if (!this.last && letters[0] === SPACE) letters.shift();
    return letters.reduce((text, letter) => text.after(letter), this);
  }

  /* How probably the text is whole, and how probably it goes on with each choice. */
  votes() {
    const { heard, choices, last, said: { length } } = this;
    const ahead = Array.from({ length }, (_, t) => this.ahead(t));
    const highest = Math.max(...ahead);
    const sums = new Float64Array(choices);
    let itself = -Infinity;
    for (let t = 0; t < length; t++) {
      const points = heard.subarray(t * choices, (t + 1) * choices);
      if (last) itself = logAdd(itself, this.ahead(t, last) + points[last]);
      const share = Math.exp(ahead[t] - highest);
      if (share < 1e-12) continue;
      for (let i = 1; i < choices; i++) sums[i] += share * Math.exp(points[i]);
    }
    const out = sums.map((sum) => highest + Math.log(sum));
    if (last) out[last] = itself;
    out[0] = this.whole;
    return out;
  }
}

/* The two votes on the next token: the decoder's, and what the sound spells. A text
   begins with `openings`, the same words without the space before them. Between the
   likeliest, the letters have a part in the sound's vote. */
function weigh({ projector: { binding, speller }, endToken }, logits, spellings, text) {
  const { ids, openings, weight } = binding;
  const own = logSoftmax(logits);
  const all = spellings.map((spelling) => spelling.votes());
  const vote = (place) => all.reduce((sum, votes) => sum + votes[place], 0) / all.length;
  const out = new Float32Array(logits.length).fill(-Infinity);
  const places = new Map([[endToken, 0]]); // of all that can be written
  (spellings[0].last ? ids : openings).forEach((id, i) => {
    if (id >= 0) places.set(id, i + 1);
  });
  for (const [id, place] of places) out[id] = (1 - weight) * own[id] + weight * vote(place);
  if (!text) return out;
  const both = new Float32Array(logits.length).fill(-Infinity);
  for (const id of highest(out, CANDIDATES)) {
    const place = places.get(id);
    const longer = place && text.spelling(speller.lettersOf[place - 1]);
    const heard = place ? (longer === text ? NEVER : longer.begun) : text.whole;
    both[id] = out[id] + weight * SHARE * (heard - text.begun - vote(place));
  }
  return both;
}

/* Where the highest numbers stand, the highest first. */
function highest(x, count) {
  const places = [];
  for (let i = 0; i < x.length; i++) {
    if (places.length === count && x[i] <= x[places.at(-1)]) continue;
    const rank = places.findIndex((place) => x[place] < x[i]);
    places.splice(rank < 0 ? places.length : rank, 0, i);
    places.length = Math.min(places.length, count);
  }
  return places;
}

/* Write the sentence: always the likeliest token, until the end token or
   `limit`. `forced` are tokens that it begins with, whatever the decoder would
   have written. `guess` is a sentence that may come out, that of the sound before
   it was changed: it is read together with the prompt, and costs little. What the
   decoder would have written in its place is what counts; where it writes what
   stands further on in the guess, the rest is read from there. The `readings` of
   what is spelled have their vote, and so have the `letters`. */
function write(model, embeds, { readings, letters }, options) {
  const { limit, forced = [], guess = [], off, runnersUp = 5 } = options;
  const { binding, speller } = model.projector;
  const cache = { length: 0, layers: [] };
  const prompt = assemble(model, embeds);
  const readOn = (vectors, ids) => {
    const words = ids.map((id) => wordVector(model, id));
    return read(model, join(vectors, ...words), cache, off, ids.length + 1);
  };
  let draft = [...forced, ...guess.slice(forced.length)].slice(0, limit); // read ahead
  let place = 0; // in the guess
  let scored = readOn(prompt, draft);
  const [first] = scored;
  const votes = binding?.weight ? readings : [];
  let spellings = votes.map((heard) => Spelling.ofNothing(heard, 1 + binding.ids.length));
  const choices = speller && speller.letters.rows / 2;
  let text = votes.length && letters ? Spelling.ofNothing(letters, choices) : null;
  const steps = [];
  while (steps.length < limit) {
    const [logits] = scored;
    const chances = softmax(
      spellings.length ? weigh(model, logits, spellings, text) : logits.slice(),
    );
    const order = highest(chances, runnersUp + 1);
    const id = forced[steps.length] ?? order[0];
    const others = order.filter((each) => each !== id).slice(0, runnersUp);
    const chanceOf = (each) => [each, chances[each]];
    steps.push({ id, chance: chances[id], others: others.map(chanceOf) });
    if (id === model.endToken) break;
    const known = spellings[0]?.last ? binding.ids : binding?.openings;
    const word = 1 + (known?.indexOf(id) ?? -1);
    // A forced token may be one that cannot be spelled.
    spellings = word ? spellings.map((spelling) => spelling.after(word)) : [];
    if (word && text) text = text.spelling(speller.lettersOf[word - 1]);
    if (id === draft[0]) {
      [draft, scored, place] = [draft.slice(1), scored.slice(1), place + 1];
      continue;
    }
    const again = guess.indexOf(id, place);
    if (again >= 0) place = again + 1;
    draft = again >= 0 ? guess.slice(place) : [];
    forget(model, cache, rowsOf(prompt, model.decoder.width) + steps.length - 1);
    scored = readOn(wordVector(model, id), draft);
  }
  return { steps, logits: first, ended: steps.at(-1)?.id === model.endToken };
}

/* ---- Text ----------------------------------------------------------------------- */

/* Cut text into the decoder's tokens: letters first, then the pairs that its
   vocabulary merges, the earliest learned first. */
function tokenize(text, { pieces, merges }) {
  const letters = new Map(pieces.map((piece, id) => [piece, id]));
  const ranks = new Map(merges.map(([left, right], rank) => [left + " " + right, rank]));
  const ids = [];
  for (const chunk of text.match(CHUNKS) ?? []) {
    const parts = Array.from(chunk, (letter) => {
      if (letters.has(letter)) return letters.get(letter);
      throw new Error(`the model has no token for “${letter}”`);
    });
    for (;;) {
      const rankAt = (i) => ranks.get(parts[i] + " " + parts[i + 1]) ?? Infinity;
      const earlier = (a, b) => (rankAt(b) < rankAt(a) ? b : a);
      const first = [...parts.keys()].reduce(earlier);
      if (rankAt(first) === Infinity) break;
      const merged = merges[rankAt(first)][2];
      parts.splice(first, 2, merged);
    }
    ids.push(...parts);
  }
  return ids;
}

/* Words with the space before them, numbers, signs, endings such as 's, and spaces. */
const CHUNKS =
  /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/* ---- Putting it together -------------------------------------------------------- */

/* Give every weight its place. The names are those of the file; the sizes are
   those of its config.json. */
function assembleModel(kernel, tensors, settings) {
  const { config, projectorEps, prompt, endToken, space } = settings;
  const { audio_config: audio, text_config: text } = config;
  const vector = (name) => widen(tensors[name].copy());
  const optional = (name) => tensors[name] && vector(name);
  const rows = (name) => {
    const { shape: [count, ...others], copy } = tensors[`${name}.weight`];
    const scales = optional(`${name}.weight_scale`);
    return { values: copy(), rows: count, columns: others.reduce((a, b) => a * b), scales };
  };
  const inKernel = (part) =>
    kernel.matrix(part.values, part.rows, part.columns, part.scales);
  const linear = (name) => ({ ...inKernel(rows(name)), bias: optional(`${name}.bias`) });
  const all = (prefix, names) => {
    const entries = Object.entries(names);
    return Object.fromEntries(entries.map(([to, from]) => [to, linear(prefix + from)]));
  };
  const norm = (name) =>
    ({ weight: vector(`${name}.weight`), bias: vector(`${name}.bias`) });
  const layersOf = (length, make) => Array.from({ length }, (_, i) => make(i));
  const [q, k, v] = ["q", "k", "v"].map((each) => `self_attn.${each}_proj`);

  const encoder = {
    width: audio.d_model,
    heads: audio.encoder_attention_heads,
    conv1: linear("audio_tower.conv1"),
    conv2: linear("audio_tower.conv2"),
    places: vector("audio_tower.embed_positions.weight"),
    lead: audio.lead_positions ?? 0,
    layers: layersOf(audio.encoder_layers, (number) => {
      const prefix = `audio_tower.layers.${number}.`;
      return {
        ...all(prefix, { q, k, v, o: "self_attn.out_proj", fc1: "fc1", fc2: "fc2" }),
        norm1: norm(`${prefix}self_attn_layer_norm`),
        norm2: norm(`${prefix}final_layer_norm`),
      };
    }),
    norm: norm("audio_tower.layer_norm"),
  };
  // Tied: the table that gives a token its vector also scores a vector as each token.
  const words = rows("language_model.model.embed_tokens");
  const table = inKernel(words);
  const lengths = fill(words.rows, (id) => lengthOf(rowOf(words, id)));
  const projector = {
    ...all("multi_modal_projector.", { gate: "gate", up: "up", down: "down" }),
    normIn: vector("multi_modal_projector.norm_in.weight"),
    normOut: vector("multi_modal_projector.norm_out.weight"),
    eps: projectorEps,
    stack: config.stack_factor,
    binding: null,
    prompt: [],
  };
  if (config.projector_output === "bound") {
    const part = (name) => `multi_modal_projector.binding.${name}`;
    const ids = tensors[part("vocabulary")].copy();
    const chosen = join(...Array.from(ids, (id) => rowOf(words, id)));
    projector.binding = {
      ids,
      choices: kernel.matrix(chosen, ids.length, words.columns),
      blank: vector(part("blank")),
      filler: vector(part("filler")),
      scale: Math.exp(vector(part("scale"))[0]),
      temperature: config.projector_temperature,
      openings: tensors[part("openings")].copy(),
      weight: config.projector_ctc_weight,
    };
  }
  if (config.projector_speller_width) {
    const name = (rest) => `multi_modal_projector.speller.${rest}`;
    const block = (number) => {
      const part = (rest) => name(`blocks.${number}.${rest}`);
      const near = { weight: vector(part("near.weight")), bias: vector(part("near.bias")) };
      return { ...all(part(""), { up: "up", down: "down" }), near, norm: vector(part("norm.weight")) };
    };
    const { shape: [count, longest], copy } = tensors[name("tokens")];
    const spelled = copy(); // of each word that can be pointed to, filled up with zeros
    const lettersOf = (at) => spelled.subarray(at * longest, (at + 1) * longest).filter(Boolean);
    projector.speller = {
      ...all(name(""), { down: "down", letters: "letters" }),
      normIn: vector(name("norm_in.weight")),
      normOut: vector(name("norm_out.weight")),
      blocks: layersOf(4, block),
      lettersOf: layersOf(count, lettersOf),
    };
  }
  if (config.projector_prompt_vectors) {
    const learned = vector("multi_modal_projector.prompt");
    projector.prompt = layersOf(config.projector_prompt_vectors, (i) =>
      learned.slice(i * words.columns, (i + 1) * words.columns));
  }
  const decoder = {
    width: text.hidden_size,
    heads: text.num_attention_heads,
    keyHeads: text.num_key_value_heads,
    size: text.hidden_size / text.num_attention_heads,
    theta: text.rope_parameters.rope_theta,
    eps: text.rms_norm_eps,
    layers: layersOf(text.num_hidden_layers, (number) => {
      const prefix = `language_model.model.layers.${number}.`;
      const mlp = { gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj" };
      return {
        ...all(prefix, { q, k, v, o: "self_attn.o_proj", ...mlp }),
        norm1: vector(`${prefix}input_layernorm.weight`),
        norm2: vector(`${prefix}post_attention_layernorm.weight`),
        turns: Boolean(text.no_rope_layers[number]), // one in four: without positions
      };
    }),
    norm: vector("language_model.model.norm.weight"),
  };
  const parts = { kernel, encoder, projector, decoder, table, words, lengths, space };
  const tokens = { prompt, endToken, audioToken: config.audio_token_id };
  const promptToken = config.prompt_token_id;
  let random; // made when it is asked for
  const untrained = () => (random ??= randomProjector(parts));
  return { ...parts, ...tokens, promptToken, untrained };
}

/* The kernel of kernel.c where the browser runs WebAssembly, and the plain one
   elsewhere. */
async function makeKernel(bytes) {
  try {
    return new WasmKernel((await WebAssembly.instantiate(bytes)).instance);
  } catch {
    return new PlainKernel();
  }
}

/* From a spectrogram to a sentence. What can be changed on the way: layers and
   heads that are `off`, the projector, audio tokens that are `replaced` or left
   out (`without`), tokens that the sentence begins with (`forced`). */
function hear(model, mel, { untrained, replaced = [], without, ...more }) {
  const chosen = untrained ? { ...model, projector: model.untrained() } : model;
  const hidden = encode(model, mel, more.off);
  const { embeds: heard, readings, letters } = project(chosen, hidden);
  const embeds = replace(model, heard, replaced);
  const { width } = model.decoder;
  const { binding, speller, stack } = chosen.projector;
  const choices = binding && 1 + binding.ids.length;
  const ofToken = speller && (stack * speller.letters.rows) / 2; // of letters, in the time of a token
  const vectorAt = (place) => embeds.subarray(place * width, (place + 1) * width);
  for (const [place] of binding ? replaced : []) {
    if (place >= rowsOf(embeds, width)) continue;
    const points = spell(chosen, binding, vectorAt(place));
    readings.forEach((spelled) => spelled.set(points, place * choices));
    // Any letter may be there: what was said has no say where another vector was put.
    letters?.fill(-Math.log(speller.letters.rows / 2), place * ofToken, (place + 1) * ofToken);
  }
  const kept = (x, size) =>
    without.size ? x.filter((_, i) => !without.has(Math.floor(i / size))) : x;
  const spelled = {
    readings: readings.map((each) => kept(each, choices)),
    letters: letters && kept(letters, ofToken),
  };
  const written = write(chosen, kept(embeds, width), spelled, more);
  return { hidden, embeds, nearest: nearest(model, embeds), ...written };
}

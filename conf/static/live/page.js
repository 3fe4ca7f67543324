/* The page "Live": the reader changes a sound, and sees every stage of the model answer. The model runs in a
   worker (engine.js, worker.js); here are the controls, the pictures, and what they say in words. */
"use strict";
(() => {
  const lab = document.getElementById("live");
  const data = window.asrscopeLive;
  if (!lab || !data) return;

  const { mel: { sampleRate: RATE, hop } } = data.settings;
  const STEP = hop / RATE; // seconds of a frame
  let settings, LONGEST, PER_TOKEN, TOKEN, SHORTEST; // of the pair that listens
  function use(next) {
    settings = next;
    LONGEST = settings.config.trained_seconds;
    PER_TOKEN = 2 * settings.config.stack_factor; // frames
    TOKEN = PER_TOKEN * STEP; // seconds of one
    SHORTEST = PER_TOKEN * hop; // samples of one audio token
  }
  use(data.settings);
  const CHANGED = 0.1; // of its length: from here on, a vector counts as another one
  const percent = (share) => (share < 0.005 ? "<1 %" : `${Math.round(100 * share)} %`);
  const spelled = (id) => settings.pieces[id].replace(/^ /, "␣").replace(/\n/g, "⏎") || "∅";
  const seconds = (time) => `${time.toFixed(2)} s`;
  const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

  function make(tag, properties = {}, ...children) {
    const { aria = {}, ...rest } = properties;
    const element = Object.assign(document.createElement(tag), rest);
    Object.entries(aria).forEach(([name, value]) => element.setAttribute(name === "role" ? name : `aria-${name}`, value));
    element.append(...children);
    return element;
  }
  const button = (text, click, more = {}) => make("button", { type: "button", textContent: text, onclick: click, ...more });

  /* ---- What there is: clips, the edits that the reader made, and their past ---- */

  const sounds = {}; // samples, by the name of the clip
  const untouched = {}; // what the model made of each clip before anything was changed
  const fresh = () => ({ clip: data.clips[0].name, edits: [], off: [], without: [], tokens: [], begin: "", untrained: false });
  let state = fresh();
  let past = [];
  let kind = "silence"; // what dragging does
  let selected = 0; // of the edits
  let shown = null; // the latest result
  let mel = null; // of the sound as it is now
  let samples = new Float32Array(SHORTEST);

  const wordsOf = (clip) => data.clips.find(({ name }) => name === clip)?.words ?? [];
  const untouchedState = () => ({ ...fresh(), clip: state.clip });
  const isUntouched = () => JSON.stringify(state) === JSON.stringify(untouchedState());

  /* Note where undo leads back to; called before a change. */
  function remember() {
    const before = JSON.stringify(state);
    if (past.at(-1) !== before) past.push(before);
  }

  function change(next) {
    remember();
    state = { ...state, ...next };
    update();
  }

  /* Any sound that the browser can read, as one channel of the model's rate. */
  async function decode(buffer) {
    const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(buffer);
    const channels = Array.from({ length: sound.numberOfChannels }, (_, i) => sound.getChannelData(i));
    return Float32Array.from(channels[0], (_, i) => channels.reduce((sum, each) => sum + each[i], 0) / channels.length);
  }

  function hasSound(x) {
    return loudness(x) > 1e-4;
  }

  /* Take a sound of the reader's own. */
  async function take(name, buffer) {
    let sound;
    try {
      sound = await decode(buffer);
    } catch {
      say(`The browser could not read ${name} as sound. WAV, FLAC, MP3 and Ogg are read by most.`, true);
      return;
    }
    const length = sound.length / RATE;
    sounds.own = sound.slice(0, LONGEST * RATE);
    delete untouched.own;
    if (![...clipChoice.options].some((option) => option.value === "own")) clipChoice.append(make("option", { value: "own" }));
    clipChoice.lastChild.textContent = name;
    past = [];
    state = { ...fresh(), clip: "own" };
    update();
    if (!hasSound(sound)) say(`There is next to no sound in ${name}. What the model writes now, it writes of silence.`, true);
    else if (length > LONGEST) say(`${name} has ${seconds(length)}, and this model has learned from clips of up to ${LONGEST} s: the first ${LONGEST} s are taken.`, true);
    else say(`${name}: ${seconds(length)}.${pair.name === "tiny" ? " This model has never heard a person: expect it to guess." : ""}`);
  }

  /* ---- The controls ---- */

  const message = make("p", { className: "live-message", aria: { role: "status" } });
  function say(text, bad = false) {
    message.textContent = text;
    message.classList.toggle("live-bad", bad);
  }

  // tiny comes as text, four letters for three bytes; small, where this site has it, as files that are fetched.
  const tiny = { name: "tiny", title: "the model", files: data.parts.length, bytes: data.bytes, size: (data.bytes * 4) / 3, parts: lettersOf, settingsOf: () => data.settings };
  const small = { name: "small", title: "the real pair", files: data.small?.length - 1, parts: filesOf, settingsOf: async () => JSON.parse(new TextDecoder().decode(await fetched(data.small[0]))) };
  small.size = data.small?.reduce((sum, { bytes }) => sum + bytes, 0);
  small.bytes = small.size - data.small?.[0].bytes;
  const megabytes = ({ size }) => `${(size / 1e6).toFixed(0)} MB`;
  let pair = tiny; // that listens, or would
  const loadButton = button(`Load the model (${megabytes(tiny)}) and let it listen`, () => load(tiny), { className: "live-primary" });
  const progress = make("progress", { value: 0, hidden: true, aria: { label: "Loading the model" } });
  const smallButton = button(`Load the real pair (${megabytes(small)}), which has learned from people`, () => load(small));
  const smallRow = make("p", { className: "live-note" });
  if (!data.small) smallRow.append("The real pair, which has learned from people, is left out of this copy of the site.");
  else if (location.protocol === "file:") smallRow.append(`The real pair, which has learned from people, has ${megabytes(small)}. A page from a disk may not fetch them: run “python -m http.server” in the folder of this page, and open http://localhost:8000/live.html.`);
  else smallRow.append(smallButton);

  const clipChoice = make("select", { id: "live-clip", onchange: () => change({ ...untouchedState(), clip: clipChoice.value }) });
  clipChoice.append(...data.clips.map(({ name, text }) => make("option", { value: name, textContent: `${name}: “${text}”` })));
  const file = make("input", { type: "file", id: "live-file", accept: "audio/*", onchange: async () => {
    if (file.files[0]) await take(file.files[0].name, await file.files[0].arrayBuffer());
    file.value = "";
  } });
  const recordButton = button("Record", () => record());
  const playButton = button("Play what the machine hears", () => play(samples));
  const playFirst = button("Play it untouched", () => play(sounds[state.clip]));

  const tools = make("div", { className: "live-tools", aria: { role: "group", label: "What to do to a stretch of the sound" } });
  tools.append(...Object.entries(EDITS).map(([name, { title }]) =>
    button(title, () => { kind = name; drawTools(); }, { value: name })));
  const question = make("p", { className: "live-question" });
  const wordRow = make("div", { className: "live-words", aria: { role: "group", label: "Where to do it" } });

  const canvas = make("canvas", { className: "live-canvas", aria: { role: "img", label: "Waveform and spectrogram" } });
  const inWords = make("p", { className: "live-in-words" });
  const noEdits = make("p", { className: "live-note", textContent: "None yet. Each edit gets its sliders here; they are made in this order, each on what the one before has left." });
  const editList = make("ol", { className: "live-edits" });
  const undoButton = button("Undo", () => {
    const now = JSON.stringify(state);
    let last = now;
    while (last === now && past.length) last = past.pop();
    state = JSON.parse(last);
    update();
  });
  const resetButton = button("Back to the untouched clip", () => change(untouchedState()));
  const linkButton = button("Copy a link to this", async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      say("The link is copied: whoever opens it sees these edits.");
    } catch {
      say(`The link: ${location.href}`);
    }
  });

  const sentence = make("p", { className: "live-tokens live-sentence", aria: { role: "group", label: "Tokens written; each shows its runners-up" } });
  const before = make("p", { className: "live-before" });
  const stepper = make("div", { className: "live-row", hidden: true, aria: { role: "group", label: "The decoder, token by token" } });
  stepper.append("Token by token: ", button("First", () => stepTo(0)), button("Back", () => stepBy(-1)), button("Forward", () => stepBy(1)), button("Whole sentence", () => stepTo(null)));
  const stepWords = make("p", { className: "live-note", aria: { role: "status" } });
  const runnersUp = make("div", { className: "live-runners", aria: { role: "group", label: "Runners-up" } });
  const spoken = make("p", { className: "only-read live-only-read", aria: { role: "status" } });
  const audioTokens = make("div", { className: "live-tokens", aria: { role: "toolbar", label: "Audio tokens" } });
  const tokenTools = make("div", { className: "live-tools", aria: { role: "group", label: "What to do to audio tokens" } });
  tokenTools.append(...Object.entries({ out: "Take out", text: "Set to text", swap: "Swap" }).map(([name, text]) =>
    button(text, () => { tokenKind = name; drawTokenTools(); }, { value: name })));
  const tokenQuestion = make("p", { className: "live-question" });
  const tokenText = make("input", { type: "text", id: "live-token-text", autocomplete: "off", spellcheck: false, value: "milk", oninput: () => sourceNow() });
  const tokenClip = make("select", { id: "live-token-clip" });
  tokenClip.append(...data.clips.flatMap(({ name, words }) => words.map(([word], number) => make("option", { value: `${name} ${number}`, textContent: `“${word}” of ${name}` }))));
  const tokenWords = make("div", { className: "live-words", aria: { role: "group", label: "Audio tokens of a word" } });
  const tokenEdits = make("ul", { className: "live-edits" });
  const audioWords = make("p", { className: "live-note" });
  const trainedChoice = make("select", { id: "live-projector", onchange: () => change({ untrained: trainedChoice.value === "random" }) },
    make("option", { value: "trained", textContent: "trained" }), make("option", { value: "random", textContent: "random: it has learned nothing" }));
  const begin = make("input", { type: "text", id: "live-begin", autocomplete: "off", spellcheck: false, onchange: () => change({ begin: begin.value }) });
  const switches = make("div", { className: "live-switches" });
  const speed = make("p", { className: "live-note" });

  const labelled = (text, control) => make("label", { htmlFor: control.id, textContent: text });
  const panel = (title, ...children) => make("section", {}, make("h3", { textContent: title }), ...children);

  lab.replaceChildren(
    panel("Sound",
      make("div", { className: "live-row" }, labelled("Clip", clipChoice), clipChoice, recordButton),
      make("div", { className: "live-row" }, labelled("or a file of yours", file), file),
      make("div", { className: "live-row live-start" }, loadButton, progress), smallRow,
      message),
    panel("What to change",
      tools, question, wordRow, canvas, inWords,
      make("div", { className: "live-row" }, playButton, playFirst, undoButton, resetButton, linkButton)),
    panel("Sentence", stepper, sentence, stepWords, runnersUp, before, spoken, speed),
    panel("Your edits", noEdits, editList),
    panel("Audio tokens", tokenTools, tokenQuestion,
      make("div", { className: "live-row" }, labelled("Text", tokenText), tokenText), make("div", { className: "live-row" }, labelled("With those of", tokenClip), tokenClip),
      tokenWords, audioWords, audioTokens, tokenEdits),
    panel("Inside the model",
      make("div", { className: "live-row" }, labelled("Projector", trainedChoice), trainedChoice,
        labelled("The sentence begins with", begin), begin),
      make("details", {}, make("summary", { textContent: "Switch layers and heads off" }), switches)),
  );

  function drawSwitches() {
    switches.replaceChildren();
    for (const [part, name, layers, heads] of [
      ["encoder", "Encoder", settings.config.audio_config.encoder_layers, settings.config.audio_config.encoder_attention_heads],
      ["decoder", "Decoder", settings.config.text_config.num_hidden_layers, settings.config.text_config.num_attention_heads],
    ]) {
      const rows = Array.from({ length: layers }, (_, layer) => {
        const box = (key, text) => make("label", {}, make("input", { type: "checkbox", checked: true, value: key, onchange: ({ target }) => {
          const off = state.off.filter((each) => each !== key);
          change({ off: target.checked ? off : [...off, key] });
        } }), ` ${text}`);
        return make("div", { className: "live-row", aria: { role: "group", label: `${name}, layer ${layer + 1}` } },
          box(`${part} ${layer}`, `layer ${layer + 1}`),
          ...Array.from({ length: heads }, (_, head) => box(`${part} ${layer}.${head}`, `head ${head + 1}`)));
      });
      switches.append(make("fieldset", {}, make("legend", { textContent: name }), ...rows));
    }
  }
  drawSwitches();

  /* ---- Edits ---- */

  const lengthNow = () => samples.length / RATE;

  function middle() {
    const length = lengthNow();
    return [0.4 * length, 0.6 * length];
  }

  const rounded = (time) => Math.round(100 * time) / 100;

  function newEdit(start, end) {
    const { amount } = EDITS[kind];
    const other = data.clips.find(({ name }) => name !== state.clip).name;
    return { kind, start: rounded(start), end: rounded(end), ...(amount && { amount: amount.value }), ...(kind === "mix" && { clip: other }) };
  }

  function addEdit(start, end) {
    selected = state.edits.length;
    change({ edits: [...state.edits, newEdit(start, end)] });
  }

  let moving = 0;

  /* Change one edit while a slider moves; only where it began is a place to come back to. */
  function alter(index, next) {
    selected = index;
    state = { ...state, edits: state.edits.map((edit, i) => (i === index ? { ...edit, ...next } : edit)) };
    moving ||= requestAnimationFrame(update); // once, however often it has moved until then
  }

  function slider(text, { min, max, step, value, unit = "" }, input) {
    const shows = make("output", { textContent: `${value} ${unit}` });
    const range = make("input", { type: "range", min, max, step, value, onpointerdown: remember, onkeydown: remember,
      oninput: () => {
        shows.textContent = `${range.value} ${unit}`;
        input(Number(range.value));
      } });
    return make("label", { className: "live-slider" }, `${text} `, range, shows);
  }

  /* The list is made anew only when edits come or go, so that a slider keeps the focus while it moves. */
  function drawEdits() {
    const key = state.edits.map((edit) => edit.kind + (edit.clip ?? "")).join() + state.clip;
    noEdits.hidden = state.edits.length > 0;
    const latest = (edit) => Math.ceil(100 * Math.max(lengthNow(), edit.end)) / 100;
    if (editList.dataset.key === key) {
      state.edits.forEach((edit, index) => {
        editList.children[index].querySelectorAll("input").forEach((range) => {
          if (range === document.activeElement) return;
          if (range.name !== "amount") range.max = latest(edit);
          range.value = edit[range.name];
          range.nextElementSibling.textContent = `${edit[range.name]} ${range.dataset.unit}`;
        });
      });
      return;
    }
    editList.dataset.key = key;
    editList.replaceChildren(...state.edits.map((edit, index) => {
      const { title, amount } = EDITS[edit.kind];
      const sliders = [["start", "from"], ["end", "to"]].map(([name, text]) =>
        [name, slider(text, { min: 0, max: LONGEST, step: 0.01, value: edit[name], unit: "s" }, (value) => alter(index, { [name]: value }))]);
      if (amount) sliders.push(["amount", slider(amount.name, { ...amount, value: edit.amount }, (value) => alter(index, { amount: value }))]);
      sliders.forEach(([name, label]) => {
        const range = label.querySelector("input");
        range.name = name;
        range.dataset.unit = name === "amount" ? amount.unit : "s";
        if (name !== "amount") range.max = latest(edit);
        range.value = edit[name];
      });
      const other = edit.kind === "mix" && make("select", { onchange: ({ target }) => { remember(); alter(index, { clip: target.value }); }, aria: { label: "The other clip" } },
        ...data.clips.filter(({ name }) => name !== state.clip).map(({ name }) => make("option", { value: name, textContent: name, selected: name === edit.clip })));
      const remove = button("Remove", () => change({ edits: state.edits.filter((_, i) => i !== index) }), { aria: { label: `Remove: ${title}` } });
      return make("li", {}, make("fieldset", { onfocusin: () => { selected = index; draw(); } }, make("legend", { textContent: title }), ...sliders.map(([, label]) => label), ...(other ? [other] : []), remove));
    }));
  }

  function drawTools() {
    for (const tool of tools.children) tool.setAttribute("aria-pressed", tool.value === kind);
    question.textContent = document.getElementById(`ask-${kind}`)?.textContent ?? "";
    if (wordRow.dataset.clip === state.clip) return; // a button that is pressed keeps the focus
    wordRow.dataset.clip = state.clip;
    const words = wordsOf(state.clip);
    wordRow.replaceChildren("Drag over the sound, or press: ", ...words.map(([word, start, end]) =>
      button(word, () => addEdit(start, end))), button(words.length ? "the middle" : "a stretch in the middle", () => addEdit(...middle())));
  }

  /* ---- Audio tokens: taken out, set to text, or swapped with those of another clip ---- */

  let tokenKind = "out"; // what pressing one does

  /* What can stand in the place of audio tokens: ids of text, or places in another clip. */
  function sourceOf({ text, clip, word }) {
    if (text !== undefined) return tokenize(` ${text}`, settings);
    const [, start, end] = wordsOf(clip)[word];
    return placesIn(start, end);
  }
  function placesIn(start, end) {
    const first = Math.floor(start / TOKEN);
    return Array.from({ length: Math.max(1, Math.ceil(end / TOKEN) - first) }, (_, i) => first + i);
  }

  /* For each place that an edit covers: what stands there now. A source that is shorter or longer is stretched. */
  function replacements({ first, last, ...from }) {
    const source = sourceOf(from);
    const width = settings.config.text_config.hidden_size;
    const vector = (place) => untouched[from.clip].embeds.slice(place * width, (place + 1) * width);
    return Array.from({ length: last - first + 1 }, (_, i) => {
      const by = source[Math.floor((i * source.length) / (last - first + 1))];
      return [first + i, from.clip ? vector(by) : by];
    });
  }

  /* What the controls say, or null and a message. */
  function sourceNow() {
    const [clip, word] = tokenClip.value.split(" ");
    const from = tokenKind === "swap" ? { clip, word: Number(word) } : { text: tokenText.value.trim() };
    let fault = from.text === "" ? "write a word first" : "";
    try {
      sourceOf(from);
    } catch (error) {
      fault = error.message;
    }
    tokenText.setCustomValidity(fault);
    if (fault) say(`Audio tokens cannot be set to this text: ${fault}.`, true);
    return fault ? null : from;
  }

  /* Do it to some places: to all of them, if they are those of a word; from one on, if one was pressed. */
  function changeTokens(places, stretch) {
    if (tokenKind === "out") {
      const others = state.without.filter((place) => !places.includes(place));
      const gone = places.every((place) => state.without.includes(place));
      change({ without: gone ? others : [...others, ...places].sort((a, b) => a - b) });
      return;
    }
    const from = sourceNow();
    if (!from) return;
    const [first] = places;
    const last = stretch ? places.at(-1) : Math.min(audioTokens.children.length - 1, first + sourceOf(from).length - 1);
    change({ tokens: [...state.tokens, { first, last, ...from }] });
  }

  const sourceInWords = ({ text, clip, word }) => (clip ? `“${wordsOf(clip)[word][0]}” of ${clip}` : `“${text}”`);

  function drawTokenTools() {
    for (const tool of tokenTools.children) tool.setAttribute("aria-pressed", tool.value === tokenKind);
    tokenQuestion.textContent = document.getElementById(`ask-${tokenKind}`)?.textContent ?? "";
    tokenText.parentElement.hidden = tokenKind !== "text";
    tokenClip.parentElement.hidden = tokenKind !== "swap";
    const words = wordsOf(state.clip);
    if (tokenWords.dataset.clip !== state.clip) {
      tokenWords.dataset.clip = state.clip;
      tokenWords.hidden = !words.length;
      tokenWords.replaceChildren("Press an audio token below, or all of: ", ...words.map(([word, start, end]) =>
        button(word, () => changeTokens(placesIn(start, end), true))));
    }
    tokenEdits.hidden = !state.tokens.length;
    tokenEdits.replaceChildren(...state.tokens.map((edit, index) => {
      const places = edit.first === edit.last ? `Audio token ${edit.first + 1}` : `Audio tokens ${edit.first + 1} to ${edit.last + 1}`;
      const text = `${places}: ${sourceInWords(edit)}`;
      return make("li", {}, `${text} `, button("Remove", () => change({ tokens: state.tokens.filter((_, i) => i !== index) }), { aria: { label: `Remove: ${text}` } }));
    }));
  }

  /* Dragging: a new stretch, or the selected one moved, or one of its ends. */
  let drag = null;
  const timeAt = (event) => {
    const { left, width } = canvas.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - left) / width)) * lengthNow();
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const time = timeAt(event);
    const edge = (12 / canvas.clientWidth) * lengthNow();
    const here = (each) => each && time > each.start - edge && time < each.end + edge;
    if (!here(state.edits[selected])) selected = state.edits.findLastIndex(here);
    const edit = state.edits[selected];
    remember();
    if (edit && time > edit.start - edge && time < edit.end + edge) {
      const atEnd = Math.abs(time - edit.end) < edge;
      const atStart = !atEnd && Math.abs(time - edit.start) < edge;
      drag = { time, start: edit.start, end: edit.end, how: atEnd ? "end" : atStart ? "start" : "move" };
    } else {
      drag = { time, how: "new" };
    }
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const time = timeAt(event);
    const by = time - drag.time;
    if (drag.how === "new") {
      if (Math.abs(by) < 0.02) return;
      selected = state.edits.length;
      state = { ...state, edits: [...state.edits, newEdit(Math.min(time, drag.time), Math.max(time, drag.time))] };
      drag = { time: drag.time, start: drag.time, end: drag.time, how: by < 0 ? "start" : "end" };
    }
    const ends = { start: drag.start, end: drag.end };
    if (drag.how !== "end") ends.start += by;
    if (drag.how !== "start") ends.end += by;
    const [start, end] = [ends.start, ends.end].sort((a, b) => a - b).map((each) => rounded(Math.max(0, each)));
    alter(selected, { start, end });
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => {
      drag = null;
      if (past.at(-1) === JSON.stringify(state)) past.pop(); // nothing came of it
      update();
    });
  }

  /* ---- The model, in a worker: it hears the latest, and skips what was there in between ---- */

  let worker = null;
  let busy = false;
  let stale = false;
  const runs = []; // when the latest results came

  const script = (source) => new Promise((done, failed) => {
    document.head.append(make("script", { src: source, onload: done, onerror: () => failed(new Error(`${source} did not come`)) }));
  });

  const folder = document.querySelector('script[src*="live/data.js"]').src.split("data.js")[0];

  async function* lettersOf() {
    for (let number = 0; number < data.parts.length; number++) {
      data.parts[number] = null;
      await script(`${folder}weights-${number}.js`);
      if (!data.parts[number]) throw new Error(`part ${number + 1} came damaged`);
      yield data.parts[number];
      data.parts[number] = null;
    }
  }

  async function* filesOf() {
    for (const file of data.small.slice(1)) yield fetched(file);
  }

  /* The bytes of a file, as they were written: those that the browser has kept, or fetched. Where a page is
     not safe from others (http, and another host), browsers neither keep nor hash: only the length tells then. */
  async function fetched({ name, bytes, sha256 }) {
    const right = async (content) => content.byteLength === bytes
      && (!crypto.subtle || [...new Uint8Array(await crypto.subtle.digest("SHA-256", content))].map((byte) => byte.toString(16).padStart(2, "0")).join("") === sha256);
    const shelf = await window.caches?.open("asrscope-live").catch(() => null);
    const kept = await (await shelf?.match(folder + name))?.arrayBuffer();
    if (kept && await right(kept)) return kept;
    const reply = await fetch(folder + name, { cache: "no-cache" });
    if (!reply.ok) throw new Error(`${name} did not come (${reply.status})`);
    const content = await reply.arrayBuffer();
    if (!await right(content)) throw new Error(`${name} came damaged`);
    await shelf?.put(folder + name, new Response(content)).catch(() => null); // no room: it comes again next time
    return content;
  }

  /* A worker that has made a model of a pair's weights. */
  async function started({ bytes, files, parts }, given) {
    const loading = new Worker(URL.createObjectURL(new Blob([data.source], { type: "text/javascript" })));
    try {
      Object.assign(progress, { max: files, value: 0 });
      for await (const part of parts()) {
        loading.postMessage({ part, bytes }, part.byteLength ? [part] : []);
        progress.value += 1;
      }
      const answered = new Promise((done, failed) => {
        loading.onmessage = ({ data: reply }) => (reply.ready ? done(reply) : failed(new Error(reply.error)));
        loading.onerror = () => failed(new Error("the browser does not let the page start it"));
      });
      loading.postMessage({ settings: given, kernel: data.kernel, bytes });
      lab.dataset.kernel = (await answered).ready;
    } catch (error) {
      loading.terminate();
      throw error;
    }
    return loading;
  }

  async function load(next) {
    const pressed = next === tiny ? loadButton : smallButton;
    loadButton.disabled = smallButton.disabled = true;
    progress.hidden = false;
    say(`Loading ${next.title}, ${megabytes(next)}…`);
    try {
      const given = await next.settingsOf();
      const loaded = await started(next, given);
      listenWith(next, given, loaded);
    } catch (error) {
      pressed.textContent = `Try again to load ${next.title}`;
      say(`The model could not be loaded: ${error.message}. The sound and its spectrogram work without it.`, true);
      return;
    } finally {
      loadButton.disabled = smallButton.disabled = false;
      progress.hidden = true;
    }
    tools.firstChild.focus({ preventScroll: true });
    update();
    say(lab.dataset.kernel !== "WasmKernel" ? "The model is here. This browser runs no WebAssembly, so it is slow."
      : pair === tiny ? "The model is here. Drag across the sound, or press a word."
        : "The real pair is here. Record yourself, or open a file. It takes a few seconds for each sentence.");
  }

  /* From now on another pair listens: what the one before made of a clip says nothing about this one. */
  function listenWith(next, given, loaded) {
    worker?.terminate();
    worker = loaded;
    worker.onmessage = ({ data: reply }) => receive(reply);
    busy = stale = false;
    if (next !== pair) {
      pair = next;
      lab.dataset.pair = pair.name;
      use(given);
      Object.keys(untouched).forEach((name) => delete untouched[name]);
      [past, shown, changes, open, stepping] = [[], null, [[], [], []], null, false];
      [sentence, audioTokens, before].forEach((each) => each.replaceChildren());
      [stepper, stepWords, runnersUp].forEach((each) => { each.hidden = true; });
      state = { ...untouchedState(), edits: state.edits };
      drawSwitches();
    }
    loadButton.textContent = `Let tiny listen (${megabytes(tiny)})`;
    loadButton.hidden = pair === tiny;
    smallButton.hidden = pair === small;
  }

  function jobOf(edited, given) {
    let forced = [];
    try {
      forced = tokenize(edited.begin, settings);
      begin.setCustomValidity("");
    } catch (error) {
      begin.setCustomValidity(error.message);
      say(`The sentence cannot begin so: ${error.message}.`, true);
    }
    const { values, frames, bands } = given;
    const limit = Math.ceil(frames * STEP * settings.tokensPerSecond) + settings.spareTokens;
    const { off, without, untrained } = edited;
    return { mel: { values, frames, bands }, forced, limit, off, without, untrained, replaced: edited.tokens.flatMap(replacements) };
  }

  let asked = null;
  function ask() {
    if (!worker) return;
    if (busy) {
      stale = true;
      return;
    }
    busy = true;
    stale = false;
    if (pair === small) speed.textContent = "It listens…"; // for seconds
    const missing = [state.clip, ...state.tokens.map(({ clip }) => clip)].find((name) => name && !untouched[name]);
    const [clip, first] = [missing ?? state.clip, missing !== undefined];
    const given = first && !(clip === state.clip && isUntouched()) ? logMel(padded(sounds[clip]), settings.mel) : mel;
    asked = { clip, first, mel: given };
    const said = data.clips.find(({ name }) => name === clip)?.text;
    const guess = first && said ? tokenize(said, settings) : undefined; // what was said is likely to be written
    worker.postMessage({ ...jobOf(first ? untouchedState() : state, given), guess });
  }

  function receive(reply) {
    busy = false;
    if (reply.error) {
      say(`The model stopped: ${reply.error}.`, true);
      return;
    }
    const { clip, first, mel: given } = asked;
    if (first) untouched[clip] = { ...reply, mel: given };
    const now = performance.now();
    runs.push(now);
    while (runs[0] < now - 3000) runs.shift();
    lab.dataset.runs = Number(lab.dataset.runs ?? 0) + 1;
    const another = clip !== state.clip || (first && !isUntouched());
    if (stale || another) ask(); // the worker goes on while this is drawn
    if (another) return;
    shown = { ...reply, mel: given, clip };
    drawAnswer();
  }

  /* ---- Pictures, and the same in words ---- */

  const padded = (x) => (x.length < SHORTEST ? concatenate(x, new Float32Array(SHORTEST - x.length)) : x);

  /* For each row of two lists of vectors: how far one is from the other, as a share of its length. */
  function distances(now, then, width) {
    const rows = Math.max(now.length, then.length) / width;
    return Array.from({ length: rows }, (_, row) => {
      let [apart, size] = [0, 0];
      for (let i = row * width; i < (row + 1) * width; i++) {
        apart += ((now[i] ?? 0) - (then[i] ?? 0)) ** 2;
        size += (then[i] ?? 0) ** 2;
      }
      return Math.min(1, Math.sqrt(apart / (size || 1)));
    });
  }

  /* 256 colors from dark to light, by way of violet, red and orange, as pixels. */
  const STOPS = [[0, 0, 4], [59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]];
  const COLORS = Uint32Array.from({ length: 256 }, (_, i) => {
    const place = (i / 256) * (STOPS.length - 1);
    const [low, part] = [Math.floor(place), place % 1];
    const [red, green, blue] = STOPS[low].map((each, c) => each + part * (STOPS[low + 1][c] - each));
    return (255 << 24) | (blue << 16) | (green << 8) | red;
  });

  /* One pixel for each value of a spectrogram. */
  function picture({ values, frames, bands }) {
    const pixels = new Uint32Array(frames * bands);
    let top = -Infinity;
    for (const value of values) top = Math.max(top, value);
    for (let i = 0; i < values.length; i++) {
      const shade = Math.min(255, Math.max(0, 128 * (2 + values[i] - top))); // the values span 2 at most
      pixels[(bands - 1 - (i % bands)) * frames + Math.floor(i / bands)] = COLORS[shade | 0];
    }
    const small = new OffscreenCanvas(frames, bands);
    small.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), frames), 0, 0);
    return small;
  }

  const WAVE = 80;
  const PICTURE = 160;
  const STRIP = 14;
  const STRIPS = ["spectrogram", "encoder", "audio tokens"];
  let changes = [[], [], []];
  let waiting = 0;

  /* Paint once, however much has changed until the screen is drawn again. */
  function draw() {
    waiting ||= requestAnimationFrame(paintAll);
  }

  function paintAll() {
    waiting = 0;
    const scale = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = WAVE + PICTURE + STRIPS.length * (STRIP + 2) + 18;
    canvas.style.height = `${height}px`;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const paint = canvas.getContext("2d");
    paint.scale(scale, scale);
    const style = getComputedStyle(lab);
    const [ink, quiet, mark] = ["--color-foreground-primary", "--color-foreground-border", "--live-mark"].map((name) => style.getPropertyValue(name).trim());
    const xAt = (time) => (time / lengthNow()) * width;

    paint.fillStyle = ink;
    for (let x = 0; x < width; x++) {
      let [low, high] = [0, 0];
      const last = Math.floor(((x + 1) / width) * samples.length);
      for (let i = Math.floor((x / width) * samples.length); i < last; i++) {
        low = Math.min(low, samples[i]);
        high = Math.max(high, samples[i]);
      }
      paint.fillRect(x, WAVE / 2 - high * (WAVE / 2), 1, Math.max(1, (high - low) * (WAVE / 2)));
    }

    if (mel) {
      mel.picture ??= picture(mel);
      paint.imageSmoothingEnabled = false;
      paint.drawImage(mel.picture, 0, WAVE, xAt(mel.frames * STEP), PICTURE);
    }

    changes.forEach((row, number) => {
      const y = WAVE + PICTURE + 2 + number * (STRIP + 2);
      paint.fillStyle = quiet;
      paint.globalAlpha = 0.3;
      paint.fillRect(0, y, width, STRIP);
      paint.fillStyle = mark;
      const step = [1, 2, PER_TOKEN][number] * STEP;
      row.forEach((value, i) => {
        paint.globalAlpha = value;
        paint.fillRect(xAt(i * step), y, xAt(step) + 0.5, STRIP);
      });
      paint.globalAlpha = 1;
      paint.font = "11px sans-serif";
      const text = `changed: ${STRIPS[number]}`;
      paint.fillStyle = style.getPropertyValue("--color-background-primary");
      paint.fillRect(2, y + 1, paint.measureText(text).width + 6, STRIP - 2);
      paint.fillStyle = ink;
      paint.fillText(text, 5, y + STRIP - 3.5);
    });

    paint.fillStyle = mark;
    state.edits.forEach(({ start, end }, number) => {
      const bottom = WAVE + PICTURE;
      paint.globalAlpha = number === selected ? 0.25 : 0.1;
      paint.fillRect(xAt(start), 0, xAt(end - start), bottom);
      paint.globalAlpha = number === selected ? 1 : 0.5;
      for (const time of [start, end]) paint.fillRect(xAt(time) - 1.5, 0, 3, bottom);
    });
    paint.globalAlpha = 1;
    if (pointed !== null) {
      paint.strokeStyle = mark;
      paint.lineWidth = 2;
      paint.strokeRect(xAt(pointed * PER_TOKEN * STEP), 1, xAt(PER_TOKEN * STEP), WAVE + PICTURE - 2);
    }
    if (playing) {
      paint.fillStyle = mark;
      paint.fillRect(xAt(Math.max(0, playing.context.currentTime - playing.began)), 0, 2, WAVE + PICTURE);
    }
    paint.fillStyle = ink;
    paint.font = "11px sans-serif";
    const every = lengthNow() > 4 || width < 500 ? 1 : 0.5;
    for (let time = 0; time < lengthNow() - 0.2; time += every) paint.fillText(`${time} s`, xAt(time), height - 4);
  }

  let pointed = null; // the audio token that is looked at

  /* The sentence without the end token, as words. */
  const textOf = (steps) => steps.filter(({ id }) => id !== settings.endToken).map(({ id }) => settings.pieces[id]).join("").trim();

  /* Which of the new items are not among the old ones, in this order: those outside the longest common row. */
  function fresher(now, then) {
    const lengths = Array.from({ length: now.length + 1 }, () => new Uint16Array(then.length + 1));
    for (let i = now.length - 1; i >= 0; i--) {
      for (let j = then.length - 1; j >= 0; j--) {
        lengths[i][j] = now[i] === then[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
      }
    }
    const found = new Set(now.keys());
    for (let i = 0, j = 0; i < now.length && j < then.length;) {
      if (now[i] === then[j]) {
        found.delete(i);
        i += 1;
        j += 1;
      } else if (lengths[i + 1][j] >= lengths[i][j + 1]) i += 1;
      else j += 1;
    }
    return found;
  }

  const sameSound = () => shown && shown.mel.frames === untouched[shown.clip].mel.frames;
  let open = null; // the token whose runners-up are shown
  let stepping = false; // whether the sentence ends there

  function drawAnswer() {
    const base = untouched[shown.clip];
    const { steps } = shown;
    stepper.hidden = false;
    changes = [
      distances(shown.mel.values, base.mel.values, shown.mel.bands),
      distances(shown.hidden, base.hidden, settings.config.audio_config.d_model),
      distances(shown.embeds, base.embeds, settings.config.text_config.hidden_size),
    ];
    const others = fresher(steps.map(({ id }) => id), base.steps.map(({ id }) => id));
    if (sentence.children.length !== steps.length) {
      sentence.replaceChildren(...steps.map((_, i) => button("", () => { open = open === i && !stepping ? null : i; drawRunners(); })));
    }
    steps.forEach(({ id, chance }, i) => {
      const token = sentence.children[i];
      const piece = id === settings.endToken ? "end" : spelled(id);
      token.replaceChildren(make("span", { textContent: piece }), make("small", { textContent: percent(chance) }));
      token.style.setProperty("--chance", chance);
      token.classList.toggle("live-changed", others.has(i));
      token.setAttribute("aria-label", `${piece}, ${percent(chance)}${others.has(i) ? ", not in the untouched sentence" : ""}`);
    });
    drawRunners();
    const [text, first] = [textOf(steps), textOf(base.steps)];
    lab.dataset.text = text;
    before.textContent = text === first ? `Untouched, it writes the same.` : `Untouched: “${first}”`;
    if (!shown.ended) before.append(` Stopped after ${counted(steps.length, "token")}: the decoder found no end.`);

    drawAudioTokens(base);
    const counts = changes.map((row) => row.filter((value) => value > CHANGED).length);
    const [frames, positions, tokens] = counts.map((count, i) => `${count} of ${changes[i].length}`);
    inWords.textContent = isUntouched() ? `${seconds(lengthNow())} of sound, ${counted(shown.mel.frames, "frame")}. Untouched.`
      : `${seconds(lengthNow())} of sound. Changed by more than a tenth: ${frames} spectrogram frames, ${positions} encoder positions, ${tokens} audio tokens${sameSound() ? "" : " (moment against moment: the clip has another length now)"}.`;
    canvas.setAttribute("aria-label", `Waveform and spectrogram. ${inWords.textContent}`);
    clearTimeout(spoken.timer);
    spoken.timer = setTimeout(() => { spoken.textContent = `It writes: ${text || "nothing"}. ${before.textContent}`; }, 700);
    const rate = runs.length > 1 ? (runs.length - 1) / ((runs.at(-1) - runs[0]) / 1000) : 0;
    lab.dataset.rate = rate.toFixed(2);
    lab.dataset.milliseconds = shown.milliseconds.toFixed(0);
    speed.textContent = `Encoder, projector and decoder: ${shown.milliseconds.toFixed(0)} ms in this browser, on one thread${rate > 1 ? `; ${rate.toFixed(1)} sentences a second` : ""}.`;
    draw();
  }

  function drawAudioTokens(base) {
    const same = sameSound();
    let others = 0;
    if (audioTokens.children.length !== shown.nearest.length) {
      audioTokens.replaceChildren(...shown.nearest.map((_, i) => button("", () => changeTokens([i], false), { tabIndex: i ? -1 : 0, onfocus: () => { pointed = i; draw(); }, onblur: () => { pointed = null; draw(); }, onpointerenter: () => { pointed = i; draw(); }, onpointerleave: () => { pointed = null; draw(); } })));
    }
    const given = new Map(state.tokens.flatMap((edit) =>
      Array.from({ length: edit.last - edit.first + 1 }, (_, i) => [edit.first + i, sourceInWords(edit)])));
    shown.nearest.forEach(([id, cosine], i) => {
      const token = audioTokens.children[i];
      const changed = id !== base.nearest[i]?.[0];
      const out = state.without.includes(i);
      others += changed;
      const at = (i * TOKEN).toFixed(2);
      const label = `audio token ${i + 1} at ${at} seconds, nearest to ${spelled(id)}${changed ? ", changed" : ""}${given.has(i) ? `, set to ${given.get(i)}` : ""}${out ? ", taken out" : ""}`;
      token.title = `${at} s: nearest to “${settings.pieces[id]}”, cosine ${cosine.toFixed(2)}${given.has(i) ? `; set to ${given.get(i)}` : ""}`;
      if (token.ariaLabel === label) return; // most stay as they are while one drags
      token.textContent = spelled(id);
      token.classList.toggle("live-changed", changed);
      token.classList.toggle("live-given", given.has(i));
      token.setAttribute("aria-pressed", out || given.has(i));
      token.classList.toggle("live-out", out);
      token.ariaLabel = label;
    });
    const cosines = shown.nearest.reduce((sum, [, cosine]) => sum + cosine, 0) / shown.nearest.length;
    const compared = isUntouched() ? "" : ` ${others} point to another token than in the untouched clip${same ? "" : ", compared moment by moment"}.`;
    const done = [[state.without.length, "taken out"], [given.size, "set to something else"]].filter(([count]) => count).map(([count, how]) => ` ${count} ${how}.`);
    audioWords.textContent = `${counted(shown.nearest.length, "audio token")} of ${1000 * TOKEN} ms, each spelled as the text token it points to most nearly (mean cosine ${cosines.toFixed(2)}).${compared}${done.join("")} The arrow keys lead from one to the next.`;
  }
  audioTokens.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 8, ArrowUp: -8 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...audioTokens.children];
    const next = all[Math.min(all.length - 1, Math.max(0, all.indexOf(document.activeElement) + step))];
    all.forEach((each) => { each.tabIndex = each === next ? 0 : -1; });
    next.focus();
  });

  /* Show the sentence as it stands behind one token, or the whole of it (null). */
  function stepTo(place) {
    stepping = place !== null;
    open = place;
    drawRunners();
  }
  const stepBy = (by) => stepTo(stepping ? open + by : 0);

  /* What the decoder held for possible at one step; pressing it makes the sentence go on from there. */
  function drawRunners() {
    const last = shown.steps.length - 1;
    if (open !== null) open = Math.max(0, Math.min(open, last));
    [...sentence.children].forEach((token, i) => {
      token.setAttribute("aria-expanded", i === open);
      token.hidden = stepping && i > open;
    });
    const step = shown.steps[open];
    runnersUp.hidden = stepWords.hidden = !step;
    if (!step) return;
    const sofar = shown.steps.slice(0, open).map(({ id }) => settings.pieces[id]).join("");
    const named = (id) => (id === settings.endToken ? "end" : spelled(id));
    stepWords.textContent = `Token ${open + 1} of ${last + 1}: behind ${sofar ? `“${sofar.trim()}”` : "the prompt"}, the decoder chose ${named(step.id)} with ${percent(step.chance)}. Press a runner-up to write it instead, and to go on from there.`;
    const focused = runnersUp.contains(document.activeElement);
    runnersUp.replaceChildren(...step.others.map(([id, chance]) => {
      const other = button(`${named(id)} ${percent(chance)}`, () => change({ begin: sofar + settings.pieces[id] }), { disabled: id === settings.endToken });
      other.style.setProperty("--chance", chance);
      return other;
    }));
    if (focused) sentence.children[open].focus(); // the one that was pressed is gone
  }
  stepper.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    stepBy(by);
  });

  /* ---- Sound out and in ---- */

  let playing = null;
  function stop() {
    if (!playing) return;
    playing.source.onended = null;
    playing.context.close();
    playing = null;
    draw();
  }
  function play(sound) {
    stop();
    const context = new AudioContext();
    const buffer = context.createBuffer(1, sound.length, RATE);
    buffer.copyToChannel(sound, 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(context.destination);
    source.onended = stop;
    source.start();
    playing = { context, source, began: context.currentTime };
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const follow = () => {
      if (!playing || still) return;
      draw();
      requestAnimationFrame(follow);
    };
    follow();
  }

  let recorder = null;
  async function record() {
    if (recorder) {
      recorder.stop();
      return;
    }
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      say("This browser offers no microphone to this page. Open a file instead.", true);
      return;
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      say(error.name === "NotFoundError" ? "There is no microphone on this machine. Open a file instead."
        : "The browser did not let this page use the microphone. Allow it there, or open a file instead.", true);
      return;
    }
    const pieces = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => pieces.push(event.data);
    recorder.onstop = async () => {
      stream.getTracks().forEach((track) => track.stop());
      clearTimeout(recorder.timer);
      recorder = null;
      recordButton.textContent = "Record";
      await take("your recording", await new Blob(pieces).arrayBuffer());
    };
    recorder.start();
    recorder.timer = setTimeout(() => recorder?.stop(), 1000 * LONGEST);
    recordButton.textContent = "Stop recording";
    say(`Recording, ${LONGEST} s at most. Nothing leaves this machine.`);
  }
  lab.addEventListener("dragover", (event) => event.preventDefault());
  lab.addEventListener("drop", async (event) => {
    event.preventDefault();
    const [dropped] = event.dataTransfer.files;
    if (dropped) await take(dropped.name, await dropped.arrayBuffer());
  });

  /* ---- A link that carries the edits ---- */

  function toLink() {
    const link = new URLSearchParams({ clip: state.clip });
    for (const { kind: name, start, end, amount, clip } of state.edits) {
      link.append("edit", [name, start, end, amount, clip].filter((each) => each !== undefined).join(" "));
    }
    if (state.without.length) link.set("without", state.without.join(" "));
    state.tokens.forEach(({ first, last, text, clip, word }) =>
      link.append("token", [first, last, ...(clip ? [clip, word] : ["text", text])].join(" ")));
    state.off.forEach((each) => link.append("off", each));
    if (state.begin) link.set("begin", state.begin);
    if (state.untrained) link.set("projector", "random");
    return link.toString();
  }

  function isTokenEdit({ first, last, ...from }) {
    if (!(Number.isInteger(first) && Number.isInteger(last) && first >= 0 && last >= first && last < LONGEST / TOKEN)) return false;
    try {
      return sourceOf(from).length > 0;
    } catch {
      return false; // no such word of a clip, or a letter that the model has no token for
    }
  }

  function fromLink(text) {
    const link = new URLSearchParams(text);
    if (!data.clips.some(({ name }) => name === link.get("clip"))) return false;
    const numbers = (each) => each.split(" ").map(Number).filter(Number.isFinite);
    const edits = link.getAll("edit").map((each) => {
      const [name, start, end, ...rest] = each.split(" ");
      const { amount } = EDITS[name] ?? {};
      const given = { kind: name, start: Number(start), end: Number(end) };
      if (amount) given.amount = Math.min(amount.max, Math.max(amount.min, Number(rest[0])));
      if (name === "mix") given.clip = rest[1];
      return given;
    }).filter((each) => Object.hasOwn(EDITS, each.kind) && each.start >= 0 && each.end > each.start && each.end <= 4 * LONGEST
      && (each.amount === undefined || Number.isFinite(each.amount)) && (each.kind !== "mix" || Object.hasOwn(sounds, each.clip)));
    const off = link.getAll("off").filter((each) => [...switches.querySelectorAll("input")].some(({ value }) => value === each));
    const without = link.get("without") ? numbers(link.get("without")) : [];
    const tokens = link.getAll("token").map((each) => {
      const [first, last, clip, ...rest] = each.split(" ");
      const from = clip === "text" ? { text: rest.join(" ") } : { clip, word: Number(rest[0]) };
      return { first: Number(first), last: Number(last), ...from };
    }).filter(isTokenEdit);
    if (past.length || !isUntouched()) remember();
    state = { clip: link.get("clip"), edits, off, without, tokens, begin: link.get("begin") ?? "", untrained: link.get("projector") === "random" };
    selected = 0;
    kind = edits[0]?.kind ?? kind;
    if (tokens.length) tokenKind = tokens[0].clip ? "swap" : "text";
    update();
    if (link.getAll("edit").length > edits.length || link.getAll("token").length > tokens.length) say("A part of the link was not understood, and left out.", true);
    else if (!worker) say("The sound is edited. Load the model to see what it makes of it.");
    return true;
  }

  /* ---- All of it, whenever something has changed ---- */

  function update() {
    cancelAnimationFrame(moving);
    moving = 0;
    say("");
    const edited = applyEdits(sounds[state.clip], state.edits, { rate: RATE, others: sounds });
    if (edited.length > LONGEST * RATE) say(`With these edits the clip has ${seconds(edited.length / RATE)}: the model takes the first ${LONGEST} s.`, true);
    samples = padded(edited.slice(0, LONGEST * RATE));
    mel = logMel(samples, settings.mel, mel);
    selected = Math.max(0, Math.min(selected, state.edits.length - 1));
    clipChoice.value = state.clip;
    trainedChoice.value = state.untrained ? "random" : "trained";
    if (begin !== document.activeElement || !state.begin) begin.value = state.begin;
    switches.querySelectorAll("input").forEach((box) => { box.checked = !state.off.includes(box.value); });
    undoButton.disabled = !past.length;
    resetButton.disabled = isUntouched();
    linkButton.disabled = state.clip === "own";
    drawTools();
    drawTokenTools();
    drawEdits();
    draw();
    lab.dataset.computed = mel.computed;
    if (!drag && state.clip !== "own") {
      try {
        const address = isUntouched() && !location.hash.includes("clip=") ? null : `#${toLink()}`;
        if (address && address !== location.hash) history.replaceState(null, "", address);
      } catch {
        /* some browsers keep the address of a page from a disk */
      }
    }
    ask();
  }

  async function start() {
    for (const { name, sound } of data.clips) sounds[name] = await decode(bytesOf(sound).buffer);
    lab.classList.add("live-ready");
    const given = location.hash.slice(1);
    update();
    fromLink(given);
    window.addEventListener("hashchange", () => {
      if (fromLink(location.hash.slice(1))) lab.scrollIntoView();
    });
    new ResizeObserver(draw).observe(canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    new MutationObserver(draw).observe(document.body, { attributeFilter: ["data-theme"] });
  }
  start();
})();

// A waveform of any length and the text under it. What is drawn comes from a pyramid: level 0 holds the lowest and
// highest sample of each stretch, each level above those of four stretches below; a picture reads the level that
// has a few stretches to a pixel, so hours cost what seconds cost.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;
  const store = byId("outline");
  const step = Number(store.dataset.step); // seconds in a stretch of level 0
  const seconds = Number(store.dataset.seconds);
  const SHORTEST = Math.min(seconds, Math.max(0.05, 30 * step)); // closest look, in seconds
  const NEAR = 60; // seconds in view at most, where a segment is shown
  const BAND = 0.16; // of the picture's height, for the segments
  const WITHIN = 0.001; // seconds before its end at which a segment stops: still inside of it
  const [sound, view, whole, list] = ["audio", "view", "whole", "segments"].map(byId);
  const rows = [...list.children].map((row) => {
    const button = row.querySelector("button");
    return {
      row, button,
      start: Number(button.dataset.start),
      end: Number(button.dataset.end),
      odd: row.classList.contains("odd"),
      said: button.querySelector(".said").textContent,
      shown: true,
    };
  });

  /* ---- the pyramid ---- */

  async function build() {
    const packed = Uint8Array.from(atob(store.textContent), (each) => each.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Int8Array(await new Response(stream).arrayBuffer());
    const count = Number(store.dataset.count);
    const levels = [{ low: bytes.subarray(0, count), high: bytes.subarray(count), step }];
    while (levels.at(-1).low.length > 1024) {
      const below = levels.at(-1);
      const size = Math.ceil(below.low.length / 4);
      const [low, high] = [new Int8Array(size).fill(127), new Int8Array(size).fill(-128)];
      for (let i = 0; i < below.low.length; i++) {
        const at = i >> 2;
        if (below.low[i] < low[at]) low[at] = below.low[i];
        if (below.high[i] > high[at]) high[at] = below.high[i];
      }
      levels.push({ low, high, step: below.step * 4 });
    }
    return levels;
  }

  /* ---- state ---- */

  let levels = [];
  let from = 0; // seconds, left edge of the view
  let length = seconds; // of the view
  let place = 0; // seconds: the slider's value; the sound's, where there is one
  let current = -1; // row that is heard or chosen
  let stopAt = Infinity;
  let waiting = false;
  let shades = {};

  function look(start, span) {
    length = Math.min(seconds, Math.max(SHORTEST, span));
    from = Math.min(Math.max(0, start), seconds - length);
    draw();
  }
  const zoom = (factor, at = place >= from && place <= from + length ? place : from + length / 2) =>
    look(at - ((at - from) / length) * Math.min(seconds, Math.max(SHORTEST, length * factor)), length * factor);

  /* ---- drawing ---- */

  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      paint();
    });
  }

  function ready(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = canvas.getBoundingClientRect();
    const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, w, h);
    return [pen, w, h];
  }

  function wave(pen, width, top, height, start, span) {
    const perPixel = span / width;
    let level = levels[0];
    for (const each of levels) if (each.step <= perPixel) level = each;
    const { low, high, step: each } = level;
    const middle = top + height / 2;
    const scale = height / 2 / 128;
    pen.fillStyle = shades.accent;
    pen.beginPath();
    for (let x = 0; x < width; x++) {
      const first = Math.floor((start + x * perPixel) / each);
      if (first >= low.length) break;
      const last = Math.min(low.length - 1, Math.max(first, Math.ceil((start + (x + 1) * perPixel) / each) - 1));
      let [bottom, peak] = [low[first], high[first]];
      for (let i = first + 1; i <= last; i++) {
        if (low[i] < bottom) bottom = low[i];
        if (high[i] > peak) peak = high[i];
      }
      pen.rect(x, middle - peak * scale, 1, Math.max(1, (peak - bottom) * scale));
    }
    pen.fill();
  }

  function segments(pen, width, top, height, start, span, ratio) {
    let i = after(start);
    const x = (time) => ((time - start) / span) * width;
    for (; i < rows.length && rows[i].start < start + span; i++) {
      const { start: begin, end, odd, shown } = rows[i];
      const [left, wide] = [x(begin), Math.max(1, x(end) - x(begin) - 1)];
      pen.globalAlpha = shown ? 1 : 0.25;
      pen.fillStyle = odd ? shades.warn : shades.accent;
      pen.fillRect(left, top, wide, height);
      if (odd && wide > 6) {
        pen.save(); // hatched: not told by color alone
        pen.beginPath();
        pen.rect(left, top, wide, height);
        pen.clip();
        pen.strokeStyle = shades.ground;
        pen.lineWidth = 2;
        pen.beginPath();
        const [near, far] = [Math.max(left, 0) - height, Math.min(left + wide, width)];
        for (let at = near; at < far; at += 9) {
          pen.moveTo(at, top + height);
          pen.lineTo(at + height, top);
        }
        pen.stroke();
        pen.restore();
      }
      if (ratio && !odd && wide > 80 * ratio) {
        pen.save(); // the text, as far as there is room
        pen.beginPath();
        pen.rect(left, top, wide, height);
        pen.clip();
        pen.fillStyle = shades.accentInk;
        pen.font = `${12 * ratio}px system-ui, sans-serif`;
        pen.textBaseline = "middle";
        pen.fillText(rows[i].said, Math.max(left, 0) + 6 * ratio, top + height / 2);
        pen.restore();
      }
      if (i === current) {
        pen.strokeStyle = shades.ink;
        pen.lineWidth = 3;
        pen.strokeRect(left + 1.5, top + 1.5, Math.max(1, wide - 3), height - 3);
      }
    }
    pen.globalAlpha = 1;
  }

  const STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
  function scale(pen, width, height, ratio) {
    const every = STEPS.find((each) => (each / length) * width > 95 * ratio) ?? STEPS.at(-1);
    pen.fillStyle = shades.quiet;
    pen.font = `${12 * ratio}px system-ui, sans-serif`;
    pen.textBaseline = "top";
    for (let n = Math.ceil(from / every); n * every <= from + length; n++) {
      const x = ((n * every - from) / length) * width;
      pen.globalAlpha = 0.35;
      pen.fillRect(x, 0, 1, height);
      pen.globalAlpha = 1;
      pen.fillText(clock(n * every, every < 1 ? 2 : 0), x + 4 * ratio, 3 * ratio);
    }
  }

  function paint() {
    if (!levels.length) return;
    const began = performance.now();
    const ratio = window.devicePixelRatio || 1;
    let [pen, width, height] = ready(view);
    scale(pen, width, height * (1 - BAND), ratio);
    wave(pen, width, 18 * ratio, height * (1 - BAND) - 20 * ratio, from, length);
    segments(pen, width, height * (1 - BAND), height * BAND, from, length, ratio);
    line(pen, ((place - from) / length) * width, height, ratio);
    [pen, width, height] = ready(whole);
    wave(pen, width, 0, height * 0.8, 0, seconds);
    segments(pen, width, height * 0.8, height * 0.2, 0, seconds, 0);
    pen.strokeStyle = shades.ink;
    pen.lineWidth = 2 * ratio;
    pen.strokeRect((from / seconds) * width + 1, 1, Math.max(3, (length / seconds) * width - 2), height - 2);
    line(pen, (place / seconds) * width, height, ratio);
    byId("span").textContent = `${clock(from, 1)} to ${clock(from + length, 1)}`;
    view.setAttribute("aria-valuemax", seconds.toFixed(1));
    view.setAttribute("aria-valuenow", place.toFixed(1));
    const said = rows[current]?.said ?? "";
    view.setAttribute("aria-valuetext", `${clock(place, 1)}${said && `, ${said}`}`);
    performance.measure("paint", { start: began, end: performance.now() });
  }

  function line(pen, x, height, ratio) {
    pen.fillStyle = shades.ink;
    pen.fillRect(Math.round(x) - ratio, 0, 2 * ratio, height);
  }

  function clock(time, digits) {
    const unit = 10 ** digits;
    const whole = Math.round(time * unit);
    const [h, m, s] = [Math.floor(whole / unit / 3600), Math.floor(whole / unit / 60) % 60, (whole % (60 * unit)) / unit];
    return `${h}:${String(m).padStart(2, "0")}:${s.toFixed(digits).padStart(digits ? digits + 3 : 2, "0")}`;
  }

  /* ---- the sound ---- */

  // Index of the segment that ends after a time.
  function after(time) {
    let [low, high] = [0, rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].end > time) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  function go(time, follow = true) {
    place = Math.min(Math.max(0, time), seconds);
    byId("clock").textContent = clock(place, 1);
    mark(Math.min(after(place), rows.length - 1));
    if (follow && (place < from || place > from + length)) look(place - length / 2, length);
    draw();
  }

  function mark(index) {
    if (index === current) return;
    rows[current]?.button.removeAttribute("aria-current");
    current = index;
    const row = rows[index];
    if (!row) return;
    row.button.setAttribute("aria-current", "true");
    const [top, bottom] = [row.row.offsetTop - list.offsetTop, row.row.offsetTop - list.offsetTop + row.row.offsetHeight];
    if (top < list.scrollTop || bottom > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 3;
  }

  function play(start, end = Infinity) {
    stopAt = end;
    go(start);
    if (!(sound.duration > 0)) return; // nothing to hear yet: the place is shown all the same
    sound.currentTime = start;
    sound.play().catch((error) => fail(`The sound cannot be played: ${error.message}`));
  }

  function tick() {
    if (sound.paused) return;
    if (sound.currentTime >= stopAt - WITHIN) {
      const end = stopAt; // which the pause forgets
      sound.pause();
      sound.currentTime = end - WITHIN; // the timer came later than the end
    }
    go(sound.currentTime);
    setTimeout(tick, Math.min(50, Math.max(0, 1000 * (stopAt - sound.currentTime))));
  }
  sound.addEventListener("play", tick);
  sound.addEventListener("pause", () => (stopAt = Infinity));
  sound.addEventListener("seeked", () => sound.paused && go(sound.currentTime));
  sound.addEventListener("error", () => {
    const note = byId("missing");
    if (note && sound.getAttribute("src")) {
      note.textContent = sound.src.startsWith("blob:")
        ? "This browser cannot play that file."
        : `The recording was not found beside this page (${decodeURI(sound.getAttribute("src"))}).`;
    }
  });
  byId("file")?.addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) sound.src = URL.createObjectURL(file);
  });
  sound.addEventListener("loadedmetadata", () => {
    if (Math.abs(sound.duration - seconds) > 1 && byId("missing")) {
      byId("missing").textContent = `That sound is ${clock(sound.duration, 1)} long, and this recording ${clock(seconds, 1)}: it may be another one.`;
    }
  });
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-start]");
    if (!button) return;
    const { start, end } = rows.find((row) => row.button === button);
    // Near enough to see its words, and as it is if they can be seen already.
    const span = Math.min(Math.max(length, end - start), NEAR);
    if (start < from || end > from + length || span < length) look((start + end) / 2 - span / 2, span);
    play(start, end);
  });

  /* ---- moving ---- */

  const fingers = new Map();
  let moved = 0;
  const timeAt = (canvas, x, start, span) => {
    const box = canvas.getBoundingClientRect();
    return start + ((x - box.left) / box.width) * span;
  };
  view.addEventListener("pointerdown", (event) => {
    view.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event.clientX);
    moved = 0;
  });
  view.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const before = [...fingers.values()];
    fingers.set(event.pointerId, event.clientX);
    const now = [...fingers.values()];
    const width = view.getBoundingClientRect().width;
    const center = (all) => all.reduce((sum, each) => sum + each, 0) / all.length;
    const shift = center(now) - center(before);
    moved += Math.abs(event.clientX - before[[...fingers.keys()].indexOf(event.pointerId)]);
    if (now.length === 2) {
      const spread = (all) => Math.max(20, Math.abs(all[0] - all[1]));
      zoom(spread(before) / spread(now), timeAt(view, center(now), from, length));
    }
    look(from - (shift / width) * length, length);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    view.addEventListener(name, (event) => {
      fingers.delete(event.pointerId);
      if (name === "pointerup" && moved < 5) play(timeAt(view, event.clientX, from, length));
    });
  }
  view.addEventListener(
    "wheel",
    (event) => {
      if (event.ctrlKey || event.metaKey) zoom(2 ** (event.deltaY / 200), timeAt(view, event.clientX, from, length));
      else if (event.deltaX || event.shiftKey) look(from + ((event.deltaX || event.deltaY) / 800) * length, length);
      else return; // the page scrolls
      event.preventDefault();
    },
    { passive: false },
  );
  view.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => seek(place - length / 20),
      ArrowRight: () => seek(place + length / 20),
      ArrowDown: () => seek(place - length / 20),
      ArrowUp: () => seek(place + length / 20),
      PageUp: () => seek(place + length),
      PageDown: () => seek(place - length),
      Home: () => seek(0),
      End: () => seek(seconds),
      "+": () => zoom(0.5),
      "=": () => zoom(0.5),
      "-": () => zoom(2),
      Enter: () => (sound.paused ? play(place) : sound.pause()),
      " ": () => (sound.paused ? play(place) : sound.pause()),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  function seek(time) {
    go(time);
    if (sound.duration > 0) sound.currentTime = place;
  }
  whole.addEventListener("pointerdown", (event) => {
    whole.setPointerCapture(event.pointerId);
    const choose = ({ clientX }) => {
      const time = timeAt(whole, clientX, 0, seconds);
      if (length >= seconds) length = Math.max(SHORTEST, seconds / 10); // all of it cannot be moved
      look(time - length / 2, length);
    };
    choose(event);
    whole.addEventListener("pointermove", choose);
    whole.addEventListener("pointerup", () => whole.removeEventListener("pointermove", choose), { once: true });
  });
  byId("in").addEventListener("click", () => zoom(0.5));
  byId("out").addEventListener("click", () => zoom(2));
  byId("all").addEventListener("click", () => look(0, seconds));

  /* ---- finding ---- */

  function find() {
    const wanted = byId("find").value.trim().toLowerCase();
    const odd = byId("odd").checked;
    let found = 0;
    for (const each of rows) {
      each.shown = (!odd || each.odd) && (!wanted || each.said.toLowerCase().includes(wanted));
      each.row.hidden = !each.shown;
      found += each.shown;
    }
    byId("found").textContent = wanted || odd ? `${found} of ${rows.length} segments` : "";
    draw();
  }
  byId("find").addEventListener("input", find);
  byId("odd").addEventListener("change", find);

  /* ---- light and dark ---- */

  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  function recolor() {
    byId("theme").setAttribute("aria-pressed", String(isDark()));
    const style = getComputedStyle(root);
    const shade = (name) => style.getPropertyValue(name).trim();
    shades = { accent: shade("--accent"), accentInk: shade("--accent-ink"), warn: shade("--warn-line"), ink: shade("--ink"), quiet: shade("--quiet"), ground: shade("--ground") };
    draw();
  }
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    recolor();
  });
  system.addEventListener("change", recolor);

  function fail(message) {
    byId("failed").textContent = message;
    byId("failed").hidden = false;
  }

  build()
    .then((built) => {
      levels = built;
      byId("poster").style.display = "none";
      byId("scope").hidden = byId("finder").hidden = false;
      recolor();
      new ResizeObserver(draw).observe(view);
      root.dataset.ready = "true";
    })
    .catch((error) => fail(`The waveform cannot be drawn (${error.message}). The text is all here.`));
})();

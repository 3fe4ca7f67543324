// One clock for a page: the sound that plays moves a line in every figure over time and lights each word and
// cell that is heard; a click on one of them plays its stretch, and a click anywhere else over time plays from there.
//
// What it looks for, on whatever page it stands:
//   <audio>                      a sound; the one that played last is the clock
//   button[data-start]           plays from data-start to data-end (seconds), of the sound in its .asrscope-player
//   [data-clock]                 shows the time
//   Span named "playhead"        stands at the time; a tag {seconds} says how long the sound is that it belongs to
//   columns plays_from, plays_to of a glyph's data: the stretch of the sound that each glyph stands for
//   ColorBar                     gets the page's ink: Bokeh's own reads no CSS variables
"use strict";
(() => {
  for (const list of document.querySelectorAll(".asrscope-words[hidden]")) list.hidden = false; // only now of use
  if (window.asrscopeClock) return; // a notebook brings this script with every player
  const FRAME = 1000 / 30; // milliseconds between two places of a line: a canvas is painted for each
  const SAME = 0.1; // seconds by which a sound may differ in length from the one that a figure belongs to
  const WITHIN = 0.001; // seconds before its end at which a stretch stops: still inside of it
  const INK = "--bk-major-label-text-color";

  let sound = null; // the one that played last
  let stopAt = Infinity; // seconds
  let asked = 0; // where this script has set the sound to; anywhere else is the reader's wish
  let timer = 0;
  const read = new Set(); // Bokeh documents whose figures are known
  const figures = []; // {view, plot, seconds, lines, cells, lit}
  const onScreen = new Set(); // elements of figures

  const sounds = () => [...document.querySelectorAll("audio")];
  const now = () => sound?.currentTime ?? 0;
  const running = () => sound !== null && !sound.paused && !sound.ended;

  /* ---- figures ---- */

  function* inside(view) {
    yield view;
    for (const child of view.child_views ?? []) yield* inside(child);
  }

  // Bokeh tells nobody when it has drawn: this looks whether there is anything new.
  function look() {
    for (const drawn of window.Bokeh?.documents ?? []) {
      const roots = drawn.roots().map((root) => drawn.views_manager?.get(root));
      if (read.has(drawn) || !roots.every((view) => view?.el?.isConnected)) continue;
      read.add(drawn);
      for (const root of roots) for (const view of inside(root)) if (view.frame && view.model.renderers) meet(view);
    }
  }

  function meet(view) {
    const plot = view.model;
    const lines = plot.center.filter((model) => model.type === "Span" && model.name === "playhead");
    const cells = plot.renderers.filter((renderer) => renderer.data_source?.get_column("plays_from") != null);
    const seconds = lines.flatMap((line) => line.tags).find((tag) => tag?.seconds)?.seconds ?? null;
    const figure = { view, plot, seconds, lines, cells, lit: "" };
    figures.push(figure);
    if (lines.length || cells.length) {
      plot.on_event("tap", ({ x, sx, sy }) => tap(figure, x, sx, sy));
      plot.document.event_manager.subscribed_models.add(plot); // the callback came after the document
      watcher.observe(view.el);
      place(figure);
    }
    giveInk(figure);
  }

  const belongs = (figure) =>
    figure.seconds === null || !(sound?.duration > 0) || Math.abs(sound.duration - figure.seconds) < SAME;

  function place(figure) {
    if (!belongs(figure)) return;
    const time = now();
    for (const line of figure.lines) line.location = time;
    for (const { data_source: cells } of figure.cells) {
      const [from, to] = [cells.get_column("plays_from"), cells.get_column("plays_to")];
      const lit = Array.from(from, (_, i) => i).filter((i) => heard(from[i], to[i]));
      if (lit.join() !== figure.lit) {
        figure.lit = lit.join();
        cells.selected.indices = lit;
      }
    }
  }

  // At rest at the very beginning nothing has been heard yet.
  const heard = (from, to) => now() >= from && now() < to && (now() > 0 || running());

  function tap(figure, x, sx, sy) {
    for (const cells of figure.cells) {
      const [hit] = figure.view.views.find_one(cells)?.hit_test({ type: "point", sx, sy })?.indices ?? [];
      const [from, to] = ["plays_from", "plays_to"].map((name) => cells.data_source.get_column(name)[hit]);
      if (Number.isFinite(from)) return play(soundFor(figure), from, to);
    }
    if (figure.lines.length) play(soundFor(figure), x);
  }

  function soundFor({ seconds }) {
    const fits = (each) => seconds === null || Math.abs(each.duration - seconds) < SAME;
    return [sound, ...sounds()].find((each) => each?.isConnected && fits(each)) ?? sounds()[0];
  }

  /* ---- playing ---- */

  function play(chosen, start, end) {
    if (chosen === undefined) return;
    if (chosen !== sound) sound?.pause();
    sound = chosen;
    stopAt = end ?? Infinity;
    seek(start);
    sound.play().catch((error) => console.warn(`The sound cannot be played: ${error.message}`));
  }

  function seek(seconds) {
    asked = Math.max(0, Math.min(seconds, sound.duration || seconds));
    sound.currentTime = asked;
  }

  function tick() {
    clearTimeout(timer);
    if (!running()) return;
    if (now() >= stopAt - WITHIN) {
      const end = stopAt; // which the pause forgets
      sound.pause();
      return seek(end - WITHIN);
    }
    // A timer, not frames: those rest while the page is hidden, and the sound goes on.
    timer = setTimeout(tick, Math.min(FRAME, (1000 * (stopAt - now())) / sound.playbackRate));
    if (!still.matches) show(false);
  }

  function show(everywhere) {
    for (const figure of figures) if (everywhere || onScreen.has(figure.view.el)) place(figure);
    for (const button of document.querySelectorAll("button[data-start]")) {
      const own = button.closest(".asrscope-player")?.querySelector("audio") ?? sound;
      const lit = own === sound && heard(Number(button.dataset.start), Number(button.dataset.end));
      if (lit) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    for (const element of document.querySelectorAll("[data-clock]")) element.textContent = `${now().toFixed(2)} s`;
    pause.hidden = !running() || onScreen.has(sound);
    pause.textContent = `Pause, ${now().toFixed(1)} s`;
  }

  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) onScreen[isIntersecting ? "add" : "delete"](target);
    show(false);
  });

  // Where the player is out of sight, the sound can be stopped all the same.
  const pause = document.createElement("button");
  pause.type = "button";
  pause.className = "asrscope-pause";
  pause.hidden = true;
  pause.addEventListener("click", () => sound?.pause());

  // Events of sounds do not rise, but they can be caught on their way down; so players may come later.
  const on = (name, react) =>
    document.addEventListener(name, (event) => event.target instanceof HTMLAudioElement && react(event.target), true);
  on("play", (target) => {
    for (const other of sounds()) if (other !== target) other.pause();
    if (target !== sound) stopAt = Infinity;
    sound = target;
    watcher.observe(target);
    look();
    tick();
  });
  on("pause", (target) => {
    if (target !== sound) return;
    stopAt = Infinity; // the next press on the player's own button plays to the end
    show(true);
  });
  on("seeking", (target) => {
    if (target !== sound || Math.abs(target.currentTime - asked) > 0.05) stopAt = Infinity;
    sound = target;
    look();
  });
  for (const name of ["timeupdate", "seeked", "ended"]) on(name, (target) => target === sound && show(true));

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[data-start]");
    const own = button?.closest(".asrscope-player")?.querySelector("audio");
    if (button) play(own ?? sound ?? sounds()[0], Number(button.dataset.start), Number(button.dataset.end));
  });

  /* ---- ink ---- */

  function giveInk({ view, plot }) {
    const ink = getComputedStyle(view.el).getPropertyValue(INK).trim();
    for (const bar of [...plot.below, ...plot.right].filter((model) => model.type === "ColorBar")) {
      if (ink) bar.setv({ title_text_color: ink, major_label_text_color: ink });
    }
  }

  const repaint = () => figures.forEach(giveInk);
  const themed = { attributes: true, attributeFilter: ["data-theme", "class"] };
  for (const element of [document.documentElement, document.body]) {
    new MutationObserver(repaint).observe(element, themed);
  }
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

  /* ---- from the start ---- */

  document.body.append(pause);
  document.addEventListener("bokeh-figure-drawn", look);
  document.addEventListener("pointerdown", look, true);
  let tries = 50;
  const early = setInterval(() => {
    look();
    if (--tries === 0) clearInterval(early);
  }, 200);
  window.asrscopeClock = { figures, play };
})();

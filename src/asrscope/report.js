// One clock for the whole page: the sound's position moves every playhead, and a click anywhere seeks and plays.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const audio = document.getElementById("audio");
  const clock = document.getElementById("clock");
  const buttons = [...document.querySelectorAll("button[data-start]")].map((element) => ({
    element,
    start: Number(element.dataset.start),
    end: Number(element.dataset.end),
  }));
  let playheads = []; // {model, plot}: the plot is the element on the page
  let visible = new Set(); // plots on screen: the others are brought up to date when they come into view
  let stopAt = Infinity;

  function showTime(everywhere) {
    const now = audio.currentTime;
    clock.textContent = `${now.toFixed(2)} s`;
    for (const { model, plot } of playheads) {
      if (everywhere || visible.has(plot)) model.location = now;
    }
    for (const { element, start, end } of buttons) {
      element.classList.toggle("now", now >= start && now < end && !(audio.paused && now === 0));
    }
  }

  function tick() {
    if (audio.currentTime >= stopAt) audio.pause();
    showTime(false);
    if (!audio.paused && !audio.ended) requestAnimationFrame(tick);
  }

  function playFrom(start, end) {
    stopAt = end === undefined ? Infinity : end;
    audio.currentTime = Math.max(0, Math.min(start, audio.duration || start));
    showTime(true);
    audio.play().catch((error) => {
      clock.textContent = `cannot play: ${error.name}`;
    });
  }

  audio.addEventListener("play", () => requestAnimationFrame(tick));
  audio.addEventListener("pause", () => {
    stopAt = Infinity; // the next press on the player's own button plays to the end
    showTime(true);
  });
  audio.addEventListener("seeked", () => showTime(true));
  for (const { element, start, end } of buttons) element.addEventListener("click", () => playFrom(start, end));

  // Where in the sound a click on a figure points: a moment, a stretch, or nowhere.
  function target(key, figure, x, y) {
    if (data.timeFigures.includes(key)) return [x, undefined];
    if (key === "decoder_words") return data.words[Math.round(y)];
    if (key === "decoder_tokens") return data.words[data.wordOfToken[Math.round(y)]];
    if (key === "prompt") {
      const cells = figure.renderers[0].data_source;
      const [centers, widths, lines, kinds] = ["center", "width", "line", "kind"].map((name) => cells.get(name));
      let audioToken = -1;
      for (let i = 0; i < centers.length; i++) {
        if (kinds[i] === "audio token") audioToken++;
        const hit = lines[i] === Math.round(y) && Math.abs(x - centers[i]) <= widths[i] / 2;
        if (hit && kinds[i] === "audio token") {
          const start = audioToken * data.secondsPerAudioToken;
          return [start, start + data.secondsPerAudioToken];
        }
      }
    }
    return undefined;
  }

  async function draw() {
    const plots = Object.fromEntries(
      Object.keys(data.roots).map((key) => [key, document.getElementById(`plot-${key}`)]),
    );
    const roots = Object.fromEntries(Object.entries(data.roots).map(([key, id]) => [id, plots[key]]));
    const [views] = await Bokeh.embed.embed_items({ document: data.document }, [
      { docid: "document", roots, root_ids: Object.keys(roots) },
    ]);
    const figures = [];
    for (const [key, id] of Object.entries(data.roots)) {
      const view = views.get_by_id(id);
      figures.push(view);
      const playhead = view.model.center.find((model) => model.name === "playhead");
      if (playhead !== undefined) playheads.push({ model: playhead, plot: plots[key] });
      view.model.on_event("tap", ({ x, y }) => {
        const stretch = target(key, view.model, x, y);
        if (stretch) playFrom(...stretch);
      });
      // A finger that moves up or down scrolls the page, not the figure.
      view.canvas_view.events_el.style.touchAction = "pan-y";
      nameButtons(view.shadow_el);
    }
    const watcher = new IntersectionObserver((entries) => {
      for (const { target: plot, isIntersecting } of entries) {
        if (isIntersecting) visible.add(plot);
        else visible.delete(plot);
      }
      showTime(false);
    });
    for (const { plot } of playheads) watcher.observe(plot);
    return figures;
  }

  // Bokeh's tool buttons have a tooltip but neither role nor name, and it makes them anew when their space changes.
  function nameButtons(root) {
    for (const element of root.querySelectorAll("*")) {
      if (!element.shadowRoot) continue;
      nameButtons(element.shadowRoot);
      if (!element.classList.contains("bk-Toolbar")) continue;
      const name = () => {
        for (const button of element.shadowRoot.querySelectorAll("[title]")) {
          button.setAttribute("role", "button");
          button.setAttribute("aria-label", button.title);
        }
      };
      name();
      new MutationObserver(name).observe(element.shadowRoot, { childList: true, subtree: true });
    }
  }

  function followTheme(figures) {
    const root = document.documentElement;
    const button = document.getElementById("theme");
    const system = matchMedia("(prefers-color-scheme: dark)");
    const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
    const update = () => {
      button.setAttribute("aria-pressed", String(isDark()));
      for (const view of figures) view.request_repaint(); // the figures read the page's colors as they paint
    };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      update();
    });
    system.addEventListener("change", update);
    update();
  }

  draw().then((figures) => {
    followTheme(figures);
    showTime(true);
    document.documentElement.dataset.ready = "true";
  });
})();

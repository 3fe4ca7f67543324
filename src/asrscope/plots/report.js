// Unpacks the page and draws each figure when it comes near the window. The sound moves it all: see clock.js.
"use strict";
(() => {
  const AHEAD = "300px"; // how far outside the window a figure begins to be drawn
  const root = document.documentElement;
  const plots = [...document.querySelectorAll(".plot")];
  const ranges = new Map(); // name -> ranges that move together
  const drawn = new Map(); // element -> promise of its view

  /* ---- unpacking ---- */

  async function unpack(id) {
    const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (each) => each.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).text();
  }

  // As text of an element, because the page's policy knows the script by its hash, and forbids eval.
  const bokeh = unpack("bokeh").then((text) => {
    const script = document.createElement("script");
    script.textContent = text;
    document.head.append(script);
  });

  /* ---- drawing ---- */

  function draw(plot) {
    if (!drawn.has(plot)) drawn.set(plot, begin(plot));
    return drawn.get(plot);
  }

  async function begin(plot) {
    const [item] = await Promise.all([unpack(`packed-${plot.id}`).then(JSON.parse), bokeh]);
    const [view] = [...(await Bokeh.embed.embed_item(item, plot))];
    link(view.model);
    await idle(view.model.document);
    // A finger that moves up or down scrolls the page, not the figure.
    view.canvas_view.events_el.style.touchAction = "pan-y";
    nameButtons(view.shadow_el);
    plot.dataset.drawn = "true";
    if (!performance.getEntriesByName("first-figure").length) performance.mark("first-figure");
    plot.dispatchEvent(new Event("bokeh-figure-drawn", { bubbles: true }));
    return view;
  }

  const idle = (model) => (model.is_idle ? undefined : new Promise((done) => model.idle.connect(done)));

  function link(figure) {
    const range = figure.x_range;
    if (range.name == null) return;
    const group = ranges.get(range.name) ?? [];
    if (group.length) range.setv({ start: group[0].start, end: group[0].end });
    group.push(range);
    ranges.set(range.name, group);
    const spread = () => {
      for (const other of group) {
        if (other.start !== range.start || other.end !== range.end) other.setv({ start: range.start, end: range.end });
      }
    };
    range.properties.start.change.connect(spread);
    range.properties.end.change.connect(spread);
  }

  // Bokeh's tool buttons have a tooltip but neither role nor name, and it makes them anew when their space changes.
  function nameButtons(parent) {
    for (const element of parent.querySelectorAll("*")) {
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

  /* ---- light and dark ---- */

  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const recolor = async () => {
    button.setAttribute("aria-pressed", String(isDark()));
    for (const view of drawn.values()) (await view).request_repaint(); // figures read the page's colors as they paint
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    recolor();
  });
  system.addEventListener("change", recolor);
  recolor();

  /* ---- what the page does ---- */

  const near = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) if (isIntersecting) draw(target).catch(fail);
    },
    { rootMargin: `${AHEAD} 0px` },
  );
  for (const plot of plots) near.observe(plot);
  window.addEventListener("beforeprint", () => plots.forEach((plot) => draw(plot).catch(fail)));
  bokeh.then(() => (root.dataset.ready = "true")).catch(fail);

  function fail(error) {
    const note = document.getElementById("failed");
    note.textContent = `The figures cannot be drawn (${error.message}). Sound, descriptions and tables work all the same.`;
    note.hidden = false;
  }
})();

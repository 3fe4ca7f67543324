/* Draws the Bokeh figures of a page when they come into view, keeps them in the theme's colors and links their ranges.
   Each that is drawn says so with an event, "bokeh-figure-drawn". Nothing is fetched: figures and BokehJS are script
   files of the site, so that a page also works from file://. Nothing is evaluated from text. */
"use strict"
;(() => {
  const own = document.currentScript
  const folder = new URL(".", own.src)
  const version = own.dataset.bokehVersion
  const AHEAD = "400px" // how far outside the window a figure begins to draw
  const PATIENCE = 1000 // milliseconds that a figure waits for the one before it

  /* ---- scripts: each is loaded once, by a script element ---- */

  const items = new Map() // file name of a figure's script -> what Bokeh embeds
  window.bokehGallery = { add: (name, item) => items.set(name, item) }

  const loading = new Map()
  function load(url) {
    if (!loading.has(url)) {
      const promise = new Promise((resolve, reject) => {
        const script = document.createElement("script")
        script.src = url
        script.onload = resolve
        script.onerror = () => reject(new Error(`${url} could not be loaded`))
        document.head.append(script)
      })
      loading.set(url, promise)
    }
    return loading.get(url)
  }

  const part = (name) => new URL(`${name}-${version}.min.js`, folder).href

  /* ---- drawing ---- */

  const begun = new Set() // figures whose drawing has begun
  const drawn = new Set() // views

  async function draw(figure) {
    if (begun.has(figure)) {
      return
    }
    begun.add(figure)
    const canvas = figure.querySelector(".bokeh-figure-canvas")
    try {
      const url = new URL(figure.dataset.script, window.location.href).href
      const bundles = figure.dataset.bundles.split(" ").filter(Boolean)
      await Promise.all([load(part("bokeh")), load(url)])
      for (const name of bundles) {
        await load(part(name)) // each needs the core, and tables need widgets
      }
      const views = await window.Bokeh.embed.embed_item(items.get(url.split("/").pop()), canvas)
      const view = [...views][0]
      drawn.add(view)
      link_ranges(view.model)
      await idle(view.model.document)
      canvas.style.minHeight = ""
      name_tools(canvas)
      for (const event of ["click", "keyup"]) {
        canvas.addEventListener(event, () => requestAnimationFrame(() => name_tools(canvas))) // which are pressed
      }
      figure.dataset.drawn = "true"
      figure.dispatchEvent(new Event("bokeh-figure-drawn", { bubbles: true }))
    } catch (error) {
      figure.dataset.drawn = "failed"
      console.error(error)
      const note = document.createElement("p")
      note.className = "bokeh-figure-error"
      note.textContent = "This figure could not be drawn; its description stands below."
      canvas.replaceChildren(note)
    }
  }

  function idle(bokeh_document) {
    if (bokeh_document.is_idle) {
      return Promise.resolve()
    }
    return new Promise((resolve) => bokeh_document.idle.connect(resolve))
  }

  /* ---- drawing and tools: a name for people who do not see them ---- */

  function* deep(node) {
    for (const element of node.querySelectorAll("*")) {
      yield element
      if (element.shadowRoot != null) {
        yield* deep(element.shadowRoot)
      }
    }
  }

  function name_tools(canvas) {
    for (const element of deep(canvas)) {
      const names = element.className
      if (typeof names !== "string") {
        continue // SVG
      }
      if (/\bbk-(OnOffButton|ClickButton|ToolButton|tool-overflow)\b/.test(names)) {
        element.setAttribute("role", "button")
        element.setAttribute("aria-label", element.title || (names.includes("overflow") ? "More tools" : "Plot tool"))
        if (names.includes("OnOff")) {
          element.setAttribute("aria-pressed", String(names.includes("bk-active")))
        }
      } else if (/\bbk-events\b/.test(names)) {
        element.setAttribute("role", "group") // the drawing, where the Tab key stops before its tools
        element.setAttribute("aria-label", canvas.getAttribute("aria-label"))
      } else if (element.tagName === "A" && names.includes("bk-logo")) {
        element.setAttribute("aria-label", "Bokeh, the library that draws this figure")
      }
    }
  }

  /* ---- colors: BokehJS reads them from the style when it paints ---- */

  function* plot_views(view) {
    yield view
    for (const child of view.child_views ?? []) {
      yield* plot_views(child)
    }
  }

  function repaint() {
    for (const view of drawn) {
      for (const each of plot_views(view)) {
        each.request_repaint?.()
      }
    }
  }

  new MutationObserver(repaint).observe(document.body, { attributes: true, attributeFilter: ["data-theme", "class"] })
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint)

  /* ---- ranges of one name move together, across the figures of the page ---- */

  const ranges = new Map() // name -> Range1d models

  function link_ranges(root) {
    for (const range of root.references()) {
      if (range.type !== "Range1d" || range.name == null) {
        continue
      }
      const group = ranges.get(range.name) ?? []
      ranges.set(range.name, [...group, range])
      if (group.length > 0) {
        range.setv({ start: group[0].start, end: group[0].end })
      }
      const spread = () => {
        for (const other of ranges.get(range.name)) {
          if (other.start !== range.start || other.end !== range.end) {
            other.setv({ start: range.start, end: range.end })
          }
        }
      }
      range.properties.start.change.connect(spread)
      range.properties.end.change.connect(spread)
    }
  }

  /* ---- what the page does ---- */

  const figures = [...document.querySelectorAll(".bokeh-figure")]

  // One after the other, so that the first is there soon; but none waits long for another.
  let turn = Promise.resolve()
  const patience = () => new Promise((resolve) => setTimeout(resolve, PATIENCE))
  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting) {
          turn = turn.then(() => Promise.race([draw(target), patience()]))
        }
      }
    },
    { rootMargin: `${AHEAD} 0px` },
  )
  for (const figure of figures) {
    near.observe(figure)
  }
  window.addEventListener("beforeprint", () => {
    figures.forEach(draw)
  })
})()

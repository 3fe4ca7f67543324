/* Draws the Bokeh figures of a page when they come into view, keeps them in the theme's colors, links their ranges,
   and lets one clock, the page's sound, move the playheads in all of them. Nothing is fetched: figures and BokehJS
   are script files of the site, so that a page also works from file://. Nothing is evaluated from text. */
"use strict"
;(() => {
  const own = document.currentScript
  const folder = new URL(".", own.src)
  const version = own.dataset.bokehVersion
  const PLAYHEAD = "playhead" // name of a Span that shows the time of the sound
  const FRAME = 1000 / 30 // milliseconds between two places of a playhead: a canvas is painted for each
  const AHEAD = "400px" // how far outside the window a figure begins to draw

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
  const drawn = new Set() // {figure, view, plots, playheads}
  const on_screen = new Set() // figures that are in view

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
      const root = view.model
      const plots = [...root.references()].filter((model) => model.type === "Figure" || model.type === "Plot")
      const entry = { figure, view, plots, playheads: root.select(PLAYHEAD) }
      drawn.add(entry)
      link_ranges(root)
      follow_clock(entry)
      await idle(root.document)
      canvas.style.minHeight = ""
      name_tools(canvas)
      for (const event of ["click", "keyup"]) {
        canvas.addEventListener(event, () => requestAnimationFrame(() => name_tools(canvas))) // which are pressed
      }
      figure.dataset.drawn = "true"
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

  /* ---- tools: a name for people who do not see the icons ---- */

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
    for (const { view } of drawn) {
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

  /* ---- one clock: the sound moves every playhead, and a click in a figure with one moves the sound ---- */

  let clock = null // the sound that played last

  const sounds = () => [...document.querySelectorAll("audio")]
  const current_sound = () => clock ?? sounds()[0] ?? null

  function place_playheads() {
    const seconds = current_sound()?.currentTime ?? 0
    for (const { figure, playheads } of drawn) {
      if (on_screen.has(figure)) {
        for (const span of playheads) {
          span.location = seconds
        }
      }
    }
  }

  function follow_clock({ plots, playheads }) {
    if (playheads.length === 0) {
      return
    }
    place_playheads()
    for (const plot of plots.filter((each) => each.select(PLAYHEAD).length > 0)) {
      plot.on_event("tap", ({ x }) => {
        const sound = current_sound()
        if (sound != null && Number.isFinite(sound.duration)) {
          sound.currentTime = Math.min(Math.max(x, 0), sound.duration)
          place_playheads()
        }
      })
      plot.document.event_manager.subscribed_models.add(plot) // the callback came after the document
    }
  }

  let last = 0
  function tick(now) {
    if (now - last >= FRAME) {
      last = now
      place_playheads()
    }
    if (clock != null && !clock.paused && !clock.ended) {
      requestAnimationFrame(tick)
    }
  }

  function start_clock(event) {
    for (const other of sounds()) {
      if (other !== event.target) {
        other.pause()
      }
    }
    clock = event.target
    if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) {
      requestAnimationFrame(tick)
    }
  }

  function watch_sounds() {
    for (const sound of sounds()) {
      sound.addEventListener("play", start_clock)
      sound.addEventListener("seeking", () => (clock = sound))
      for (const name of ["timeupdate", "seeked", "ended"]) {
        sound.addEventListener(name, () => sound === current_sound() && place_playheads())
      }
    }
  }

  /* ---- what the page does ---- */

  const figures = [...document.querySelectorAll(".bokeh-figure")]

  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting) {
          draw(target)
        }
      }
    },
    { rootMargin: `${AHEAD} 0px` },
  )
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      on_screen[isIntersecting ? "add" : "delete"](target)
    }
    place_playheads()
  })
  for (const figure of figures) {
    near.observe(figure)
    seen.observe(figure)
  }
  window.addEventListener("beforeprint", () => {
    figures.forEach(draw)
  })
  watch_sounds()
})()

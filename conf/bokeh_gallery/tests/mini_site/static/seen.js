/* A script of the site's own: it counts the figures that can be used. */
"use strict"
document.addEventListener("bokeh-figure-drawn", () => {
  document.body.dataset.seen = 1 + Number(document.body.dataset.seen ?? 0)
})

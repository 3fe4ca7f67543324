/* What does not fit scrolls: code, tables and formulas sideways, long outputs downwards. Those that do can be reached
   with the Tab key, so that the arrow keys scroll them. Which ones do depends on the width of the window. On paper
   nothing of the gallery is folded. */
"use strict"
;(() => {
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const long = target.matches("pre") && target.scrollHeight > target.clientHeight
      if (long || target.scrollWidth > target.clientWidth) {
        target.tabIndex = 0
      } else {
        target.removeAttribute("tabindex")
      }
    }
  })
  document.addEventListener("DOMContentLoaded", () => {
    for (const element of document.querySelectorAll("article pre, article .table-wrapper, article div.math")) {
      observer.observe(element)
    }
  })
  window.addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details:is(.answer, .showing)")) fold.open = true
  })
})()

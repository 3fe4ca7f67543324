/* The first screen shows one step of a training at a time. Without this script it shows all of them, one below the
   other. */
"use strict"
;(() => {
  const SECONDS = 0.9 // that a step stays while the training plays

  document.addEventListener("DOMContentLoaded", () => {
    for (const bar of document.querySelectorAll(".opening-slider[hidden]")) {
      const [button, slider] = bar.children
      const steps = [...bar.parentElement.querySelectorAll(".opening-steps > li")]
      let timer = 0

      const show = () => {
        const now = Number(slider.value)
        steps.forEach((step, index) => (step.hidden = index !== now))
        slider.setAttribute("aria-valuetext", steps[now].dataset.label)
      }
      const stop = () => {
        clearInterval(timer)
        timer = 0
        button.textContent = "Train it"
      }
      const next = () => {
        slider.value = String(Number(slider.value) + 1)
        show()
        if (slider.value === slider.max) stop()
      }
      button.addEventListener("click", () => {
        if (timer) return stop()
        if (slider.value === slider.max) slider.value = "0"
        show()
        button.textContent = "Stop"
        timer = setInterval(next, 1000 * SECONDS)
      })
      slider.addEventListener("input", () => {
        stop()
        show()
      })
      slider.value = "0" // a browser that comes back to the page would keep another
      bar.hidden = false
      show()
    }
  })
})()

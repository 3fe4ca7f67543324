/* Where a page asks for a prediction, what its program printed is folded until the reader wants to see it. Without this
   script it stands open. */
"use strict"
;(() => {
  const CODE = "[class*=highlight-]:not(.sphx-glr-script-out)"

  /* The printed answer to a question: behind the code that follows it, and before the next text. */
  function* answers(question) {
    let ran = false
    for (let next = question.nextElementSibling; next; next = next.nextElementSibling) {
      if (next.matches(".sphx-glr-script-out")) yield next
      else if (next.matches(CODE)) ran = true
      else if (next.matches("section") || (ran && next.matches("p"))) return
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const strong of document.querySelectorAll("article p > strong")) {
      if (strong.textContent !== "Predict:") continue
      for (const answer of answers(strong.parentElement)) {
        const fold = document.createElement("details")
        fold.className = "answer"
        fold.append(Object.assign(document.createElement("summary"), { textContent: "What it printed" }))
        answer.before(fold)
        fold.append(answer)
      }
    }
  })
  window.addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details.answer")) fold.open = true
  })
})()

// A slider over the steps of a training: it shows one step at a time of every .asrscope-steps on the page.
//
// What each element brings: a list in data-steps, of {label, note, text, tokens, cosines}; a range input; an
// <output>; a [data-written]; and columns, whose [data-token] and [data-cosine] are filled in.
"use strict";
(() => {
  for (const root of document.querySelectorAll(".asrscope-steps:not([data-ready])")) {
    root.dataset.ready = "";
    const steps = JSON.parse(root.dataset.steps);
    const slider = root.querySelector("input[type=range]");
    const [state, written] = ["output", "[data-written]"].map((found) => root.querySelector(found));
    const [tokens, cosines] = ["[data-token]", "[data-cosine]"].map((found) => [...root.querySelectorAll(found)]);

    const show = () => {
      const step = steps[Number(slider.value)];
      slider.setAttribute("aria-valuetext", step.label);
      state.textContent = step.note ? `${step.label}: ${step.note}` : step.label;
      written.textContent = step.text;
      tokens.forEach((cell, i) => {
        cell.textContent = step.tokens[i];
        cell.style.setProperty("--cosine", Math.max(0, step.cosines[i]));
      });
      cosines.forEach((cell, i) => (cell.textContent = step.cosines[i].toFixed(2)));
    };
    slider.value = 0; // where the training begins: the answer is what the reader moves it to
    slider.addEventListener("input", show);
    slider.closest("[hidden]")?.removeAttribute("hidden"); // only now of use
    show();
  }
})();

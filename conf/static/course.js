/* Questions that answer, and the reader's own progress. Nothing leaves the browser; without this script the
   choices of a question are folded texts, and the page lacks only the progress. */
(() => {
  "use strict";

  const KEY = "asrscope-progress";
  const listeners = [];

  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  /* The items done, by page. A browser may refuse to keep anything: then progress lasts as long as the page. */
  let kept = {};

  function read() {
    try {
      kept = JSON.parse(localStorage.getItem(KEY)) || {};
    } catch {
      /* what is in memory remains */
    }
    return kept;
  }

  function write(done) {
    kept = done;
    try {
      localStorage.setItem(KEY, JSON.stringify(done));
    } catch {
      /* kept in memory only */
    }
    listeners.forEach((listener) => listener());
  }

  const isDone = (page, item) => (read()[page] || []).includes(item);

  function setDone(page, item, yes) {
    const done = read();
    const items = new Set(done[page] || []);
    items[yes ? "add" : "delete"](item);
    write({ ...done, [page]: [...items] });
  }

  /* Questions: the folded choices become radio buttons. */
  function ask(question) {
    const { item, page } = question.dataset;
    const folded = question.querySelector(".choices");
    const choices = [...folded.children].map((details, index) => {
      const input = make("input", { type: "radio", name: item, value: String(index) });
      const text = make("span", { className: "choice-text" });
      text.append(...details.querySelector("summary").childNodes);
      const why = details.querySelector(".why");
      why.hidden = true;
      const row = make("div", { className: "choice" }, make("label", {}, input, text), why);
      return { input, row, why, right: details.dataset.right === "yes" };
    });
    const status = make("p", { className: "status" });
    status.setAttribute("role", "status");
    const check = make("button", { type: "submit", textContent: "Check" });
    const all = make("button", { type: "button", textContent: "Explain every choice", hidden: true });
    const group = make("div", { className: "choices" }, ...choices.map((choice) => choice.row));
    group.setAttribute("role", "radiogroup");
    group.setAttribute("aria-labelledby", `${item}-stem`);
    const form = make("form", {}, group, make("div", { className: "course-buttons" }, check, all), status);

    const show = (choice) => {
      choice.why.hidden = false;
      choice.row.dataset.state = choice.right ? "right" : "wrong";
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const chosen = choices.find((choice) => choice.input.checked);
      if (!chosen) {
        status.textContent = "Choose an answer first.";
        return;
      }
      show(chosen);
      /* The explanation stands under its choice; a screen reader is told it at once. */
      const told = make("span", { className: "only-read", textContent: chosen.why.textContent });
      status.replaceChildren(told);
      all.hidden = !chosen.right && all.hidden;
      if (chosen.right) {
        setDone(page, item, true);
      }
    });
    all.addEventListener("click", () => {
      choices.forEach(show);
      status.textContent = "Each choice now has its explanation below it.";
    });
    folded.replaceWith(form);
    const mark = make("span", { className: "course-done", textContent: "answered" });
    question.querySelector(".course-title").append(mark);
    listeners.push(() => {
      mark.hidden = !isDone(page, item);
    });
  }

  /* Exercises are solved elsewhere: the reader says so. */
  function letSolve(exercise) {
    const { item, page } = exercise.dataset;
    const box = make("input", { type: "checkbox" });
    exercise.append(make("label", { className: "solved" }, box, " I have solved this"));
    box.addEventListener("change", () => setDone(page, item, box.checked));
    listeners.push(() => {
      box.checked = isDone(page, item);
    });
  }

  function plural(count, noun) {
    return `${noun}${count === 1 ? "" : "s"}`;
  }

  function count(page, items) {
    return items.filter((item) => isDone(page, item)).length;
  }

  /* One line of progress for each page that is named, and a button that forgets them. */
  function showProgress(place) {
    const pages = JSON.parse(place.dataset.pages);
    const lines = pages.map((each) => {
      const bar = make("progress", { max: each.question.length + each.exercise.length });
      const text = make("span", {});
      const name = each.address ? make("a", { href: each.address, textContent: each.title }) : "";
      bar.setAttribute("aria-label", `Progress: ${each.title}`);
      listeners.push(() => {
        const answered = count(each.page, each.question);
        const solved = count(each.page, each.exercise);
        const parts = [];
        if (each.question.length) {
          parts.push(`${answered} of ${each.question.length} ${plural(each.question.length, "question")}`);
        }
        if (each.exercise.length) {
          parts.push(`${solved} of ${each.exercise.length} ${plural(each.exercise.length, "exercise")}`);
        }
        text.textContent = parts.join(", ");
        bar.value = answered + solved;
      });
      return make("p", {}, name, name ? " " : "", bar, " ", text);
    });
    const clear = make("button", { type: "button", textContent: "Clear my progress" });
    const note = make("span", { textContent: "Kept in this browser only. " });
    clear.addEventListener("click", () => {
      const left = { ...read() };
      pages.forEach((each) => delete left[each.page]);
      write(left);
    });
    listeners.push(() => {
      clear.hidden = pages.every((each) => (read()[each.page] || []).length === 0);
    });
    place.append(...lines, make("p", { className: "course-note" }, note, clear));
  }

  document.querySelectorAll(".course-item.question").forEach(ask);
  document.querySelectorAll(".course-item.exercise").forEach(letSolve);
  document.querySelectorAll(".course-progress").forEach(showProgress);
  listeners.forEach((listener) => listener());
  window.addEventListener("storage", (event) => {
    if (event.key === KEY || event.key === null) {
      listeners.forEach((listener) => listener());
    }
  });
})();

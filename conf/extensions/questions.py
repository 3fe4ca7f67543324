"""Directives for lectures: objectives, questions with explained choices, exercises, and a line of progress.

``objectives`` names what a reader can do afterwards. Each ``question`` and each ``exercise`` of the page says
which of them it assesses, and the build warns of an objective that nothing assesses, so that a strict build
fails. Everything can be read without scripts: choices, hints and solutions are ``details`` elements then.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import docname_join, logging
from sphinx.util.docutils import SphinxDirective
from stale import computed

from asrscope.exercises import Choice, Entry, find

logger = logging.getLogger(__name__)

OBJECTIVE = re.compile(r"([a-z][a-z0-9-]*): (.+)")
CHOICE = re.compile(r"- \[([ x])\] (.+)")
KEY = "course"  # of what a page asks, among its metadata
RIGHT, WRONG = "Right.", "Not yet:"


@dataclass(frozen=True)
class Item:
    """A question or an exercise on a page."""

    name: str  # its anchor
    kind: str
    label: str  # "question 2"
    objective: str
    line: int


@dataclass
class Page:
    """What a page asks."""

    objectives: dict[str, int] = field(default_factory=dict)  # by name: the line
    items: list[Item] = field(default_factory=list)


class html_element(nodes.General, nodes.Element):
    """An HTML element with attributes."""


class assessed_by(nodes.General, nodes.Element):
    """Stands behind an objective until it is known what assesses it."""


class progress_line(nodes.General, nodes.Element):
    """Stands for the reader's progress on some pages."""


def element(
    tag: str, *children: nodes.Node, classes: str = "", anchor: str = "", **attributes: str
) -> html_element:
    """Make an HTML element; underscores in attributes' names become hyphens."""
    named = {name.replace("_", "-"): value for name, value in attributes.items()}
    ids = [anchor] if anchor else []
    return html_element("", *children, tag=tag, ids=ids, classes=classes.split(), html=named)


def folded(summary: list[nodes.Node], *content: nodes.Node, classes: str, **attributes: str) -> html_element:
    """Put content behind a line that opens it, with or without scripts."""
    return element("details", element("summary", *summary), *content, classes=classes, **attributes)


def page_of(env: BuildEnvironment, name: str) -> Page:
    """Return what a page asks; Sphinx forgets and merges it with the other metadata of pages."""
    return env.metadata[name].setdefault(KEY, Page())


class _Asking(SphinxDirective):
    """What the directives share."""

    @property
    def page(self) -> Page:
        return page_of(self.env, self.env.docname)

    def text(self, markdown: str, line: int | None = None) -> list[nodes.Node]:
        """Parse Markdown as part of the page."""
        return self.parse_text_to_nodes(markdown, offset=self.lineno if line is None else line)

    def inline(self, markdown: str) -> list[nodes.Node]:
        found, messages = self.parse_inline(markdown, lineno=self.lineno)
        return [*found, *messages]

    def box(self, item: Item, title: str, note: str, *content: nodes.Node) -> list[nodes.Node]:
        """Enter an item and put its content into a labeled group that can be linked to."""
        self.page.items.append(item)
        heading = element("p", nodes.Text(title), classes="course-title", anchor=f"{item.name}-title")
        if note:
            heading += element("span", nodes.Text(note), classes="course-note")
        group = element(
            "div",
            heading,
            *content,
            classes=f"course-item {item.kind}",
            role="group",
            aria_labelledby=f"{item.name}-title",
            data_item=item.name,
            data_page=self.env.docname,
        )
        group["names"].append(item.name)
        self.state.document.note_explicit_target(group)
        self.set_source_info(group)
        return [group]


class Objectives(_Asking):
    """List what a reader can do afterwards: one ``name: text`` each, further lines indented."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        entries: list[tuple[str, list[str], int]] = []
        for index, line in enumerate(self.content):
            if match := OBJECTIVE.fullmatch(line):
                entries.append((match[1], [match[2]], self.lineno + index + 1))
            elif entries and (line.startswith("  ") or not line.strip()):
                entries[-1][1].append(line.strip())
            else:
                raise self.error(f'objectives: expected "name: text", but found {line!r}.')
        if not entries:
            raise self.error("objectives: expected at least one, but found none.")
        listed = nodes.enumerated_list(classes=["objectives"], enumtype="arabic", prefix="", suffix=".")
        for name, lines, number in entries:
            if name in self.page.objectives:
                raise self.error(f"objectives: {name!r} stands here twice.")
            self.page.objectives[name] = number
            paragraph = nodes.paragraph("", "", *self.inline(" ".join(lines)), assessed_by(objective=name))
            listed += nodes.list_item("", paragraph, ids=[f"objective-{name}"])
        return [listed]


class Question(_Asking):
    """Ask with choices: ``- [ ] choice`` or ``- [x] choice``, and an explanation indented below each."""

    has_content = True
    required_arguments = 1
    option_spec: ClassVar = {"objective": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        name = nodes.make_id(self.arguments[0])
        if "objective" not in self.options:
            raise self.error(f"question {name}: it names no :objective: that it assesses.")
        stem, choices = self._parts()
        number = 1 + sum(item.kind == "question" for item in self.page.items)
        item = Item(name, "question", f"question {number}", self.options["objective"], self.lineno)
        asked = element("div", *self.text("\n".join(stem)), classes="stem", anchor=f"{name}-stem")
        offered = element("div", classes="choices")
        for index, (right, label, why, line) in enumerate(choices):
            letter = chr(ord("A") + index)
            verdict = element("strong", nodes.Text(RIGHT if right else WRONG), classes="verdict")
            offered += folded(
                [nodes.Text(f"{letter}. "), *self.inline(label)],
                element("div", verdict, *self.text("\n".join(why), line), classes="why"),
                classes="choice",
                data_right="yes" if right else "no",
            )
        return self.box(item, f"Question {number}", "", asked, offered)

    def _parts(self) -> tuple[list[str], list[tuple[bool, str, list[str], int]]]:
        """Cut the content into what is asked and the choices with their explanations."""
        stem: list[str] = []
        choices: list[tuple[bool, str, list[str], int]] = []
        for index, line in enumerate(self.content):
            if match := CHOICE.fullmatch(line):
                choices.append((match[1] == "x", match[2], [], self.lineno + index + 1))
            elif not choices:
                stem.append(line)
            elif line.startswith("  ") or not line.strip():
                choices[-1][2].append(line[2:])
            else:
                raise self.error(f"question: expected an explanation, indented, but found {line!r}.")
        if len(choices) < 2 or sum(right for right, *_ in choices) != 1:
            raise self.error("question: expected two choices or more, one of them marked [x].")
        if not any(line.strip() for line in stem):
            raise self.error("question: expected something that is asked before the choices.")
        for _right, label, why, _line in choices:
            if not any(line.strip() for line in why):
                raise self.error(f"question: the choice {label!r} has no explanation.")
        return stem, choices


class Exercise(_Asking):
    """Put an exercise of ``asrscope.exercises`` on the page: task, program, hint, solution."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        try:
            entry = find(self.arguments[0])
        except ValueError as error:
            raise self.error(f"exercise: {error}.") from error
        name = f"exercise-{entry.number.replace('.', '-')}"
        made = computed(self.env, name, lambda: _words(entry))
        item = Item(name, "exercise", f"exercise {entry.number}", entry.objective, self.lineno)
        content = [
            *self.text(made["task"]),
            nodes.literal_block(made["program"], made["program"], language="python"),
        ]
        for title in ("Hint", "Solution"):
            text = element("div", *self.text(made[title]), classes="folded")
            content.append(folded([nodes.Text(title)], text, classes=title.lower()))
        note = f"{made['kind']}, {entry.minutes} min"
        return self.box(item, f"Exercise {entry.number}: {entry.title}", note, *content)


def _words(entry: Entry) -> dict[str, str]:
    """Return what an exercise says; for what it expects, models are run."""
    made = entry.exercise
    first, rest = "", made.starter
    if rest.startswith("import "):  # a stub with imports: they stand first
        first, _, rest = rest.partition("\n")
    program = f"{first}\n\nfrom asrscope.exercises import check\n\n{rest.lstrip()}".strip()
    return {
        "kind": made.kind,
        "task": f"{made.task}\n\n{made.listed}" if isinstance(made, Choice) else made.task,
        "program": f'{program}\n\nprint(check("{entry.number}", {made.answer_name}))',
        "Hint": made.hint,
        "Solution": made.solution,
    }


class Progress(SphinxDirective):
    """Show the reader's progress on this page, or on the pages that are named."""

    optional_arguments = 100

    def run(self) -> list[nodes.Node]:
        page_of(self.env, self.env.docname)  # it is one of those that load the script
        names = self.arguments or [f"/{self.env.docname}"]
        node = progress_line(pages=[docname_join(self.env.docname, name) for name in names])
        self.set_source_info(node)
        return [node]


def link_objectives(app: Sphinx, doctree: nodes.document) -> None:
    """Put links behind each objective of a page that was read: to what assesses it."""
    for mark in list(doctree.findall(assessed_by)):
        links: list[nodes.Node] = []
        for item in page_of(app.env, app.env.docname).items:
            if item.objective == mark["objective"]:
                links += [
                    nodes.Text(", " if links else " ("),
                    nodes.reference("", item.label, refid=item.name),
                ]
        mark.replace_self([*links, nodes.Text(")")] if links else [])


def fill_progress(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Say of each line of progress what there is to do on its pages."""
    for node in list(doctree.findall(progress_line)):
        wanted = []
        for name in node["pages"]:
            page = app.env.metadata[name].get(KEY, Page())
            if not page.items:
                logger.warning("progress: %s asks nothing", name, location=node, type="course")
                continue
            names = {
                kind: [i.name for i in page.items if i.kind == kind] for kind in ("question", "exercise")
            }
            title = app.env.titles[name].astext()
            address = app.builder.get_relative_uri(docname, name) if name != docname else ""
            wanted.append({"page": name, "title": title, "address": address, **names})
        node.replace_self(element("div", classes="course-progress", data_pages=json.dumps(wanted)))


def check_pages(_app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of objectives that nothing assesses, and of items that assess none or stand twice."""
    places: dict[str, str] = {}
    for docname in sorted(env.found_docs):
        page = env.metadata[docname].get(KEY, Page())
        assessed = {item.objective for item in page.items}
        for name, line in page.objectives.items():
            if name not in assessed:
                told = "the objective %r is assessed by no question and no exercise"
                logger.warning(told, name, location=(docname, line), type="course")
        for item in page.items:
            if item.objective not in page.objectives:
                told = "%s assesses %r, which is no objective of this page"
                logger.warning(told, item.label, item.objective, location=(docname, item.line), type="course")
            key = item.name if item.kind == "exercise" else f"{docname}#{item.name}"
            if key in places:
                told = "%s stands already on %s"
                logger.warning(told, item.name, places[key], location=(docname, item.line), type="course")
            places[key] = docname


def add_assets(app: Sphinx, page: str, *_: Any) -> None:
    """Load script and style on pages that ask something or show progress, and on no other."""
    if KEY in app.env.metadata.get(page, {}):
        app.add_css_file("course.css")
        app.add_js_file("course.js", loading_method="defer")


def _open(translator: Any, node: html_element) -> None:
    translator.body.append(translator.starttag(node, node["tag"], "", **node["html"]))


def _close(translator: Any, node: html_element) -> None:
    translator.body.append(f"</{node['tag']}>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_node(html_element, html=(_open, _close))
    app.add_directive("objectives", Objectives)
    app.add_directive("question", Question)
    app.add_directive("exercise", Exercise)
    app.add_directive("progress", Progress)
    app.connect("doctree-read", link_objectives)
    app.connect("doctree-resolved", fill_progress)
    app.connect("env-check-consistency", check_pages)
    app.connect("html-page-context", add_assets)
    return {"version": "0.1.0", "env_version": 2, "parallel_read_safe": True, "parallel_write_safe": True}

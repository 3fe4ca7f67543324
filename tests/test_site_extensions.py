"""The small extensions of the site: facts, formulas, pictures with numbers, what builds keep."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader
from sphinx.errors import ConfigError

EXTENSIONS = Path(__file__).resolve().parents[1] / "conf" / "extensions"
sys.path.insert(0, str(EXTENSIONS))

import downloads  # noqa: E402 - found through the line above
import folding  # noqa: E402
import hosting  # noqa: E402
import stale  # noqa: E402

from bokeh_gallery.results import RECORD, Results  # noqa: E402

FACTS = """
from pathlib import Path
from facts import Fact

def load_facts():
    with open(Path(__file__).with_name("loads.txt"), "a") as file:
        file.write("load ")
    return {
        "chain.stages": Fact(5, "counted"),
        "chain.stages.with_weights": Fact(3, "counted"),
        "chain.parameters": Fact(1234567, "counted too"),
    }
"""
CONF = """
import sys
sys.path[:0] = [{here!r}, {extensions!r}]
extensions = ["facts", "diagrams", "mathml", "myst_parser"]
facts_module = "site_facts"
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath", "amsmath"]
exclude_patterns = ["_diagrams"]
"""


def build(folder: Path, page: str, conf: str = CONF, *arguments: str, fails: bool = False) -> tuple[str, str]:
    """Build a site of one page; return its HTML and the warnings."""
    (folder / "index.md").write_text(page, encoding="utf-8")
    (folder / "site_facts.py").write_text(FACTS, encoding="utf-8")
    conf = conf.format(here=str(folder), extensions=str(EXTENSIONS))
    (folder / "conf.py").write_text(conf, encoding="utf-8")
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-n",
            "-q",
            "-b",
            "html",
            *arguments,
            str(folder),
            str(folder / "site"),
        ],
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert bool(result.returncode) == fails, result.stderr
    return (folder / "site" / "index.html").read_text(encoding="utf-8"), result.stderr


# A page for each thing that facts, pictures and formulas may be asked for.
PAGES = {
    "some": "```{facts-table} chain.s\n```\n\n```{facts-table} ring.\n```\n",
    "unknown": "{fact}`chain.stage` in all.\n",
    "picture": "```{diagram} chain\n```\n",
    "wrong_picture": "```{diagram} wrong\n```\n",
    "formulas": "Of $k^2$ and\n\n$$ \\frac{a}{b} $$ (ratio)\n\nSee {eq}`ratio`.\n",
}
PICTURES = {
    "chain": "<svg><title>A chain of @chain.stages@ stages</title></svg>",
    "wrong": "<svg>@chain.length@</svg>",
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A site of all of them: the HTML of each, and the lines that warn of it."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "_diagrams").mkdir()
    for name, svg in PICTURES.items():
        (folder / "_diagrams" / f"{name}.svg").write_text(svg, encoding="utf-8")
    for name, text in PAGES.items():
        (folder / f"{name}.md").write_text(f"---\norphan: true\n---\n\n# Page\n\n{text}", encoding="utf-8")
    _, warnings = build(folder, "# Page\n\n{fact}`chain.parameters` in all.\n\n```{facts-table}\n```\n")
    return {
        name: (
            (folder / "site" / f"{name}.html").read_text(encoding="utf-8"),
            [line for line in warnings.splitlines() if f"/{name}.md" in line],
        )
        for name in ("index", *PAGES)
    }


def test_a_fact_links_to_its_row_and_names_its_source(pages):
    html, warnings = pages["index"]
    assert warnings == []
    assert 'href="#fact-chain-parameters" title="chain.parameters: counted too">1,234,567</a>' in html
    assert 'id="fact-chain-parameters"' in html


def test_a_table_may_list_some_of_the_facts(pages):
    html, (warning,) = pages["some"]
    assert 'id="fact-chain-stages"' in html
    assert "fact-chain-parameters" not in html
    assert "facts-table: no fact begins with ring." in warning


def test_an_unknown_fact_is_a_warning_so_that_a_strict_build_fails(pages):
    _html, (warning,) = pages["unknown"]
    told = "unknown.md:7: WARNING: no fact is called 'chain.stage'; did you mean 'chain.stages'?"
    assert told in warning


def test_facts_are_computed_once_for_several_processes_and_kept_until_a_source_changes(tmp_path):
    (tmp_path / "src").mkdir()
    conf = (
        CONF.replace('["facts", ', '["stale", "facts", ')
        + """
stale_sources = ["src"]
facts_files = ["record.json"]
sphinx_gallery_conf = {{"examples_dirs": [], "gallery_dirs": []}}
def setup(app):
    app.add_config_value("sphinx_gallery_conf", {{}}, "")
"""
    )
    rows = "".join(f"- [page {number}](page{number}.md)\n" for number in range(6))
    for number in range(6):
        page = f"# Page {number}\n\n{{fact}}`chain.stages` stages.\n"
        (tmp_path / f"page{number}.md").write_text(f"---\norphan: true\n---\n\n{page}", encoding="utf-8")
    table = "# Page\n\n```{facts-table}\n```\n\n" + rows
    counts = []
    for name, content in (("src/a.txt", "1"), ("record.json", "1"), ("index", ""), ("record.json", "2")):
        (tmp_path / "record.json").touch()
        if name != "index":
            (tmp_path / name).write_text(content, encoding="utf-8")
        html, warnings = build(tmp_path, f"{table}\n{len(counts)}", conf, "-j", "2")
        assert warnings == ""
        assert 'id="fact-chain-stages"' in html
        counts.append((tmp_path / "loads.txt").read_text(encoding="utf-8").count("load"))
    assert counts == [1, 2, 2, 3]
    last = (tmp_path / "site" / "page5.html").read_text(encoding="utf-8")
    assert 'href="index.html#fact-chain-stages"' in last


def test_a_picture_takes_its_numbers_from_facts(pages):
    html, warnings = pages["picture"]
    assert warnings == []
    assert "<title>A chain of 5 stages</title>" in html


def test_a_picture_with_an_unknown_fact_is_a_warning(pages):
    _html, (warning,) = pages["wrong_picture"]
    assert "WARNING: diagram: no fact is called 'chain.length'" in warning


def test_formulas_are_mathml_and_need_no_script(pages):
    html, warnings = pages["formulas"]
    assert warnings == []
    assert "<msup><mi>k</mi><mn>2</mn></msup>" in html
    assert 'display="block"' in html
    assert "<mfrac><mrow><mi>a</mi></mrow><mrow><mi>b</mi></mrow></mfrac>" in html
    assert 'href="#equation-ratio"' in html
    assert 'id="equation-ratio"' in html
    assert not re.search("<script[^>]*mathjax", html, re.IGNORECASE)


def test_a_change_of_any_source_changes_the_hash(tmp_path):
    weights = tmp_path / "src" / "weights.bin"
    weights.parent.mkdir()
    weights.write_bytes(b"first")
    first = stale.hash_of([weights.parent])
    (weights.parent / "__pycache__").mkdir()
    (weights.parent / "__pycache__" / "module.pyc").write_bytes(b"made by Python")
    assert stale.hash_of([weights.parent]) == first
    weights.write_bytes(b"second")
    second = stale.hash_of([weights.parent])
    weights.rename(weights.with_name("renamed.bin"))
    assert len({first, second, stale.hash_of([weights.parent])}) == 3


def test_weights_clips_data_and_libraries_count_as_sources_of_the_gallery(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    conf = runpy.run_path(str(EXTENSIONS.parent / "conf.py"))
    folders = [(EXTENSIONS.parent / folder).resolve() for folder in conf["stale_sources"]]
    package = EXTENSIONS.parents[1] / "src" / "asrscope"
    weights = list(package.glob("data/checkpoints/**/*.safetensors"))
    clips = [path for path in package.glob("data/clips/**/*") if path.suffix == ".flac"]
    data = list(package.rglob("*.json"))
    scraper = EXTENSIONS.parent / "bokeh_gallery" / "src" / "bokeh_gallery"
    for paths in (
        weights,
        clips,
        data,
        [package / "scope" / "tracing.py", scraper / "figures.py"],
    ):
        assert paths
        assert all(any(path.is_relative_to(folder) for folder in folders) for path in paths)
    assert "bokeh" in conf["stale_packages"]


GALLERY_CONF = (
    CONF.replace('["facts", ', '["stale", "sphinx_gallery.gen_gallery", "facts", ')
    + """
stale_sources = ["src"]
stale_variables = ["MINI_MODEL"]
exclude_patterns = ["scripts", "gallery/*.ipynb", "gallery/*.py"]
sphinx_gallery_conf = {{"examples_dirs": ["scripts"], "gallery_dirs": ["gallery"], "filename_pattern": "/one",
    "image_scrapers": (), "reset_modules": ()}}
"""
)
GALLERY_PAGE = "# Page\n\n```{toctree}\ngallery/index\n```\n"


def make_scripts(folder: Path, **sources: str) -> None:
    (folder / "scripts").mkdir()
    (folder / "src").mkdir()
    (folder / "scripts" / "GALLERY_HEADER.rst").write_text("Gallery\n=======\n", encoding="utf-8")
    for name, source in sources.items():
        script = f'"""\n{name}\n{"=" * len(name)}\n\nWhy?\n"""\n{source}\n'
        (folder / "scripts" / f"{name}.py").write_text(script, encoding="utf-8")


def test_a_page_goes_when_its_script_goes(tmp_path):
    make_scripts(tmp_path, one="print(1)", one_more="print(2)")
    build(tmp_path, GALLERY_PAGE, GALLERY_CONF)
    assert (tmp_path / "gallery" / "one_more.rst").is_file()
    (tmp_path / "scripts" / "one_more.py").unlink()
    _html, warnings = build(tmp_path, GALLERY_PAGE, GALLERY_CONF)
    assert "one_more" not in warnings
    assert [path.name for path in (tmp_path / "gallery").rglob("*one_more*")] == []
    assert (tmp_path / "gallery" / "one.rst").is_file()
    with zipfile.ZipFile(tmp_path / "gallery" / "gallery_python.zip") as archive:
        assert archive.namelist() == ["one.py"]


RESULTS = ("one.ipynb", "one.rst", "images/thumb/sphx_glr_one_thumb.png")


def test_a_script_runs_again_when_package_or_environment_have_changed_or_a_result_is_gone(
    tmp_path, monkeypatch
):
    runs, weights = tmp_path / "runs.txt", tmp_path / "src" / "model.bin"
    make_scripts(tmp_path, one=f'with open({str(runs)!r}, "a") as file:\n    file.write("run\\n")')
    monkeypatch.setenv("MINI_MODEL", "tiny")
    changes = {
        "at first": lambda: weights.write_text("weights", encoding="utf-8"),
        "nothing": lambda: weights.write_text("weights", encoding="utf-8"),
        "package": lambda: weights.write_text("other weights", encoding="utf-8"),
        "environment": lambda: monkeypatch.setenv("MINI_MODEL", "full"),
        **{name: (tmp_path / "gallery" / name).unlink for name in RESULTS},
    }
    expected = 0
    for what, change in changes.items():
        change()
        _html, warnings = build(tmp_path, GALLERY_PAGE, GALLERY_CONF)
        assert warnings == "", what
        expected += what != "nothing"
        assert runs.read_text(encoding="utf-8").count("run") == expected, what
        assert all((tmp_path / "gallery" / name).is_file() for name in RESULTS), what


HALF = "raise RuntimeError('half way')"


def test_a_script_that_failed_and_was_put_right_runs_again(tmp_path):
    """The page of a broken script goes as soon as the script is what it was before, to the letter."""
    make_scripts(tmp_path, one="print('whole')")
    script = tmp_path / "scripts" / "one.py"
    whole = script.read_text(encoding="utf-8")
    found = []
    for source, fails in ((whole, False), (f"{whole}{HALF}\n", True), (whole, False), (whole, False)):
        script.write_text(source, encoding="utf-8")
        build(tmp_path, GALLERY_PAGE, GALLERY_CONF, fails=fails)
        made = [tmp_path / "site" / "gallery" / "one.html", tmp_path / "gallery" / "one.ipynb"]
        found.append(["half way" in path.read_text(encoding="utf-8") for path in made])
    assert found == [[False, False], [True, True], [False, False], [False, False]]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    make_scripts(tmp_path, one="print(1)")
    build(tmp_path, GALLERY_PAGE, GALLERY_CONF)
    shutil.rmtree(tmp_path / "gallery")
    (tmp_path / "gallery").write_text("a file in the place of the folder", encoding="utf-8")
    _html, told = build(tmp_path, GALLERY_PAGE, GALLERY_CONF, fails=True)
    assert f"in {tmp_path / 'gallery'}, which cannot be written" in told


REFERENCE_CONF = """
import sys
sys.path[:0] = [{here!r}, {extensions!r}]
extensions = ["stale", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
stale_sources = ["src"]
stale_reference = "api"
sphinx_gallery_conf = {{"examples_dirs": [], "gallery_dirs": []}}
def setup(app):
    app.add_config_value("sphinx_gallery_conf", {{}}, "")
"""


def test_the_reference_is_written_again_only_when_a_source_changes(tmp_path):
    """Nothing is imported for pages that are kept, and a page goes with its module."""
    (tmp_path / "src").mkdir()
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "index.md").write_text("", encoding="utf-8")
    (tmp_path / "index.rst").write_text(
        "Site\n====\n\n.. autosummary::\n   :toctree: api\n\n   noted\n", encoding="utf-8"
    )
    noted = tmp_path / "noted.py"
    counts = []
    for text in ("one", "one", "two"):
        (tmp_path / "src" / "a.txt").write_text(text, encoding="utf-8")
        if len(counts) != 1:  # the second build finds everything as it was, and autodoc the file's time
            noted.write_text(
                f'"""Noted {text}."""\nwith open({str(tmp_path / "loads.txt")!r}, "a") as file:\n'
                '    file.write("load ")\n',
                encoding="utf-8",
            )
        (tmp_path / "api" / "old.rst").write_text(":orphan:\n\nOld\n===\n", encoding="utf-8")
        build(tmp_path, "", REFERENCE_CONF)
        counts.append((tmp_path / "loads.txt").read_text(encoding="utf-8").count("load"))
    assert (tmp_path / "api" / "noted.rst").is_file()
    assert not (tmp_path / "api" / "old.rst").exists()
    assert 0 < counts[0] == counts[1] < counts[2]


def test_archives_of_equal_files_are_equal(tmp_path):
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    for path, names, moment in ((first, "ab", (2020, 1, 1, 0, 0, 0)), (second, "ba", (2021, 5, 5, 5, 5, 5))):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(zipfile.ZipInfo(name, moment), f"content of {name}")
        downloads.repack(path)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert archive.read("a") == b"content of a"


def test_a_build_in_which_nothing_has_changed_reads_no_page(tmp_path):
    """Archives of all scripts are made in each build; the page that gives them away is not read for it."""
    make_scripts(tmp_path, one="print(1)")
    conf = GALLERY_CONF.replace('"facts", ', '"downloads", "facts", ')
    conf += "def setup(app):\n    app.connect('env-before-read-docs', lambda app, env, names: "
    conf += "app.srcdir.joinpath('read.txt').write_text(' '.join(sorted(names))) and None)\n"
    build(tmp_path, GALLERY_PAGE, conf)
    again = [sys.executable, "-m", "sphinx", "-q", str(tmp_path), str(tmp_path / "site")]
    subprocess.run(again, check=True)
    assert (tmp_path / "read.txt").read_text(encoding="utf-8") == ""
    with (tmp_path / "scripts" / "one.py").open("a", encoding="utf-8") as script:
        script.write("print(2)\n")
    subprocess.run(again, check=True)
    assert {"gallery/index", "gallery/one"} <= {*(tmp_path / "read.txt").read_text(encoding="utf-8").split()}


@pytest.mark.parametrize("name", ["dirhtml", "singlehtml"])
def test_builders_that_name_pages_otherwise_are_refused_in_words(name):
    app = SimpleNamespace(builder=SimpleNamespace(format="html", name=name))
    with pytest.raises(ConfigError, match=f"built with the builder html, but found {name}"):
        hosting.refuse_others(app)


def test_what_the_theme_leaves_in_the_way_of_screen_readers_is_mended():
    theme = (
        '{% block body %}<aside class="sidebar-drawer"><p class="caption" role="heading">Course</p></aside>'
        '<div role="list"><div role="doc-biblioentry">Source</div></div>'
        '<a href="#" class="back-to-top muted-link"><span>Back to top</span>\n        </a>{% endblock %}'
    )
    mine = FileSystemLoader(EXTENSIONS.parent / "templates")
    page = Environment(loader=ChoiceLoader([mine, DictLoader({"!page.html": theme})])).get_template(
        "page.html"
    )
    assert page.render() == (
        '<aside class="sidebar-drawer" aria-label="Site">'
        '<p class="caption" role="heading" aria-level="2">Course</p></aside>'
        '<div role="list"><div role="listitem">Source</div></div>'
        '<nav aria-label="Top"><a href="#top" class="back-to-top muted-link">'
        "<span>Back to top</span></a></nav>"
    )


def gallery_page(name="gallery/page"):
    """A page that asks once, with two figures in its answer, and then shows and prints without asking."""
    figure = folding.bokeh_figure
    asked, said = nodes.paragraph("", "", nodes.strong("", "Predict:")), nodes.paragraph("", "So it is.")
    printed = [nodes.literal_block("", "1", classes=[folding.PRINTED]) for _ in range(2)]
    code = nodes.literal_block("", "rate = 1\n# To show it:\nplots.show(rate)\n", language="Python")
    sound = nodes.raw("", "<audio>", format="html")
    answer = [figure(), sound, figure(), printed[0]]
    parts = [asked, code, *answer, said, nodes.literal_block("", "a = 1"), figure(), printed[1]]
    page = nodes.document("", None)
    page += nodes.section("", *parts)
    folding.fold(SimpleNamespace(env=SimpleNamespace(docname=name)), page)
    return page[0]


def folds(section):
    """What is folded: the line that opens it, and the kinds of things behind it."""
    found = [each for each in section.children if each.get("tag") == "details"]
    return {each[0].astext(): [type(part).__name__ for part in each.children[1:]] for each in found}


def test_a_prediction_has_its_figures_and_printed_lines_folded_and_its_sound_open():
    page = gallery_page()
    wanted = ["bokeh_figure", "bokeh_figure", "literal_block"]
    assert folds(page) == {"The code that shows it": ["literal_block"], "What came out": wanted}
    assert [type(each).__name__ for each in page.children[3:]] == [
        "html_element",
        "raw",
        "paragraph",
        "literal_block",
        "bokeh_figure",  # nobody was asked to predict this one
        "literal_block",
    ]


def test_code_that_only_shows_is_folded_and_none_of_it_is_lost():
    computed, shown = list(gallery_page().findall(nodes.literal_block))[:2]
    assert (computed.astext(), shown.astext()) == ("rate = 1", "plots.show(rate)\n")
    assert shown["language"] == computed["language"] == "Python"


def test_pages_beside_the_gallery_are_left_as_they_are():
    assert folds(gallery_page("course/class-1")) == {}


FINDINGS = CONF.replace('"mathml", ', '"mathml", "bokeh_gallery", ')


FOUND = "# Page\n\n```{bokeh-figure}\nrate = 0.163\n```\n\n"
WRONG = {
    "{holds}`rate > 1`": "the page says what no longer holds: rate > 1 (rate = 0.163)",
    "{holds}`chain.stages > 6`": "the page says what no longer holds: chain.stages > 6 (fact_0 = 5)",
    "{holds}`other > 1`": "holds: NameError: name 'other' is not defined, in: other > 1",
    "{found}`rate +`": "found: SyntaxError: invalid syntax",
}


def test_a_sentence_is_held_by_what_the_page_computes_and_is_a_warning_where_it_no_longer_is(tmp_path):
    for number, said in enumerate(WRONG):
        page = f"---\norphan: true\n---\n\n{FOUND}True. {said}\n"
        (tmp_path / f"wrong{number}.md").write_text(page, encoding="utf-8")
    page = 'It is {found}`f"{rate:.0%}"`.{holds}`0 < rate < 1 and chain.stages.bit_length() == 3` So.\n'
    html, warnings = build(tmp_path, FOUND + page, FINDINGS)
    assert '>16%</abbr>.<sup><abbr class="holds" title="checked when this page was built' in html
    lines = warnings.splitlines()
    assert len(lines) == len(WRONG)
    for number, told in enumerate(WRONG.values()):
        assert any(told in line and f"wrong{number}.md" in line for line in lines), told


def test_without_figures_no_sentence_is_judged(tmp_path):
    conf = FINDINGS + 'sphinx_gallery_conf = {{"plot_gallery": False}}\n'
    conf += 'def setup(app):\n    app.add_config_value("sphinx_gallery_conf", {{}}, "")\n'
    html, warnings = build(tmp_path, "# Page\n\nIt is {found}`rate`. {holds}`rate > 1`\n", conf)
    assert warnings == ""
    assert "It is …." in html


def test_what_a_build_made_is_kept_until_a_source_changes_or_it_is_gone(tmp_path):
    made, source = tmp_path / "data.js", tmp_path / "source" / "engine.js"
    source.parent.mkdir()
    source.write_text("one", encoding="utf-8")
    app = SimpleNamespace(doctreedir=tmp_path, config=SimpleNamespace(stale_state="before"))

    def kept() -> bool:
        ran = []

        def make() -> list[int]:
            ran.append(made.write_text("made", encoding="utf-8"))
            return [1]

        assert stale.computed(app, "data", make, files=[made], also=[source.parent]) == [1]
        return not ran

    assert [kept(), kept()] == [False, True]
    source.write_text("two", encoding="utf-8")
    assert [kept(), kept()] == [False, True]
    app.config.stale_state = "after"
    assert [kept(), kept()] == [False, True]
    made.unlink()
    assert [kept(), kept()] == [False, True]
    app.config.stale_state = ""  # nothing is known of the sources
    assert [kept(), kept()] == [False, False]


def test_what_failed_half_way_is_made_again(tmp_path):
    app = SimpleNamespace(doctreedir=tmp_path, config=SimpleNamespace(stale_state="one"))
    with pytest.raises(ZeroDivisionError):
        stale.computed(app, "data", lambda: 1 / 0)
    assert stale.computed(app, "data", lambda: 2) == 2


def test_the_files_of_the_live_page_are_kept_without_torch(tmp_path):
    shutil.copytree(EXTENSIONS.parent / "static" / "live", tmp_path / "site" / "_static" / "live")
    program = f"""
import sys
from types import SimpleNamespace as Some
sys.path.insert(0, {str(EXTENSIONS)!r})
import live
config = Some(live_small=False, stale_state="the same")
places = dict(doctreedir={str(tmp_path)!r}, confdir={str(EXTENSIONS.parent)!r})
places["outdir"] = {str(tmp_path / "site")!r}
live.write(Some(builder=Some(format="html"), env=Some(found_docs=["live"]), config=config, **places), None)
print("torch" in sys.modules)
"""
    loaded = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert loaded == ["True\n", "False\n"]
    assert (tmp_path / "site" / "_static" / "live" / "data.js").stat().st_size > 100_000


# With a record of the sources, and what was imported.
KEEPING = (
    FINDINGS.replace('["facts"', '["stale", "questions", "facts"')
    + """
def setup(app):
    app.add_config_value("sphinx_gallery_conf", dict.fromkeys(["examples_dirs", "gallery_dirs"], ()), "")
    loaded = app.srcdir / "torch.txt"
    app.connect("build-finished", lambda *_: loaded.write_text(str("torch" in sys.modules)))
"""
)


def read_page(folder: Path, *blocks: str, state: str = "sources", asked: str = "") -> tuple[list, list[str]]:
    """Read a page whose blocks are such code; return what they gave, and which of them ran."""
    results, ran = Results(folder, state), []

    def run(code: str) -> str:
        ran.append(code)
        exec(code, results.names)
        return code

    given = [results.block(code, lambda code=code: run(code), lambda gave: [gave, "told"]) for code in blocks]
    if asked:
        given.append(results.value(asked, lambda: eval(asked, results.names)))
    results.keep()
    return given, ran


@pytest.mark.parametrize(
    ("blocks", "more", "again"),
    [
        pytest.param(["a = 1", "b = a + 1"], {"asked": "b * 2"}, [], id="only the prose"),
        pytest.param(["a = 1", "b = a + 1"], {"asked": "a"}, ["a = 1", "b = a + 1"], id="another role"),
        pytest.param(["a = 1", "b = a + 2"], {}, ["a = 1", "b = a + 2"], id="the last block"),
        pytest.param(["a = 3", "b = a + 1"], {}, ["a = 3", "b = a + 1"], id="the first block"),
        pytest.param(["a = 1"], {}, [], id="a block less"),
        pytest.param(["b = 1", "a = 1"], {}, ["b = 1", "a = 1"], id="in another order"),
        pytest.param(["a = 1"], {"state": "other sources"}, ["a = 1"], id="a source"),
        pytest.param(["a = 1"], {"state": ""}, ["a = 1"], id="nothing is known of the sources"),
    ],
)
def test_the_blocks_of_a_page_run_again_if_something_that_they_depend_on_has_changed(
    tmp_path, blocks, more, again
):
    first, ran = read_page(tmp_path, "a = 1", "b = a + 1", asked="b * 2")
    assert ran == ["a = 1", "b = a + 1"]
    assert first == [["a = 1", "told"], ["b = a + 1", "told"], 4]
    given, ran = read_page(tmp_path, *blocks, **more)
    assert ran == again
    told = [[code, "told"] for code in blocks]
    assert given == told + [eval(asked, {"a": 1, "b": 2}) for asked in [more.get("asked")] if asked]


def test_nothing_of_a_page_is_kept_after_a_block_that_failed(tmp_path):
    read_page(tmp_path, "a = 1")
    with pytest.raises(ZeroDivisionError):
        read_page(tmp_path, "a = 1", "1 / 0")
    results = Results(tmp_path, "sources")
    assert results.block("a = 1", lambda: 1, str) == ["a = 1", "told"]
    with pytest.raises(ZeroDivisionError):
        results.block("1 / 0", lambda: 1 / 0, str)
    assert results.block("b = a", lambda: 2, str) == "2"  # a page goes on after the warning
    results.keep()
    assert read_page(tmp_path, "a = 1")[1] == ["a = 1"]


def test_files_that_no_result_names_are_deleted(tmp_path):
    for name in ("figure-1.bokeh.json", "figure-1.png", "figure-2.bokeh.json", "results.part"):
        (tmp_path / name).write_text("", encoding="utf-8")
    results = Results(tmp_path, "sources")
    results.block("show(1)", lambda: 1, lambda _: ["figure", "figure-1.bokeh.json"])
    results.keep()
    assert {path.name for path in tmp_path.iterdir()} == {"figure-1.bokeh.json", "figure-1.png", RECORD}


def test_a_changed_word_runs_nothing_and_what_failed_is_read_again(tmp_path):
    program = 'from pathlib import Path\nfile = Path("{here}/ran.txt")\nrate = 1 / len("{text}")\n'
    program += 'with file.open("a") as more:\n    more.write("x")\nprint(rate)\n'
    page = "# Page\n\n{word}\n\n```{{bokeh-figure}}\n{program}```\n\n{{found}}`rate`{{holds}}`rate < 1`\n"

    def built(word: str, text: str = "ab") -> tuple[str, str, int]:
        html, warnings = build(
            tmp_path,
            page.format(word=word, program=program.format(here=tmp_path.as_posix(), text=text)),
            KEEPING,
        )
        return html, warnings, len((tmp_path / "ran.txt").read_text(encoding="utf-8"))

    html, warnings, ran = built("Before.")
    assert (warnings, ran) == ("", 1)
    again, warnings, ran = built("After.")
    assert (warnings, ran) == ("", 1)
    assert again == html.replace("Before.", "After.")
    for _ in range(2):  # not only the first time: a strict build must not pass because nothing was read
        _html, warnings, ran = built("After.", text="")
        assert "bokeh-figure: ZeroDivisionError" in warnings
    html, warnings, ran = built("After.")
    assert (html, warnings, ran) == (again, "", 2)


def test_a_changed_word_beside_an_exercise_loads_no_model(tmp_path):
    page = "# Page\n\n{word}\n\n```{{exercise}} 1.2\n```\n"
    first, _ = build(tmp_path, page.format(word="Before."), KEEPING)
    assert "Exercise 1.2" in first
    assert "Solution" in first
    assert (tmp_path / "torch.txt").read_text(encoding="utf-8") == "True"
    again, _ = build(tmp_path, page.format(word="After."), KEEPING)
    assert again == first.replace("Before.", "After.")
    assert (tmp_path / "torch.txt").read_text(encoding="utf-8") == "False"

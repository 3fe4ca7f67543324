"""The small extensions of the site: formulas, stale results, equal builds, pictures with numbers, links."""

import json
import os
import re
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

EXTENSIONS = Path(__file__).resolve().parents[1] / "conf" / "extensions"
sys.path.insert(0, str(EXTENSIONS))

import accessible  # noqa: E402 - found through the line above
import launch  # noqa: E402
import page_times  # noqa: E402
import reproducible  # noqa: E402
import stale  # noqa: E402
import uses  # noqa: E402

FACTS = """
from facts import Fact

def load_facts():
    return {
        "chain.stages": Fact(5, "counted"),
        "chain.stages.with_weights": Fact(3, "counted"),
        "chain.parameters": Fact(1234567, "counted too"),
    }
"""
CONF = """
import sys
sys.path[:0] = [{here!r}, {extensions!r}]
extensions = ["facts", "course", "mathml", "myst_parser"]
facts_module = "site_facts"
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath", "amsmath"]
exclude_patterns = ["_diagrams"]
"""


def build(folder: Path, page: str, conf: str = CONF) -> tuple[str, str]:
    """Build a site of one page; return its HTML and the warnings."""
    (folder / "index.md").write_text(page, encoding="utf-8")
    (folder / "site_facts.py").write_text(FACTS, encoding="utf-8")
    conf = conf.format(here=str(folder), extensions=str(EXTENSIONS))
    (folder / "conf.py").write_text(conf, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", "-n", "-q", "-b", "html", str(folder), str(folder / "site")],
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return (folder / "site" / "index.html").read_text(encoding="utf-8"), result.stderr


def test_a_fact_links_to_its_row_and_names_its_source(tmp_path):
    html, warnings = build(tmp_path, "# Page\n\n{fact}`chain.parameters` in all.\n\n```{facts-table}\n```\n")
    assert warnings == ""
    assert 'href="#fact-chain-parameters" title="chain.parameters: counted too">1,234,567</a>' in html
    assert 'id="fact-chain-parameters"' in html


def test_a_table_may_list_some_of_the_facts(tmp_path):
    html, warnings = build(
        tmp_path, "# Page\n\n```{facts-table} chain.s\n```\n\n```{facts-table} ring.\n```\n"
    )
    assert 'id="fact-chain-stages"' in html
    assert "fact-chain-parameters" not in html
    assert "facts-table: no fact begins with ring." in warnings


def test_facts_of_one_source_may_share_a_row(tmp_path):
    html, warnings = build(tmp_path, "# Page\n\n```{facts-table}\n:grouped:\n```\n")
    assert warnings == ""
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert "what found counted 5 with weights: 3 counted too 1,234,567" in text
    for name in ("chain-stages", "chain-stages-with-weights", "chain-parameters"):
        assert f'<div class="line" id="fact-{name}">' in html
    assert set(re.findall(r"<tr[^>]*>\s*<(\w+)", html)) == {"th", "td"}  # nothing else may stand in a row


def test_an_unknown_fact_is_a_warning_so_that_a_strict_build_fails(tmp_path):
    _html, warnings = build(tmp_path, "# Page\n\n{fact}`chain.stage` in all.\n")
    assert "index.md:3: WARNING: no fact is called 'chain.stage'; did you mean 'chain.stages'?" in warnings


def test_a_picture_takes_its_numbers_from_facts(tmp_path):
    (tmp_path / "_diagrams").mkdir()
    svg = "<svg><title>A chain of @chain.stages@ stages</title></svg>"
    (tmp_path / "_diagrams" / "chain.svg").write_text(svg, encoding="utf-8")
    html, warnings = build(tmp_path, "# Page\n\n```{diagram} chain\n```\n")
    assert warnings == ""
    assert "<title>A chain of 5 stages</title>" in html


def test_a_picture_with_an_unknown_fact_is_a_warning(tmp_path):
    (tmp_path / "_diagrams").mkdir()
    (tmp_path / "_diagrams" / "chain.svg").write_text("<svg>@chain.length@</svg>", encoding="utf-8")
    _html, warnings = build(tmp_path, "# Page\n\n```{diagram} chain\n```\n")
    assert "WARNING: diagram: no fact is called 'chain.length'" in warnings


def test_formulas_are_mathml_and_need_no_script(tmp_path):
    page = "# Page\n\nOf $k^2$ and\n\n$$ \\frac{a}{b} $$ (ratio)\n\nSee {eq}`ratio`.\n"
    html, warnings = build(tmp_path, page)
    assert warnings == ""
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
    CONF.replace('["facts", ', '["stale", "sphinx_gallery.gen_gallery", "facts", "page_times", ')
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


def test_the_time_of_each_page_is_written_beside_the_doctrees_and_not_into_the_site(tmp_path):
    make_scripts(tmp_path, one="import time\ntime.sleep(1.2)")
    build(tmp_path, GALLERY_PAGE, GALLERY_CONF)
    times = json.loads((tmp_path / "site" / ".doctrees" / "page-times.json").read_text(encoding="utf-8"))
    assert set(times) == {"index", "gallery/index", "gallery/one"}
    assert 1.2 <= times["gallery/one"]["script"] < 60
    assert 0 < times["index"]["reading"] < 60
    assert all(page["now"] for page in times.values())
    again = build(tmp_path, GALLERY_PAGE, GALLERY_CONF)
    assert again
    kept = json.loads((tmp_path / "site" / ".doctrees" / "page-times.json").read_text(encoding="utf-8"))
    assert kept["gallery/one"]["script"] == times["gallery/one"]["script"]
    assert not kept["gallery/one"]["now"]


def test_the_table_of_times_lists_the_slowest_first_and_the_sum_beside_the_aim():
    def page(seconds, now=True):
        return {"script": seconds - 0.5, "reading": 0.5, "now": now}

    lines = page_times.table({"a": page(2.0), "b": page(31.0, now=False), "c": page(0.7), "d": page(0.6)})
    assert [line.split(maxsplit=1) for line in lines.splitlines()[1:5]] == [
        ["31.0", "b *"],
        ["2.0", "a"],
        ["1.3", "2 pages of less than 1 s each"],
        ["34.3", "in all, within the aim of 600 s"],
    ]
    assert "not built this time" in lines
    assert "ABOVE the aim of 600 s" in page_times.table({"a": page(601.0)})


def test_a_script_runs_again_when_the_package_has_changed(tmp_path):
    runs = tmp_path / "runs.txt"
    make_scripts(tmp_path, one=f'with open({str(runs)!r}, "a") as file:\n    file.write("run\\n")')
    counts = []
    for content in ("weights", "weights", "other weights"):
        (tmp_path / "src" / "model.bin").write_text(content, encoding="utf-8")
        build(tmp_path, GALLERY_PAGE, GALLERY_CONF)
        counts.append(runs.read_text(encoding="utf-8").count("run"))
    assert counts == [1, 1, 2]


def test_a_script_runs_again_when_the_environment_asks_for_another_model(tmp_path, monkeypatch):
    runs = tmp_path / "runs.txt"
    make_scripts(tmp_path, one=f'with open({str(runs)!r}, "a") as file:\n    file.write("run\\n")')
    counts = []
    for model in ("tiny", "tiny", "full"):
        monkeypatch.setenv("MINI_MODEL", model)
        build(tmp_path, GALLERY_PAGE, GALLERY_CONF)
        counts.append(runs.read_text(encoding="utf-8").count("run"))
    assert counts == [1, 1, 2]


def test_archives_of_equal_files_are_equal(tmp_path):
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    for path, names, moment in ((first, "ab", (2020, 1, 1, 0, 0, 0)), (second, "ba", (2021, 5, 5, 5, 5, 5))):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(zipfile.ZipInfo(name, moment), f"content of {name}")
        reproducible.repack(path, (2026, 1, 1, 0, 0, 0))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert archive.read("a") == b"content of a"


def test_a_comparison_of_two_sites_names_each_file_and_its_first_difference(tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, word, moment in ((first, "one", 2020), (second, "other", 2021)):
        (folder / "sub").mkdir(parents=True)
        (folder / "same.html").write_text("same", encoding="utf-8")
        (folder / "page.html").write_text(f"equal\nhere stands {word} word\n", encoding="utf-8")
        (folder / "sub" / "picture.png").write_bytes(b"\x89PNG" + word.encode() + b"\xff")
        with zipfile.ZipFile(folder / "all.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo("a.py", (moment, 1, 1, 0, 0, 0)), word)
            archive.writestr(zipfile.ZipInfo("b.py", (moment, 1, 1, 0, 0, 0)), "same")
        with zipfile.ZipFile(folder / "times.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo("b.py", (moment, 1, 1, 0, 0, 0)), "same")
    (second / "new.html").write_text("new", encoding="utf-8")
    assert reproducible.differences(first, second) == [
        f"new.html: only in {second}",
        "all.zip: differs in a.py",
        "page.html: line 2, 'here stands one word' and 'here stands other word'",
        "sub/picture.png: 8 and 10 bytes, equal up to byte 5",
        "times.zip: differs in its own times or order",
    ]
    assert reproducible.main(str(first), str(second)) == 1
    assert "5 of 5 files differ." in capsys.readouterr().out
    assert reproducible.main(str(first), str(first)) == 0
    assert "All 5 files are equal, byte for byte." in capsys.readouterr().out


def test_nothing_is_not_called_equal(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected a built site in .*, but found no files"):
        reproducible.main(str(tmp_path), str(tmp_path))


LAUNCH_CONF = """
import sys
sys.path[:0] = [{here!r}, {extensions!r}]
extensions = ["launch"]
launch_repository = "REPOSITORY"
launch_binder = {{"requirements.txt": ["the-package", "another"]}}
"""


@pytest.mark.parametrize(
    "address", ["", "https://github.com/someone/course", "https://github.com/someone/course.git/"]
)
def test_pages_with_a_notebook_lead_to_colab_and_binder_where_a_repository_is_known(tmp_path, address):
    (tmp_path / "with.rst").write_text("With\n====\n\nA page.\n", encoding="utf-8")
    (tmp_path / "with.ipynb").write_text("{}", encoding="utf-8")
    conf = LAUNCH_CONF.replace("REPOSITORY", address)
    (tmp_path / "index.rst").write_text("Index\n=====\n\n.. toctree::\n\n   with\n", encoding="utf-8")
    index, warnings = build(tmp_path, "", conf)
    assert warnings == ""
    page = (tmp_path / "site" / "with.html").read_text(encoding="utf-8")
    links = re.findall(r'href="(https://[^"]*(?:colab|binder)[^"]*)"', page)
    assert "colab" not in index
    files = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*")}
    if address:
        assert links == [
            "https://colab.research.google.com/github/someone/course/blob/gh-pages/notebooks/with.ipynb",
            "https://mybinder.org/v2/gh/someone/course/gh-pages?urlpath=lab/tree/notebooks/with.ipynb",
        ]
        assert {"notebooks/with.ipynb", "binder/requirements.txt"} <= files
        assert (tmp_path / "site" / "binder" / "requirements.txt").read_text() == "the-package\nanother\n"
    else:
        assert links == []
        assert not {"notebooks", "binder"} & files


def test_an_address_that_colab_cannot_read_is_refused():
    with pytest.raises(
        Exception, match=r"like https://github\.com/owner/name, but found 'https://example\.org/x'"
    ):
        launch.repository("https://example.org/x")


def test_a_function_counts_as_used_where_it_is_named_and_a_class_where_a_part_of_it_is():
    named = {
        "asrscope.inside.gap.flat_map": ["one"],
        "asrscope.inside.gap.Map": ["one", "two"],
        "asrscope.Map.place": ["three"],
        "asrscope.inside.gap.flat_mapping": ["four"],
        "other.gap.flat_map": ["five"],
    }
    assert uses.uses_of("asrscope.inside.gap", named, "asrscope") == {"flat_map": ["one"], "Map": ["three"]}


def test_a_page_lists_cards_where_few_scripts_use_its_modules_and_functions_where_many_do():
    few = uses.section(
        ["asrscope.gap"],
        {"asrscope.gap.flat_map": ["43_gap"]},
        "asrscope",
        "gallery",
        "../gallery",
    )
    assert "## In the gallery" in few
    assert ".. minigallery::\n\n   ../gallery/43_gap.py\n" in few
    pages = [f"{n}_page" for n in range(10)]
    many = {"asrscope.gap.flat_map": pages[:2], "asrscope.gap.told_apart": pages}
    text = uses.section(["asrscope.gap"], many, "asrscope", "gallery", "../gallery")
    assert (
        "- {py:obj}`flat_map <asrscope.gap.flat_map>`: {doc}`/gallery/0_page`, {doc}`/gallery/1_page`\n"
        in text
    )
    assert (
        "- {py:obj}`told_apart <asrscope.gap.told_apart>`: {doc}`10 of 10 pages </gallery/index>`\n" in text
    )
    assert uses.section(["asrscope.gap"], {"asrscope.load": pages}, "asrscope", "gallery", "../gallery") == ""


def test_headings_of_the_navigation_state_their_level():
    context = {
        "furo_navigation_tree": '<p class="caption" role="heading">Course</p>',
        "body": '<div role="list"><div role="doc-biblioentry">Source</div></div>',
    }
    accessible.mend(None, "page", "page.html", context, None)
    assert context["furo_navigation_tree"] == '<p class="caption" role="heading" aria-level="2">Course</p>'
    assert context["body"] == '<div role="list"><div role="listitem">Source</div></div>'

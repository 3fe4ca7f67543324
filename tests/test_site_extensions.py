"""The small extensions of the site: formulas, stale results, equal archives, pictures with numbers."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

EXTENSIONS = Path(__file__).resolve().parents[1] / "conf" / "extensions"
sys.path.insert(0, str(EXTENSIONS))

import reproducible  # noqa: E402 - found through the line above
import stale  # noqa: E402

FACTS = """
from facts import Fact

def load_facts():
    return {"chain.stages": Fact(5, "counted"), "chain.parameters": Fact(1234567, "counted too")}
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


def test_a_script_runs_again_when_the_package_has_changed(tmp_path):
    conf = CONF.replace('["facts", ', '["stale", "sphinx_gallery.gen_gallery", "facts", ')
    conf += """
stale_sources = ["src"]
exclude_patterns = ["scripts", "gallery/*.ipynb", "gallery/*.py"]
sphinx_gallery_conf = {{"examples_dirs": ["scripts"], "gallery_dirs": ["gallery"], "filename_pattern": "/one",
    "image_scrapers": (), "reset_modules": ()}}
"""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "scripts" / "GALLERY_HEADER.rst").write_text("Gallery\n=======\n", encoding="utf-8")
    runs = tmp_path / "runs.txt"
    script = f'"""\nOne\n===\n"""\nwith open({str(runs)!r}, "a") as file:\n    file.write("run\\n")\n'
    (tmp_path / "scripts" / "one.py").write_text(script, encoding="utf-8")
    counts = []
    for content in ("weights", "weights", "other weights"):
        (tmp_path / "src" / "model.bin").write_text(content, encoding="utf-8")
        build(tmp_path, "# Page\n\n```{toctree}\ngallery/index\n```\n", conf)
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

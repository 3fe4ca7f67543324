"""What the built site gives away: scripts, notebooks and archives, and a notebook of each kind is run."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from pages import COLORS, Visit
from sphinx_gallery.py_source_parser import remove_config_comments, split_code_and_text_blocks

SITE = Path(os.environ["ASRSCOPE_SITE"]).resolve()
GALLERY = Path(__file__).resolve().parents[2] / "gallery"
SCRIPTS = {path.stem: path for path in sorted(GALLERY.glob("[0-9]*.py"))}
DOWNLOADS = {path.name: path for path in (SITE / "_downloads").glob("*/*")}
# What notebooks show is of these kinds: sounds and figures, panels in a grid, the slider.
KINDS = ("10_from_air_to_numbers", "30_encoder", "40_projector")
SHOWN = re.compile(r"plots\.(listen|player|reach|show|similarity|step_slider)\(")
ALIKE = {"reach": "similarity"}  # both are a grid of panels
# Of a page made of a notebook's outputs: how many figures show more than a blank canvas.
DRAWN = f"""() => [...document.body.querySelectorAll("*")].filter(({{ shadowRoot }}) =>
  shadowRoot != null && ({COLORS})(shadowRoot) > 4).length"""


def execute(notebook: Path, folder: Path) -> Path:
    """Run a copy of a notebook without a window, as `jupyter execute` does, and return the copy."""
    copy = folder / notebook.name
    shutil.copyfile(notebook, copy)
    finished = subprocess.run(
        [sys.executable, "-c", "from nbclient.cli import main; main()", "--inplace", "--timeout=900", copy],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(folder / "ipython")},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    return copy


@pytest.mark.parametrize("stem", SCRIPTS)
def test_a_notebook_is_what_the_build_ran_behind_a_cell_that_installs_the_package(stem):
    notebook = nbformat.read(DOWNLOADS[f"{stem}.ipynb"], as_version=4)
    first, *cells = (cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "pip install" in first
    _, blocks = split_code_and_text_blocks(SCRIPTS[stem])
    code = [remove_config_comments(block.content) for block in blocks if block.type == "code"]
    assert [cell.strip() for cell in cells] == [each.strip() for each in code]


def test_all_kinds_of_what_notebooks_show_are_among_those_that_run():
    shown = {
        stem: {ALIKE.get(kind, kind) for kind in SHOWN.findall(script.read_text(encoding="utf-8"))}
        for stem, script in SCRIPTS.items()
    }
    assert set().union(*shown.values()) == set().union(*(shown[stem] for stem in KINDS))


@pytest.mark.parametrize("stem", KINDS)
def test_a_notebook_runs_from_top_to_bottom_and_draws_its_figures(browser, tmp_path, stem):
    executed = execute(DOWNLOADS[f"{stem}.ipynb"], tmp_path)
    notebook = nbformat.read(executed, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error"] == []
    players = [output for output in outputs if "<audio" in output.get("data", {}).get("text/html", "")]
    assert len(players) >= 1
    # What Jupyter would put on its page: markup, and the scripts that belong to it.
    parts = []
    for output in outputs:
        data = output.get("data", {})
        parts.append(data.get("text/html", ""))
        if "application/javascript" in data:
            parts.append(f"<script>{data['application/javascript']}</script>")
    page = executed.with_suffix(".html")
    page.write_text('<!doctype html><meta charset="utf-8">' + "\n".join(parts), encoding="utf-8")
    source = SCRIPTS[stem].read_text(encoding="utf-8")
    sliders = source.count("plots.step_slider(")
    shown = source.count("plots.show(") - sliders
    with Visit(browser, page.parent.as_uri() + "/") as visit:
        visit.page.goto(page.as_uri())
        visit.page.wait_for_function(f"() => ({DRAWN})() === {shown}")
        assert visit.page.get_by_role("slider", name="Training").count() == sliders
        assert visit.complaints == []


@pytest.mark.parametrize("stem", SCRIPTS)
def test_the_script_of_a_page_is_the_one_that_is_tested(stem):
    assert DOWNLOADS[f"{stem}.py"].read_bytes() == SCRIPTS[stem].read_bytes()
    with zipfile.ZipFile(DOWNLOADS[f"{stem}.zip"]) as archive:
        assert {f"{stem}.py", f"{stem}.ipynb"} <= set(archive.namelist())


@pytest.mark.parametrize(
    ("archive", "suffix"), [("gallery_python.zip", ".py"), ("gallery_jupyter.zip", ".ipynb")]
)
def test_the_gallery_links_archives_that_hold_every_page(archive, suffix):
    index = (SITE / "gallery" / "index.html").read_text(encoding="utf-8")
    assert re.search(rf'href="\.\./_downloads/\w+/{re.escape(archive)}"', index)
    with zipfile.ZipFile(DOWNLOADS[archive]) as packed:
        assert sorted(packed.namelist()) == sorted(f"{stem}{suffix}" for stem in SCRIPTS)
        for name in packed.namelist():
            assert packed.read(name) == DOWNLOADS[name].read_bytes()
            assert packed.getinfo(name).date_time == packed.getinfo(packed.namelist()[0]).date_time


@pytest.mark.parametrize("stem", SCRIPTS)
def test_links_to_colab_and_binder_are_there_where_the_site_knows_a_repository_and_only_there(stem):
    page = (SITE / "gallery" / f"{stem}.html").read_text(encoding="utf-8")
    hosts = re.findall(r'href="https://(colab\.research\.google\.com|mybinder\.org)/[^"]*"', page)
    known = bool(os.environ.get("ASRSCOPE_REPOSITORY"))
    assert sorted(hosts) == (["colab.research.google.com", "mybinder.org"] if known else [])
    assert (SITE / "notebooks" / f"{stem}.ipynb").is_file() == known

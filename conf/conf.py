"""Configuration of the site.

    sphinx-build -n -W --keep-going -b html -c conf -d build/doctrees docs build/site

A build asks nothing of the network. These variables of the environment are read:

- ``ASRSCOPE_CHROMIUM``: browser that makes the gallery's thumbnails (``none``: draw them without one);
- ``ASRSCOPE_MODEL`` and its kin: the model on the pages that follow one clip (see ``docs/using/full.md``);
- ``ASRSCOPE_SITE_URL``: where the site will stand; gives it a sitemap, canonical addresses and previews;
- ``ASRSCOPE_REPOSITORY``: ``https://github.com/owner/name``; gives pages links to their source on its branch
  ``ASRSCOPE_BRANCH`` (``main``), and gallery pages links to Colab and Binder, which read the built site from
  the branch ``ASRSCOPE_SITE_BRANCH`` (``gh-pages``);
- ``SOURCE_DATE_EPOCH``: the time that a build states; it has a default, so that builds can be compared.
"""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from urllib.parse import urlsplit

# One thread each: on a small machine that runs something else, two are slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SOURCE_DATE_EPOCH", "1767225600")  # 2026-01-01
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # their speed would stand in the pages
os.environ.setdefault("BOKEH_GALLERY_CHROMIUM", os.environ.get("ASRSCOPE_CHROMIUM", ""))

# Not with the imports above: torch, which comes with it, reads the variables.
from asrscope.loading.presets import ENVIRONMENT, MODEL

CONF = Path(__file__).resolve().parent
ROOT = CONF.parent
sys.path.insert(0, str(CONF / "extensions"))
site_url = os.environ.get("ASRSCOPE_SITE_URL", "")
if site_url and not site_url.endswith("/"):
    site_url += "/"  # the sitemap puts names of pages behind it
repository = os.environ.get("ASRSCOPE_REPOSITORY", "").rstrip("/")


def outline(path: Path, moments: int = 96) -> list[float]:
    """Return how far a clip reaches from zero, moment by moment, 0 to 1: for the pictures of links."""
    import numpy as np  # noqa: PLC0415 - a site without an address needs neither
    import soundfile  # noqa: PLC0415

    peaks = [np.abs(part).max() for part in np.array_split(soundfile.read(path)[0], moments)]
    return [round(float(peak / max(peaks)), 3) for peak in peaks]


# -- project ---------------------------------------------------------------------------------------------

project = "asrscope"
author = "asrscope contributors"
copyright = "2026, asrscope contributors"
release = version = version_of("asrscope")

extensions = [
    "accessible",
    "cards",
    "csp",
    "descriptions",
    "hosting",
    "stale",  # before sphinx-gallery: it decides which scripts run again
    "sphinx_gallery.gen_gallery",
    "launch",
    "notebooks",
    "page_times",
    "reproducible",
    "uses",
    "bokeh_gallery",
    "facts",
    "course",
    "questions",
    "mathml",
    "myst_parser",
    "notfound.extension",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.githubpages",  # a file that lets such hosts show folders like _static
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxext.opengraph",
]
exclude_patterns = ["gallery/**/*.ipynb", "gallery/**/*.py", "gallery/**/*.json", "_diagrams"]
nitpicky = True

# -- pages -----------------------------------------------------------------------------------------------

source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_enable_extensions = ["amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

facts_module = "facts_asrscope"
facts_files = ["../docs/audit.json"]
json_schema_file = str(ROOT / "src" / "asrscope" / "scope" / "trace.schema.json")

# -- gallery ---------------------------------------------------------------------------------------------

# What the captured figures and numbers depend on, beside the scripts themselves.
stale_sources = ["../src", "extensions", "bokeh_gallery/src"]
stale_packages = ["bokeh", "librosa", "numpy", "scipy", "torch", "transformers"]
stale_variables = [MODEL, *ENVIRONMENT.values()]

# The package as pip finds it: in the repository, where the site knows it.
requirement = f"asrscope @ git+{repository}" if repository else "asrscope"
launch_repository = repository
launch_branch = os.environ.get("ASRSCOPE_SITE_BRANCH", "gh-pages")
launch_binder = {
    "requirements.txt": ["--extra-index-url https://download.pytorch.org/whl/cpu", requirement],
    "runtime.txt": ["python-3.11"],
}

NOTEBOOK_SETUP = f"""\
# Install the package where it is missing; see the page "Install" for the small CPU build of torch.
import importlib.util
import os
import warnings
if importlib.util.find_spec("asrscope") is None:
    %pip install --quiet "{requirement}"
os.environ["BOKEH_RESOURCES"] = "inline"  # figures without a connection to the network
warnings.filterwarnings("ignore", message="IProgress not found")  # a bar of plain text will do"""

sphinx_gallery_conf = {
    "examples_dirs": ["../gallery"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"/\d+_",
    "ignore_pattern": r"__init__\.py",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("bokeh_gallery",),
    "reset_modules": ("bokeh_gallery.reset",),
    "reset_modules_order": "both",
    "capture_repr": ("_repr_html_",),
    "ignore_repr_types": r"bokeh\.",
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("asrscope",),
    "first_notebook_cell": NOTEBOOK_SETUP,
    "min_reported_time": 1e9,  # a page must not change with the machine that built it
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "abort_on_example_error": False,
}

# -- API reference ---------------------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as they are written: a path would name the machine that built the page
autodoc_typehints = "none"  # the docstrings say more: shapes and units
autodoc_default_options = {"show-inheritance": True}
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
nitpick_ignore_regex = [
    # Classes of other packages: builds ask nothing of the network, so their pages are not linked.
    (
        r"py:.*",
        r"(abc|bokeh|collections|html|huggingface_hub|numpy|pathlib|tokenizers|torch|transformers|typing)(\..*)?",
    ),
]

# -- HTML ------------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = "asrscope"
html_static_path = ["static", "../src/asrscope/plots/clock", "../src/asrscope/plots/steps"]
# Of the other two folders, on pages with figures.
bokeh_gallery_page_files = ["clock.css", "clock.js", "steps.css", "steps.js"]
html_favicon = "static/icon.svg"
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
templates_path = ["templates"]
pygments_dark_style = "github-dark"
html_show_search_summary = False  # pages would be fetched for it; ours says what each page is about
descriptions_file = "pages.toml"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "sidebar_hide_name": False,
    "navigation_with_keys": False,  # the arrow keys move sounds, sliders and code that is wider than the page
}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

ogp_site_url = site_url
ogp_social_cards = {"enable": False}
# Shown for any address that does not exist, however deep: its links begin at the root.
notfound_urls_prefix = root = urlsplit(site_url).path or "/"
notfound_context = {
    "title": "Page not found",
    "body": f"""
<h1>Page not found</h1>
<p>There is no page at this address. It may have another name now.</p>
<ul>
<li><a href="{root}search.html">Search this site</a></li>
<li><a href="{root}course/index.html">The course</a>: six classes, with exercises and questions</li>
<li><a href="{root}gallery/index.html">The gallery</a>: the model taken apart, one stage a page</li>
<li><a href="{root}index.html">The first page</a></li>
</ul>
""",
}

# Pages lead to their source, gallery pages to their script.
hosting_repository = repository
hosting_branch = os.environ.get("ASRSCOPE_BRANCH", "main")
if repository:
    html_theme_options |= {"source_repository": repository, "source_branch": hosting_branch}
    html_theme_options["source_directory"] = "docs/"

if site_url:
    html_baseurl = site_url
    extensions.append("sphinx_sitemap")
    sitemap_url_scheme = "{link}"
    sitemap_show_lastmod = False
    sitemap_excludes = ["404.html", "genindex.html", "py-modindex.html", "search.html"]
    cards_outline = outline(ROOT / "src" / "asrscope" / "data" / "clips" / "captain.flac")

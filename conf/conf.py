"""Configuration of the site.

    sphinx-build -n -W --keep-going -b html -c conf -d build/doctrees docs build/site

A build asks nothing of the network. These variables of the environment are read:

- ``ASRSCOPE_CHROMIUM``: browser that makes the gallery's thumbnails (``none``: draw them without one);
- ``ASRSCOPE_MODEL`` and its kin: the model on the pages that follow one clip (see ``docs/using/full.md``);
- ``ASRSCOPE_LIVE_SMALL``: 1 puts the model "small" beside the page "Live", which then loads it on a click;
- ``ASRSCOPE_SITE_URL``: where the site will stand; gives it a sitemap, canonical addresses and previews;
- ``ASRSCOPE_REPOSITORY``: ``https://github.com/owner/name``; gives pages links to their source on its branch
  ``ASRSCOPE_BRANCH`` (``main``), and gallery pages links to Colab and Binder, which read the built site from
  the branch ``ASRSCOPE_SITE_BRANCH`` (``gh-pages``);
- ``SOURCE_DATE_EPOCH``: the time that a build states; it has a default, so that builds can be compared.
"""

import os
import re
import sys
import tomllib
from importlib.metadata import version as version_of
from pathlib import Path
from urllib.parse import urlsplit

from sphinx.errors import ConfigError

# One thread each: on a small machine that runs something else, two are slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SOURCE_DATE_EPOCH", "1767225600")  # 2026-01-01
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # their speed would stand in the pages
os.environ.setdefault("BOKEH_GALLERY_CHROMIUM", os.environ.get("ASRSCOPE_CHROMIUM", ""))

CONF = Path(__file__).resolve().parent
ROOT = CONF.parent
sys.path.insert(0, str(CONF / "extensions"))
site_url = os.environ.get("ASRSCOPE_SITE_URL", "")
if site_url and not site_url.endswith("/"):
    site_url += "/"  # the sitemap puts names of pages behind it
repository = os.environ.get("ASRSCOPE_REPOSITORY", "").rstrip("/").removesuffix(".git")

# -- project ---------------------------------------------------------------------------------------------

project = "asrscope"
copyright = "2026, asrscope contributors"
release = version = version_of("asrscope")

extensions = [
    "csp",
    "hosting",
    "live",
    "previews",
    "stale",  # before sphinx-gallery: it decides which scripts run again
    "sphinx_gallery.gen_gallery",
    "downloads",
    "bokeh_gallery",
    "facts",
    "folding",
    "diagrams",
    "distribution",
    "questions",
    "mathml",
    "myst_parser",
    "notfound.extension",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.duration",
    "sphinx.ext.githubpages",  # a file that lets such hosts show folders like _static
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxext.opengraph",
]
exclude_patterns = ["gallery/**/*.ipynb", "gallery/**/*.py", "gallery/**/*.json", "_diagrams"]
nitpicky = True
suppress_warnings = ["sphinx_gallery.space_in_filename"]  # of a folder above: no script has one in its name

# -- pages -----------------------------------------------------------------------------------------------

myst_enable_extensions = ["amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

facts_module = "facts_asrscope"
facts_files = ["../conf/static/live/engine.js", "../conf/static/live/kernel.wasm"]

# -- gallery ---------------------------------------------------------------------------------------------

# What figures, numbers and reference depend on, beside the scripts and pages themselves.
stale_sources = ["../src", "bokeh_gallery/src", "extensions", "templates"]
stale_reference = "api"
stale_packages = ["bokeh", "librosa", "numpy", "scipy", "torch", "transformers"]
stale_variables = ["ASRSCOPE_"]

# What notebooks tell pip to install: the wheel of this build by its address, the repository, or a file.
wheel_name = f"asrscope-{release}-py3-none-any.whl"
wheel_address = f"{site_url}package/{wheel_name}" if site_url else ""
wheel_repository = repository
requirement = wheel_address or (f"asrscope @ git+{repository}" if repository else wheel_name)
binder = {}
if repository:
    match = re.fullmatch(r"https://github\.com/([\w.-]+)/([\w.-]+)", repository)
    if match is None:
        raise ConfigError(
            "ASRSCOPE_REPOSITORY must be an address like https://github.com/owner/name, but found"
            f" {repository!r}. Colab and Binder open notebooks from there; leave it empty to have no links."
        )
    branch = os.environ.get("ASRSCOPE_SITE_BRANCH", "gh-pages")
    hosting_notebooks = (
        f"https://colab.research.google.com/github/{match[1]}/{match[2]}/blob/{branch}/notebooks"
    )
    binder = {
        "binderhub_url": "https://mybinder.org",
        "org": match[1],
        "repo": match[2],
        "branch": branch,
        "dependencies": ["../conf/binder/requirements.txt", "../conf/binder/runtime.txt"],
        "use_jupyter_lab": True,
    }

first_cell = (CONF / "first_cell.txt").read_text(encoding="utf-8").strip()

sphinx_gallery_conf = {
    "examples_dirs": ["../gallery"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"/\d+_",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("bokeh_gallery",),
    "reset_modules": ("bokeh_gallery.reset",),
    "reset_modules_order": "both",
    "capture_repr": ("_repr_html_",),
    "ignore_repr_types": r"bokeh\.",
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("asrscope",),
    "first_notebook_cell": first_cell.replace("REQUIREMENT", requirement),
    "binder": binder,
    "min_reported_time": 1e9,  # a page must not change with the machine that built it
    "show_signature": False,
    "remove_config_comments": True,
}

# -- API reference ---------------------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as they are written: a path would name the machine that built the page
autodoc_typehints = "none"  # the docstrings say more: shapes and units
autodoc_default_options = {"show-inheritance": True}
# Packages that document what their modules hold.
autosummary_context = {"whole": ["asrscope", "asrscope.plots", "asrscope_course"]}
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# Classes of other packages, since builds ask nothing of the network, and bases that are nobody's business.
OTHERS = "abc|bokeh|collections|html|huggingface_hub|numpy|pathlib|tokenizers|torch|transformers|typing"
BASES = r".*\._\w+|asrscope_course\.texts\.Text"
nitpick_ignore_regex = [(r"py:.*", rf"({OTHERS})(\..*)?"), (r"py:class", BASES)]

# -- HTML ------------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = "asrscope"
html_static_path = ["static", "../src/asrscope/plots/clock", "../src/asrscope/plots/steps"]
# On pages with figures: what plays sounds, steps through figures, and plays the first screen.
bokeh_gallery_page_files = ["clock.css", "clock.js", "steps.css", "steps.js", "landing.js"]
html_favicon = "static/icon.svg"
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
templates_path = ["../conf/templates"]  # from here and, for autosummary, from the sources
live_small = os.environ.get("ASRSCOPE_LIVE_SMALL") == "1"
# The page on which the model runs: it compiles the kernel, and starts a worker from text that it holds.
csp_more = {"live": {"script-src": "'wasm-unsafe-eval'", "worker-src": "blob:"}}
pygments_dark_style = "github-dark"
html_show_search_summary = False  # pages would be fetched for it; ours says what each page is about
previews = tomllib.loads((CONF / "pages.toml").read_text(encoding="utf-8"))
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": False,  # the arrow keys move sounds, sliders and code that is wider than the page
}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

ogp_site_url = site_url
ogp_image = site_url and "_static/card.png"
ogp_image_alt = "asrscope: see one spoken sentence become text, and the outline of a sound"
ogp_enable_meta_description = False  # ours says more
ogp_custom_meta_tags = [
    '<meta property="og:image:width" content="1200" />',
    '<meta property="og:image:height" content="630" />',
    '<meta name="twitter:card" content="summary_large_image" />',
]
notfound_urls_prefix = urlsplit(site_url).path or "/"  # 404 is shown for any address, however deep

if repository:  # pages lead to their source
    html_theme_options |= {
        "source_repository": repository,
        "source_branch": os.environ.get("ASRSCOPE_BRANCH", "main"),
        "source_directory": "docs/",
    }

if site_url:
    html_baseurl = site_url
    extensions.append("sphinx_sitemap")
    sitemap_url_scheme = "{link}"
    sitemap_show_lastmod = False
    sitemap_excludes = ["404.html", "genindex.html", "py-modindex.html", "search.html"]

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
import re
import sys
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
author = "asrscope contributors"
copyright = "2026, asrscope contributors"
release = version = version_of("asrscope")

extensions = [
    "accessible",
    "csp",
    "hosting",
    "previews",
    "stale",  # before sphinx-gallery: it decides which scripts run again
    "sphinx_gallery.gen_gallery",
    "notebooks",
    "reproducible",
    "bokeh_gallery",
    "facts",
    "course",
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

source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_enable_extensions = ["amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

facts_module = "facts_asrscope"
facts_files = ["../docs/audit.json"]
json_schema_file = str(ROOT / "src" / "asrscope" / "scope" / "trace.schema.json")

# -- gallery ---------------------------------------------------------------------------------------------

# What figures, numbers and reference depend on, beside the scripts and pages themselves.
stale_sources = ["../src", "bokeh_gallery/src", "extensions", "templates"]
stale_reference = "api"
stale_packages = ["bokeh", "librosa", "numpy", "scipy", "torch", "transformers"]
stale_variables = [
    *(
        f"ASRSCOPE_{part}"
        for part in ("MODEL", "PROJECTOR", "ENCODER", "DECODER", "ADAPTER", "QUANTIZE", "DEVICE")
    ),
    *("ASRSCOPE_REPOSITORY", "ASRSCOPE_SITE_BRANCH"),  # links stand in the generated pages
]

# The package as pip finds it: in the repository, where the site knows it.
requirement = f"asrscope @ git+{repository}" if repository else "asrscope"
binder = {}
if repository:
    match = re.fullmatch(r"https://github\.com/([\w.-]+)/([\w.-]+)", repository)
    if match is None:
        raise ConfigError(
            f"ASRSCOPE_REPOSITORY must be an address like https://github.com/owner/name, but found {repository!r}."
            " Colab and Binder open notebooks from there; leave it empty for pages without these links."
        )
    branch = os.environ.get("ASRSCOPE_SITE_BRANCH", "gh-pages")
    hosting_notebooks = "https://colab.research.google.com/github/{}/{}/blob/{}/notebooks".format(
        *match.groups(), branch
    )
    setups = {
        "requirements.txt": f"--extra-index-url https://download.pytorch.org/whl/cpu\n{requirement}\n",
        "runtime.txt": "python-3.11\n",
    }
    for name, text in setups.items():
        path = ROOT / "build" / "binder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    binder = {
        "binderhub_url": "https://mybinder.org",
        "org": match[1],
        "repo": match[2],
        "branch": branch,
        "dependencies": [f"../build/binder/{name}" for name in setups],
        "use_jupyter_lab": True,
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
    "binder": binder,
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
# Packages that document what their modules hold.
autosummary_context = {
    "whole": ["asrscope", "asrscope.plots", "asrscope.recognition.evaluate", "asrscope_course"]
}
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
previews_file = "pages.toml"
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
ogp_image = "_static/card.png"
ogp_image_alt = "asrscope: see one spoken sentence become text, and the outline of a sound"
ogp_enable_meta_description = False  # ours says more
ogp_custom_meta_tags = [
    '<meta property="og:image:width" content="1200" />',
    '<meta property="og:image:height" content="630" />',
    '<meta name="twitter:card" content="summary_large_image" />',
]
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

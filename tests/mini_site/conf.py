"""A site of three pages, on which the extension ``bokeh_gallery`` is tested by itself."""

import os
import sys
from pathlib import Path

sys.modules["asrscope"] = None  # the extension stands on its own: an import of the package would fail
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "conf" / "extensions")]

project = "mini"
extensions = ["sphinx_gallery.gen_gallery", "bokeh_gallery", "reproducible", "myst_parser"]
html_theme = "furo"
html_title = "mini"
html_favicon = "icon.svg"
exclude_patterns = ["scripts", "README.md", "gallery/*.ipynb", "gallery/*.py"]
sphinx_gallery_conf = {
    "examples_dirs": ["scripts"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"/\d+_",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("bokeh_gallery.scraper.scrape",),
    "reset_modules": ("bokeh_gallery.scraper.reset",),
    "reset_modules_order": "both",
    "capture_repr": ("_repr_html_",),
    "ignore_repr_types": r"bokeh\.",
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "parallel": int(os.environ.get("MINI_SITE_PROCESSES", "0")) or False,
}

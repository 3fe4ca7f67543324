"""A site of three pages, on which the extension is tested."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

project = "mini"
extensions = ["sphinx_gallery.gen_gallery", "bokeh_gallery", "myst_parser"]
html_theme = "furo"
html_title = "mini"
html_favicon = "icon.svg"
html_static_path = ["static"]
exclude_patterns = ["scripts", "README.md", "gallery/*.ipynb", "gallery/*.py"]
bokeh_gallery_page_files = ["seen.js", "seen.css"]
sphinx_gallery_conf = {
    "examples_dirs": ["scripts"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"/\d+_",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("bokeh_gallery",),
    "reset_modules": ("bokeh_gallery.reset",),
    "reset_modules_order": "both",
    "capture_repr": ("_repr_html_",),
    "ignore_repr_types": r"bokeh\.",
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "parallel": int(os.environ.get("MINI_SITE_PROCESSES", "0")) or False,
}

"""Bokeh figures in Sphinx: a scraper for sphinx-gallery and a directive for lectures.

In ``conf.py``::

    extensions = ["sphinx_gallery.gen_gallery", "bokeh_gallery"]
    sphinx_gallery_conf = {
        "image_scrapers": ("bokeh_gallery",),
        "reset_modules": ("bokeh_gallery.reset",),
        "reset_modules_order": "both",
        "ignore_repr_types": r"bokeh\\.",
    }

What a page gets:

- Each figure that a script gives to ``bokeh.io.show`` is embedded as a script file of the site, so that pages
  work from a static server and from ``file://`` alike. BokehJS comes from the installed package; nothing is
  fetched from another host, and only pages with figures load it.
- A figure is drawn when it is scrolled into view, follows the theme's light and dark colors while the reader
  switches, and fills the width it finds.
- A text alternative: ``figure.tags = [{"description": "..."}]``, or a sentence made of the titles and axes.
- ``Range1d`` models of equal ``name`` move together on a page.
- Scripts and style sheets of your own beside the extension's: files in ``html_static_path`` that
  ``bokeh_gallery_page_files`` names. A figure sends the event ``bokeh-figure-drawn`` when it can be used.
- Names of models are renumbered, so that two builds give the same bytes.

In MyST and reStructuredText pages the directive ``bokeh-figure`` runs a callable or a few lines of Python.
What they gave is kept from build to build where ``bokeh_gallery_state`` says what it depends on.
"""

from . import directive, results

__all__ = ["reset", "scrape", "setup"]
__version__ = "0.1.0"


def scrape(block, block_vars, gallery_conf):
    """Write the figures of one block of code and return the rST that embeds them (``image_scrapers``)."""
    from . import scraper

    return scraper.scrape(block, block_vars, gallery_conf)


def reset(gallery_conf, fname, when):
    """Start every script with an empty document and the same random numbers (``reset_modules``)."""
    from . import scraper

    scraper.reset(gallery_conf, fname, when)


def _get_sg_image_scraper():
    """Return the scraper: sphinx-gallery asks a module for it by this name."""
    return scrape


def setup(app):
    """Register the directive, the page assets and the copying of figures."""
    directive.setup(app)
    results.setup(app)
    return {"version": __version__, "parallel_read_safe": True, "parallel_write_safe": True}

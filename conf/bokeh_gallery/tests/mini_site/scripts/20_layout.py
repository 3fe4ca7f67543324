"""
A layout
========

Does a column of figures arrive as one?
"""

import random

from bokeh.io import show
from bokeh.layouts import column
from bokeh.models import Slider
from bokeh.plotting import figure

bars = figure(title="Bars", height=200, sizing_mode="stretch_width")
bars.vbar([1, 2, 3], top=[random.random() for _ in range(3)], width=0.8, color="#2b8a9e")
points = figure(title="Points", height=200, sizing_mode="stretch_width")
points.scatter([1, 2, 3], [3, 1, 2], size=12)
show(
    column(bars, points, Slider(start=0, end=1, value=0, step=0.1, title="size"), sizing_mode="stretch_width")
)

# %%
# The value of this block is a Bokeh model. Its representation does not belong on the page.

points.line([1, 2, 3], [3, 1, 2])

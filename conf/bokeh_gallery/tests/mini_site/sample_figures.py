"""A callable that a page names."""

from bokeh.plotting import figure


def bars():
    fig = figure(title="Bars from a callable", height=200, sizing_mode="stretch_width")
    fig.vbar([1, 2, 3], top=[3, 1, 2], width=0.8)
    return fig

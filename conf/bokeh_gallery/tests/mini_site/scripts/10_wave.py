"""
A wave and its sound
====================

How do a wave, a picture of the same two seconds and their sound move together?
"""

import base64
import io
import wave

import numpy as np
from bokeh.io import show
from bokeh.models import Range1d, Span
from bokeh.plotting import figure

seconds = np.linspace(0, 2, 400)


def over_time(title, **options):
    fig = figure(
        title=title,
        height=260,
        sizing_mode="stretch_width",
        x_range=Range1d(0, 2, name="time"),
        x_axis_label="time (s)",
        **options,
    )
    fig.add_layout(
        Span(location=0, dimension="height", name="playhead", level="overlay", line_color="#d9480f")
    )
    return fig


curve = over_time("A wave", y_axis_label="pressure", tags=[{"description": "Two seconds of a sine."}])
curve.line(seconds, np.sin(12 * seconds))
show(curve)

# %%
# The same time as a picture.

image = over_time("A picture", y_range=(0, 1))
image.image(
    [np.outer(np.arange(8), np.arange(40)).astype(np.uint8)], x=0, y=0, dw=2, dh=1, palette="Viridis256"
)
show(image)

# %%
# And the sound.


class Sound:
    def _repr_html_(self):
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(16_000)
            out.writeframes((3000 * np.sin(np.arange(32_000) / 5)).astype("<i2").tobytes())
        data = base64.b64encode(file.getvalue()).decode()
        return f'<audio controls src="data:audio/wav;base64,{data}"></audio>'


Sound()

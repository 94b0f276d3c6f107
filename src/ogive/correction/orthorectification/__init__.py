"""Orthorectification offsets: what an error of the elevation model does, and what it tells.

Images are orthorectified with an elevation model. Where the surface stands ``ΔZ`` above the model,
the line of sight through it meets the model farther from the satellite, and the surface is drawn
``ΔZ tan θ`` away from it. Two images from one orbit carry the same offset, and it drops out of
their displacement; images from two orbits do not (Altena & Kääb 2017, Remote Sensing 9, 300,
eq. 9)::

    d = v δt + (s_later - s_earlier) ΔZ

with the sensitivity ``s = -tan θ (sin φ, cos φ)`` of each image, φ the azimuth *towards* the
satellite. Over any network of pairs that joins the two, ``v`` and ``ΔZ`` are found together by
least squares (eqs. 11-14): the velocity unbiased, with twice the dates, and the elevation bias as
a measurement of its own. ``ΔZ`` is the surface minus the model: where a glacier has thinned since
the model was made it is negative.

What ΔZ rests on. If velocity were free to change from image to image, any offset could be motion:
nothing but the assumption on the velocity tells them apart. Here it is constant, or constant over
given periods; `ogive.series.elevation` takes it to be smooth. A change of speed that the assumption
forbids passes into ΔZ where the ice flows along the epipolar line (the across-track direction), and
does not where it flows along the track. The angle between the two is given for every pixel, and a
flag where it is small.
"""

from .change import elevation_change
from .datum import Datum, relative_to_stable_ground
from .estimate import elevation_bias
from .flags import GEOMETRY_FLAGS
from .misregistration import Misregistration, fit_misregistration, misregistration_bias
from .offsets import remove_offsets
from .triplets import triplet_elevation_bias
from .views import pair_images, pair_offsets, sensitivity, stack_views
from .window import add_window_error, window_error

__all__ = [
    "GEOMETRY_FLAGS",
    "Datum",
    "Misregistration",
    "add_window_error",
    "elevation_bias",
    "elevation_change",
    "fit_misregistration",
    "misregistration_bias",
    "pair_images",
    "pair_offsets",
    "relative_to_stable_ground",
    "remove_offsets",
    "sensitivity",
    "stack_views",
    "triplet_elevation_bias",
    "window_error",
]

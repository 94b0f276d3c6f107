"""What the variables are called that every estimate of the elevation bias gives."""

from __future__ import annotations

__all__ = ["ELEVATION_BIAS_ATTRIBUTES"]

ELEVATION_BIAS_ATTRIBUTES: dict[str, dict[str, str]] = {
    "elevation_bias": {
        "long_name": "surface minus the elevation model of the orthorectification",
        "units": "m",
    },
    "elevation_bias_error": {"long_name": "standard error of elevation_bias", "units": "m"},
    "elevation_bias_vx_cov": {
        "long_name": "error covariance of elevation_bias and vx",
        "units": "meter2/year",
    },
    "elevation_bias_vy_cov": {
        "long_name": "error covariance of elevation_bias and vy",
        "units": "meter2/year",
    },
    "unit_variance": {"long_name": "mean square of the weighted residuals", "units": "1"},
    "redundancy": {"long_name": "displacements more than unknowns", "units": "1"},
    "pairs_used": {"long_name": "number of pairs used", "units": "1"},
    "pairs_rejected": {"long_name": "number of pairs rejected by the w-test", "units": "1"},
    "baseline": {"long_name": "longest offset of a pair per height", "units": "1"},
    "epipolar_angle": {
        "long_name": "angle between the flow and the epipolar line",
        "units": "degree",
    },
}
"""CF attributes by name: long name and units."""

"""Which part of a displacement is ice flow, and how sure: calibration, outliers, errors."""

"""Velocities on disk: NetCDF, COG, Zarr; readers for the cubes of other producers."""

"""A simulated glacier: its truth at any place and time, and the scenes satellites take of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..model import GridError, InputError, Scene, baseline_days
from .atmosphere import Atmosphere, Clouds, clouds, through_the_air
from .flow import Flow, balance_flow
from .history import StrainRates, ice_history, strain_rates
from .ice import surface_slope
from .noise import Float32Array, FloatArray, fractal_noise
from .resample import displaced, refined, spline_layers
from .rhythm import Rhythm, years_since_epoch
from .satellite import ORBITS, Orbit, Pass, passes
from .scenery import Front, Scenery, View
from .sun import SunPosition, sun_position
from .surface import SurfaceChange
from .terrain import BoolArray, Terrain, Valley, given_terrain, valley_terrain
from .trajectories import Positions

__all__ = ["Displacement", "Ground", "Place", "SimulatedGlacier", "SimulatedScene", "Weather"]

CELL_M = 20.0
FINE_M = 5.0
BORDER_CELLS = 12
FACTOR = round(CELL_M / FINE_M)
STABLE_DISTANCE_M = 60.0
OLD_DEM_YEARS = 6.0
MOST_ITERATIONS = 60
SIGHT_TOLERANCE_M = 1e-3


class Ground(IntEnum):
    """What a pixel of a cloud mask shows."""

    NODATA = 0
    ROCK = 1
    SNOW_OR_ICE = 2
    WATER = 3
    CLOUD = 4
    CLOUD_SHADOW = 5
    DARK = 6


@dataclass(frozen=True, slots=True)
class Place:
    """Where the simulated glacier lies.

    Attributes
    ----------
    latitude_deg, longitude_deg
        For the sun.
    left_m, top_m
        The images' upper left corner in map coordinates.
    """

    latitude_deg: float = 46.4
    longitude_deg: float = 8.0
    left_m: float = 420000.0
    top_m: float = 5144000.0


@dataclass(frozen=True, slots=True)
class Weather:
    """What stands between the ground and the satellite, and how well the scene is placed.

    Attributes
    ----------
    mean_cloud_cover
        Over all scenes; some are clear, some are not.
    gain_spread, haze
        Standard deviation of the transmittance between scenes; slow variation within one.
    misregistration_px
        Least and greatest shift of a whole scene, in pixels of its sensor.
    noise
        Whether the sensors have noise.
    """

    mean_cloud_cover: float = 0.12
    gain_spread: float = 0.03
    haze: float = 0.012
    misregistration_px: tuple[float, float] = (0.1, 0.5)
    noise: bool = True

    @classmethod
    def perfect(cls) -> Weather:
        """No cloud, no haze, no noise, no misregistration."""
        return cls(0.0, 0.0, 0.0, (0.0, 0.0), noise=False)


class Displacement(NamedTuple):
    """How far ice or an image of it has gone, in metres to the east and to the north."""

    dx_m: FloatArray
    dy_m: FloatArray


@dataclass(frozen=True, slots=True)
class SimulatedScene:
    """One scene and all that is known of it.

    Attributes
    ----------
    scene
        What a provider would say of it.
    image
        Digital numbers, ``(y, x)``, uint16.
    x, y
        Pixel centres in metres; ``y`` decreases.
    ground
        `Ground` of each pixel: the cloud mask and more, uint8.
    orbit
        From where it was taken.
    misregistration
        By how much the whole image is shifted, in metres to the east and to the north.
    dark
        True when the sun was below the horizon: there is nothing but noise.
    """

    scene: Scene
    image: NDArray[np.uint16]
    x: FloatArray
    y: FloatArray
    ground: NDArray[np.uint8]
    orbit: Orbit
    misregistration: Displacement
    dark: bool

    @property
    def years(self) -> float:
        """Acquisition time in years since the epoch."""
        return years_since_epoch(self.scene.time)


@dataclass(frozen=True)
class SimulatedGlacier:
    """A landscape with a glacier whose motion is known everywhere and always.

    Build it with `SimulatedGlacier.build` or `SimulatedGlacier.from_terrain`.

    Attributes
    ----------
    terrain, flow
        Surface and mean flow at the reference date, on cells of 20 m that reach a little beyond the
        images.
    rhythm, change, weather, place
        The settings.
    reference
        When the terrain is right.
    dem_m
        The elevation that scenes are orthorectified with, wrong in a known way, ``(y, x)``.
    scenery
        Draws the landscape.
    seed
        The same seed gives the same bytes.
    """

    terrain: Terrain
    flow: Flow
    rhythm: Rhythm
    change: SurfaceChange
    weather: Weather
    place: Place
    reference: datetime
    dem_m: Float32Array
    scenery: Scenery
    seed: int

    @classmethod
    def build(
        cls,
        shape: tuple[int, int] = (600, 600),
        *,
        seed: int = 0,
        reference: datetime = datetime(2020, 1, 1),
        place: Place | None = None,
        valley: Valley | None = None,
        rhythm: Rhythm | None = None,
        change: SurfaceChange | None = None,
        weather: Weather | None = None,
        front: Front | None = None,
        max_speed_m_yr: float = 350.0,
        profile_exponent: float = 4.0,
        thinning_at_terminus_m_yr: float = 1.5,
        dem_error_m: float = 14.0,
    ) -> SimulatedGlacier:
        """Simulate a landscape with a valley glacier.

        Parameters
        ----------
        shape
            ``(y, x)`` of the Sentinel-2 images, in pixels of 10 m.
        seed
            The same seed gives the same bytes.
        reference
            When elevation, outline and the trend's zero are defined.
        place, valley, rhythm, change, weather
            Where it is, its shape, how its flow and its surface change, and what hides them.
        front
            A calving front, if the glacier ends in a lake.
        max_speed_m_yr, profile_exponent, thinning_at_terminus_m_yr
            See `flow.balance_flow`.
        dem_error_m
            Standard deviation of the error of the DEM used for orthorectification, off the ice; on
            it the DEM is also some years old. 0 for the true elevation of the reference date.

        Raises
        ------
        InputError
            If the glacier would be too small for its grid.

        Examples
        --------
        >>> glacier = SimulatedGlacier.build((240, 240), seed=1)
        >>> glacier.flow.speed_m_yr.shape
        (144, 144)
        """
        place = place or Place()
        if min(shape) < 100:
            raise InputError(f"a landscape needs at least 100 x 100 pixels, but shape is {shape}")
        cells = [int(np.ceil(size * 10.0 / CELL_M)) + 2 * BORDER_CELLS for size in shape]
        x = np.asarray(place.left_m + (np.arange(cells[1]) - BORDER_CELLS + 0.5) * CELL_M, float)
        y = np.asarray(place.top_m - (np.arange(cells[0]) - BORDER_CELLS + 0.5) * CELL_M, float)
        return cls.from_terrain(
            valley_terrain(x, y, valley=valley, seed=seed),
            seed=seed,
            reference=reference,
            place=place,
            rhythm=rhythm,
            change=change,
            weather=weather,
            front=front,
            max_speed_m_yr=max_speed_m_yr,
            profile_exponent=profile_exponent,
            thinning_at_terminus_m_yr=thinning_at_terminus_m_yr,
            dem_error_m=dem_error_m,
        )

    @classmethod
    def from_terrain(
        cls,
        terrain: Terrain,
        *,
        seed: int = 0,
        reference: datetime = datetime(2020, 1, 1),
        place: Place | None = None,
        rhythm: Rhythm | None = None,
        change: SurfaceChange | None = None,
        weather: Weather | None = None,
        front: Front | None = None,
        max_speed_m_yr: float = 350.0,
        profile_exponent: float = 4.0,
        thinning_at_terminus_m_yr: float = 1.5,
        dem_error_m: float = 14.0,
    ) -> SimulatedGlacier:
        """Let a glacier flow over a given landscape, for instance a real DEM and outline.

        Parameters
        ----------
        terrain
            On cells of 20 m; images cover all but its outermost 12 cells. Its map coordinates
            replace those of ``place``.
        seed, reference, place, rhythm, change, weather, front
            See `build`.
        max_speed_m_yr, profile_exponent, thinning_at_terminus_m_yr, dem_error_m
            See `build`.

        Raises
        ------
        GridError
            If the cells are not 20 m wide, or the outline does not overlap the DEM.
        InputError
            If the glacier is too small for its grid.
        """
        terrain = given_terrain(terrain.x, terrain.y, terrain.elevation_m, terrain.ice)
        if not np.isclose(terrain.step_m, CELL_M):
            raise GridError(
                f"the simulation works on cells of {CELL_M:.0f} m, but the terrain's are"
                f" {terrain.step_m:g} m wide: resample it"
            )
        place = replace(
            place or Place(),
            left_m=float(terrain.x[0] + (BORDER_CELLS - 0.5) * CELL_M),
            top_m=float(terrain.y[0] - (BORDER_CELLS - 0.5) * CELL_M),
        )
        rhythm = rhythm or Rhythm(trend_origin=reference)
        flow = balance_flow(
            terrain,
            max_speed_m_yr=max_speed_m_yr,
            profile_exponent=profile_exponent,
            thinning_at_terminus_m_yr=thinning_at_terminus_m_yr,
            calving_share=0.5 if front is not None else 0.0,
        )
        rng = np.random.default_rng([seed, 4])
        steepness = surface_slope(terrain, smoothing_m=140.0) * terrain.ice
        history = ice_history(flow, steepness=steepness, rng=rng)
        change = change or SurfaceChange()
        scenery = Scenery(
            terrain,
            flow,
            history,
            rhythm,
            change=change,
            seed=seed,
            factor=FACTOR,
            reference_years=years_since_epoch(reference),
            front=front,
        )
        return cls(
            terrain=terrain,
            flow=flow,
            rhythm=rhythm,
            change=change,
            weather=weather or Weather(),
            place=place,
            reference=reference,
            dem_m=_wrong_dem(terrain, flow, dem_error_m, rng),
            scenery=scenery,
            seed=seed,
        )

    # Truth --------------------------------------------------------------------------------------

    def velocity(self, x: FloatArray, y: FloatArray, date: datetime) -> Displacement:
        """Velocity at a date, in m/yr to the east and to the north."""
        return Displacement(*self.scenery.trajectories.velocity(x, y, years_since_epoch(date)))

    def displacement(
        self, x: FloatArray, y: FloatArray, earlier: datetime, later: datetime
    ) -> Displacement:
        """How far the ice that is at (x, y) at the earlier date has gone by the later one.

        Trajectories are integrated, so that displacements add up along them.

        Raises
        ------
        DateError
            If the dates are equal or in the wrong order.
        """
        baseline_days(earlier, later)
        moved = self._moved(x, y, years_since_epoch(earlier), years_since_epoch(later))
        return Displacement(moved.x - x, moved.y - y)

    def strain_rates(self, date: datetime) -> StrainRates:
        """Strain rates per year on the terrain's grid at a date."""
        weights = np.asarray(self.rhythm.factors(years_since_epoch(date)))
        factor = 1 + np.tensordot(weights, self.flow.mode_weight, axes=1)
        return strain_rates(
            self.flow.vx_m_yr * factor, self.flow.vy_m_yr * factor, step_m=self.flow.step_m
        )

    def elevation(self, date: datetime) -> FloatArray:
        """Height of the surface at a date, on the terrain's grid."""
        change = self.scenery.elevation_change_m(years_since_epoch(date))
        return np.asarray(self.terrain.elevation_m + change)

    def is_ice(self, x: FloatArray, y: FloatArray, date: datetime) -> BoolArray:
        """Whether there is ice at places at a date."""
        level = self.scenery.ice_level_m(years_since_epoch(date))
        return np.asarray(self._at(level, x, y, order=1) > 0)

    def is_stable(self, x: FloatArray, y: FloatArray) -> BoolArray:
        """Whether the ground at places never moves: rock, well away from the ice."""
        away = ndimage.distance_transform_edt(~self.terrain.ice) * self.terrain.step_m
        return np.asarray(self._at(away, x, y, order=1) > STABLE_DISTANCE_M)

    def is_occluded(
        self, x: FloatArray, y: FloatArray, earlier: datetime, later: datetime
    ) -> BoolArray:
        """Whether what is at (x, y) at the earlier date is gone at the later one.

        Ice that has calved or melted away; and ground that the ice has covered.
        """
        gone = self.displacement(x, y, earlier, later)
        was, still = self.is_ice(x, y, earlier), self.is_ice(x + gone.dx_m, y + gone.dy_m, later)
        return np.asarray(was != still)

    def parallax(self, scene: SimulatedScene, x: FloatArray, y: FloatArray) -> Displacement:
        """How far the image of what is at (x, y) lies from where it belongs.

        The line of sight through the true point meets the wrong DEM elsewhere: towards the
        satellite by the tangent of the view zenith times the DEM's excess. So a surface above the
        DEM is displaced away from the satellite.
        """
        rise = self.scenery.elevation_change_m(scene.years)
        height = self._at(self.terrain.elevation_m + rise, x, y)
        tangent, east, north = self._look(scene.orbit, x, y)
        dx, dy = np.zeros_like(height), np.zeros_like(height)
        length = np.zeros_like(height)
        for _ in range(MOST_ITERATIONS):
            before = length
            length = (self._at(self.dem_m, x + dx, y + dy) - height) * tangent
            dx, dy = length * east, length * north
            if np.abs(length - before).max(initial=0.0) < SIGHT_TOLERANCE_M:
                break
        return Displacement(dx, dy)

    def apparent_displacement(
        self, earlier: SimulatedScene, later: SimulatedScene, x: FloatArray, y: FloatArray
    ) -> Displacement:
        """Give what a perfect matcher measures at places of the earlier *image*.

        Motion, the difference of the two parallaxes and of the two misregistrations.

        Raises
        ------
        DateError
            If the scenes are in the wrong order.
        """
        baseline_days(earlier.scene.time, later.scene.time)
        true = self._true_place(earlier, x, y)
        moved = self._moved(true.x, true.y, earlier.years, later.years)
        seen = self.parallax(later, moved.x, moved.y)
        return Displacement(
            moved.x + seen.dx_m + later.misregistration.dx_m - x,
            moved.y + seen.dy_m + later.misregistration.dy_m - y,
        )

    # Scenes -------------------------------------------------------------------------------------

    def passes(
        self, start: datetime, end: datetime, orbits: Sequence[str] = ("sentinel-2-west",)
    ) -> list[Pass]:
        """When satellites pass, by the names of `satellite.ORBITS`.

        Raises
        ------
        DateError
            If the end is not after the start.
        InputError
            If an orbit is unknown.
        """
        unknown = [name for name in orbits if name not in ORBITS]
        if unknown:
            raise InputError(f"no orbit is called {unknown[0]}: there are {', '.join(ORBITS)}")
        chosen = [ORBITS[name] for name in orbits]
        return passes(chosen, start, end, longitude_deg=self.place.longitude_deg)

    def sun(self, date: datetime) -> SunPosition:
        """Where the sun stands over the glacier."""
        return sun_position(
            date,
            latitude_deg=self.place.latitude_deg,
            longitude_deg=self.place.longitude_deg,
        )

    def look(self, opportunity: Pass, *, cloud_cover: float | None = None) -> SimulatedScene:
        """Take a scene.

        Parameters
        ----------
        opportunity
            From `passes`.
        cloud_cover
            Share of the scene under cloud; drawn from the weather if left out.

        Returns
        -------
        SimulatedScene
            With ``dark`` set, and nothing but noise, when the sun is below the horizon.
        """
        orbit, sensor = opportunity.orbit, opportunity.orbit.sensor
        sun = self.sun(opportunity.time)
        years = years_since_epoch(opportunity.time)
        key = round((opportunity.time - datetime(2000, 1, 1)).total_seconds())
        rng = np.random.default_rng([self.seed, 5, key, orbit.number])
        x, y = self._pixels(sensor.pixel_m)
        shape = (y.size, x.size)
        air, cover, misregistration = self._luck(rng, sensor.pixel_m)
        if cloud_cover is not None:
            cover = cloud_cover
        dark = sun.elevation_deg <= 0
        if dark:
            reflectance = np.zeros(shape, np.float32)
            sky = Clouds(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
            ground = np.full(shape, Ground.DARK, np.uint8)
            cover = 0.0
        else:
            view = self.scenery.view(years, sun)
            factor = round(sensor.pixel_m / FINE_M)
            right, down = self._backward(orbit, years, misregistration, factor)
            image = displaced(spline_layers(view.reflectance[np.newaxis]), right, down)[0]
            sky = clouds(shape, cover=cover, sun=sun, pixel_m=sensor.pixel_m, rng=rng)
            start = round(BORDER_CELLS * CELL_M / FINE_M)
            stop_y, stop_x = (start + size * factor for size in shape)
            blurred = sensor.blur_and_decimate(image, factor)
            first = -(-start // factor)
            assert first * factor == start, "the border holds a whole number of pixels"
            inner = np.s_[first : first + shape[0], first : first + shape[1]]
            reflectance = through_the_air(blurred[inner], air, sky, rng=rng)
            ground = _classes(
                view, right, down, sky, np.s_[start:stop_y:factor, start:stop_x:factor]
            )
        quiet = sensor if self.weather.noise else replace(sensor, snr=1e9)
        numbers = quiet.record(reflectance, sun_elevation_deg=sun.elevation_deg, rng=rng)
        return SimulatedScene(
            scene=self._scene(opportunity, sun, sky, dark),
            image=numbers,
            x=x,
            y=y,
            ground=ground,
            orbit=orbit,
            misregistration=misregistration,
            dark=dark,
        )

    # Inner workings -----------------------------------------------------------------------------

    def _moved(self, x: FloatArray, y: FloatArray, start: float, end: float) -> Positions:
        return self.scenery.trajectories.move(x, y, start, end)

    def _at(
        self,
        values: FloatArray | Float32Array,
        x: FloatArray,
        y: FloatArray,
        *,
        order: int = 3,
        prefilter: bool = True,
    ) -> FloatArray:
        """Values of the terrain's grid between its cells; or of its spline's coefficients."""
        columns = (np.asarray(x) - self.terrain.x[0]) / self.terrain.step_m
        rows = (self.terrain.y[0] - np.asarray(y)) / self.terrain.step_m
        return np.asarray(
            ndimage.map_coordinates(
                np.asarray(values, np.float64),
                [rows, columns],
                order=order,
                mode="mirror",
                prefilter=prefilter,
            )
        )

    def _look(self, orbit: Orbit, x: FloatArray, y: FloatArray) -> tuple[FloatArray, float, float]:
        """Tangent of the view zenith and the direction towards the satellite."""
        tangent = orbit.tangent(
            x,
            y,
            centre_x=float((self.terrain.x[0] + self.terrain.x[-1]) / 2),
            centre_y=float((self.terrain.y[0] + self.terrain.y[-1]) / 2),
        )
        azimuth = np.deg2rad(orbit.view_azimuth_deg)
        return tangent, float(np.sin(azimuth)), float(np.cos(azimuth))

    def _true_place(self, scene: SimulatedScene, x: FloatArray, y: FloatArray) -> Positions:
        """Find the place that is shown at (x, y) of a scene."""
        x0, y0 = x - scene.misregistration.dx_m, y - scene.misregistration.dy_m
        rise = self.scenery.elevation_change_m(scene.years)
        return self._sight(scene.orbit, self.terrain.elevation_m + rise, x0, y0)

    def _sight(self, orbit: Orbit, height: FloatArray, x0: FloatArray, y0: FloatArray) -> Positions:
        """Where the line of sight to (x0, y0) on the DEM meets the true surface."""
        shape = np.shape(x0)
        tangent, east, north = self._look(orbit, x0, y0)
        mapped = np.atleast_1d(self._at(self.dem_m, x0, y0)).ravel()
        tangent, x0, y0 = (np.atleast_1d(part).ravel() for part in (tangent, x0, y0))
        surface = ndimage.spline_filter(np.asarray(height, np.float64), order=3, mode="mirror")
        length = np.zeros_like(mapped)
        # Contracts by the slope times the tangent: by a tenth on all but cliffs.
        left = np.arange(mapped.size)
        for _ in range(MOST_ITERATIONS):
            x, y = x0[left] - length[left] * east, y0[left] - length[left] * north
            seen = self._at(surface, x, y, prefilter=False)
            better = (mapped[left] - seen) * tangent[left]
            moving = np.abs(better - length[left]) >= SIGHT_TOLERANCE_M
            length[left] = better
            left = left[moving]
            if left.size == 0:
                break
        x, y = x0 - length * east, y0 - length * north
        return Positions(x.reshape(shape), y.reshape(shape))

    def _backward(
        self, orbit: Orbit, years: float, misregistration: Displacement, factor: int
    ) -> tuple[Float32Array, Float32Array]:
        """From where on the fine ground each fine sample of the image comes, in fine samples.

        With an even factor pixel centres lie between fine samples; the grid is moved onto them.
        """
        grid_x, grid_y = np.meshgrid(self.terrain.x, self.terrain.y)
        shift = ((factor - 1) / 2) * FINE_M
        x0 = grid_x + shift - float(misregistration.dx_m)
        y0 = grid_y - shift - float(misregistration.dy_m)
        rise = self.scenery.elevation_change_m(years)
        places = self._sight(orbit, self.terrain.elevation_m + rise, x0, y0)
        right = refined((places.x - grid_x) / FINE_M, FACTOR)
        down = refined((grid_y - places.y) / FINE_M, FACTOR)
        return right, down

    def _pixels(self, pixel_m: float) -> tuple[FloatArray, FloatArray]:
        """Pixel centres of the images of a sensor."""
        inner = [size - 2 * BORDER_CELLS for size in (self.terrain.y.size, self.terrain.x.size)]
        rows, columns = (int(size * CELL_M // pixel_m) for size in inner)
        x = self.place.left_m + (np.arange(columns) + 0.5) * pixel_m
        y = self.place.top_m - (np.arange(rows) + 0.5) * pixel_m
        return np.asarray(x, np.float64), np.asarray(y, np.float64)

    def _luck(
        self, rng: np.random.Generator, pixel_m: float
    ) -> tuple[Atmosphere, float, Displacement]:
        """Draw a scene's air, clouds and misregistration."""
        weather = self.weather
        gain = 1 + weather.gain_spread * float(np.clip(rng.standard_normal(), -3, 3))
        path = 0.012 * float(rng.uniform(0.5, 1.5))
        cover = 0.0
        if rng.uniform() < 0.55 and weather.mean_cloud_cover > 0:
            cover = float(min(rng.exponential(weather.mean_cloud_cover / 0.55), 1.0))
        low, high = weather.misregistration_px
        length, direction = rng.uniform(low, high) * pixel_m, rng.uniform(0, 2 * np.pi)
        shift = Displacement(
            np.asarray(length * np.cos(direction)), np.asarray(length * np.sin(direction))
        )
        return Atmosphere(gain, path, weather.haze, cover), cover, shift

    def _scene(self, opportunity: Pass, sun: SunPosition, sky: Clouds, dark: bool) -> Scene:
        """Describe the scene as a provider would."""
        orbit = opportunity.orbit
        sentinel = orbit.sensor.mission == "sentinel-2"
        return Scene(
            id=f"{orbit.sensor.mission}-{opportunity.satellite}-{opportunity.time:%Y%m%dT%H%M%S}",
            time=opportunity.time,
            mission=orbit.sensor.mission,
            satellite=opportunity.satellite,
            sensor=orbit.sensor.code,
            relative_orbit=orbit.number if sentinel else None,
            path=None if sentinel else orbit.number,
            row=None if sentinel else orbit.row,
            sun_azimuth_deg=sun.azimuth_deg,
            sun_elevation_deg=sun.elevation_deg,
            view_zenith_deg=orbit.view_zenith_deg,
            view_azimuth_deg=orbit.view_azimuth_deg,
            cloud_cover_percent=100 * float(np.mean(sky.opacity > 0.5)),
            properties={"dark": dark},
        )


def _classes(
    view: View, right: Float32Array, down: Float32Array, sky: Clouds, pixels: tuple[slice, slice]
) -> NDArray[np.uint8]:
    """Nearest class of what each pixel shows."""
    rows, columns = (np.arange(part.start, part.stop, part.step) for part in pixels)
    row = np.rint(rows[:, np.newaxis] + down[pixels]).astype(int)
    column = np.rint(columns + right[pixels]).astype(int)
    row = np.clip(row, 0, view.ice.shape[0] - 1)
    column = np.clip(column, 0, view.ice.shape[1] - 1)
    ground = np.full(row.shape, Ground.ROCK, np.uint8)
    white = np.maximum(view.ice[row, column], view.snow[row, column]) > 0.5
    ground[white] = Ground.SNOW_OR_ICE
    ground[view.water[row, column] > 0.5] = Ground.WATER
    ground[view.lit[row, column] < 0.5] = Ground.DARK
    ground[sky.shadow > 0.4] = Ground.CLOUD_SHADOW
    ground[sky.opacity > 0.15] = Ground.CLOUD
    return ground


def _wrong_dem(
    terrain: Terrain, flow: Flow, error_m: float, rng: np.random.Generator
) -> Float32Array:
    """Make the DEM that the orthorectification believes: some years old, with smooth errors."""
    if error_m == 0:
        return terrain.elevation_m.copy()
    shape = (terrain.y.size, terrain.x.size)
    step = terrain.step_m
    error = fractal_noise(shape, slope=3.2, longest=1600 / step, shortest=220 / step, rng=rng)
    older = -OLD_DEM_YEARS * flow.thinning_m_yr
    older = ndimage.gaussian_filter(older, 60 / step)
    return np.asarray(terrain.elevation_m + error_m * error + older, np.float32)

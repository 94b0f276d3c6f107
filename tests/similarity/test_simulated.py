"""Simulated samples: their labels are true, they repeat, and their ranges are obeyed."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="learning needs PyTorch: pip install ogive[learning]")

from scipy import ndimage  # noqa: E402

from ogive.model import InputError  # noqa: E402
from ogive.similarity.embedding import CONDITION_LENGTH  # noqa: E402
from ogive.similarity.samples.reuse import Reused, mirrored  # noqa: E402
from ogive.similarity.samples.simulated import (  # noqa: E402
    Ranges,
    SimulatedSamples,
    read_ranges,
    read_textures,
    texture_of,
)
from ogive.similarity.samples.simulated.fields import cloud_bank  # noqa: E402
from ogive.similarity.samples.simulated.motion import draw_motion  # noqa: E402
from ogive.similarity.samples.simulated.terminus import draw_terminus  # noqa: E402

SIZE = 96
QUIET = {
    "texture": {"replaced_share": 0.0, "icefall_share": 0.0},
    "relief": {"crevasse_share": 0.0, "self_shading_share": 0.0, "shadow_share": 0.0},
    "surface": {"snow_share": 0.0, "gamma": [1.0, 1.0]},
    "atmosphere": {"cloud_share": 0.0, "veil_share": 0.0, "cloud_shadow_share": 0.0},
    "sensor": {
        "blur_share": 0.0, "signal_to_noise": [400.0, 400.0], "stripe_share": 0.0,
        "correlated_noise_share": 0.0, "eight_bit_share": 0.0,
    },
    "motion": {"terminus_share": 0.0},
}  # fmt: skip


def changed(*changes) -> Ranges:
    values = read_ranges().model_dump()
    for change in changes:
        for part, entries in change.items():
            values[part].update(entries)
    return Ranges.model_validate(values)


@pytest.fixture(scope="module")
def texture():
    rng = np.random.default_rng(4)
    rough = ndimage.gaussian_filter(rng.normal(size=(400, 400)), 1.2).astype(np.float32)
    return texture_of(rough, np.isfinite(rough), place="nowhere")


def samples_of(texture, *changes, seed=0) -> SimulatedSamples:
    return SimulatedSamples([texture], changed(*changes), size_px=SIZE, seed=seed)


def test_labels_are_true(texture):
    """The later image, taken at the labelled places, is the earlier one but for the resampling."""
    samples = samples_of(
        texture,
        QUIET,
        {"motion": {"margin_share": 0.0, "stable_share": 0.0}},
        # Finer than the sensor's pixels: nothing is aliased.
        {
            "texture": {"scale": [0.7, 0.7]},
            "sensor": {"psf_px": [0.8, 0.8], "texture_contrast": [0.4, 0.4]},
        },
    )
    for index in range(6):
        sample = samples.sample(index)
        dx, dy = sample["displacement"].numpy().astype(float)
        y, x = np.mgrid[:SIZE, :SIZE]
        inside = (x + dx > 4) & (x + dx < SIZE - 5) & (y + dy > 4) & (y + dy < SIZE - 5)
        later = sample["later"][0].numpy().astype(float)

        def at(shift_x, shift_y, later=later, x=x, y=y, dx=dx, dy=dy):
            return ndimage.map_coordinates(later, [y + dy + shift_y, x + dx + shift_x], order=5)

        earlier = sample["earlier"][0].numpy().astype(float)

        def alike(image, earlier=earlier, inside=inside):
            # Brightness differs between the dates, smoothly: compare what is fine.
            high = [part - ndimage.uniform_filter(part, 15) for part in (earlier, image)]
            return np.corrcoef(high[0][inside], high[1][inside])[0, 1]

        scores = {(sx, sy): alike(at(sx, sy)) for sx in (-0.5, 0.0, 0.5) for sy in (-0.5, 0.0, 0.5)}
        assert max(scores, key=scores.get) == (0.0, 0.0)
        # Noise of 0.7/sqrt(400) of the texture in both images, and the spline at Nyquist.
        assert scores[0.0, 0.0] > 0.97


def test_neither_image_is_softer_than_the_other(texture):
    """Both are moved by half: no fingerprint of the resampler tells them apart."""
    samples = samples_of(texture, QUIET, {"motion": {"margin_share": 0.0}})
    ratios = []
    for index in range(24):
        sample = samples.sample(index)
        fine = [
            (sample[name][0] - torch.nn.functional.avg_pool2d(sample[name], 3, 1, 1)[0])[8:-8, 8:-8]
            for name in ("earlier", "later")
        ]
        wide = [sample[name].std() for name in ("earlier", "later")]
        ratios.append(float((fine[0].std() / wide[0] / (fine[1].std() / wide[1])).log()))
    # Of 24 pairs whose point spreads differ by up to a tenth each way.
    assert abs(np.mean(ratios)) < 3 * np.std(ratios) / np.sqrt(len(ratios)) + 0.01


def test_the_same_number_is_the_same_sample(texture):
    first, second = samples_of(texture).sample(7), samples_of(texture).sample(7)
    other = samples_of(texture, seed=1).sample(7)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["earlier"], other["earlier"])


def test_samples_are_whole(texture):
    samples = samples_of(texture)
    for index in range(12):
        sample = samples.sample(index)
        for name, value in sample.items():
            assert torch.isfinite(value.float()).all(), name
        assert sample["earlier"].shape == (1, SIZE, SIZE)
        assert sample["displacement"].shape == (2, SIZE, SIZE)
        assert sample["condition_later"].shape == (CONDITION_LENGTH,)
        assert sample["matchable"].dtype == torch.bool
        assert sample["earlier"].std() > 0


def test_stable_samples_do_not_move(texture):
    sample = samples_of(texture, {"motion": {"stable_share": 1.0}}).sample(3)
    assert sample["stable"].all()
    assert not sample["displacement"].any()


def test_motion_consistent_from_both_images():
    """What one image shows at g is in the other at g + d(g), as half-way places tell."""
    rng = np.random.default_rng(5)
    ranges = changed({"motion": {"margin_share": 1.0, "stable_share": 0.0}}).motion
    for _ in range(5):
        motion = draw_motion(rng, ranges, 2 * SIZE)
        there = motion.grid + motion.displacement
        later = ndimage.map_coordinates
        middle = (2 * SIZE - 1) / 2
        y, x = (there + middle).flip(0).numpy()
        inside = (x > 0) & (x < 2 * middle) & (y > 0) & (y < 2 * middle)
        for axis in range(2):
            back = later(motion.later[axis].numpy(), [y, x], order=1)
            # Linear interpolation between nodes 3 scene pixels apart, in margins as narrow as 6:
            # h^2 / 8 of the second derivative 0.77 * 8 / 36.
            assert np.abs(back - motion.earlier[axis].numpy())[inside].max() < 0.2


def test_crevasses_open_across_the_extension():
    rng = np.random.default_rng(0)
    motion = draw_motion(rng, changed({"motion": {"stable_share": 0.0}}).motion, 64)
    direction = np.deg2rad(motion.extension_deg)
    along = np.array([np.cos(direction), np.sin(direction)])
    strain = (motion.gradient + motion.gradient.T) / 2
    assert along @ strain @ along == pytest.approx(np.linalg.eigvalsh(strain)[-1])


def test_calved_ice_cannot_be_matched():
    rng = np.random.default_rng(2)
    ranges = changed({"motion": {"terminus_retreat_px": [10, 10], "stable_share": 1.0}}).motion
    motion = draw_motion(rng, ranges, 2 * SIZE)
    front = draw_terminus(rng, motion, ranges, cloud_bank(0))
    calved = front.ice_earlier & ~front.survives
    assert calved.any()
    assert not (front.survives & ~front.ice_later).any()


def test_longer_times_replace_more(texture):
    def lost(days):
        samples = samples_of(
            texture, QUIET, {"time": {"days": [days, days]}, "texture": {"replaced_share": 1.0}}
        )
        pairs = [samples.sample(index) for index in range(8)]
        return np.mean(
            [
                1 - np.corrcoef(pair["earlier"].flatten(), pair["later"].flatten())[0, 1]
                for pair in pairs
            ]
        )

    assert lost(400.0) > lost(5.0)


def test_textures_of_files(tmp_path):
    import rasterio

    rng = np.random.default_rng(0)
    for name in ("a_2017_tile.tif", "b_2018_tile.tif"):
        with rasterio.open(
            tmp_path / name, "w", driver="GTiff", width=140, height=150, count=2, dtype="uint16",
            crs="EPSG:32632", transform=rasterio.Affine(10, 0, 0, 0, -10, 0),
        ) as file:  # fmt: skip
            file.write(rng.integers(1, 1000, (2, 150, 140)).astype("uint16"))
    found = read_textures(tmp_path / "*.tif", bands=(1, 2), weight=2.0)
    assert [(texture.place, texture.date) for texture in found] == [
        ("a", "2017"), ("a", "2017"), ("b", "2018"), ("b", "2018"),
    ]  # fmt: skip
    assert sum(texture.weight for texture in found) == pytest.approx(2.0)
    assert float(found[0].pixels.std()) == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(InputError, match="no band 3"):
        read_textures(tmp_path / "*.tif", bands=(3,))
    (tmp_path / "c_bad.tif").write_text("no image")
    with pytest.raises(InputError, match=r"c_bad\.tif cannot be read"):
        read_textures(tmp_path / "c*.tif")


def test_bad_ranges(tmp_path):
    path = tmp_path / "ranges.yaml"
    for text, sentence in (
        ("motion: {margin_share: 2}", "margin_share"),
        ("time: {days: [9, 3]}", "ends before it begins"),
        ("time: {days: [0, 3]}", "above zero"),
        ("moton: {margin_share: 0.1}", "no part 'moton'"),
        ("motion: {margins: 0.1}", "margins"),
        ("[1, 2]", "holds no ranges"),
        ("motion: {", "cannot be read as YAML"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            read_ranges(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_ranges(tmp_path / "none.yaml")
    path.write_text("time: {days: [16, 16]}")
    assert read_ranges(path).time.days == (16.0, 16.0)


def test_bad_sources(texture):
    with pytest.raises(InputError, match="no texture"):
        SimulatedSamples([], read_ranges())
    with pytest.raises(InputError, match="samples of 20 px"):
        SimulatedSamples([texture], read_ranges(), size_px=20)
    flat = np.ones((200, 200), np.float32)
    assert texture_of(flat, flat > 0, place="flat") is None


def test_mirrors_take_displacements_and_the_sun_along(texture):
    sample = samples_of(texture, QUIET).sample(1)
    twice = mirrored(mirrored(sample, left_right=1, transposed=1), transposed=1, left_right=0)
    assert torch.equal(twice["earlier"], sample["earlier"].flip(-1))
    assert torch.equal(twice["displacement"][0], -sample["displacement"][0].flip(-1))
    assert torch.equal(twice["displacement"][1], sample["displacement"][1].flip(-1))
    vector, mirror = sample["condition_later"], twice["condition_later"]
    assert mirror[2] == -vector[2]
    assert mirror[3] == vector[3]
    turned = mirrored(sample, transposed=1)
    # The sun in the north (cosine 1) is in the west after rows and columns are exchanged.
    assert turned["condition_later"][2].item() == pytest.approx(-vector[3].item())


def test_reused_samples_repeat(texture):
    one, other = (Reused(samples_of(texture).sample, times=3, kept=2) for _ in range(2))
    whole = [one.sample(index) for index in range(9)]
    resumed = other.sample(5)
    assert all(torch.equal(whole[5][name], resumed[name]) for name in resumed)
    shown = [sample["earlier"].flatten().sort().values for sample in whole]
    assert torch.equal(shown[0], shown[2])
    assert torch.equal(shown[0], shown[4])
    assert not torch.equal(shown[0], shown[6])
    with pytest.raises(InputError, match="at least 1"):
        Reused(samples_of(texture).sample, times=0)

"""Learned features: tiles and blocks equal the whole; weights, bands, names, and bad input."""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import rioxarray  # noqa: E402, F401  (gives images their .rio accessor)
import xarray as xr  # noqa: E402
import yaml  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

import ogive  # noqa: E402  (PyTorch may not be installed)
from ogive.cli import app  # noqa: E402
from ogive.learning.card import ModelCard  # noqa: E402
from ogive.learning.weights import save_weights  # noqa: E402
from ogive.matching import blocks, features, stacks  # noqa: E402
from ogive.matching.confidence import Calibration, adaptive_calibration  # noqa: E402
from ogive.matching.features import FeaturePair, LocalFeature, feature_names  # noqa: E402
from ogive.matching.stacks import LocalStack, feature_stack, rows_of  # noqa: E402
from ogive.model import Flag, InputError  # noqa: E402
from ogive.similarity.embedding import Condition  # noqa: E402
from ogive.similarity.features import LearnedFeature, confidence_path, learned  # noqa: E402
from ogive.similarity.networks import build_network  # noqa: E402
from ogive.simulation.pair import simple_pair  # noqa: E402

# Convolutions of other shapes add some hundred products up in another order: a few 1e-6 of vectors
# of length one.
ROUNDING = 2e-5


class Tiny(torch.nn.Module):
    """Two convolutions of the contract: sees 4 pixels far, odd sizes as they are."""

    multiple_px = 1
    halo_px = 4
    conditions = ()

    def __init__(self, bands: int = 1, channels: int = 4) -> None:
        super().__init__()
        self.bands, self.channels = bands, channels
        self.first = torch.nn.Conv2d(bands + 1, 6, 5, padding=2)
        with torch.no_grad():
            # Blind to brightness, as networks are that normalise what they see.
            self.first.weight -= self.first.weight.mean((2, 3), keepdim=True)
        self.second = torch.nn.Conv2d(6, channels, 5, padding=2)

    def forward(self, image, valid, condition=None):
        stack = torch.cat([torch.where(valid, image, 0.0) / 100.0, valid.float()], 1)
        found = self.second(torch.tanh(self.first(stack)))
        return torch.nn.functional.normalize(found, dim=1)


def untrained(name, **options):
    torch.manual_seed(3)
    network = Tiny(**options) if name == "tiny" else build_network(name, **options)
    return LearnedFeature(network=network.eval(), name=name)


NETWORKS = {
    "tiny": {},
    "unet": {"width": 2, "norm": "group", "channels": 4, "box_px": 5},
    "small": {"width": 4, "channels": 4},
}


@pytest.fixture(scope="module")
def pair():
    return simple_pair((300, 340), seed=6, max_displacement_px=6, decorrelated_fraction=0.05)


@pytest.fixture(scope="module")
def mask(pair):
    usable = np.ones(pair.earlier.shape, bool)
    usable[:, :20] = False
    usable[100:150, 150:200] = False
    usable[::50, ::7] = False
    return usable


@pytest.fixture(scope="module", params=NETWORKS)
def feature(request):
    return untrained(request.param, **NETWORKS[request.param])


def with_tiles(feature, tile_px):
    return LearnedFeature(network=feature.network, name=feature.name, tile_px=tile_px)


def test_a_learned_feature_is_local(feature):
    assert isinstance(feature, LocalFeature)
    assert not isinstance(features.sobel, LocalFeature)


@pytest.mark.parametrize(("tile_px", "masked"), [(17, True), (64, False), (100, True)])
def test_tiles_give_the_whole(feature, pair, mask, tile_px, masked):
    image = pair.earlier[:291, :337]
    valid = mask[:291, :337] if masked else None
    if feature.name != "tiny":
        # Tiles of less than what they overlap by only take longer.
        tile_px += 40
    whole = with_tiles(feature, 10_000)(image, valid)
    tiles = with_tiles(feature, tile_px)(image, valid)
    assert whole.shape == (feature.channels, *image.shape)
    assert np.ptp(whole) > 0.1
    np.testing.assert_allclose(tiles, whole, atol=ROUNDING)
    if masked:
        assert not whole[:, ~valid].any()


@cache
def made_whole(name):
    image = simple_pair((430, 310), seed=6).earlier
    feature = untrained(name, **NETWORKS[name])
    return feature, image, feature(image)


@given(
    st.sampled_from(["tiny", "tiny", "unet"]),
    *(st.integers(0, most) for most in (420, 300)),
    *(st.integers(1, 60) for _ in range(2)),
)
@settings(max_examples=15)
def test_pieces_are_cut_from_the_whole(name, y, x, rows, columns):
    feature, image, whole = made_whole(name)
    piece = LocalStack(feature, image, None)[:, y : y + rows, x : x + columns]
    np.testing.assert_allclose(piece, whole[:, y : y + rows, x : x + columns], atol=ROUNDING)


def test_what_lies_under_the_mask_does_not_matter(feature, pair, mask):
    garbage = np.where(mask, pair.earlier, np.float32(np.nan))
    other = np.where(mask, pair.earlier, np.float32(-5e4))
    np.testing.assert_array_equal(feature(garbage, mask), feature(other, mask))


def test_wholly_masked_tiles_are_told(pair, caplog):
    feature = with_tiles(untrained("tiny"), 50)
    usable = np.zeros(pair.earlier.shape, bool)
    usable[200:, 240:] = True
    with caplog.at_level(logging.INFO, logger="ogive.similarity.features"):
        found = feature(pair.earlier, usable)
    assert "wholly masked" in caplog.text
    assert not found[:, :180].any()
    assert found[:, 220:, 260:].any()


def test_threads_of_pytorch_are_given_back(pair):
    before = torch.get_num_threads()
    untrained("tiny")(pair.earlier[:60, :60], None, threads=before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("kept", ["whole", "half precision", "nothing"])
@pytest.mark.parametrize("masked", [False, True])
def test_matching_by_blocks_gives_the_whole(pair, mask, kept, masked, monkeypatch):
    feature = untrained("tiny")
    usable = mask if masked else None
    options = {"window": 16, "step": 8, "search": 10, "mask": usable, "threads": 1}
    whole = ogive.match(pair.earlier, pair.later, features=feature, **options)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2**21)
    monkeypatch.setattr(stacks, "FILL_ROWS", 100)
    if kept != "whole":
        monkeypatch.setattr(stacks, "WHOLE_BYTES", 2**10)
    if kept == "nothing":
        monkeypatch.setattr(stacks, "HALF_BYTES", 2**10)
    stack = feature_stack(feature, pair.earlier, usable)
    expected = {"whole": np.ndarray, "half precision": np.ndarray, "nothing": LocalStack}
    assert isinstance(stack, expected[kept])
    assert rows_of(stack, 10, 20).dtype == np.float32
    by_blocks = ogive.match(pair.earlier, pair.later, features=feature, **options)
    if kept == "whole":
        for name in whole.data_vars:
            np.testing.assert_array_equal(by_blocks[name], whole[name], err_msg=name)
        return
    # Rounding, in half precision 2e-4 of a unit vector, may decide what is doubtful anyhow.
    assert float((by_blocks.flag != whole.flag).mean()) < 0.003
    both = (by_blocks.flag == Flag.MEASURED) & (whole.flag == Flag.MEASURED)
    assert float(both.mean()) > 0.5
    for name in ("dx", "dy"):
        apart = np.abs(by_blocks[name] - whole[name]).where(both)
        # Gauss-Newton stops within 0.003 px of where it leads, wherever it comes from.
        assert float(apart.quantile(0.99)) < 0.01
    np.testing.assert_allclose(
        by_blocks.correlation.where(both), whole.correlation.where(both), atol=2e-3
    )


def truth_at(made, found):
    y, x = (np.rint(found[axis].values).astype(int) for axis in ("y", "x"))
    return made.dx_px[np.ix_(y, x)], made.dy_px[np.ix_(y, x)]


def assert_finds(made, found):
    """Known motion is found: most points, within a third of a pixel."""
    dx, dy = truth_at(made, found)
    error = np.hypot(found.dx - dx, found.dy - dy)
    assert float((found.flag == Flag.MEASURED).mean()) > 0.7
    assert float(error.median()) < 0.33


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An untrained network of one band, in a file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    # Untrained, it matches like any random filter only without normalisation between layers.
    network = build_network("small", width=4, channels=4, norm="none")
    card = ModelCard(name="tiny", architecture="small", parameters=1)
    sha256 = save_weights(
        path, network.state_dict(), architecture="small", options=network.options, card=card
    )
    return path, sha256


def test_weights_give_features(pair, weights):
    path, sha256 = weights
    feature = learned(path, sha256=sha256, device="cpu")
    assert feature.name == f"learned: tiny, sha256 {sha256[:12]}"
    assert feature.device == "cpu"
    found = ogive.match(pair.earlier, pair.later, window=16, step=8, search=10, features=feature)
    assert found.attrs["features"] == feature.name
    assert_finds(pair, found)
    again = learned(f"{path}#sha256={sha256}", device="cpu")
    np.testing.assert_array_equal(again(pair.earlier), feature(pair.earlier))


def test_a_name_is_found_among_installed_packages(pair, weights, monkeypatch):
    path, _ = weights
    made = []

    def make(*, device):
        made.append(device)
        return learned(path, device="cpu")

    point = EntryPoint("ours", "somewhere:make", features.ENTRY_POINTS)
    monkeypatch.setattr(EntryPoint, "load", lambda self: make)
    monkeypatch.setattr(features, "entry_points", lambda group: EntryPoints([point]))
    assert feature_names()[-1] == "ours"
    found = ogive.match(
        pair.earlier, pair.later, window=16, step=16, search=10, features="ours", device="cpu"
    )
    assert made == ["cpu"]
    assert found.attrs["features"].startswith("learned: tiny, sha256 ")
    with pytest.raises(InputError, match=r"take one of adaptive, intensity.*ours, or a f"):
        ogive.match(pair.earlier, pair.later, window=16, features="theirs")


def test_ogive_itself_installs_learned_features():
    assert "learned" in feature_names()


def test_what_is_not_installed_is_said(pair, monkeypatch):
    point = EntryPoint("ours", "a_package_that_is_not_there:make", features.ENTRY_POINTS)
    monkeypatch.setattr(features, "entry_points", lambda group: EntryPoints([point]))
    with pytest.raises(InputError, match=r"that_is_not_there.*pip install 'ogive\[learning\]'"):
        ogive.match(pair.earlier, pair.later, window=16, features="ours")


def test_bands_go_to_the_feature(pair):
    """The same texture in three bands of other gain and offset."""
    feature = untrained("tiny", bands=3)
    stacked = [
        np.stack([image, 0.5 * image + 100, 2000 - 0.2 * image]).astype(np.float32)
        for image in (pair.earlier, pair.later)
    ]
    found = ogive.match(*stacked, window=16, step=8, search=10, features=feature)
    assert_finds(pair, found)
    refined = ogive.match(
        *stacked, window=16, step=8, search=10, features=feature, subpixel_features="adaptive"
    )
    assert_finds(pair, refined)
    sobel = ogive.match(*stacked, window=16, step=8, search=10, features="sobel")
    assert sobel.attrs["features"].startswith("sobel")
    assert_finds(pair, sobel)
    # One mask for all bands: a pixel that one band lacks is none.
    stacked[0][1, 40:60, 40:60] = np.nan
    gaps = ogive.match(*stacked, window=16, step=8, search=10, features=feature)
    assert np.isnan(gaps.dx.sel(x=slice(45, 55), y=slice(45, 55))).all()


SMALL = ("--window", "16", "--search", "8", "--threads", "1", "--quiet")


def test_the_command_takes_weights(pair, weights, tmp_path):
    path, sha256 = weights
    images = []
    for date, image in (("20200701", pair.earlier), ("20200711", pair.later)):
        grid = {axis: np.arange(size) for axis, size in zip("yx", image.shape, strict=True)}
        scene = xr.DataArray(np.rint(image).astype(np.uint16), grid, dims=("y", "x"))
        scene = scene.assign_coords(y=5e6 - 10.0 * scene.y, x=4e5 + 10.0 * scene.x)
        images.append(str(tmp_path / f"scene_{date}.tif"))
        scene.rio.write_crs("EPSG:32633").rio.to_raster(images[-1])

    def run(*words, out="product"):
        asked = ["velocity", *images, "-o", str(tmp_path / out), *SMALL, *words]
        return CliRunner().invoke(app, asked, catch_exceptions=False)

    answer = run("--features", "learned", "--weights", f"{path}#sha256={sha256}", "--device", "cpu")
    assert answer.exit_code == 0, answer.stderr
    told = yaml.safe_load((tmp_path / "product" / "run.yaml").read_text("utf-8"))
    assert told["found"]["features"] == f"learned: tiny, sha256 {sha256[:12]}"
    assert told["options"]["weights"] == f"{path}#sha256={sha256}"
    for words, says in (
        (("--weights", str(path)), "take the features 'learned'"),
        (("--features", "learned", "--weights", str(tmp_path / "no.safetensors")), "not exist"),
        (("--features", "learned", "--weights", str(path), "--device", "abacus"), "no device"),
    ):
        refused = run(*words, out="refused")
        assert refused.exit_code == 2
        assert says in refused.stderr
        assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("features_of", ["tiny", "adaptive"])
def test_subpixel_on_other_features(pair, features_of):
    found = ogive.match(
        pair.earlier, pair.later, window=16, step=8, search=10, features=untrained("tiny"),
        subpixel_features="adaptive" if features_of == "adaptive" else untrained("tiny"),
    )  # fmt: skip
    assert found.attrs["subpixel_features"] == features_of
    assert_finds(pair, found)
    measured = found.flag == Flag.MEASURED
    assert np.isfinite(found.subpixel_correlation.where(measured, 0)).all()
    if features_of == "tiny":
        same = ogive.match(
            pair.earlier, pair.later, window=16, step=8, search=10, features=untrained("tiny")
        )
        # The two roads start Gauss-Newton from the same fit, and end within its tolerance.
        np.testing.assert_array_equal(same.flag, found.flag)
        np.testing.assert_allclose(same.dx, found.dx, atol=0.01)
    with pytest.raises(InputError, match="leave subpixel_features out"):
        ogive.match(
            pair.earlier, pair.later, window=16, subpixel="parabola", subpixel_features="adaptive"
        )


def test_each_image_may_be_told_its_own_sun(pair):
    torch.manual_seed(1)
    network = build_network("small", width=4, channels=4, conditions=("sun_azimuth_deg",))
    for parameter in network.film.maps.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    feature = LearnedFeature(network=network.eval())
    plain = feature(pair.earlier)
    east, west = (
        feature.with_condition(Condition(sun_azimuth_deg=azimuth)) for azimuth in (90.0, 270.0)
    )
    assert np.abs(east(pair.earlier) - plain).max() > 1e-3
    assert np.abs(east(pair.earlier) - west(pair.earlier)).max() > 1e-3
    unknown = feature.with_condition(Condition())
    np.testing.assert_array_equal(unknown(pair.earlier), plain)
    options = {"window": 16, "step": 16, "search": 10, "threads": 1}
    same = ogive.match(pair.earlier, pair.later, features=FeaturePair(east, east), **options)
    one = ogive.match(pair.earlier, pair.later, features=east, **options)
    np.testing.assert_array_equal(same.dx, one.dx)
    two = ogive.match(pair.earlier, pair.later, features=FeaturePair(east, west), **options)
    assert not np.array_equal(two.correlation, one.correlation)
    with pytest.raises(InputError, match="cannot be compared"):
        ogive.match(
            pair.earlier, pair.later, features=FeaturePair(east, untrained("tiny", channels=3)),
            **options,
        )  # fmt: skip


def test_an_image_smaller_than_what_the_network_sees_is_told(pair, caplog):
    feature = untrained("unet", **NETWORKS["unet"])
    found = feature(pair.earlier[:120, :130])
    assert found.shape == (4, 120, 130)
    assert "smaller than the" in caplog.text


def broken(**promises):
    network = Tiny()
    for name, value in promises.items():
        setattr(network, name, value)
    return LearnedFeature(network=network.eval(), name="broken")


def with_nan_weights():
    network = Tiny()
    with torch.no_grad():
        network.first.weight.fill_(torch.nan)
    return LearnedFeature(network=network.eval(), name="damaged")


@pytest.mark.parametrize(
    ("make", "image", "says"),
    [
        (lambda: untrained("tiny", bands=3), (60, 60), "takes images of 3 bands, not of 1"),
        (lambda: untrained("tiny"), (2, 60, 60), "takes images of 1 band, not of 2"),
        (lambda: untrained("tiny"), (60,), "not of 1-dimensional"),
        (lambda: untrained("unet", **NETWORKS["unet"]), (10, 60), "too small"),
        (lambda: broken(channels=9), (60, 60), "is what it promises"),
        (with_nan_weights, (60, 60), "not finite"),
        (lambda: with_tiles(untrained("tiny"), 0), (60, 60), "at least 1"),
    ],
)
def test_bad_input(make, image, says):
    with pytest.raises(InputError, match=says):
        make()(np.random.default_rng(0).random(image, np.float32))


def test_weights_that_do_not_fit_are_refused(weights, tmp_path):
    path, _ = weights
    with pytest.raises(InputError, match="does not exist"):
        learned(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="SHA-256"):
        learned(path, sha256="0" * 64)
    with pytest.raises(InputError, match="device"):
        learned(path, device="abacus")
    # Untrained, it matches like any random filter only without normalisation between layers.
    network = build_network("small", width=4, channels=4, norm="none")
    card = ModelCard(name="other", architecture="x", parameters=1)

    def saved(name, **changes):
        given = {"architecture": "small", "options": network.options, **changes}
        save_weights(tmp_path / name, network.state_dict(), card=card, **given)
        return tmp_path / name

    with pytest.raises(InputError, match="gives no features"):
        learned(saved("a.safetensors", architecture="decision"))
    with pytest.raises(InputError, match="does not fit"):
        learned(saved("b.safetensors", options={**network.options, "width": 8}))
    with pytest.raises(InputError, match="takes no option"):
        learned(saved("c.safetensors", options={**network.options, "colour": "red"}))
    with pytest.raises(InputError, match="does not fit"):
        learned(saved("d.safetensors", architecture="unet", options={"width": 4}))


def test_pieces_are_connected_and_hold_all_channels():
    stack = LocalStack(untrained("tiny"), np.zeros((60, 60), np.float32), None)
    assert stack.shape == (4, 60, 60)
    with pytest.raises(InputError, match="not by channels"):
        stack[0:1, 0:10, 0:10]
    with pytest.raises(InputError, match="connected"):
        stack[:, ::2, 0:10]


def test_confidence_that_lies_beside_its_weights(pair, weights, tmp_path, caplog):
    """What was fitted for the weights is taken, and the fallback with it; for others it is not."""
    path = tmp_path / "mine.safetensors"
    path.write_bytes(weights[0].read_bytes())
    assert learned(path, device="cpu").calibration is None
    fitted = adaptive_calibration()
    calibration = Calibration(fitted.strategies, {"weights_sha256": weights[1]})
    beside = confidence_path(path)
    beside.write_text(calibration.to_json(), encoding="utf-8")
    feature = learned(path, device="cpu")
    assert feature.calibration.strategies == fitted.strategies
    found = ogive.match(pair.earlier, pair.later, features=feature, window=16, step=16, search=8)
    assert set(np.unique(found.source)) <= {0, 1}
    assert "adaptive" in found.attrs["features"]
    alone = ogive.match(
        pair.earlier, pair.later, features=feature, window=16, step=16, search=8, fallback=None
    )
    assert "source" not in alone
    assert float(alone.confidence.where(alone.flag == Flag.MEASURED).count()) > 0
    # Other views are other features.
    assert learned(path, device="cpu", views=4).calibration is None
    other = Calibration(fitted.strategies, {"weights_sha256": "0" * 64})
    beside.write_text(other.to_json(), encoding="utf-8")
    with caplog.at_level(logging.WARNING, "ogive"):
        assert learned(path, device="cpu").calibration is None
    assert "fitted for other weights" in caplog.text

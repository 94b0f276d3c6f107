"""Feature networks: their published sizes, and the contract that training and matching rely on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from ogive.model import InputError  # noqa: E402
from ogive.similarity.networks import NETWORKS, PUBLISHED, build_network  # noqa: E402
from ogive.similarity.networks.normalise import local_normalise, published_normalise  # noqa: E402
from ogive.similarity.networks.receptive import Span, halo_px  # noqa: E402

PUBLISHED_COUNTS = {"unet": 7_808_512, "unet-attention": 9_462_022, "ms-aff": 965_792}
NAMES = tuple(PUBLISHED_COUNTS)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def tiny(name: str, **options) -> torch.nn.Module:
    """A thin network in evaluation mode, its normalisation away from the identity."""
    torch.manual_seed(0)
    network = build_network(name, **{"width": 4, "box_px": 9, **options}).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
            module.bias.data.normal_(0.0, 0.1)
    return network


def random_image(rows: int, columns: int, *, bands: int = 1, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3000 + 400 * torch.randn(1, bands, rows, columns, generator=generator)


def everywhere(image: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(image[:, :1], dtype=torch.bool)


# ---- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_published_options_give_the_published_number_of_parameters(name):
    network = build_network(name, **PUBLISHED)
    assert parameters(network) == PUBLISHED_COUNTS[name]
    assert network.channels == 64


@pytest.mark.parametrize("name", NAMES)
def test_the_mask_and_more_bands_enlarge_the_first_layer_only(name):
    """Each input channel adds 3 x 3 weights for each of the 32 channels of the first layer."""
    masked = build_network(name, **{**PUBLISHED, "mask_channel": True})
    coloured = build_network(name, **{**PUBLISHED, "bands": 4})
    assert parameters(masked) == PUBLISHED_COUNTS[name] + 288
    assert parameters(coloured) == PUBLISHED_COUNTS[name] + 3 * 288


@pytest.mark.parametrize("name", NAMES)
def test_group_norm_and_normalisation_change_no_count(name):
    network = build_network(name, **{**PUBLISHED, "norm": "group", "normalisation": "local"})
    assert parameters(network) == PUBLISHED_COUNTS[name]


# ---- features ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@given(
    rows=st.integers(16, 60),
    columns=st.integers(16, 60),
    bands=st.integers(1, 3),
    norm=st.sampled_from(["batch", "group", "layer"]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=6)
def test_vectors_have_length_one_where_valid_and_zero_elsewhere(
    name, rows, columns, bands, norm, seed
):
    image = random_image(rows, columns, bands=bands, seed=seed)
    valid = torch.rand(1, 1, rows, columns, generator=torch.Generator().manual_seed(seed)) > 0.3
    with torch.inference_mode():
        features = tiny(name, bands=bands, norm=norm)(image, valid)
    assert features.dtype == torch.float32
    assert features.shape == (1, 8, rows, columns)
    # Single precision: 8 squares summed and a root, each to 6e-8.
    torch.testing.assert_close(features.norm(dim=1), valid[:, 0].float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_weighted_vector_is_as_long_as_its_confidence(name):
    image = random_image(40, 40)
    with torch.inference_mode():
        length = tiny(name, weighted=True)(image, everywhere(image)).norm(dim=1)
    assert 0.0 < length.min() < length.max() < 1.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("normalisation", ["local", "published"])
def test_what_lies_under_the_mask_counts_for_nothing(name, normalisation):
    image = random_image(48, 48)
    valid = everywhere(image)
    valid[..., 10:20, 15:30] = False
    hidden = image.clone()
    hidden[~valid] = float("nan")
    network = tiny(name, normalisation=normalisation)
    with torch.inference_mode():
        torch.testing.assert_close(network(image, valid), network(hidden, valid), atol=0, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_gain_and_brightness_are_lost(name):
    """Of values near 5 10^3 single precision keeps 3e-4, a share of 10^-6 of the contrast; the
    floor under the contrast, 10^-4 of the mean, is 2e-4 of it and moves with the brightness.
    """
    image = random_image(48, 48)
    network = tiny(name)
    with torch.inference_mode():
        dark, bright = (network(one, everywhere(image)) for one in (image, 1.7 * image + 500))
    torch.testing.assert_close(dark, bright, atol=1e-2, rtol=0)


# ---- how far a network looks ---------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@given(
    across=st.integers(0, 3),
    down=st.integers(0, 3),
    norm=st.sampled_from(["batch", "group", "layer"]),
)
@settings(max_examples=3)
def test_a_tile_with_its_halo_gives_what_the_whole_gives(name, across, down, norm):
    """So do images shifted by multiples of multiple_px: shift equivariance inside the halo."""
    network = tiny(name, norm=norm)
    step, halo = network.multiple_px, network.halo_px
    side = 2 * halo + 20
    image = random_image(side + 3 * step, side + 3 * step)
    valid = everywhere(image)
    valid[..., 60:70, 50:90] = False
    top, left = down * step, across * step
    tile = (..., slice(top, top + side), slice(left, left + side))
    inner = (..., slice(halo, -halo), slice(halo, -halo))
    with torch.inference_mode():
        whole, part = network(image, valid), network(image[tile], valid[tile])
    # Some thirty layers of single precision, on vectors of length one.
    torch.testing.assert_close(whole[tile][inner], part[inner], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_far_pixel_changes_nothing(name):
    network = tiny(name)
    halo = network.halo_px
    image = random_image(48, 2 * halo + 60)
    place = halo + 25
    changed = image.clone()
    changed[..., 20, place] += 5000.0
    with torch.inference_mode():
        before, after = (network(one, everywhere(image)) for one in (image, changed))
    moved = (before - after).abs().amax((0, 1, 2))
    columns = torch.arange(moved.numel())
    assert moved[(columns - place).abs() > halo].max() <= 1e-6
    assert moved.max() > 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_the_halo_is_no_wider_than_it_must_be(name):
    """With positive weights everything a pixel can reach changes, so the farthest is the halo."""
    network = tiny(name, mask_channel=False, normalisation="published").double()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            # Means of what is below keep values of the order of one, where sigmoids still answer.
            weight = module.weight.data.abs_()
            weight /= weight[:1].sum()
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
    step, halo = network.multiple_px, network.halo_px
    middle = -(-halo // step) * step
    # One image for each place of a changed column on the network's coarsest grid.
    image = torch.full((step, 1, step, 2 * middle + step), 1e-3, dtype=torch.float64)
    changed = image.clone()
    changed[torch.arange(step), :, :, middle + torch.arange(step)] = 1e9
    with torch.inference_mode():
        before, after = (network.body(one, lambda layer, x: x) for one in (image, changed))
    moved = (before != after).any(1).any(1)
    place = middle + torch.arange(step)[:, None]
    distance = (torch.arange(image.shape[-1]) - place).abs()
    assert distance[moved].max() == halo


def test_normalisation_reaches_two_boxes():
    network, plain = tiny("unet", box_px=21), tiny("unet", normalisation="published")
    assert network.halo_px == plain.halo_px + 20


def test_spans_follow_a_hand_counted_network():
    """Pooling, two convolutions of 3 pixels on the coarse grid, up again.

    A coarse pixel covers two: the output at an even place sees its coarse pixel and two on each
    side, 4 pixels before it and 5 behind; at an odd place, the mirror image.
    """
    assert halo_px(lambda s: s.transposed(2).convolved(2).pooled(2), multiple_px=2) == 5
    assert Span(4, 4).upsampled(2) == Span(1, 2)
    assert Span(5, 5).upsampled(2) == Span(2, 3)
    assert Span(3, 3).downsampled(4) == Span(13, 14)


# ---- making --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_made_again_of_its_options(name):
    options = {
        "bands": 2,
        "channels": 5,
        "norm": "group",
        "weighted": True,
        "conditions": ["days_between", "sun_azimuth_deg"],
    }
    network = tiny(name, **options)
    again = build_network(name, **json.loads(json.dumps(network.options))).eval()
    again.load_state_dict(network.state_dict())
    image = random_image(32, 32, bands=2)
    with torch.inference_mode():
        torch.testing.assert_close(
            network(image, everywhere(image)), again(image, everywhere(image)), atol=0, rtol=0
        )
    assert again.options == network.options
    assert again.conditions == ("days_between", "sun_azimuth_deg")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
def test_every_parameter_learns(name, norm):
    torch.manual_seed(0)
    network = build_network(
        name, width=4, norm=norm, weighted=True, conditions=("days_between",)
    ).train()
    image = random_image(32, 32).expand(2, -1, -1, -1)
    condition = torch.ones(2, 20)[:, : _condition_length()]
    for linear in network.film.maps.values():
        # At their start of zero the layer in front of them has no gradient.
        torch.nn.init.normal_(linear.weight, std=0.1)
    features = network(image, everywhere(image), condition)
    (features * torch.randn_like(features)).sum().backward()
    still = [
        key
        for key, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert still == []


def _condition_length() -> int:
    from ogive.similarity.embedding import CONDITION_LENGTH

    return CONDITION_LENGTH


def test_small_has_its_place():
    pytest.importorskip("ogive.similarity.networks.small", reason="small is not written yet")
    network = build_network("small").eval()
    image = random_image(64, 64, bands=network.bands)
    with torch.inference_mode():
        features = network(image, everywhere(image))
    assert features.shape == (1, network.channels, 64, 64)
    json.dumps(network.options)


def test_importing_ogive_imports_no_torch():
    code = "import sys, ogive, ogive.similarity; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- normalisation -------------------------------------------------------------------------------


def test_local_normalisation_gives_mean_zero_and_contrast_one():
    """Of white noise; the box of 31 x 31 knows mean and contrast to 1/31 and 1/44."""
    image = random_image(100, 100)
    valid = torch.rand(image.shape) > 0.2
    high = local_normalise(image, valid, box_px=31)[valid]
    assert high.mean().abs() < 0.05
    assert abs(high.std() - 1.0) < 0.05


def test_flat_ground_stays_flat():
    """The rounding of a constant image, 10^-7 of it, is 10^-3 of the floor under the contrast."""
    image = torch.full((1, 1, 50, 50), 9876.5)
    assert local_normalise(image, everywhere(image), box_px=31).abs().max() < 0.02
    black = torch.zeros(1, 1, 50, 50)
    assert local_normalise(black, everywhere(black), box_px=31).abs().max() == 0.0


def test_published_normalisation_is_the_published_one():
    image = torch.tensor([0.0, 255.0]).reshape(1, 1, 1, 2)
    low, high = published_normalise(image, everywhere(image), box_px=31).flatten().tolist()
    assert low == pytest.approx(-0.4346 / 0.1949, abs=1e-3)
    assert high == pytest.approx((1 - 0.4346) / 0.1949, abs=1e-3)


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("resnet", {}, "no network 'resnet'"),
        ("unet", {"depth": 3}, "no option 'depth'"),
        ("unet", {"bands": 0}, "bands is 0"),
        ("unet", {"width": 1}, "width is 1"),
        ("unet", {"channels": 0}, "channels is 0"),
        ("ms-aff", {"norm": "instance"}, "norm is 'instance'"),
        ("ms-aff", {"normalisation": "global"}, "normalisation is 'global'"),
        ("ms-aff", {"box_px": 30}, "box_px is 30"),
        ("unet", {"conditions": ["weather"]}, "'weather'"),
        ("unet", {"conditions": ["sensor"], "film_layers": ["encoder9"]}, "'encoder9'"),
    ],
)
def test_options_that_make_no_network_are_refused(name, options, sentence):
    with pytest.raises(InputError, match=sentence):
        build_network(name, **options)


@pytest.mark.parametrize(
    ("image", "valid", "sentence"),
    [
        ((1, 2, 32, 32), (1, 1, 32, 32), "takes .batch, 1, y, x"),
        ((1, 32, 32), (1, 1, 32, 32), "takes .batch, 1, y, x"),
        ((1, 1, 32, 32), (1, 1, 32, 31), "a mask of shape"),
        ((1, 1, 32, 32), (32, 32), "a mask of shape"),
        ((1, 1, 15, 32), (1, 1, 15, 32), "15 x 32 pixels is too small"),
    ],
)
def test_images_that_do_not_fit_are_refused(image, valid, sentence):
    with pytest.raises(InputError, match=sentence):
        tiny("unet")(torch.zeros(image), torch.ones(valid, dtype=torch.bool))


def test_a_mask_of_numbers_is_refused():
    with pytest.raises(InputError, match=r"torch\.bool"):
        tiny("ms-aff")(torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32))


def test_all_networks_are_named():
    assert set(NETWORKS) == {*NAMES, "small"}


def test_maps_that_grow_leave_the_confidence_undecided():
    """A residual stream a thousand times as large gives a logit of the same size."""
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    logits = []
    for factor in (1.0, 1000.0):
        torch.manual_seed(0)
        body = build_network("small", norm="layer", weighted=True).eval().body
        seen = []
        body.head.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out))
        body.stem[1][0].weight.data *= factor
        body.stem[1][0].bias.data *= factor
        body(torch.cat([image] * 3, 1), lambda _, maps: maps)
        logits.append(seen[0][:, -1].abs().mean())
    assert logits[1] < 2 * logits[0] + 1

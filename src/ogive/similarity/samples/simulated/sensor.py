"""What lies between the ice and the file: snow, air, optics, noise, and eight bits."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from .fields import SCENE_PER_PIXEL, FieldBank, blurred, cut_out
from .ranges import Atmosphere, Sensor, Surface, draw, draw_log

__all__ = ["Camera", "draw_cameras", "seen_through", "snowed"]

FINE_BOX_PX = 15
CLEAR_NOISE_SNR = 4.0
"""Below it the noise is that of a dim scene, not of the instrument: it follows what is left of the
contrast, so that thick cloud under it does not hide all."""


def snowed(
    rng: np.random.Generator, image: Tensor, ranges: Surface, clouds: FieldBank
) -> tuple[Tensor, Tensor]:
    """Patches of snow, bright and smooth, and a tone curve; gives the share of ground left, too."""
    bare = torch.ones_like(image)
    if rng.random() < ranges.snow_share:
        side = image.shape[-1]
        field = cut_out(rng, clouds, side) + 0.3 * cut_out(rng, clouds, side)
        edge = rng.uniform(0.05, 0.4)
        snow = torch.sigmoid((field + rng.uniform(-2.5, 0.5)) / edge) * rng.uniform(0.5, 1)
        image = (1 - snow) * image + snow * (rng.uniform(0.5, 3) + 0.2 * image)
        bare = 1 - snow
    if rng.random() < 0.3:
        image = image.sign() * image.abs() ** draw(rng, ranges.gamma)
    return image, bare


def seen_through(
    rng: np.random.Generator, image: Tensor, ranges: Atmosphere, clouds: FieldBank
) -> tuple[Tensor, Tensor]:
    """Clouds, their shadows and thin veils over reflectance; gives the transmission, too."""
    side = image.shape[-1]
    clear = torch.ones_like(image)

    def field() -> Tensor:
        return cut_out(rng, clouds, side)

    if rng.random() < ranges.cloud_share:
        shape = field() + 0.4 * field() + rng.uniform(-2.5, 0.7)
        cloud = torch.sigmoid(shape / rng.uniform(0.3, 1.2)) * rng.uniform(0.3, 1)
        brightness = rng.uniform(0.6, 1.2) + rng.uniform(0, 0.1) * field()
        image = (1 - cloud) * image + cloud * brightness
        clear = 1 - cloud
    if rng.random() < ranges.veil_share:
        least = draw_log(rng, ranges.veil_transmission)
        thin = (least * torch.exp(rng.uniform(0, 0.5) * field())).clamp(max=1.0)
        image = thin * image + (1 - thin) * rng.uniform(0.5, 1.2)
    if rng.random() < ranges.cloud_shadow_share:
        dark = torch.sigmoid((field() - 0.5) / rng.uniform(0.05, 0.5))
        image = image * (1 - rng.uniform(0, 0.5) * dark)
    if rng.random() < 0.5:
        image = image * (1 + rng.uniform(0, 0.2) * field())
    return image, clear


class Camera:
    """One sensor and what is done to its numbers; both images of a sample share most of it.

    Parameters
    ----------
    rng
        Source of the draw.
    ranges
        What sensors are like.
    contrast
        Of the texture, over the brightness.
    """

    def __init__(self, rng: np.random.Generator, ranges: Sensor, contrast: float) -> None:
        self.ranges = ranges
        self.contrast = contrast
        self.psf_px = draw(rng, ranges.psf_px)
        self.signal_to_noise = draw_log(rng, ranges.signal_to_noise)
        self.eight_bit = bool(rng.random() < ranges.eight_bit_share)
        self.numbers = draw_log(rng, ranges.eight_bit_contrast) / contrast
        self.jpeg = bool(rng.random() < ranges.jpeg_share)
        self.quality = int(rng.integers(*ranges.jpeg_quality))
        self.rounding_noise = rng.uniform(0.1, 1.2)

    def __call__(self, rng: np.random.Generator, scene: Tensor, *, blur_px: float) -> Tensor:
        """Take an image ``(1, y, x)`` of a scene ``(y, x)`` twice as fine."""
        spread = float(np.hypot(self.psf_px * rng.uniform(0.9, 1.1), blur_px))
        step = SCENE_PER_PIXEL
        image = blurred(scene, step * spread)[None, ::step, ::step]
        noise = self._noise(rng, image.shape[-1])
        return (
            self._in_eight_bits(rng, image, noise) if self.eight_bit else self._noisy(image, noise)
        )

    def _noise(self, rng: np.random.Generator, side: int) -> Tensor:
        channels = 3 if self.eight_bit else 1
        noise = torch.from_numpy(rng.standard_normal((channels, side, side)).astype(np.float32))
        if rng.random() < self.ranges.correlated_noise_share:
            noise = blurred(noise, rng.uniform(0.4, 0.8))
            noise = noise / noise.std()
        if rng.random() < self.ranges.stripe_share:
            stripes = torch.from_numpy(rng.standard_normal((1, side)).astype(np.float32))
            across = stripes[:, :, None] if rng.random() < 0.5 else stripes[:, None, :]
            noise = noise + rng.uniform(0, 1) * across
        return noise

    def _noisy(self, image: Tensor, noise: Tensor) -> Tensor:
        texture = self.contrast
        if self.signal_to_noise < CLEAR_NOISE_SNR:
            mean = functional.avg_pool2d(
                image[None], FINE_BOX_PX, 1, FINE_BOX_PX // 2, count_include_pad=False
            )[0]
            texture = float((image - mean).std())
        # Fine texture has some 0.7 of the whole deviation.
        noisy: Tensor = image + 0.7 * texture / self.signal_to_noise**0.5 * noise
        return noisy

    def _in_eight_bits(self, rng: np.random.Generator, image: Tensor, noise: Tensor) -> Tensor:
        """Stretched to three bands of digital numbers, perhaps compressed, and averaged to grey."""
        stretched = (image - image.mean()) * self.numbers + rng.uniform(90, 160)
        gain = torch.from_numpy(rng.uniform(0.6, 1.3, (3, 1, 1)).astype(np.float32))
        offset = torch.from_numpy(rng.uniform(-40, 40, (3, 1, 1)).astype(np.float32))
        bands = (stretched - 125) * gain + 125 + offset + self.rounding_noise * noise
        numbers = bands.clamp(0, 255).round().to(torch.uint8)
        if self.jpeg:
            numbers = _compressed(numbers, self.quality)
        return numbers.float().mean(0, keepdim=True)


def _compressed(bands: Tensor, quality: int) -> Tensor:
    """Three 8-bit bands through JPEG and back."""
    with io.BytesIO() as file:
        Image.fromarray(bands.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        back = np.asarray(Image.open(file)).copy()
    return torch.from_numpy(back).permute(2, 0, 1)


def draw_cameras(
    rng: np.random.Generator, ranges: Sensor, contrast: float
) -> tuple[Camera, float, float]:
    """A camera, and by how much each image is blurred beyond it, in pixels."""
    blur = [
        draw(rng, ranges.blur_px) if rng.random() < ranges.blur_share else 0.0 for _ in range(2)
    ]
    if rng.random() < 0.5:
        blur[1] = blur[0]
    return Camera(rng, ranges, contrast), blur[0], blur[1]

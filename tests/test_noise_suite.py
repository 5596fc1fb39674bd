"""The noise suite of photographs: published strengths, what each family promises, the blind mix and its camera."""

import math
from dataclasses import astuple, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from mdenoise.errors import UsageError
from mdenoise.training import degrade, isp, noise
from mdenoise.training.metrics import photo_psnr

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")
MCMASTER = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "test" / "mcmaster"

# RGB PSNR of the noisy McMaster images, dB; mixtures are ours.
PUBLISHED = {
    "gaussian": {15: 25.11, 25: 20.89, 50: 15.37},
    "poisson": {2: 23.09, 2.5: 21.23, 3: 19.73, 3.5: 18.49},
    "speckle": {0.018: 25.19, 0.024: 23.98, 0.03: 23.05, 0.036: 22.29, 0.04: 21.86},
    "correlated": {40: 26.09, 45: 25.11, 50: 24.23, 55: 23.44, 60: 22.72},
    "salt_and_pepper": {0.002: 31.55, 0.02: 21.59},
    "mixture": {1: 23.3, 2: 22.3, 3: 20.9, 4: 19.8, 5: 19.0},
}
# The same of `picture()` with seed 7, of the lowest and the highest level.
OWN = {
    "gaussian": [24.83, 15.37],
    "poisson": [21.77, 17.41],
    "speckle": [22.82, 19.78],
    "correlated": [25.79, 22.48],
    "salt_and_pepper": [31.87, 21.58],
    "mixture": [22.16, 18.10],
    "isp": [29.54, 19.72],
    "film_grain": [30.99, 21.01],
    "monte_carlo": [26.97, 18.54],
    "resampled": [26.52, 16.93],
    "laplacian": [25.02, 19.54],
    "impulses": [30.14, 24.20],
    "correlated_box2": [24.86, 19.31],
    "correlated_gauss": [24.91, 20.81],
}
PUBLIC_FAMILIES = ("gaussian", "poisson", "speckle", "correlated", "salt_and_pepper")
LEVELS = [(name, level) for name, family in noise.FAMILIES.items() for level in family.levels]


def picture(height=240, width=320):
    """Ramps through all 256 values, a darker inverse and hard checks: (H, W, 3) uint8, by integers alone."""
    y, x = np.mgrid[0:height, 0:width]
    ramp = np.abs((3 * x + 2 * y) % 510 - 255)
    return np.stack([ramp, (255 - ramp) * 3 // 4 + 20, 20 + 200 * ((x // 40 + y // 30) % 2)], axis=2).astype(np.uint8)


def flat(value, height=240, width=320):
    return np.full((height, width, 3), value, np.uint8)


def noise_of(clean, family, level, seed=7):
    """What is added, of 255, before anything is clipped."""
    return noise.add(clean, family, level, seed, "float").astype(np.float64) - clean


def correlation(field, dy, dx):
    """Of an (H, W, C) field of mean zero with itself, (dy, dx) px apart."""
    height, width = field.shape[:2]
    return np.mean(field[dy:, dx:] * field[: height - dy, : width - dx]) / np.mean(field**2)


def rng_of(seed):
    return np.random.Generator(np.random.PCG64(seed))


# --- golden values ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mcmaster():
    paths = sorted(MCMASTER.glob("*.webp"))
    if len(paths) != 18:
        pytest.skip("the 18 McMaster images are not there (../shared/data/test/mcmaster)")
    from PIL import Image

    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def golden_levels():
    for family, row in PUBLISHED.items():
        for level in row:
            ends = level in (min(row), max(row))
            yield pytest.param(family, level, marks=() if ends else pytest.mark.slow, id=f"{family} {level}")


@pytest.mark.parametrize(("family", "level"), list(golden_levels()))
def test_published_strength(family, level, mcmaster):
    found = [photo_psnr(noise.add(clean, family, level, seed), clean) for seed, clean in enumerate(mcmaster)]
    assert np.mean(found) == pytest.approx(PUBLISHED[family][level], abs=0.1)


@pytest.mark.parametrize("family", noise.FAMILIES)
def test_strength_on_a_picture_of_our_own(family):
    clean, levels = picture(), noise.FAMILIES[family].levels
    found = [photo_psnr(noise.add(clean, family, level, 7), clean) for level in (levels[0], levels[-1])]
    assert found == pytest.approx(OWN[family], abs=0.1)


def outcomes(family, level):
    """Values a pixel may take for each clean value 0..255 and their probabilities, by the definition: both (256, N)."""
    x = np.arange(256.0)[:, None]
    share = (np.arange(4000) + 0.5) / 4000
    even = np.full((256, 4000), 1 / 4000)
    if family in ("gaussian", "correlated"):
        sigma = level / 3 if family == "correlated" else level
        return x + sigma * np.array([NormalDist().inv_cdf(p) for p in share]), even
    if family == "speckle":
        return x + x * math.sqrt(3 * level) * (2 * share - 1), even
    if family == "poisson":  # V = 256 for a picture of more than 128 values
        count, mean = np.arange(400), np.maximum(x / 255 * 256, 1e-12)
        chance = np.exp(count * np.log(mean) - mean - np.array([math.lgamma(k + 1) for k in count]))
        return x + level * 255 * (count / 256 - x / 255), chance
    return np.hstack([x, 0 * x, 0 * x + 255]), np.tile([1 - level, level / 2, level / 2], (256, 1))


@pytest.mark.parametrize(("family", "level"), [pair for pair in LEVELS if pair[0] in PUBLIC_FAMILIES])
def test_squared_error_is_that_of_the_definition(family, level):
    clean = picture()
    values, chance = outcomes(family, level)
    squares = (np.rint(np.clip(values, 0, 255)) - np.arange(256)[:, None]) ** 2
    share = np.bincount(clean.ravel(), minlength=256) / clean.size
    expected = share @ np.sum(chance * squares, axis=1)
    spread = math.sqrt((share @ np.sum(chance * squares**2, axis=1) - expected**2) / clean.size)
    if family == "correlated":
        spread *= 1 + 2 * (4 / 9 + 1 / 9)  # root of the sum of squared correlations over both axes
    noisy = noise.add(clean, family, level, seed=11)
    assert np.mean((noisy.astype(float) - clean) ** 2) == pytest.approx(expected, abs=4.5 * spread, rel=1e-3)


# --- what every family promises -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "level"), LEVELS)
def test_uint8_is_float_clipped_and_rounded(family, level):
    clean = picture(48, 64)
    stored, exact = (noise.add(clean, family, level, 3, protocol) for protocol in noise.PROTOCOLS)
    assert stored.dtype == np.uint8 and exact.dtype == np.float32 and stored.shape == exact.shape == clean.shape
    assert np.array_equal(stored, np.rint(np.clip(exact, 0, 255)))


@pytest.mark.parametrize("family", ["gaussian", "poisson", "speckle", "correlated", "film_grain", "resampled"])
def test_float_is_not_clipped(family):
    exact = noise.add(picture(), family, noise.FAMILIES[family].levels[-1], 3, "float")
    assert exact.min() < -1 if family != "speckle" else exact.min() >= 0  # black has no speckle
    assert exact.max() > 256


def test_a_camera_clips_either_way():
    exact = noise.add(picture(), "isp", 3, 3, "float")
    assert exact.min() >= 0 and exact.max() <= 255


@pytest.mark.parametrize("family", noise.FAMILIES)
def test_the_seed_decides(family):
    clean, level = picture(48, 64), noise.FAMILIES[family].levels[-1]
    before = clean.copy()
    first, again, other = (noise.add(clean, family, level, seed) for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(clean, before)


@pytest.mark.parametrize(
    ("family", "level"),
    [
        *(("gaussian", 15), ("poisson", 2), ("speckle", 0.04), ("correlated", 60), ("film_grain", 0.06)),
        *(("resampled", 15), ("laplacian", 15), ("correlated_box2", 30), ("correlated_gauss", 15)),
    ],
)
def test_the_mean_stays(family, level):
    # Means of 16 x 16 blocks, for neighbours may depend on each other.
    clean = np.clip(picture(), 64, 192)  # of many values, on which the strength of Poisson noise depends
    means = noise_of(clean, family, level).reshape(15, 16, 20, 16, 3).mean(axis=(1, 3, 4))
    error = means.std() / math.sqrt(means.size)
    assert abs(means.mean()) < 4 * error < 1.5


def test_monte_carlo_keeps_the_mean_of_linear_light():
    y = noise.add(flat(128), "monte_carlo", 64, 7, "float").astype(np.float64)
    means = ((y / 128) ** 2.2).mean(axis=2)
    assert means.mean() == pytest.approx(1, abs=4 * means.std() / math.sqrt(means.size))
    # Gamma magnitudes of shape 1/2 that arrive with probability 1/2; a fifth of them is drawn per channel.
    assert means.std() == pytest.approx(math.sqrt(3 * 2 / 64 * (0.8**2 + 0.2**2 / 3)), rel=0.05)


def test_families_differ_and_levels_enlarge_the_same_noise():
    clean = flat(128)
    weak, strong = (noise_of(clean, "gaussian", level) for level in (25, 50))
    np.testing.assert_allclose(strong, 2 * weak, atol=1e-3)
    other = noise_of(clean, "laplacian", 30)
    assert abs(np.corrcoef(weak.ravel(), other.ravel())[0, 1]) < 4.5 / math.sqrt(weak.size)
    few, many = (noise.add(clean, "salt_and_pepper", level, 7) != clean for level in (0.002, 0.02))
    assert few.any() and not (few & ~many).any()


# --- one by one ---------------------------------------------------------------------------------------------------


def test_gaussian_noise_is_white_and_of_its_level():
    n = noise_of(flat(128), "gaussian", 25)
    assert n.std() == pytest.approx(25, rel=0.01)
    assert max(abs(correlation(n, dy, dx)) for dy, dx in ((0, 1), (1, 0), (1, 1))) < 0.012
    assert np.abs(np.corrcoef(n.reshape(-1, 3).T) - np.eye(3)).max() < 0.02


def test_correlated_noise_is_the_mean_of_3x3():
    n = noise_of(flat(128), "correlated", 60)
    assert n.std() == pytest.approx(60 / 3, rel=0.02)
    for lag, expected in ((1, 2 / 3), (2, 1 / 3), (3, 0), (4, 0)):
        assert correlation(n, lag, 0) == pytest.approx(expected, abs=0.03)
        assert correlation(n, 0, lag) == pytest.approx(expected, abs=0.03)
    assert correlation(n, 1, 1) == pytest.approx(4 / 9, abs=0.03)
    assert np.abs(np.corrcoef(n.reshape(-1, 3).T) - np.eye(3)).max() < 0.04
    edge = np.concatenate([n[0], n[-1], n[:, 0], n[:, -1]])
    assert edge.std() == pytest.approx(20, rel=0.1)  # no weaker where the image ends


@pytest.mark.parametrize(
    ("family", "level", "std", "lags"),
    [("correlated_box2", 60, 30, (0.5, 0)), ("correlated_gauss", 25, 25, (math.exp(-1 / 4), math.exp(-1)))],
)
def test_other_kernels(family, level, std, lags):
    n = noise_of(flat(128), family, level)
    assert n.std() == pytest.approx(std, rel=0.03)
    for i, expected in enumerate(lags):
        assert correlation(n, i + 1, 0) == pytest.approx(expected, abs=0.03)
        assert correlation(n, 0, i + 1) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("density", [0.002, 0.005, 0.02])
def test_salt_and_pepper_hits_elements_of_any_colour(density):
    clean = np.clip(picture(), 1, 254)
    noisy = noise.add(clean, "salt_and_pepper", density, 7)
    black, white = noisy == 0, noisy == 255
    hit = black | white
    assert np.array_equal(noisy[~hit], clean[~hit])
    for found in (black, white):
        assert found.sum() == pytest.approx(clean.size * density / 2, abs=4.5 * math.sqrt(clean.size * density / 2))
    per_pixel = hit.sum(axis=2)
    alone = 3 * density * (1 - density) ** 2 * per_pixel.size  # coloured dots: the channels are hit on their own
    assert (per_pixel == 1).sum() == pytest.approx(alone, abs=4.5 * math.sqrt(alone))


def test_salt_and_pepper_may_hit_whole_pixels():
    y = degrade.salt_and_pepper(np.full((200, 200, 3), 0.5, np.float32), 0.1, rng_of(1), per_pixel=True)
    assert np.array_equal(y[..., 0], y[..., 1]) and np.array_equal(y[..., 0], y[..., 2])
    assert np.mean(y != 0.5) == pytest.approx(0.1, abs=0.007)


def test_impulses_have_random_colours():
    clean = flat(128)
    y = noise.add(clean, "impulses", 0.02, 7, "float")
    hit = (y != noise.add(clean, "impulses", 0, 7, "float")).any(axis=2)
    assert hit.mean() == pytest.approx(0.02, abs=0.0025)
    colors = y[hit] / 255
    assert colors.mean(axis=0) == pytest.approx([0.5] * 3, abs=0.035) and colors.min() < 0.01 and colors.max() > 0.99
    assert np.abs(np.corrcoef(colors.T) - np.eye(3)).max() < 0.12


@pytest.mark.parametrize("variance", [0.018, 0.04])
def test_speckle_is_uniform(variance):
    n = np.sort((noise_of(flat(100), "speckle", variance) / 100).ravel())
    half = math.sqrt(3 * variance)
    assert n.var() == pytest.approx(variance, rel=0.01)
    assert n[0] >= -half - 1e-4 and n[-1] <= half + 1e-4
    distribution = (np.arange(n.size) + 0.5) / n.size
    assert np.abs(distribution - (n + half) / (2 * half)).max() < 2 / math.sqrt(n.size)  # Kolmogorov-Smirnov
    assert not noise_of(flat(0), "speckle", variance).any()


@pytest.mark.parametrize(("values", "peak"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (64, 64), (65, 128), (200, 256)])
def test_poisson_peak_follows_from_how_many_values_there_are(values, peak):
    clean = np.resize(np.arange(55, 55 + values, dtype=np.uint8), (100, 120, 3))
    n, q = noise_of(clean, "poisson", 2) / 255, clean / 255
    counts = (n / 2 + q) * peak
    assert np.abs(counts - np.rint(counts)).max() < 2e-3  # whole photons
    assert np.mean(n**2 / q) == pytest.approx(4 / peak, rel=0.1)


def test_poisson_takes_a_peak_for_crops():
    x = np.full((200, 200, 3), 0.4, np.float32)
    assert degrade.poisson(x, 2.0, rng_of(1), 256.0).std() == pytest.approx(2 * math.sqrt(0.4 / 256), rel=0.02)


def test_photons_have_shot_and_read_noise():
    y = degrade.photons(np.full((200, 200, 3), 0.4, np.float32), 100, 0.05, rng_of(1))
    assert y.mean() == pytest.approx(0.4, abs=0.0011) and y.var() == pytest.approx(0.4 / 100 + 0.05**2, rel=0.03)


def test_laplacian_noise_has_its_tails():
    n = noise_of(flat(128), "laplacian", 30)
    assert n.std() == pytest.approx(30, rel=0.015) and np.mean(n**4) / n.var() ** 2 == pytest.approx(6, abs=0.5)


def test_film_grain_is_strongest_in_mid_tones():
    dark, mid, light = (noise_of(flat(v), "film_grain", 0.1).std() for v in (0, 128, 255))
    assert mid == pytest.approx(25.5, rel=0.06)
    assert dark == pytest.approx(mid / 4, rel=0.01) and light == pytest.approx(mid / 4, rel=0.01)


def test_chroma_noise_leaves_grey_alone():
    x = np.full((120, 120, 3), 0.5, np.float32)
    color = degrade.chromatic(x, 0, 20, 0.5, 2.0, rng_of(1)) - x
    assert color.std() > 10 / 255 and np.abs(color.mean(axis=2)).max() < 1e-6
    assert correlation(color, 0, 1) > 0.85  # blotches
    grey = degrade.chromatic(x, 20, 0, 0.5, 2.0, rng_of(1)) - x
    assert grey.std() == pytest.approx(20 / 255, rel=0.03) and np.ptp(grey, axis=2).max() < 1e-6


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "lanczos"])
def test_resampled_noise_is_coarse_below_1_and_weak_above(kernel):
    x = np.zeros((150, 170, 3), np.float32)
    coarse, same, fine = (degrade.resampled(x, 25, rng_of(1), scale, kernel) for scale in (0.5, 1.0, 1.6))
    assert coarse.shape == x.shape and same.std() == pytest.approx(25 / 255, rel=0.02)
    assert correlation(coarse, 0, 1) > 0.5 > correlation(same, 0, 1) + 0.45
    assert fine.std() < 0.85 * same.std()


def test_mixtures_rise_in_every_part():
    parts = [astuple(noise.MIXTURES[level])[:4] for level in sorted(noise.MIXTURES)]
    assert np.all(np.diff(parts, axis=0) > 0) and np.min(parts) > 0
    found = [photo_psnr(noise.add(picture(), "mixture", level, 7), picture()) for level in sorted(noise.MIXTURES)]
    assert np.all(np.diff(found) < -0.5)


def test_a_mixture_is_the_sum_of_its_parts():
    x = picture() / np.float32(255)
    alone = degrade.mixture(x, degrade.Mixture(20, 0, 0, 0), rng_of(1))
    assert np.array_equal(alone, degrade.gaussian(x, 20, rng_of(1)))
    whole = degrade.Mixture(20, 1.5, 0.02, 0, 30)
    expected = sum(
        np.mean(
            (degrade.mixture(x, replace(degrade.Mixture(0, 0, 0, 0), **{part: getattr(whole, part)}), rng_of(2)) - x)
            ** 2
        )
        for part in ("sigma", "alpha", "variance", "correlated_sigma")
    )
    assert np.mean((degrade.mixture(x, whole, rng_of(3)) - x) ** 2) == pytest.approx(expected, rel=0.02)
    hit = degrade.mixture(np.full_like(x, 0.5), replace(whole, density=0.05), rng_of(3))
    assert np.mean(np.isin(hit, (0, 1))) == pytest.approx(0.05, abs=0.003)  # last, so nothing lies over it


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fog", 1), "'fog' is not known: use gaussian, poisson"),
        (("mixture", 6), "mixture has no level 6: use 1, 2, 3, 4, 5"),
        (("mixture", 1.5), "mixture has no level 1.5"),
        (("isp", 0), "isp has no level 0: use 1, 2, 3"),
        (("gaussian", -1), "gaussian has no level -1: use 15, 25, 50"),
        (("gaussian", 25, 0, "half"), "'half' is not known: use uint8 or float"),
    ],
)
def test_what_does_not_exist_is_refused(arguments, said):
    with pytest.raises(UsageError) as error:
        noise.add(picture(8, 8), *(arguments if len(arguments) > 2 else (*arguments, 0)))
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("clean", [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), flat(0)[..., :2]])
def test_only_8_bit_colour_is_taken(clean):
    with pytest.raises(UsageError, match=r"use \(H, W, 3\) uint8"):
        noise.add(clean, "gaussian", 25, 0)


def test_levels_between_those_of_the_suite_exist():
    assert noise_of(flat(128), "gaussian", 10).std() == pytest.approx(10, rel=0.01)


# --- the blind mix ------------------------------------------------------------------------------------------------


def photos_of(count, size=24):
    image = torch.from_numpy(picture(size, size).copy()).permute(2, 0, 1) / 255
    return image.expand(count, 3, size, size).contiguous()


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def drawn(monkeypatch):
    """Names of the families drawn, in order; what they do is left as it is."""
    names = []

    def noted(name, draw):
        return lambda x, rng, without: (names.append(name), draw(x, rng, without))[1]

    monkeypatch.setattr(noise, "TRAINED", {k: (share, noted(k, draw)) for k, (share, draw) in noise.TRAINED.items()})
    return names


def test_training_noise_keeps_shape_and_range(drawn):
    clean = photos_of(200)
    before = clean.clone()
    noisy = noise.photographic(clean, generator(1))
    assert noisy.shape == clean.shape and noisy.dtype == torch.float32 and noisy.is_contiguous()
    assert torch.isfinite(noisy).all() and noisy.min() == 0 and noisy.max() == 1
    assert torch.equal(clean, before) and set(drawn) == set(noise.TRAINED)
    errors = (noisy - clean).square().mean((1, 2, 3))
    assert torch.unique(errors).numel() > 190  # each image by itself


def test_training_noise_follows_the_generator():
    clean, rng = photos_of(12), generator(4)
    first, second = (noise.photographic(clean, rng) for _ in range(2))
    assert torch.equal(first, noise.photographic(clean, generator(4)))
    assert not torch.equal(first, second) and not torch.equal(first, noise.photographic(clean, generator(5)))
    assert torch.equal(first[:5], noise.photographic(clean[:5], generator(4)))  # whatever else is in the batch


@pytest.mark.parametrize("without", [frozenset(), frozenset({"gaussian", "isp"})])
def test_families_are_drawn_by_their_shares(drawn, without):
    count, left = 1500, {k: share for k, (share, _) in noise.TRAINED.items() if k not in without}
    noise.photographic(photos_of(count, 8), generator(2), without)
    for name, share in left.items():
        p = share / sum(left.values())
        assert drawn.count(name) == pytest.approx(count * p, abs=4.5 * math.sqrt(count * p * (1 - p)))
    assert not without & set(drawn) and len(drawn) == count
    assert sum(share for share, _ in noise.TRAINED.values()) == pytest.approx(1)


@pytest.mark.parametrize("family", noise.TRAINED)
def test_a_family_left_out_is_never_drawn_nor_its_kin(drawn, family):
    noise.photographic(photos_of(150, 8), generator(3), noise.kin(family))
    assert len(drawn) == 150 and not noise.kin(family) & set(drawn)


def test_kin():
    assert noise.kin("gaussian") == {"gaussian"}
    assert noise.kin("correlated") == {"correlated", "isp", "film_grain", "resampled"}
    assert noise.kin("speckle") == {"speckle", "monte_carlo"}
    assert all(family in noise.kin(family) <= noise.TRAINED.keys() for family in noise.TRAINED)


PARTS = {
    "gaussian": "sigma",
    "poisson": "alpha",
    "speckle": "variance",
    "salt_and_pepper": "density",
    "correlated": "correlated_sigma",
}


@pytest.mark.parametrize("family", PARTS)
def test_mixtures_hold_nothing_that_is_left_out(family, monkeypatch):
    mixed, mixture = [], degrade.mixture
    monkeypatch.setattr(degrade, "mixture", lambda x, parts, rng: (mixed.append(parts), mixture(x, parts, rng))[1])
    others = noise.TRAINED.keys() - {"mixture"}
    for kept in (frozenset(), others - PARTS.keys()):
        mixed.clear()
        noise.photographic(photos_of(400, 8), generator(6), kept | {family})
        assert len(mixed) > 10
        for name, part in PARTS.items():
            assert any(getattr(parts, part) for parts in mixed) == (name != family)


def test_a_mixture_without_any_part_is_the_photograph():
    clean = photos_of(6)
    assert torch.equal(noise.photographic(clean, generator(1), noise.TRAINED.keys() - {"mixture"}), clean)


@pytest.mark.parametrize("without", [frozenset({"fog"}), frozenset({"gaussian", "fog"}), frozenset(noise.TRAINED)])
def test_training_without_what_is_unknown_or_all_is_refused(without):
    with pytest.raises(UsageError, match=r"cannot train without .*: leave out some of gaussian, poisson") as error:
        noise.photographic(photos_of(1), generator(1), without)
    assert "\n" not in str(error.value)


# --- the camera ---------------------------------------------------------------------------------------------------

PATTERNS = [(row, col) for row in (0, 1) for col in (0, 1)]
SILENT = replace(isp.draw_camera(rng_of(1)), shot=0.0, read=0.0, smoothing_px=0.0, jpeg=None)
PLAIN = isp.Camera(np.eye(3, dtype=np.float32), np.ones(3, np.float32), 4e-3, 1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_colours_survive_the_way_to_the_sensor_and_back(seed):
    camera = isp.draw_camera(rng_of(seed))
    steps = np.linspace(0, 1, 12, dtype=np.float32)
    colors = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(36, 48, 3)
    sensor = isp.unprocess(colors, camera)
    assert sensor.min() >= 0
    assert np.abs(isp.develop(sensor, camera) - colors).max() < 0.5 / 255


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_without_noise_a_camera_changes_nothing(pattern, directed):
    camera = replace(SILENT, pattern=pattern, directed=directed)
    for clean in (np.broadcast_to(np.float32([0.8, 0.3, 0.1]), (21, 26, 3)), picture(47, 33) / np.float32(255)):
        for smoothing in (0.0, 0.8):
            y = isp.photograph(clean, replace(camera, smoothing_px=smoothing), rng_of(2))
            assert np.abs(y - clean).max() < 0.5 / 255


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("size", [(12, 16), (13, 17)])
def test_bayer_sites_see_one_colour_each(size, pattern):
    colors = isp.bayer(size, pattern)
    assert np.array_equal(colors.sum(axis=2), np.ones(size)) and set(np.unique(colors)) == {0, 1}
    row, col = pattern
    cell = [int(colors[y, x].argmax()) for y, x in ((row, col), (row, 1 - col), (1 - row, col), (1 - row, 1 - col))]
    assert cell == [0, 1, 1, 2]
    assert np.array_equal(colors[:-2, :-2], colors[2:, 2:])


@pytest.mark.parametrize("demosaic", [isp.demosaic, isp.demosaic_directed])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_demosaicing_flat_colours_and_ramps(demosaic, pattern):
    colors = isp.bayer((18, 23), pattern)
    image = np.broadcast_to(np.float32([0.7, 0.4, 0.2]), (18, 23, 3))
    np.testing.assert_allclose(demosaic((image * colors).sum(axis=2), colors), image, atol=1e-6)
    y, x = np.mgrid[0:18, 0:23].astype(np.float32)
    ramp = np.stack([0.2 + 0.01 * x + 0.02 * y] * 3, axis=2)
    found = demosaic((ramp * colors).sum(axis=2), colors)
    np.testing.assert_allclose(found[3:-3, 3:-3], ramp[3:-3, 3:-3], atol=1e-5)


@pytest.mark.parametrize("directed", [False, True])
def test_noise_of_a_photosite_is_shot_and_read_noise(directed):
    camera = replace(PLAIN, directed=directed)
    clean = np.full((240, 320, 3), 0.5, np.float32)
    sensor = isp.unprocess(clean, camera)
    found = isp.unprocess(isp.photograph(clean, camera, rng_of(3)), camera) - sensor
    at_site = np.einsum("hwc,hwc->hw", found, isp.bayer((240, 320), camera.pattern))  # where nothing is interpolated
    expected = camera.shot * sensor[0, 0, 0] + camera.read
    assert at_site.var() == pytest.approx(expected, rel=0.03)
    assert at_site.mean() == pytest.approx(0, abs=4.5 * math.sqrt(expected / at_site.size))
    if not directed:
        assert np.sqrt(found[..., 0].var()) < 0.85 * math.sqrt(expected)  # between the sites, neighbours are averaged


def test_noise_reduction_of_the_camera_smooths():
    clean = np.full((64, 64, 3), 0.5, np.float32)
    rough, soft = (isp.photograph(clean, replace(PLAIN, smoothing_px=px), rng_of(3)) - 0.5 for px in (0.0, 1.0))
    assert soft.std() < 0.7 * rough.std() and correlation(soft, 0, 1) > correlation(rough, 0, 1) + 0.1


def test_cameras_are_plausible_and_drawn_from_the_generator():
    cameras = [isp.draw_camera(rng_of(seed)) for seed in range(60)]
    for camera in cameras:
        np.testing.assert_allclose(camera.to_camera.sum(axis=1), 1, atol=1e-6)  # white stays white
        assert np.all(camera.gains >= 0.8) and camera.gains[1] == camera.gains.min()
        assert isp.PHONE_SHOT[0] <= camera.shot <= isp.PHONE_SHOT[1] and camera.read > 0
        assert camera.jpeg is None or 60 <= camera.jpeg < 99
    assert {camera.pattern for camera in cameras} == set(PATTERNS) and {c.directed for c in cameras} == {False, True}
    assert isp.draw_camera(rng_of(5)).read == cameras[5].read != cameras[6].read
    assert isp.draw_camera(rng_of(5), 2e-3).shot == 2e-3
    found = [photo_psnr(noise.add(picture(), "isp", level, 7), picture()) for level in (1, 2, 3)]
    assert np.all(np.diff(found) < -1)


def test_jpeg():
    for color in ((0.8, 0.3, 0.1), (0, 0, 0), (1, 1, 1), (0.1, 0.5, 0.9)):
        image = np.broadcast_to(np.float32(color), (19, 27, 3))
        assert np.abs(isp.jpeg(image, 95) - image).max() < 3 / 255
        assert np.abs(isp.jpeg(image, 95, 2) - image).max() < 3 / 255
    clean = picture(120, 160) / np.float32(255)
    fine, coarse, halved = (isp.jpeg(clean, *how) - clean for how in ((98, 0), (60, 0), (98, 2)))
    assert 0 < fine.std() < 0.5 * coarse.std() and halved.std() > 2 * fine.std()

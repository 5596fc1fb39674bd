"""Roles of layers: every renderer's names, what the user names, and values that belie a name."""

from __future__ import annotations

import numpy as np
import pytest

from mdenoise import engines, models, pipeline
from mdenoise.adapters import aov_values, exr
from mdenoise.adapters.aov_specs import expand_frame
from mdenoise.adapters.aovs import find_roles
from mdenoise.adapters.layers import label
from mdenoise.config import Options
from mdenoise.errors import InputError, UsageError
from mdenoise.frame import Filtered

from .exr_files import CASES, HEIGHT, WIDTH, rgb, scene, write_case, write_exr, write_parts

DATA = scene()


def roles_of(path, **options):
    (roles,) = find_roles(exr.read(path), Options(**options))
    return roles


@pytest.mark.parametrize("name", CASES)
def test_every_renderers_names(name, tmp_path):
    case = CASES[name]
    frame = exr.read(write_case(case, tmp_path / "frame.0101.exr", data=DATA))
    (roles,) = find_roles(frame, Options())
    found = {role: None if getattr(roles, role) is None else getattr(roles, role).name for role in case.roles}
    # In a multi-part file the part's name stands for plain channels.
    expected = {role: case.parts[0] if layer == "" else layer for role, layer in case.roles.items()}
    assert found == expected
    assert roles.renderer == case.renderer
    assert len(roles.line().splitlines()) == 1
    (job,) = exr.adapt(frame, Options(layers="additive"))
    assert {label(layer) for layer in job.roles.additive} == case.additive or not case.additive


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.additive])
def test_additive_layers_are_found_and_said(name, tmp_path):
    case = CASES[name]
    frame = exr.read(write_case(case, tmp_path / "frame.exr", data=DATA))
    (job,) = exr.adapt(frame, Options(layers="additive"))
    assert {label(layer) for layer in job.roles.additive} == case.additive
    assert any("sum to beauty, residual 0." in note for note in job.notes)


@pytest.mark.parametrize("name", ["arnold", "arnold-lit", "vray-lit", "plain-lit", "plain-noisy", "renderman", "karma"])
def test_a_lit_diffuse_is_never_albedo(name, tmp_path):
    roles = roles_of(write_case(CASES[name], tmp_path / "a.exr", data=DATA), albedo=None)
    assert roles.albedo is None or "diffuse" not in roles.albedo.name
    if roles.albedo is None:
        assert "diffuse is not taken" in roles.reasons["albedo"]


def test_lit_layers_beside_diffuse_keep_it_from_being_albedo(tmp_path):
    flat = {**rgb(DATA["beauty"]), **rgb(DATA["albedo"], "diffuse")}
    assert roles_of(write_exr(tmp_path / "a.exr", flat)).albedo.name == "diffuse"
    lobes = flat | rgb(DATA["specular"], "specular")
    assert roles_of(write_exr(tmp_path / "b.exr", lobes)).albedo is None


def test_no_light_is_named_when_nothing_sums(tmp_path):
    channels = {**rgb(DATA["beauty"]), **rgb(DATA["key"], "LG_key"), **rgb(DATA["rim"], "LG_rim")}
    (job,) = exr.adapt(exr.read(write_exr(tmp_path / "a.exr", channels)), Options(layers="additive"))
    assert job.notes == ("no additive set found: 2 layers do not sum to beauty",)
    assert list(job.planes.layers) == ["RGB"]


def test_two_additive_sets_are_both_filtered(tmp_path):
    """Light groups and lobes of one frame: each set sums to the beauty, and both must afterwards."""
    beauty = DATA["key"] + DATA["fill"]
    half = (beauty * 0.25).astype(np.float32)
    channels = {
        **rgb(beauty),
        **rgb(DATA["key"], "RGBA_key"),
        **rgb(DATA["fill"], "RGBA_fill"),
        **rgb(half, "specular"),
        **rgb(beauty - half, "coat"),
        **rgb(DATA["rim"], "AO"),
    }
    (job,) = exr.adapt(exr.read(write_exr(tmp_path / "a.exr", channels)), Options(layers="additive"))
    assert {layer.name for layer in job.roles.additive} == {"RGBA_key", "RGBA_fill", "specular", "coat"}


def denoised(path, **options):
    """The frame through the shipped model, and its image."""
    card, frame = models.load_card("base"), exr.read(path)
    chosen = Options(layers="additive", **options)
    engine = engines.open_engine(card, chosen)
    jobs = exr.adapt(frame, chosen)
    results = [pipeline.denoise_planes(job.planes, engine, card, chosen) for job in jobs]
    channels = exr.restore(frame, jobs, results, {}).parts[0].channels
    return lambda layer: np.stack([channels[f"{layer}.{c}" if layer else c] for c in "RGB"], -1).astype(np.float64)


def test_lobes_are_divided_by_the_albedo_each_as_suits_it(tmp_path):
    """Diffuse ones like the beauty, others not; scaled afterwards, they add up all the same."""
    diffuse, specular = DATA["diffuse"], DATA["direct"] * np.float32(0.2)
    layers = {"": diffuse + specular, "diffuse_direct": diffuse, "specular_direct": specular, "albedo": DATA["albedo"]}
    channels = {name: plane for layer, data in layers.items() for name, plane in rgb(data, layer).items()}
    path = write_exr(tmp_path / "a.exr", channels)
    (job,) = exr.adapt(exr.read(path), Options(layers="additive"))
    assert job.planes.demodulated == {"RGB", "diffuse_direct"} and set(*job.sums) == {
        "diffuse_direct",
        "specular_direct",
    }
    image = denoised(path)
    np.testing.assert_allclose(image("diffuse_direct") + image("specular_direct"), image(""), rtol=1e-5, atol=1e-7)
    assert (image("specular_direct") != specular).any()


def test_light_of_cycles_is_filtered_without_the_noise_of_its_surface(tmp_path):
    rng = np.random.default_rng(4)
    checks = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((8, 8)))[..., None]
    col = (0.2 + 0.6 * checks + rng.uniform(0, 0.1, (64, 64, 1))).astype(np.float32) * np.float32([1, 0.8, 0.6])
    col[20:24] = 0
    light = rng.gamma(4, 0.25, (64, 64, 1)).astype(np.float32) * np.ones(3, np.float32)
    light[30, 30] = np.nan
    layers = {"V.Combined": col * light, "V.DiffDir": light, "V.DiffCol": col, "V.Emit": 0 * light}
    channels = {name: plane for layer, data in layers.items() for name, plane in rgb(data, layer).items()}
    image = denoised(write_exr(tmp_path / "a.exr", channels))
    total = image("V.DiffCol") * image("V.DiffDir") + image("V.Emit")
    np.testing.assert_allclose(total, image("V.Combined"), rtol=1e-5, atol=1e-7)
    assert np.array_equal(image("V.DiffCol"), col)
    clean = image("V.DiffDir")[(col > 0).all(-1)]
    assert abs(clean.mean() - 1) < 0.1 and clean.std() < 0.5 * np.nanstd(light)


def test_where_layers_did_not_sum_before_they_are_not_made_to(tmp_path):
    specular, fog = DATA["direct"] * np.float32(0.2), np.zeros_like(DATA["direct"])
    fog[5:8, 5:8] = 3.0  # of which no layer tells
    layers = {"": DATA["diffuse"] + specular + fog, "diffuse_direct": DATA["diffuse"], "specular_direct": specular}
    channels = {name: plane for layer, data in layers.items() for name, plane in rgb(data, layer).items()}
    frame = exr.read(write_exr(tmp_path / "a.exr", channels | rgb(DATA["albedo"], "albedo")))
    (job,) = exr.adapt(frame, Options(layers="additive"))
    assert job.sums
    results = {name: plane.astype(np.float32) for name, plane in job.planes.layers.items()}
    restored = exr.restore(frame, [job], [Filtered(results)], {}).parts[0].channels
    assert np.allclose(restored["specular_direct.R"], specular[..., 0], rtol=1e-5)


def test_all_takes_colour_layers_and_leaves_data(tmp_path):
    (job,) = exr.adapt(exr.read(write_case(CASES["arnold"], tmp_path / "a.exr", data=DATA)), Options(layers="all"))
    assert set(job.planes.layers) == {"RGB", "A", "diffuse", "direct", "specular"}


# --- what the user names ----------------------------------------------------------------------------------------------


def test_named_layers_win_over_found_ones(tmp_path):
    path = write_case(CASES["cycles-4"], tmp_path / "a.exr", data=DATA)
    roles = roles_of(path, albedo="diffcol", normal="ViewLayer.Normal", depth="none")
    assert (roles.albedo.name, roles.normal.name, roles.depth) == ("ViewLayer.DiffCol", "ViewLayer.Normal", None)
    assert roles.reasons["albedo"] == "named by --albedo" and "switched off" in roles.reasons["depth"]
    assert roles.line().startswith("color Combined, albedo DiffCol, normal Normal, depth -, variance - (Cycles)")


def test_an_unknown_name_is_a_usage_error_with_the_nearest(tmp_path):
    path = write_case(CASES["arnold"], tmp_path / "a.exr", data=DATA)
    with pytest.raises(UsageError, match="did you mean 'denoise_albedo'"):
        roles_of(path, albedo="denoise_albdo")
    with pytest.raises(UsageError, match="did you mean 'specular'"):
        exr.adapt(exr.read(path), Options(layers="beauty,speculr"))
    with pytest.raises(UsageError, match="ids"):
        exr.adapt(exr.read(path), Options(layers="crypto_object00"))
    with pytest.raises(UsageError, match="nothing to denoise"):
        roles_of(path, color="none")


def test_layers_by_name_come_with_the_beauty(tmp_path):
    path = write_case(CASES["arnold"], tmp_path / "a.exr", data=DATA)
    (job,) = exr.adapt(exr.read(path), Options(layers="specular, diffuse", alpha="keep"))
    assert list(job.planes.layers) == ["RGB", "specular", "diffuse"]


def test_one_file_per_aov_with_other_windows(tmp_path):
    """LuxCore writes every AOV as R, G, B of its own file; here they are also cropped differently."""
    beauty = write_exr(tmp_path / "beauty.0042.exr", rgb(DATA["beauty"]), dataWindow=(10, -5, 57, 34))
    write_exr(tmp_path / "albedo.0042.exr", rgb(DATA["albedo"]), dataWindow=(0, 0, 47, 39))
    write_exr(tmp_path / "n.42.exr", rgb(DATA["normal"], "AVG_SHADING_NORMAL", "XYZ"), dataWindow=(10, -5, 57, 34))
    deep = DATA["clipped_depth"]
    write_exr(tmp_path / "depth.exr", rgb(np.stack([deep] * 3, -1)), dataWindow=(10, -5, 57, 34))
    (job,) = exr.adapt(
        exr.read(beauty),
        Options(
            albedo=f"{tmp_path}/albedo.####.exr",
            normal=f"{tmp_path}/n.%d.exr:avg_shading_normal",
            depth=str(tmp_path / "depth.exr"),
        ),
    )
    planes = job.planes
    assert planes.albedo.shape == planes.color.shape == (HEIGHT, WIDTH, 3)
    # Absolute coordinates: pixel (0, 0) of the albedo is column -10, row 5 of the colour.
    np.testing.assert_array_equal(planes.albedo[5:, :-10], DATA["albedo"][:-5, 10:])
    assert np.isnan(planes.albedo[:5]).all() and np.isnan(planes.albedo[:, -10:]).all()
    np.testing.assert_array_equal(planes.normal, DATA["normal"])
    np.testing.assert_array_equal(planes.depth, deep)
    assert "albedo albedo.0042.exr:RGB" in job.roles.line()


def test_files_for_roles_that_cannot_be_used(tmp_path):
    frame = exr.read(write_exr(tmp_path / "beauty.exr", rgb(DATA["beauty"])))
    several = write_exr(tmp_path / "several.exr", rgb(DATA["albedo"], "one") | rgb(DATA["albedo"], "two"))
    with pytest.raises(InputError, match="several layers"):
        exr.adapt(frame, Options(albedo=str(several)))
    with pytest.raises(InputError, match="No such file"):
        exr.adapt(frame, Options(normal=str(tmp_path / "missing.exr")))
    with pytest.raises(InputError, match="no frame number"):
        exr.adapt(frame, Options(normal="n.####.exr"))
    with pytest.raises(UsageError, match="channels, not 3"):
        exr.adapt(frame, Options(albedo=str(write_exr(tmp_path / "z.exr", {"Z": DATA["depth"]}))))
    apart = write_exr(tmp_path / "apart.exr", rgb(DATA["albedo"]), dataWindow=(500, 500, 547, 539))
    (job,) = exr.adapt(frame, Options(albedo=str(apart)))
    assert job.planes.albedo is None and job.notes == ("albedo RGB has no pixel in the data window: not used",)


def test_frame_numbers_in_patterns(tmp_path):
    source = tmp_path / "v2_shot.0101.exr"
    assert expand_frame("alb.####.exr", source).name == "alb.0101.exr"
    assert expand_frame("alb.%04d.exr", source).name == "alb.0101.exr"
    assert expand_frame("alb.#.exr", source).name == "alb.0101.exr"
    assert expand_frame("alb.exr", source).name == "alb.exr"


def test_the_colour_of_another_file_replaces_our_own(tmp_path):
    frame = exr.read(write_exr(tmp_path / "denoised.exr", rgb(DATA["denoised"], kind="f2")))
    noisy = write_exr(tmp_path / "noisy.exr", rgb(DATA["beauty"], "Beauty"))
    (job,) = exr.adapt(frame, Options(color=str(noisy)))
    np.testing.assert_array_equal(job.planes.color, DATA["beauty"])
    assert job.targets[job.beauty].channels == ("R", "G", "B")


# --- which colour -----------------------------------------------------------------------------------------------------


def test_a_denoised_layer_is_not_taken_silently(tmp_path):
    channels = rgb(DATA["denoised"], "Denoised beauty") | rgb(DATA["albedo"], "albedo")
    path = write_exr(tmp_path / "a.exr", channels)
    with pytest.raises(InputError, match=r'denoised already. Name it with --color "Denoised beauty"'):
        roles_of(path)
    assert roles_of(path, color="Denoised beauty").color.name == "Denoised beauty"


def test_no_colour_names_the_layers_and_the_fix(tmp_path):
    path = write_exr(tmp_path / "a.exr", {"Z": DATA["depth"], **rgb(DATA["normal"], "N", "XYZ")})
    expected = r"no colour layer found \(layers: N, Z\). Name one with --color LAYER"
    with pytest.raises(InputError, match=expected) as caught:
        roles_of(path)
    assert str(path) in str(caught.value)
    two = write_exr(tmp_path / "b.exr", rgb(DATA["key"], "this") | rgb(DATA["fill"], "that"))
    with pytest.raises(InputError, match="no colour layer"):
        roles_of(two)
    one = write_exr(tmp_path / "c.exr", rgb(DATA["key"], "my image") | rgb(DATA["normal"], "N"))
    assert roles_of(one).color.name == "my image"


def test_a_beauty_that_is_not_the_first_part(tmp_path):
    parts = [
        ({"name": name}, rgb(DATA[data]))
        for name, data in (("diffuse", "diffuse"), ("specular", "specular"), ("beauty", "beauty"))
    ]
    assert roles_of(write_parts(tmp_path / "a.exr", parts)).color.name == "beauty"
    parts = [({"name": name}, rgb(DATA["key"])) for name in ("shot_main", "something")]
    assert roles_of(write_parts(tmp_path / "b.exr", parts)).color.name == "shot_main"


def test_noisy_image_is_filtered_into_combined(tmp_path):
    frame = exr.read(write_case(CASES["cycles-noisy"], tmp_path / "a.exr", data=DATA))
    (job,) = exr.adapt(frame, Options())
    np.testing.assert_array_equal(job.planes.color, np.minimum(DATA["beauty"], 65504).astype(np.float16))
    assert job.beauty == next(iter(job.planes.layers)) == "View Layer.Combined"
    assert not any("Noisy" in channel for target in job.targets.values() for channel in target.channels)
    assert "color Noisy Image -> Combined" in job.roles.line() and "replaces" in job.notes[0]


def test_every_view_is_denoised_with_its_own_aovs(tmp_path):
    header = {"multiView": ["left", "right"]}
    channels = {
        **rgb(DATA["beauty"]),
        **rgb(DATA["key"], "right"),
        **rgb(DATA["albedo"], "albedo"),
        **rgb(DATA["encoded"], "right.albedo"),
    }
    left, right = find_roles(exr.read(write_exr(tmp_path / "a.exr", channels, **header)), Options())
    assert (left.view, left.color.name, left.albedo.name) == ("left", "", "albedo")
    assert (right.view, right.color.name, right.albedo.name) == ("right", "right", "right.albedo")
    assert right.line().startswith("view right: ")

    def part(view, name, channels):
        return {"name": f"{name}.{view}", "view": view}, channels

    parts = [
        part("left", "rgba", rgb(DATA["beauty"])),
        part("right", "rgba", rgb(DATA["key"])),
        part("left", "depth", {"Z": DATA["depth"]}),
        part("right", "depth", {"Z": DATA["clipped_depth"]}),
    ]
    for roles, depth_part in zip(
        find_roles(exr.read(write_parts(tmp_path / "b.exr", parts)), Options()), (2, 3), strict=True
    ):
        assert roles.depth.part == depth_part
    with pytest.raises(UsageError):
        roles_of(tmp_path / "b.exr", color="middle")
    assert roles_of(tmp_path / "b.exr", color="right.rgba").color.part == 1


def test_every_cycles_view_layer_is_denoised_with_its_own_aovs(tmp_path):
    channels = {}
    for scope, data in (("Set", "beauty"), ("Hero", "key")):
        channels |= rgb(DATA[data], f"{scope}.Combined") | rgb(DATA["albedo"], f"{scope}.Denoising Albedo")
    channels |= rgb(DATA["denoised"], "Composite.Combined")
    found = find_roles(exr.read(write_exr(tmp_path / "a.exr", channels)), Options())
    assert {(roles.color.name, roles.albedo.name) for roles in found} == {
        ("Set.Combined", "Set.Denoising Albedo"),
        ("Hero.Combined", "Hero.Denoising Albedo"),
    }


def test_luminance_only(tmp_path):
    (job,) = exr.adapt(
        exr.read(write_exr(tmp_path / "a.exr", {"Y": DATA["alpha"], **rgb(DATA["albedo"], "albedo")})), Options()
    )
    assert job.planes.color.shape == (HEIGHT, WIDTH, 3) and job.planes.layers["Y"].shape == (HEIGHT, WIDTH)
    assert not job.planes.demodulated


def test_whole_numbers_are_no_colour(tmp_path):
    ids = np.stack([DATA["id"]] * 3, -1)
    with pytest.raises(InputError, match="whole numbers"):
        exr.adapt(exr.read(write_exr(tmp_path / "a.exr", rgb(ids, kind="u4"))), Options())


# --- values -----------------------------------------------------------------------------------------------------------


def test_encoded_normals_are_decoded_and_others_are_not():
    np.testing.assert_allclose(aov_values.normal(DATA["encoded"]), DATA["normal"], atol=1e-6)
    np.testing.assert_array_equal(aov_values.normal(DATA["normal"]), DATA["normal"])
    # A floor seen from above: raw, though nothing is negative and everything lies in 0..1.
    floor = np.zeros((8, 8, 3), np.float32)
    floor[2:, :, 1] = 1
    np.testing.assert_array_equal(aov_values.normal(floor), floor)
    half = DATA["encoded"].astype(np.float16)
    half[0, 0] = 0  # not drawn at all: background, not (-1, -1, -1)
    assert aov_values.normal(half).dtype == np.float16 and not aov_values.normal(half)[0, 0].any()


def test_normals_that_are_not_finite_are_absent():
    broken = DATA["normal"].copy()
    broken[20, 20] = np.inf, 0, 0
    decoded = aov_values.normal(broken)
    assert np.isnan(decoded[20, 20]).all() and np.isfinite(decoded[21:]).all()


def test_albedo_is_clamped_and_keeps_its_type():
    bright = (DATA["albedo"] * 40).astype(np.float16)
    bright[0, 0] = np.nan
    clamped = aov_values.albedo(bright)
    assert clamped.dtype == np.float16 and np.nanmax(clamped) == 1 and np.isnan(clamped[0, 0]).all()


def test_variance_of_the_mean_luminance():
    """Gray noise of one deviation in all channels is that deviation in the luminance."""
    np.testing.assert_allclose(aov_values.variance(np.full((4, 4, 3), 9, np.float32)), 9, rtol=1e-5)


def test_a_textured_albedo_under_noisy_light_may_be_refused_but_a_flat_one_never():
    assert aov_values.looks_lit(DATA["albedo"], DATA["beauty"]) == ""
    assert "noise of the beauty" in aov_values.looks_lit(DATA["dim_diffuse"], DATA["beauty"])
    assert "outside 0 to 1" in aov_values.looks_lit(DATA["diffuse"], DATA["beauty"])

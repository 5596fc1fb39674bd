"""Pictures: what lies beside the pixels comes through byte for byte, depth and alpha stay, nothing is lost silently."""

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mdenoise import models, pipeline
from mdenoise.adapters import adapter_for, srgb, srgb_boxes
from mdenoise.adapters.srgb_photo import library
from mdenoise.config import Options
from mdenoise.engines import open_engine
from mdenoise.errors import InputError, MDenoiseError, OutputError, UsageError
from mdenoise.frame import Filtered

Image = pytest.importorskip("PIL.Image", reason='pip install "mdenoise[photo]"')
codecs = pytest.importorskip("imagecodecs", reason='pip install "mdenoise[photo]"')
tifffile = pytest.importorskip("tifffile", reason='pip install "mdenoise[photo]"')

XMP = b'<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rating>5</rating></x:xmpmeta><?xpacket end="w"?>'
ICC = struct.pack(">I", 70000) + np.random.default_rng(7).bytes(69996)  # longer than one segment of a JPEG file
SIGMA = 0.06


def scene(height=80, width=112):
    """Clean RGB in [0.1, 0.9]: slopes, an edge and a wave."""
    y, x = np.mgrid[:height, :width] / width
    picture = np.dstack([x, 0.8 - y, 0.5 + 0.4 * np.sin(12 * x)])
    picture[:, width // 2 :] *= 0.6
    return 0.1 + 0.8 * np.clip(picture, 0, 1)


def noisy(white=255, channels=3, height=80, width=112):
    """`scene` with Gaussian noise, as whole numbers up to `white`."""
    clean = scene(height, width)
    clean = {1: clean[..., 1], 3: clean, 4: np.dstack([clean, clean[..., 0] / 2])}[channels]
    picture = np.clip(clean + np.random.default_rng(3).normal(0, SIGMA, clean.shape), 0, 1)
    return np.rint(white * picture).astype(np.uint8 if white == 255 else np.uint16)


def exif_of(orientation=6):
    exif = Image.Exif()
    exif[0x10F], exif[0x112] = "Maker", orientation
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8769)[0x927C] = b"maker's own \x00\xff" * 30
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes()


@pytest.fixture(scope="module")
def denoise():
    """denoise(src, dst, **options): the real line with one engine for all tests of this file."""
    card = models.load_card()
    engine = open_engine(card, Options())

    def run(src, dst, **options):
        return pipeline.denoise_file(Path(src), Path(dst), engine, card, Options(**options))

    return run


def save(path, pixels, **how):
    Image.fromarray(pixels).save(path, **how)
    return path


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


def is_cleaner(before, after, white):
    """The noise went down by more than half in the flat half of the scene, and the picture stayed."""
    clean = scene()[..., : before.shape[2]] if before.ndim == 3 else scene()[..., 1]
    errors = [np.std(one / white - clean) for one in (before, after)]
    return errors[1] < 0.5 * errors[0] and np.abs(after / white - clean).mean() < 0.04


def jpeg_segments(path):
    with Image.open(path) as image:
        comment = [("COM", image.info["comment"])] if "comment" in image.info else []
        return [*(one for one in image.applist if one[0] not in ("APP14", "COM")), *comment]


def png_chunks(data):
    at, found = 8, []
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, payload = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size)[0] == zlib.crc32(kind + payload)
        found.append((kind, payload))
        at += 12 + size
    return found


def png(pixels, *chunks):
    """A PNG file by libpng with further chunks before its pixels."""
    first, *rest = png_chunks(codecs.png_encode(pixels))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
        for kind, payload in (first, *chunks, *rest)
    )


# What lies beside the pixels


@pytest.mark.parametrize(("sampling", "progressive"), [(2, False), (1, True), (0, False)])
def test_jpeg_keeps_segments_tables_and_sampling(tmp_path, denoise, sampling, progressive):
    src = save(
        tmp_path / "a.jpg", noisy(), quality=93, subsampling=sampling, progressive=progressive, exif=exif_of(),
        icc_profile=ICC, xmp=XMP, comment=b"mine",
    )  # fmt: skip
    denoise(src, tmp_path / "b.jpg")
    found = jpeg_segments(tmp_path / "b.jpg")
    ours = [one for one in found if one[0] == "APP15"]
    assert len(ours) == 1 and [one for one in found if one not in ours] == jpeg_segments(src)
    with Image.open(src) as before, Image.open(tmp_path / "b.jpg") as after:
        assert after.quantization == before.quantization and after.layer == before.layer
        assert after.info.get("progressive") == before.info.get("progressive")
        assert after.getexif()[0x112] == 6 and after.size == before.size
        assert after.info["exif"] == before.info["exif"] and after.info["icc_profile"] == ICC
        assert is_cleaner(np.asarray(before), np.asarray(after), 255)


@pytest.mark.parametrize("white", [255, 65535])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_keeps_depth_alpha_and_chunks(tmp_path, denoise, white, channels):
    pixels = noisy(white, 3 if channels > 2 else 1)
    if channels % 2 == 0:
        alpha = np.random.default_rng(5).integers(0, white + 1, pixels.shape[:2]).astype(pixels.dtype)
        pixels = np.dstack([pixels, alpha])
    beside = (
        (b"gAMA", struct.pack(">I", 45455)), (b"sBIT", bytes([8 if white == 255 else 12] * channels)),
        (b"iCCP", b"wide\0\0" + zlib.compress(ICC)), (b"eXIf", exif_of()[6:]), (b"tEXt", b"Title\0of mine"),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), (b"tIME", bytes(7)), (b"prVt", b"private"),
    )  # fmt: skip
    src = tmp_path / "a.png"
    src.write_bytes(png(pixels, *beside))
    denoise(src, tmp_path / "b.png")
    found = png_chunks((tmp_path / "b.png").read_bytes())
    assert [one for one in found if one[0] not in (b"IHDR", b"IDAT", b"IEND")][: len(beside)] == list(beside)
    assert found[0] == png_chunks(src.read_bytes())[0]  # size, depth, colour type
    result = codecs.png_decode((tmp_path / "b.png").read_bytes())
    assert result.dtype == pixels.dtype and result.shape == pixels.shape
    if channels % 2 == 0:
        assert (result[..., -1] == pixels[..., -1]).all()
    colors = 3 if channels > 2 else 1
    before, after = (one.reshape(80, 112, -1)[..., :colors] for one in (pixels, result))
    assert is_cleaner(np.squeeze(before), np.squeeze(after), white)


TIFFS = {
    "strips": {"rowsperstrip": 13},
    "one strip": {},
    "tiles": {"tile": (32, 48), "compression": "zlib", "predictor": True},
    "planar": {"planarconfig": "separate", "compression": "lzw", "predictor": True},
    "big-endian": {"byteorder": ">", "compression": "lzw", "predictor": True, "rowsperstrip": 20},
    "BigTIFF": {"bigtiff": True, "compression": "packbits"},
}


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "float16"])
@pytest.mark.parametrize("layout", TIFFS)
def test_tiff_keeps_layout_depth_alpha_and_tags(tmp_path, denoise, kind, layout):
    how = dict(TIFFS[layout])
    if kind == "float16" and how.get("predictor"):
        how["predictor"] = False
    pixels = noisy(255 if kind == "uint8" else 65535)
    pixels = pixels.astype(kind) if kind[0] == "u" else (4 * (pixels / 65535) ** 2.2).astype(kind)
    extra = np.random.default_rng(5).integers(0, 200, (80, 112, 2)).astype(kind)  # alpha, and a channel nobody knows
    whole = np.dstack([pixels, extra])
    stored = np.moveaxis(whole, -1, 0) if layout == "planar" else whole
    src = tmp_path / "a.tif"
    tags = [(700, 1, len(XMP), XMP, True), (274, 3, 1, 8, True), (65000, 7, 5, b"own\0!", True)]
    tifffile.imwrite(
        src, stored, photometric="rgb", extrasamples=["unassalpha", "unspecified"], iccprofile=ICC, metadata=None,
        description="mine", software="theirs", extratags=tags, **how,
    )  # fmt: skip
    denoise(src, tmp_path / "b.tif")
    with tifffile.TiffFile(src) as before, tifffile.TiffFile(tmp_path / "b.tif") as after:
        moved = {"StripOffsets", "StripByteCounts", "TileOffsets", "TileByteCounts"}
        theirs, ours = (
            {t.code: (t.dtype, t.value) for t in one.pages[0].tags if t.name not in moved} for one in (before, after)
        )
        assert ours.pop(65117)[1].startswith('{"version"') and ours == theirs
        assert (after.byteorder, after.is_bigtiff, len(after.pages)) == (before.byteorder, before.is_bigtiff, 1)
        result = np.moveaxis(after.asarray(), 0, -1) if layout == "planar" else after.asarray()
    assert result.dtype == whole.dtype and (result[..., 3:] == extra).all()
    if kind[0] == "u":
        assert is_cleaner(pixels, result[..., :3], np.iinfo(kind).max)
    else:
        flat = np.s_[20:60, 10:50, 1]
        assert np.std(np.diff(result[flat].astype(float))) < 0.5 * np.std(np.diff(pixels[flat].astype(float)))
        assert result[..., :3].max() > 1.5  # linear values are not clipped


def test_tiff_exif_and_makers_notes_stay_where_they_are(tmp_path, denoise):
    src = save(tmp_path / "a.tif", noisy(), exif=exif_of(), icc_profile=ICC)
    denoise(src, tmp_path / "b.tif")
    before, after = src.read_bytes(), (tmp_path / "b.tif").read_bytes()
    with tifffile.TiffFile(src) as tiff:
        page = tiff.pages[0]
        pixels = [(at, at + n) for at, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        pointer = page.tags[34665].valueoffset
    same = np.frombuffer(before, np.uint8) == np.frombuffer(after[: len(before)], np.uint8)
    for start, end in [*pixels, (4, 8)]:  # and the place of the directory
        same[start:end] = True
    assert same.all() and pointer < len(before)
    with Image.open(src) as one, Image.open(tmp_path / "b.tif") as other:
        assert other.getexif().get_ifd(0x8769) == one.getexif().get_ifd(0x8769)
        assert other.getexif()[0x112] == 6 and other.size == one.size


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_keeps_chunks_and_alpha(tmp_path, denoise, lossless):
    pixels = np.dstack([noisy(), np.random.default_rng(5).integers(0, 256, (80, 112)).astype(np.uint8)])
    src = save(
        tmp_path / "a.webp", pixels, lossless=lossless, exact=True, quality=95, exif=exif_of(), icc_profile=ICC, xmp=XMP
    )
    report = denoise(src, tmp_path / "b.webp")
    with Image.open(src) as before, Image.open(tmp_path / "b.webp") as after:
        for name in ("exif", "icc_profile", "xmp"):
            assert after.info[name] == before.info[name]
        assert (np.asarray(after)[..., 3] == np.asarray(before)[..., 3]).all()
        assert is_cleaner(np.asarray(before)[..., :3], np.asarray(after)[..., :3], 255)
    assert (b"VP8L" in (tmp_path / "b.webp").read_bytes()) == lossless
    assert any("quality 95" in note for note in report.notes) != lossless


@pytest.mark.parametrize("orientation", [1, 2, 5, 6, 8])
def test_avif_keeps_items_orientation_and_alpha(tmp_path, denoise, orientation):
    pixels = np.dstack([noisy(), np.random.default_rng(5).integers(0, 256, (80, 112)).astype(np.uint8)])
    beside = {"exif": exif_of(orientation), "icc_profile": ICC, "xmp": XMP}
    src = save(tmp_path / "a.avif", pixels, quality=95, subsampling="4:2:2", **beside)
    denoise(src, tmp_path / "b.avif")
    with Image.open(src) as before, Image.open(tmp_path / "b.avif") as after:
        for name in ("exif", "icc_profile", "xmp"):
            assert after.info[name] == before.info[name]
        assert after.getexif().get(0x112, 1) == orientation and after.size == before.size
        one, other = (np.asarray(image) for image in (before, after))
    assert (other[..., 3] == one[..., 3]).all()
    assert is_cleaner(one[..., :3], other[..., :3], 255)
    was, now = (srgb_boxes.parse(path.read_bytes()) for path in (src, tmp_path / "b.avif"))
    kept = [n for n in was.items if n != was.primary]
    assert kept and all(now.items[n] == was.items[n] for n in kept)
    av1c = [dict(one.of(one.primary))[b"av1C"] for one in (was, now)]
    assert av1c[0][2] == av1c[1][2]  # depth and subsampling


@pytest.mark.parametrize("bits", [10, 12])
def test_avif_of_ten_and_twelve_bits(tmp_path, denoise, bits):
    white = 2**bits - 1
    (tmp_path / "a.avif").write_bytes(codecs.avif_encode(noisy(white), level=95, speed=9, bitspersample=bits))
    denoise(tmp_path / "a.avif", tmp_path / "b.avif")
    before, after = (codecs.avif_decode((tmp_path / name).read_bytes()) for name in ("a.avif", "b.avif"))
    assert after.dtype == np.uint16 and white // 2 < after.max() <= white and is_cleaner(before, after, white)
    assert srgb.read(tmp_path / "b.avif").bits == bits


def heic(path, pixels, bits=8, **how):
    heif = pytest.importorskip("pillow_heif", reason='pip install "mdenoise[heif]"')
    mode = {2: "L", 3: "RGB", 4: "RGBA"}[pixels.ndim if pixels.ndim == 2 else pixels.shape[2]]
    mode = mode if bits == 8 else f"{mode};{bits}"
    with path.open("wb") as stream:
        heif.encode(mode, pixels.shape[1::-1], np.ascontiguousarray(pixels).tobytes(), stream, quality=95, **how)
    return path


@pytest.mark.parametrize(("bits", "orientation", "chroma"), [(8, 1, 420), (8, 6, 444), (10, 7, 420), (12, 2, 422)])
def test_heic_keeps_items_depth_and_orientation(tmp_path, denoise, bits, orientation, chroma):
    beside = {"exif": exif_of(orientation), "icc_profile": ICC, "xmp": XMP}
    src = heic(tmp_path / "a.heic", noisy(2**bits - 1), bits, chroma=chroma, **beside)
    denoise(src, tmp_path / "b.heic")
    import pillow_heif

    one, other = (pillow_heif.open_heif(path, convert_hdr_to_8bit=False, hdr_to_16bit=False)
                  for path in (src, tmp_path / "b.heic"))  # fmt: skip
    for name in ("exif", "icc_profile", "xmp", "bit_depth", "chroma"):
        assert other.info[name] == one.info[name], name
    assert other.size == one.size  # turned, as a viewer shows them
    before, after = (np.asarray(image) / (2**bits - 1) for image in (one, other))
    noise = [np.std(np.diff(image[..., 1])) for image in (before, after)]
    assert np.abs(after - before).mean() < 0.08 and noise[1] < 0.6 * noise[0]


# Depth


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_sixteen_bits(tmp_path, denoise, suffix):
    ramp = np.linspace(0, 65535, 512 * 640).reshape(512, 640)
    pixels = np.clip(ramp[..., None] + np.random.default_rng(1).normal(0, 500, (512, 640, 3)), 0, 65535)
    pixels = np.rint(pixels).astype(np.uint16)
    src = tmp_path / f"a{suffix}"
    if suffix == ".png":
        src.write_bytes(codecs.png_encode(pixels))
    else:
        tifffile.imwrite(src, pixels, photometric="rgb", compression="zlib")
    denoise(src, tmp_path / f"b{suffix}")
    data = (tmp_path / f"b{suffix}").read_bytes()
    result = codecs.png_decode(data) if suffix == ".png" else tifffile.imread(io.BytesIO(data))
    assert result.dtype == np.uint16 and all(len(np.unique(result[..., c])) > 60_000 for c in range(3))
    assert np.std(result - ramp[..., None]) < 250  # and they are not those of the noise


# Colours and layouts that need a decision


def test_palette_and_bilevel_become_full_colour_and_say_so(tmp_path, denoise):
    flat = Image.fromarray(noisy()).quantize(64)
    flat.save(tmp_path / "p.png", transparency=3)
    report = denoise(tmp_path / "p.png", tmp_path / "q.png")
    with Image.open(tmp_path / "p.png") as source:
        alpha = np.asarray(source.convert("RGBA"))[..., 3]
    result = codecs.png_decode((tmp_path / "q.png").read_bytes())
    assert result.shape == (80, 112, 4) and (result[..., 3] == alpha).all() and 0 < (alpha == 0).mean() < 1
    assert any("palette" in note for note in report.notes)
    Image.fromarray(noisy(255, 1)).convert("1").save(tmp_path / "1.png")
    report = denoise(tmp_path / "1.png", tmp_path / "2.png")
    assert any("1 bit" in note for note in report.notes)
    result = codecs.png_decode((tmp_path / "2.png").read_bytes())
    assert result.ndim == 2 and len(np.unique(result)) > 50 and result.max() > 200


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_becomes_alpha(tmp_path, denoise, depth):
    pixels = noisy(2**depth - 1)
    pixels[:20, :20] = 7
    (tmp_path / "a.png").write_bytes(png(pixels, (b"tRNS", struct.pack(">3H", 7, 7, 7))))
    denoise(tmp_path / "a.png", tmp_path / "b.png")
    result = codecs.png_decode((tmp_path / "b.png").read_bytes())
    expected = np.where((pixels == 7).all(axis=-1), 0, 2**depth - 1)
    assert result.dtype == pixels.dtype and (result[..., 3] == expected).all()


def test_grey_and_cmyk_jpeg_stay_what_they_are(tmp_path, denoise):
    src = save(tmp_path / "g.jpg", noisy(255, 1), quality=92)
    denoise(src, tmp_path / "h.jpg")
    assert is_cleaner(pixels_of(src), pixels_of(tmp_path / "h.jpg"), 255)
    cmyk = Image.fromarray(noisy()).convert("CMYK")
    cmyk.save(tmp_path / "c.jpg", quality=95, icc_profile=ICC)
    report = denoise(tmp_path / "c.jpg", tmp_path / "d.jpg")
    assert "CMYK" in report.roles_line
    with Image.open(tmp_path / "c.jpg") as before, Image.open(tmp_path / "d.jpg") as after:
        assert after.mode == "CMYK" and after.info["icc_profile"] == ICC
        assert after.info["adobe_transform"] == before.info["adobe_transform"]
        assert is_cleaner(np.asarray(before.convert("RGB")), np.asarray(after.convert("RGB")), 255)


def test_progressive_noise_that_the_encoder_cannot_buffer_is_written_all_the_same(tmp_path, denoise):
    pixels = np.random.default_rng(2).integers(0, 256, (320, 320, 3)).astype(np.uint8)
    save(tmp_path / "a.jpg", pixels, qtables=[[1] * 64], subsampling=0)
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    photo = srgb.read(tmp_path / "a.jpg")
    coding, extra = photo.layout
    asked = replace(photo, changed=True, layout=(replace(coding, progressive=True), extra))
    srgb.write(srgb.Restored(asked, b"{}"), tmp_path / "b.jpg")
    assert (pixels_of(tmp_path / "b.jpg") == pixels_of(tmp_path / "a.jpg")).mean() > 0.9 and len(data) > 200_000


def test_rgb_jpeg_stays_rgb(tmp_path, denoise):
    src = save(tmp_path / "a.jpg", noisy(), quality=95, keep_rgb=True, subsampling=0)
    denoise(src, tmp_path / "b.jpg")
    assert is_cleaner(pixels_of(src), pixels_of(tmp_path / "b.jpg"), 255)
    with Image.open(src) as before, Image.open(tmp_path / "b.jpg") as after:
        assert before.layer == after.layer


def test_white_is_zero_tiff(tmp_path, denoise):
    tifffile.imwrite(tmp_path / "a.tif", 255 - noisy(255, 1), photometric="miniswhite")
    denoise(tmp_path / "a.tif", tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert int(tiff.pages[0].photometric) == 0
        assert is_cleaner(noisy(255, 1), 255 - tiff.asarray(), 255)


def write_tiff(path, *pages, **how):
    with tifffile.TiffWriter(path) as tiff:
        for page in pages:
            tiff.write(page, metadata=None, **how)


def mpo(path, kind, second=None):
    """Two pictures with an MPF index, the second of this kind."""
    second = Image.fromarray(noisy()[::-1].copy() if second is None else second)
    Image.fromarray(noisy()).save(path, format="MPO", save_all=True, append_images=[second])
    data = bytearray(path.read_bytes())
    at = data.index(b"MPF\0") + 4
    order = "<" if data[at : at + 2] == b"II" else ">"
    entries = at + struct.unpack_from(order + "I", data, data.index(struct.pack(order + "H", 0xB002), at) + 8)[0]
    struct.pack_into(order + "I", data, entries, 0x030000)
    struct.pack_into(order + "I", data, entries + 16, kind)
    path.write_bytes(data)
    return path


def animation(path, **how):
    frames = [Image.fromarray(noisy()), Image.fromarray(noisy()[::-1].copy())]
    frames[0].save(path, save_all=True, append_images=frames[1:], **how)


REFUSED = {
    "a.png": ("animation", lambda p: animation(p, format="PNG")),
    "a.webp": ("animation", lambda p: animation(p)),
    "a.avif": ("several pictures", lambda p: animation(p)),
    "p.tif": ("2 pages", lambda p: write_tiff(p, noisy(), noisy(), photometric="rgb")),
    "m.jpg": ("2 pictures", lambda p: mpo(p, 0x020002)),
    "i.tif": ("uint32|32 bits", lambda p: write_tiff(p, noisy().astype(np.uint32), photometric="rgb")),
    "d.tif": ("64 bits", lambda p: write_tiff(p, noisy() / 255.0, photometric="rgb")),
    "j.tif": ("JPEG", lambda p: write_tiff(p, noisy(), photometric="rgb", compression="jpeg")),
    "x.tif": ("PALETTE", lambda p: write_tiff(
        p, noisy(255, 1), photometric="palette", colormap=np.zeros((3, 256), np.uint16))),
    "l.jpg": ("not a PNG, JPEG", lambda p: p.write_bytes(b"no picture at all")),
    "e.png": ("not a PNG, JPEG", lambda p: p.write_bytes(b"")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_reason(tmp_path, name):
    reason, make = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(InputError, match=reason) as caught:
        srgb.read(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_heic_of_several_pictures_is_refused(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason='pip install "mdenoise[heif]"')
    both = heif.from_pillow(Image.fromarray(noisy()))
    both.add_from_pillow(Image.fromarray(noisy()[::-1].copy()))
    both.save(tmp_path / "a.heic", save_all=True)
    with pytest.raises(InputError, match="several pictures"):
        srgb.read(tmp_path / "a.heic")


def test_smaller_copies_in_a_tiff_are_left_out_and_said(tmp_path, denoise):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(noisy(), photometric="rgb", metadata=None)
        tiff.write(noisy()[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
    report = denoise(tmp_path / "a.tif", tmp_path / "b.tif")
    assert any("smaller copies" in note for note in report.notes)
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert len(tiff.pages) == 1
    denoise(tmp_path / "a.tif", tmp_path / "c.tif", strength=0.0)  # nothing is changed, so they show what is there
    with tifffile.TiffFile(tmp_path / "c.tif") as tiff:
        assert len(tiff.pages) == 2


# Gain maps


def ultra_hdr(path):
    y, x = np.mgrid[:96, :128] / 128
    light = np.dstack([2 * x, y, x * y, np.ones_like(x)]).astype(np.float16)
    path.write_bytes(codecs.ultrahdr_encode(light, level=92))
    return path


def test_gain_map_is_kept_dropped_or_refused(tmp_path, denoise):
    src = ultra_hdr(tmp_path / "a.jpg")
    report = denoise(src, tmp_path / "keep.jpg")
    assert any("gain map is kept" in note for note in report.notes)
    source = src.read_bytes()
    kept = (tmp_path / "keep.jpg").read_bytes()
    second = source[source.index(b"\xff\xd9\xff\xd8") + 2 :]
    assert kept.endswith(second)
    hdr = [codecs.ultrahdr_decode(data)[..., :3].astype(float) for data in (source, kept)]
    assert hdr[1].max() > 1.5 and np.abs(hdr[1] - hdr[0]).mean() < 0.03  # by the index, whose places have moved
    denoise(src, tmp_path / "drop.jpg", gain_map="drop")
    dropped = (tmp_path / "drop.jpg").read_bytes()
    assert not any(word in dropped for word in (b"21496", b"MPF\0", b"GainMap")) and dropped.count(b"\xff\xd8\xff") == 1
    with pytest.raises(InputError, match="gain map"):
        denoise(src, tmp_path / "refuse.jpg", gain_map="refuse")
    assert not (tmp_path / "refuse.jpg").exists()


def test_dropping_a_gain_map_blanks_what_xmp_says_of_it(tmp_path, denoise):
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
        b'hdrgm:Version="1.0" xmp:Rating="4"><Container:Directory><rdf:Seq><rdf:li><Container:Item Item:Semantic='
        b'"GainMap" Item:Length="99"/></rdf:li></rdf:Seq></Container:Directory></rdf:Description></x:xmpmeta>'
    )
    first = save(tmp_path / "f.jpg", noisy(), xmp=xmp).read_bytes()
    second = save(tmp_path / "s.jpg", noisy()[::2, ::2], quality=80).read_bytes()
    motion = b"\0\0\0\x18ftypmp42 and a film"
    (tmp_path / "a.jpg").write_bytes(first + second + motion)  # only appended, without an index
    denoise(tmp_path / "a.jpg", tmp_path / "k.jpg")
    assert (tmp_path / "k.jpg").read_bytes().endswith(second + motion)
    denoise(tmp_path / "a.jpg", tmp_path / "d.jpg", gain_map="drop")
    dropped = (tmp_path / "d.jpg").read_bytes()
    assert dropped.endswith(b"\xff\xd9" + motion) and second not in dropped
    with Image.open(tmp_path / "d.jpg") as image:
        left = image.info["xmp"]
    assert len(left) == len(xmp) and b'xmp:Rating="4"' in left
    assert b"hdrgm:Version" not in left and b"Directory" not in left


def test_large_previews_of_cameras_are_left_out_and_said(tmp_path, denoise):
    mpo(tmp_path / "a.jpg", 0x010002, noisy()[::2, ::2])
    report = denoise(tmp_path / "a.jpg", tmp_path / "b.jpg")
    result = (tmp_path / "b.jpg").read_bytes()
    assert any("preview" in note for note in report.notes) and b"MPF\0" not in result
    assert result.count(b"\xff\xd8\xff") == 1


def test_further_pictures_of_no_known_kind_are_kept_and_said(tmp_path, denoise):
    src = mpo(tmp_path / "a.jpg", 0)
    report = denoise(src, tmp_path / "b.jpg")
    assert any("1 further pictures" in note for note in report.notes)
    with Image.open(src) as before, Image.open(tmp_path / "b.jpg") as after:
        before.seek(1), after.seek(1)  # by the index, whose places have moved
        assert (np.asarray(before) == np.asarray(after)).all()


def test_heic_and_avif_gain_maps_are_items(tmp_path, denoise):
    src = heic(tmp_path / "a.heic", noisy(), chroma=420, exif=exif_of())
    found = srgb_boxes.parse(src.read_bytes())
    aux = srgb_boxes.parse(heic(tmp_path / "g.heic", noisy(255, 1)[::2, ::2]).read_bytes())
    new, base = max(found.items) + 1, len(found.properties)
    links = tuple((base + index, essential) for index, essential in aux.associated[aux.primary])
    with_map = replace(
        found, items={**found.items, new: replace(aux.items[aux.primary], flags=1)},
        references=(*found.references, (b"auxl", new, (found.primary,))),
        properties=(*found.properties, *aux.properties,
                    (b"auxC", b"\0\0\0\0urn:com:apple:photo:2020:aux:hdrgainmap\0")),
        associated={**found.associated, new: (*links, (base + len(aux.properties), True))},
    )  # fmt: skip
    src.write_bytes(srgb_boxes.build(with_map))
    import pillow_heif

    name = "urn:com:apple:photo:2020:aux:hdrgainmap"
    assert name in pillow_heif.open_heif(src).info["aux"]
    report = denoise(src, tmp_path / "k.heic")
    assert any("gain map is kept" in note for note in report.notes)
    assert name in pillow_heif.open_heif(tmp_path / "k.heic").info["aux"]
    assert srgb_boxes.parse((tmp_path / "k.heic").read_bytes()).items[new].data == aux.items[aux.primary].data
    denoise(src, tmp_path / "d.heic", gain_map="drop")
    dropped = pillow_heif.open_heif(tmp_path / "d.heic")
    assert not dropped.info["aux"] and dropped.info["exif"] == pillow_heif.open_heif(src).info["exif"]
    with pytest.raises(InputError, match="gain map"):
        denoise(src, tmp_path / "r.heic", gain_map="refuse")


# Strength, brightness and colour, stamps


def sources(folder):
    """One file of every format, with Exif, profile and XMP."""
    beside = {"exif": exif_of(), "icc_profile": ICC}
    (folder / "t.png").write_bytes(png(noisy(65535), (b"tEXt", b"mdenoisy\0no stamp")))
    found = [
        save(folder / "a.jpg", noisy(), quality=90, **beside), save(folder / "b.png", noisy(), **beside),
        save(folder / "c.tif", noisy(), **beside), save(folder / "d.webp", noisy(), xmp=XMP, **beside),
        save(folder / "e.avif", noisy(), xmp=XMP, **beside), folder / "t.png",
    ]  # fmt: skip
    return [*found, heic(folder / "f.heic", noisy(), exif=exif_of())] if has_heif() else found


def has_heif():
    try:
        library("pillow_heif")
    except InputError:
        return False
    return True


def test_stamp_is_found_replaced_and_costs_no_field(tmp_path, denoise):
    (tmp_path / "out").mkdir()
    for src in sources(tmp_path):
        assert srgb.provenance(src) == {}
        dst = tmp_path / "out" / src.name
        denoise(src, dst)
        found = adapter_for(dst).provenance(dst)
        assert found["source"] == src.name and found["source_size"] == str(src.stat().st_size), src.name
        again = tmp_path / "out" / f"again-{src.name}"
        denoise(dst, again, strength=0.5)
        assert srgb.provenance(again)["source"] == dst.name and srgb.provenance(again)["options"] == "strength=0.5"
        if src.suffix != ".tif":  # where the old one is bytes that nothing points to
            assert again.read_bytes().count(b'"source_mtime_ns"') == 1


def test_strength_zero_keeps_every_coded_pixel(tmp_path, denoise):
    (tmp_path / "out").mkdir()
    for src in sources(tmp_path):
        dst = tmp_path / "out" / src.name
        denoise(src, dst, strength=0.0)
        one, other = srgb.read(src), srgb.read(dst)
        assert (one.color == other.color).all() and srgb.provenance(dst)["options"] == "strength=0.0", src.name
        assert dst.stat().st_size < src.stat().st_size + 1500


def test_luma_and_chroma_apart(tmp_path, denoise):
    src = tmp_path / "a.png"
    pixels = 16384 + noisy(65535) // 2  # nothing is clipped
    src.write_bytes(codecs.png_encode(pixels))

    def result(**options):
        denoise(src, tmp_path / "b.png", **options)
        picture = codecs.png_decode((tmp_path / "b.png").read_bytes()).astype(float)
        (tmp_path / "b.png").unlink()
        return picture

    before, full = pixels.astype(float), result()
    grey = result(chroma=0.0)
    assert np.abs(grey.mean(axis=2) - full.mean(axis=2)).max() < 2  # brightness is that of the full result,
    assert np.abs((grey - before) - (grey - before).mean(axis=2, keepdims=True)).max() < 2  # and no colour was changed
    color = result(luma=0.0)
    assert np.abs(color.mean(axis=2) - before.mean(axis=2)).max() < 2
    half = result(luma=0.5, chroma=0.5)
    assert np.abs(half - (before + full) / 2).max() < 2
    assert np.abs(result(luma=0.5, chroma=0.5, strength=0.5) - (0.75 * before + 0.25 * full)).max() < 2


def test_encoding_follows_the_values_unless_told(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noisy(255) / np.float32(255), photometric="rgb")
    save(tmp_path / "a.png", noisy())
    for name, told, expected in (
        ("a.tif", "auto", "linear"),
        ("a.tif", "srgb", "srgb"),
        ("a.png", "auto", "srgb"),
        ("a.png", "linear", "linear"),
    ):
        (job,) = srgb.adapt(srgb.read(tmp_path / name), Options(encoding=told))
        assert job.planes.encoding == expected and job.planes.color.max() <= 1


def test_options_of_layers_are_refused(tmp_path):
    photo = srgb.read(save(tmp_path / "a.png", noisy()))
    for options in (Options(uncertainty=True), Options(albedo="albedo.exr")):
        with pytest.raises(UsageError, match="a picture has none"):
            srgb.adapt(photo, options)


# Other formats


def test_another_format_takes_profile_exif_and_xmp(tmp_path, denoise):
    src = save(tmp_path / "a.jpg", noisy(), quality=95, exif=exif_of(8), icc_profile=ICC, xmp=XMP, comment=b"mine")
    for suffix in (".png", ".tif", ".webp", ".avif", *([".heic"] if has_heif() else [])):
        dst = tmp_path / f"b{suffix}"
        report = denoise(src, dst)
        assert any("a comment" in note for note in report.notes)
        found = srgb.read(dst)
        assert found.icc == ICC and found.xmp == XMP, suffix
        if suffix == ".tif":
            with Image.open(dst) as image:
                assert image.getexif().get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
                assert image.getexif()[0x112] == 8
            assert is_cleaner(noisy(), tifffile.imread(dst), 255)
        else:
            assert found.exif == exif_of(8)[6:], suffix
            assert is_cleaner(noisy(), found.color, 255), suffix
        back = tmp_path / f"back{suffix}.jpg"
        denoise(dst, back, strength=0.0)
        with Image.open(back) as image:
            assert image.getexif()[0x112] == 8 and image.info["icc_profile"] == ICC


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_becomes_a_turn_of_the_container(tmp_path, denoise, orientation):
    from PIL import ImageOps

    src = save(tmp_path / "a.jpg", np.kron(noisy()[:10, :14], np.ones((8, 8, 1), np.uint8)), exif=exif_of(orientation))
    with Image.open(src) as image:
        shown = np.asarray(ImageOps.exif_transpose(image)).astype(float)
    for suffix in (".avif", *([".heic"] if has_heif() else [])):
        dst = tmp_path / f"b{suffix}"
        denoise(src, dst, strength=0.0)
        if suffix == ".avif":
            with Image.open(dst) as image:
                result = np.asarray(ImageOps.exif_transpose(image))
        else:
            result = np.asarray(library("pillow_heif").open_heif(dst))
        assert result.shape == shown.shape and np.abs(result - shown).mean() < 3
        denoise(dst, tmp_path / f"back{suffix}.png", strength=0.0)
        with Image.open(tmp_path / f"back{suffix}.png") as image:
            assert image.getexif().get(0x112, 1) == orientation


def test_what_another_format_cannot_hold_is_said_or_refused(tmp_path, denoise):
    rgba = np.dstack([noisy(65535), noisy(65535, 1)])
    (tmp_path / "a.png").write_bytes(codecs.png_encode(rgba))
    notes = " ".join(denoise(tmp_path / "a.png", tmp_path / "a.jpg").notes)
    assert "16 bits a channel become 8" in notes and "alpha is left out" in notes
    denoise(tmp_path / "a.png", tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.asarray().dtype == np.uint16 and (tiff.asarray()[..., 3] == rgba[..., 3]).all()
    Image.fromarray(noisy()).convert("CMYK").save(tmp_path / "c.jpg")
    with pytest.raises(OutputError, match="CMYK"):
        denoise(tmp_path / "c.jpg", tmp_path / "c.png")
    tifffile.imwrite(tmp_path / "f.tif", scene().astype(np.float32), photometric="rgb")
    with pytest.raises(OutputError, match="linear float"):
        denoise(tmp_path / "f.tif", tmp_path / "f.png")
    assert not (tmp_path / "c.png").exists() and not (tmp_path / "f.png").exists()


def test_content_wins_over_a_wrong_name(tmp_path, denoise):
    save(tmp_path / "right.png", noisy())
    (tmp_path / "right.png").rename(tmp_path / "wrong.jpg")
    denoise(tmp_path / "wrong.jpg", tmp_path / "out.jpg")
    assert (tmp_path / "out.jpg").read_bytes()[:4] == b"\x89PNG"


# Damage


def test_damaged_files_are_errors_of_one_line(tmp_path):
    random = np.random.default_rng(11)
    broken, lines, good = tmp_path / "broken", [], 0
    for src in sources(tmp_path):
        data = src.read_bytes()
        for trial in range(24):
            bad = bytearray(data)
            if trial < 8:
                bad = bad[: random.integers(0, len(bad))]
            else:
                for at in random.integers(0, min(len(bad), 3000 if trial % 2 else len(bad)), 4):
                    bad[at] ^= 1 << random.integers(0, 8)
            path = broken.with_suffix(src.suffix)
            path.write_bytes(bad)
            try:
                (job,) = srgb.adapt(srgb.read(path), Options())
                same = Filtered({"color": job.planes.layers["color"]})  # as if it had been filtered
                srgb.write(srgb.restore(job.photo, [job], [same], {"a": "b"}), path, overwrite=True)
                good += 1
            except MDenoiseError as error:
                lines.append(str(error))
    assert len(lines) > 60 and good > 10
    assert all("\n" not in line and "broken." in line for line in lines)


def test_sizes_that_the_file_cannot_hold_are_refused_before_memory_is_taken(tmp_path):
    src = save(tmp_path / "a.jpg", noisy())
    data = bytearray(src.read_bytes())
    at = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, at + 5, 65500, 65500)
    src.write_bytes(data)
    with pytest.raises(InputError, match="claims 65500 x 65500"):
        srgb.read(src)


def test_a_missing_library_is_named_with_its_extra(monkeypatch, tmp_path):
    (tmp_path / "a.png").write_bytes(png(noisy()))
    import sys

    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(InputError, match=r'pip install "mdenoise\[photo\]"'):
        srgb.read(tmp_path / "a.png")

import cv2
import numpy as np
import pytest

from synth_detect_ros.errors import MessageError
from synth_detect_ros.images.depth import BitDepth
from synth_detect_ros.nodes.encodings import (
    ENCODINGS,
    IncompleteImageError,
    UnknownEncodingError,
    decode_pixels,
)

BAYER = {'r': 0, 'g': 1, 'b': 2}
YUV = ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', 'nv21')


def picture(width: int = 32, height: int = 24) -> np.ndarray:
    """Return a smooth picture in which the three channels differ everywhere."""
    v, u = np.mgrid[:height, :width].astype(float)
    return np.stack([200 - 2 * u, 40 + 3 * v, 90 + u + v], axis=2).astype(np.uint8)


def encode(rgb: np.ndarray, encoding: str) -> np.ndarray:
    """Return (rows, W * channels) pixels of an encoding, straight from its definition."""
    r, g, b = np.moveaxis(rgb, 2, 0)
    name = encoding.removesuffix('16') if encoding.endswith('16') else encoding.removesuffix('8')
    if name in ('mono', '8UC1', '16UC1'):
        out = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    elif name.startswith('bayer_'):
        out = np.empty_like(r)
        for i, letter in enumerate(name.removeprefix('bayer_')):
            out[i // 2 :: 2, i % 2 :: 2] = rgb[i // 2 :: 2, i % 2 :: 2, BAYER[letter]]
    elif name in YUV:
        # ITU-R BT.601, studio swing, the same chroma for each pair of pixels.
        r, g, b = (c.astype(float) for c in (r, g, b))
        y = 16 + (65.738 * r + 129.057 * g + 25.064 * b) / 256
        u = 128 + (-37.945 * r - 74.494 * g + 112.439 * b) / 256
        v = 128 + (112.439 * r - 94.154 * g - 18.285 * b) / 256
        even = np.arange(r.shape[1]) % 2 == 0
        if name == 'nv21':  # brightness, then V and U in turn, the same for 2x2 pixels
            out = np.concatenate([y, np.where(even, v, np.roll(u, 1, axis=1))[::2]])
        else:
            chroma = np.where(even, u, np.roll(v, 1, axis=1))
            pair = (chroma, y) if name in ('yuv422', 'uyvy') else (y, chroma)
            out = np.stack(pair, axis=2)
        out = out.round().astype(np.uint8)
    else:
        alpha = np.full_like(r, 255)
        order = {
            'rgb': (r, g, b), 'bgr': (b, g, r), '8UC3': (b, g, r),
            'rgba': (r, g, b, alpha), 'bgra': (b, g, r, alpha),
        }[name]  # fmt: skip
        out = np.stack(order, axis=2)
    if encoding.startswith('16') or encoding.endswith('16'):
        out = out.astype(np.uint16) * 257
    return out.reshape(len(out), -1)


@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('encoding', ENCODINGS)
def test_every_encoding_gives_the_picture_back(encoding, padding, big_endian):
    pixels = encode(picture(), encoding)
    if big_endian:
        pixels = pixels.astype(pixels.dtype.newbyteorder('>'))
    rows = np.ascontiguousarray(pixels).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    step = padded.shape[1]
    got = decode_pixels(padded.tobytes(), 32, 24, step, encoding, big_endian=big_endian)
    want = picture()
    if 'mono' in encoding or encoding in ('8UC1', '16UC1'):
        want = cv2.cvtColor(cv2.cvtColor(want, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    assert got.shape == want.shape and got.dtype == np.uint8
    # Chroma and Bayer neighbours are interpolated; the border has no neighbours.
    inner = (slice(2, -2), slice(2, -2))
    tolerance = 5 if 'bayer' in encoding or encoding in YUV else 0
    assert np.abs(got[inner].astype(int) - want[inner]).max() <= tolerance


def test_16_bits_are_scaled_over_their_full_range():
    words = np.array([[0, 128, 129, 65535]], np.uint16)
    got = decode_pixels(words.tobytes(), 4, 1, 8, 'mono16', big_endian=False)
    assert got[0, :, 0].tolist() == [0, 0, 1, 255]


WORDS = [encoding for encoding, (_, size, _) in ENCODINGS.items() if size == 2]


@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('bits', [10, 12, 14, 16])
@pytest.mark.parametrize('encoding', WORDS)
def test_picture_is_the_same_in_however_many_bits(encoding, bits, big_endian):
    """Of the camera's bits as they are, and of the same shifted up to 16."""
    full = encode(picture(), encoding)
    full[0, :3] = 65535  # white somewhere
    order = '>u2' if big_endian else '<u2'

    def decode(words, depth):
        data = words.astype(order).tobytes()
        return decode_pixels(
            data, 32, 24, 2 * full.shape[1], encoding, big_endian=big_endian, depth=depth
        ).astype(int)

    want = decode(full, BitDepth(16))
    low = full >> (16 - bits)
    for depth in (BitDepth(bits), BitDepth()):
        assert np.abs(decode(low, depth) - want).max() <= 1
    assert np.abs(decode(low << (16 - bits), BitDepth()) - want).max() <= 1


def test_one_number_of_bits_counts_for_a_stream(caplog):
    """A darker image behind a bright one stays darker, and what is found is said once."""
    depth = BitDepth()

    def grey(value):
        data = np.full((2, 2), value, np.uint16).tobytes()
        return int(decode_pixels(data, 2, 2, 4, 'mono16', big_endian=False, depth=depth)[0, 0, 0])

    assert grey(200) == 1 and not caplog.records  # night tells nothing
    assert [grey(4095), grey(2048), grey(200), grey(0)] == [255, 128, 12, 0]
    assert len(caplog.records) == 1 and '12 bits are taken for white' in caplog.text
    assert [grey(65535), grey(4095)] == [255, 16]
    assert len(caplog.records) == 2 and '16 bits are taken for white, no longer 12' in caplog.text


def test_what_uses_the_whole_range_is_not_spoken_of(caplog):
    words = np.array([[0, 128, 129, 65535]], np.uint16)
    got = decode_pixels(words.tobytes(), 4, 1, 8, 'mono16', big_endian=False, depth=BitDepth())
    assert got[0, :, 0].tolist() == [0, 0, 1, 255] and not caplog.records


def test_more_than_the_given_white_is_white():
    words = np.array([[4095, 4096, 65535]], np.uint16)
    got = decode_pixels(words.tobytes(), 3, 1, 6, 'mono16', big_endian=False, depth=BitDepth(12))
    assert (got == 255).all()


def test_unknown_encoding_lists_the_known_ones():
    with pytest.raises(UnknownEncodingError, match=r"'jpeg9' is not known\..*bayer_rggb8"):
        decode_pixels(b'', 1, 1, 1, 'jpeg9', big_endian=False)


@pytest.mark.parametrize('length', [0, 1, 24 * 96 - 1])
def test_half_an_image_is_told_apart(length):
    with pytest.raises(IncompleteImageError, match=f'{length} of {24 * 96} bytes'):
        decode_pixels(bytes(length), 32, 24, 96, 'rgb8', big_endian=False)


def test_chroma_belongs_to_the_image():
    with pytest.raises(IncompleteImageError, match=f'{24 * 32} of {36 * 32} bytes'):
        decode_pixels(bytes(24 * 32), 32, 24, 32, 'nv21', big_endian=False)


@pytest.mark.parametrize(
    ('width', 'height', 'step'), [(0, 4, 12), (4, 0, 12), (4, 4, 11)], ids=['w', 'h', 'step']
)
def test_contradicting_sizes_are_refused(width, height, step):
    with pytest.raises(MessageError, match=f'its step is {step}') as raised:
        decode_pixels(bytes(999), width, height, step, 'rgb8', big_endian=False)
    assert not isinstance(raised.value, IncompleteImageError)


def test_pixels_that_cannot_have_their_encoding_are_refused():
    with pytest.raises(MessageError, match='3x2 pixels cannot be yuyv'):
        decode_pixels(bytes(12), 3, 2, 6, 'yuyv', big_endian=False)


def test_any_contradiction_is_refused_and_nothing_else_raised():
    rng = np.random.default_rng(0)
    sizes = [0, 1, 2, 3, 7, 8, 16, 2**15, 2**16 + 1, 2**31, 2**32 - 1]
    for _ in range(5000):
        encoding = str(rng.choice([*ENCODINGS, '', '32FC1']))
        width, height, step = (int(v) for v in rng.choice(sizes, 3))
        data = bytes(int(rng.choice([0, 1, 64, 1000, 70_000])))
        try:
            image = decode_pixels(data, width, height, step, encoding, big_endian=False)
        except MessageError:
            continue
        assert image.shape == (height, width, 3) and image.dtype == np.uint8


def test_rgb8_is_not_copied():
    data = bytearray(12)
    image = decode_pixels(data, 2, 2, 6, 'rgb8', big_endian=False)
    data[0] = 9
    assert image[0, 0, 0] == 9


def test_cv_bridge_agrees_where_it_is_installed():
    cv_bridge = pytest.importorskip('cv_bridge', reason='cv_bridge has no wheel')
    messages = pytest.importorskip('sensor_msgs.msg')
    for encoding in set(ENCODINGS) - {'8UC1', '16UC1', '8UC3', 'uyvy', 'yuyv', 'nv21'}:
        pixels = np.ascontiguousarray(encode(picture(), encoding)).view(np.uint8)
        message = messages.Image(
            width=32, height=24, step=pixels.shape[1], encoding=encoding, data=pixels.tobytes()
        )
        peer = cv_bridge.CvBridge().imgmsg_to_cv2(message, 'rgb8')
        ours = decode_pixels(message.data, 32, 24, message.step, encoding, big_endian=False)
        assert np.abs(ours.astype(int) - peer).max() <= 1, encoding

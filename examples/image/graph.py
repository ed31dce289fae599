"""The whole image classifier in one graph: base64, PNG, resize, normalize, network, the best labels.

The graphs are in the text format of https://github.com/onnx/onnx/blob/main/docs/Syntax.md. DecodeImage is an
operator of onnxruntime-extensions; Tokenizer, which splits a string into characters, is one of ONNX Runtime.
"""

import json
import string
from collections.abc import Sequence

import onnx

from examples.image.transform import BEST, MAX_PIXELS, MEAN, SIZE, STD

OPSET = 18  # also of the network
HEADER = f"""<ir_version: 10, opset_import:
["": {OPSET}, "ai.onnx.ml": 3, "com.microsoft": 1, "com.microsoft.extensions": 1]>"""

# `=`, which pads the last group, is 64; a character that is not base64 is -1.
ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/="

BEFORE = """
before (string[batch] image) => (float[batch, 3, {size}, {size}] x)
<int64[1] flat = {{-1}}, int64[1] zero = {{0}}, int64 none = {{0}},
 int64[2] fours = {{-1, 4}}, int64[1] last = {{1}}, int64[4] places = {{262144, 4096, 64, 1}},
 int64[3] shifts = {{65536, 256, 1}}, int64 fill = {{64}}, int64 byte = {{256}},
 int64[29] nothing = {{{nothing}}}, int64[1] head_size = {{29}}, int64[6] fields = {{8, 8, 4, 4, 4, 1}},
 int64[8] png_start = {{137, 80, 78, 71, 13, 10, 26, 10}}, int64[4] powers = {{16777216, 65536, 256, 1}},
 int64 max_pixels = {{{max_pixels}}},
 int64[3] colours = {{1, 1, 3}}, int64[2] sizes = {{{size}, {size}}}, float full = {{255}},
 float[3, 1, 1] mean = {{{mean}}}, float[3, 1, 1] std = {{{std}}}, bool true = {{1}}>
{{
  count = Size(image)
  x = Loop(count, true) <body = one (int64 i, bool go) => (bool on, float[3, {size}, {size}] pixels) {{
    on = Identity(go)
    {base64} {guard} {decode}
  }}>
}}
"""

# Four characters are 24 bits, which make three bytes.
BASE64 = """
    text = Gather(image, i)
    texts = Reshape(text, flat)
    characters = com.microsoft.Tokenizer<mark = 0, mincharnum = 1, pad_value = "", separators = [""]>(texts)
    digits = ai.onnx.ml.LabelEncoder
        <keys_strings = {keys}, values_int64s = {values}, default_int64 = -1>(characters)
    lowest = ReduceMin<keepdims = 0>(digits)
    is_base64 = GreaterOrEqual(lowest, none)
    groups = Reshape(digits, fours)
    six_bits = Mod(groups, fill)
    placed = Mul(six_bits, places)
    bits = ReduceSum(placed, last)
    shifted = Div(bits, shifts)
    triples = Mod(shifted, byte)
    bytes = Reshape(triples, flat)
    are_fills = Equal(groups, fill)
    ones = Cast<to = 7>(are_fills)
    fills = ReduceSum<keepdims = 0>(ones)
    filled_size = Size(bytes)
    size = Sub(filled_size, fills)
"""

# Files that must not reach the decoder are truncated to zero bytes, which it rejects: anything but a PNG,
# because a broken JPEG ends the process; a PNG that is too large; an interlaced PNG, which it misreads.
GUARD = """
    padded = Concat<axis = 0>(bytes, nothing)
    head = Slice(padded, zero, head_size)
    start, chunk, width_bytes, height_bytes, kind, interlace = Split<axis = 0>(head, fields)
    same = Equal(start, png_start)
    same_ones = Cast<to = 7>(same)
    all_same = ReduceMin(same_ones)
    is_png = Cast<to = 9>(all_same)
    width_parts = Mul(width_bytes, powers)
    width = ReduceSum(width_parts)
    height_parts = Mul(height_bytes, powers)
    height = ReduceSum(height_parts)
    area = Mul(width, height)
    is_small = LessOrEqual(area, max_pixels)
    is_whole = Equal(interlace, none)
    is_small_png = And(is_png, is_small)
    is_good_png = And(is_small_png, is_whole)
    {jpeg}
    is_good = And(is_base64, is_file)
    good = Cast<to = 7>(is_good)
    end = Mul(size, good)
"""
PNG_ONLY = "is_file = Identity(is_good_png)"
PNG_OR_JPEG = """
    jpeg_start = Constant<value_ints = [255, 216]>()
    two = Constant<value_ints = [2]>()
    jpeg_head = Slice(padded, zero, two)
    jpeg_same = Equal(jpeg_head, jpeg_start)
    jpeg_ones = Cast<to = 7>(jpeg_same)
    jpeg_all = ReduceMin(jpeg_ones)
    is_jpeg = Cast<to = 9>(jpeg_all)
    is_file = Or(is_good_png, is_jpeg)
"""

# A grayscale JPEG has one channel. A CMYK JPEG has four and fails at Expand.
DECODE = """
    kept = Slice(bytes, zero, end)
    file = Cast<to = 2>(kept)
    decoded = com.microsoft.extensions.DecodeImage<color_space = "rgb">(file)
    rgb = Expand(decoded, colours)
    floats = Cast<to = 1>(rgb)
    planes = Transpose<perm = [2, 0, 1]>(floats)
    image_1 = Unsqueeze(planes, zero)
    resized = Resize<mode = "linear", antialias = 1, exclude_outside = 1, axes = [2, 3]>(image_1, , , sizes)
    resized_1 = Squeeze(resized, zero)
    unit = Div(resized_1, full)
    centred = Sub(unit, mean)
    pixels = Div(centred, std)
"""

AFTER = """
after (float[batch, {classes}] scores) => (string[batch, {best}] labels, float[batch, {best}] probabilities)
<int64[1] most = {{{best}}}>
{{
  shares = Softmax(scores)
  probabilities, indices = TopK(shares, most)
  labels = ai.onnx.ml.LabelEncoder<keys_int64s = {keys}, values_strings = {labels}>(indices)
}}
"""


def wrap(network: onnx.ModelProto, classes: Sequence[str], *, jpeg: bool = False) -> onnx.ModelProto:
    """Add the pre- and post-processing to the network.

    Args:
        network: x, FP32 [batch, 3, SIZE, SIZE] → scores, FP32 [batch, classes], of opset OPSET.
        classes: the labels, in the order of the scores.
        jpeg: whether to accept JPEG, too. Safe only if callers send no broken files.

    Returns:
        image, base64 in STRING [batch] → labels, STRING [batch, BEST], and probabilities, FP32 [batch, BEST].
    """
    before = HEADER + BEFORE.format(
        size=SIZE,
        max_pixels=MAX_PIXELS,
        nothing=_list([0] * 29),
        mean=_list(MEAN),
        std=_list(STD),
        base64=BASE64.format(keys=json.dumps([*ALPHABET]), values=[*range(len(ALPHABET))]),
        guard=GUARD.format(jpeg=PNG_OR_JPEG if jpeg else PNG_ONLY),
        decode=DECODE,
    )
    after = HEADER + AFTER.format(
        classes=len(classes), best=BEST, keys=[*range(len(classes))], labels=json.dumps(classes)
    )
    merged = onnx.compose.merge_models(
        onnx.parser.parse_model(before), onnx.compose.add_prefix(network, "network/"), [("x", "network/x")]
    )
    return onnx.compose.merge_models(
        merged, onnx.parser.parse_model(after), [("network/scores", "scores")], name="image"
    )


def _list(numbers: Sequence[float]) -> str:
    return ", ".join(map(str, numbers))

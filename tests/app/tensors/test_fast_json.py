"""Large bodies: `fast_json` and orjson give the same result, bit for bit and error for error."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import pytest

from app.errors import InvalidRequest
from app.protocols import score
from app.tensors import fast_json
from app.tensors.datatypes import DATATYPES
from model_loader.package import TensorSpec

DATATYPE_CHOICES = (
    "FP32",
    "FP32",
    "FP64",
    "FP16",
    "BF16",
    "FP8E5M2",
    "INT64",
    "UINT64",
    "INT32",
    "UINT8",
    "INT4",
)
NUMBERS = (
    *(
        "0",
        "-0",
        "-0.0",
        "0e0",
        "1",
        "-1",
        "7",
        "255",
        "256",
        "0.1",
        "-2.5",
        "1.0",
        "1E5",
        "1e-5",
        "3e2",
        "1e-400",
    ),
    *(
        "65504",
        "65520",
        "3.4028236e38",
        "1e300",
        "1e400",
        "9007199254740993",
        "-9007199254740993",
        "4611686018427387905",
    ),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"),
    *(
        "18446744073709551615",
        "18446744073709551616",
        "1152921573326323713",
        "123456789012345678901234567890",
    ),
    *("2.2250738585072011e-308", "5e-324", "0.30000000000000004", "1.00000000000000011102230246251565404"),
)
NON_NUMBERS = (
    "null",
    "true",
    "false",
    '"NaN"',
    '"1"',
    '"]"',
    "[]",
    "[1]",
    "{}",
    '{"a":1}',
    "01",
    "+1",
    "NaN",
    "1.",
    ".5",
    "",
    "-",
)
MUTATIONS = '[],{}":0123456789.eE+- \n\ttfnu\\é\0'


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut small bodies into many pieces."""
    monkeypatch.setattr(fast_json, "_PIECE_BYTES", 20)
    monkeypatch.setattr(fast_json, "_WINDOW_BYTES", 64)


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that decodes a body, by `fast_json` if it has at least `min_bytes` bytes."""

    def decode(
        body: bytes, specs: Sequence[TensorSpec], features: Sequence[str] | None, min_bytes: int
    ) -> Any:
        monkeypatch.setattr(fast_json, "LARGE_BYTES", min_bytes)
        try:
            inputs, rows = score.decode_json(body, {spec.name: spec for spec in specs}, features, len(body))
        except InvalidRequest as exc:
            return str(exc)
        arrays = {
            name: (value.dtype, value.shape, value.tobytes())
            if isinstance(value, np.ndarray)
            else repr(value)
            for name, value in inputs.items()
        }
        return arrays, rows

    return decode


def document(rng: random.Random) -> tuple[bytes, list[TensorSpec], Sequence[str] | None]:
    """Return a random body, more often valid than not, with the specs and features to decode it."""
    numbers = rng.sample(NUMBERS, rng.choice((1, 3, len(NUMBERS))))
    kind = rng.randrange(5)

    def number() -> str:
        if kind == 0:
            return rng.choice(numbers)
        if kind == 1:
            integer = rng.randrange(10 ** rng.randrange(1, 25))
            return f"{integer}.{rng.randrange(10**24)}e{rng.randrange(-30, 12)}"
        return repr(rng.uniform(-1, 1)) if kind == 2 else str(rng.randrange(-5 * (kind - 3), 100))

    space = rng.choice(["", "", " ", " \n\t\r"])

    def tensor(shape: Sequence[int]) -> str:
        if not shape:
            return rng.choice(NON_NUMBERS) if rng.random() < error_rate else number()
        lengths = (shape[0] + rng.choice((-1, 1))) if rng.random() < error_rate else shape[0]
        return f"[{space}" + f"{space},{space}".join(tensor(shape[1:]) for _ in range(lengths)) + f"{space}]"

    error_rate = rng.choice((0, 0, 0.02))
    specs, texts = [], []
    for name in rng.sample(["x", "y", "z", "is_true", "ü"], rng.choice((1, 1, 1, 1, 2))):
        shape = [rng.randrange(1, 6) for _ in range(rng.randrange(1, 5))]
        texts.append(tensor(shape))
        shapes: list[tuple[int | str, ...] | None] = [
            tuple(shape),
            ("n", *shape[1:]),
            tuple("abcd"[: len(shape)]),
            None,
        ]
        declared = rng.choice(shapes if rng.random() < 0.9 else [(*shape, 1)])
        datatype = rng.choice(DATATYPE_CHOICES)
        if rng.random() < 0.05:
            datatype = rng.choice(
                ("STRING", "BOOL", f"seq({datatype})", f"optional({datatype})", "map(STRING, FP32)")
            )
        specs.append(TensorSpec(name, datatype, declared))
    template = rng.choice(
        (
            '{{{0}"inputs"{0}:{0}{1}{0}}}',
            '{{"instances":{1}}}',
            '{{"inputs":{1},"signature_name":"s"}}',
            '{{"columns":["b","a"],"data":{1}}}',
            '{{"input_data":{{"data"{0}:{0}{1},"index":[1],"columns":["x"]}}}}',
        )
    )
    members = [
        f'{space}"{spec.name}"{space}:{space}{text}{space}' for spec, text in zip(specs, texts, strict=True)
    ]
    if rng.random() < 0.05:
        members.append(rng.choice(members))
    value = texts[0] if rng.random() < 0.5 and len(texts) == 1 else f"{{{','.join(members)}}}"
    text = template.format(space, value)
    for _ in range(rng.choice((0, 0, 1, 2))):
        at, to = rng.randrange(len(text)), rng.randrange(len(text))
        moved = text[at] if text[at] in "[]," else rng.choice(MUTATIONS)
        text = text[:at] + text[at + rng.randrange(2) :]
        text = text[:to] + moved + text[to:]
    return text.encode(), specs, rng.choice((None, None, ("a", "b")))


def test_same_result(outcome: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of documents, valid and invalid, give the same result; enough of them use `fast_json`."""
    rng, fast_count, error_count = random.Random(20), 0, 0
    for _ in range(8000):
        body, specs, features = document(rng)
        fast, slow = (outcome(body, specs, features, min_bytes) for min_bytes in (0, 1 << 40))
        assert fast == slow, (body, specs)
        fast_count += score._load_large(body, {spec.name: spec for spec in specs}, len(body)) is not None
        error_count += isinstance(slow, str)
    assert fast_count > 750
    assert error_count > 1000


@pytest.mark.parametrize(
    "value",
    [
        "[[1,2],[3]]",
        "[[1],[2,3]]",
        "[1,[2,3]]",
        "[[1,2],3]",
        "[[1,[2]],[3,4]]",
        "[[1],[2],]",
        "[[1],[2]],",
        "[,[1],[2]]",
        "[[1],,[2]]",
        "[[1][2]]",
        "[[1],[2][3]]",
        "[1[],[]2]",
        "[[[]],[[1]]]",
        "[[],[1]]",
        "[[1,],[2]]",
        "[[1,2]],[[3,4]]",
        "[[1,2],[3,4]]]",
        "[[[1,2],[3,4]]",
        "[[1,2],[3,4]}",
        "[_1,2Y]",
        "[1,2,3 4]",
        "[1,2,3]\ufeff",
        '[[1,"],["],[2,3]]',
        "[" * 65 + "1" + "]" * 65,
        "[" * 100_000,
        "[]" * 100_000,
    ],
)
@pytest.mark.parametrize(
    "template", ['{"inputs":{"x":%s}}', '{"inputs":%s}', '{"instances":%s}', '\ufeff{"inputs":%s}']
)
def test_falls_back(outcome: Callable[..., Any], value: str, template: str) -> None:
    """`fast_json` does not read what is not a numeric tensor; the error is the same as without it."""
    specs, body = [TensorSpec("x", "FP32", None)], (template % value).encode()
    assert score._load_large(body, {"x": specs[0]}, len(body)) is None
    assert outcome(body, specs, None, 0) == outcome(body, specs, None, 1 << 40)


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT64", "UINT8"])
@pytest.mark.parametrize("shape", [(20_000,), (20_000, 1), (1, 3, 50, 100), (7, 1, 3000)])
def test_large_body(datatype: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A large array is read unchanged, with and without spaces."""
    monkeypatch.undo()
    array = np.random.default_rng(0).integers(0, 256, shape).astype(DATATYPES[datatype])
    if array.dtype.kind == "f":
        array /= 7
    spec = TensorSpec("x", datatype, ("n", *shape[1:]))
    for body in (
        orjson.dumps({"inputs": array.tolist()}),
        json.dumps({"instances": array.tolist()}).encode(),
    ):
        assert score._load_large(body, {"x": spec}, len(body)) is not None
        (read,) = score.decode_json(body, {"x": spec}, None, len(body))[0].values()
        assert (read.dtype, read.shape, read.tobytes()) == (array.dtype, array.shape, array.tobytes())

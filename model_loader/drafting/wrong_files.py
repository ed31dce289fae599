"""Files that are given in place of an ONNX model: what they are, and what to do instead."""

from pathlib import Path
from zipfile import BadZipFile, ZipFile

from model_loader.errors import DraftError, PackageError
from model_loader.package import check_path
from model_loader.package.external_data import external_files

HEAD_BYTES = 512
IN_PYTHON = "load it in Python and draft it there: model_loader.registry.draft(model, x_test, y_test, …)"
TORCH = f"weights or a module of torch; {IN_PYTHON}, or export it with torch.onnx.export"
KERAS = 'a model of Keras; load it in Python and export it: model.export("model.onnx", format="onnx")'
TENSORFLOW = "a model of TensorFlow; convert it: python -m tf2onnx.convert --saved-model DIR --output FILE"
# First bytes of a file → what it is and what to do.
SIGNATURES = {
    b"version https://git-lfs.github.com/spec/": "a pointer of Git LFS; get the file itself: git lfs pull",
    b"\x89HDF\r\n\x1a\n": KERAS,
    b"PAR1": "a Parquet file, which is data: give it as --data",
    b"CBM1": f"a model of CatBoost; {IN_PYTHON}",
    b"tree\nversion=": f"a model of LightGBM; {IN_PYTHON}",
    b"\x1f\x8b": "compressed by gzip; unpack it",
    b"<!DOCTYPE": "a page in HTML, not a download; perhaps the address asks for a login",
    b"<html": "a page in HTML, not a download; perhaps the address asks for a login",
    b"\x93NUMPY": "an array of NumPy, which is data",
}
# Extension → the same, for formats without a signature.
EXTENSIONS = {
    ".pkl": f"a pickle of Python; {IN_PYTHON}",
    ".joblib": f"a pickle of joblib; {IN_PYTHON}",
    ".pt": TORCH,
    ".pth": TORCH,
    ".safetensors": f"weights without a graph; {IN_PYTHON}",
    ".h5": KERAS,
    ".keras": KERAS,
    ".pb": TENSORFLOW,
    ".ubj": f"a model of XGBoost; {IN_PYTHON}",
}


def check_model_file(path: Path) -> None:
    """Refuse a file that is not an ONNX model, and one whose external data is missing.

    Raises:
        DraftError: the message says what it is and what to do.
        PackageError: the external data is outside of the model's directory.
    """
    if path.is_dir():
        raise DraftError(f"{path} is {_directory(path)}")
    if not path.exists():
        raise DraftError(f"{path}: no such file")
    if not path.stat().st_size:
        raise DraftError(f"{path} is empty: export or download the model again")
    if found := other_format(path):
        raise DraftError(f"{path} is not an ONNX model, but {found}")
    try:
        data_files = external_files(path)
    except PackageError as exc:
        raise DraftError(f"{exc}. Is it cut off? Export or download the model again") from exc
    for name in data_files:
        check_path(name)
        if not (path.parent / name).is_file():
            raise DraftError(
                f"{path} has its weights in {name}, which is not beside it: copy what the export wrote"
            )


def other_format(path: Path) -> str | None:
    """Return what a file is in place of an ONNX model, and what to do; None if that is not known."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    for signature, found in SIGNATURES.items():
        if head.startswith(signature):
            return found
    # The tag of the first field of a model, ir_version.
    if path.suffix in EXTENSIONS and not head.startswith(b"\x08"):
        return EXTENSIONS[path.suffix]
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return EXTENSIONS[".pkl"]
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") <= path.stat().st_size:
        return EXTENSIONS[".safetensors"]
    if head[4:8] == b"TFL3":
        return "a model of TensorFlow Lite; convert the TensorFlow model that it was made from with tf2onnx"
    return _text(head)


def _zip(path: Path) -> str:
    try:
        with ZipFile(path) as file:
            names = file.namelist()
    except BadZipFile:
        return "a zip file that is cut off"
    if any(name.endswith("data.pkl") for name in names):
        return TORCH
    if "model.weights.h5" in names:
        return KERAS
    if names and all(name.endswith(".npy") for name in names):
        return "an .npz file of arrays, which is data: give it as --data"
    return f"a zip file with {', '.join(names[:3])}; unpack it"


def _text(head: bytes) -> str | None:
    try:
        text = head.decode("utf-8-sig", errors="strict" if len(head) < HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return None
    if not all(character.isprintable() or character in "\r\n\t" for character in text):
        return None
    if text.lstrip().startswith(("{", "[")):
        return f"JSON; if it is a model of XGBoost, {IN_PYTHON}"
    if any(text.partition("\n")[0].count(delimiter) for delimiter in ",;\t"):
        return "CSV, which is data: give it as --data, and the ONNX file before it"
    return f"a text that begins with {text[:30]!r}"


def _directory(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return TENSORFLOW
    if (path / "config.json").is_file():
        return "a model of Hugging Face; export it: optimum-cli export onnx --model DIR OUTPUT"
    return "a directory: expected an ONNX file, an MLflow model, which has a file MLmodel, or a model package"

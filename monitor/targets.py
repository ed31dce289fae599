"""What a version's feedback is the truth of: from its schema, else from its manifest or `monitor.toml`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model_loader.errors import PackageError
from model_loader.package import (
    BASELINE_FILE,
    MANIFEST_FILE,
    SCHEMA_FILE,
    Manifest,
    parse_manifest,
)
from model_loader.package.baseline import Baseline, parse_baseline
from model_loader.package.schema import FeedbackSchema, Schema, parse_schema
from model_loader.store import Store
from monitor.config import Aggregate, BusinessMetric, Config

# An input or output of the manifest.
Spec = Mapping[str, Any]
FLOATS = ("FP16", "BF16", "FP32", "FP64")


@dataclass(frozen=True)
class Target:
    """What a metric of the feedback is the truth of.

    Attributes:
        metric: name in the feedback.
        output: the output that it is the truth of.
        probabilities: the output that has a probability of each class, or that of the second of two.
        classes: in the order of the probabilities; empty: those that the data has, sorted.
        is_number: whether the truth is a number rather than a class.
    """

    metric: str
    output: str
    probabilities: str | None = None
    classes: tuple[Any, ...] = ()
    is_number: bool = False


@dataclass(frozen=True)
class VersionInfo:
    """What the store of models has of a version; None: the store does not have it."""

    manifest: Manifest | None = None
    schema: Schema | None = None
    baseline: Baseline | None = None


def read_version(store: Store, name: str, version: int) -> VersionInfo:
    """Read manifest, schema and baseline of a version.

    Raises:
        PackageError: a file is invalid.
        StoreError: the store cannot be read.
    """
    content = store.read(f"{name}/{version}/{MANIFEST_FILE}")
    if content is None:
        return VersionInfo()
    manifest = parse_manifest(content[0], f"{name}/{version}/{MANIFEST_FILE}")
    contract = _read(store, f"{name}/{version}/{SCHEMA_FILE}")
    schema = None if contract is None else parse_schema(contract)
    document = _read(store, f"{name}/{version}/{BASELINE_FILE}")
    baseline = None
    if document is not None:
        inputs = {spec["name"] for spec in manifest.inputs} | set(manifest.features or ())
        baseline = parse_baseline(document, inputs, {spec["name"] for spec in manifest.outputs})
        baseline = baseline.without_withheld(schema)
    return VersionInfo(manifest, schema, baseline)


def find_target(info: VersionInfo, config: Config) -> Target | None:
    """Return the target of a version, or None if nothing says what its feedback is the truth of."""
    if config.target:
        declared = config.target
        is_number = not (declared.probabilities or declared.classes) and _is_number(info, declared.output)
        return Target(declared.metric, declared.output, declared.probabilities, declared.classes, is_number)
    if info.schema:
        for feedback in info.schema.feedback.values():
            if feedback.output is not None:
                return _from_schema(info, info.schema, feedback)
    return _from_manifest(info.manifest) if info.manifest else None


def business_metrics(infos: Mapping[int, VersionInfo], config: Config) -> tuple[BusinessMetric, ...]:
    """Return the declared business metrics, and those of the schemas: feedback that is no output's truth."""
    found = {each.name: each for each in config.business}
    declared = {each.metric for each in config.business}
    for info in infos.values():
        for feedback in (info.schema.feedback if info.schema else {}).values():
            if feedback.output is None and feedback.metric not in declared and feedback.type != "label":
                aggregate: Aggregate = "rate" if feedback.type == "boolean" else "mean"
                found.setdefault(feedback.metric, BusinessMetric(feedback.metric, feedback.metric, aggregate))
    return tuple(found.values())


def _read(store: Store, name: str) -> Any:
    content = store.read(name)
    try:
        return None if content is None else json.loads(content[0])
    except ValueError as exc:
        raise PackageError(f"{name} in the store {store.url} is not JSON") from exc


def _from_schema(info: VersionInfo, schema: Schema, feedback: FeedbackSchema) -> Target:
    output = str(feedback.output)
    if feedback.type == "number":
        return Target(feedback.metric, output, is_number=True)
    classes = feedback.classes or ((False, True) if feedback.type == "boolean" else ())
    field = schema.outputs.get(output)
    if field and field.type == "number" and (field.minimum, field.maximum) == (0, 1):
        return Target(feedback.metric, output, output, classes)
    shares = [
        each.name
        for each in schema.outputs.values()
        if each.name != output and each.type == "number" and (each.minimum, each.maximum) == (0, 1)
    ]
    outputs = info.manifest.outputs if info.manifest else ()
    probabilities = shares[0] if len(shares) == 1 else _probabilities(outputs, output)
    return Target(feedback.metric, output, probabilities, classes)


def _from_manifest(manifest: Manifest) -> Target | None:
    """Return the only output that is one value a row as the target, whose feedback has its name."""
    single = [spec for spec in manifest.outputs if _is_single(spec)]
    labels = [spec for spec in single if spec["datatype"] not in FLOATS]
    if len(labels) == 1:
        output = labels[0]["name"]
        probabilities = _probabilities(manifest.outputs, output)
        return Target(output, output, probabilities, _classes(manifest, labels[0], probabilities))
    if len(single) == len(manifest.outputs) == 1:
        return Target(single[0]["name"], single[0]["name"], is_number=True)
    return None


def _classes(manifest: Manifest, label: Spec, probabilities: str | None) -> tuple[Any, ...]:
    """Return the labels in the order of the probabilities, as far as the manifest says it."""
    if label["datatype"] == "STRING":
        return manifest.classes or ()
    shapes = [spec["shape"] for spec in manifest.outputs if spec["name"] == probabilities]
    size = shapes[0][-1] if shapes and shapes[0] else None
    count = size if isinstance(size, int) else len(manifest.classes or ())
    return (False, True) if label["datatype"] == "BOOL" else tuple(range(count))


def _probabilities(outputs: Sequence[Spec], label: str) -> str | None:
    found = [spec["name"] for spec in outputs if spec["name"] != label and not _is_single(spec)]
    return found[0] if len(found) == 1 else None


def _is_single(spec: Spec) -> bool:
    """Return whether an output has one value a row."""
    return "(" not in spec["datatype"] and all(size == 1 for size in (spec["shape"] or ())[1:])


def _is_number(info: VersionInfo, output: str) -> bool:
    specs = info.manifest.outputs if info.manifest else ()
    return any(spec["name"] == output and spec["datatype"] in FLOATS and _is_single(spec) for spec in specs)

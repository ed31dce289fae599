"""The content of a card, from the manifest and the schema of a package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from model_loader.text_tables import number


@dataclass(frozen=True)
class CardTable:
    """A table: a header, and rows of texts."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Card:
    """A model's card.

    Attributes:
        title: name and version.
        paragraphs: title of a section → its text.
        tables: title of a section → its table.
        facts: what was recorded of the training: a name and a text each.
        links: name → URL; a fact with the same name is shown as the link.
        metadata: the head that model hubs read: https://huggingface.co/docs/hub/model-cards.
    """

    title: str
    digest: str
    paragraphs: Mapping[str, str]
    tables: Mapping[str, CardTable]
    facts: Sequence[tuple[str, str]]
    links: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def other_links(self) -> dict[str, str]:
        """Return the links that no fact is shown with."""
        names = {name for name, _ in self.facts}
        return {name: url for name, url in self.links.items() if name not in names}


def read_card(manifest: Mapping[str, Any], schema: Mapping[str, Any] | None, digest: str) -> Card:
    """Return the card of a package.

    Args:
        manifest: a `manifest.json` that has been checked.
        schema: its `schema.json`, checked; None: there is none.
        digest: of the package.
    """
    title = f"{manifest['name']}/{manifest.get('version', 0)}"
    paragraphs = {
        "Description": manifest.get("description", ""),
        "Intended use": manifest.get("intended_use", ""),
        "Limits": manifest.get("limitations", ""),
        "Licence": manifest.get("licence", ""),
    }
    tables = {
        "Metrics": _metrics(manifest),
        "Metrics by slice": _slices(manifest.get("slices", ())),
        "Inputs": _specs(manifest.get("inputs", ())),
        "Features": _features(manifest.get("features", ()), schema or {}),
        "Outputs": _specs(manifest.get("outputs", ())),
    }
    return Card(
        title=title,
        digest=digest,
        paragraphs={name: text for name, text in paragraphs.items() if text},
        tables={name: table for name, table in tables.items() if table.rows},
        facts=tuple((name, text) for name, text in _facts(manifest) if text),
        links=manifest.get("links", {}),
        metadata=_metadata(title, manifest),
    )


def _metrics(manifest: Mapping[str, Any]) -> CardTable:
    intervals = manifest.get("intervals", {})
    rows = [
        (name, number(value), " to ".join(map(number, intervals[name])) if name in intervals else "-")
        for name, value in manifest.get("metrics", {}).items()
    ]
    return CardTable(("Metric", "Value", "Interval of 95 %"), rows)


def _slices(slices: Sequence[Mapping[str, Any]]) -> CardTable:
    names = list(dict.fromkeys(name for each in slices for name in each["metrics"]))
    rows = [
        (
            each["name"],
            f"{each['rows']:,}" if "rows" in each else "-",
            *(number(each["metrics"].get(name)) for name in names),
        )
        for each in slices
    ]
    return CardTable(("Slice", "Rows", *names), rows)


def _specs(specs: Sequence[Mapping[str, Any]]) -> CardTable:
    rows = [(spec["name"], spec["datatype"], _shape(spec["shape"])) for spec in specs]
    return CardTable(("Name", "Type", "Shape"), rows)


def _shape(shape: Sequence[Any] | None) -> str:
    return "-" if shape is None else f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _features(names: Sequence[str], schema: Mapping[str, Any]) -> CardTable:
    declared = schema.get("features", {})
    rows = [
        (
            name,
            about.get("type", "-"),
            about.get("unit") or "-",
            _range(about),
            about.get("description") or "-",
        )
        for name in (names or declared if declared else ())
        for about in (declared.get(name, {}),)
    ]
    return CardTable(("Feature", "Type", "Unit", "Values", "Description"), rows)


def _range(about: Mapping[str, Any]) -> str:
    if categories := about.get("categories"):
        return ", ".join(map(str, categories))
    low, high = about.get("min"), about.get("max")
    if low is None and high is None:
        return "-"
    if low is None or high is None:
        return f"up to {high}" if low is None else f"from {low}"
    return f"{low} to {high}"


def _facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, training = manifest.get("data", {}), manifest.get("training", {})
    rows = f"{data['rows']:,} rows" if isinstance(data.get("rows"), int) else ""
    snapshots = "; ".join(
        f"{each['digest']}, {each['rows']:,} rows, {each['since']} to {each['until']}"
        for each in data.get("snapshots", ())
    )
    parent = manifest.get("parent")
    return [
        ("Published", ", by ".join(filter(None, (manifest.get("created"), manifest.get("publisher"))))),
        ("Trained", training.get("finished") or ""),
        ("Parent", f"{manifest['name']}/{parent}" if parent else ""),
        ("Features", ", ".join(manifest.get("features", ()))),
        ("Classes", ", ".join(map(str, manifest.get("classes", ())))),
        ("Data", ", ".join(filter(None, (data.get("name"), str(data.get("version") or ""), rows)))),
        ("Data digest", f"sha256:{data['sha256']}" if data.get("sha256") else ""),
        ("Snapshots", snapshots),
        ("Training commit", training.get("commit") or ""),
        ("Hyperparameters", _inline(training.get("hyperparameters"))),
        ("Frameworks", _inline(training.get("frameworks"))),
    ]


def _inline(values: Any) -> str:
    if not isinstance(values, Mapping):
        return ""
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _metadata(title: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    metrics = [
        {"type": name, "value": value, "name": name} for name, value in manifest.get("metrics", {}).items()
    ]
    metadata: dict[str, Any] = {"library_name": "onnx"}
    if licence := manifest.get("licence"):
        metadata["license"] = licence
    if tags := manifest.get("tags"):
        metadata["tags"] = list(tags)
    if metrics:
        kind = "tabular-classification" if manifest.get("classes") else "tabular-regression"
        data = str(manifest.get("data", {}).get("name") or "unknown")
        result = {"task": {"type": kind}, "dataset": {"name": data, "type": data}, "metrics": metrics}
        metadata["model-index"] = [{"name": title, "results": [result]}]
    return metadata

// The model's card: the same as `python -m model_loader card`.

import { $, fillTable, make, pairs, write } from "./dom.js";
import { ago, count, dateAndAge, inline, joined, short, typeOf } from "./format.js";
import { setModel } from "./outputs.js";

export function renderTitle(model) {
  setModel(model);
  const { manifest } = model;
  document.title = `${model.name} ${model.version}`;
  if (model.service?.name) write($("service"), model.service.name);
  $("name").replaceChildren(model.name, make("span", {}, `/${model.version}`));
  const trained = manifest.training?.finished ?? manifest.created;
  const signed = model.signed ? "signature verified" : "no verified signature";
  write($("about"), joined(" · ", `version ${model.version}`, manifest.description, trained && `trained ${ago(Date.parse(trained))}`, signed));
}

export function renderCard(model) {
  const { manifest } = model;
  const { data, training, created, publisher, parent, classes } = manifest;
  write($("digest"), model.digest);
  write($("purpose"), manifest.intended_use ?? manifest.description ?? "");
  const intervals = manifest.intervals ?? {};
  const evaluation = Object.entries(manifest.metrics ?? {}).map(([name, value]) => [
    name,
    intervals[name] ? [short(value), make("small", {}, ` ${short(intervals[name][0])} to ${short(intervals[name][1])}`)] : short(value),
  ]);
  $("evaluation").replaceChildren(...pairs(evaluation));
  const specs = (list) => list.map((spec) => `${spec.name}: ${typeOf(spec)}`).join("\n");
  const facts = [
    ["Limits", manifest.limitations],
    ["Licence", manifest.licence],
    ["Tags", manifest.tags?.join(", ")],
    ["Signature", model.signed ? "Verified" : "None that was verified"],
    ["Trained", training?.finished && dateAndAge(training.finished)],
    ["Published", created && joined(", by ", dateAndAge(created), publisher)],
    ["Parent", parent ? `Version ${parent}` : manifest.name && "None"],
    ["Inputs", specs(model.inputs)],
    ["Outputs", specs(model.outputs)],
    ["Classes", classes?.join(", ")],
    ["Training data", joined(", ", data?.name, data?.version, data?.rows && `${count(data.rows)} rows`)],
    ["Snapshots", data?.snapshots?.map(({ digest, since, until, rows }) => `${digest.slice(0, 19)}…: ${count(rows)} rows, ${since} to ${until}`).join("\n")],
    ["Data digest", data?.sha256 && `sha256:${data.sha256}`],
    ["Training commit", training?.commit],
    ["Trained with", joined("\n", inline(training?.hyperparameters), inline(training?.frameworks))],
    ["Service", model.service && `${model.service.name}, template ${model.service.template_version}`],
    ["Manifest", !manifest.name && "None: the model is a single file without metadata"],
  ];
  const urls = safeLinks(manifest.links);
  const linked = facts.map(([name, text]) => [name, text && urls.has(name) ? link(urls.get(name), text) : text]);
  const others = [...urls].filter(([name]) => !facts.some(([fact, text]) => fact === name && text));
  const links = others.flatMap(([name, url], i) => [...(i ? [", "] : []), link(url, name)]);
  $("facts").replaceChildren(...pairs([...linked, ["Links", links.length && links]]));
  renderSlices(manifest.slices);
}

// A manifest is not trusted with a link that runs a script.
function safeLinks(given) {
  return new Map(Object.entries(given ?? {}).filter(([, url]) => /^https?:\/\//.test(url)));
}

function link(url, text) {
  return make("a", { href: url, rel: "noreferrer" }, text);
}

function renderSlices(slices) {
  $("slices").hidden = !slices?.length;
  if (!slices?.length) return;
  const names = [...new Set(slices.flatMap(({ metrics }) => Object.keys(metrics)))];
  const rows = slices.map(({ name, rows, metrics }) => [name, rows === undefined ? "–" : count(rows), ...names.map((metric) => (metric in metrics ? short(metrics[metric]) : "–"))]);
  $("slices").replaceChildren(fillTable(make("table"), ["Slice", "Rows", ...names], rows));
}

// The form: a field for each column, or for each input, with JSON for tensors. Samples fill it.

import { clearAnswer, renderError, renderOutputs, renderPending } from "./answer.js";
import { $, copyOnClick, make, write } from "./dom.js";
import { jsonField, scalarDepth, scalarField } from "./fields.js";
import { isNumber } from "./format.js";
import { base, ENDED, errorOf, makeTurns, request } from "./service.js";
import { curl, renderSnippets } from "./snippets.js";
import { enableTable } from "./table.js";

const turns = makeTurns();
let model;
let fields = [];
let isRow = false;
let examples = [];
let onUnauthorized;

export function renderForm(about, askForKey) {
  model = about;
  onUnauthorized = askForKey;
  const features = model.features ?? [];
  const [input] = model.inputs;
  isRow = features.length > 0 && (isNumber(input.datatype) || input.datatype === "STRING" || input.datatype === "BOOL");
  examples = examplesOf(features);
  const schemaOf = (name) => model.schema?.features?.[name] ?? {};
  const first = examples[0] ?? {};
  fields = isRow
    ? features.map((name) => scalarField(name, input.datatype, schemaOf(name)))
    : model.inputs.map((spec) => inputField(spec, first[spec.name], schemaOf(spec.name)));
  $("fields").replaceChildren(...fields.map(({ node }) => node));
  $("sample").replaceChildren(...examples.map((_, i) => make("option", { value: i }, `sample ${i + 1}`)));
  $("samples").hidden = examples.length < 2;
  fill();
  write($("origin"), origin());
  write($("endpoint"), `POST ${new URL("score", base)}`);
  enableTable(model, onUnauthorized);
  clearAnswer();
}

function origin() {
  const hasSamples = model.manifest.files?.["samples.json"];
  const missing = fields.some(({ node }) => node.querySelector("[placeholder=missing]")) ? " An empty field is sent as missing." : "";
  if (examples.length) return (hasSamples ? "Filled with the model's sample." : "Filled with values that the model answers: it has no samples.") + missing;
  if (hasSamples) return "The model's sample is too large to be filled in here.";
  return "Empty: the model has no samples, and no simple values were found that it answers.";
}

// One request for each row of the samples: feature → value, or input → array with a batch of one.
function examplesOf(features) {
  return (model.samples ?? []).flatMap((inputs) => {
    if (isRow) {
      const rows = inputs[model.inputs[0].name];
      return Array.isArray(rows?.[0]) ? rows.map((row) => Object.fromEntries(features.map((name, i) => [name, row[i]]))) : [];
    }
    return [inputs];
  });
}

function inputField(spec, value, schema) {
  const depth = scalarDepth(spec, value);
  if (depth === null) return jsonField(spec, schema);
  const field = scalarField(spec.name, spec.datatype, schema, { depth, optional: spec.optional });
  return { ...field, fill: (all) => field.fill([all].flat(depth)[0]) };
}

function fill() {
  const example = examples[Number($("sample").value)] ?? {};
  for (const { name, fill } of fields) fill(example[name]);
  refresh();
}

// Joined from the texts of the fields, so that numbers are sent as they were entered.
function row() {
  const members = fields.map(({ name, text }) => [JSON.stringify(name), text()]).filter(([, text]) => text !== null);
  return `{${members.map((pair) => pair.join(": ")).join(", ")}}`;
}
const body = () => (isRow ? `{"instances": [${row()}]}` : `{"inputs": ${row()}}`);

const refresh = () => renderSnippets({ body: body(), row: isRow ? row() : null });

copyOnClick($("copy-call"), () => curl(body()));
$("sample").addEventListener("change", fill);
$("form").addEventListener("input", refresh);
$("form").addEventListener("reset", () => {
  turns.end();
  // The controls are cleared after the event.
  setTimeout(() => {
    if (examples.length) $("sample").value = 0;
    fill();
    clearAnswer();
  });
});
$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  // Shown by the browser: the first field whose text cannot be sent.
  if (!$("form").reportValidity()) return;
  const signal = turns.begin();
  renderPending();
  const began = performance.now();
  try {
    const response = await request("score", { method: "POST", headers: { "content-type": "application/json" }, body: body(), signal });
    if (response.ok) {
      const text = await response.text();
      return renderOutputs(model, text, (performance.now() - began) / 1000, response.headers.get("x-prediction-id"));
    }
    const message = await errorOf(response);
    renderError(`${response.status} ${response.statusText}`, message, response.headers.get("x-request-id"));
    if (response.status === 401) onUnauthorized(message);
  } catch (error) {
    const reason = signal.reason ?? error;
    if (reason !== ENDED) renderError("No response", reason.message);
  }
});

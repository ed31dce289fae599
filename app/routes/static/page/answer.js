// The answer to a request.

import { $, breakable, make, muted } from "./dom.js";
import { hideFeedback, renderFeedback } from "./feedback.js";
import { duration, percent } from "./format.js";

const [MAX_BARS, MAX_ROWS, MAX_CHARACTERS] = [12, 5, 600];
const NAN_NOTE = "NaN: the model could not calculate this number. An empty field is sent as null, which it reads as NaN.";

let model;
export const setModel = (about) => (model = about);

function renderResult(...nodes) {
  hideFeedback();
  $("result").replaceChildren(...nodes);
  $("result").scrollIntoView({ block: "nearest" });
}

export function clearAnswer() {
  hideFeedback();
  $("result").replaceChildren(make("p", { class: "muted" }, "The model's outputs appear here."));
}

export function renderError(title, message, id) {
  renderResult(
    make("p", { class: "headline alarm" }, title),
    make("p", {}, message || "The service gave no reason."),
    ...(id ? [muted(`Request ID: ${id}`)] : []),
  );
}

export function renderOutputs(text, seconds, id) {
  const response = JSON.parse(text);
  const rows = response.predictions ?? rowsOf(response.outputs);
  const more = rows.length - MAX_ROWS;
  renderResult(
    ...rows.slice(0, MAX_ROWS).map(makePrediction),
    ...(more > 0 ? [make("p", { class: "muted" }, `${more} more rows in the response`)] : []),
    ...(text.includes('"NaN"') ? [make("p", { class: "nan" }, NAN_NOTE)] : []),
    muted(`Took ${duration(seconds)}, measured in this browser`),
    make(
      "details",
      {},
      make("summary", {}, "Raw response"),
      make("pre", { tabindex: 0, role: "group", "aria-label": "Raw response" }, text),
    ),
  );
  if (rows.length === 1) renderFeedback(model, id, rows[0]);
}

// Returns an object for each row if all outputs have the same number of rows, else one object with all outputs.
function rowsOf(outputs) {
  const values = Object.values(outputs);
  const count = values[0]?.length;
  if (!count || !values.every((value) => Array.isArray(value) && value.length === count)) return [outputs];
  return Array.from({ length: count }, (_, i) => Object.fromEntries(Object.entries(outputs).map(([name, all]) => [name, all[i]])));
}

function makePrediction(given) {
  // A model of one output answers rows in the form of their values.
  const row = given !== null && typeof given === "object" && !Array.isArray(given) ? given : { [model.outputs[0].name]: given };
  const node = make("div", { class: "prediction" });
  const values = make("dl", { class: "values" });
  for (const [name, value] of Object.entries(row)) {
    const classes = probabilitiesOf(value);
    if (classes) {
      const best = classes.reduce((a, b) => (b[1] > a[1] ? b : a));
      const isLong = classes.length > MAX_BARS;
      const bars = isLong ? classes.toSorted((a, b) => b[1] - a[1]).slice(0, MAX_BARS) : classes;
      node.append(
        muted(name),
        make("p", { class: "headline" }, ...breakable(best[0])),
        make("ul", { class: "bars", "aria-label": `${name} by class` }, ...bars.map((one) => makeBar(one, one === best))),
      );
      if (isLong) node.append(muted(`${classes.length - bars.length} more classes in the response`));
    } else {
      values.append(make("dt", {}, name), make("dd", {}, textOf(name, value)));
    }
  }
  node.append(values);
  return node;
}

const makeBar = ([name, share], isBest) =>
  make(
    "li",
    isBest ? { class: "best" } : {},
    make("span", {}, name),
    make("span", {}, percent(share)),
    make("svg", { "aria-hidden": true }, make("rect", { width: `${100 * share}%`, height: "100%" })),
  );

export const className = (index) => (/^\d+$/.test(index) ? model.manifest.classes?.[index]?.toString() : undefined);

export const unwrapSingle = (value) => (Array.isArray(value) && value.length === 1 ? value[0] : value);

// Returns pairs of class and probability; null if the value is not one probability per class.
function probabilitiesOf(value) {
  const single = unwrapSingle(value);
  const entries = typeof single === "object" ? Object.entries(single ?? {}) : [];
  const areShares = entries.length > 1 && entries.every(([, share]) => typeof share === "number" && share >= 0 && share <= 1);
  if (!areShares || Math.abs(entries.reduce((total, [, share]) => total + share, 0) - 1) > 0.01) return null;
  return entries.map(([name, share]) => [className(name) ?? (Array.isArray(single) ? `Class ${name}` : name), share]);
}

function textOf(name, value) {
  const single = unwrapSingle(value);
  const text = typeof single === "object" ? JSON.stringify(single) : String(single);
  if (text.length > MAX_CHARACTERS) return `${text.slice(0, MAX_CHARACTERS)}…`;
  const isIndex = model.outputs.some((output) => output.name === name && /^U?INT/.test(output.datatype));
  return isIndex && className(text) ? `${text} (${className(text)})` : text;
}

// The answer to a request.

import { $, breakable, make, muted } from "./dom.js";
import { hideFeedback, renderFeedback } from "./feedback.js";
import { duration, percent } from "./format.js";
import { parse, stringify } from "./json.js";
import { className, hasNan, isInteger, probabilitiesOf, rowsOf, unwrapSingle } from "./outputs.js";

const [MAX_BARS, MAX_ROWS, MAX_CHARACTERS] = [12, 5, 600];
const NAN_NOTE = "NaN: the model could not calculate this number. An empty field is sent as null, which it reads as NaN.";

function renderResult(...nodes) {
  hideFeedback();
  $("result").replaceChildren(...nodes);
  $("result").scrollIntoView({ block: "nearest" });
}

export function clearAnswer() {
  hideFeedback();
  $("result").replaceChildren(make("p", { class: "muted" }, "The model's outputs appear here."));
}

export const renderPending = () => renderResult(make("p", { class: "muted" }, "Scoring…"));

export function renderError(title, message, id) {
  renderResult(
    make("p", { class: "headline alarm" }, title),
    make("p", {}, message || "The service gave no reason."),
    ...(id ? [muted(`Request ID: ${id}`)] : []),
  );
}

export function renderOutputs(model, text, seconds, id) {
  const rows = rowsOf(parse(text));
  const more = rows.length - MAX_ROWS;
  renderResult(
    ...rows.slice(0, MAX_ROWS).map(makePrediction),
    ...(more > 0 ? [make("p", { class: "muted" }, `${more} more rows in the response`)] : []),
    ...(hasNan(rows) ? [make("p", { class: "nan" }, NAN_NOTE)] : []),
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

function makePrediction(row) {
  const node = make("div", { class: "prediction" });
  const values = make("dl", { class: "values" });
  for (const [name, value] of Object.entries(row)) {
    const classes = probabilitiesOf(name, value);
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

function textOf(name, value) {
  const single = unwrapSingle(value);
  const text = typeof single === "object" ? stringify(single) : String(single);
  if (text.length > MAX_CHARACTERS) return `${text.slice(0, MAX_CHARACTERS)}…`;
  return isInteger(name) && className(text) ? `${text} (${className(text)})` : text;
}

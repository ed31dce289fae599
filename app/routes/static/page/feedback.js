// Feedback: what turned out to be true. A metric that is the truth of an output is filled with the answer.

import { $, breakable, make, write } from "./dom.js";
import { parse, stringify } from "./json.js";
import { className, unwrapSingle } from "./outputs.js";
import { errorOf, request } from "./service.js";

let answer; // the one that feedback is about

export const hideFeedback = () => ($("feedback").hidden = true);

export function renderFeedback(model, id, row) {
  const controls = Object.entries(model.feedback ?? {}).map(([name, schema], i) => {
    const declared = model.schema?.feedback?.[name];
    const value = unwrapSingle(row?.[declared ? declared.output : name]);
    return metricControl(`metric-${i}`, name, schema, value);
  });
  answer = { id, controls };
  $("metrics").replaceChildren(...controls.map(({ node }) => node));
  $("sent").textContent = "";
  $("feedback").hidden = !id || !controls.length;
}

function metricControl(id, name, { enum: labels, type, description }, value) {
  const options = labels ?? (type === "boolean" ? [true, false] : null);
  const control = options
    ? make("select", { id }, make("option", { value: "" }, "Not known"), ...options.map((one) => makeOption(one, value)))
    : make("input", { id, type: type === "number" ? "number" : "text", ...(type === "number" && { step: "any" }) });
  if (!options && ["string", "number", "bigint", "boolean"].includes(typeof value)) control.value = String(value);
  const about = description && make("small", { id: `${id}-hint`, class: "muted" }, description);
  if (about) control.setAttribute("aria-describedby", `${id}-hint`);
  const read = (text) => (options ? parse(text) : type === "number" ? readNumber(name, text) : readLabel(name, text, typeof value));
  const node = make("div", {}, make("label", { for: id }, ...breakable(name)), ...(about ? [about] : []), control);
  return { name, node, value: () => (control.value === "" ? undefined : read(control.value)) };
}

function readNumber(name, text) {
  const number = Number(text);
  if (!Number.isFinite(number)) throw new Error(`${name}: expected a number, got ${text}`);
  return number;
}

// A label without declared classes is read in the type of the answer; without an answer, by what it looks like.
function readLabel(name, text, answerType) {
  const isNumber = answerType === "number" || answerType === "bigint";
  if (answerType !== "string") {
    if (/^(true|false)$/i.test(text) && !isNumber) return text.toLowerCase() === "true";
    if ((isNumber ? /^-?\d+$/ : /^-?(0|[1-9]\d*)$/).test(text) && answerType !== "boolean") return BigInt(text);
  }
  if (isNumber) throw new Error(`${name}: expected a whole number, got ${text}`);
  if (answerType === "boolean") throw new Error(`${name}: expected true or false, got ${text}`);
  return text;
}

function makeOption(label, value) {
  const name = typeof label === "number" && className(String(label));
  const option = make("option", { value: stringify(label) }, name ? `${label} (${name})` : String(label));
  option.selected = label === value;
  return option;
}

$("feedback").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { id, controls } = answer;
  const say = (text) => id === answer.id && write($("sent"), text);
  try {
    const values = Object.fromEntries(controls.map(({ name, value }) => [name, value()]));
    const response = await request("feedback", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: stringify({ id, ...values }),
    });
    say(response.ok ? "Thank you: the feedback is kept." : `Not kept: ${await errorOf(response)}`);
  } catch (error) {
    say(`Not kept: ${error.message}`);
  }
});

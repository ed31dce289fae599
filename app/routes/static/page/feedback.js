// Feedback: what turned out to be true. A metric that is the truth of an output is filled with the answer.

import { className, unwrapSingle } from "./answer.js";
import { $, breakable, make, write } from "./dom.js";
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
  if (!options && ["string", "number", "boolean"].includes(typeof value)) control.value = String(value);
  const about = description && make("small", { id: `${id}-hint`, class: "muted" }, description);
  if (about) control.setAttribute("aria-describedby", `${id}-hint`);
  // A label without declared classes may be a number or a text: it is read as the answer's are.
  const isText = type !== "number" && typeof value === "string";
  const read = () => (options || (!isText && /^(-?\d+(\.\d+)?(e-?\d+)?|true|false)$/i.test(control.value)) ? JSON.parse(control.value) : control.value);
  const node = make("div", {}, make("label", { for: id }, ...breakable(name)), ...(about ? [about] : []), control);
  return { name, node, value: () => (control.value === "" ? undefined : read()) };
}

function makeOption(label, value) {
  const name = typeof label === "number" && className(String(label));
  const option = make("option", { value: JSON.stringify(label) }, name ? `${label} (${name})` : String(label));
  option.selected = label === value;
  return option;
}

$("feedback").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { id, controls } = answer;
  const values = Object.fromEntries(controls.map(({ name, value }) => [name, value()]));
  try {
    const response = await request("feedback", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ id, ...values }),
    });
    write($("sent"), response.ok ? "Thank you: the feedback is kept." : `Not kept: ${await errorOf(response)}`);
  } catch (error) {
    write($("sent"), `Not kept: ${error.message}`);
  }
});

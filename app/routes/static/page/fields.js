// The controls of a request: by schema.json where the package has one, else by the datatype.

import { make, breakable } from "./dom.js";
import { isNumber, joined, typeOf } from "./format.js";
import { imageSpecOf, isBase64, makeImageChooser } from "./images.js";
import { stringify } from "./json.js";

let created = 0;
const newId = () => `field-${++created}`;

// A field is { name, node, text, fill }: `text` returns its JSON, null for an input that is left out.
export function scalarField(name, datatype, schema, { depth = 0, optional = false } = {}) {
  const wrap = (text) => "[".repeat(depth) + text + "]".repeat(depth);
  const makeControl = schema.categories ? choice : schema.type === "boolean" || datatype === "BOOL" ? checkbox : datatype === "STRING" ? textual : number;
  const { node, text, fill } = makeControl({ name, datatype, schema, depth, optional });
  return {
    name,
    node,
    fill,
    text: () => {
      const value = text();
      return value === null ? (optional ? null : wrap("null")) : wrap(value);
    },
  };
}

// A float may be missing, and an input may be optional; nothing else.
const mayBeMissing = ({ datatype, optional }) => optional || /^(FP|BF)/.test(datatype);

function labelled(id, name, about, ...controls) {
  const hint = about && make("small", { id: `${id}-hint`, class: "muted" }, about);
  if (hint) controls[0].setAttribute("aria-describedby", `${id}-hint`);
  return [make("label", { for: id }, ...breakable(name)), ...(hint ? [hint] : []), ...controls];
}

function choice(spec) {
  const { name, schema } = spec;
  const id = newId();
  const options = schema.categories.map((one) => make("option", { value: stringify(one) }, String(one)));
  const missing = make("option", { value: "" }, "missing");
  const control = make("select", { id }, ...(mayBeMissing(spec) ? [missing] : []), ...options);
  const about = joined("; ", schema.description, schema.unit);
  return {
    node: make("div", {}, ...labelled(id, name, about, control)),
    text: () => control.value || null,
    fill: (value) => {
      control.value = value === null ? "" : String(stringify(value));
      // A value that is no category, or none: the first choice.
      if (control.selectedIndex < 0) control.selectedIndex = 0;
    },
  };
}

// The values of a number column are 0 and 1.
function checkbox(spec) {
  const { name, datatype, schema } = spec;
  const id = newId();
  const control = make("input", { id, type: "checkbox" });
  const missing = make("input", { id: `${id}-missing`, type: "checkbox" });
  missing.addEventListener("change", () => (control.disabled = missing.checked));
  const texts = datatype === "BOOL" ? ["false", "true"] : ["0", "1"];
  const extra = mayBeMissing(spec) ? [missing, make("label", { for: `${id}-missing` }, "missing")] : [];
  const about = schema.description && make("small", { id: `${id}-hint`, class: "muted" }, schema.description);
  if (about) control.setAttribute("aria-describedby", `${id}-hint`);
  const line = make("div", { class: "checks" }, control, make("label", { for: id }, ...breakable(name)), ...extra);
  return {
    node: make("div", {}, ...(about ? [about] : []), line),
    text: () => (missing.checked ? null : texts[Number(control.checked)]),
    fill: (value) => {
      const isMissing = value === null || value === "NaN";
      control.checked = Boolean(value) && !isMissing;
      control.disabled = missing.checked = isMissing && extra.length > 0;
    },
  };
}

function textual({ name, schema, depth, optional }) {
  const id = newId();
  const control = depth ? make("textarea", { id, rows: 2 }) : make("input", { id, type: "text" });
  const chooser = depth ? makeImageChooser(name, null, (text) => setValue(control, text)) : null;
  const node = make("div", depth ? { class: "wide" } : {}, ...labelled(id, name, joined("; ", schema.description, schema.unit), control));
  return {
    node,
    text: () => (optional && !control.value ? null : JSON.stringify(control.value)),
    fill: (value) => {
      control.value = typeof value === "string" ? value : "";
      if (chooser && isBase64(control.value)) node.append(chooser);
    },
  };
}

function number(spec) {
  const { name, datatype, schema } = spec;
  const id = newId();
  const isInteger = datatype.includes("INT");
  const canMiss = mayBeMissing(spec);
  const control = make("input", { id, type: "number", step: isInteger ? "1" : "any", ...(canMiss && { placeholder: "missing" }) });
  control.required = !canMiss;
  const range = rangeOf(schema);
  const warning = make("small", { class: "warning" });
  const warn = () => (warning.textContent = warningOf(control, schema));
  control.addEventListener("input", warn);
  const about = joined("; ", schema.description, joined(", ", schema.unit, range));
  return {
    node: make("div", {}, ...labelled(id, name, about, control), warning),
    text: () => {
      if (!control.value) return canMiss ? null : "null";
      return numberOf(control.value, isInteger);
    },
    fill: (value) => {
      control.value = has(value) ? String(value) : "";
      warn();
    },
  };
}

// A field may have digits that are no number in JSON: 007, or .5.
const numberOf = (text, isInteger) => String(isInteger && /^-?\d+$/.test(text) ? BigInt(text) : Number(text));

const has = (number) => typeof number === "number" || typeof number === "bigint";

const rangeOf = ({ min, max }) => (has(min) && has(max) ? `${min} to ${max}` : has(min) ? `from ${min}` : has(max) ? `up to ${max}` : "");

// The service answers values out of range and counts them, so the page only says so.
function warningOf({ value }, schema) {
  if (!value) return schema.max_missing === 0 ? "never missing in the schema" : "";
  if (has(schema.min) && Number(value) < schema.min) return `below ${schema.min}, the minimum`;
  if (has(schema.max) && Number(value) > schema.max) return `above ${schema.max}, the maximum`;
  return schema.type === "integer" && !Number.isInteger(Number(value)) ? "not a whole number" : "";
}

// An input that is not a column: a tensor as JSON, and a file for one that looks like an image.
export function jsonField(spec, schema) {
  const id = newId();
  const control = make("textarea", { id, rows: 4, spellcheck: "false" });
  control.required = !spec.optional;
  const check = () => {
    let fault = "";
    try {
      if (control.value.trim()) JSON.parse(control.value);
    } catch (error) {
      fault = `Not JSON: ${error.message}`;
    }
    control.setCustomValidity(fault);
  };
  control.addEventListener("input", check);
  const about = joined("; ", `${typeOf(spec)}, as JSON`, spec.optional && "optional", schema.description, rangeOf(schema), schema.unit);
  const image = imageSpecOf(spec);
  const chooser = image && makeImageChooser(spec.name, image, (text) => setValue(control, text));
  return {
    name: spec.name,
    node: make("div", { class: "wide" }, ...labelled(id, spec.name, about, control), ...(chooser ? [chooser] : [])),
    text: () => control.value.trim() || null,
    fill: (value) => {
      control.value = value === undefined ? "" : stringify(value);
      check();
    },
  };
}

function setValue(control, text) {
  control.value = text;
  control.dispatchEvent(new Event("input", { bubbles: true }));
}

// Returns how many arrays enclose the single value of an input; null if the input is not a number column or a text.
export function scalarDepth({ datatype, shape }, value) {
  const isText = datatype === "STRING";
  if (!isText && !isNumber(datatype) && datatype !== "BOOL") return null;
  if (shape === null) return isText && typeof value === "string" ? 0 : null;
  const isSingle = shape.every((size, i) => size === 1 || (i === 0 && typeof size !== "number")) && [value].flat(Infinity).length === 1;
  return isSingle && (isText || shape.length !== 1) ? shape.length : null;
}

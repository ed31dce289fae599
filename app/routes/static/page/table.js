// A table in CSV, and the table of its answers.

import { formatCsv, parseCsv } from "./csv.js";
import { $, fillTable, make, muted } from "./dom.js";
import { duration, isNumber, plural } from "./format.js";
import { errorOf, request } from "./service.js";

const MAX_ROWS = 20;
let onUnauthorized;

export function enableTable(model, askForKey) {
  onUnauthorized = askForKey;
  const isColumn = ({ datatype, shape }) => (isNumber(datatype) || datatype === "STRING" || datatype === "BOOL") && shape !== null;
  $("table").hidden = !(model.inputs.every(isColumn) && (model.features?.length || model.inputs.every(({ shape }) => shape.length <= 2)));
  const columns = model.features ?? model.inputs.map(({ name }) => name);
  $("csv").placeholder = `${columns.join(",")}\n…`;
}

$("csv-file").addEventListener("change", () => load($("csv-file").files[0]));
for (const name of ["dragover", "drop"]) {
  $("try").addEventListener(name, (event) => {
    if ($("table").hidden || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    if (name === "drop") load(event.dataTransfer.files[0]);
  });
}

async function load(file) {
  if (!file) return;
  $("table").open = true;
  $("csv").value = await file.text();
  await score();
}

$("table-form").addEventListener("submit", (event) => {
  event.preventDefault();
  score();
});

async function score() {
  const began = performance.now();
  const csv = $("csv").value;
  try {
    const rows = parseCsv(csv);
    if (rows.length < 2) throw new Error("expected a line with the columns' names, and at least one row");
    const response = await request("score", { method: "POST", headers: { "content-type": "text/csv" }, body: csv });
    if (!response.ok) {
      const message = await errorOf(response);
      if (response.status === 401) onUnauthorized(message);
      throw new Error(message);
    }
    const { predictions } = await response.json();
    render(rows, predictions, (performance.now() - began) / 1000);
  } catch (error) {
    show(make("h3", { class: "alarm" }, "The table was not scored"), make("p", {}, error.message));
  }
}

function show(...nodes) {
  $("table-answers").replaceChildren(...nodes);
  $("table-answers").scrollIntoView({ block: "nearest" });
}

function render([header, ...rows], predictions, seconds) {
  const answers = predictions.map((each) => flatten(each));
  const names = [...new Set(answers.flatMap((answer) => Object.keys(answer)))];
  const cells = answers.map((answer) => names.map((name) => answer[name]));
  const all = [[...header, ...names], ...rows.map((row, i) => [...row, ...(cells[i] ?? [])])];
  const url = URL.createObjectURL(new Blob([formatCsv(all)], { type: "text/csv" }));
  const hasNan = cells.some((row) => row.includes("NaN"));
  show(
    make("h3", {}, `Answers for ${plural(rows.length, "row")}`),
    make("p", { class: "row" }, make("a", { class: "button", href: url, download: "answers.csv" }, "Download as CSV")),
    ...(hasNan ? [make("p", { class: "nan" }, "Some answers are NaN: the model could not calculate these numbers.")] : []),
    make(
      "div",
      { class: "scroll", role: "group", "aria-label": "Answers", tabindex: 0 },
      fillTable(make("table"), ["row", ...names, ...header], all.slice(1, MAX_ROWS + 1).map((row, i) => [String(i + 1), ...row.slice(header.length), ...row.slice(0, header.length)].map(text))),
    ),
    muted(`${rows.length > MAX_ROWS ? `The first ${MAX_ROWS} rows; the file has all of them. ` : ""}Took ${duration(seconds)}, measured in this browser`),
  );
}

const text = (value) => (value === null || value === undefined ? "" : String(value));

// One column for each number: {"label": 0, "probabilities": [0.9, 0.1]} → label, probabilities.0, probabilities.1
function flatten(value, prefix = "") {
  if (value === null || typeof value !== "object") return { [prefix || "prediction"]: value };
  const entries = Array.isArray(value) && value.length === 1 ? [["", value[0]]] : Object.entries(value);
  return Object.assign({}, ...entries.map(([name, each]) => flatten(each, [prefix, name].filter(Boolean).join("."))));
}

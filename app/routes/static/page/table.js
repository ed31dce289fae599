// A table in CSV, and the table of its answers.

import { formatCsv, parseCsv } from "./csv.js";
import { $, fillTable, make, muted } from "./dom.js";
import { count, duration, isNumber, plural } from "./format.js";
import { parse } from "./json.js";
import { hasNan } from "./outputs.js";
import { ENDED, errorOf, makeTurns, request } from "./service.js";

const MAX_ROWS = 20;
const MAX_FILE_MB = 5;
const turns = makeTurns();
let onUnauthorized;
let download = ""; // URL of the file of answers

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

function load(file) {
  if (!file) return;
  $("table").open = true;
  score(() => textOf(file));
}

async function textOf(file) {
  if (file.size > MAX_FILE_MB * 1e6) throw new Error(`the file has ${count(Math.ceil(file.size / 1e6))} MB, and this page scores at most ${MAX_FILE_MB} MB: use ./scripts/score_file`);
  const bytes = await file.arrayBuffer();
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error("the file is not in UTF-8: save it as CSV in UTF-8");
  }
}

$("table-form").addEventListener("submit", (event) => {
  event.preventDefault();
  score(() => $("csv").value);
});

async function score(read) {
  const signal = turns.begin();
  show(muted("Scoring…"));
  try {
    const csv = await read();
    signal.throwIfAborted();
    $("csv").value = csv;
    const began = performance.now();
    const rows = parseCsv(csv);
    if (rows.length < 2) throw new Error("expected a line with the columns' names, and at least one row");
    const response = await request("score", { method: "POST", headers: { "content-type": "text/csv" }, body: csv, signal });
    if (!response.ok) {
      const message = await errorOf(response);
      if (response.status === 401) onUnauthorized(message);
      throw new Error(message);
    }
    const { predictions } = parse(await response.text());
    // With another number, answers would be beside the wrong rows.
    if (predictions?.length !== rows.length - 1) throw new Error(`expected ${plural(rows.length - 1, "answer")}, one a row, got ${predictions?.length ?? "none"}`);
    render(rows, predictions, (performance.now() - began) / 1000);
  } catch (error) {
    const reason = signal.reason ?? error;
    if (reason !== ENDED) show(make("h3", { class: "alarm" }, "The table was not scored"), make("p", {}, reason.message));
  }
}

function show(...nodes) {
  URL.revokeObjectURL(download);
  $("table-answers").replaceChildren(...nodes);
  $("table-answers").scrollIntoView({ block: "nearest" });
}

function render([header, ...rows], predictions, seconds) {
  const answers = predictions.map((each) => flatten(each));
  const names = [...new Set(answers.flatMap((answer) => Object.keys(answer)))];
  const cells = answers.map((answer) => names.map((name) => answer[name]));
  const all = [[...header, ...names], ...rows.map((row, i) => [...row, ...(cells[i] ?? [])])];
  const url = URL.createObjectURL(new Blob([formatCsv(all)], { type: "text/csv" }));
  show(
    make("h3", {}, `Answers for ${plural(rows.length, "row")}`),
    make("p", { class: "row" }, make("a", { class: "button", href: url, download: "answers.csv" }, "Download as CSV")),
    ...(hasNan(predictions) ? [make("p", { class: "nan" }, "Some answers are NaN: the model could not calculate these numbers.")] : []),
    make(
      "div",
      { class: "scroll", role: "group", "aria-label": "Answers", tabindex: 0 },
      fillTable(make("table"), ["row", ...names, ...header], all.slice(1, MAX_ROWS + 1).map((row, i) => [String(i + 1), ...row.slice(header.length), ...row.slice(0, header.length)].map(text))),
    ),
    muted(`${rows.length > MAX_ROWS ? `The first ${MAX_ROWS} rows; the file has all of them. ` : ""}Took ${duration(seconds)}, measured in this browser`),
  );
  download = url;
}

const text = (value) => (value === null || value === undefined ? "" : String(value));

// One column for each number: {"label": 0, "probabilities": [0.9, 0.1]} → label, probabilities.0, probabilities.1
function flatten(value, prefix = "") {
  if (value === null || typeof value !== "object") return { [prefix || "prediction"]: value };
  const entries = Array.isArray(value) && value.length === 1 ? [["", value[0]]] : Object.entries(value);
  return Object.assign({}, ...entries.map(([name, each]) => flatten(each, [prefix, name].filter(Boolean).join("."))));
}

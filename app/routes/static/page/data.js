// Features and outputs of the last hour, compared with the training data.

import { build, renderDistribution } from "./distributions.js";
import { $, write } from "./dom.js";
import { byDrift, compare, limitZ, MIN_ROWS } from "./drift.js";
import { clock, count, joined, list, plural, span } from "./format.js";
import { repeat } from "./polling.js";
import { renderQuality } from "./quality.js";
import { read } from "./service.js";
import { REPLICA_TIMEOUT_MS, shownReplica, startedAt } from "./status.js";

const POLL_MS = 10_000;
const FIRST = 12;
let showsAll = false;
let shownAt = 0; // when the data that is shown was read

export const pollData = (model) => repeat(() => poll(model), POLL_MS);

async function poll(model) {
  try {
    const data = await read("recent/data");
    if (!Array.isArray(data?.distributions) || !Array.isArray(data.quality) || !data.rows) throw new Error("the response of /recent/data is not as expected");
    // Each replica has data of its own: the page stays with the one of the strip and the charts.
    if (data.pod !== shownReplica() && Date.now() - shownAt < REPLICA_TIMEOUT_MS) return renderAge("");
    render(data);
    renderQuality(data, model);
    shownAt = Date.now();
    renderAge("");
  } catch (error) {
    renderAge(error.message);
  }
}

// Figures that are not read any more are grey, and have their age.
function renderAge(problem) {
  for (const id of ["data", "quality"]) $(id).classList.toggle("stale", Boolean(problem));
  $("data-tile").parentNode.classList.toggle("stale", Boolean(problem));
  const age = shownAt && `These figures are ${span((Date.now() - shownAt) / 1000)} old`;
  write($("data-age"), problem && joined(": ", age, `/recent/data could not be read, ${problem}`));
}

function render(data) {
  const { distributions, rows, baseline_rows: baselineRows, from, pod } = data;
  const z = limitZ(distributions.length);
  const all = distributions.map((one) => compare(one, { baselineRows, rows, z })).sort(byDrift);
  if (!all.length) {
    write($("drift"), "Drift is not measured: this model has no baseline.");
    write($("data-tile"), "Not compared: the model has no baseline");
    return;
  }
  const sentence = sentenceOf(all, rows["1h"], baselineRows);
  write($("drift-sentence"), sentence.text);
  write($("data-tile"), sentence.short);
  $("data-tile").parentNode.dataset.level = sentence.level;
  write($("drift"), `${plural(rows["1h"], "row")} since ${clock(1000 * Math.max(from, pod === shownReplica() ? startedAt() : 0))}${pod ? ` on replica ${pod}` : ""}, compared with ${baselineRows ? plural(baselineRows, "row") : "an unknown number of rows"} of training data. \
Bars: values now. Line: training data. On the right in amber: missing, or outside of all bins.`);
  const visible = showsAll ? all : all.slice(0, Math.max(FIRST, all.filter(({ level }) => level).length));
  const holder = $("distributions");
  while (holder.children.length > visible.length) holder.lastChild.remove();
  visible.forEach((one, i) => renderDistribution(holder.children[i] ?? holder.appendChild(build()), one));
  $("more-distributions").hidden = visible.length === all.length;
  const button = $("more-distributions").firstChild;
  write(button, `Show all ${all.length}`);
  button.onclick = () => {
    showsAll = true;
    const next = holder.children.length;
    render(data);
    // The button is hidden now: the focus moves to the first of what it has added.
    holder.children[next].tabIndex = -1;
    holder.children[next].focus({ preventScroll: true });
  };
}

function sentenceOf(all, rows, baselineRows) {
  const drifting = all.filter(({ level }) => level);
  const noun = plural(all.length, "distribution");
  if (drifting.length) {
    const names = list(drifting.map(({ name }) => name));
    const level = Math.max(...drifting.map((one) => one.level));
    const be = drifting.length === 1 ? "is" : "are";
    return {
      text: `${drifting.length} of ${noun} ${be} not as in training: ${names}. Chance does not explain it.`,
      short: `${names}: not as in training`,
      level,
    };
  }
  if (!baselineRows) return { text: "The baseline does not say how many rows it is made of, so chance cannot be told from drift.", short: "No verdict: the baseline has no rows", level: 0 };
  if (rows < MIN_ROWS) {
    const text = `Too few rows for a verdict: ${count(rows)} of at least ${MIN_ROWS}.`;
    return { text, short: rows ? `Too few rows to say: ${count(rows)} of ${MIN_ROWS}` : "No rows yet to compare", level: 0 };
  }
  return { text: `As in training: none of ${noun} differs by more than chance explains.`, short: "As in training", level: 0 };
}

// Features and outputs of the last hour, compared with the training data.

import { $, make, makeChart, write } from "./dom.js";
import { byDrift, compare, limitZ, MIN_ROWS, MODERATE_PSI, SIGNIFICANT_PSI } from "./drift.js";
import { clock, count, list, percent, plural } from "./format.js";
import { renderQuality } from "./quality.js";
import { read } from "./service.js";
import { startedAt } from "./status.js";

const POLL_MS = 10_000;
const FIRST = 12;
let showsAll = false;
let model;

export async function pollData(about) {
  model = about;
  for (;;) {
    if (!document.hidden) await poll();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function poll() {
  let data;
  try {
    data = await read("recent/data");
  } catch {
    return; // the strip on top says that the service is unreachable
  }
  render(data);
  renderQuality(data, model);
}

function render(data) {
  const { distributions, rows, baseline_rows: baselineRows, from } = data;
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
  write($("drift"), `${plural(rows["1h"], "row")} since ${clock(1000 * Math.max(from, startedAt()))}, compared with ${baselineRows ? plural(baselineRows, "row") : "an unknown number of rows"} of training data. \
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
    render(data);
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

function build() {
  return make(
    "figure",
    {},
    make("figcaption", {}, make("h3"), make("p", { class: "small" })),
    make("div", { class: "histogram", role: "img" }, makeChart()),
    make("p", { class: "ends", "aria-hidden": true }, make("span"), make("span"), make("span")),
  );
}

const classOf = (kind, bin) => (kind === "output" && /^\d+$/.test(bin) && model.manifest.classes?.[bin]?.toString()) || bin;

function renderDistribution(figure, { kind, name, count: values, hasPsi, psi, level, regular, special, isNumeric }) {
  const verdict = ["", "moderate drift", "significant drift"][psi > MODERATE_PSI && level ? (psi > SIGNIFICANT_PSI ? 2 : 1) : 0];
  const others = special.filter(({ observed }) => observed > 0).map(({ bin, observed, expected, excess }) => `${percent(observed)} ${bin}${excess > 0.01 ? `, ${percent(expected)} in training` : ""}`);
  const summary = hasPsi ? [`PSI ${psi.toFixed(2)}`, verdict] : [values ? `${count(values)} values, too few for PSI` : "No values yet"];
  figure.className = `drift-${level}`;
  write(figure.querySelector("h3"), kind === "output" ? `→ ${name}` : name);
  write(figure.querySelector("p"), [...summary, ...others].filter(Boolean).join(", "));
  draw(figure.querySelector("svg"), regular, special);
  const all = [...regular, ...special.filter(({ observed, expected }) => observed || expected)];
  const shares = all.map(({ bin, observed, expected }) => `${classOf(kind, bin)} ${percent(observed)}, expected ${percent(expected)}`);
  figure.querySelector(".histogram").setAttribute("aria-label", `${kind} ${name}: ${shares.join("; ")}`);
  const names = regular.length <= 2 ? regular.map(({ bin }) => classOf(kind, bin)) : [classOf(kind, regular[0].bin), classOf(kind, regular.at(-1).bin)];
  const labels = isNumeric ? [regular[0].bin.split("..")[0], regular.at(-1).bin.split("..")[1]] : names;
  const ends = figure.querySelector(".ends");
  const hasSpecial = special.some(({ observed, expected }) => observed || expected);
  [...labels, "missing, outside"].forEach((label, i) => write(ends.children[i], label));
  ends.lastChild.hidden = !hasSpecial;
}

// Bars of the bins and, apart on the right, of what is missing or outside.
function draw(svg, regular, special) {
  const shown = special.some(({ observed, expected }) => observed || expected) ? special : [];
  const top = Math.max(0.001, ...[...regular, ...shown].flatMap((one) => [one.observed, one.expected]));
  const gap = shown.length ? 0.6 : 0;
  const width = 100 / (regular.length + gap + shown.length);
  const height = (share) => (100 * share) / top;
  const left = (i) => (i < regular.length ? i : i + gap) * width;
  const bar = ({ observed }, i, kind) => make("rect", { class: kind, x: left(i) + width * 0.06, y: 100 - height(observed), width: width * 0.88, height: height(observed) });
  const level = ({ expected }, i, isFirst) => `${isFirst ? "M" : "L"}${left(i)} ${100 - height(expected)}h${width}`;
  svg.replaceChildren(
    ...regular.map((one, i) => bar(one, i, "")),
    ...shown.map((one, i) => bar(one, i + regular.length, "special")),
    make("path", { d: regular.map((one, i) => level(one, i, i === 0)).join("") + shown.map((one, i) => level(one, i + regular.length, true)).join("") }),
  );
}

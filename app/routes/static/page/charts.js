// Charts of the last hour, with a reading under the pointer or by the arrow keys.

import { $, make, makeChart, write } from "./dom.js";
import { clock, duration, percent, rate, short } from "./format.js";

const MIN_SPAN_S = 600;
const rows = (number) => `${short(number)} rows`;
const share = (part) => (steps, i) => (steps.requests[i] ? steps[part][i] / steps.requests[i] : steps.requests[i] === null ? null : 0);
const of = (name) => (steps, i) => steps[name][i];

const CHARTS = [
  { id: "requests", title: "Requests", lines: [{ label: "requests", value: of("requests"), format: rate }] },
  {
    id: "latency",
    title: "Latency",
    about: "Whole requests with status 200, in the service",
    lines: [
      { label: "p99", kind: "third", value: of("p99"), format: duration },
      { label: "p95", kind: "second", value: of("p95"), format: duration },
      { label: "p50", value: of("p50"), format: duration },
    ],
  },
  {
    id: "errors",
    title: "Errors",
    about: "Of all requests",
    lines: [
      { label: "4xx, client", kind: "second", value: share("client_errors"), format: percent },
      { label: "5xx, server", kind: "alarm", value: share("server_errors"), format: percent },
    ],
  },
  {
    id: "queue",
    title: "Queue",
    about: "Rows waiting for the model, and requests refused or late because of that",
    lines: [
      { label: "waiting", value: of("queue_rows"), format: rows },
      { label: "shed", kind: "alarm", value: of("shed"), format: rate, ownScale: true },
    ],
  },
];

export function renderCharts(recent) {
  for (const chart of CHARTS) render(chart, recent);
}

function build(chart) {
  const now = make("p", { class: "now" });
  const marker = make("line", { class: "marker", y1: 0, y2: 100, hidden: "" });
  const plot = make("div", { class: "plot", tabindex: 0, role: "slider", "aria-valuemin": 0 }, make("span"), makeChart());
  const legend = make("p", { class: "legend" });
  const figure = make(
    "figure",
    { id: chart.id },
    make("figcaption", {}, make("h3", {}, chart.title), now),
    plot,
    make("p", { class: "ends", "aria-hidden": true }, make("span"), make("span", {}, "now")),
    legend,
    ...(chart.about ? [make("p", { class: "note" }, chart.about)] : []),
  );
  if (chart.lines.length > 1)
    legend.append(...chart.lines.toReversed().map(({ label, kind = "" }) => make("span", { class: `key ${kind}` }, label)));
  const view = { figure, now, plot, marker, legend, index: null };
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    point(chart, view, Math.round(indexAt(view, (event.clientX - box.left) / box.width)));
  });
  for (const name of ["pointerleave", "blur"]) plot.addEventListener(name, () => point(chart, view, null));
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const last = view.recent.steps.requests.length - 1;
    point(chart, view, Math.min(last, Math.max(0, (view.index ?? last) + step)));
  });
  $("charts").append(figure);
  return view;
}

const views = new Map();

const indexAt = (view, share) => {
  const { from, step_s } = view.recent;
  return Math.min(view.recent.steps.requests.length - 1, Math.max(0, (view.start + share * (view.end - view.start) - from) / step_s - 0.5));
};
const shareAt = (view, i) => (view.recent.from + (i + 0.5) * view.recent.step_s - view.start) / (view.end - view.start);

function render(chart, recent) {
  if (!views.has(chart.id)) views.set(chart.id, build(chart));
  const view = views.get(chart.id);
  const { steps, from, step_s } = recent;
  const size = steps.requests.length;
  view.recent = recent;
  view.end = from + size * step_s;
  view.start = Math.min(from, view.end - MIN_SPAN_S);
  const values = chart.lines.map((line) => steps.requests.map((_, i) => line.value(steps, i)));
  const tops = values.map((all) => topOf(Math.max(0, ...all.filter((value) => value !== null))));
  const shared = Math.max(...tops.filter((_, i) => !chart.lines[i].ownScale));
  const svg = view.plot.querySelector("svg");
  svg.replaceChildren(
    ...chart.lines.flatMap(({ kind = "", ownScale }, k) => [
      make("path", { class: kind, d: path(view, values[k], ownScale ? tops[k] : shared) }),
      make("path", { class: `${kind} dot`, d: dots(view, values[k], ownScale ? tops[k] : shared) }),
    ]),
    view.marker,
  );
  write(view.plot.querySelector("span"), shared ? chart.lines[0].format(shared) : "");
  write(view.figure.querySelector(".ends span"), clock(view.start * 1000));
  view.plot.setAttribute("aria-valuemax", size - 1);
  view.plot.setAttribute("aria-label", `${chart.title} since ${clock(view.start * 1000)}: ${summary(chart, values)}. The arrow keys read each step.`);
  point(chart, view, view.index === null ? null : Math.min(view.index, size - 1));
}

// The next of 1, 2, 5, 10, …
function topOf(highest) {
  if (!highest) return 0;
  const size = 10 ** Math.floor(Math.log10(highest));
  return size * ([1, 2, 5].find((step) => step * size >= highest) ?? 10);
}

const at = (view, values, top, i) => `${(100 * shareAt(view, i)).toFixed(2)} ${(100 - (top ? (100 * values[i]) / top : 0)).toFixed(2)}`;
const isKnown = (value) => typeof value === "number";

// A line that has gaps where nothing is known.
const path = (view, values, top) =>
  values.map((value, i) => (isKnown(value) ? `${isKnown(values[i - 1]) ? "L" : "M"}${at(view, values, top, i)}` : "")).join("");

// Values between two gaps.
const dots = (view, values, top) =>
  values.map((value, i) => (isKnown(value) && !isKnown(values[i - 1]) && !isKnown(values[i + 1]) ? `M${at(view, values, top, i)}h0` : "")).join("");

function summary(chart, values) {
  return chart.lines
    .map(({ label, format }, k) => {
      const known = values[k].filter((value) => value !== null);
      return known.length ? `${label} now ${format(known.at(-1))}, at most ${format(Math.max(...known))}` : `${label} none`;
    })
    .join("; ");
}

// Show the values of a step, or the last ones that are known.
function point(chart, view, index) {
  view.index = index;
  const { steps, from, step_s } = view.recent;
  const texts = chart.lines.toReversed().map(({ label, value, format }) => {
    let i = index ?? steps.requests.length - 1;
    if (index === null) while (i > 0 && value(steps, i) === null) i -= 1;
    const known = value(steps, i);
    const text = known === null ? "–" : format(known);
    return chart.lines.length > 1 ? `${label.split(",")[0]} ${text}` : text;
  });
  const when = index === null ? "" : `${clock((from + index * step_s) * 1000, true)}: `;
  write(view.now, when + texts.join(" · "));
  view.plot.setAttribute("aria-valuenow", index ?? steps.requests.length - 1);
  view.plot.setAttribute("aria-valuetext", when + texts.join(", "));
  view.marker.toggleAttribute("hidden", index === null);
  if (index !== null) {
    const x = (100 * shareAt(view, index)).toFixed(2);
    view.marker.setAttribute("x1", x);
    view.marker.setAttribute("x2", x);
  }
}

// Charts of the distributions, each compared with the training data.

import { make, makeChart, write } from "./dom.js";
import { count, percent } from "./format.js";
import { className } from "./outputs.js";

export function build() {
  return make(
    "figure",
    {},
    make("figcaption", {}, make("h3"), make("p", { class: "small" })),
    make("div", { class: "histogram", role: "img" }, makeChart()),
    make("p", { class: "ends", "aria-hidden": true }, make("span"), make("span"), make("span")),
  );
}

const classOf = (kind, bin) => (kind === "output" && className(bin)) || bin;

export function renderDistribution(figure, { kind, name, count: values, hasPsi, psi, psiLevel, level, regular, special, isNumeric }) {
  const verdict = ["", "moderate drift", "significant drift"][psiLevel];
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

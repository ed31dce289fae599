// Elements. Everything from the model or from a response is inserted as text, never as markup.

export const $ = (id) => document.getElementById(id);

const SVG = new Set(["svg", "path", "rect", "line"]);

export function make(tag, attributes = {}, ...children) {
  const node = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export const makeChart = () => make("svg", { "aria-hidden": true, viewBox: "0 0 100 100", preserveAspectRatio: "none" });

export const muted = (text) => make("p", { class: "muted small" }, text);

// A long name may wrap after each of its parts.
export const breakable = (name) => name.split(/(?<=[_/])/).flatMap((part) => [part, make("wbr")]);

// Unchanged text is left alone, so that a screen reader does not announce it again.
export function write(node, text) {
  if (node.textContent !== text) node.replaceChildren(...breakable(text));
}

// Pairs of a term and its description, without those that have no description.
export const pairs = (entries) =>
  entries
    .filter(([, text]) => text)
    .map(([term, text]) => make("div", {}, make("dt", {}, term), make("dd", {}, ...[text].flat())));

// A table with a header line; cells are texts or nodes.
export function fillTable(table, header, rows) {
  table.replaceChildren(
    make("thead", {}, make("tr", {}, ...header.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell ?? ""))))),
  );
  return table;
}

export function copyOnClick(button, text) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    // Browsers give the clipboard to secure origins only.
    const isCopied = await navigator.clipboard?.writeText(text()).then(() => true, () => false);
    button.textContent = isCopied || copySelected(text()) ? "Copied" : "Not copied";
    setTimeout(() => (button.textContent = label), 2000);
  });
}

function copySelected(text) {
  const focused = document.activeElement;
  const area = make("textarea", { class: "skip", "aria-hidden": true });
  area.value = text;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return isCopied;
}

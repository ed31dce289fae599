// JSON with exact integers: one that no JavaScript number holds is read as a BigInt, and written as a number.

const MARK = "\ue000"; // of private use: a text that begins with it stands for an integer
const TEXT_OR_LARGE_INTEGER = /"[^"\\]*(?:\\.[^"\\]*)*"|(?<![\d.eE+-])-?\d{16,}(?![\d.eE])/g;
const MARKED = new RegExp(`^${MARK}-?\\d+$`);
const QUOTED = new RegExp(`"${MARK}(-?\\d+)"`, "g");

export function parse(text) {
  const mark = (token) => (token.startsWith('"') || Number.isSafeInteger(Number(token)) ? token : `"${MARK}${token}"`);
  const marked = /\d{16}/.test(text) ? text.replaceAll(TEXT_OR_LARGE_INTEGER, mark) : text;
  if (marked === text) return JSON.parse(text);
  return JSON.parse(marked, (_, value) => (typeof value === "string" && MARKED.test(value) ? BigInt(value.slice(1)) : value));
}

export const stringify = (value) =>
  JSON.stringify(value, (_, each) => (typeof each === "bigint" ? `${MARK}${each}` : each))?.replaceAll(QUOTED, "$1");

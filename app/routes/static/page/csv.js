// CSV, https://www.rfc-editor.org/rfc/rfc4180

// Returns the rows, each a list of texts.
export function parseCsv(text) {
  const rows = [];
  let row = [];
  let rest = text.replace(/^\uFEFF/, "");
  while (rest) {
    const match = /^(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r\n|\n|\r|$)/.exec(rest);
    if (!match) throw new Error(`row ${rows.length + 1} has a quote that is not closed, or text after it`);
    row.push(match[1]?.replaceAll('""', '"') ?? match[2]);
    rest = rest.slice(match[0].length);
    if (match[3] === ",") {
      if (!rest) row.push("");
      else continue;
    }
    // A blank line is no row; one with `""` is, as pandas writes a missing value in a table with one column.
    if (row.length > 1 || row[0] !== "" || match[1] !== undefined) rows.push(row);
    row = [];
  }
  return rows;
}

export const formatCsv = (rows) => rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";

// A text that a spreadsheet would run as a formula is quoted with an apostrophe.
function cell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  const safe = /^[=+\-@\t]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

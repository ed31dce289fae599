// The model's outputs in a response.

let model;
export const setModel = (about) => (model = about);

const datatypeOf = (name) => model.outputs.find((output) => output.name === name)?.datatype;
const isFloat = (name) => /\b(FP|BF)\d/.test(datatypeOf(name) ?? "FP32");
export const isInteger = (name) => /^U?INT/.test(datatypeOf(name));
export const className = (index) => (/^\d+$/.test(index) ? model.manifest.classes?.[index]?.toString() : undefined);
export const unwrapSingle = (value) => (Array.isArray(value) && value.length === 1 ? value[0] : value);

// Returns an object for each row, output → value; one object with all outputs if they differ in their number of rows.
export function rowsOf({ predictions, outputs }) {
  if (predictions) return predictions;
  const values = Object.values(outputs);
  const count = values[0]?.length;
  if (!count || !values.every((value) => Array.isArray(value) && value.length === count)) return [outputs];
  return Array.from({ length: count }, (_, i) => Object.fromEntries(Object.entries(outputs).map(([name, all]) => [name, all[i]])));
}

// The service writes numbers that are not finite as texts, so only a float's "NaN" is a number.
export const hasNan = (rows) => rows.some((row) => Object.entries(row).some(([name, value]) => isFloat(name) && containsNan(value)));
const containsNan = (value) => value === "NaN" || (value !== null && typeof value === "object" && Object.values(value).some(containsNan));

// Returns pairs of class and probability; null if the value is not one probability per class.
export function probabilitiesOf(name, value) {
  const single = unwrapSingle(value);
  const entries = isFloat(name) && typeof single === "object" ? Object.entries(single ?? {}) : [];
  const areShares = entries.length > 1 && entries.every(([, share]) => typeof share === "number" && share >= 0 && share <= 1);
  if (!areShares || Math.abs(entries.reduce((total, [, share]) => total + share, 0) - 1) > 0.01) return null;
  return entries.map(([index, share]) => [className(index) ?? (Array.isArray(single) ? `Class ${index}` : index), share]);
}

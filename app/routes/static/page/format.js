// Numbers, times and types as texts.

const digits = (count) => ({ maximumSignificantDigits: count });

export const short = (number) => (typeof number === "number" ? number.toLocaleString("en", digits(4)) : String(number));
export const count = (number) => number.toLocaleString("en");
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
export const rate = (perSecond) => `${perSecond.toLocaleString("en", digits(3))} per second`;

export function percent(share) {
  if (share === 0) return "0%";
  return (100 * share).toFixed(share < 0.001 ? 2 : 1) + "%";
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const [unit, size] = seconds < 0.000_9995 ? ["µs", 1e-6] : seconds < 0.9995 ? ["ms", 1e-3] : ["s", 1];
  return (seconds / size).toLocaleString("en", digits(3)) + " " + unit;
}

const UNITS = [
  ["year", 31_557_600],
  ["month", 2_629_800],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

// "3 hours": how long something has lasted.
export function span(seconds) {
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? UNITS.at(-1);
  return plural(Math.max(0, Math.floor(seconds / size)), unit);
}

export const ago = (milliseconds) => {
  const seconds = (Date.now() - milliseconds) / 1000;
  return seconds < 1 ? "now" : `${span(seconds)} ago`;
};
export const clock = (milliseconds, seconds = false) =>
  new Date(milliseconds).toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(seconds && { second: "2-digit" }) });
export const day = (milliseconds) => new Date(milliseconds).toLocaleString("en", { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
// The time, with its date if that is not today.
export const moment = (milliseconds) => (new Date(milliseconds).toDateString() === new Date().toDateString() ? clock(milliseconds) : day(milliseconds));

export const dateAndAge = (text) => `${day(Date.parse(text))}, ${ago(Date.parse(text))}`;

export const joined = (separator, ...texts) => texts.filter(Boolean).join(separator);

export const inline = (object) =>
  Object.entries(object ?? {})
    .filter(([, value]) => value !== null)
    .map((pair) => pair.join(" "))
    .join(", ");

export const typeOf = ({ datatype, shape }) => (shape ? `${datatype} [${shape.map((size) => size ?? "?").join(", ")}]` : datatype);

export const isNumber = (datatype) => /^(FP|BF|U?INT)\w+$/.test(datatype);

// "a, b and 3 more"
export function list(names, most = 3) {
  const first = names.slice(0, most);
  if (names.length > most) return `${first.join(", ")} and ${names.length - most} more`;
  return first.length > 1 ? `${first.slice(0, -1).join(", ")} and ${first.at(-1)}` : (first[0] ?? "");
}

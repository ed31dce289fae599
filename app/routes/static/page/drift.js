// Drift of one distribution, by the formulas of monitoring/rules.yaml. An hour for PSI, 15 minutes for values that are
// missing, or outside of all bins.

// With fewer rows, the limit of chance does not hold.
export const MIN_ROWS = 200;
const [MODERATE_PSI, SIGNIFICANT_PSI, LEAST_SHARE] = [0.1, 0.2, 0.01];
const HOURS_A_YEAR = 8760;
const SPECIAL = ["missing", "outside"];

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

// Standard deviations that chance exceeds less than once in the hours of a year, over all distributions.
export const limitZ = (distributions) => Math.sqrt(2 * Math.log(HOURS_A_YEAR * Math.max(1, distributions)));

const poissonBound = (count, z) => {
  const known = Math.max(count, 1e-9);
  return known * Math.max(1 - 1 / (9 * known) + z / (3 * Math.sqrt(known)), 0) ** 3;
};

export function compare({ kind, name, bins, expected, "1h": hour, "15m": quarter }, { baselineRows, rows, z }) {
  const count = sum(hour);
  const all = bins.map((bin, i) => ({ bin, expected: expected[i], count: hour[i], observed: count ? hour[i] / count : 0 }));
  const regular = all.filter(({ bin }) => !SPECIAL.includes(bin));
  const special = all.filter(({ bin }) => SPECIAL.includes(bin));
  const edges = (bin) => bin.split("..").map(Number);
  const isNumeric = regular.every(({ bin }) => edges(bin).length === 2 && edges(bin).every(Number.isFinite));
  regular.sort((a, b) => (isNumeric ? edges(a.bin)[0] - edges(b.bin)[0] : a.bin.localeCompare(b.bin, "en", { numeric: true })));
  const known = Math.min(count, rows["1h"]); // values of one row depend on each other
  const n = known * sum(regular.map((one) => one.observed));
  const inBaseline = (baselineRows ?? 0) * sum(regular.map((one) => one.expected));
  const hasPsi = n >= MIN_ROWS && inBaseline > 0 && regular.length > 1;
  const { psi, isBeyondChance } = hasPsi ? stability(regular, known, n, baselineRows, inBaseline, z) : { psi: 0, isBeyondChance: false };
  const excess = special.map((one) => ({ ...one, excess: excessOf(one.bin, { bins, expected, quarter, baselineRows, rows, z }) }));
  const psiLevel = isBeyondChance && psi > MODERATE_PSI ? (psi > SIGNIFICANT_PSI ? 2 : 1) : 0;
  const level = Math.max(
    psiLevel,
    ...excess.map(({ excess }) => (excess > LEAST_SHARE ? 2 : 0)),
  );
  return { kind, name, count, hasPsi, psi, psiLevel, isBeyondChance, level, regular, special: excess, isNumeric };
}

function stability(regular, known, n, baselineRows, inBaseline, z) {
  const raw = sum(
    regular.map((one) => {
      const a = (known * one.observed + 0.5) / (n + 0.5 * regular.length);
      const e = (baselineRows * one.expected + 0.5) / (inBaseline + 0.5 * regular.length);
      return (a - e) * Math.log(a / e);
    }),
  );
  const [chance, degrees] = [1 / n + 1 / inBaseline, regular.length - 1];
  const limit = chance * degrees * (1 - 2 / (9 * degrees) + z * Math.sqrt(2 / (9 * degrees))) ** 3;
  return { psi: Math.max(0, raw - chance * degrees), isBeyondChance: raw > limit };
}

// The lowest share in the last 15 minutes that chance leaves possible, less the highest in training.
function excessOf(bin, { bins, expected, quarter, baselineRows, rows, z }) {
  const count = sum(quarter);
  if (!count || !baselineRows) return 0;
  const i = bins.indexOf(bin);
  const known = Math.min(count, rows["15m"]);
  const lowest = poissonBound((known * quarter[i]) / count, -z) / known;
  const inBaseline = baselineRows * expected[i] + (bin === "outside" ? 2 : 0);
  return lowest - poissonBound(inBaseline, z) / baselineRows;
}

// Worst first: by level, then by what is beyond training.
export const byDrift = (a, b) => b.level - a.level || b.psi - a.psi || specialShare(b) - specialShare(a);
const specialShare = ({ special }) => sum(special.map(({ observed, expected }) => Math.max(0, observed - expected)));

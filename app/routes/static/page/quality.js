// The model's quality as the monitor has measured it, from Prometheus.

import { $, fillTable } from "./dom.js";
import { count, short } from "./format.js";

export function renderQuality({ quality }, { version }) {
  $("quality").hidden = !quality.length;
  if (!quality.length) return;
  const own = quality.filter((one) => one.version === version);
  const rows = (own.length ? own : quality).sort((a, b) => a.metric.localeCompare(b.metric) || a.window.localeCompare(b.window, "en", { numeric: true }));
  fillTable(
    $("measures"),
    ["Metric", "Version", "Window", "Value", "95% interval", "Limit", "Labels"],
    rows.map(({ metric, version, window, value, low, high, limit, rows }) => [
      metric,
      version,
      window,
      short(value),
      low === undefined || high === undefined ? "–" : `${short(low)} to ${short(high)}`,
      limit === undefined ? "–" : short(limit),
      rows === undefined ? "–" : count(rows),
    ]),
  );
}

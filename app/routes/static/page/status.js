// The strip on top: ready, draining, or unreachable since when; and the readings of the last hour.

import { renderCharts } from "./charts.js";
import { $, write } from "./dom.js";
import { clock, count, duration, joined, moment, percent, plural, span } from "./format.js";
import { read } from "./service.js";

const POLL_MS = 5000;
const TICK_MS = 1000;
// Behind an ingress each reading may come from another replica, with an hour of its own. The page stays with the
// first one for as long as it answers.
const REPLICA_TIMEOUT_MS = 60_000;

let last = null; // the last reading of the replica that is shown
let lastAt = 0; // when any replica answered
let failure = null; // { since, message } while nothing answers
const seen = new Map(); // pod → when it answered last

// When the replica that is shown started, in seconds since the epoch.
export const startedAt = () => last?.started ?? 0;

export async function pollStatus() {
  setInterval(renderStrip, TICK_MS);
  for (;;) {
    if (!document.hidden) await poll();
    await new Promise((resolve) => {
      setTimeout(resolve, POLL_MS);
      // A page that was hidden is read again at once.
      document.addEventListener("visibilitychange", resolve, { once: true });
    });
  }
}

async function poll() {
  let now;
  try {
    now = await read("recent");
  } catch (error) {
    failure ??= { since: Date.now(), message: error.message };
    return renderStrip();
  }
  failure = null;
  lastAt = Date.now();
  seen.set(now.pod, lastAt);
  if (!last || last.pod === now.pod || lastAt - seen.get(last.pod) > REPLICA_TIMEOUT_MS) {
    last = now;
    renderCharts(now);
    renderTraffic(now);
  }
  renderStrip();
}

function renderStrip() {
  const strip = $("strip");
  const state = failure ? "unreachable" : (last?.state ?? "connecting");
  strip.dataset.state = state;
  document.body.classList.toggle("stale", Boolean(failure));
  write($("state"), { unreachable: "Unreachable", ready: "Ready", draining: "Draining", connecting: "Connecting" }[state]);
  if (!last) {
    if (failure) write($("since"), `since ${clock(failure.since, true)}: ${failure.message}`);
    return;
  }
  const uptime = `since ${moment(last.started * 1000)}, up ${span(Date.now() / 1000 - last.started)}`;
  const texts = {
    ready: uptime,
    draining: `it is shutting down: requests in flight are finished, new ones belong elsewhere. Up ${span(Date.now() / 1000 - last.started)}`,
    unreachable: failure && `since ${clock(failure.since, true)}, for ${span((Date.now() - failure.since) / 1000)}. Figures are from ${clock(lastAt, true)}, ${span((Date.now() - lastAt) / 1000)} old`,
  };
  write($("since"), texts[state]);
  const pods = seen.size > 1 ? ` (one of ${seen.size} that answered)` : "";
  write($("where"), joined(" · ", last.stage, last.release && `release ${last.release}`, `pod ${last.pod}${pods}`, plural(last.workers, "worker")));
}

function renderTraffic({ hour, callers, rejected, started, source, problem, pod }) {
  const errors = hour.client_errors + hour.server_errors;
  const share = (number) => percent(number / Math.max(1, hour.requests));
  const shares = joined(", ", errors && `${share(hour.client_errors)} client errors`, errors && `${share(hour.server_errors)} server errors`) || "no errors";
  const text = hour.requests ? `${plural(hour.requests, "request")}, ${joined(", ", hour.p95 !== null && `p95 ${duration(hour.p95)}`, shares)}` : "No requests";
  write($("traffic-tile"), text);
  $("traffic-tile").parentNode.dataset.level = hour.server_errors > 0.01 * hour.requests ? 2 : 0;
  const total = Object.values(callers).reduce((sum, number) => sum + number, 0);
  const where = { prometheus: "All replicas, from Prometheus", service: `Replica ${pod}` }[source];
  write($("totals"), joined(". ", where, problem));
  const names = (counts) => Object.entries(counts).map(([name, number]) => `${count(number)} ${name}`).join(", ");
  write(
    $("counts"),
    `Since ${moment(started * 1000)}: ${plural(total, "request")}${total ? ` (callers: ${names(callers)})` : ""}; rejected: ${names(rejected) || "none"}.`,
  );
}

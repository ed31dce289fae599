// The strip on top: ready, draining, or unreachable since when; and the readings of the last hour.

import { renderCharts } from "./charts.js";
import { $, write } from "./dom.js";
import { clock, count, duration, joined, moment, percent, plural, span } from "./format.js";
import { repeat } from "./polling.js";
import { read } from "./service.js";

const POLL_MS = 5000;
const TICK_MS = 1000;
// Behind an ingress each reading may come from another replica, with an hour of its own. The page stays with the
// first one for as long as it answers.
export const REPLICA_TIMEOUT_MS = 60_000;

let last = null; // the last reading of the replica that is shown
let lastAt = 0; // when any replica answered
let offset = 0; // milliseconds from this browser's clock to the service's
let failure = null; // { since, message } while nothing answers
const seen = new Map(); // pod → when it answered last

// The replica that is shown, and when it started, in seconds since the epoch.
export const shownReplica = () => last?.pod;
export const startedAt = () => last?.started ?? 0;

export function pollStatus() {
  setInterval(renderStrip, TICK_MS);
  repeat(poll, POLL_MS);
}

async function poll() {
  try {
    const now = await read("recent");
    check(now);
    note(now);
    if (!last || last.pod === now.pod || !seen.has(last.pod)) show(now);
    failure = null;
  } catch (error) {
    failure ??= { since: Date.now(), message: error.message };
  }
  renderStrip();
}

function check(now) {
  const isRight = now?.pod && now.hour && now.callers && now.rejected && now.steps?.requests?.length;
  if (!isRight) throw new Error("the response of /recent is not as expected");
}

function note(now) {
  lastAt = Date.now();
  offset = 1000 * now.time - lastAt;
  seen.set(now.pod, lastAt);
  for (const [pod, at] of seen) if (lastAt - at > REPLICA_TIMEOUT_MS) seen.delete(pod);
}

function show(now) {
  renderCharts(now);
  renderTraffic(now);
  last = now;
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
  const uptime = span((Date.now() + offset) / 1000 - last.started);
  const texts = {
    ready: `since ${moment(last.started * 1000)}, up ${uptime}`,
    draining: `since ${clock(last.draining_since * 1000, true)}: it finishes its requests and should get no new ones. Up ${uptime}`,
    unreachable: failure && `since ${clock(failure.since, true)}, for ${span((Date.now() - failure.since) / 1000)}. Figures are from ${clock(lastAt, true)}, ${span((Date.now() - lastAt) / 1000)} old`,
  };
  write($("since"), texts[state]);
  const pods = seen.size > 1 ? ` (one of ${seen.size} that answered)` : "";
  write($("where"), joined(" · ", last.stage, last.release && `release ${last.release}`, `version ${last.version}`, `pod ${last.pod}${pods}`, plural(last.workers, "worker")));
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
    `Replica ${pod} since ${moment(started * 1000)}: ${plural(total, "request")}${total ? ` (callers: ${names(callers)})` : ""}; rejected: ${names(rejected) || "none"}.`,
  );
}

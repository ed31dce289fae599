// Says that another model than the page's is served: after a rollout, or by a canary.

import { $, write } from "./dom.js";

// During a rollout, replicas of both versions answer in turns.
const FORGET_MS = 60_000;

let model = null;
let differedAt = 0;

export const setPageModel = (about) => (model = about);

export function compareModel(version, digest) {
  if (!model || !digest) return;
  if (digest !== model.digest) {
    differedAt = Date.now();
    write($("outdated"), `${version === model.version ? "Another version" : "Version"} ${version} is served now. Reload the page.`);
  } else if (Date.now() - differedAt > FORGET_MS) write($("outdated"), "");
}

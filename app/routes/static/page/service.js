// Requests to the service, and the API key.

import { parse } from "./json.js";
import { compareModel } from "./version.js";

export const base = new URL(document.baseURI);
const READ_TIMEOUT_MS = 10_000;
const TURN_TIMEOUT_MS = 60_000;

let key = "";
export const hasKey = () => key !== "";
export const setKey = (value) => (key = value);

export async function request(path, options = {}) {
  const response = await fetch(new URL(path, base), { ...options, headers: { ...options.headers, ...(key && { "x-api-key": key }) } });
  compareModel(response.headers.get("x-model-version"), response.headers.get("x-model-digest"));
  return response;
}

// A reading that takes longer than a few seconds is none.
export const requestSoon = (path) => request(path, { signal: AbortSignal.timeout(READ_TIMEOUT_MS) });

export async function read(path) {
  const response = await requestSoon(path);
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  return response.json();
}

export async function errorOf(response) {
  const text = await response.text();
  try {
    return parse(text).error ?? text;
  } catch {
    return text;
  }
}

// Why a turn was aborted: there is nothing to say.
export const ENDED = new Error("ended");

// Turns of one control: a new one aborts the one before, and each is aborted if it takes too long.
export function makeTurns() {
  let newest = new AbortController();
  const end = () => newest.abort(ENDED);
  const begin = () => {
    end();
    const turn = new AbortController();
    newest = turn;
    setTimeout(() => turn.abort(new Error(`no answer within ${TURN_TIMEOUT_MS / 1000} s`)), TURN_TIMEOUT_MS);
    return turn.signal;
  };
  return { begin, end };
}

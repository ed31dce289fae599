// Requests to the service, and the API key.

export const base = new URL(document.baseURI);
const TIMEOUT_MS = 10_000;

let key = "";
export const hasKey = () => key !== "";
export const setKey = (value) => (key = value);

export function request(path, options = {}) {
  return fetch(new URL(path, base), { ...options, headers: { ...options.headers, ...(key && { "x-api-key": key }) } });
}

// A reading that takes longer than a few seconds is none.
export async function read(path) {
  const response = await request(path, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  return response.json();
}

export async function errorOf(response) {
  const text = await response.text();
  return /json/.test(response.headers.get("content-type")) ? JSON.parse(text).error : text;
}

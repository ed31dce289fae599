// The request of the form in the languages of its callers.

import { $, copyOnClick, make } from "./dom.js";
import { count } from "./format.js";
import { base, hasKey } from "./service.js";

const url = () => new URL("score", base).href;
const HEADERS = { "content-type": "application/json" };
const MAX_CHARACTERS = 10_000;

// JSON's literals in Python. Some of JSON's escapes mean something else in Python, so texts are written again.
const python = (json) =>
  json.replaceAll(
    /"[^"\\]*(?:\\.[^"\\]*)*"|\b(?:null|true|false)\b/g,
    (word) => ({ null: "None", true: "True", false: "False" })[word] ?? JSON.stringify(JSON.parse(word)),
  );

export function curl(body) {
  const key = hasKey() ? ` \\\n  -H "x-api-key: $API_KEY"` : "";
  return `curl -s ${url()} -H 'content-type: application/json'${key} \\\n  -d '${body.replaceAll("'", "'\\''")}'`;
}

function requests(body) {
  const key = hasKey() ? `, headers={"x-api-key": os.environ["API_KEY"]}` : "";
  return `${hasKey() ? "import os\n\n" : ""}import requests

response = requests.post(
    "${url()}",
    json=${python(body)},
    timeout=10${key},
)
response.raise_for_status()
print(response.json())`;
}

function pandas(row) {
  const headers = `{"content-type": "application/json"${hasKey() ? `, "x-api-key": os.environ["API_KEY"]` : ""}}`;
  return `${hasKey() ? "import os\n\n" : ""}import pandas
import requests

frame = pandas.DataFrame([${python(row)}])
body = frame.to_json(orient="split", double_precision=15)
headers = ${headers}
response = requests.post("${url()}", body, headers=headers, timeout=10)
response.raise_for_status()
print(pandas.DataFrame(response.json()["predictions"]))`;
}

function javascript(body) {
  const headers = JSON.stringify(HEADERS).slice(1, -1);
  return `const response = await fetch("${url()}", {
  method: "POST",
  headers: {${headers}${hasKey() ? `,"x-api-key":process.env.API_KEY` : ""}},
  body: ${JSON.stringify(body)},
});
if (!response.ok) throw new Error((await response.json()).error);
console.log(await response.json());`;
}

const LANGUAGES = {
  curl: ({ body }) => curl(body),
  Python: ({ body }) => requests(body),
  pandas: ({ row }) => pandas(row),
  JavaScript: ({ body }) => javascript(body),
};

let request = { body: "", row: null };
let chosen = "curl";

export function renderSnippets(current) {
  request = current;
  for (const tab of $("languages").children) {
    const isChosen = tab.textContent === chosen;
    tab.setAttribute("aria-selected", isChosen);
    tab.tabIndex = isChosen ? 0 : -1;
    tab.hidden = tab.textContent === "pandas" && !request.row;
  }
  $("code").setAttribute("aria-labelledby", `language-${chosen}`);
  const code = whole();
  const more = code.length - MAX_CHARACTERS;
  $("code").textContent = more > 0 ? `${code.slice(0, MAX_CHARACTERS)}…\n${count(more)} more characters are copied, and not shown` : code;
}

const whole = () => LANGUAGES[chosen](request);

// https://www.w3.org/WAI/ARIA/apg/patterns/tabs/
function choose(tab) {
  chosen = tab.textContent;
  renderSnippets(request);
}

for (const name of Object.keys(LANGUAGES)) {
  const tab = make("button", { type: "button", role: "tab", id: `language-${name}`, "aria-controls": "code" }, name);
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const tabs = [...$("languages").children].filter(({ hidden }) => !hidden);
    const next = tabs.at((tabs.indexOf(tab) + step) % tabs.length);
    choose(next);
    next.focus();
  });
  $("languages").append(tab);
}
copyOnClick($("copy"), whole);

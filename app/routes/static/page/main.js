// Loads the model, asks for the key if there is one, and starts the parts of the page.

import { renderCard, renderTitle } from "./card.js";
import { pollData } from "./data.js";
import { $, write } from "./dom.js";
import { renderForm } from "./form.js";
import { parse } from "./json.js";
import { errorOf, hasKey, requestSoon, setKey } from "./service.js";
import { pollStatus } from "./status.js";
import { setPageModel } from "./version.js";

const RETRY_MS = 5000;
let isStarted = false;
let retry;

async function load() {
  clearTimeout(retry);
  try {
    const response = await requestSoon("model");
    if (response.status === 401) return askForKey(await errorOf(response));
    if (!response.ok) throw new Error(await errorOf(response));
    const model = parse(await response.text());
    write($("problem"), "");
    // A key that is entered again changes nothing else.
    if (!isStarted) start(model);
    if (hasKey()) $("name").focus();
  } catch (error) {
    write($("problem"), `The model's details could not be loaded: ${error.message}`);
    retry = setTimeout(load, RETRY_MS);
  }
}

function start(model) {
  model.manifest ??= {};
  renderTitle(model);
  renderForm(model, askForKey);
  renderCard(model);
  setPageModel(model);
  isStarted = true;
  for (const id of ["title", "call-tile", "try", "card"]) $(id).hidden = false;
  pollData(model);
}

function askForKey(error) {
  write($("problem"), hasKey() ? error : "");
  $("key").hidden = false;
  $("secret").focus();
}

$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey($("secret").value);
  $("secret").value = "";
  $("key").hidden = true;
  load();
});

// With a base URL, a link to a part of the page would lead to another page.
for (const link of document.querySelectorAll('a[href^="#"]')) link.href = location.pathname + link.getAttribute("href");

load();
pollStatus();

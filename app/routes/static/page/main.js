// Loads the model, asks for the key if there is one, and starts the parts of the page.

import { renderCard, renderTitle } from "./card.js";
import { pollData } from "./data.js";
import { $, write } from "./dom.js";
import { renderForm } from "./form.js";
import { parse } from "./json.js";
import { hasKey, request, setKey } from "./service.js";
import { pollStatus } from "./status.js";

async function load() {
  write($("problem"), "");
  try {
    const response = await request("model");
    const model = parse(await response.text());
    if (response.status === 401) return askForKey(model.error);
    if (!response.ok) throw new Error(model.error);
    model.manifest ??= {};
    renderTitle(model);
    renderForm(model, askForKey);
    renderCard(model);
    pollData(model);
    for (const id of ["title", "call-tile", "try", "card"]) $(id).hidden = false;
    if (hasKey()) $("name").focus();
  } catch (error) {
    write($("problem"), `The model's details could not be loaded: ${error.message}`);
  }
}

function askForKey(error) {
  if (hasKey()) write($("problem"), error);
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

// Which part is shown is said by the address behind the #: it can be linked to, and the browser's back button works.

import { keys } from "./api.js";
import { showDocuments } from "./documents.js";
import { showHealth } from "./health.js";
import { showRequests } from "./requests.js";

const PARTS = { documents: showDocuments, requests: showRequests, health: showHealth };
const TITLES = { documents: "Documents", requests: "Requests", health: "Health" };
let leaving = null;

function show({ focus } = {}) {
  const [part, ...rest] = location.hash.slice(1).split("/");
  const name = PARTS[part] ? part : "documents";
  leaving?.abort();
  leaving = new AbortController();
  const main = document.getElementById("main");
  main.replaceChildren();
  document.title = `${TITLES[name]} - robin`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  PARTS[name](main, rest.join("/"), leaving.signal);
  if (focus) main.focus();
}

function setUpKeys() {
  const form = document.getElementById("keys");
  const fields = { client: document.getElementById("client-key"), operator: document.getElementById("operator-key") };
  const use = () => {
    for (const [whose, field] of Object.entries(fields)) keys.set(whose, field.value.trim());
    form.closest("details").open = false;
    show();
  };
  for (const [whose, field] of Object.entries(fields)) field.value = keys.get(whose);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    use();
  });
  document.getElementById("forget").addEventListener("click", () => {
    for (const field of Object.values(fields)) field.value = "";
    use();
  });
}

setUpKeys();
addEventListener("hashchange", () => show({ focus: true }));
show();

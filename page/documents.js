// A client's documents: upload, list, search, download, delete, restore.

import { client, documents, keys } from "./api.js";
import { announce, bytes, element, moment } from "./dom.js";
import { fill, problemBox, storyLink } from "./problems.js";

export function showDocuments(main, _rest, signal) {
  const state = { words: "", deleted: false };
  const list = element("div", { class: "list" });
  const uploads = element("ul", { class: "uploads", "aria-label": "Uploads" });
  const reload = () => showList(list, state, signal, reload);
  main.append(
    element("h1", {}, "Documents"),
    whose(reload),
    dropZone((files) => files.forEach((file) => inTurn(upload(file, uploads, reload)))),
    uploads,
    filters(state, reload),
    list,
  );
  reload();
}

function whose(reload) {
  const field = element("input", {
    id: "client", required: true, value: client.get(), maxlength: 128, autocomplete: "off", spellcheck: "false",
    pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]{0,127}", title: "Letters, digits, dots, dashes and underscores",
  });
  const use = (event) => {
    event.preventDefault();
    client.set(field.value.trim());
    reload();
  };
  return element("form", { class: "row", onsubmit: use },
    element("label", { for: "client" }, "Client"), field, element("button", {}, "Show"));
}

function dropZone(take) {
  const input = element("input", { type: "file", multiple: true, id: "files", class: "unseen" });
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
  const zone = element("label", { class: "drop", for: "files" }, input, "Drop files here, or ", element("span", { class: "like-link" }, "choose some"));
  const over = (is) => (event) => {
    event.preventDefault();
    zone.classList.toggle("over", is);
  };
  zone.addEventListener("dragover", over(true));
  zone.addEventListener("dragleave", over(false));
  zone.addEventListener("drop", (event) => {
    over(false)(event);
    take([...event.dataTransfer.files]);
  });
  return zone;
}

// A client may have few uploads at once: of many files the others wait.
const AT_ONCE = 2;
const waiting = [];
let underWay = 0;

function inTurn(work) {
  waiting.push(work);
  while (underWay < AT_ONCE && waiting.length) {
    underWay++;
    waiting.shift()().finally(() => {
      underWay--;
      if (waiting.length) inTurn(waiting.shift());
    });
  }
}

// Lists a file at once, and returns what uploads it.
function upload(file, uploads, reload) {
  const bar = element("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
  const said = element("span", {}, "");
  const item = element("li", {}, element("span", { class: "name" }, file.name), bar, said);
  uploads.prepend(item);
  const id = client.get();
  return async () => {
    try {
      if (!id) throw new Error("Say first whose document it is: enter a client above.");
      const { document, correlationId } = await documents.upload(id, file, (share) => (bar.value = share));
      bar.value = 1;
      said.replaceChildren(`stored as document ${document.id}, request `, storyLink(correlationId));
      announce(`${file.name} is stored`);
      reload();
    } catch (error) {
      bar.remove();
      said.replaceChildren(problemBox(error));
    }
  };
}

function filters(state, reload) {
  const words = element("input", { type: "search", id: "words", maxlength: 200, autocomplete: "off" });
  const deleted = element("input", { type: "checkbox", id: "deleted" });
  deleted.addEventListener("change", () => {
    state.deleted = deleted.checked;
    reload();
  });
  const search = (event) => {
    event.preventDefault();
    state.words = words.value.trim();
    reload();
  };
  return element("form", { class: "row", role: "search", onsubmit: search },
    element("label", { for: "words" }, "Search"), words, element("button", {}, "Find"),
    element("label", { class: "check" }, deleted, "Deleted ones"));
}

function showList(place, state, signal, reload) {
  const id = client.get();
  if (!id) {
    place.replaceChildren(element("p", { class: "hint" }, "Enter a client to see its documents."));
    return;
  }
  fill(place, signal, async () => {
    const { items, next } = await page(id, state, null, signal);
    if (!items.length) return element("p", { class: "hint" }, state.deleted ? "None is deleted." : state.words ? "Nothing was found." : "There are no documents.");
    const list = element("ul", { class: "documents", "aria-label": "Documents" }, items.map((item) => card(id, item, state, reload)));
    return [list, more(id, state, next, list, signal, reload)].filter(Boolean);
  });
}

async function page(id, state, cursor, signal) {
  if (!state.words || state.deleted) {
    const { documents: items, next } = await documents.list(id, { cursor, deleted: state.deleted, signal });
    return { items: items.map((document) => ({ document })), next };
  }
  const { found, next } = await documents.search(id, state.words, { cursor, signal });
  return { items: found, next };
}

function more(id, state, cursor, list, signal, reload) {
  if (!cursor) return null;
  const button = element("button", { type: "button" }, "More");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { items, next } = await page(id, state, cursor, signal);
      if (signal.aborted) return;
      list.append(...items.map((item) => card(id, item, state, reload)));
      button.replaceWith(...[more(id, state, next, list, signal, reload)].filter(Boolean));
    } catch (error) {
      if (!signal.aborted) button.replaceWith(problemBox(error));
    }
  });
  return button;
}

function card(id, { document, excerpt, highlights }, state, reload) {
  const said = element("div");
  const act = (work, done) => async () => {
    try {
      await work();
      announce(done);
      if (done) reload();
    } catch (error) {
      said.replaceChildren(problemBox(error));
    }
  };
  const facts = [document.file_type, bytes(document.file_size), moment(new Date(document.upload_timestamp)),
    document.version > 1 ? `version ${document.version}` : null,
    ...Object.entries(document.tags ?? {}).map(([name, value]) => `${name}: ${value}`)];
  return element("li", {},
    element("h2", {}, document.filename),
    element("p", { class: "facts" }, facts.filter(Boolean).join(" · ")),
    excerpt ? element("p", { class: "excerpt" }, marked(excerpt, highlights ?? [])) : null,
    summaryOf(document),
    element("div", { class: "row" }, state.deleted ? deletedButtons(id, document, act) : buttons(id, document, act)),
    said);
}

function summaryOf(document) {
  if (document.summary) return element("p", { class: "summary" }, document.summary);
  return element("p", { class: "hint" }, `No summary: ${document.summary_reason ?? "there is none"}`);
}

// Places of highlights are counted in characters, of which a JavaScript string may need two for one.
function marked(excerpt, highlights) {
  const characters = [...excerpt];
  const parts = [];
  let end = 0;
  for (const [from, to] of highlights) {
    parts.push(characters.slice(end, from).join(""), element("mark", {}, characters.slice(from, to).join("")));
    end = to;
  }
  return [...parts, characters.slice(end).join("")];
}

function buttons(id, document, act) {
  const name = document.filename;
  return [
    element("button", { type: "button", "aria-label": `Download ${name}`, onclick: act(() => download(id, document), "") }, "Download"),
    confirmed("Delete", name, act(() => documents.remove(id, document.id), `${name} is deleted`)),
  ];
}

function deletedButtons(id, document, act) {
  const name = document.filename;
  return [
    element("button", { type: "button", "aria-label": `Restore ${name}`, onclick: act(() => documents.restore(id, document.id), `${name} is restored`) }, "Restore"),
    confirmed("Delete for good", name, act(() => documents.purge(id, document.id), `${name} is gone`)),
  ];
}

// Asks once more in its own place: a second press does it.
function confirmed(text, name, work) {
  const button = element("button", { type: "button", "aria-label": `${text}: ${name}` }, text);
  const calm = () => {
    button.classList.remove("danger");
    button.textContent = text;
    button.setAttribute("aria-label", `${text}: ${name}`);
  };
  button.addEventListener("blur", calm);
  button.addEventListener("click", () => {
    if (button.classList.contains("danger")) return work();
    button.classList.add("danger");
    button.textContent = `Really ${text.toLowerCase()}?`;
    button.setAttribute("aria-label", `Really ${text.toLowerCase()}: ${name}?`);
  });
  return button;
}

const MOST_IN_MEMORY = 64 * 1024 * 1024;

// Through memory, which can show a key and say what was wrong; what is large and needs no key goes straight to the disk.
async function download(id, document) {
  const link = element("a", { href: documents.contentPath(id, document.id), download: document.filename });
  if (!keys.get("client") && document.file_size > MOST_IN_MEMORY) return link.click();
  const url = URL.createObjectURL(await documents.content(id, document.id));
  link.href = url;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

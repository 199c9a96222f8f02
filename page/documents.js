// A client's documents: where files are dropped, the search, and the list.

import { client, documents } from "./api.js";
import { card } from "./card.js";
import { element } from "./dom.js";
import { fill, problemBox } from "./problems.js";
import { uploadDocuments } from "./uploads.js";

export function showDocuments(main, _rest, signal) {
  const list = element("div", { class: "list" });
  const uploads = element("ul", { class: "uploads", "aria-label": "Uploads" });
  const reload = () => showList(list, state);
  const state = { words: "", deleted: false, signal, reload };
  main.append(
    element("h1", {}, "Documents"),
    whose(reload),
    dropZone((files) => uploadDocuments(files, uploads, (stored) => addTo(list, stored, state))),
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

// The newest stand first; nothing else of the list changes, for somebody may be about to change a tag in it.
function addTo(place, stored, state) {
  const list = place.querySelector(".documents");
  if (!list || place.hasAttribute("aria-busy") || state.words || state.deleted) return state.reload();
  const id = client.get();
  const own = stored.filter((document) => document.client_id === id).reverse();
  list.prepend(...own.map((document) => card(id, { document }, { ...state })));
}

function showList(place, state) {
  const id = client.get();
  if (!id) {
    place.replaceChildren(element("p", { class: "hint" }, "Enter a client to see its documents."));
    return;
  }
  fill(place, state.signal, async () => {
    const { items, next } = await page(id, state, null);
    if (!items.length) return element("p", { class: "hint" }, state.deleted ? "None is deleted." : state.words ? "Nothing was found." : "There are no documents.");
    const list = element("ul", { class: "documents", "aria-label": "Documents" }, items.map((item) => card(id, item, { ...state })));
    return [list, more(id, state, next, list)].filter(Boolean);
  });
}

const NOT_FOUND = 404;

// A client's list is always there, but for whoever has another's key.
async function page(id, state, cursor) {
  try {
    return await asked(id, state, cursor);
  } catch (error) {
    if (error.status === NOT_FOUND) error.message = `The key at the top is not one of ${id}.`;
    throw error;
  }
}

async function asked(id, { words, deleted, signal }, cursor) {
  if (!words || deleted) {
    const { documents: items, next } = await documents.list(id, { cursor, deleted, signal });
    return { items: items.map((document) => ({ document })), next };
  }
  const { found, next } = await documents.search(id, words, { cursor, signal });
  return { items: found, next };
}

function more(id, state, cursor, list) {
  if (!cursor) return null;
  const button = element("button", { type: "button" }, "More");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { items, next } = await page(id, state, cursor);
      if (state.signal.aborted) return;
      list.append(...items.map((item) => card(id, item, { ...state })));
      button.replaceWith(...[more(id, state, next, list)].filter(Boolean));
    } catch (error) {
      if (!state.signal.aborted) button.replaceWith(problemBox(error));
    }
  });
  return button;
}

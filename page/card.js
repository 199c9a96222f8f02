// A document in the list: what it is, what can be done with it, its tags and its versions.

import { documents, keys } from "./api.js";
import { announce, bytes, element, moment } from "./dom.js";
import { fill, problemBox } from "./problems.js";
import { uploadVersion } from "./uploads.js";

// `list` says of what kind the list is (deleted), when it is left (signal), and how it is shown anew (reload).
export function card(id, item, list, uploads = element("ul", { class: "uploads" })) {
  const { document, excerpt, highlights } = item;
  const said = element("div");
  const act = (work, done) => async () => {
    try {
      await work();
      announce(done);
      if (done) list.reload();
    } catch (error) {
      said.replaceChildren(problemBox(error));
    }
  };
  // Takes the place of what the document was, with the same part of it open.
  const become = (next, part) => {
    const shown = uploads.closest("li"); // by now perhaps another than this one
    const focused = shown.contains(globalThis.document.activeElement);
    const other = card(id, next, list, uploads);
    shown.replaceWith(other);
    const opened = other.querySelector(`.${part}`);
    opened.open = true;
    if (focused) opened.querySelector("summary").focus();
  };
  return element("li", {},
    element("h2", {}, document.filename),
    element("p", { class: "facts" }, facts(document).join(" · ")),
    excerpt ? element("p", { class: "excerpt" }, marked(excerpt, highlights ?? [])) : null,
    summaryOf(document),
    element("div", { class: "row" }, list.deleted ? deletedButtons(id, document, act) : buttons(id, document, act)),
    said,
    list.deleted ? null : [
      tagsOf(id, document, (changed) => become({ ...item, document: changed }, "tags")),
      versionsOf(id, document, list.signal, uploads, (changed) => become({ document: changed }, "versions")),
    ]);
}

function facts(document) {
  return [document.file_type, bytes(document.file_size), moment(new Date(document.upload_timestamp)),
    document.version > 1 ? `version ${document.version}` : null,
    document.deleted_at ? `deleted ${moment(new Date(document.deleted_at))}` : null,
    ...Object.entries(document.tags).map(([name, value]) => `${name}: ${value}`)].filter(Boolean);
}

function summaryOf(document) {
  if (document.summary) return element("p", { class: "summary" }, document.summary);
  if (document.summary_status === "pending") return element("p", { class: "hint" }, "Its summary is still to be written.");
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

function tagsOf(id, document, become) {
  const said = element("div");
  const change = async (tags, done) => {
    try {
      become(await documents.tag(id, document.id, tags));
      announce(done);
    } catch (error) {
      said.replaceChildren(problemBox(error));
    }
  };
  const all = Object.entries(document.tags).map(([name, value]) => element("li", {}, `${name}: ${value}`,
    element("button", { type: "button", "aria-label": `Remove tag ${name}`, onclick: () => change({ [name]: null }, `Tag ${name} is removed`) }, "Remove")));
  const name = element("input", {
    required: true, maxlength: 64, autocomplete: "off", spellcheck: "false",
    pattern: "[A-Za-z0-9][A-Za-z0-9_.\\-]{0,63}", title: "Letters, digits, dots, dashes and underscores",
  });
  const value = element("input", { required: true, maxlength: 256, autocomplete: "off" });
  const set = (event) => {
    event.preventDefault();
    change({ [name.value]: value.value }, `Tag ${name.value} is set`);
  };
  return element("details", { class: "tags" },
    element("summary", {}, all.length ? `Tags (${all.length})` : "Tags"),
    element("ul", {}, all),
    element("form", { class: "row", onsubmit: set },
      element("label", {}, "Name ", name), element("label", {}, "Value ", value), element("button", {}, "Set tag")),
    said);
}

function versionsOf(id, document, signal, uploads, become) {
  const place = element("div");
  const input = element("input", { type: "file", class: "unseen", "aria-label": `New version of ${document.filename}` });
  input.addEventListener("change", () => {
    uploadVersion(document, input.files[0], uploads, ([stored]) => become(stored));
    input.value = "";
  });
  const show = () => fill(place, signal, async () => {
    const versions = await documents.versions(id, document.id);
    return element("ul", {}, versions.map((version) => versionOf(id, version)));
  });
  return element("details", { class: "versions", ontoggle: (event) => event.target.open && show() },
    element("summary", {}, document.version > 1 ? `Versions (${document.version})` : "Versions"),
    place,
    element("label", { class: "button" }, input, "New version"),
    uploads);
}

function versionOf(id, version) {
  const said = element("div");
  const fetched = () => download(id, version).catch((error) => said.replaceChildren(problemBox(error)));
  const told = [`version ${version.version}`, version.filename, version.file_type, bytes(version.file_size), moment(new Date(version.upload_timestamp))];
  return element("li", {}, told.join(" · "),
    element("button", { type: "button", "aria-label": `Download version ${version.version} of ${version.filename}`, onclick: fetched }, "Download"),
    said);
}

const MOST_IN_MEMORY = 64 * 1024 * 1024;

// Through memory, which can show a key and say what was wrong; what is large and needs no key goes straight to the disk.
async function download(id, document) {
  const link = element("a", { href: documents.contentPath(id, document), download: document.filename });
  if (!keys.get("client") && document.file_size > MOST_IN_MEMORY) return link.click();
  const url = URL.createObjectURL(await documents.content(id, document));
  link.href = url;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

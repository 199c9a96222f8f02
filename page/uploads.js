// Uploads: files are listed at once and sent a few at a time, and each says what became of it.

import { client, documents } from "./api.js";
import { announce, element } from "./dom.js";
import { problemBox, storyLink } from "./problems.js";

// What goes together in one request: small files, which would else spend most of their time on the way.
const MOST_TOGETHER = 50;
const MOST_BYTES_TOGETHER = 1024 * 1024;
// A client may have few uploads at once: of many requests the others wait.
const AT_ONCE = 2;
// It may also send only so much a second: what was too much is sent again.
const TOO_MANY = 429;
const PAUSE_MS = 1000;
const MOST_TRIES = 5;

export function uploadDocuments(files, place, done) {
  for (const group of groups(files)) {
    const send = group.length === 1 ? documents.upload : documents.uploadSeveral;
    begin(group, place, send, done);
  }
}

export function uploadVersion(document, file, place, done) {
  begin([file], place, (id, files, onProgress) => documents.addVersion(id, document.id, files, onProgress), done);
}

function groups(files) {
  const found = [];
  let bytes = 0;
  for (const file of files) {
    if (!found.length || found.at(-1).length === MOST_TOGETHER || bytes + file.size > MOST_BYTES_TOGETHER) {
      found.push([]);
      bytes = 0;
    }
    found.at(-1).push(file);
    bytes += file.size;
  }
  return found;
}

function begin(files, place, send, done) {
  const entries = files.map(entry);
  place.prepend(...entries.map(({ node }) => node));
  const id = client.get();
  if (id) inTurn(() => start(id, entries, send, done));
  else entries.forEach((one) => one.end({ error: new Error("Say first whose document it is: enter a client above.") }));
}

// One that cannot be read would break off the request of all.
async function start(id, entries, send, done) {
  const readable = await Promise.all(entries.map(({ file }) => file.slice(0, 1).arrayBuffer().then(() => true, () => false)));
  const sent = entries.filter((_, at) => readable[at]);
  entries.forEach((one, at) => readable[at] || one.end({ error: new Error("It cannot be read: it is gone, or a folder.") }));
  if (sent.length) await sendAll(id, sent, send, done);
}

const waiting = [];
let underWay = 0;

function inTurn(work) {
  waiting.push(work);
  next();
}

function next() {
  if (underWay === AT_ONCE || !waiting.length) return;
  underWay++;
  waiting.shift()().finally(() => {
    underWay--;
    next();
  });
}

async function sendAll(id, entries, send, done, tries = 1) {
  const found = await settled(id, entries, send);
  const again = entries.filter((_, at) => found[at].error?.status === TOO_MANY);
  const tried = again.length < entries.length ? 1 : tries + 1; // whoever gets on may go on
  const over = tried > MOST_TRIES;
  entries.forEach((one, at) => (over || !again.includes(one)) && one.end(found[at]));
  const stored = found.filter(({ document }) => document);
  if (stored.length) {
    announce(stored.length === 1 ? `${stored[0].document.filename} is stored` : `${stored.length} documents are stored`);
    done(stored.map(({ document }) => document));
  }
  if (over || !again.length) return;
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  await sendAll(id, again, send, done, tried);
}

// An outcome for each file, whatever became of the request.
async function settled(id, entries, send) {
  try {
    const found = await send(id, entries.map(({ file }) => file), (share) => entries.forEach((one) => one.progress(share)));
    return entries.map((_, at) => found[at] ?? { error: new Error("The request broke off before this file.") });
  } catch (error) {
    return entries.map(() => ({ error }));
  }
}

function entry(file) {
  const bar = element("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
  const said = element("span");
  return {
    file,
    node: element("li", {}, element("span", { class: "name" }, file.name), bar, said),
    progress: (share) => (bar.value = share),
    end({ document, correlationId, error }) {
      if (error) {
        bar.remove();
        said.replaceChildren(problemBox(error));
        return;
      }
      bar.value = 1;
      const what = document.version > 1 ? `version ${document.version} of document` : "document";
      said.replaceChildren(`stored as ${what} ${document.id}, request `, storyLink(correlationId));
    },
  };
}

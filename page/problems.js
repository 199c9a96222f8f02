// A refusal or failure, as every part shows it: what is wrong, what to do, and the request's story.

import { element } from "./dom.js";

export function storyLink(correlationId, text = correlationId) {
  return element("a", { href: `#requests/${correlationId}`, class: "id" }, text);
}

// What a part needs that was not let in: keys are entered at the top.
const NEEDED = { client: " A key of the client is entered at the top.", operator: " An operator's key is entered at the top." };

export function problemBox(error) {
  const hint = error.status === 401 || error.status === 403 ? NEEDED[error.whose] : "";
  return element("p", { class: "problem", role: "alert" },
    `${error.message}${hint} `,
    error.correlationId ? storyLink(error.correlationId, "Its story") : null);
}

const latest = new WeakMap();

// Fills a place with what is asked for, or with why it was not had; an answer that comes after the next question, or after the
// part was left, is not shown.
export async function fill(place, signal, work) {
  const question = {};
  latest.set(place, question);
  const late = () => signal.aborted || latest.get(place) !== question;
  place.setAttribute("aria-busy", "true");
  try {
    const content = await work();
    if (!late()) place.replaceChildren(...[content].flat());
  } catch (error) {
    if (error.name === "AbortError" || late()) return;
    place.replaceChildren(problemBox(error));
  } finally {
    if (latest.get(place) === question) place.removeAttribute("aria-busy");
  }
}

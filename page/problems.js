// A refusal or failure, as every part shows it: what is wrong, what to do, and the request's story.

import { element } from "./dom.js";

export function storyLink(correlationId, text = correlationId) {
  return element("a", { href: `#requests/${correlationId}`, class: "id" }, text);
}

export function problemBox(error) {
  const hint = error.status === 401 || error.status === 403 ? " Keys are entered at the top." : "";
  return element("p", { class: "problem", role: "alert" },
    `${error.message}${hint} `,
    error.correlationId ? storyLink(error.correlationId, "Its story") : null);
}

// Fills a place with what is asked for, or with why it was not had; what was left meanwhile is not shown.
export async function fill(place, signal, work) {
  place.setAttribute("aria-busy", "true");
  try {
    const content = await work();
    if (!signal.aborted) place.replaceChildren(...[content].flat());
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    place.replaceChildren(problemBox(error));
  } finally {
    place.removeAttribute("aria-busy");
  }
}

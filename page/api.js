// The public API, asked as any client asks it. A key is held for this tab alone and sent nowhere else.

const KEYS = { client: "robin-client-key", operator: "robin-operator-key" };
const CLIENT = "robin-client-id";

export class Failure extends Error {
  constructor(status, problem, correlationId) {
    super(problem?.detail ?? (status ? `The server answered ${status}.` : "The server could not be reached."));
    this.status = status;
    this.correlationId = correlationId;
    this.retryAfter = null;
  }
}

export const keys = {
  get: (whose) => sessionStorage.getItem(KEYS[whose]) ?? "",
  set(whose, key) {
    if (key) sessionStorage.setItem(KEYS[whose], key);
    else sessionStorage.removeItem(KEYS[whose]);
  },
};

export const client = {
  get: () => sessionStorage.getItem(CLIENT) ?? "",
  set: (id) => sessionStorage.setItem(CLIENT, id),
};

function headersFor(whose) {
  const key = keys.get(whose);
  return key ? { "X-API-Key": key } : {};
}

async function send(whose, path, { method = "GET", signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, { method, headers: headersFor(whose), credentials: "omit", cache: "no-store", signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0);
  }
  const correlationId = answer.headers.get("X-Correlation-ID");
  if (!answer.ok) throw new Failure(answer.status, await answer.json().catch(() => null), correlationId);
  return answer;
}

export async function ask(whose, path, options) {
  const answer = await send(whose, path, options);
  return answer.status === 204 ? null : answer.json();
}

const of = (id) => `/clients/${encodeURIComponent(id)}`;

export const documents = {
  list: (id, { cursor, deleted, signal } = {}) => {
    const query = new URLSearchParams({ limit: 20 });
    if (cursor) query.set("cursor", cursor);
    if (deleted) query.set("deleted", "true");
    return ask("client", `${of(id)}/documents?${query}`, { signal });
  },
  search: (id, words, { cursor, signal } = {}) => {
    const query = new URLSearchParams({ q: words, limit: 20 });
    if (cursor) query.set("cursor", cursor);
    return ask("client", `${of(id)}/search?${query}`, { signal });
  },
  remove: (id, document) => ask("client", `${of(id)}/documents/${document}`, { method: "DELETE" }),
  purge: (id, document) => ask("client", `${of(id)}/documents/${document}/purge`, { method: "POST" }),
  restore: (id, document) => ask("client", `${of(id)}/documents/${document}/restore`, { method: "POST" }),
  contentPath: (id, document) => `${of(id)}/documents/${document}/content`,
  content: async (id, document) => (await send("client", documents.contentPath(id, document))).blob(),

  // XMLHttpRequest, for fetch does not tell how much of a body was sent.
  upload: (id, file, onProgress) => new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", file, file.name);
    request.open("PUT", `${of(id)}/upload-document`);
    for (const [name, value] of Object.entries(headersFor("client"))) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => event.lengthComputable && onProgress(event.loaded / event.total));
    request.addEventListener("error", () => reject(new Failure(0)));
    request.addEventListener("load", () => {
      const correlationId = request.getResponseHeader("X-Correlation-ID");
      let body = null;
      try { body = JSON.parse(request.responseText); } catch { /* an answer without a body that can be read */ }
      if (request.status === 200 && body) resolve({ document: body.metadata, correlationId });
      else reject(new Failure(request.status, body, correlationId));
    });
    request.send(form);
  }),
};

export const telemetry = {
  story: (correlationId, signal) => ask("operator", `/observability/requests/${encodeURIComponent(correlationId)}`, { signal }),
  requests: (failed, signal) => ask("operator", `/observability/requests?limit=20&failed=${failed}`, { signal }),
  health: (signal) => ask("operator", "/observability/health", { signal }),
};

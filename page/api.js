// The public API, asked as any client asks it. A key is held for this tab alone and sent nowhere else.

const KEYS = { client: "robin-client-key", operator: "robin-operator-key" };
const CLIENT = "robin-client-id";

export class Failure extends Error {
  constructor(whose, status, problem, correlationId) {
    super(problem?.detail ?? (status ? `The server answered ${status}.` : "The server could not be reached."));
    this.whose = whose;
    this.status = status;
    this.correlationId = correlationId;
    this.results = problem?.results;
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

async function send(whose, path, { method = "GET", json, signal } = {}) {
  const headers = headersFor(whose);
  if (json) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: json && JSON.stringify(json), credentials: "omit", cache: "no-store", signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(whose, 0);
  }
  const correlationId = answer.headers.get("X-Correlation-ID");
  if (!answer.ok) throw new Failure(whose, answer.status, await answer.json().catch(() => null), correlationId);
  return answer;
}

export async function ask(whose, path, options) {
  const answer = await send(whose, path, options);
  return answer.status === 204 ? null : answer.json();
}

// Puts files as a form. XMLHttpRequest, for fetch does not tell how much of a body was sent.
function put(path, files, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    for (const file of files) form.append("file", file, file.name);
    request.open("PUT", path);
    for (const [name, value] of Object.entries(headersFor("client"))) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => event.lengthComputable && onProgress(event.loaded / event.total));
    request.addEventListener("error", () => reject(new Failure("client", 0)));
    request.addEventListener("load", () => {
      const correlationId = request.getResponseHeader("X-Correlation-ID");
      let body = null;
      try { body = JSON.parse(request.responseText); } catch { /* an answer without a body that can be read */ }
      if (request.status === 200 && body) resolve({ body, correlationId });
      else reject(new Failure("client", request.status, body, correlationId));
    });
    request.send(form);
  });
}

const of = (id) => `/clients/${encodeURIComponent(id)}`;
const one = (id, document) => `${of(id)}/documents/${document}`;

// What became of files, in their order: a document or an error for each.
const stored = ({ body, correlationId }) => [{ document: body.metadata, correlationId }];
const outcomes = (results, correlationId) => results.map(({ status, document, problem }) => problem
  ? { error: new Failure("client", status, problem, correlationId) }
  : { document, correlationId });

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
  // Tags are set one by one; null takes one away.
  tag: (id, document, tags) => ask("client", one(id, document), { method: "PATCH", json: { tags } }),
  versions: async (id, document) => (await ask("client", `${one(id, document)}/versions`)).versions,
  remove: (id, document) => ask("client", one(id, document), { method: "DELETE" }),
  purge: (id, document) => ask("client", `${one(id, document)}/purge`, { method: "POST" }),
  restore: (id, document) => ask("client", `${one(id, document)}/restore`, { method: "POST" }),
  contentPath: (id, { id: document, version }) => `${one(id, document)}/content?version=${version}`,
  content: async (id, version) => (await send("client", documents.contentPath(id, version))).blob(),
  upload: async (id, [file], onProgress) => stored(await put(`${of(id)}/upload-document`, [file], onProgress)),
  addVersion: async (id, document, [file], onProgress) => stored(await put(`${one(id, document)}/content`, [file], onProgress)),
  uploadSeveral: async (id, files, onProgress) => {
    try {
      const { body, correlationId } = await put(`${of(id)}/upload-documents`, files, onProgress);
      return outcomes(body.results, correlationId);
    } catch (failure) {
      if (!failure.results) throw failure;
      return outcomes(failure.results, failure.correlationId); // none of them is stored
    }
  },
};

export const telemetry = {
  story: (correlationId, signal) => ask("operator", `/observability/requests/${encodeURIComponent(correlationId)}`, { signal }),
  requests: (failed, signal) => ask("operator", `/observability/requests?limit=20&failed=${failed}`, { signal }),
  health: (signal) => ask("operator", "/observability/health", { signal }),
};

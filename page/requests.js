// Requests: the newest or the failed ones, and the story of one across nginx, both services and the database.

import { telemetry } from "./api.js";
import { element, milliseconds, moment, svg, table } from "./dom.js";
import { fill, problemBox, storyLink } from "./problems.js";

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
// Telemetry is on its way for some seconds.
const LOOKS = 12;
const PAUSE_MS = 1000;
// Said in places of their own, or of no use to somebody who reads.
const HIDDEN = /^(otel|span|network|url|server|internal|db\.query\.text)(\.|$)|^(correlation_id|error)$/;

export function showRequests(main, id, signal) {
  const story = element("section", { id: "story", "aria-label": "Story of a request" });
  main.append(element("h1", {}, "Requests"), finder(id), story, lists(signal));
  if (!id) return;
  if (ID.test(id)) tell(story, id.toLowerCase(), signal);
  else story.append(problemBox(new Error("This is no correlation ID: every answer has one in X-Correlation-ID.")));
}

function finder(id) {
  const field = element("input", {
    id: "correlation-id", value: id, required: true, size: 38, autocomplete: "off", spellcheck: "false",
    placeholder: "xxxxxxxx-xxxx-4xxx-xxxx-xxxxxxxxxxxx",
  });
  const go = (event) => {
    event.preventDefault();
    location.hash = `#requests/${field.value.trim()}`;
  };
  return element("form", { class: "row", onsubmit: go },
    element("label", { for: "correlation-id" }, "Correlation ID"), field, element("button", {}, "Tell"));
}

function lists(signal) {
  const place = element("div");
  const load = (failed) => fill(place, signal, async () => requestTable(await telemetry.requests(failed, signal), failed));
  const choice = (text, failed) => element("label", { class: "check" },
    element("input", { type: "radio", name: "which", checked: !failed, onchange: () => load(failed) }), text);
  const again = element("button", {
    type: "button", onclick: () => load(document.querySelector("input[name=which]").checked === false),
  }, "Again");
  load(false);
  return element("section", { class: "panel" },
    element("h2", {}, "Requests of the last day"),
    element("fieldset", { class: "row" }, element("legend", { class: "unseen" }, "Which requests"), choice("Newest", false), choice("Failed", true), again),
    place);
}

function requestTable({ requests, gaps }, failed) {
  if (!requests.length) {
    return element("p", { class: "hint" }, gaps.length ? gaps.join("; ") : failed ? "None failed." : "There are none yet.");
  }
  const rows = requests.map((request) => [
    moment(new Date(request.time * 1000)),
    request.method,
    element("td", { class: "path" }, request.path),
    element("td", { class: request.failed ? "failed" : "" }, `${request.status}${request.failed ? " ✕" : ""}`),
    milliseconds(request.duration_ms),
    storyLink(request.correlation_id),
  ]);
  return table("Requests", ["When", "Method", "Path", "Status", "Time", "Story"], rows);
}

async function tell(place, id, signal) {
  for (let look = 1; look <= LOOKS && !signal.aborted; look++) {
    let waiting = [];
    await fill(place, signal, async () => {
      const told = await telemetry.story(id, signal);
      waiting = told.waiting_for;
      return storyOf(told, waiting.length > 0 && look < LOOKS);
    });
    if (!waiting.length) return;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

function storyOf({ found, waiting_for: waiting, story }, still) {
  const parts = [element("h2", {}, "Request ", element("code", {}, story.correlation_id))];
  if (still) parts.push(element("p", { class: "hint", role: "status" }, `Still on its way: ${waiting.join("; ")}.`));
  if (!found) return still ? parts : [...parts, element("p", { class: "problem" }, `Nobody knows this request. ${story.gaps.join("; ")}.`)];
  const rows = [...edgeRows(story), ...story.spans.map(spanRow)];
  const begin = Math.min(...rows.map((row) => row.offset), 0);
  return [
    ...parts,
    verdict(story, rows),
    element("div", { class: "beside" },
      element("div", {}, chapters(rows).map((chapter, number) => waterfall(chapter, number ? "Afterwards" : "Spans"))),
      logLines(story, begin)),
    statements(story),
    metricPoints(story),
    linksOf(story),
    story.gaps.length ? element("p", { class: "hint" }, `Not found: ${story.gaps.join("; ")}.`) : null,
  ].filter(Boolean);
}

// nginx makes no span: its log line, written at the end, says how long the whole request took.
function edgeRows(story) {
  return story.lines
    .filter((line) => line.service === "nginx" && line.offset_ms !== null && line.fields.context_data_duration)
    .map((line) => {
      const duration = Number(line.fields.context_data_duration) * 1000;
      const status = Number(line.fields.context_data_status);
      return {
        name: line.message, service: "nginx", depth: 0, offset: line.offset_ms - duration, duration,
        failed: status >= 500, attributes: { "from": "its log line", status, upstream: line.fields.context_data_upstream },
      };
    });
}

// While a statement runs, it is the database that works.
function spanRow(span) {
  return {
    name: span.name, service: span.attributes["db.system.name"] ?? span.service, depth: span.depth + 1, offset: span.offset_ms, duration: span.duration_ms,
    failed: span.failed, attributes: span.attributes,
  };
}

function verdict(story, rows) {
  const failed = rows.filter((row) => row.failed);
  const loud = story.lines.filter((line) => ["ERROR", "CRITICAL"].includes(line.level));
  const services = new Set([...rows.map((row) => row.service), ...story.lines.map((line) => line.service)]);
  const longest = Math.max(0, ...rows.map((row) => row.duration));
  const text = `${milliseconds(longest)} across ${[...services].join(", ")}. Spans: ${story.spans.length}, log lines: ${story.lines.length}, SQL statements: ${story.statements.length}. `;
  const status = Math.max(0, ...rows.map((row) => Number(row.attributes["http.response.status_code"] ?? row.attributes.status ?? 0)));
  const trouble = [
    status >= 400 ? `answered ${status}` : null,
    failed.length ? `failed spans: ${failed.length}` : null,
    loud.length ? `error lines: ${loud.length}` : null,
  ].filter(Boolean);
  return element("p", { class: "verdict" }, text,
    element("strong", { class: trouble.length ? "failed" : "good" }, trouble.length ? `✕ ${trouble.join(", ")}` : "✓ no errors"));
}

// What is done after the request, a later summary say, has a scale of its own: beside minutes of waiting nothing of it could be seen.
function chapters(rows) {
  const found = [];
  let end = -Infinity;
  for (const row of rows) {
    const isLater = row.depth === 1 && row.offset > end && found.at(-1).some((each) => each.depth);
    if (!found.length || isLater) found.push([]);
    found.at(-1).push(row);
    end = Math.max(end, row.offset + row.duration);
  }
  return found;
}

function waterfall(rows, title) {
  const begin = Math.min(...rows.map((row) => row.offset));
  const end = Math.max(...rows.map((row) => row.offset + row.duration), begin + 0.001);
  const share = (value) => (1000 * value) / (end - begin);
  const items = rows.map((row) => {
    const x = share(row.offset - begin);
    const bar = svg("svg", { class: "bar", viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { class: `of-${row.service}${row.failed ? " failed" : ""}`, x, y: 1, width: Math.max(3, share(row.duration)), height: 8 }));
    return element("details", { class: `span deep-${Math.min(row.depth, 8)}` },
      element("summary", {},
        element("span", { class: "name" }, element("i", { class: `dot of-${row.service}`, "aria-hidden": "true" }), row.name,
          row.failed ? element("strong", { class: "failed" }, " ✕ ERROR") : null),
        element("span", { class: "took" }, milliseconds(row.duration)),
        bar),
      attributesOf(row));
  });
  return element("section", { class: "panel" },
    element("h3", {}, title), legend(rows), element("div", { class: "waterfall" }, items));
}

function legend(rows) {
  const services = [...new Set(rows.map((row) => row.service))];
  return element("p", { class: "legend" },
    services.map((service) => element("span", {}, element("i", { class: `dot of-${service}`, "aria-hidden": "true" }), service)));
}

function attributesOf(row) {
  const shown = Object.entries(row.attributes).filter(([name, value]) => !HIDDEN.test(name) && value !== undefined);
  return element("dl", {},
    element("dt", {}, "service"), element("dd", {}, row.service),
    element("dt", {}, "begins after"), element("dd", {}, milliseconds(row.offset)),
    shown.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]));
}

function logLines(story) {
  const items = story.lines.map((line) => element("li", { class: `level-${line.level.toLowerCase()}` },
    element("span", { class: "when" }, line.offset_ms === null ? "" : milliseconds(line.offset_ms)),
    element("span", { class: "level" }, line.level),
    element("span", { class: "who" }, element("i", { class: `dot of-${line.service}`, "aria-hidden": "true" }), line.service),
    element("span", { class: "message" }, line.message)));
  return element("section", { class: "panel" }, element("h3", {}, "Log lines"),
    items.length ? element("ol", { class: "lines" }, items) : element("p", { class: "hint" }, "None."));
}

function statements(story) {
  if (!story.statements.length) return null;
  const items = story.statements.map((statement) => element("li", {},
    element("p", {}, `${statement.summary}, ${milliseconds(statement.duration_ms)}, by ${statement.service}`),
    element("pre", { tabindex: 0, "aria-label": statement.summary }, `${statement.text ?? statement.summary}\n/*${statement.comment}*/`)));
  return element("section", { class: "panel" }, element("h3", {}, "SQL statements"), element("ol", { class: "statements" }, items));
}

function metricPoints(story) {
  if (!story.metric_points.length) return null;
  const rows = story.metric_points.map((point) => [
    element("td", { class: "path" }, point.metric),
    element("td", { class: "path wide" }, Object.entries(point.labels).map(([name, value]) => `${name}=${value}`).join(", ")),
    String(Number(point.value.toPrecision(6))),
  ]);
  return element("section", { class: "panel" }, element("h3", {}, "Metrics it counted in"),
    table("Metrics it counted in", ["Metric", "Labels", "Value"], rows));
}

function linksOf(story) {
  const links = Object.entries(story.links).filter(([, url]) => /^https?:/.test(url));
  if (!links.length) return null;
  return element("p", { class: "row" }, "Elsewhere: ",
    links.map(([title, url]) => element("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, title)));
}

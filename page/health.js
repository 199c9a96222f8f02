// Health: what is up, the last hour in charts, alerts, and what is left of the error budgets.

import { telemetry } from "./api.js";
import { chart } from "./charts.js";
import { element, milliseconds, moment, table } from "./dom.js";
import { fill } from "./problems.js";

const EVERY_MS = 15_000;
const percent = (value) => `${Number((100 * value).toFixed(2))} %`;
const rate = (value) => `${Number(value.toPrecision(3))}/s`;

export function showHealth(main, _rest, signal) {
  const place = element("div", { class: "health" });
  main.append(element("h1", {}, "Health"), place);
  const look = () => fill(place, signal, async () => healthOf(await telemetry.health(signal)));
  const timer = setInterval(() => document.hidden || look(), EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  look();
}

function healthOf({ health, overview, places }) {
  const { since, until, charts } = overview;
  const drawn = (title, name, format, least) => chart(title, charts[name] ?? [], { since, until, format, least });
  return [
    element("p", { class: "verdict" }, `document-api says: `, state(health.status === "healthy", health.status), ` (${moment(new Date(until * 1000))})`),
    ...health.warnings.map((warning) => element("p", { class: "hint" }, warning)),
    components(health, overview.probes),
    element("div", { class: "charts" },
      drawn("Requests a second", "requests_per_second", rate, 0.1),
      drawn("Failed on our side", "error_ratio", percent, 0.01),
      drawn("95% answered within", "p95_seconds", (seconds) => milliseconds(seconds * 1000), 0.01),
      budgets(overview.objectives)),
    alerts(overview.alerts),
    elsewhere(places),
    overview.gaps.length ? element("p", { class: "problem" }, `Not known: ${overview.gaps.join("; ")}`) : null,
  ].filter(Boolean);
}

function state(good, text) {
  return element("strong", { class: good ? "good" : "failed" }, `${good ? "✓" : "✕"} ${text}`);
}

function components(health, probes) {
  const own = Object.entries(health.components).map(([name, status]) => ["document-api", name.replace("_", " "), status === "healthy", status]);
  const asked = probes.map((probe) => [probe.service, probe.instance.replace(/^https?:\/\/|\/[a-z-]+$/g, ""), probe.up, probe.up ? "up" : "down"]);
  return element("ul", { class: "components", "aria-label": "Components" },
    [...own, ...asked].map(([service, part, good, text]) => element("li", {},
      element("span", {}, service, element("small", {}, part)), state(good, text))));
}

function budgets(objectives) {
  const items = objectives.map(({ service, slo, objective, budget_remaining: left }) => element("li", {},
    element("span", {}, `${service}: ${slo} of ${percent(objective)}`),
    left === null ? element("span", { class: "hint" }, "no requests yet") : state(left > 0, `${percent(left)} left`),
    element("meter", { min: 0, max: 1, low: 0.25, value: Math.max(0, left ?? 1), "aria-label": `Error budget left: ${service} ${slo}` })));
  return element("section", { class: "panel" }, element("h2", {}, "Error budget of 30 days"),
    items.length ? element("ul", { class: "budgets" }, items) : element("p", { class: "hint" }, "No objective is known yet."));
}

function alerts(all) {
  const rows = all.map((alert) => [
    alert.name,
    element("td", { class: alert.state === "firing" ? "failed" : "" }, alert.state === "firing" ? "✕ firing" : alert.state),
    alert.severity, alert.service, moment(new Date(alert.since)), element("td", { class: "wide" }, alert.summary),
  ]);
  return element("section", { class: "panel" }, element("h2", {}, "Alerts"),
    rows.length ? table("Alerts", ["Alert", "State", "Severity", "Service", "Since", "What"], rows) : element("p", {}, state(true, "none fires")));
}

function elsewhere(places) {
  const links = Object.entries(places).filter(([, url]) => /^https?:/.test(url));
  if (!links.length) return null;
  return element("p", { class: "row" }, "Elsewhere: ",
    links.map(([name, url]) => element("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, name)));
}

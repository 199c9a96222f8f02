// Line charts as SVG: one line for each series, a grid in round numbers, the latest values beside it as text.

import { element, svg } from "./dom.js";

const WIDTH = 640;
const HEIGHT = 180;
const LEFT = 72;
const BOTTOM = 22;
const TOP = 8;

export function chart(title, series, { since, until, format, least = 0 }) {
  const top = roundUp(Math.max(least, ...series.flatMap((one) => one.points.map(([, value]) => value))));
  const x = (time) => LEFT + ((time - since) / (until - since)) * (WIDTH - LEFT - 6);
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - TOP);
  const name = (one) => one.labels.service_name ?? "all";
  const latest = series.map((one) => `${name(one)} ${format(one.points.at(-1)?.[1] ?? 0)}`);
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}, last hour. Now: ${latest.join(", ") || "nothing"}` },
    [0, 0.5, 1].map((share) => gridLine(share * top, y, format)),
    [0, 15, 30, 45, 60].map((minutes) => timeLabel(until - (60 - minutes) * 60, x)),
    series.map((one) => lines(one, x, y, until - since)));
  return element("section", { class: "panel" },
    element("h2", {}, title), picture,
    element("p", { class: "legend" }, series.length
      ? series.map((one, index) => element("span", {}, element("i", { class: `dot of-${name(one)}`, "aria-hidden": "true" }), latest[index]))
      : "Nothing in the last hour."));
}

function gridLine(value, y, format) {
  return [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - 6, y1: y(value), y2: y(value) }),
    svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)),
  ];
}

function timeLabel(time, x) {
  const text = new Date(time * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
  return svg("text", { x: x(time), y: HEIGHT - 6, "text-anchor": x(time) > WIDTH - 40 ? "end" : "middle" }, text);
}

// A line for each stretch without a gap; a point alone is a dot.
function lines(one, x, y, span) {
  const stretches = [];
  let last = -Infinity;
  for (const point of one.points) {
    if (point[0] - last > span / 30) stretches.push([]);
    stretches.at(-1).push(point);
    last = point[0];
  }
  const kind = `of-${one.labels.service_name ?? "all"}`;
  return stretches.map((points) => points.length === 1
    ? svg("circle", { class: kind, cx: x(points[0][0]), cy: y(points[0][1]), r: 2.5 })
    : svg("polyline", { class: kind, points: points.map(([time, value]) => `${x(time).toFixed(1)},${y(value).toFixed(1)}`).join(" ") }));
}

function roundUp(value) {
  if (!(value > 0)) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * size).find((step) => step >= value);
}

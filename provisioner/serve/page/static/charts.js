// Latencies of the last minutes, one chart for each route.

import { by, el, milliseconds, number, plural, svg, value, whole } from "./dom.js";

const HEIGHT = 152;
const EDGE = { left: 44, right: 8, top: 8, bottom: 36 };
const LOAD = 12; // pixels of the bars that count requests

// The least of 1, 2, 5, 10, 20 ... that is not less.
function roof(most) {
  const unit = 10 ** Math.floor(Math.log10(most || 1));
  return [1, 2, 5, 10].map((step) => step * unit).find((step) => step >= most);
}

const short = (value) => (value >= 1000 ? `${number(value / 1000, value % 1000 ? 1 : 0)} s` : `${number(value, value < 1 ? 1 : 0)} ms`);

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

// Stretches without a request break a line; a point that stands alone is a dot.
function pieces(points, step) {
  const found = [];
  for (const point of points) {
    const open = found.at(-1);
    if (open && point.at - open.at(-1).at < step * 1.5) open.push(point);
    else found.push([point]);
  }
  return found;
}

function lines(kind, pieces, x, y, field) {
  return pieces.map((piece) => {
    if (piece.length === 1) return svg("circle", { class: kind, cx: x(piece[0].at), cy: y(piece[0][field]), r: 2.25 });
    return svg("polyline", { class: kind, points: piece.map((one) => `${x(one.at).toFixed(1)},${y(one[field]).toFixed(1)}`).join(" ") });
  });
}

function grid(width, high, minutes, y, x, now) {
  const parts = [];
  for (const part of [0, 0.5, 1]) {
    const height = y(part * high);
    parts.push(svg("line", { class: part ? "grid" : "base", x1: EDGE.left, x2: width - EDGE.right, y1: height, y2: height }));
    parts.push(svg("text", { x: EDGE.left - 6, y: height + 4, "text-anchor": "end" }, part ? short(part * high) : "0"));
  }
  const every = [1, 2, 5, 10, 30].find((step) => ((width - EDGE.left) * step) / minutes > 62) ?? minutes;
  for (let back = 0; back <= minutes; back += every) {
    const words = back ? `−${back} min` : "now";
    const anchor = back ? "middle" : "end";
    parts.push(svg("text", { x: x(now - back * 60), y: HEIGHT - 4, "text-anchor": anchor }, words));
  }
  return parts;
}

function chart(route, { now, window_seconds: span, step_seconds: step }, width) {
  const high = roof(Math.max(...route.points.map((one) => one.p99_ms)));
  const most = Math.max(...route.points.map((one) => one.requests));
  const x = (at) => width - EDGE.right - (Math.max(0, now - at) / span) * (width - EDGE.left - EDGE.right);
  const y = (ms) => HEIGHT - EDGE.bottom - (ms / high) * (HEIGHT - EDGE.top - EDGE.bottom);
  const bar = Math.max(1, (step / span) * (width - EDGE.left - EDGE.right) - 1);
  const together = pieces(route.points, step);
  const loads = route.points.map((one) => {
    const height = Math.max(1, (one.requests / most) * LOAD);
    return svg("rect", { class: "load", x: x(one.at) - bar, y: HEIGHT - EDGE.bottom + 5 + LOAD - height, width: bar, height });
  });
  const label = `Latency of ${route.route}: ${sentence(route, now)}`;
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label },
    ...grid(width, high, Math.round(span / 60), y, x, now), ...loads,
    ...lines("tail", together, x, y, "p99_ms"), ...lines("median", together, x, y, "p50_ms"));
}

// The newest stretch that is over; one that goes on has too few requests for a p99.
const newest = (route, now) => route.points.findLast((one) => one.at <= now) ?? route.points.at(-1);

function sentence(route, now) {
  const last = newest(route, now);
  const most = Math.max(...route.points.map((one) => one.p99_ms));
  return `median ${milliseconds(last.p50_ms)}, 99 of 100 within ${milliseconds(last.p99_ms)} at ${clock(last.at)}; at most ${milliseconds(most)} before.`;
}

function numbers(route, open) {
  const rows = [...route.points].reverse().map((one) =>
    el("tr", {}, el("td", {}, clock(one.at)), ...[whole(one.requests), number(one.p50_ms, 2), number(one.p99_ms, 2)].map((words) => el("td", { class: "number" }, words))),
  );
  const heads = ["Requests", "p50 ms", "p99 ms"].map((name) => el("th", { scope: "col", class: "number" }, name));
  const table = el("table", { class: "numbers" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Until"), ...heads)), el("tbody", {}, ...rows));
  const region = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Latencies of ${route.route}` }, table);
  return el("details", { open, "data-route": route.route }, el("summary", {}, "Numbers"), region);
}

function figure(route, latencies, width, open) {
  const last = newest(route, latencies.now);
  const total = route.points.reduce((sum, one) => sum + one.requests, 0);
  return el("figure", {},
    el("figcaption", {},
      el("span", { class: "route" }, route.route),
      value(milliseconds(last.p50_ms), "p50", "median"), value(milliseconds(last.p99_ms), "p99", "tail"), value(whole(total), total === 1 ? "request" : "requests")),
    chart(route, latencies, width), numbers(route, open));
}

let shown = null;

export function draw(latencies = shown) {
  shown = latencies;
  if (!latencies) return;
  const place = by("charts");
  if (place.contains(document.activeElement) || place.matches(":has(details[open]):hover")) return; // somebody reads there
  const routes = latencies.routes.filter((one) => one.points.length);
  const minutes = plural(Math.round(latencies.window_seconds / 60), "minute");
  const note = routes.length ? `p50 and p99 of the last ${minutes}, by the server's clock; bars below count requests.` : `No request in the last ${minutes}.`;
  if (by("latency-note").textContent !== note) by("latency-note").textContent = note;
  const open = new Set([...place.querySelectorAll("details[open]")].map((one) => one.dataset.route));
  const columns = routes.length > 1 && place.clientWidth > 800 ? 2 : 1;
  const width = Math.max(240, (place.clientWidth - (columns - 1) * 40) / columns);
  place.replaceChildren(...routes.map((route) => figure(route, latencies, width, open.has(route.route))));
}

export function start() {
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(draw, 150);
  });
}

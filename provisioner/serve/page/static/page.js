// Starts everything, and keeps the facts of the page up to date.

import * as api from "./api.js";
import * as charts from "./charts.js";
import * as compare from "./compare.js";
import { by, plural } from "./dom.js";
import * as rerank from "./rerank.js";

const CALM = 5000;
const SOON = 1000;
const NEXT = 300;
const MOST = 30000;
const PATIENCE = 10000;

let status = null;
let pace = SOON;
let timer = 0;

function ago(seconds) {
  if (seconds < 90) return "just now";
  if (seconds < 5400) return `${plural(Math.round(seconds / 60), "minute")} ago`;
  if (seconds < 129600) return `${plural(Math.round(seconds / 3600), "hour")} ago`;
  return `${plural(Math.round(seconds / 86400), "day")} ago`;
}

// What only the browser knows: its own address of this server, and how long ago something was.
function dress() {
  const origin = api.base.href.replaceAll("'", "%27");
  for (const place of document.querySelectorAll("[data-origin]")) place.textContent = origin;
  age();
}

function age() {
  if (!status) return;
  for (const time of document.querySelectorAll("main time")) {
    time.dataset.exact ??= time.textContent;
    const seconds = status.latencies.now - Date.parse(time.dateTime) / 1000; // by the server's clock, as both are
    if (Number.isFinite(seconds)) time.textContent = `${time.dataset.exact} (${ago(seconds)})`;
  }
}

// The server writes the facts; this takes them over where they changed, and leaves the forms as they are.
function swap() {
  const request = new XMLHttpRequest();
  request.responseType = "document";
  request.timeout = PATIENCE;
  request.open("GET", api.base);
  request.onload = () => {
    const fresh = request.status === 200 && request.response;
    if (!fresh) return;
    for (const part of fresh.querySelectorAll("[data-swap]")) {
      if (by(part.id)?.textContent !== part.textContent) by(part.id)?.replaceChildren(...part.childNodes);
    }
    for (const name of ["compare", "rerank"]) by(name).hidden = fresh.getElementById(name).hidden;
    document.documentElement.dataset.state = fresh.documentElement.dataset.state;
    dress();
  };
  request.send();
}

const facts = ({ latencies, ...rest }) => JSON.stringify(rest);

async function refresh() {
  clearTimeout(timer);
  try {
    const answer = await fetch(new URL("status.json", api.base), { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new TypeError(String(answer.status));
    take(await answer.json());
    pace = status.ready ? CALM : SOON;
  } catch {
    lose();
    pace = Math.min(MOST, pace * 2);
  }
  plan();
}

function take(fresh) {
  const before = status;
  status = fresh;
  const { state } = document.documentElement.dataset;
  const written = before ? facts(before) === facts(fresh) : state === (fresh.ready ? "ready" : "waiting");
  if (!written || state === "lost") swap();
  if (!before || !written) {
    compare.offer(fresh.models.find((model) => model.task === "embed"));
  }
  document.documentElement.dataset.state = fresh.ready ? "ready" : "waiting";
  say("");
  age();
  charts.draw(fresh.latencies);
}

function lose() {
  document.documentElement.dataset.state = "lost";
  say("The server does not answer. What you see is what it said last.");
}

function say(words) {
  if (by("contact").textContent !== words) by("contact").textContent = words;
}

function plan(wait = pace) {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, wait);
}

function copying() {
  by("examples").addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await copy(by(button.dataset.copy));
  });
}

async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.innerText);
    by("copied").textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(code); // no clipboard without https: the reader copies what is selected
    by("copied").textContent = "Selected. Copy it with your keyboard.";
  }
}

document.documentElement.classList.add("scripts");
api.start();
compare.start();
rerank.start();
charts.start();
copying();
dress();
document.addEventListener("asked", () => plan(NEXT)); // so that the charts show what was just asked
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
refresh();

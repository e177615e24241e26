// Requests to this server. Addresses are relative to the page, so that it works behind a path prefix.

import { by } from "./dom.js";

export const base = new URL(".", location.href);

let key = ""; // in memory only: whoever reloads the page enters it again
let unlocked = [];

export class Failed extends Error {}

export class Locked extends Failed {}

const SENTENCES = {
  413: "The texts are larger than this server takes.",
  429: "The server has as much to do as it takes. Try again in a moment.",
  503: "The server is not ready.",
  504: "The answer did not come in time.",
};

// What the server says is wrong, in any of the shapes that its APIs have.
function sentence(status, body) {
  const said = body?.error?.message ?? body?.message ?? body?.error ?? body?.detail;
  if (typeof said === "string" && said) return said;
  return SENTENCES[status] ?? `The server answered with status ${status}.`;
}

async function answered(request) {
  try {
    return await request;
  } catch {
    throw new Failed("The server does not answer.");
  }
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const began = performance.now();
  const options = { method: "POST", headers, body: JSON.stringify(body), credentials: "same-origin", cache: "no-store" };
  const answer = await answered(fetch(new URL(path, base), options));
  const found = await answered(answer.json().catch(() => null));
  const spent = performance.now() - began;
  if (answer.status === 401) {
    ask();
    throw new Locked("This server asks for an API key: enter it at the top of the page.");
  }
  if (!answer.ok || !found) throw new Failed(sentence(answer.status, found));
  if (key) by("key").hidden = true;
  return { found, spent };
}

function ask() {
  by("key").hidden = false;
  for (const part of document.querySelectorAll("[data-key]")) part.hidden = false;
  by("key-error").textContent = key ? "The server does not take this key." : "";
  by("key-value").focus();
}

// What to do again once there is a key.
export function whenUnlocked(again) {
  unlocked = [again];
}

export function start() {
  by("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = by("key-value").value.trim();
    if (/[^\x21-\x7e]/.test(given) || !given) {
      by("key-error").textContent = "A key is made of letters, digits and signs, without spaces.";
      return;
    }
    key = given;
    by("key-error").textContent = "";
    const waiting = unlocked.splice(0);
    for (const again of waiting) again();
    if (!waiting.length) {
      by("key").hidden = true; // a wrong one is asked for again with the first request
      by("main").focus();
    }
  });
}

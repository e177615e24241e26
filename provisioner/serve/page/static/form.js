// A form that asks the server: one request at a time, the error beside it, and again once there is a key.

import { Failed, Locked, whenUnlocked } from "./api.js";
import { by } from "./dom.js";

export function asking(name, work) {
  const form = by(`${name}-form`);
  const button = form.querySelector("button");
  const error = by(`${name}-error`);

  async function ask() {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    error.textContent = "";
    try {
      await work();
    } catch (failure) {
      if (!(failure instanceof Failed)) throw failure;
      if (failure instanceof Locked) whenUnlocked(ask);
      error.textContent = failure.message;
    } finally {
      button.removeAttribute("aria-disabled");
      document.dispatchEvent(new Event("asked"));
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}

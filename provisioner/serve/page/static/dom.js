// Elements made of text, never of markup.

const SVG = "http://www.w3.org/2000/svg";

export const by = (id) => document.getElementById(id);

function filled(node, attributes, parts) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...parts.filter((part) => part !== null && part !== undefined).map((part) => (part instanceof Node ? part : String(part))));
  return node;
}

export const el = (name, attributes = {}, ...parts) => filled(document.createElement(name), attributes, parts);

export const svg = (name, attributes = {}, ...parts) => filled(document.createElementNS(SVG, name), attributes, parts);

export const number = (value, digits) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");

export const whole = (value) => value.toLocaleString("en");

export const plural = (count, noun) => `${whole(count)} ${noun}${count === 1 ? "" : "s"}`;

export const milliseconds = (value) => `${number(value, value < 10 ? 2 : value < 100 ? 1 : 0)} ms`;

// A number with a unit, the number in bold.
export const value = (text, unit, kind = "") => el("span", { class: `value ${kind}`.trim() }, el("b", {}, text), ` ${unit}`);

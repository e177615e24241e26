// Two sentences, embedded and held against each other as two directions.

import { post } from "./api.js";
import { by, el, milliseconds, number, svg, value, whole } from "./dom.js";
import { asking } from "./form.js";

const CENTRE = { x: 180, y: 182 };
const RADIUS = 138;
const KEPT = 5;
const earlier = [];

const at = (angle, radius) => ({ x: CENTRE.x + radius * Math.cos(angle), y: CENTRE.y - radius * Math.sin(angle) });

function line(kind, angle, from, to) {
  const [start, end] = [at(angle, from), at(angle, to)];
  return svg("line", { class: kind, x1: start.x, y1: start.y, x2: end.x, y2: end.y });
}

function text(words, angle, radius, kind = "") {
  const { x, y } = at(angle, radius);
  return svg("text", { class: kind, x, y: y + 4, "text-anchor": "middle" }, words);
}

function scale() {
  const [right, left] = [at(0, RADIUS), at(Math.PI, RADIUS)];
  const parts = [svg("path", { class: "arc", d: `M${right.x} ${right.y} A${RADIUS} ${RADIUS} 0 0 0 ${left.x} ${left.y} Z` })];
  for (let step = -10; step <= 10; step += 1) {
    const angle = Math.acos(step / 10);
    parts.push(line("tick", angle, RADIUS - (step % 5 ? 4 : 9), RADIUS));
    if (step % 5 === 0) parts.push(text(number(step / 10, step % 10 ? 1 : 0), angle, RADIUS + 16));
  }
  return parts;
}

export function draw(now) {
  const dial = by("dial");
  const parts = scale();
  for (const one of earlier) parts.push(line("old", Math.acos(one.cosine), 24, RADIUS - 12));
  if (now) {
    const angle = Math.acos(now.cosine);
    const [start, end] = [at(0, 46), at(angle, 46)];
    parts.push(svg("path", { class: "sweep", d: `M${CENTRE.x} ${CENTRE.y} L${start.x} ${start.y} A46 46 0 0 0 ${end.x} ${end.y} Z` }));
    parts.push(line("needle", 0, 0, RADIUS - 14), line("needle b", angle, 0, RADIUS - 14));
    const label = at(angle, RADIUS - 40);
    const below = Math.sin(angle) < 0.2 ? -16 : 0; // apart from A's, where both point the same way
    parts.push(svg("text", { class: "tag", x: CENTRE.x + RADIUS - 40, y: CENTRE.y + 15, "text-anchor": "middle" }, "A"));
    parts.push(svg("text", { class: "tag b", x: label.x - 12, y: label.y - 4 + below, "text-anchor": "middle" }, "B"));
  }
  parts.push(svg("circle", { class: "hub", cx: CENTRE.x, cy: CENTRE.y, r: 3.5 }));
  const said = now ? `Two directions, ${number(degrees(now.cosine), 1)} degrees apart.` : "No comparison yet.";
  dial.replaceChildren(svg("title", { id: "dial-title" }, said), ...parts);
}

const degrees = (cosine) => (Math.acos(cosine) * 180) / Math.PI;

export function cosineOf(one, two) {
  let [dot, first, second] = [0, 0, 0];
  for (let index = 0; index < one.length; index += 1) {
    dot += one[index] * two[index];
    first += one[index] ** 2;
    second += two[index] ** 2;
  }
  return Math.min(1, Math.max(-1, dot / Math.sqrt(first * second)));
}

function show({ cosine, tokens, spent, dimensions }) {
  by("compare-result").replaceChildren(
    el("span", { class: "line" },
      el("span", { class: "soft" }, "Cosine "), el("strong", { class: "big", id: "cosine" }, number(cosine, 4)),
      " ", value(`${number(degrees(cosine), 1)}°`, "apart")),
    " ", value(whole(tokens), tokens === 1 ? "token" : "tokens", "tokens"),
    " ", value(milliseconds(spent).replace(" ms", ""), "ms round trip"),
    " ", value(whole(dimensions), "dimensions"),
  );
}

function remember() {
  const rows = earlier.map((one) =>
    el("tr", {}, el("td", { class: "number" }, number(one.cosine, 4)), el("td", {}, one.texts[0]), el("td", {}, one.texts[1])),
  );
  by("earlier-rows").replaceChildren(...rows.reverse());
  by("earlier").hidden = rows.length === 0;
}

let last = null;

// The model's own prompts: none and each by name; what it takes by itself comes first.
export function offer(model) {
  for (const id of ["one-prompt", "two-prompt"]) {
    const select = by(id);
    const before = select.value;
    const usual = model?.default_prompt ? `the usual one: ${model.default_prompt}` : "the usual: none";
    const choices = [["usual", usual], ["none", "none"], ...(model?.prompts ?? []).map((name) => [`=${name}`, name])];
    select.replaceChildren(...choices.map(([value, words]) => el("option", { value, selected: value === before }, words)));
    select.parentElement.hidden = !model?.prompts.length;
  }
}

// What `prompt_name` is for a choice; undefined leaves it out of the request.
const promptOf = (id) => ({ usual: undefined, none: "" })[by(id).value] ?? (by(id).value.startsWith("=") ? by(id).value.slice(1) : undefined);

async function vectors(texts, prompts) {
  const [first, second] = prompts;
  const asks = first === second ? [[texts, first]] : texts.map((text, index) => [[text], prompts[index]]);
  const answers = await Promise.all(asks.map(([some, prompt_name]) => post("embed", { texts: some, prompt_name })));
  return {
    pair: answers.flatMap(({ found }) => found.embeddings),
    tokens: answers.reduce((sum, { found }) => sum + found.tokens, 0),
    spent: Math.max(...answers.map((answer) => answer.spent)),
  };
}

async function compare() {
  const texts = [by("one").value, by("two").value];
  const { pair, tokens, spent } = await vectors(texts, [promptOf("one-prompt"), promptOf("two-prompt")]);
  if (last) earlier.push(last);
  earlier.splice(0, earlier.length - KEPT);
  last = { cosine: cosineOf(...pair), tokens, spent, dimensions: pair[0].length, texts };
  show(last);
  draw(last);
  remember();
}

export function start() {
  draw(null);
  offer(null);
  asking("compare", compare);
}

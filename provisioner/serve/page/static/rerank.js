// Documents in the order of their scores, each with a bar.

import { Failed, post } from "./api.js";
import { by, el, milliseconds, number, plural, svg, value, whole } from "./dom.js";
import { asking } from "./form.js";

// Scores of an activation lie between 0 and 1; logits are drawn from the lowest to the highest, around 0.
function scaleOf(scores) {
  const low = Math.min(0, ...scores);
  const high = Math.max(...scores, low === 0 ? 1 : 0);
  const across = (score) => (100 * (score - low)) / (high - low || 1);
  return (score) => [Math.min(across(0), across(score)), Math.abs(across(score) - across(0))];
}

function row(result, place, text, bar) {
  const [x, width] = bar(result.score);
  return el(
    "li", {},
    el("span", { class: "place" }, `${place}.`),
    el("span", { class: "text" }, text),
    el("strong", { class: "score" }, number(result.score, 4)),
    svg("svg", { "aria-hidden": "true" },
      svg("rect", { class: "track", width: "100%", height: "1", y: "3.5" }),
      svg("rect", { class: "fill", x: `${x}%`, width: `${Math.max(width, 0.3)}%`, height: "100%" })),
    el("span", { class: "from" }, `line ${result.index + 1}`),
  );
}

async function rerank() {
  const documents = by("documents").value.split("\n").map((line) => line.trim()).filter(Boolean);
  if (!documents.length) throw new Failed("There is no document to rank.");
  const { found, spent } = await post("rerank", { query: by("query").value, documents, top_n: documents.length });
  const { results } = found;
  const bar = scaleOf(results.map((one) => one.score));
  by("ranks").replaceChildren(...results.map((one, place) => row(one, place + 1, documents[one.index], bar)));
  by("rerank-result").replaceChildren(
    el("strong", {}, plural(results.length, "document"), " ranked"), " ",
    value(whole(found.tokens), found.tokens === 1 ? "token" : "tokens"), " ",
    value(milliseconds(spent).replace(" ms", ""), "ms round trip"),
  );
}

export function start() {
  asking("rerank", rerank);
}

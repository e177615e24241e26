// What a person who cannot see, or not well, needs of the page: run in it, gives back what is wrong.
(() => {
  const wrong = [];
  const shown = (node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest(".unseen, .skip, noscript");
  const words = (node) => (node?.textContent ?? "").replace(/\s+/g, " ").trim();
  const referred = (node, name) => (node.getAttribute(name) ?? "").split(" ").map((id) => words(document.getElementById(id))).join(" ").trim();
  const called = (node) =>
    node.getAttribute("aria-label") || referred(node, "aria-labelledby") || [...(node.labels ?? [])].map(words).join(" ");

  for (const node of document.querySelectorAll("input, textarea, select")) if (!called(node)) wrong.push(`no label: ${node.id}`);
  for (const node of document.querySelectorAll("button, a")) if (!words(node)) wrong.push(`no name: ${node.outerHTML}`);
  for (const node of document.querySelectorAll("svg")) {
    const hidden = node.getAttribute("aria-hidden") === "true";
    if (!hidden && (node.getAttribute("role") !== "img" || !called(node))) wrong.push(`a picture without words: ${node.id}`);
  }
  for (const node of document.querySelectorAll("section, nav, [role=region]")) if (!called(node)) wrong.push(`no name: ${node.className}`);
  for (const node of document.querySelectorAll("th")) if (!node.scope) wrong.push(`no scope: ${words(node)}`);
  for (const node of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) {
    for (const name of ["aria-labelledby", "aria-describedby"])
      for (const id of (node.getAttribute(name) ?? "").split(" ").filter(Boolean)) if (!document.getElementById(id)) wrong.push(`no #${id}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  if (new Set(ids).size !== ids.length) wrong.push("an id twice");
  for (const name of ["main", "h1", "header", "footer"]) if (document.querySelectorAll(name).length !== 1) wrong.push(`not one ${name}`);
  const levels = [...document.querySelectorAll("h1, h2, h3")].filter(shown).map((node) => Number(node.tagName[1]));
  levels.forEach((level, index) => { if (level > (levels[index - 1] ?? 0) + 1) wrong.push(`a heading of level ${level} after ${levels[index - 1]}`); });
  if (!document.documentElement.lang || !document.title) wrong.push("no language or title");

  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const ratio = (one, two) => { const [high, low] = [light(one), light(two)].sort((a, b) => b - a); return (high + 0.05) / (low + 0.05); };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) { const found = rgba(getComputedStyle(at).backgroundColor); if (found[3] === 255) return found; }
    return [255, 255, 255, 255];
  };
  let compared = 0;
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()) || node.matches("input, textarea, select");
    if (!own || !shown(node) || node.closest("title, option, script")) continue;
    const style = getComputedStyle(node);
    const found = ratio(rgba(node instanceof SVGElement ? style.fill : style.color), ground(node));
    compared += 1;
    if (found < 4.5) wrong.push(`contrast ${found.toFixed(2)}: ${words(node).slice(0, 40)}`);
    if (node.matches("input, textarea, select, button") && ratio(rgba(style.borderTopColor), ground(node.parentElement)) < 3)
      wrong.push(`edge of ${node.id || words(node)}`);
  }
  if (compared < 30) wrong.push(`only ${compared} texts compared`);
  return wrong;
})()

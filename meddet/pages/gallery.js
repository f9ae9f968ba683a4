const section = document.getElementById("gallery");
const data = JSON.parse(document.getElementById("gallery-data").textContent);
const SVG = "http://www.w3.org/2000/svg", CLASSES = ["protrusion", "non-protrusion"], UNDEFINED = "undefined (n=0)";
const LABEL_PX = 10.5, LINE_PX = 11.5, LETTER_PX = 6.3, NARROW_PX = 260;
const WORDS = Object.fromEntries(
  [...section.querySelectorAll("#gallery-kind option")].map((each) => [each.value, each.textContent]));
const part = (selector) => section.querySelector(selector);
const field = (name) => document.getElementById(`gallery-${name}`);
const viewer = part(".viewer"), stage = part(".stage");

const images = data.images.map(readImage);
const patients = [...new Set(images.map((each) => each.patient))];
const state = { at: 0, shown: [], thresholds: frozen(), whole: false };
let judged = data.models.map(() => new Map());

function frozen() {
  return data.models.map((model) => [...model.thresholds]);
}

function readBoxes(row) {
  return {
    boxes: row.boxes.map(Math.fround), scores: (row.scores ?? []).map(Math.fround), labels: [...row.labels].map(Number),
    levels: [...row.levels].map((each) => (each === "-" ? -1 : Number(each))),
  };
}

function readImage(row) {
  return { ...row, truth: readBoxes(row.truth), found: row.found.map(readBoxes) };
}

function verdict(image, model) {
  const known = judged[model];
  if (!known.has(image)) {
    const { found, truth } = images[image];
    known.set(image, judge(found[model], truth, state.thresholds[model], data.models[model].nms));
  }
  return known.get(image);
}

// What an image may be found by: each call with its disc's level (on the background, the level that the model named),
// and each missed disc, which has no score.
function entries(image, model) {
  const { found, truth } = images[image], { calls, discs } = verdict(image, model);
  const ofCalls = calls.map(({ kind, score, disc, row }) => (
    { kind, score, level: disc < 0 ? found[model].levels[row] : truth.levels[disc] }));
  const missed = discs.flatMap((kind, disc) => (
    kind === KINDS.missed ? [{ kind, score: null, level: truth.levels[disc] }] : []));
  return [...ofCalls, ...missed];
}

function readFilter() {
  const bound = (name, fallback) => (Number.isNaN(field(name).valueAsNumber) ? fallback : field(name).valueAsNumber);
  return {
    model: data.models.findIndex((each) => each.name === field("model").value), kind: field("kind").value,
    level: field("level").value, low: bound("low", 0), high: bound("high", 1), patient: field("patient").value,
  };
}

function passes(image, filter) {
  if (filter.patient && images[image].patient !== filter.patient) return false;
  const anyScore = filter.low <= 0 && filter.high >= 1;
  if (!filter.kind && !filter.level && anyScore) return true;
  return entries(image, filter.model).some(({ kind, score, level }) => (
    (!filter.kind || (filter.kind === "error" ? kind !== KINDS.right : kind === filter.kind))
    && (!filter.level || level === Number(filter.level))
    && (anyScore || (score !== null && score >= filter.low && score <= filter.high))));
}

function refilter() {
  const filter = readFilter();
  state.shown = images.map((_, image) => image).filter((image) => passes(image, filter));
  if (!state.shown.includes(state.at)) state.at = state.shown.find((image) => image > state.at) ?? state.shown[0] ?? state.at;
  draw();
}

function step(way) {
  const place = state.shown.indexOf(state.at) + way;
  if (place >= 0 && place < state.shown.length) show(state.shown[place]);
}

function stepPatient(way) {
  const of = (image) => patients.indexOf(images[image].patient), here = of(state.at);
  const ahead = way > 0 ? state.shown.filter((image) => of(image) > here) : state.shown.filter((image) => of(image) < here);
  if (!ahead.length) return;
  const next = way > 0 ? Math.min(...ahead.map(of)) : Math.max(...ahead.map(of));
  show(ahead.find((image) => of(image) === next));
}

function show(image) {
  state.at = image;
  draw();
}

function element(name, attributes, text = "") {
  const made = document.createElementNS(name.startsWith("svg:") ? SVG : "http://www.w3.org/1999/xhtml", name.replace("svg:", ""));
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function panelOf(name, title) {
  const panel = element("figure", { class: "panel", "data-model": name });
  const view = element("div", { class: "view" }), picture = element("svg:svg", { class: "picture", "aria-hidden": "true" });
  picture.append(element("svg:image", { preserveAspectRatio: "none" }));
  view.append(picture, element("svg:svg", { class: "boxes", role: "img" }));
  const caption = element("figcaption", {});
  caption.append(element("b", {}, title), element("span", {}));
  panel.append(view, caption);
  return panel;
}

const titles = Object.fromEntries([...section.querySelectorAll("[data-panel]")].map((each) => [each.dataset.panel, each.textContent]));
const panels = ["truth", ...data.models.map((each) => each.name)].map((name) => panelOf(name, titles[name]));
const none = element("p", { class: "none" }, "No image has this. “Show all” brings them back.");

function draw() {
  const row = images[state.at], isEmpty = !state.shown.length;
  none.hidden = !isEmpty;
  stage.dataset.image = isEmpty ? "" : row.id;
  for (const panel of panels) panel.classList.toggle("empty", isEmpty);
  stage.replaceChildren(...(isEmpty ? [none] : panels));
  if (!isEmpty) drawImage(row);
  drawWhere(row, isEmpty);
  drawCounts();
  drawThresholds();
}

function jpegOf(id) {
  return `data:image/jpeg;base64,${section.querySelector(`[data-jpeg="${id}"]`).textContent}`;
}

function drawImage(row) {
  const source = jpegOf(row.id), view = state.whole ? [0, 0, ...row.size] : row.crop;
  for (const panel of panels) {
    const [picture, boxes] = panel.querySelectorAll("svg"), shape = picture.firstChild;
    if (shape.getAttribute("href") !== source) shape.setAttribute("href", source);
    shape.setAttribute("width", row.size[0]);
    shape.setAttribute("height", row.size[1]);
    for (const each of [picture, boxes]) each.setAttribute("viewBox", view.join(" "));
  }
  drawTruth(row, panels[0]);
  data.models.forEach((_, model) => drawModel(row, model, panels[model + 1]));
}

function unitOf(panel) {
  const { clientWidth: width, clientHeight: height } = panel.querySelector(".view");
  const [, , w, h] = panel.querySelector(".boxes").getAttribute("viewBox").split(" ").map(Number);
  return width ? Math.max(w / width, h / height) : 1;
}

function drawBox(svg, unit, box, kind, { left = "", right = [] }) {
  const [x1, y1, x2, y2] = box, middle = (y1 + y2) / 2 + 0.35 * LABEL_PX * unit;
  svg.append(element("svg:rect", { class: kind, x: x1, y: y1, width: x2 - x1, height: y2 - y1 }));
  const write = (text, x, y, anchor, look) => svg.append(element(
    "svg:text", { x, y, "text-anchor": anchor, class: look, style: `font-size:${LABEL_PX * unit}px` }, text));
  const [edge, , width] = svg.getAttribute("viewBox").split(" ").map(Number);
  const widest = Math.max(...[left, ...right].map((line) => line.length)) * LETTER_PX * unit;
  if (left) write(left, Math.max(x1 - 4 * unit, edge + widest), middle, "end", "");
  right.forEach((line, place) => {
    write(line, Math.min(x2 + 4 * unit, edge + width - widest), middle + (place - (right.length - 1) / 2) * LINE_PX * unit, "start", "error");
  });
}

// Labels of boxes that lie upon each other move down until each can be read.
function spread(svg, unit) {
  const labels = [...svg.querySelectorAll(".error")].map((label) => [label, Number(label.getAttribute("y"))]);
  let least = -Infinity;
  for (const [label, y] of labels.sort((one, other) => one[1] - other[1])) {
    least = Math.max(y, least);
    label.setAttribute("y", least);
    least += LINE_PX * unit;
  }
}

function clearBoxes(svg, row) {
  const [x, y, width, height] = row.region;
  svg.replaceChildren(element("svg:rect", { class: "region", x, y, width, height }));
}

function levelName(level) {
  return level < 0 ? "" : data.levels[level];
}

function drawTruth(row, panel) {
  const svg = panel.querySelector(".boxes"), unit = unitOf(panel), { truth } = row;
  clearBoxes(svg, row);
  truth.labels.forEach((label, disc) => drawBox(svg, unit, boxAt(truth.boxes, disc), CLASSES[label], { left: levelName(truth.levels[disc]) }));
  const told = truth.labels.map((label, disc) => `${levelName(truth.levels[disc]) || "disc"} ${CLASSES[label]}`);
  svg.setAttribute("aria-label", `Ground truth: ${told.join(", ") || "no disc"}`);
  const protruded = truth.labels.filter((label) => label === PROTRUSION).length;
  panel.querySelector("span").textContent = `${truth.labels.length} discs, ${protruded} protruded`;
}

function drawModel(row, model, panel) {
  const svg = panel.querySelector(".boxes"), unit = unitOf(panel), found = row.found[model];
  const { calls, discs } = verdict(state.at, model), told = [], isNarrow = svg.clientWidth < NARROW_PX;
  clearBoxes(svg, row);
  discs.forEach((kind, disc) => {
    if (kind !== KINDS.missed) return;
    drawBox(svg, unit, boxAt(row.truth.boxes, disc), "missed", { left: levelName(row.truth.levels[disc]), right: ["missed"] });
    told.push(`${levelName(row.truth.levels[disc]) || "disc"} missed`);
  });
  for (const call of [...calls].reverse()) {
    const isRight = call.kind === KINDS.right, name = levelName(found.levels[call.row]);
    const said = `${name} ${call.score.toFixed(2).slice(call.score < 1 ? 1 : 0)}`.trim();
    const words = isRight ? { left: said } : { right: isNarrow ? [said, WORDS[call.kind]] : [`${said} ${WORDS[call.kind]}`] };
    drawBox(svg, unit, call.box, `${CLASSES[call.label]}${isRight ? "" : " wrong"}`, words);
    told.unshift(`${name || "disc"} ${CLASSES[call.label]} ${call.score.toFixed(2)} ${isRight ? "right" : WORDS[call.kind]}`);
  }
  spread(svg, unit);
  svg.setAttribute("aria-label", `${titles[data.models[model].name]}: ${told.join(", ") || "no call"}`);
  panel.querySelector("span").textContent = tellImage(calls, discs);
}

function tellImage(calls, discs) {
  const kinds = [...calls.map((each) => each.kind), ...discs.filter((kind) => kind === KINDS.missed)];
  const wrong = Object.values(KINDS).filter((kind) => kind !== KINDS.right)
    .map((kind) => [kinds.filter((each) => each === kind).length, WORDS[kind]]).filter(([count]) => count);
  const right = calls.length - calls.filter((each) => each.kind !== KINDS.right).length;
  return [`${right} of ${discs.length} right`, ...wrong.map(([count, word]) => `${count} ${word}`)].join(", ");
}

function drawWhere(row, isEmpty) {
  const same = images.filter((each) => each.patient === row.patient), place = state.shown.indexOf(state.at) + 1;
  const line = isEmpty ? "0 images" : `${place} of ${state.shown.length} images`;
  const patient = `patient ${patients.indexOf(row.patient) + 1} of ${patients.length}, image ${same.indexOf(row) + 1} of ${same.length}`;
  part(".where").replaceChildren(
    isEmpty ? line : `Image ${row.id}: ${patient}`,
    element("small", {}, isEmpty ? "" : [line, ...row.about].join(" · ")));
}

function countShown(model) {
  const total = { discs: 0, protrusions: 0, foundProtrusions: 0, calls: 0, right: 0 };
  for (const kind of Object.values(KINDS)) total[kind] = 0;
  for (const image of state.shown) {
    const { calls, discs } = verdict(image, model), { labels } = images[image].truth;
    total.discs += discs.length;
    total.calls += calls.length;
    total.protrusions += labels.filter((label) => label === PROTRUSION).length;
    total.foundProtrusions += discs.filter((kind, disc) => kind === "found" && labels[disc] === PROTRUSION).length;
    for (const call of calls) total[call.kind] += 1;
    total[KINDS.missed] += discs.filter((kind) => kind === KINDS.missed).length;
  }
  return total;
}

function ratio(part, whole, digits) {
  return whole ? (part / whole).toFixed(digits) : UNDEFINED;
}

function drawCounts() {
  const kinds = Object.keys(WORDS).filter((kind) => kind.startsWith("background") || Object.values(KINDS).includes(kind));
  const rows = data.models.map((model, index) => {
    const total = countShown(index), wrong = total.calls - total.right;
    const cells = {
      right: `${total.right} of ${total.discs}`, sensitivity: ratio(total.right, total.discs, 3),
      protrusions: ratio(total.foundProtrusions, total.protrusions, 3),
      ...Object.fromEntries(kinds.filter((kind) => kind !== KINDS.right).map((kind) => [kind, total[kind]])),
      wrong, per_image: ratio(wrong, state.shown.length, 2),
    };
    const row = element("tr", { "data-model": model.name });
    row.append(element("th", { scope: "row" }, titles[model.name]));
    row.append(...Object.entries(cells).map(([key, value]) => element("td", { "data-count": key }, value)));
    return row;
  });
  part(".counts tbody").replaceChildren(...rows);
  part(".counts caption").textContent = `On the ${state.shown.length} images shown, at the thresholds above`;
}

function drawThresholds() {
  const chosen = Math.max(data.models.findIndex((each) => each.name === field("of").value), 0);
  const own = frozen(), isFrozen = (model) => own[model].every((value, label) => value === state.thresholds[model][label]);
  CLASSES.forEach((_, label) => {
    const input = field(`t${label}`), value = state.thresholds[chosen][label];
    if (document.activeElement !== input || Number(input.value) !== value) input.value = value;
    input.nextElementSibling.textContent = value.toFixed(3);
  });
  const moved = data.models.filter((_, model) => !isFrozen(model)).map((each) => each.shown);
  part(".point").textContent = moved.length
    ? `Moved: ${moved.length === data.models.length ? "every model" : moved.join(", ")}.`
    : `Each model at its own operating point, chosen on validation${field("of").value ? "" : "; the sliders show the student's"}.`;
}

function moveThreshold(label) {
  const value = field(`t${label}`).valueAsNumber;
  data.models.forEach((model, index) => {
    if (field("of").value && field("of").value !== model.name) return;
    state.thresholds[index][label] = value;
    judged[index] = new Map();
  });
  refilter();
}

function resetThresholds() {
  state.thresholds = frozen();
  judged = data.models.map(() => new Map());
  refilter();
}

function clearFilter() {
  for (const name of ["kind", "level", "patient"]) field(name).value = "";
  field("low").value = 0;
  field("high").value = 1;
  refilter();
}

function setWindow() {
  for (const name of ["bright", "contrast"]) {
    viewer.style.setProperty(`--${name}`, field(name).value);
    field(name).nextElementSibling.textContent = Number(field(name).value).toFixed(2);
  }
}

function resetWindow() {
  for (const name of ["bright", "contrast"]) field(name).value = 1;
  setWindow();
}

function button(name) {
  return part(`[data-do="${name}"]`);
}

function toggleWhole() {
  state.whole = !state.whole;
  button("whole").setAttribute("aria-pressed", state.whole);
  draw();
}

function toggleBoxes() {
  button("bare").setAttribute("aria-pressed", viewer.classList.toggle("bare"));
}

function toggleHelp(isOpen = part(".help").hidden) {
  part(".help").hidden = !isOpen;
  button("help").setAttribute("aria-expanded", isOpen);
}

function toggleScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else viewer.requestFullscreen?.();
}

const narrow = matchMedia("(max-width: 40rem)");

function pressChip(chip) {
  const panel = panels.find((each) => each.dataset.model === chip.dataset.panel);
  if (narrow.matches) {
    stage.scrollTo({ left: panel.offsetLeft - stage.firstElementChild.offsetLeft });
    return;
  }
  panel.hidden = !panel.hidden;
  markChips();
  draw();
}

// On a phone the panels lie side by side and the pressed chip is the one in view.
function markChips() {
  const seen = Math.round(stage.scrollLeft / Math.max(stage.clientWidth, 1));
  section.querySelectorAll("[data-panel]").forEach((chip, place) => {
    chip.setAttribute("aria-pressed", narrow.matches ? place === seen : !panels[place].hidden);
  });
}

const ACTIONS = {
  "image-on": () => step(1), "image-back": () => step(-1), "patient-on": () => stepPatient(1),
  "patient-back": () => stepPatient(-1), whole: toggleWhole, bare: toggleBoxes, screen: toggleScreen,
  help: () => toggleHelp(), reset: resetThresholds, clear: clearFilter, window: resetWindow,
};
const KEYS = {
  j: "image-on", k: "image-back", J: "patient-on", K: "patient-back", ArrowRight: "image-on", ArrowLeft: "image-back",
  ArrowDown: "patient-on", ArrowUp: "patient-back", w: "whole", b: "bare", r: "reset", f: "screen", "?": "help",
};

function press(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Escape") toggleHelp(false);
  const isArrow = event.key.startsWith("Arrow"), isField = event.target.matches("select, input");
  if (!Object.hasOwn(KEYS, event.key) || (isField && (isArrow || !event.target.matches("[type=range]")))) return;
  event.preventDefault();
  ACTIONS[KEYS[event.key]]();
}

function jump(id) {
  const image = images.findIndex((each) => each.id === id);
  if (!state.shown.includes(image)) clearFilter();
  show(image);
  stage.focus({ preventScroll: true });
  viewer.scrollIntoView({ block: "start" });
}

function listen() {
  for (const [name, action] of Object.entries(ACTIONS)) button(name).addEventListener("click", action);
  for (const chip of section.querySelectorAll("[data-panel]")) chip.addEventListener("click", () => pressChip(chip));
  for (const each of section.querySelectorAll(".worst button")) {
    each.addEventListener("click", () => jump(Number(each.dataset.image)));
  }
  for (const name of ["model", "kind", "level", "low", "high", "patient"]) field(name).addEventListener("input", refilter);
  CLASSES.forEach((_, label) => field(`t${label}`).addEventListener("input", () => moveThreshold(label)));
  for (const name of ["bright", "contrast"]) field(name).addEventListener("input", setWindow);
  field("of").addEventListener("input", drawThresholds);
  viewer.addEventListener("keydown", press);
  stage.addEventListener("scroll", markChips);
  narrow.addEventListener("change", markChips);
  new ResizeObserver(draw).observe(stage);
}

function start() {
  patients.forEach((patient, place) => {
    const number = images.filter((each) => each.patient === patient).length;
    field("patient").append(element("option", { value: patient }, `${place + 1}: ${patient} (${number} images)`));
  });
  for (const label of [0, 1]) field(`t${label}`).min = data.floor;
  viewer.hidden = false;
  button("screen").hidden = !document.fullscreenEnabled;
  stage.append(...panels);
  listen();
  setWindow();
  refilter();
  markChips();
}

start();

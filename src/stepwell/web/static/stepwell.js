"use strict";
// The server draws every page. This asks for the page again when something was committed, and
// changes only what has changed; it sends forms to the API, so that a refusal is shown where it
// belongs.

const PAUSE_MS = 500; // Between two drawings, or five times as long as one takes.
let due = null;
let last = 0;
let pause = PAUSE_MS;

async function draw() {
  clearTimeout(due);
  due = null;
  const begun = Date.now();
  const place = location.href;
  const answer = await fetch(place).catch(() => null);
  if (answer?.ok && place === location.href) {
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = fresh.title;
    mend(document.querySelector("main"), fresh.querySelector("main"));
    document.body.dataset.events = fresh.body.dataset.events ?? "";
    listen();
  }
  last = Date.now();
  pause = Math.max(PAUSE_MS, 5 * (last - begun));
}

function draw_soon() {
  if (due === null) due = setTimeout(draw, Math.max(0, last + pause - Date.now()));
}

// Makes one element like a fresh one, in place: whoever reads, types or has opened something there
// keeps his place.
function mend(now, fresh) {
  if (is_in_use(now)) return;
  for (const { name, value } of [...fresh.attributes]) {
    if (name !== "open" && now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  for (const { name } of [...now.attributes]) {
    if (name !== "open" && !fresh.hasAttribute(name)) now.removeAttribute(name);
  }
  const there = [...now.childNodes];
  const wanted = [...fresh.childNodes];
  const known = new Map(there.filter((one) => one.id).map((one) => [one.id, one]));
  let at = now.firstChild;
  for (const one of wanted) {
    const alike = (one.id && known.get(one.id)) || (at && !at.id && !one.id && is_like(at, one) ? at : null);
    if (!alike) {
      now.insertBefore(document.importNode(one, true), at);
      continue;
    }
    if (alike !== at) now.insertBefore(alike, at);
    at = alike.nextSibling;
    if (alike.isEqualNode(one)) continue;
    if (alike.nodeType === Node.ELEMENT_NODE) mend(alike, one);
    else alike.data = one.data;
  }
  while (at) {
    const next = at.nextSibling;
    if (!(at instanceof Element && has_input(at))) at.remove();
    at = next;
  }
}

function is_like(one, other) {
  return one.nodeName === other.nodeName && one.dataset?.call === other.dataset?.call;
}

// What a script has written, and forms that somebody is filling in, are not the server's to change.
function is_in_use(one) {
  return one.matches("output, .cursor, .hovered") || (one.localName === "form" && has_input(one));
}

function has_input(one) {
  const field = one.contains(document.activeElement) ? document.activeElement : null;
  return field !== null && field.matches("input, textarea, select");
}

function value_of(form) {
  const given = {};
  for (const field of form.elements) {
    if (!field.name || field.value === "" || field.name === "stepwell.again") continue;
    if (field.name !== "stepwell.lines") {
      given[field.name] = "json" in field.dataset ? JSON.parse(field.value) : field.value;
      continue;
    }
    for (const line of field.value.split("\n").filter((one) => one.includes("="))) {
      const at = line.indexOf("=");
      given[line.slice(0, at).trim()] = line.slice(at + 1).trim();
    }
  }
  return given;
}

async function send(event) {
  const form = event.target;
  if (!form.dataset.call || event.submitter?.hasAttribute("formaction")) return;
  event.preventDefault();
  const buttons = form.querySelectorAll("button");
  buttons.forEach((one) => (one.disabled = true));
  show_faults(form, {});
  tell(form, "");
  try {
    const again = form.elements["stepwell.again"]?.checked ? "?again=true" : "";
    const answer = await fetch(form.dataset.call + again, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(value_of(form)),
    });
    const told = await answer.json();
    const place = answer.headers.get("Location");
    if (!answer.ok) {
      const others = show_faults(form, told.fields.parameters ?? {});
      if (others) tell(form, [told.message, told.hint].filter(Boolean).join(". "), "refused");
    } else if (place) {
      location.assign(place.replace("/api/", "/"));
    } else {
      form.reset();
      tell(form, form.dataset.done);
      draw();
    }
  } catch {
    tell(form, "The server does not answer.", "refused");
  } finally {
    buttons.forEach((one) => (one.disabled = false));
  }
}

function tell(form, text, kind = "") {
  const output = form.querySelector("output");
  output.className = kind;
  output.textContent = text;
}

// Each at its field; whether something is left that has none.
function show_faults(form, faults) {
  let first = null;
  const left = new Set(Object.keys(faults));
  for (const place of form.querySelectorAll(".fault")) {
    const name = place.id.slice("fault-".length);
    const field = form.elements[name];
    place.textContent = faults[name] ?? "";
    if (name in faults) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
    if (left.delete(name)) first ??= field;
  }
  first?.focus();
  return first === null || left.size > 0;
}

document.addEventListener("submit", send);
// A browser's own words about a value, at the field and not in a bubble that goes away.
document.addEventListener("invalid", (event) => {
  const place = document.getElementById(`fault-${event.target.name}`);
  if (!place) return;
  event.preventDefault();
  const is_first = event.target.form.querySelector(":invalid") === event.target;
  place.textContent = event.target.validationMessage;
  event.target.setAttribute("aria-invalid", "true");
  if (is_first) event.target.focus();
}, true);
document.addEventListener("input", (event) => {
  const place = document.getElementById(`fault-${event.target.name}`);
  if (place?.textContent) {
    place.textContent = "";
    event.target.removeAttribute("aria-invalid");
  }
});

// A grid of partitions: the cell under the pointer, or under a cursor that the arrows move.
function cell_at(grid, event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(grid.getScreenCTM().inverse());
  const { columns } = numbers_of(grid);
  const column = Math.floor((point.x - 44) / 10);
  if (column < 0 || column >= columns || point.y < 0) return null;
  return inside(grid, Math.floor(point.y / 10) * columns + column);
}

function numbers_of(grid) {
  return { columns: +grid.dataset.columns, first: +grid.dataset.first, total: +grid.dataset.total };
}

function inside(grid, offset) {
  const { first, total } = numbers_of(grid);
  return offset >= 0 && first + offset < total && offset < 10000 ? offset : null;
}

const cursors = new WeakMap(); // Of each grid, where its cursor stands.

function point_at(grid, offset) {
  const { columns, first } = numbers_of(grid);
  const cursor = grid.querySelector(".cursor");
  const hovered = grid.closest("section").querySelector(".hovered");
  if (offset === null) {
    cursor.setAttribute("visibility", "hidden");
    hovered.textContent = "";
    return;
  }
  cursors.set(grid, offset);
  cursor.setAttribute("visibility", "visible");
  cursor.setAttribute("x", 43 + (offset % columns) * 10);
  cursor.setAttribute("y", Math.floor(offset / columns) * 10 - 1);
  hovered.textContent = `partition ${(first + offset).toLocaleString("en")}`;
}

function open_partition(grid, offset) {
  const number = numbers_of(grid).first + offset;
  go(`?step=${encodeURIComponent(grid.dataset.step)}&partition=${number}#partition`);
}

async function go(place) {
  history.pushState(null, "", place);
  await draw();
  const part = document.getElementById(location.hash.slice(1));
  part?.focus({ preventScroll: true });
  part?.scrollIntoView({ block: "nearest" });
}

document.addEventListener("pointermove", (event) => {
  const grid = event.target.closest?.(".cells");
  if (grid) point_at(grid, cell_at(grid, event));
});
document.addEventListener("click", (event) => {
  const grid = event.target.closest?.(".cells");
  const offset = grid && cell_at(grid, event);
  if (grid && offset !== null) return open_partition(grid, offset);
  const link = event.target.closest?.("a[href^='?step='], a[href='?']");
  if (link && link.closest("[id^=partitions-]") && !event.ctrlKey && !event.metaKey && event.button === 0) {
    event.preventDefault();
    const href = link.getAttribute("href");
    go(href === "?" ? location.pathname : href);
  }
});
document.addEventListener("keydown", (event) => {
  const grid = event.target.closest?.(".cells");
  if (!grid) return;
  const { columns } = numbers_of(grid);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  const at = cursors.get(grid) ?? -1;
  if (step) {
    event.preventDefault();
    const next = at < 0 ? 0 : inside(grid, at + step);
    if (next !== null) point_at(grid, next);
  } else if (event.key === "Enter" && at >= 0) {
    open_partition(grid, at);
  }
});
window.addEventListener("popstate", draw);

// Events, while somebody looks: a browser has few connections to one server.
let events = null;
let listened = "";

function listen() {
  const wanted = document.hidden ? "" : document.body.dataset.events ?? "";
  if (wanted === listened) return;
  events?.close();
  events = null;
  listened = wanted;
  if (!wanted) return;
  events = new EventSource(wanted);
  events.addEventListener("look", draw_soon);
  events.addEventListener("change", draw_soon);
}

document.addEventListener("visibilitychange", () => {
  listen();
  if (!document.hidden) draw_soon();
});
listen();

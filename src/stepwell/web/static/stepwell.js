"use strict";
// The server draws every page. This asks for the page again when something was committed, and
// sends forms to the API, so that a refusal is shown where it belongs.

const PAUSE_MS = 500; // Between two drawings.
let due = null;
let last = 0;

async function draw() {
  due = null;
  last = Date.now();
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const main = document.querySelector("main");
  const other = fresh.querySelector("main");
  const names = (one) => Array.from(one.querySelectorAll("section"), (each) => each.id).join();
  if (names(main) === names(other)) {
    for (const section of main.querySelectorAll("section[id]")) draw_section(section, other);
  } else if (!main.contains(document.activeElement)) {
    main.innerHTML = other.innerHTML;
  }
  listen_to_forms();
}

// Only what has changed, and never what somebody is filling in.
function draw_section(section, other) {
  const now = other.querySelector(`#${section.id}`);
  const is_used = section.contains(document.activeElement);
  if (!is_used && now.innerHTML !== section.innerHTML) section.innerHTML = now.innerHTML;
}

function draw_soon() {
  if (due === null) due = setTimeout(draw, Math.max(0, last + PAUSE_MS - Date.now()));
}

function value_of(form) {
  const given = {};
  for (const [name, value] of new FormData(form)) {
    if (value === "") continue;
    if (name !== "lines") {
      given[name] = value;
      continue;
    }
    for (const line of value.split("\n").filter((one) => one.includes("="))) {
      const at = line.indexOf("=");
      given[line.slice(0, at).trim()] = line.slice(at + 1).trim();
    }
  }
  return given;
}

async function send(event) {
  event.preventDefault();
  const form = event.target;
  const told = form.querySelector("output");
  const button = form.querySelector("button");
  button.disabled = true;
  told.textContent = "";
  try {
    const answer = await fetch(form.dataset.call, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(value_of(form)),
    });
    const document_ = await answer.json();
    const place = answer.headers.get("Location");
    if (!answer.ok) told.textContent = `${document_.message}. ${document_.hint}`;
    else if (place) location.assign(place.replace("/api/", "/"));
    else {
      form.reset();
      button.blur();
      draw_soon();
    }
  } catch (error) {
    told.textContent = "The server does not answer.";
  } finally {
    button.disabled = false;
  }
}

function listen_to_forms() {
  for (const form of document.querySelectorAll("form[data-call]")) {
    form.onsubmit = send;
  }
}

listen_to_forms();
if (document.body.dataset.events) {
  const events = new EventSource(document.body.dataset.events);
  events.addEventListener("look", draw_soon);
  events.addEventListener("change", draw_soon);
}

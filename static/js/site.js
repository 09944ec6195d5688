// What a page does better with script: airport type-ahead, one submit per press, countdown, print. Everything works without.
"use strict";

function combobox(box) {
  const select = box.querySelector("select");
  const options = [...select.options].filter((option) => option.value);
  const input = document.createElement("input");
  const list = document.createElement("ul");
  const listId = `${select.id}-list`;
  input.id = select.id;
  select.removeAttribute("id");
  select.hidden = true;
  select.tabIndex = -1;
  input.type = "text";
  input.autocomplete = "off";
  input.spellcheck = false;
  input.placeholder = select.options[0] && !select.options[0].value ? select.options[0].text : "";
  for (const [name, value] of [["role", "combobox"], ["aria-expanded", "false"], ["aria-controls", listId], ["aria-autocomplete", "list"]]) input.setAttribute(name, value);
  for (const name of ["aria-invalid", "aria-describedby"]) if (select.hasAttribute(name)) input.setAttribute(name, select.getAttribute(name));
  list.id = listId;
  list.setAttribute("role", "listbox");
  list.hidden = true;
  box.append(input, list);
  const shown = () => (select.value ? select.selectedOptions[0].text : "");
  input.value = shown();
  let active = -1;

  const close = () => { list.hidden = true; active = -1; input.setAttribute("aria-expanded", "false"); input.removeAttribute("aria-activedescendant"); };
  const choose = (value) => { select.value = value; input.value = shown(); close(); select.dispatchEvent(new Event("change", { bubbles: true })); };
  const mark = (index) => {
    active = index;
    [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === index)));
    const item = list.children[index];
    if (item) { input.setAttribute("aria-activedescendant", item.id); item.scrollIntoView({ block: "nearest" }); }
  };
  const open = (text) => {
    const wanted = text.trim().toLowerCase();
    const starts = options.filter((option) => option.value.toLowerCase() === wanted);
    const found = wanted ? [...starts, ...options.filter((option) => !starts.includes(option) && option.text.toLowerCase().includes(wanted))] : options;
    list.replaceChildren(...found.map((option, at) => {
      const item = document.createElement("li");
      const code = document.createElement("strong");
      code.textContent = option.value;
      item.id = `${listId}-${at}`;
      item.setAttribute("role", "option");
      item.dataset.value = option.value;
      item.append(code, option.text.replace(` (${option.value})`, ""));
      return item;
    }));
    if (!found.length) {
      const item = document.createElement("li");
      item.textContent = box.dataset.empty;
      list.replaceChildren(item);
    }
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(found.length && wanted ? 0 : -1);
  };
  input.addEventListener("focus", () => { input.select(); });
  input.addEventListener("click", () => open(""));
  input.addEventListener("input", () => open(input.value));
  input.addEventListener("keydown", (event) => {
    const count = list.querySelectorAll("[role=option]").length;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) open("");
      else if (count) mark((active + (event.key === "ArrowDown" ? 1 : -1) + count) % count);
    } else if (event.key === "Enter" && !list.hidden && list.children[active]?.dataset.value) {
      event.preventDefault();
      choose(list.children[active].dataset.value);
    } else if (event.key === "Escape") {
      input.value = shown();
      close();
    }
  });
  list.addEventListener("mousedown", (event) => {
    event.preventDefault();
    const item = event.target.closest("[data-value]");
    if (item) choose(item.dataset.value);
  });
  input.addEventListener("blur", () => {
    const item = list.children[active];
    if (!list.hidden && item?.dataset.value && input.value.trim()) choose(item.dataset.value);
    else if (!input.value.trim()) { select.value = ""; close(); }
    else { input.value = shown(); close(); }
  });
}

function remaining(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  if (seconds >= 86400) {
    const days = { style: "unit", unit: "day", unitDisplay: "long" };
    return new Intl.NumberFormat(document.documentElement.lang, days).format(Math.floor(seconds / 86400));
  }
  const minutes = Math.floor(seconds / 60);
  return minutes >= 60 ? `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

function countdown(box) {
  const end = performance.now() + Number(box.dataset.countdown) * 1000;
  const left = box.querySelector("[data-left]");
  const said = box.querySelector("[data-said]");
  let lastSaid = null;
  const tick = () => {
    const seconds = Math.max(0, Math.round((end - performance.now()) / 1000));
    left.textContent = remaining(seconds);
    const minutes = Math.ceil(seconds / 60);
    if ([10, 5, 2, 1].includes(minutes) && minutes !== lastSaid) {
      lastSaid = minutes;
      said.textContent = minutes === 1 ? box.dataset.minuteText : box.dataset.minutesText.replace("%s", minutes);
    }
    if (seconds > 0) { setTimeout(tick, 1000); return; }
    box.classList.add("over");
    said.textContent = box.dataset.overText;
    box.dispatchEvent(new CustomEvent("time-over", { bubbles: true }));
  };
  tick();
}

// The last search is kept in this browser, not on the server: so that whoever only looks needs no cookie. Before the type-ahead takes the select over.
document.querySelectorAll("[data-search]").forEach((form) => {
  const parts = ["airport", "drop_off_date", "drop_off_time", "return_date", "return_time"];
  try {
    if (form.hasAttribute("data-remembered")) {
      const last = JSON.parse(localStorage.getItem("last-search") || "{}");
      if (last.drop_off_date > new Date().toISOString().slice(0, 10)) {
        for (const part of parts) {
          if (part === "airport" && form.elements.airport.value) continue;
          if (typeof last[part] === "string") form.elements[part].value = last[part];
        }
      }
    } else if (form.elements.airport.value) {
      localStorage.setItem("last-search", JSON.stringify(Object.fromEntries(parts.map((part) => [part, form.elements[part].value]))));
    }
  } catch { /* Storage may be forbidden; then nothing is remembered. */ }
});
document.querySelectorAll("[data-combo]").forEach(combobox);
document.querySelectorAll("[data-countdown]").forEach(countdown);
document.querySelectorAll("[data-without-script]").forEach((button) => { button.hidden = true; });
document.querySelectorAll("[data-print]").forEach((button) => { button.hidden = false; button.addEventListener("click", () => window.print()); });
document.querySelectorAll("[data-focus]").forEach((box) => box.focus());
document.querySelectorAll("form[data-once]").forEach((form) => form.addEventListener("submit", (event) => {
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "yes";
  form.querySelectorAll("button").forEach((button) => button.setAttribute("aria-disabled", "true"));
}));
window.addEventListener("pageshow", () => document.querySelectorAll("form[data-once]").forEach((form) => {
  delete form.dataset.sent;
  form.querySelectorAll("button").forEach((button) => button.removeAttribute("aria-disabled"));
}));
document.querySelectorAll("[data-search]").forEach((form) => {
  const first = form.elements.drop_off_date;
  const last = form.elements.return_date;
  first.addEventListener("change", () => {
    if (!first.value) return;
    last.min = first.value;
    if (last.value && last.value < first.value) {
      const day = new Date(`${first.value}T12:00:00Z`);
      day.setUTCDate(day.getUTCDate() + 7);
      last.value = day.toISOString().slice(0, 10);
    }
  });
});

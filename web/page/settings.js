// The settings of answers: their fields, and what this browser remembers of them.

import { byId, element } from "./dom.js";

/** Name in `generate`, label, default, and the field's range; `note` says what it does. */
const FIELDS = [
  {
    name: "temperature",
    label: "Temperature",
    value: 0.7,
    max: 2,
    step: 0.05,
    note: "0 always takes the likeliest word.",
  },
  { name: "topP", label: "Top-p", value: 0.95, max: 1, step: 0.01 },
  { name: "topK", label: "Top-k", value: 0, max: 200, step: 1, note: "0 is all." },
  { name: "minP", label: "Min-p", value: 0, max: 1, step: 0.01 },
  { name: "repetitionPenalty", label: "Repetition penalty", value: 1.1, min: 1, max: 2, step: 0.01 },
  { name: "maxTokens", label: "Longest answer in tokens", value: 512, min: 1, number: true },
  { name: "seed", label: "Seed", value: "", min: 0, number: true, note: "Empty draws another answer each time." },
];

const KEY = "anylora-settings";

/** What is remembered; storage may be refused, and hold anything. */
function remembered() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY));
    return found && typeof found === "object" ? found : {};
  } catch {
    return {};
  }
}

function remember(values) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...remembered(), ...values }));
  } catch {
    // Then the next visit begins with the defaults.
  }
}

const inputs = new Map();

/** Makes the fields. */
export function makeSettings() {
  const form = byId("sampling");
  const kept = remembered();
  const system = element("textarea", { id: "system", rows: 2, placeholder: "None" });
  system.value = typeof kept.system === "string" ? kept.system : "";
  system.addEventListener("change", () => remember({ system: system.value }));
  form.append(
    element("div", { class: "field" }, element("label", { for: "system", text: "System message" }), system),
    ...FIELDS.map((field) => makeField(field, kept[field.name])),
  );
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("sampling-reset").addEventListener("click", () => {
    system.value = "";
    for (const field of FIELDS) {
      inputs.get(field.name).value = field.value;
      inputs.get(field.name).dispatchEvent(new Event("input"));
    }
    remember({ system: "", ...Object.fromEntries(FIELDS.map(({ name, value }) => [name, value])) });
  });
  makeTheme(kept.theme);
}

function makeField({ name, label, value, min = 0, max, step, number, note }, kept) {
  const id = `setting-${name}`;
  const input = element("input", {
    id,
    type: number ? "number" : "range",
    min,
    max,
    step,
    "aria-describedby": note && `${id}-note`,
  });
  input.value = ["number", "string"].includes(typeof kept) ? kept : value;
  inputs.set(name, input);
  const parts = [element("label", { for: id, text: label })];
  if (!number) {
    const digits = step < 1 ? 2 : 0;
    const output = element("output", { for: id });
    const show = () => {
      output.textContent = Number(input.value).toFixed(digits);
    };
    input.addEventListener("input", show);
    show();
    parts.push(output);
  }
  input.addEventListener("change", () => remember({ [name]: input.value }));
  parts.push(input);
  if (note) {
    parts.push(element("p", { class: "note", id: `${id}-note`, text: note }));
  }
  return element("div", { class: "field" }, ...parts);
}

function makeTheme(kept) {
  const select = byId("theme");
  const apply = () => {
    document.documentElement.dataset.theme = select.value;
  };
  select.value = ["light", "dark"].includes(kept) ? kept : "";
  apply();
  select.addEventListener("change", () => {
    apply();
    remember({ theme: select.value });
  });
}

/** The settings for `generate`. An empty seed is a new one. */
export function sampling() {
  const values = {};
  for (const { name, value, min = 0 } of FIELDS) {
    const text = inputs.get(name).value;
    if (name === "seed") {
      values.seed = text === "" ? crypto.getRandomValues(new Uint32Array(1))[0] : Math.max(0, Math.floor(Number(text)));
    } else {
      values[name] = text === "" ? value : Math.max(min, Number(text));
    }
  }
  values.maxTokens = Math.floor(values.maxTokens);
  return values;
}

/** The system message, as messages. */
export function system() {
  const content = byId("system").value.trim();
  return content ? [{ role: "system", content }] : [];
}

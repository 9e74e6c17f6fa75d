// What went wrong, and what the visitor can do about it.

import { byId, element } from "./dom.js";

/** What to try, by an error's code; for all others it is the error's own hint. */
const STEPS = {
  "no-webgpu": [
    "Use a current browser: Chrome or Edge 113, Safari 26, Firefox 141 on Windows, or newer.",
    "Turn on hardware acceleration in the browser's settings, and update the graphics driver.",
    "On Linux, Chrome may need chrome://flags/#enable-unsafe-webgpu.",
    "The address has to begin with https:// or be localhost.",
  ],
  limits: ["Try a smaller model.", "Use a browser on a machine with more graphics memory."],
  "out-of-memory": ["Close other tabs.", "Try a smaller model."],
  "device-lost": ["Load the model again: it is kept by the browser, and the conversation stays."],
  storage: ["Delete kept models, or leave the private window."],
};

const TITLES = {
  "no-webgpu": "This browser can't use the GPU",
  limits: "This GPU can't hold the model",
  "out-of-memory": "The memory is full",
  network: "The model could not be fetched",
  integrity: "The model's files are damaged",
  format: "This is not a model that can be loaded",
  "device-lost": "The GPU was lost",
};

/** A text with a capital at its beginning, unless an address is there, and a stop at its end. */
function sentence(text) {
  const begun = /^https?:/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?:]$/.test(begun) ? begun : `${begun}.`;
}

/** Fills the start page's place for problems. `again` is what the button does. */
export function showProblem(error, again) {
  byId("problem-title").textContent = TITLES[error.code] ?? "The model could not be loaded";
  byId("problem-text").textContent = sentence(error.message);
  const steps = STEPS[error.code] ?? (error.hint ? [sentence(error.hint)] : []);
  byId("problem-steps").replaceChildren(...steps.map((text) => element("li", { text })));
  const button = byId("problem-again");
  button.onclick = again;
  byId("problem").hidden = false;
  byId("problem").focus();
}

export function hideProblem() {
  byId("problem").hidden = true;
}

/**
 * Shows an error above everything until it is closed. `action` is what else can be done: `{text, run}`.
 * Returns what closes it.
 */
export function alertError(error, action) {
  const alert = element("div", { class: "alert" });
  const close = () => alert.remove();
  const message = element("p", {}, element("strong", { text: sentence(error.message) }));
  if (error.hint) {
    message.append(` ${sentence(error.hint)}`);
  }
  alert.append(message);
  if (action) {
    const run = () => {
      close();
      action.run();
    };
    alert.append(element("button", { type: "button", class: "primary", text: action.text, onclick: run }));
  }
  alert.append(element("button", { type: "button", class: "quiet", text: "Close", onclick: close }));
  byId("alerts").append(alert);
  return close;
}

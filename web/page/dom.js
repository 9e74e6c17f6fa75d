// Elements, and texts of numbers.

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** An element with properties (`class`, `text`, `on…`, attributes) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "text") {
      made.textContent = value;
    } else if (name === "class") {
      made.className = value;
    } else if (name.startsWith("on")) {
      made.addEventListener(name.slice(2), value);
    } else if (value === true) {
      made.setAttribute(name, "");
    } else if (value !== false && value !== undefined && value !== null) {
      made.setAttribute(name, value);
    }
  }
  made.append(...children);
  return made;
}

/** `1.2 GB`. */
export function bytesText(bytes) {
  const units = ["B", "KB", "MB", "GB"];
  const unit = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  const value = bytes / 1000 ** unit;
  return `${value.toFixed(unit < 1 || value >= 100 ? 0 : 1)} ${units[unit]}`;
}

/** `134.5 M`. */
export function countText(count) {
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(count);
}

/** Has screen readers say a text. */
export function announce(text) {
  byId("announcer").textContent = text;
}

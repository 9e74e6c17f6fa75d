// Adapters: which are loaded, which is used, how strongly; and the ways in which new ones come.

import { byId, countText, element } from "./dom.js";
import { alertError } from "./problems.js";

export class Adapters {
  #model;
  #onChange;
  /** By name: what it was made of, to add it again to a model that is loaded anew. */
  #sources = new Map();
  #chosen = null;
  /** By name: its scale, where it isn't 1. */
  #scales = new Map();

  constructor({ model, onChange }) {
    this.#model = model;
    this.#onChange = onChange;
    byId("scale").addEventListener("input", ({ currentTarget: input }) => {
      this.#scales.set(this.#chosen, Number(input.value));
      this.#showScale();
    });
    for (const id of ["adapter-files", "adapter-folder"]) {
      byId(id).addEventListener("change", ({ currentTarget: input }) => {
        const files = [...input.files];
        input.value = "";
        const name = files[0]?.webkitRelativePath.split("/").at(-2);
        this.add(files, name);
      });
    }
    byId("adapter-form").addEventListener("submit", async (event) => {
      event.preventDefault();
      const input = byId("adapter-url");
      if (await this.add(input.value.trim())) {
        input.value = "";
      }
    });
    this.#acceptDrops();
    this.show();
  }

  /** What answers use now. */
  get current() {
    return { name: this.#chosen, scale: this.#scales.get(this.#chosen) ?? 1 };
  }

  /** Adds an adapter and takes it into use. Says whether that went well. */
  async add(source, name) {
    const model = this.#model();
    if (!model) {
      return false;
    }
    const state = byId("adapter-state");
    state.textContent = "Adding the adapter…";
    try {
      const info = await model.addAdapter(source, { name: this.#free(name ?? nameOf(source)) });
      this.#sources.set(info.name, source);
      this.#chosen = info.name;
      state.textContent = `${info.name} was added.`;
      for (const warning of info.warnings) {
        state.textContent += ` No effect: ${warning}.`;
      }
      return true;
    } catch (error) {
      state.textContent = "";
      alertError(error);
      return false;
    } finally {
      this.show();
    }
  }

  /** Begins anew, for another model. */
  forget() {
    this.#sources.clear();
    this.#scales.clear();
    this.#choose(null);
  }

  /** Puts all adapters beside a model that was loaded anew. */
  async restore() {
    const chosen = this.#chosen;
    for (const [name, source] of [...this.#sources]) {
      this.#sources.delete(name);
      await this.add(source, name);
    }
    this.#choose(this.#sources.has(chosen) ? chosen : null);
  }

  async #remove(name) {
    try {
      await this.#model()?.removeAdapter(name);
    } catch (error) {
      alertError(error);
    }
    this.#sources.delete(name);
    this.#scales.delete(name);
    byId("adapter-state").textContent = `${name} was removed.`;
    this.#choose(this.#chosen === name ? null : this.#chosen);
    byId("adapters").querySelector(":checked")?.focus();
  }

  #choose(name) {
    this.#chosen = name;
    this.show();
  }

  /** A name that no adapter has yet. */
  #free(name) {
    for (let i = 2, free = name; ; free = `${name} ${i++}`) {
      if (!this.#sources.has(free)) {
        return free;
      }
    }
  }

  /** Shows the list. */
  show() {
    const infos = this.#model()?.adapters ?? [];
    const none = this.#row(null, "None", "the base model");
    const rows = infos.map((info) => {
      const row = this.#row(info.name, info.name, `rank ${info.rank}, ${countText(info.parameters)} parameters`);
      const label = `Remove ${info.name}`;
      const remove = element("button", {
        type: "button",
        class: "quiet remove",
        text: "×",
        "aria-label": label,
        title: label,
      });
      remove.addEventListener("click", () => this.#remove(info.name));
      row.append(remove);
      return row;
    });
    byId("adapters").replaceChildren(none, ...rows);
    byId("scale-field").hidden = this.#chosen === null;
    byId("scale").value = this.current.scale;
    this.#showScale();
    this.#onChange();
  }

  #row(name, title, note) {
    const id = `adapter-${name === null ? "none" : [...this.#sources.keys()].indexOf(name)}`;
    const input = element("input", { type: "radio", name: "adapter", id });
    input.checked = name === this.#chosen;
    input.addEventListener("change", () => {
      this.#choose(name);
      byId(id).focus();
    });
    const label = element(
      "label",
      { for: id },
      element("span", { text: title }),
      element("span", { class: "note", text: note }),
    );
    return element("div", { class: "adapter" }, input, label);
  }

  #showScale() {
    byId("scale-value").textContent = Number(byId("scale").value).toFixed(2);
  }

  /** Files and folders that are dropped anywhere onto the page. */
  #acceptDrops() {
    const overlay = byId("drop");
    const isFiles = (event) => event.dataTransfer?.types.includes("Files");
    document.addEventListener("dragenter", (event) => {
      overlay.hidden = !(isFiles(event) && this.#model());
    });
    document.addEventListener("dragover", (event) => {
      if (isFiles(event)) {
        event.preventDefault();
      }
    });
    document.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) {
        overlay.hidden = true;
      }
    });
    document.addEventListener("drop", async (event) => {
      overlay.hidden = true;
      if (!isFiles(event)) {
        return;
      }
      event.preventDefault();
      const { files, name } = await dropped(event.dataTransfer);
      await this.add(files, name);
    });
  }
}

/** The last part of an address, or of a run's whose adapter it is. */
function nameOf(source) {
  if (typeof source !== "string" && !(source instanceof URL)) {
    return "adapter";
  }
  const parts = String(source).split(/[?#]/)[0].split("/").filter(Boolean);
  const named = parts.at(-1) === "adapter" && parts.length > 2 ? parts.at(-2) : parts.at(-1);
  return named ? decodeURIComponent(named) : "adapter";
}

/** The files of a drop, those of a folder's first level among them, and the folder's name. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...transfer.files];
  const folder = entries.find((entry) => entry.isDirectory);
  if (!folder) {
    return { files, name: undefined };
  }
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) {
      break;
    }
    found.push(...some.filter((entry) => entry.isFile));
  }
  const file = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));
  return { files: await Promise.all(found.map(file)), name: folder.name };
}

// AnyLoRA in a browser: a quantized model and LoRA adapters on the visitor's GPU. Everything heavy runs in a worker.
import { AnyLoraError } from "./errors.js";
import { cachedBytes, clearCache } from "./store.js";

export { AnyLoraError, cachedBytes, clearCache };

/** Loads a pack from its folder's address. See index.d.ts. */
export async function load(url, { onProgress, signal, cache = true } = {}) {
  const worker = new Connection();
  try {
    const args = { url: folder(url), cache };
    const info = await worker.call("load", args, { signal, onEvent: onProgress });
    return new Model(worker, info);
  } catch (error) {
    worker.close();
    throw error;
  }
}

/** The absolute address of a folder, with a slash at its end. */
function folder(url) {
  const { href } = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  return href.endsWith("/") ? href : `${href}/`;
}

/** A model on the GPU. Made by load(). */
class Model {
  #worker;
  #adapters = new Map();
  #current = { adapter: null, scale: 1 };

  constructor(worker, info) {
    this.#worker = worker;
    this.info = Object.freeze(info);
    this.lost = worker.lost;
  }

  get adapters() {
    return [...this.#adapters.values()];
  }

  async addAdapter(source, { name, signal } = {}) {
    const args = { ...adapterSource(source), name: name ?? adapterName(source) };
    const info = await this.#worker.call("addAdapter", args, { signal });
    this.#adapters.set(info.name, Object.freeze(info));
    return info;
  }

  async removeAdapter(name) {
    this.#known(name);
    this.#adapters.delete(name);
    if (this.#current.adapter === name) {
      this.#current = { adapter: null, scale: 1 };
    }
    await this.#worker.call("removeAdapter", { name });
  }

  setAdapter(name, { scale = 1 } = {}) {
    if (name !== null) {
      this.#known(name);
    }
    if (!Number.isFinite(scale)) {
      throw new AnyLoraError("argument", `scale: expected a number, found ${scale}`);
    }
    this.#current = { adapter: name, scale };
  }

  generate(prompt, options = {}) {
    const { signal, ...settings } = options;
    return new Generation(this.#worker, this.#request(prompt, settings), signal);
  }

  async logits(prompt, options = {}) {
    const { signal, ...settings } = options;
    return this.#worker.call("logits", this.#request(prompt, settings), { signal });
  }

  async memory() {
    return this.#worker.call("memory");
  }

  async dispose() {
    if (!this.#worker.closed) {
      // A worker that crashed frees its memory by ending.
      await this.#worker.call("dispose").catch(() => {});
      this.#worker.close();
    }
  }

  #known(name) {
    if (!this.#adapters.has(name)) {
      const names = [...this.#adapters.keys()].join(", ") || "none";
      throw new AnyLoraError("adapter", `no adapter is named ${JSON.stringify(name)}; there are: ${names}`, "await model.addAdapter(url, {name})");
    }
  }

  /** What the engine takes: undefined settings are left to its defaults. */
  #request(prompt, settings) {
    const { adapter, scale, ...rest } = settings;
    const request = { ...rest, prompt };
    request.adapter = adapter === undefined ? this.#current.adapter : adapter;
    request.scale = scale ?? (adapter === undefined ? this.#current.scale : 1);
    if (request.adapter !== null) {
      this.#known(request.adapter);
    }
    return request;
  }
}

/** The files of an adapter, or their folder's address. */
function adapterSource(source) {
  if (typeof source === "string" || source instanceof URL) {
    return { url: folder(source) };
  }
  if (source?.config instanceof Blob && source?.weights instanceof Blob) {
    return { config: source.config, weights: source.weights };
  }
  const files = source && typeof source[Symbol.iterator] === "function" ? [...source] : [];
  const config = files.find((file) => file.name === "adapter_config.json");
  const weights =
    files.find((file) => file.name === "adapter_model.safetensors") ??
    files.find((file) => file.name?.endsWith(".safetensors"));
  if (!config || !weights) {
    const found = files.map((file) => file.name).join(", ") || "nothing";
    throw new AnyLoraError(
      "adapter",
      `expected adapter_config.json and adapter_model.safetensors, found ${found}`,
      "choose both files of the adapter's folder",
    );
  }
  return { config, weights };
}

/** The folder's name, or that of what lies around a folder that is just called adapter. */
function adapterName(source) {
  let path = "";
  if (typeof source === "string" || source instanceof URL) {
    path = new URL(folder(source)).pathname;
  } else if (source && typeof source[Symbol.iterator] === "function") {
    path = [...source][0]?.webkitRelativePath?.replace(/[^/]*$/, "") ?? "";
  }
  const names = path.split("/").filter(Boolean);
  return decodeURIComponent(names.at(-1) ?? "adapter");
}

/** An answer in the making: iterate over it, or take it whole with text(). */
class Generation {
  #worker;
  #request;
  #signal;
  #items = [];
  #wake = () => {};
  #started = false;
  #ended = false;
  #error = null;
  #abort = new AbortController();
  #resolveStats;
  #rejectStats;

  constructor(worker, request, signal) {
    this.#worker = worker;
    this.#request = request;
    this.#signal = signal;
    this.stats = new Promise((resolve, reject) => {
      this.#resolveStats = resolve;
      this.#rejectStats = reject;
    });
    // Whoever iterates sees the error there.
    this.stats.catch(() => {});
  }

  #start() {
    if (this.#started) {
      throw new AnyLoraError("argument", "an answer can be read once", "call generate() again");
    }
    this.#started = true;
    const abort = () => this.#abort.abort();
    if (this.#signal?.aborted) {
      abort();
    }
    this.#signal?.addEventListener("abort", abort, { once: true });
    const onEvent = (item) => {
      this.#items.push(item);
      this.#wake();
    };
    this.#worker
      .call("generate", this.#request, { onEvent, softSignal: this.#abort.signal })
      .then(
        (stats) => this.#resolveStats(stats),
        (error) => {
          this.#error = error;
          this.#rejectStats(error);
        },
      )
      .finally(() => {
        this.#signal?.removeEventListener("abort", abort);
        this.#ended = true;
        this.#wake();
      });
  }

  async *[Symbol.asyncIterator]() {
    this.#start();
    try {
      for (;;) {
        while (this.#items.length > 0) {
          yield this.#items.shift();
        }
        if (this.#ended) {
          break;
        }
        await new Promise((resolve) => {
          this.#wake = resolve;
        });
      }
      if (this.#error) {
        throw this.#error;
      }
      if (this.#signal?.aborted) {
        throw new AnyLoraError("aborted", "the answer was broken off");
      }
    } finally {
      // A loop that was left early ends the answer.
      this.#abort.abort();
    }
  }

  async text() {
    let text = "";
    for await (const item of this) {
      text += item.text;
    }
    return text;
  }
}

/** The worker: calls, their events, and its end. */
class Connection {
  #worker;
  #calls = new Map();
  #next = 1;
  #resolveLost;
  closed = false;

  constructor() {
    this.lost = new Promise((resolve) => {
      this.#resolveLost = resolve;
    });
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault?.();
      this.#crash(event.message || "the worker could not be started");
    };
  }

  /**
   * Calls a method of the worker. `signal` rejects at once and tells the worker; `softSignal` only tells it, so that the
   * call ends with what there is.
   */
  call(method, args = {}, { signal, softSignal, onEvent } = {}) {
    if (this.closed) {
      return Promise.reject(new AnyLoraError("disposed", "the model was disposed", "load it again"));
    }
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#worker.postMessage({ id, abort: true });
        if (signal?.aborted) {
          this.#calls.delete(id);
          reject(new AnyLoraError("aborted", "it was broken off"));
        }
      };
      const done = (settle) => (value) => {
        signal?.removeEventListener("abort", abort);
        softSignal?.removeEventListener("abort", abort);
        settle(value);
      };
      this.#calls.set(id, { resolve: done(resolve), reject: done(reject), onEvent });
      this.#worker.postMessage({ id, method, args });
      for (const each of [signal, softSignal]) {
        if (each?.aborted) {
          abort();
        } else {
          each?.addEventListener("abort", abort, { once: true });
        }
      }
    });
  }

  #receive({ id, value, error, event, lost }) {
    if (lost !== undefined) {
      this.#resolveLost(lost);
      return;
    }
    const call = this.#calls.get(id);
    if (!call) {
      return;
    }
    if (event !== undefined) {
      call.onEvent?.(event);
      return;
    }
    this.#calls.delete(id);
    if (error) {
      call.reject(new AnyLoraError(error.code, error.message, error.hint));
    } else {
      call.resolve(value);
    }
  }

  #crash(message) {
    this.#resolveLost(message);
    this.#end(new AnyLoraError("internal", message, "reload the page"));
  }

  #end(error) {
    for (const call of this.#calls.values()) {
      call.reject(error);
    }
    this.#calls.clear();
  }

  close() {
    this.closed = true;
    this.#worker.terminate();
    this.#end(new AnyLoraError("disposed", "the model was disposed", "load it again"));
  }
}

// The parts of a pack: fetched, verified and kept. Nothing leaves this module that has not the manifest's SHA-256.
//
// Parts go through the store where there is one: bytes are written as they come, so that a download that is cut off
// goes on from there, even in the next visit; a whole file is read back, verified, and handed out. Without a store a part
// is in memory until it is handed out.

import { PATIENCE, download } from "./download.js";
import { AnyLoraError, aborted, throwIfAborted } from "./errors.js";
import { parseManifest } from "./manifest.js";
import { openStore } from "./store.js";

/** What is handed out at a time. */
export const PIECE_BYTES = 8 * 1024 * 1024;

/** A manifest lists a thousand parts in 200 KB. */
const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

/** Shards that are fetched before they are asked for: on the disk, or one in memory. */
const AHEAD = { stored: 3, memory: 1 };

/** Milliseconds between two reports of progress. */
const REPORT = 50;

/** The browser has no use for it: shards say themselves what is in them. */
const INDEX = "model.safetensors.index.json";

/**
 * @typedef {import('./manifest.js').Manifest} Manifest
 * @typedef {import('./manifest.js').Part} Part
 * @typedef {{phase: 'download', loaded: number, total: number, cached: number}} Progress
 * Bytes: `loaded` are here, `cached` of them were here from another visit.
 *
 * @typedef {Object} Pack
 * @property {Manifest} manifest
 * @property {string} base The address of its folder.
 * @property {(path: string) => Promise<Uint8Array>} file A file beside the weights.
 * @property {(shard: string) => AsyncGenerator<Uint8Array>} stream A shard, by its path, in pieces of at most {@link PIECE_BYTES};
 * the first comes when all of them are verified. The following shards are fetched meanwhile.
 * @property {() => void} close Ends what is still being fetched.
 */

/**
 * Opens the pack whose folder (or manifest.json) is at `url`.
 *
 * @param {string | URL} url
 * @param {{cache?: boolean, signal?: AbortSignal, onProgress?: (progress: Progress) => void,
 *   store?: import('./store.js').Store | null, fetch?: typeof fetch, patience?: typeof PATIENCE}} [options]
 * `cache`: keep the parts for the next visit (true). `store`, `fetch` and `patience` replace the browser's own.
 * @returns {Promise<Pack>}
 * @throws {AnyLoraError} `network`, `format`, `aborted`.
 */
export async function openPack(url, options = {}) {
  const { cache = true, signal } = options;
  throwIfAborted(signal);
  const base = folder(url);
  const store = cache ? (options.store ?? (await openStore())) : null;
  const text = await fetchManifest(base, store, options);
  const parts = new Parts(base, parseManifest(text), store, options);
  if (store) {
    // For a visit without a network.
    await keepManifest(store, base, text);
  }
  return parts;
}

/** The folder that an address means, with a slash at its end. */
function folder(url) {
  let address;
  try {
    address = new URL(url, globalThis.location?.href);
  } catch (cause) {
    throw new AnyLoraError("argument", `${url}: expected an address`, "for example ./model/", { cause });
  }
  address.search = "";
  address.hash = "";
  address.pathname = address.pathname.replace(/manifest\.json$/, "").replace(/\/?$/, "/");
  return address.href;
}

class Parts {
  #store;
  #options;
  /** Aborts everything, be it by the caller's signal or by {@link Parts.close}. */
  #control = new AbortController();
  /** Path to the download that was begun: its bytes, or null where they are in the store. */
  #begun = new Map();
  /** Path to bytes that are here, and how many of them were before. */
  #loaded = new Map();
  #reported = 0;
  /** The timer of a report that came too early. */
  #later;

  constructor(base, manifest, store, options) {
    this.base = base;
    this.manifest = manifest;
    this.#store = store;
    this.#options = options;
    const { signal } = options;
    signal?.addEventListener("abort", () => this.close(), { once: true });
  }

  close() {
    clearTimeout(this.#later);
    this.#control.abort();
  }

  async file(path) {
    const part = this.manifest.files.find((part) => part.path === path);
    if (!part) {
      throw new AnyLoraError("format", `manifest.json: expected ${path} among its files, found no such part`);
    }
    return this.#take(part);
  }

  async *stream(path) {
    const { shards } = this.manifest;
    const at = shards.findIndex((part) => part.path === path);
    if (at < 0) {
      throw new AnyLoraError("format", `manifest.json: expected ${path} among its shards, found no such part`);
    }
    const ahead = this.#store ? AHEAD.stored : AHEAD.memory;
    const taken = this.#take(shards[at]);
    for (const next of shards.slice(at + 1, at + 1 + ahead)) this.#begin(next);
    const bytes = await taken;
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      yield bytes.subarray(at, at + PIECE_BYTES);
    }
  }

  /** A whole part, verified. */
  async #take(part) {
    for (let again = false; ; again = true) {
      const { bytes, fresh } = await this.#begin(part);
      this.#begun.delete(part.path);
      const whole = bytes ?? (await this.#read(part));
      const found = whole && (await sha256(whole));
      if (found === part.sha256) return whole;
      await this.#store?.remove(part.sha256);
      this.#report(part, 0, 0);
      // What was kept may have been damaged since, or belong to another version of the file: it is fetched once more.
      if (fresh || again) {
        const what = `${this.base}${part.path}: expected SHA-256 ${part.sha256}, found ${found ?? "no file any more"}`;
        throw new AnyLoraError(
          "integrity",
          what,
          "the file was damaged on its way, or is not that of the manifest: load again, or pack the model again",
        );
      }
    }
  }

  /** Begins to fetch a part, or returns what was begun. `fresh`: all of it came in one go. */
  #begin(part) {
    let begun = this.#begun.get(part.path);
    if (!begun) {
      begun = this.#fetch(part);
      // A part that is fetched ahead may fail before it is asked for: then it tells who asks.
      begun.catch(() => this.#begun.delete(part.path));
      this.#begun.set(part.path, begun);
    }
    return begun;
  }

  async #fetch(part) {
    const { signal } = this.#control;
    throwIfAborted(signal);
    const kept = await this.#store?.read(part.sha256);
    if (kept?.size === part.bytes) {
      this.#report(part, part.bytes, part.bytes);
      return { bytes: null, fresh: false };
    }
    const sink = new PartSink(part.bytes, (await this.#store?.write(part.sha256)) ?? null);
    try {
      if (sink.size > part.bytes) sink.reset();
      const before = sink.size;
      this.#report(part, before, before);
      const { fetch, patience } = this.#options;
      await download(this.base + part.path, part.bytes, sink, {
        signal,
        fetch,
        patience,
        onBytes: () => this.#report(part, sink.size, Math.min(before, sink.size)),
      });
      return { bytes: sink.memory, fresh: before === 0 };
    } finally {
      const { isFull } = sink;
      sink.close();
      if (isFull) await this.#store?.remove(part.sha256);
    }
  }

  async #read(part) {
    throwIfAborted(this.#control.signal);
    const kept = await this.#store.read(part.sha256);
    return kept && new Uint8Array(await kept.arrayBuffer());
  }

  /** Counts a part's bytes, and tells the sum: not too often, but always when a part is complete. */
  #report(part, loaded, cached) {
    if (part.path === INDEX) return;
    this.#loaded.set(part.path, { loaded, cached });
    clearTimeout(this.#later);
    const wait = loaded < part.bytes ? this.#reported + REPORT - performance.now() : 0;
    if (wait <= 0) this.#tell();
    else if (!this.#control.signal.aborted) this.#later = setTimeout(() => this.#tell(), wait);
  }

  #tell() {
    this.#reported = performance.now();
    const sum = (name) => [...this.#loaded.values()].reduce((sum, bytes) => sum + bytes[name], 0);
    const index = this.manifest.files.find((part) => part.path === INDEX);
    const total = this.manifest.total_bytes - (index?.bytes ?? 0);
    this.#options.onProgress?.({ phase: "download", loaded: sum("loaded"), total, cached: sum("cached") });
  }
}

/** Bytes of a part on their way into the store, or into memory where there is none or it is full. */
class PartSink {
  #writer;
  #bytes;

  constructor(bytes, writer) {
    this.#bytes = bytes;
    this.#writer = writer;
    this.size = writer?.size ?? 0;
    /** Where the bytes are if they are in memory. */
    this.memory = writer ? null : allocate(bytes);
    /** Whether the store had no room. */
    this.isFull = false;
  }

  append(bytes) {
    if (this.memory) {
      this.memory.set(bytes, this.size);
    } else {
      try {
        this.#writer.append(bytes);
      } catch (error) {
        if (error.name !== "QuotaExceededError") throw error;
        // From here on in memory, with what the store has of this part.
        this.memory = allocate(this.#bytes);
        this.#writer.readInto(this.memory.subarray(0, this.size));
        this.isFull = true;
        this.memory.set(bytes, this.size);
      }
    }
    this.size += bytes.length;
  }

  reset() {
    if (!this.memory) this.#writer.reset();
    this.size = 0;
  }

  close() {
    this.#writer?.close();
  }
}

function allocate(bytes) {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    throw new AnyLoraError("out-of-memory", `${bytes} bytes of memory were refused`, "close other tabs", { cause });
  }
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The manifest's text from the server, or from the last visit where the server can't be reached. */
async function fetchManifest(base, store, { signal, fetch, patience }) {
  const url = `${base}manifest.json`;
  try {
    return await fetchText(url, { signal, fetch, patience });
  } catch (error) {
    const kept = error.code === "network" && !error.status ? await store?.read(await manifestName(base)) : null;
    if (kept?.size > 0) return kept.text();
    throw error;
  }
}

async function fetchText(url, { signal, fetch = globalThis.fetch, patience = PATIENCE }) {
  const silence = AbortSignal.timeout(patience.stall);
  const either = signal ? AbortSignal.any([signal, silence]) : silence;
  const unreachable = (cause) =>
    signal?.aborted
      ? aborted()
      : new AnyLoraError(
          "network",
          `${url} could not be fetched`,
          "check the address and the connection; a server of another site has to allow it (CORS)",
          { cause },
        );
  let response;
  try {
    response = await fetch(url, { cache: "no-cache", signal: either });
  } catch (cause) {
    throw unreachable(cause);
  }
  if (!response.ok) {
    await response.body?.cancel();
    const hint = response.status === 404 ? "check the address: it should be the folder of a pack" : "check the address";
    const error = new AnyLoraError("network", `${url}: the server answered ${response.status}`, hint);
    error.status = response.status;
    throw error;
  }
  const text = [];
  const decoder = new TextDecoder();
  let bytes = 0;
  try {
    for await (const chunk of chunks(response)) {
      bytes += chunk.length;
      if (bytes > MAX_MANIFEST_BYTES) break;
      text.push(decoder.decode(chunk, { stream: true }));
    }
  } catch (cause) {
    throw unreachable(cause);
  }
  if (bytes > MAX_MANIFEST_BYTES) {
    throw new AnyLoraError(
      "format",
      `${url}: expected a manifest, found more than ${MAX_MANIFEST_BYTES} bytes`,
      "check the address: it should be the folder of a pack",
    );
  }
  return text.join("") + decoder.decode();
}

/** A body piece by piece. Not every browser iterates streams. */
async function* chunks(response) {
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

const manifestName = async (base) => `manifest-${await sha256(new TextEncoder().encode(base))}`;

async function keepManifest(store, base, text) {
  const writer = await store.write(await manifestName(base));
  if (!writer) return;
  try {
    writer.reset();
    writer.append(new TextEncoder().encode(text));
  } catch {
    // Without room the next visit needs the server.
    writer.reset();
  } finally {
    writer.close();
  }
}

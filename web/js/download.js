// One file over HTTP into a sink, going on where the connection broke.

import { AnyLoraError, aborted, throwIfAborted } from "./errors.js";

/**
 * How patient a download is. Times in milliseconds.
 *
 * `stall`: without a byte for so long a connection counts as broken. `delays`: the waits before each further try;
 * progress starts them anew. `tries`: connections a file at most.
 */
export const PATIENCE = { stall: 30_000, delays: [500, 1000, 2000, 4000], tries: 50 };

/**
 * Where bytes go. `size` counts what is there; `append` may throw, which ends the download.
 *
 * @typedef {{size: number, append(bytes: Uint8Array): void | Promise<void>, reset(): void}} Sink
 */

/**
 * Fills a sink up to exactly `bytes` bytes of the file at `url`, from where it is.
 *
 * @param {string} url
 * @param {number} bytes
 * @param {Sink} sink
 * @param {{signal?: AbortSignal, fetch?: typeof fetch, patience?: typeof PATIENCE, onBytes?: () => void}} [options]
 * @throws {AnyLoraError} `network` where the server doesn't answer, refuses, or ends early again and again; `integrity`
 * where the file is longer; `aborted`.
 */
export async function download(url, bytes, sink, options = {}) {
  const { signal, patience = PATIENCE, onBytes = () => {} } = options;
  let [failures, furthest] = [0, sink.size];
  for (let tries = 1; sink.size < bytes; tries += 1) {
    throwIfAborted(signal);
    let problem;
    try {
      problem = await connect(url, bytes, sink, { ...options, patience, onBytes });
    } catch (error) {
      if (error instanceof Retry) problem = error;
      else throw error;
    }
    if (sink.size >= bytes) return;
    if (sink.size > furthest) [failures, furthest] = [0, sink.size];
    else failures += 1;
    if (failures > patience.delays.length || tries >= patience.tries) {
      throw new AnyLoraError(
        "network",
        `${url}: ${problem.message} (${sink.size} of ${bytes} bytes are here)`,
        "check the connection and load again: it goes on where it stopped",
        { cause: problem.cause },
      );
    }
    if (failures > 0) await pause(patience.delays[failures - 1], signal);
  }
}

/** A failure that another try may not meet. */
class Retry extends Error {}

/** One request. Returns or throws a {@link Retry} where the file is not complete. */
async function connect(url, bytes, sink, { signal, fetch = globalThis.fetch, patience, onBytes }) {
  // Aborted by the caller or by silence.
  const control = new AbortController();
  const stop = () => control.abort();
  signal?.addEventListener("abort", stop);
  let timer;
  const awake = () => {
    clearTimeout(timer);
    timer = setTimeout(stop, patience.stall);
  };
  const lost = (cause) => {
    if (signal?.aborted) return aborted();
    const what = control.signal.aborted ? `no byte for ${patience.stall / 1000} s` : "the connection broke";
    return new Retry(what, { cause });
  };
  awake();
  try {
    const headers = sink.size > 0 ? { Range: `bytes=${sink.size}-` } : {};
    // What is kept is kept in the store: not in the browser's cache as well.
    const request = { headers, cache: "no-store", signal: control.signal };
    const response = await fetch(url, request).catch((cause) => {
      if (signal?.aborted || control.signal.aborted) throw lost(cause);
      throw new Retry("it could not be fetched; a server of another site has to allow it (CORS)", { cause });
    });
    if (!begins(url, bytes, response, sink)) {
      await response.body?.cancel();
      return new Retry(`the server answered ${response.status}`);
    }
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read().catch((cause) => {
        throw lost(cause);
      });
      if (done) return new Retry("the server ended the file early");
      awake();
      if (sink.size + value.length > bytes) {
        await reader.cancel();
        sink.reset();
        throw new AnyLoraError(
          "integrity",
          `${url}: expected ${bytes} bytes, found more`,
          "the file is not that of the manifest: pack the model again, or ask who serves it",
        );
      }
      await sink.append(value);
      onBytes();
    }
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
    // Whatever ended this, nothing more is wanted of the connection.
    control.abort();
  }
}

/**
 * Whether an answer's body goes on where the sink ends, which is emptied where the body begins at the beginning.
 *
 * @throws {AnyLoraError} where no further try can help.
 */
function begins(url, bytes, response, sink) {
  const { status } = response;
  if (status === 206 && sink.size > 0) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("Content-Range") ?? "");
    // A server of another origin may not show the header: then the hash decides.
    if (!range && !response.headers.has("Content-Range")) return true;
    if (range && Number(range[1]) === sink.size && (range[2] === "*" || Number(range[2]) === bytes)) return true;
    sink.reset();
    return false;
  }
  if (status === 200) {
    // A server without ranges sends everything again.
    if (sink.size > 0) sink.reset();
    return true;
  }
  if (status === 416) {
    sink.reset();
    return false;
  }
  if (status === 408 || status === 429 || status >= 500) return false;
  throw new AnyLoraError(
    "network",
    `${url}: the server answered ${status}`,
    status === 404 ? "check the address" : "check the address and whether it may be read without signing in",
  );
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(aborted());
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

// The worker that owns the GPU and the model. index.js talks to it: {id, method, args} in, {id, value} or {id, error}
// out, {id, event} in between, {id, abort} to break a call off.
import init, { Loader } from "./anylora_web.js";
import { AnyLoraError, throwIfAborted } from "./errors.js";
import { openPack } from "./parts.js";

let engine = null;
/** What ended the engine for good. */
let dead = null;
/** The signals of calls under way. */
const aborts = new Map();
/** Calls that use the engine, one after the other. */
let line = Promise.resolve();

const methods = {
  async load({ url, cache }, { signal, emit }) {
    if (!navigator.gpu) {
      throw new AnyLoraError(
        "no-webgpu",
        self.isSecureContext
          ? "this browser has no WebGPU"
          : "WebGPU needs a secure address: https://, or http://localhost",
        "use a current Chrome, Edge, Safari or Firefox, and turn hardware acceleration on in its settings",
      );
    }
    let last = { loaded: 0, total: 0, cached: 0 };
    const progress = (phase) => emit({ phase, ...last });
    progress("download");
    const onProgress = ({ loaded, total, cached }) => {
      last = { loaded, total, cached };
      progress("download");
    };
    const [pack] = await Promise.all([openPack(url, { cache, onProgress, signal }), init()]);
    const loader = new Loader(JSON.stringify({ format: "anylora-pack", version: 1, ...pack.manifest }));
    try {
      for (const { path } of pack.manifest.files) {
        if (path !== INDEX) {
          loader.file(path, await pack.file(path));
        }
      }
      await loader.open();
      for (const [index, shard] of pack.manifest.shards.entries()) {
        loader.begin(index);
        for await (const piece of pack.stream(shard.path)) {
          throwIfAborted(signal);
          loader.push(piece);
        }
        // The GPU's process catches up: what is uploaded is not in memory twice.
        await loader.end();
      }
    } finally {
      pack.close();
    }
    progress("gpu");
    engine = await loader.finish();
    loader.free();
    engine.lost().then((reason) => {
      // Disposing of it loses the GPU too.
      if (!dead) {
        postMessage({ lost: reason });
      }
    });
    progress("ready");
    return JSON.parse(engine.info());
  },

  async addAdapter({ url, config, weights, name }, { signal }) {
    const files = url
      ? await Promise.all([
          download(url, "adapter_config.json", MAX_CONFIG, signal),
          download(url, "adapter_model.safetensors", MAX_WEIGHTS, signal),
        ])
      : await Promise.all([
          read(config, "adapter_config.json", MAX_CONFIG),
          read(weights, "adapter_model.safetensors", MAX_WEIGHTS),
        ]);
    throwIfAborted(signal);
    return JSON.parse(await alive().addAdapter(name, ...files));
  },

  async removeAdapter({ name }) {
    alive().removeAdapter(name);
  },

  async generate(request, { signal, emit }) {
    const start = performance.now();
    let first = start;
    let pending = null;
    const flush = () => {
      if (pending) {
        emit(pending);
        pending = null;
      }
    };
    // A token's text follows it, if it ends a character.
    const onEvent = (kind, value) => {
      if (kind === "prompt") {
        first = performance.now();
      } else if (kind === "token") {
        flush();
        pending = { token: value, text: "" };
      } else if (pending) {
        pending.text = value;
        flush();
      } else {
        emit({ token: null, text: value });
      }
      return signal.aborted;
    };
    const stats = JSON.parse(await alive().generate(JSON.stringify(request), onEvent));
    flush();
    const decodeMs = performance.now() - first;
    // The first token comes out of the prompt's pass.
    const decoded = Math.max(stats.tokens - 1, 0);
    const tokensPerSecond = decoded > 0 ? (1000 * decoded) / decodeMs : 0;
    return { ...stats, prefillMs: first - start, decodeMs, tokensPerSecond };
  },

  async logits(request) {
    return alive().logits(JSON.stringify(request));
  },

  async memory() {
    return JSON.parse(alive().memory());
  },

  async dispose() {
    dead ??= new AnyLoraError("disposed", "the model was disposed", "load it again");
    engine?.destroy();
  },
};

/** Shards say themselves what is in them. */
const INDEX = "model.safetensors.index.json";
/** Bytes that an adapter's files may have. */
const MAX_CONFIG = 1 << 20;
const MAX_WEIGHTS = 1 << 30;

function alive() {
  if (dead) {
    throw dead;
  }
  return engine;
}

async function download(folder, name, most, signal) {
  const url = new URL(name, folder);
  const network = (what) =>
    new AnyLoraError("network", `${url}: ${what}`, "check the address: it is the folder that holds the adapter's two files");
  let bytes;
  try {
    const response = await fetch(url, { signal });
    if (!response.ok) {
      throw network(`the server answers ${response.status}`);
    }
    const length = Number(response.headers.get("content-length") ?? 0);
    if (length > most) {
      await response.body?.cancel();
      throw tooLarge(name, length, most);
    }
    bytes = new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    if (error instanceof AnyLoraError) {
      throw error;
    }
    throwIfAborted(signal);
    throw network("no answer, or the site may not be read from here (CORS)");
  }
  if (bytes.length > most) {
    throw tooLarge(name, bytes.length, most);
  }
  return bytes;
}

async function read(blob, name, most) {
  if (blob.size > most) {
    throw tooLarge(name, blob.size, most);
  }
  try {
    return new Uint8Array(await blob.arrayBuffer());
  } catch (error) {
    throw new AnyLoraError("adapter", `${name} could not be read: ${error.message}`, "choose the file again");
  }
}

function tooLarge(name, bytes, most) {
  return new AnyLoraError("adapter", `${name}: expected at most ${most} bytes, found ${bytes}`, "choose a LoRA adapter");
}

/** What crosses to the page. */
function portable(error) {
  if (error instanceof AnyLoraError || typeof error?.code === "string") {
    const { code, message, hint } = error;
    return { code, message, hint: hint ?? undefined };
  }
  if (error?.name === "AbortError") {
    return { code: "aborted", message: "it was broken off" };
  }
  const message = self.anyloraPanic ?? error?.message ?? String(error);
  if (error instanceof WebAssembly.RuntimeError) {
    // The instance is in no state to go on.
    dead = new AnyLoraError("internal", `the engine failed: ${message}`, "reload the page");
    postMessage({ lost: dead.message });
    return { code: dead.code, message: dead.message, hint: dead.hint };
  }
  return { code: "internal", message, hint: "reload the page" };
}

async function run({ id, method, args }) {
  const abort = aborts.get(id);
  try {
    const emit = (event) => postMessage({ id, event });
    const value = await methods[method](args, { signal: abort.signal, emit });
    postMessage({ id, value });
  } catch (error) {
    postMessage({ id, error: portable(error) });
  } finally {
    aborts.delete(id);
  }
}

self.onmessage = ({ data }) => {
  if (data.abort) {
    aborts.get(data.id)?.abort();
    return;
  }
  aborts.set(data.id, new AbortController());
  // These wait for no answer to end.
  if ((data.method === "memory" && engine) || data.method === "dispose") {
    run(data);
  } else {
    line = line.then(() => run(data));
  }
};

// The page: finds the model, loads it, and brings conversation, adapters and settings together.

import { AnyLoraError, cachedBytes, clearCache, load } from "./anylora/index.js";
import { Adapters } from "./adapters.js";
import { Conversation } from "./conversation.js";
import { announce, byId, bytesText, countText, element } from "./dom.js";
import { alertError, hideProblem, showProblem } from "./problems.js";
import { makeSettings } from "./settings.js";

let model = null;
/** The address of the model, and what is being loaded. */
let source = null;
let loading = null;

makeSettings();
const adapters = new Adapters({ model: () => model, onChange: showModelLine });
const conversation = new Conversation({ model: () => model, adapter: () => adapters.current, onAnswer: showDevice });
makePanel();
start();

/** What `anylora web` serves, or what the page's address names; otherwise the visitor is asked. */
async function start() {
  const query = new URLSearchParams(location.search);
  const served = query.has("model") ? null : await servedSite();
  const url = query.get("model") ?? served?.model?.url;
  byId("load-form").addEventListener("submit", (event) => {
    event.preventDefault();
    open(byId("model-url").value.trim(), []);
  });
  if (typeof url !== "string") {
    byId("load-form").hidden = false;
    byId("model-url").focus();
    return;
  }
  byId("model-url").value = url;
  const more = query.getAll("adapter").map((url) => ({ url }));
  const beside = Array.isArray(served?.adapters) ? served.adapters : [];
  await open(url, [...beside, ...more]);
}

async function servedSite() {
  try {
    const response = await fetch("anylora.json", { cache: "no-cache" });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** Loads the model at an address, then adapters `{url, name?}`. */
async function open(url, wanted) {
  if (await openModel(url)) {
    adapters.forget();
    for (const { url, name } of wanted) {
      await adapters.add(url, name);
    }
    byId("add-adapter").open = model?.adapters.length === 0;
    byId("prompt").focus();
  }
}

/** Loads the model at an address in place of the one before. Says whether that went well. */
async function openModel(url) {
  loading?.abort();
  const control = new AbortController();
  loading = control;
  source = url;
  hideProblem();
  showStart(true);
  const begin = performance.now();
  try {
    await model?.dispose();
    model = null;
    const loaded = await load(url, { signal: control.signal, onProgress: showProgress });
    model = loaded;
    loaded.lost.then((reason) => loseModel(loaded, reason));
  } catch (error) {
    byId("loading").hidden = true;
    // Another address doesn't help where there is no GPU.
    byId("load-form").hidden = error.code === "no-webgpu";
    if (loading === control && error.code !== "aborted") {
      const known =
        error instanceof AnyLoraError ? error : new AnyLoraError("internal", String(error.message ?? error));
      showProblem(known, () => retry());
    }
    return false;
  } finally {
    byId("loading").hidden = true;
  }
  byId("start").hidden = true;
  for (const id of ["chat", "chat-actions"]) {
    byId(id).hidden = false;
  }
  showPanel(matchMedia("(min-width: 60rem)").matches);
  announce(`${model.info.name} is ready after ${((performance.now() - begin) / 1000).toFixed(0)} seconds`);
  if (model.info.device.isSoftware) {
    const message = "this browser computes on the CPU instead of a GPU: answers will be slow";
    alertError({ message, hint: "turn on hardware acceleration in the browser's settings" });
  }
  showModelLine();
  await showDevice();
  return true;
}

/** The same model again, with its adapters and the conversation. */
async function retry() {
  if (await openModel(source)) {
    await adapters.restore();
    byId("prompt").focus();
  }
}

function loseModel(lost, reason) {
  if (lost !== model) {
    return;
  }
  model = null;
  lost.dispose().catch(() => {});
  conversation.stop();
  const error = {
    message: `the GPU was lost: ${reason || "the browser did not say why"}`,
    hint: "the conversation stays",
  };
  alertError(error, { text: "Load the model again", run: retry });
}

function showStart(isLoading) {
  byId("start").hidden = false;
  byId("chat").hidden = true;
  byId("chat-actions").hidden = true;
  showPanel(false);
  byId("load-form").hidden = isLoading;
  byId("loading").hidden = !isLoading;
  byId("loading-bytes").textContent = "";
  byId("loading-bar").removeAttribute("value");
}

function showProgress({ phase, loaded, total, cached = 0 }) {
  const bar = byId("loading-bar");
  const labels = { download: "Loading the model", gpu: "Preparing the GPU", ready: "Ready" };
  byId("loading-label").textContent = labels[phase] ?? "Loading";
  if (total > 0 && phase === "download") {
    bar.max = total;
    bar.value = loaded;
    const kept = cached > 0 ? `, ${bytesText(cached)} of it kept from before` : "";
    byId("loading-bytes").textContent = `${bytesText(loaded)} of ${bytesText(total)}${kept}`;
  } else {
    bar.removeAttribute("value");
  }
}

function showModelLine() {
  const line = byId("model-line");
  if (!model) {
    return;
  }
  const { name } = adapters.current;
  const kinds = { nf4: "NF4", fp4: "FP4", none: "unquantized" };
  line.textContent = `${model.info.name} · ${countText(model.info.parameters)} parameters · ${kinds[model.info.quantization] ?? ""}`;
  byId("empty-adapter").textContent = name === null ? "" : `The adapter ${name} answers.`;
  byId("compare").disabled = name === null;
  byId("compare").title =
    name === null ? "Add an adapter first" : "The base model and the adapter answer the same message";
}

async function showDevice() {
  const memory = await model?.memory().catch(() => null);
  if (!memory || !model) {
    return;
  }
  const { device } = model.info;
  const rows = {
    GPU: device.name || "not told by the browser",
    "GPU memory": bytesText(memory.device),
    "of it weights": bytesText(memory.weights),
    "of it adapters": bytesText(memory.adapters),
    "Wasm memory": bytesText(memory.wasm),
    "Kept on disk": bytesText(await cachedBytes()),
    "Longest text": `${model.info.maxLength} tokens`,
  };
  const entries = Object.entries(rows).flatMap(([name, text]) => [
    element("dt", { text: name }),
    element("dd", { text }),
  ]);
  byId("device").replaceChildren(...entries);
}

function makePanel() {
  byId("panel-toggle").addEventListener("click", () => {
    showPanel(byId("panel").hidden);
    if (!byId("panel").hidden) {
      byId("panel").querySelector("input, button")?.focus();
    }
  });
  byId("loading-stop").addEventListener("click", () => {
    loading?.abort();
    showStart(false);
    byId("model-url").focus();
  });
  byId("clear-cache").addEventListener("click", async () => {
    try {
      await clearCache();
      announce("Kept models were deleted");
    } catch (error) {
      alertError({
        message: `kept models could not be deleted: ${error.message}`,
        hint: "close other tabs of this page",
      });
    }
    await showDevice();
  });
}

function showPanel(show) {
  byId("panel").hidden = !show;
  byId("panel-toggle").setAttribute("aria-expanded", show);
}

// What the browser keeps: a second visit, a download that was cut off, damage.
import assert from "node:assert/strict";
import { createReadStream, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";

import { launch } from "./chromium.js";
import { dist, pack, temporary, tiny } from "./fixtures.js";
import { serve } from "./server.js";

const SHARD = "model-00001-of-00001.safetensors";

let browser;
let site;
let context;
let folder;

before(async () => {
  folder = pack(tiny("tiny-llama"), temporary(), "--quant", "none");
  site = await serve({ "/": dist, "/pack/": folder });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await site?.close();
});

beforeEach(async () => {
  // Storage of its own.
  await context?.close();
  context = await browser.newContext();
  site.fault = null;
  site.requests.length = 0;
});

/** A visit: a new page that loads the pack; what `act` answers there. */
async function visit(act, ...args) {
  const page = await context.newPage();
  await page.goto(`${site.url}/blank.html`);
  await page.evaluate(async (url) => {
    globalThis.anylora = await import("/anylora/index.js");
    globalThis.url = url;
  }, `${site.url}/pack/`);
  const answer = await page.evaluate(act, ...args);
  await page.close();
  return answer;
}

async function loadOnce(compute = false) {
  const reports = [];
  const model = await anylora.load(url, { onProgress: (report) => reports.push(report) });
  const logits = compute ? [...(await model.logits("the", { raw: true }))] : [];
  await model.dispose();
  return { logits, reports, kept: await anylora.cachedBytes() };
}

const shards = () => site.requests.filter(({ path }) => path.endsWith(".safetensors"));

test("a second visit loads from the cache, and clearing it empties it", async () => {
  const first = await visit(loadOnce, true);
  const size = statSync(join(folder, SHARD)).size;
  const { total, loaded } = first.reports.at(-1);
  assert.equal(loaded, total);
  assert.ok(total > size && first.kept >= size, `${first.kept}`);
  const phases = first.reports.map(({ phase }) => phase);
  assert.deepEqual([...new Set(phases)], ["download", "gpu", "ready"]);
  const before = shards().length;
  assert.ok(before > 0);
  const second = await visit(loadOnce, true);
  assert.equal(shards().length, before, "a shard was asked for again");
  assert.equal(second.reports.at(-1).cached, second.reports.at(-1).loaded);
  assert.ok(first.logits.length > 0);
  assert.deepEqual(second.logits, first.logits);
  const left = await visit(async () => {
    await anylora.clearCache();
    return anylora.cachedBytes();
  });
  assert.equal(left, 0);
  await visit(loadOnce);
  assert.ok(shards().length > before);
});

test("a download that was broken off goes on where it stopped, in the next visit", async () => {
  const path = join(folder, SHARD);
  const { size } = statSync(path);
  const half = Math.floor(size / 2);
  // Half of the shard comes, and then nothing more.
  let atHalf;
  const sent = new Promise((resolve) => {
    atHalf = resolve;
  });
  await context.exposeFunction("halfIsSent", () => sent);
  site.fault = (request, response, asked) => {
    if (!asked.endsWith(SHARD)) {
      return false;
    }
    response.writeHead(200, { "content-length": size, "accept-ranges": "bytes" });
    createReadStream(path, { start: 0, end: half - 1 })
      .on("end", atHalf)
      .pipe(response, { end: false });
    return true;
  };
  const code = await visit(async () => {
    const abort = new AbortController();
    // The last pieces are on their way to the disk.
    halfIsSent().then(() => setTimeout(() => abort.abort(), 2000));
    return anylora.load(url, { signal: abort.signal }).then(
      () => null,
      (error) => error.code,
    );
  });
  assert.equal(code, "aborted");
  site.fault = null;
  site.requests.length = 0;
  const { reports } = await visit(loadOnce);
  const [{ range }] = shards();
  const start = Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);
  assert.ok(start > 0 && start <= half, `${range}`);
  assert.ok(reports.at(-1).cached >= start);
});

test("a connection that breaks is taken up again", async () => {
  const path = join(folder, SHARD);
  const { size } = statSync(path);
  let breaks = 0;
  site.fault = (request, response, asked) => {
    if (!asked.endsWith(SHARD) || breaks === 2) {
      return false;
    }
    breaks += 1;
    const start = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const end = Math.min(start + Math.floor(size / 4), size - 1);
    response.writeHead(start > 0 ? 206 : 200, {
      "content-length": size - start,
      "accept-ranges": "bytes",
      ...(start > 0 && { "content-range": `bytes ${start}-${size - 1}/${size}` }),
    });
    createReadStream(path, { start, end })
      .on("end", () => setTimeout(() => response.destroy(), 100))
      .pipe(response, { end: false });
    return true;
  };
  const { reports } = await visit(loadOnce);
  assert.equal(reports.at(-1).phase, "ready");
  assert.equal(breaks, 2);
  const starts = shards().map(({ range }) => Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0));
  assert.ok(starts.length >= 3 && starts.at(-1) > starts[0], `${starts}`);
});

test("what was damaged on the disk is fetched again", async () => {
  await visit(loadOnce);
  site.requests.length = 0;
  await visit(async () => {
    const manifest = await (await fetch(`${url}manifest.json`)).json();
    const root = await navigator.storage.getDirectory();
    const kept = await root.getDirectoryHandle("anylora");
    const file = await kept.getFileHandle(manifest.shards[0].sha256);
    const writable = await file.createWritable({ keepExistingData: true });
    await writable.write({ type: "write", position: 5000, data: new Uint8Array(100) });
    await writable.close();
  });
  const { reports } = await visit(loadOnce);
  assert.deepEqual(
    shards().map(({ range }) => range),
    [null],
  );
  assert.equal(reports.at(-1).phase, "ready");
});

test("two tabs load the same model at once", async () => {
  const visits = await Promise.all([visit(loadOnce), visit(loadOnce)]);
  assert.deepEqual(
    visits.map(({ reports }) => reports.at(-1).phase),
    ["ready", "ready"],
  );
});

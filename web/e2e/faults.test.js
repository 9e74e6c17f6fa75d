// What must not end in a dead tab: hostile files, no WebGPU, a lost GPU.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch } from "./chromium.js";
import { changedPack, dist, pack, safetensors, temporary, tiny } from "./fixtures.js";
import { serve } from "./server.js";

let browser;
let site;

before(async () => {
  const good = pack(tiny("tiny-llama"), temporary());
  site = await serve({ "/": dist, "/packs/good/": good });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await site?.close();
});

async function open(from = browser) {
  const page = await from.newPage();
  await page.goto(`${site.url}/blank.html`);
  await page.evaluate(async () => {
    globalThis.anylora = await import("/anylora/index.js");
  });
  return page;
}

/** Why a pack does not load. */
function failure(page, name) {
  return page.evaluate(
    (url) =>
      anylora.load(url, { cache: false }).then(
        () => null,
        ({ name, code, message, hint }) => ({ name, code, message, hint }),
      ),
    `${site.url}/packs/${name}/`,
  );
}

test("hostile packs end in a message, and the tab goes on", async () => {
  const page = await open();
  const good = site.folders["/packs/good/"];
  const shard = "model-00001-of-00001.safetensors";
  const header = (bytes) => JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString());
  const data = (bytes) => bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)));
  const changed = (name, change, options) => changedPack(good, name, change, options);
  const absurd = (length) =>
    changed(
      shard,
      (bytes) => {
        bytes.writeBigUInt64LE(length, 0);
        return bytes;
      },
      { honest: true },
    );
  const config = (fields) =>
    changed("config.json", (bytes) => Buffer.from(JSON.stringify({ ...JSON.parse(bytes), ...fields })), {
      honest: true,
    });
  const packs = {
    truncated: [changed(shard, (bytes) => bytes.subarray(0, bytes.length - 100)), /integrity|network/],
    "wrong hash": [changed(shard, (bytes) => ((bytes[bytes.length - 5] ^= 1), bytes)), /integrity/],
    "short but honest": [changed(shard, (bytes) => bytes.subarray(0, bytes.length - 100), { honest: true }), /format/],
    "header of 2^64 - 1": [absurd(2n ** 64n - 1n), /format/],
    "header of 2^31": [absurd(2n ** 31n), /format/],
    "header that is no JSON": [changed(shard, (bytes) => bytes.fill(0x7b, 8, 4000), { honest: true }), /format/],
    "shapes that overflow": [
      changed(
        shard,
        (bytes) => {
          const entries = header(bytes);
          entries["model.norm.weight"].shape = [4294967296, 4294967296];
          return safetensors(entries, data(bytes));
        },
        { honest: true },
      ),
      /format/,
    ],
    "a tensor that the model lacks": [
      changed(
        shard,
        (bytes) => {
          const { "model.norm.weight": norm, ...entries } = header(bytes);
          return safetensors({ ...entries, "model.other.weight": norm }, data(bytes));
        },
        { honest: true },
      ),
      /format/,
    ],
    "a config that is absurd": [config({ hidden_size: 2147483648, vocab_size: 2147483648 }), /format|limits/],
    "a million layers": [config({ num_hidden_layers: 1000000 }), /format/],
    "an unknown family": [config({ model_type: "gpt9" }), /format/],
    "a tokenizer that is none": [changed("tokenizer.json", () => Buffer.from("{}"), { honest: true }), /format/],
    "a manifest that is none": [changed("manifest.json", () => Buffer.from('{"format":1}')), /format|integrity/],
    missing: ["/nowhere", /network|format/],
  };
  for (const [name, [folder, code]] of Object.entries(packs)) {
    const url = encodeURIComponent(name);
    site.folders[`/packs/${name}/`] = folder;
    const error = await failure(page, url);
    assert.ok(error, `${name}: it loaded`);
    assert.equal(error.name, "AnyLoraError", name);
    assert.match(error.code, code, `${name}: ${error.message}`);
    assert.ok(error.message.length > 10, name);
    assert.ok(error.hint, `${name}: no hint beside ${error.message}`);
  }
  assert.equal(await failure(page, "good"), null, "the same tab loads a good one");
  await page.close();
});

test("without WebGPU the code is no-webgpu, with what to do", async () => {
  const without = await launch({ webgpu: false });
  try {
    const error = await failure(await open(without), "good");
    assert.equal(error.code, "no-webgpu");
    assert.match(error.hint, /browser/);
  } finally {
    await without.close();
  }
});

test("a lost GPU is told at once, calls fail with device-lost, and loading again works", async () => {
  const page = await open();
  await page.evaluate(async (url) => {
    globalThis.model = await anylora.load(url);
    globalThis.lost = null;
    model.lost.then((reason) => {
      globalThis.lost = reason;
    });
  }, `${site.url}/packs/good/`);
  await (await browser.newBrowserCDPSession()).send("Browser.crashGpuProcess").catch(() => {});
  await page.waitForFunction(() => globalThis.lost !== null, null, { timeout: 20000 });
  const code = await page.evaluate(() =>
    model
      .generate("the", { raw: true, maxTokens: 2 })
      .text()
      .then(
        () => null,
        (error) => error.code,
      ),
  );
  assert.equal(code, "device-lost");
  const again = await page.evaluate(async (url) => {
    await model.dispose();
    const next = await anylora.load(url);
    const text = await next.generate("the", { raw: true, maxTokens: 2 }).text();
    await next.dispose();
    return typeof text;
  }, `${site.url}/packs/good/`);
  assert.equal(again, "string");
  await page.close();
});

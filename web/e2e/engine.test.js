// The engine in Chromium against the native one, on tiny models: the same logits, the same tokens.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch } from "./chromium.js";
import { changedAdapter, dist, nativeAnswers, pack, temporary, tiny } from "./fixtures.js";
import { serve } from "./server.js";

const MODELS = { llama: "tiny-llama", mistral: "tiny-mistral", qwen2: "tiny-qwen2", qwen3: "tiny-qwen3" };
const ADAPTERS = ["lora_f32_adapter_final", "qlora_nf4dq_adapter_final"];
const MAX_TOKENS = 6;

let browser;
let site;
let page;

before(async () => {
  const folders = { "/": dist };
  for (const [name, model] of Object.entries(MODELS)) {
    folders[`/packs/${name}/`] = pack(tiny(model), temporary());
    for (const adapter of ADAPTERS) {
      folders[`/adapters/${name}/${adapter}/`] = tiny(`${model}/reference/${adapter}`);
    }
  }
  // Small shards cut the embedding by rows; unquantized weights go another way through the kernels.
  folders["/packs/dense/"] = pack(tiny("tiny-llama"), temporary(), "--quant", "none", "--max-shard-size", "100KiB");
  site = await serve(folders);
  browser = await launch();
  page = await browser.newPage();
  await page.goto(`${site.url}/blank.html`);
  await page.evaluate(async () => {
    globalThis.anylora = await import("/anylora/index.js");
  });
});

after(async () => {
  await browser?.close();
  await site?.close();
});

/** Loads a pack into the page's `model`, in place of the one before. */
async function load(name) {
  await page.evaluate(async (url) => {
    await globalThis.model?.dispose();
    globalThis.model = await anylora.load(url);
  }, `${site.url}/packs/${name}/`);
}

/** Logits and the greedy answer of the page's model. */
function answer({ prompt, adapter, scale, maxTokens }) {
  return page.evaluate(
    async ({ prompt, adapter, scale, maxTokens }) => {
      const options = { raw: true, adapter, scale };
      const logits = [...(await model.logits(prompt, options))];
      const tokens = [];
      let text = "";
      for await (const piece of model.generate(prompt, { ...options, maxTokens })) {
        if (piece.token !== null) {
          tokens.push(piece.token);
        }
        text += piece.text;
      }
      return { logits, tokens, text };
    },
    { prompt, adapter, scale, maxTokens },
  );
}

/** The largest difference relative to the largest logit. */
function difference(found, expected) {
  assert.equal(found.length, expected.length);
  const largest = Math.max(...expected.map(Math.abs));
  return Math.max(...expected.map((value, index) => Math.abs(value - found[index]))) / largest;
}

/** Two prompts, and every way of an adapter; software GPUs are slow, so that families but the first do with less. */
function cases(name) {
  const short = "the movie was";
  const long = "A long sentence, with commas, 12 numbers and more words than the first one.";
  const ways = [
    [short, null, 1],
    [short, ADAPTERS[0], 1],
    [short, ADAPTERS[1], 1],
    [short, ADAPTERS[1], 0.5],
    [long, null, 1],
    [long, ADAPTERS[1], 1],
  ];
  return ways
    .filter((_, index) => name === "llama" || [0, 1, 5].includes(index))
    .map(([prompt, adapter, scale]) => ({ prompt, adapter, scale, maxTokens: MAX_TOKENS }));
}

for (const name of [...Object.keys(MODELS), "dense"]) {
  test(`${name}: logits within 1e-4 of the native engine's, greedy tokens the same, adapters on, off and scaled`, async (t) => {
    const model = MODELS[name] ?? "tiny-llama";
    const folder = (adapter) => adapter && tiny(`${model}/reference/${adapter}`);
    const wanted = cases(name).map((each) => ({ ...each, adapter: folder(each.adapter) }));
    const expected = nativeAnswers(site.folders[`/packs/${name}/`], wanted);
    await load(name);
    const of = MODELS[name] ? name : "llama";
    for (const adapter of ADAPTERS) {
      const url = `${site.url}/adapters/${of}/${adapter}/`;
      const info = await page.evaluate((url) => model.addAdapter(url), url);
      assert.equal(info.name, adapter);
      assert.ok(info.rank > 0 && info.parameters > 0 && info.modules > 0);
    }
    let worst = 0;
    for (const [index, each] of cases(name).entries()) {
      const found = await answer(each);
      worst = Math.max(worst, difference(found.logits, expected[index].logits));
      assert.deepEqual(found.tokens, expected[index].tokens, JSON.stringify(each));
      assert.equal(found.text, expected[index].text);
    }
    t.diagnostic(`largest difference of logits: ${worst.toExponential(1)}`);
    assert.ok(worst <= 1e-4, `${worst}`);
    // The adapters change something, or the test says nothing.
    assert.ok(difference(expected[1].logits, expected[0].logits) > 1e-3);
    if (name === "llama") {
      assert.ok(difference(expected[3].logits, expected[2].logits) > 1e-3);
    }
  });
}

test("changing adapters and scales loads nothing again, and removing one frees its memory", async () => {
  await load("llama");
  const before = site.requests.length;
  const memories = await page.evaluate(
    async (urls) => {
      const memories = [await model.memory()];
      for (const url of urls) {
        await model.addAdapter(url);
      }
      memories.push(await model.memory());
      const answers = [];
      for (const { name } of model.adapters) {
        for (const scale of [1, 0.25, 0]) {
          model.setAdapter(name, { scale });
          answers.push((await model.logits("the", { raw: true })).join());
        }
      }
      model.setAdapter(null);
      answers.push((await model.logits("the", { raw: true })).join());
      // Scale 0 is the base model; all others differ.
      if (answers[2] !== answers[6] || answers[5] !== answers[6] || new Set(answers).size !== 5) {
        throw new Error("the answers don't change with the adapters");
      }
      for (const { name } of model.adapters) {
        await model.removeAdapter(name);
      }
      memories.push(await model.memory());
      return memories;
    },
    ADAPTERS.map((adapter) => `${site.url}/adapters/llama/${adapter}/`),
  );
  assert.equal(memories[0].adapters, 0);
  assert.ok(memories[1].adapters > 0);
  assert.equal(memories[2].adapters, 0);
  const weights = memories.map((memory) => memory.weights);
  assert.ok(weights[2] - weights[0] < 1 << 20, `${weights}`);
  const shards = site.requests.slice(before).filter(({ path }) => path.startsWith("/packs/"));
  assert.deepEqual(shards, []);
});

test("an adapter of another model says which tensor, and why; files of one go as files", async () => {
  await load("llama");
  const wide = changedAdapter(tiny("tiny-llama/reference/lora_f32_adapter_final"), (header, data) => {
    const name = Object.keys(header).find((name) => name.endsWith("lora_A.weight"));
    const [rank, inputs] = header[name].shape;
    const grown = Buffer.concat([data, Buffer.alloc(rank * 4)]);
    // The tensor goes to the end with one more input; the others close the gap.
    const size = rank * inputs * 4;
    const [start] = header[name].data_offsets;
    const moved = Buffer.concat([
      grown.subarray(0, start),
      grown.subarray(start + size),
      data.subarray(start, start + size),
    ]);
    for (const entry of Object.values(header)) {
      if (entry.data_offsets?.[0] > start) {
        entry.data_offsets = entry.data_offsets.map((offset) => offset - size);
      }
    }
    header[name] = { dtype: "F32", shape: [rank, inputs + 1], data_offsets: [data.length - size, moved.length] };
    return [header, moved];
  });
  site.folders["/adapters/wide/"] = wide;
  const errors = await page.evaluate(async (url) => {
    const failed = async (promise) =>
      promise.then(
        () => null,
        ({ code, message, hint }) => ({ code, message, hint }),
      );
    const text = (name, content) => new File([content], name);
    return [
      await failed(model.addAdapter(`${url}/adapters/wide/`)),
      await failed(model.addAdapter(`${url}/adapters/none/`)),
      await failed(model.addAdapter([text("adapter_config.json", "{")])),
      await failed(
        model.addAdapter([text("adapter_config.json", "{"), text("adapter_model.safetensors", "no")], { name: "x" }),
      ),
    ];
  }, site.url);
  const [wrong, missing, alone, broken] = errors;
  assert.equal(wrong.code, "adapter");
  assert.match(wrong.message, /`base_model\.model\.model\.layers\.\d+\..*lora_A\.weight`: expected \[8, 320\], found \[8, 321\]/);
  assert.match(wrong.hint, /base model/);
  assert.equal(missing.code, "network");
  assert.match(missing.message, /404/);
  assert.equal(alone.code, "adapter");
  assert.equal(broken.code, "adapter");
  assert.match(broken.message, /adapter_config\.json/);
  const still = await page.evaluate(async () => (await model.logits("the", { raw: true })).length);
  assert.ok(still > 0);
});

test("answers can be broken off, wait in line, and say how they ended", async () => {
  await load("llama");
  const found = await page.evaluate(async () => {
    const options = { raw: true, maxTokens: 400 };
    const abort = new AbortController();
    const aborted = model.generate("the", { ...options, signal: abort.signal });
    let seen = 0;
    let code = null;
    try {
      for await (const _ of aborted) {
        seen += 1;
        if (seen === 3) {
          abort.abort();
        }
      }
    } catch (error) {
      code = error.code;
    }
    const left = model.generate("the", options);
    for await (const _ of left) {
      break;
    }
    const [a, b] = [
      model.generate("the", { raw: true, maxTokens: 4 }),
      model.generate("the", { raw: true, maxTokens: 4 }),
    ];
    const texts = await Promise.all([a.text(), b.text()]);
    const bad = await model
      .generate("the", { raw: true, temperature: -1 })
      .text()
      .catch((error) => error.code);
    const unknown = await model
      .generate("the", { wrong: 1 })
      .text()
      .catch((error) => error.code);
    return { seen, code, texts, bad, unknown, stats: [await aborted.stats, await left.stats, await a.stats] };
  });
  assert.equal(found.code, "aborted");
  assert.ok(found.seen >= 3 && found.seen < 400);
  assert.equal(found.texts[0], found.texts[1]);
  assert.equal(found.bad, "argument");
  assert.equal(found.unknown, "argument");
  assert.deepEqual(
    found.stats.map(({ finish }) => finish),
    ["aborted", "aborted", "length"],
  );
  assert.ok(found.stats[0].tokens < 400 && found.stats[2].tokens === 4);
});

test("chat goes through the model's template, and one seed draws the same text", async () => {
  await load("llama");
  const texts = await page.evaluate(async () => {
    const messages = [{ role: "user", content: "Hello" }];
    const draw = (seed) => model.generate(messages, { temperature: 1, topP: 0.9, seed, maxTokens: 8 }).text();
    return [await draw(1), await draw(1), await draw(2)];
  });
  assert.equal(texts[0], texts[1]);
  assert.notEqual(texts[0], texts[2]);
});

test("dispose frees the GPU and ends the calls", async () => {
  await load("llama");
  const found = await page.evaluate(async () => {
    const one = model;
    globalThis.model = null;
    let lost = false;
    one.lost.then(() => {
      lost = true;
    });
    const answer = one.generate("the", { raw: true, maxTokens: 400 });
    const answering = answer.text().catch((error) => error.code);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await one.dispose();
    await one.dispose();
    const after = await one.memory().catch((error) => error.code);
    return { answering: await answering, after, lost };
  });
  assert.equal(found.after, "disposed");
  assert.match(found.answering, /^(disposed|device-lost)$/);
  assert.equal(found.lost, false);
  for (let tries = 0; page.workers().length > 0 && tries < 50; tries += 1) {
    await page.waitForTimeout(100);
  }
  assert.equal(page.workers().length, 0);
});

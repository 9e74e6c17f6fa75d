// The page as `anylora web` serves it, used as visitors do.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { launch } from "./chromium.js";
import { changedAdapter, dist, temporary, tiny } from "./fixtures.js";

const FIRST = tiny("tiny-llama/reference/lora_f32_adapter_final");
const SECOND = tiny("tiny-llama/reference/qlora_nf4dq_adapter_final");
const FILES = ["adapter_config.json", "adapter_model.safetensors"];
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser;
let server;
/** The page that most tests use: kernels are compiled once. */
let page;
const failures = [];

before(async () => {
  server = await serveWeb("--model", tiny("tiny-llama"));
  browser = await launch();
  page = await open();
  page.on("pageerror", (error) => failures.push(error.message));
});

after(async () => {
  await browser?.close();
  server?.stop();
});

/** `anylora web` with a cache of its own. */
async function serveWeb(...options) {
  const args = ["web", "--no-open", "--port", "0", "--page", dist, ...options];
  const env = { ...process.env, XDG_CACHE_HOME: temporary() };
  const child = spawn(join(process.env.ANYLORA_BUILT, "anylora"), args, { env });
  let errors = "";
  child.stderr.on("data", (data) => {
    errors += data;
  });
  const url = await new Promise((resolve, reject) => {
    child.stdout.once("data", (data) => resolve(String(data).trim()));
    child.once("exit", () => reject(new Error(errors)));
  });
  return { url, stop: () => child.kill() };
}

/** A page with the model loaded. */
async function open(url = server.url) {
  const page = await browser.newPage();
  // Software GPUs of busy machines compile kernels for a minute.
  page.setDefaultTimeout(240_000);
  await page.goto(url);
  await page.locator("#chat").waitFor();
  await settle(page);
  return page;
}

/** Settings under which a model answers the same every time. */
async function settle(page) {
  if (await page.locator("#panel").isHidden()) {
    await page.click("#panel-toggle");
  }
  await page.locator("#setting-temperature").fill("0");
  await page.locator("#setting-repetitionPenalty").fill("1");
  await page.locator("#setting-maxTokens").fill("12");
}

/** The shared page without conversation, adapters and errors. */
async function fresh() {
  await page.getByRole("button", { name: "New chat" }).click();
  const compare = page.getByRole("button", { name: "Side by side" });
  if ((await compare.getAttribute("aria-pressed")) === "true") {
    // Without an adapter it is disabled.
    await page.getByRole("radio").last().check();
    if (await compare.isEnabled()) {
      await compare.click();
    }
  }
  for (const button of await page.getByRole("button", { name: "Close" }).all()) {
    await button.click();
  }
  while ((await page.locator(".remove").count()) > 0) {
    const count = await page.locator(".remove").count();
    await page.locator(".remove").first().click();
    await page.waitForFunction((count) => document.querySelectorAll(".remove").length < count, count);
  }
  await page.locator("#add-adapter").evaluate((details) => {
    details.open = true;
  });
  await settle(page);
}

const regenerate = (page) => page.getByRole("button", { name: "Regenerate" });

/** Has the last turn answered again. */
async function again(page) {
  const old = await page.locator(".answer").last().elementHandle();
  await regenerate(page).click();
  await page.waitForFunction((old) => !old.isConnected, old);
  await regenerate(page).waitFor();
}

async function ask(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByLabel("Message", { exact: true }).press("Enter");
  await regenerate(page).waitFor();
}

/** The answers of a turn, counted from the last. */
async function answers(page, turn = -1) {
  const all = await page.locator(".turn").all();
  const found = all.at(turn).locator(".answer");
  const name = await found.locator("h3").allTextContents();
  const text = await found.locator(".text").allTextContents();
  const footer = await found.locator(".footer").allTextContents();
  return name.map((name, i) => ({ name, text: text[i], footer: footer[i] }));
}

test("an answer is written, written again, stopped; a new chat is empty", async () => {
  await fresh();
  await ask(page, "tell me a story");
  const [first] = await answers(page);
  assert.equal(first.name, "Base model");
  assert.ok(first.text.length > 0);
  assert.match(first.footer, /^\d+ tokens · [\d.]+ tokens\/s · first after [\d.]+ s/);
  assert.match(await page.locator("#announcer").textContent(), /^Base model: /);
  assert.match(await page.locator("#device").textContent(), /GPU memory[\d.]+ [KM]B/);

  await again(page);
  assert.deepEqual(
    (await answers(page)).map(({ text }) => text),
    [first.text],
  );

  await page.locator("#setting-maxTokens").fill("200");
  await page.locator("#setting-temperature").fill("1.5");
  await page.getByLabel("Message", { exact: true }).fill("and then?");
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".running .footer", { hasText: "Writing" }).waitFor();
  await page.keyboard.press("Escape");
  await regenerate(page).waitFor();
  const [stopped] = await answers(page);
  assert.match(stopped.footer, /stopped/);
  assert.ok(Number(/^(\d+) tokens/.exec(stopped.footer)[1]) < 200, stopped.footer);

  await page.getByRole("button", { name: "New chat" }).click();
  assert.equal(await page.locator(".turn").count(), 0);
  await ask(page, "tell me a story");
});

test("a conversation that is too long loses its oldest turns", async () => {
  await fresh();
  const long = "once upon a time there was a film ".repeat(6);
  for (let i = 0; i < 4; i += 1) {
    await ask(page, long);
  }
  const [last] = await answers(page);
  assert.match(last.footer, /without the first \d of the conversation's turns/);
  assert.equal(await page.locator(".alert", { hasText: "tokens" }).count(), 0);
  await ask(page, long.repeat(8));
  assert.match(await page.locator(".alert").last().textContent(), /tokens/);
});

test("adapters come from files and addresses, are chosen, scaled, compared and removed", async () => {
  await fresh();
  await ask(page, "the movie was");
  const [base] = await answers(page);

  await page.locator("#adapter-files").setInputFiles(FILES.map((name) => join(FIRST, name)));
  await page.getByText("adapter was added").waitFor();
  await page.locator("#adapter-folder").setInputFiles(SECOND);
  await page.getByText("qlora_nf4dq_adapter_final was added").waitFor();
  assert.equal(await page.getByRole("radio").count(), 3);

  // The second is in use; then the first, stronger; then none.
  await page.getByRole("button", { name: "New chat" }).click();
  await ask(page, "the movie was");
  const [second] = await answers(page);
  assert.equal(second.name, "qlora_nf4dq_adapter_final");
  await page.getByRole("radio", { name: /^adapter/ }).check();
  await page.getByLabel("Scale").fill("2");
  await again(page);
  const [first] = await answers(page);
  await page.getByLabel("Scale").fill("0");
  await again(page);
  const [none] = await answers(page);
  assert.equal(none.text, base.text);
  assert.equal(new Set([base.text, first.text, second.text]).size, 3);

  // Side by side the base model says what it said alone, and so does the adapter.
  await page.getByLabel("Scale").fill("2");
  await page.getByRole("button", { name: "Side by side" }).click();
  await page.getByRole("button", { name: "New chat" }).click();
  await ask(page, "the movie was");
  const both = await answers(page);
  assert.deepEqual(
    both.map(({ name, text }) => [name, text]),
    [
      ["Base model", base.text],
      ["adapter × 2.00", first.text],
    ],
  );

  await page.getByRole("button", { name: "Remove adapter" }).click();
  await page.getByText("adapter was removed").waitFor();
  assert.equal(await page.getByRole("radio", { name: "None" }).isChecked(), true);
  assert.equal(await page.getByRole("button", { name: "Side by side" }).isDisabled(), true);
});

test("a dropped folder's files become an adapter; one that doesn't fit says which tensor", async () => {
  await fresh();
  const drop = (folder) =>
    page.evaluate(
      (files) => {
        const transfer = new DataTransfer();
        for (const [name, bytes] of files) {
          transfer.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name));
        }
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
      },
      FILES.map((name) => [name, readFileSync(join(folder, name)).toString("base64")]),
    );
  await drop(FIRST);
  await page.getByText("adapter was added").waitFor();
  const other = changedAdapter(FIRST, (header, data) => {
    for (const entry of Object.values(header).filter(({ shape }) => shape?.[0] === 8)) {
      entry.shape = [entry.shape[1] / 2, 16];
    }
    return [header, data];
  });
  await drop(other);
  const alert = page.locator(".alert", { hasText: "lora_" });
  await alert.waitFor();
  assert.match(await alert.textContent(), /lora_A/);
  await alert.getByRole("button", { name: "Close" }).click();
  await ask(page, "the movie was");
  assert.equal((await answers(page))[0].name, "adapter");
});

test("anylora web's own adapter is in use at once, and a second visit comes from the browser's cache", async () => {
  const own = await serveWeb("--model", tiny("tiny-llama"), "--adapter", FIRST, SECOND);
  try {
    const page = await open(own.url);
    await page.getByRole("radio", { name: "qlora_nf4dq_adapter_final" }).waitFor();
    assert.equal(await page.getByRole("radio").count(), 3);
    const asked = [];
    page.on("request", (request) => asked.push(new URL(request.url()).pathname));
    await page.reload();
    await page.locator("#chat").waitFor();
    const parts = asked.filter((path) => path.startsWith("/model/"));
    assert.deepEqual(parts, ["/model/manifest.json"]);
    await page.locator("#panel").getByText("Kept on disk").waitFor();
    await page.close();
  } finally {
    own.stop();
  }
});

test("without WebGPU the page says what is missing and what to do", async () => {
  const without = await launch({ webgpu: false });
  try {
    const page = await without.newPage();
    await page.goto(server.url);
    const problem = page.locator("#problem");
    await problem.waitFor();
    assert.match(await problem.textContent(), /can't use the GPU.*Chrome or Edge.*hardware acceleration/s);
    await check(page, "no WebGPU");
  } finally {
    await without.close();
  }
});

test("a model that can't be fetched leaves the form, and another address works", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${server.url}?model=nowhere/`);
  await page.locator("#problem").waitFor();
  assert.match(await page.locator("#problem").textContent(), /nowhere\/manifest\.json: the server answered 404/i);
  await page.getByLabel("Address of a packed model").fill("model/");
  await page.getByRole("button", { name: "Load", exact: true }).click();
  await page.locator("#chat").waitFor({ timeout: 240_000 });
  await context.close();
});

/** No rule of axe is broken. */
async function check(page, what) {
  // The page's own policy keeps scripts of others out.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
  assert.deepEqual(found, [], what);
}

test("everything has a label and enough contrast, in both colors and widths", async () => {
  await fresh();
  await page.locator("#adapter-folder").setInputFiles(FIRST);
  await page.getByText("lora_f32_adapter_final was added").waitFor();
  await page.getByRole("button", { name: "Side by side" }).click();
  await ask(page, "the movie was");
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 390]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 844 });
      const what = `${colorScheme}, ${width} wide`;
      await check(page, `settings, ${what}`);
      await page.click("#panel-toggle");
      await check(page, `answers, ${what}`);
      // Nothing is wider than the screen.
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${wide} pixels too wide: ${what}`);
      await page.click("#panel-toggle");
    }
  }
});

test("a lost GPU is told, and the model comes back with its adapters and the conversation", async () => {
  const page = await open();
  await page.locator("#adapter-folder").setInputFiles(FIRST);
  await page.getByText("lora_f32_adapter_final was added").waitFor();
  await ask(page, "the movie was");
  const [before] = await answers(page);
  await (await browser.newBrowserCDPSession()).send("Browser.crashGpuProcess").catch(() => {});
  const alert = page.locator(".alert", { hasText: "The GPU was lost" });
  await alert.waitFor();
  await alert.getByRole("button", { name: "Load the model again" }).click();
  await page.locator("#chat").waitFor();
  await page.getByRole("radio", { name: "lora_f32_adapter_final" }).waitFor();
  assert.deepEqual(
    (await answers(page)).map(({ text }) => text),
    [before.text],
  );
  await again(page);
  const [now] = await answers(page);
  assert.deepEqual([now.name, now.text], [before.name, before.text]);
  await page.close();
});

test("the page's own code threw nothing", () => {
  assert.deepEqual(failures, []);
});

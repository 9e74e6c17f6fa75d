// By hand, where the tests are too small to say: node e2e/by-hand.mjs DIST PACK ADAPTER loads a real model in Chromium, and prints
// its answers, memory and speed.
import { launch } from "./chromium.js";
import { serve } from "./server.js";
const [, , dist, pack, adapter] = process.argv;
const site = await serve({ "/": dist, "/pack/": pack, "/adapter/": adapter });
const browser = await launch();
const page = await browser.newPage();
page.on("console", (message) => console.log(new Date().toISOString().slice(11, 19), message.text()));
page.on("pageerror", (error) => console.log("pageerror", error));
await page.goto(`${site.url}/blank.html`);
page.setDefaultTimeout(0);
const result = await page.evaluate(async (url) => {
  const { load } = await import("/anylora/index.js");
  const start = performance.now();
  let last = 0;
  const model = await load(`${url}/pack/`, { onProgress: ({ phase, loaded, total }) => {
    if (performance.now() - last > 3000 || phase !== "download") { last = performance.now(); console.log(phase, loaded, total); }
  }});
  console.log("loaded in", performance.now() - start, JSON.stringify(model.info), JSON.stringify(await model.memory()));
  console.log(JSON.stringify(await model.addAdapter(`${url}/adapter/`, { name: "movies" })));
  const prompt = "Review: A warm, funny film that never puts a foot wrong.\nSentiment:";
  for (const adapter of ["movies", null]) {
    const answer = model.generate(prompt, { raw: true, maxTokens: 4, adapter });
    for await (const piece of answer) console.log(adapter, JSON.stringify(piece));
    console.log(JSON.stringify(await answer.stats), JSON.stringify(await model.memory()));
  }
  const memory = await model.memory();
  await model.dispose();
  return memory;
}, site.url);
console.log(result);
await browser.close();
await site.close();

// By hand, for the README: node e2e/picture.mjs REPORT.html PICTURE.png draws the beginning of a comparison's report, down to its
// plots, as it looks on a light page.
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

import { launch } from "./chromium.js";

const [, , report, picture] = process.argv;
if (!picture) {
  console.error("expected a report and a picture: node e2e/picture.mjs compare/first/report.html report.png");
  process.exit(2);
}
const browser = await launch({ webgpu: false });
const page = await browser.newPage({ viewport: { width: 1100, height: 900 }, colorScheme: "light" });
await page.goto(pathToFileURL(resolve(report)).href);
const plots = await page.locator(".grid").first().boundingBox();
const clip = { x: 0, y: 0, width: 1100, height: Math.ceil(plots.y + plots.height + 20) };
await page.screenshot({ path: picture, clip, fullPage: true });
await browser.close();

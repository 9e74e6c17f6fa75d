// Chromium as the tests start it: WebGPU on its software GPU.
import { accessSync, constants } from "node:fs";
import { join } from "node:path";

import { chromium } from "playwright-core";

/** $CHROMIUM, or the first that is installed. */
function executable() {
  if (process.env.CHROMIUM) {
    return process.env.CHROMIUM;
  }
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    for (const folder of process.env.PATH.split(":")) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {
        // Not here.
      }
    }
  }
  throw new Error("no Chromium is here: scripts/setup e2e installs it, or CHROMIUM=/path names one");
}

/** A browser; without WebGPU where `webgpu` is false. */
export function launch({ webgpu = true } = {}) {
  const flags = ["--no-sandbox", "--disable-quic", "--no-first-run"];
  flags.push("--disable-background-networking", "--disable-component-update", "--disable-sync");
  flags.push(webgpu ? "--enable-unsafe-webgpu" : "--disable-features=WebGPU");
  return chromium.launch({
    executablePath: executable(),
    args: flags,
    ignoreDefaultArgs: ["--disable-gpu"],
  });
}

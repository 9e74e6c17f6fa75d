// manifest.json of a pack, checked before anything is fetched that it names. crates/checkpoint/src/pack has the format.

import { AnyLoraError } from "./errors.js";

/** The largest file of a pack in bytes: what is in memory at once while it is verified. */
export const MAX_PART_BYTES = 64 * 1024 * 1024;

const AGAIN = "pack the model again: anylora pack --model MODEL --out DIR";

/**
 * @typedef {{path: string, bytes: number, sha256: string}} Part
 * @typedef {{name: string, quantization: string, total_bytes: number, files: Part[], shards: Part[]}} Manifest
 */

/**
 * The manifest that a text holds.
 *
 * @param {string} text
 * @returns {Manifest}
 * @throws {AnyLoraError} `format` with the first thing that is wrong.
 */
export function parseManifest(text) {
  let manifest;
  try {
    manifest = JSON.parse(text);
  } catch (cause) {
    fail("the whole", "JSON", shown(text), "check the address: it should be the folder of a pack", cause);
  }
  if (manifest?.format !== "anylora-pack") {
    fail("`format`", '"anylora-pack"', shown(manifest?.format), "check the address: it should be the folder of a pack");
  }
  if (manifest.version !== 1) fail("`version`", "1", shown(manifest.version), AGAIN);
  if (typeof manifest.name !== "string") fail("`name`", "a text", shown(manifest.name));
  if (!["nf4", "fp4", "none"].includes(manifest.quantization)) {
    fail("`quantization`", '"nf4", "fp4" or "none"', shown(manifest.quantization));
  }
  const files = parts(manifest, "files");
  const shards = parts(manifest, "shards");
  const all = [...files, ...shards];
  if (new Set(all.map((part) => part.path.toLowerCase())).size < all.length) {
    fail("the parts", "every name once", "one twice");
  }
  for (const path of ["config.json", "tokenizer.json"]) {
    if (!files.some((part) => part.path === path)) fail("`files`", path, "no such part");
  }
  if (shards.length === 0) fail("`shards`", "at least one", "none");
  const total = all.reduce((sum, part) => sum + part.bytes, 0);
  if (manifest.total_bytes !== total) {
    fail("`total_bytes`", `${total}, the sum of all parts`, shown(manifest.total_bytes));
  }
  return { name: manifest.name, quantization: manifest.quantization, total_bytes: total, files, shards };
}

/** @returns {Part[]} */
function parts(manifest, field) {
  const list = manifest[field];
  if (!Array.isArray(list)) fail(`\`${field}\``, "a list of parts", shown(list));
  return list.map((part, i) => {
    const at = `\`${field}[${i}]`;
    const { path, bytes, sha256 } = part ?? {};
    // Nothing that means another folder or another server.
    if (typeof path !== "string" || !/^[\w-][\w.-]{0,198}$/.test(path) || path.endsWith(".")) {
      fail(`${at}.path\``, "a plain file name", shown(path));
    }
    if (!Number.isInteger(bytes) || bytes < 1 || bytes > MAX_PART_BYTES) {
      fail(`${at}.bytes\``, `a length from 1 to ${MAX_PART_BYTES}`, shown(bytes));
    }
    if (typeof sha256 !== "string" || !/^[0-9a-f]{64}$/.test(sha256)) {
      fail(`${at}.sha256\``, "64 lower-case hexadecimal digits", shown(sha256));
    }
    return { path, bytes, sha256 };
  });
}

function shown(value) {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function fail(place, expected, found, hint = AGAIN, cause = undefined) {
  throw new AnyLoraError("format", `manifest.json: ${place}: expected ${expected}, found ${found}`, hint, { cause });
}

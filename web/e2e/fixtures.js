// Packs and native answers for the tests, made once a run by the programs that scripts/e2e built.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
export const dist = join(root, "web/dist");
export const tiny = (name) => join(root, "tests/fixtures/tiny", name);

/** Where cargo put its programs. */
const built = process.env.ANYLORA_BUILT;
if (!built) {
  throw new Error("run the tests by scripts/e2e, which builds the programs that they need");
}

const folders = [];
process.on("exit", () => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

/** A folder that goes when the tests end. */
export function temporary() {
  const folder = mkdtempSync(join(tmpdir(), "anylora-e2e-"));
  folders.push(folder);
  return folder;
}

/** `anylora pack`. */
export function pack(model, out, ...options) {
  execFileSync(join(built, "anylora"), ["pack", "--model", model, "--out", out, ...options], { stdio: "pipe" });
  return out;
}

/** What the native WGSL engine answers: [{logits, tokens, text}]. */
export function nativeAnswers(model, cases) {
  const input = JSON.stringify({ model, cases });
  const options = { input, maxBuffer: 1 << 28, stdio: ["pipe", "pipe", "pipe"] };
  return JSON.parse(execFileSync(join(built, "examples/answers"), [], options).toString());
}

/** A copy of a pack whose file `name` is what `change` makes of it; `honest` puts its hash into the manifest. */
export function changedPack(pack, name, change, { honest = false } = {}) {
  const out = temporary();
  cpSync(pack, out, { recursive: true });
  const path = join(out, name);
  const bytes = change(readFileSync(path));
  writeFileSync(path, bytes);
  if (honest) {
    const manifest = JSON.parse(readFileSync(join(out, "manifest.json"), "utf8"));
    const part = [...manifest.files, ...manifest.shards].find((part) => part.path === name);
    manifest.total_bytes += bytes.length - part.bytes;
    part.bytes = bytes.length;
    part.sha256 = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(join(out, "manifest.json"), JSON.stringify(manifest));
  }
  return out;
}

/** A copy of an adapter whose tensors' bytes and header are what `change` makes of them. */
export function changedAdapter(adapter, change) {
  const out = temporary();
  cpSync(adapter, out, { recursive: true });
  const path = join(out, "adapter_model.safetensors");
  const bytes = readFileSync(path);
  const end = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, end).toString());
  writeFileSync(path, safetensors(...change(header, bytes.subarray(end))));
  return out;
}

export function safetensors(header, data) {
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
}

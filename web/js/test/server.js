// A small pack on a real HTTP server whose faults each test chooses, and a store on the disk.

import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { openSync, closeSync, ftruncateSync, readFileSync, readSync, rmSync, statSync, writeSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Files of a pack with three shards, the manifest among them. */
export function makePack({ shardBytes = 300_000 } = {}) {
  const files = { "config.json": Buffer.from('{"model_type":"llama"}'), "tokenizer.json": Buffer.from("{}") };
  const shards = {};
  for (let i = 1; i <= 3; i += 1) shards[`model-0000${i}-of-00003.safetensors`] = randomBytes(shardBytes + i);
  const part = ([path, bytes]) => ({ path, bytes: bytes.length, sha256: sha256(bytes) });
  const manifest = {
    format: "anylora-pack",
    version: 1,
    name: "Tiny",
    quantization: "nf4",
    files: Object.entries(files).map(part),
    shards: Object.entries(shards).map(part),
  };
  manifest.total_bytes = [...manifest.files, ...manifest.shards].reduce((sum, part) => sum + part.bytes, 0);
  return { manifest, files, shards };
}

/**
 * Serves a pack. `fault(request, response, bytes)` may answer itself and return true. `requests` lists what was asked
 * for: path and range.
 */
export async function serve(pack, { ranges = true, fault = () => false } = {}) {
  const requests = [];
  const site = { fault, ranges };
  const server = createServer((request, response) => {
    const path = request.url.slice(1);
    requests.push({ path, range: request.headers.range });
    const manifest = Buffer.from(JSON.stringify(pack.manifest));
    const bytes = path === "manifest.json" ? manifest : (pack.files[path] ?? pack.shards[path]);
    if (site.fault(request, response, bytes)) return;
    if (!bytes) {
      response.writeHead(404).end();
      return;
    }
    const range = site.ranges && /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
    if (!range) {
      response.writeHead(200, { "Content-Length": bytes.length }).end(bytes);
      return;
    }
    const from = Number(range[1]);
    if (from >= bytes.length) {
      response.writeHead(416, { "Content-Range": `bytes */${bytes.length}` }).end();
      return;
    }
    const content = `bytes ${from}-${bytes.length - 1}/${bytes.length}`;
    response.writeHead(206, { "Content-Range": content, "Content-Length": bytes.length - from });
    response.end(bytes.subarray(from));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${server.address().port}/`, requests, site, close };
}

/** Sends the first `count` bytes of an answer that promises all of them, and breaks the connection. */
export function cut(response, bytes, count, head = {}, status = 200) {
  response.writeHead(status, { "Content-Length": bytes.length, ...head });
  response.write(bytes.subarray(0, count), () => setTimeout(() => response.destroy(), 20));
  return true;
}

/** A store in a folder, with room for `room` bytes. */
export function diskStore({ room = Infinity } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "anylora-store-"));
  const open = new Set();
  const path = (name) => join(folder, name);
  return {
    folder,
    path,
    async read(name) {
      try {
        return new Blob([readFileSync(path(name))]);
      } catch {
        return null;
      }
    },
    async write(name) {
      if (open.has(name)) return null;
      open.add(name);
      const file = openSync(path(name), "a+");
      return {
        size: statSync(path(name)).size,
        append(bytes) {
          if (this.size + bytes.length > room) throw new DOMException("full", "QuotaExceededError");
          writeSync(file, bytes);
          this.size += bytes.length;
        },
        readInto(bytes) {
          readSync(file, bytes, 0, bytes.length, 0);
        },
        reset() {
          ftruncateSync(file, 0);
          this.size = 0;
        },
        close() {
          closeSync(file);
          open.delete(name);
        },
      };
    },
    async remove(name) {
      rmSync(path(name), { force: true });
    },
    delete() {
      rmSync(folder, { recursive: true });
    },
  };
}

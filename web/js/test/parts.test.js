import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { afterEach, test } from "node:test";

import { AnyLoraError } from "../errors.js";
import { openPack } from "../parts.js";
import { cut, diskStore, makePack, serve } from "./server.js";

/** Impatient: tests don't wait. */
const patience = { stall: 400, delays: [1, 1, 1], tries: 20 };

const FIRST = "model-00001-of-00003.safetensors";

const closing = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function site(pack, options) {
  const server = await serve(pack, options);
  closing.push(server.close);
  return server;
}

function store(options) {
  const made = diskStore(options);
  closing.push(() => made.delete());
  return made;
}

async function collect(pieces) {
  const all = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

const open = (server, options = {}) => openPack(server.url, { store: null, patience, ...options });

/** All shards, compared with what was packed. */
async function readAll(opened, pack) {
  for (const [path, expected] of Object.entries(pack.shards)) {
    assert.deepEqual(await collect(opened.stream(path)), expected);
  }
}

/** What a promise is refused with, which is one of ours. */
async function refused(promise, code) {
  const error = await promise.then(
    () => assert.fail("not refused"),
    (error) => error,
  );
  assert.ok(error instanceof AnyLoraError, error);
  assert.equal(error.code, code, error.message);
  return error;
}

const shard = (server) => server.requests.filter((request) => request.path.startsWith("model-"));

for (const kept of [true, false]) {
  test(`a pack comes whole, ${kept ? "with" : "without"} a store`, async () => {
    const pack = makePack();
    const server = await site(pack);
    const seen = [];
    const onProgress = (progress) => seen.push(progress);
    const opened = await open(server, { store: kept ? store() : null, onProgress });
    assert.equal(opened.manifest.name, "Tiny");
    assert.deepEqual(Buffer.from(await opened.file("config.json")), pack.files["config.json"]);
    await opened.file("tokenizer.json");
    await readAll(opened, pack);
    const total = pack.manifest.total_bytes;
    assert.deepEqual(seen.at(-1), { phase: "download", loaded: total, total, cached: 0 });
    assert.equal(server.requests.length, 6);
    await refused(opened.file("vocab.json"), "format");
  });
}

test("pieces are small enough for the device", async () => {
  const pack = makePack({ shardBytes: 20 * 1024 * 1024 });
  const opened = await open(await site(pack));
  const lengths = [];
  for await (const piece of opened.stream(FIRST)) lengths.push(piece.length);
  assert.deepEqual(lengths, [8388608, 8388608, 4194305]);
  opened.close();
});

test("a second visit fetches nothing but the manifest, and needs no server for that", async () => {
  const pack = makePack();
  const server = await site(pack);
  const kept = store();
  await readAll(await open(server, { store: kept }), pack);
  server.requests.length = 0;
  const seen = [];
  const again = await open(server, { store: kept, onProgress: (progress) => seen.push(progress) });
  await readAll(again, pack);
  assert.deepEqual(
    server.requests.map(({ path }) => path),
    ["manifest.json"],
  );
  const bytes = Object.values(pack.shards).reduce((sum, bytes) => sum + bytes.length, 0);
  assert.deepEqual([seen.at(-1).cached, seen.at(-1).loaded], [bytes, bytes]);
  await server.close();
  await readAll(await open(server, { store: kept }), pack);
});

test("what was kept and has changed is fetched again", async () => {
  const pack = makePack();
  const server = await site(pack);
  const kept = store();
  await readAll(await open(server, { store: kept }), pack);
  const { sha256 } = pack.manifest.shards[1];
  const bytes = readFileSync(kept.path(sha256));
  bytes[1000] ^= 1;
  writeFileSync(kept.path(sha256), bytes);
  server.requests.length = 0;
  await readAll(await open(server, { store: kept }), pack);
  assert.deepEqual(shard(server), [{ path: pack.manifest.shards[1].path, range: undefined }]);
  assert.deepEqual(readFileSync(kept.path(sha256)), Object.values(pack.shards)[1]);
});

test("a download that is cut off goes on in the same visit", async () => {
  const pack = makePack();
  let cuts = 0;
  const fault = (request, response, bytes) => {
    if (!request.url.includes("model-00001") || cuts >= 2) return false;
    cuts += 1;
    const from = Number(/\d+/.exec(request.headers.range ?? "0")[0]);
    const head = from ? { "Content-Range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {};
    return cut(response, bytes.subarray(from), 100_000, head, from ? 206 : 200);
  };
  const server = await site(pack, { fault });
  const opened = await open(server);
  assert.deepEqual(await collect(opened.stream(FIRST)), Object.values(pack.shards)[0]);
  const ranges = shard(server)
    .filter(({ path }) => path.includes("00001"))
    .map(({ range }) => range);
  assert.equal(ranges.length, 3);
  assert.equal(ranges[0], undefined);
  const starts = ranges.slice(1).map((range) => Number(/^bytes=(\d+)-$/.exec(range)[1]));
  assert.ok(0 < starts[0] && starts[0] < starts[1] && starts[1] <= 200_000, ranges);
});

test("a download that was cut off goes on in the next visit", async () => {
  const pack = makePack();
  const server = await site(pack);
  const kept = store();
  const control = new AbortController();
  server.site.fault = (request, response, bytes) => {
    if (!request.url.includes("model-")) return false;
    // The rest never comes.
    response.writeHead(200, { "Content-Length": bytes.length });
    response.write(bytes.subarray(0, 200_000));
    return true;
  };
  const onProgress = ({ loaded }) => loaded >= 200_000 && setTimeout(() => control.abort(), 30);
  const first = await open(server, { store: kept, signal: control.signal, onProgress });
  await refused(collect(first.stream(FIRST)), "aborted");
  server.site.fault = () => false;
  server.requests.length = 0;
  const second = await open(server, { store: kept });
  await readAll(second, pack);
  const [{ range }] = shard(server);
  const from = Number(/^bytes=(\d+)-$/.exec(range)[1]);
  assert.ok(from > 0 && from <= 200_000, range);
});

test("the rest of another file is told from its hash, and everything fetched again", async () => {
  const pack = makePack();
  const server = await site(pack);
  const kept = store();
  const { sha256, path } = pack.manifest.shards[0];
  writeFileSync(kept.path(sha256), Buffer.alloc(1000, 7));
  await readAll(await open(server, { store: kept }), pack);
  const ranges = shard(server)
    .filter((request) => request.path === path)
    .map(({ range }) => range);
  assert.deepEqual(ranges, ["bytes=1000-", undefined]);
});

test("a server without ranges sends everything again", async () => {
  const pack = makePack();
  let isCut = false;
  const fault = (request, response, bytes) => {
    if (isCut || !request.url.includes("model-00001")) return false;
    isCut = true;
    return cut(response, bytes, 100_000);
  };
  const server = await site(pack, { ranges: false, fault });
  await readAll(await open(server), pack);
});

test("wrong ranges end with the whole file", async () => {
  const pack = makePack();
  const kept = store();
  writeFileSync(kept.path(pack.manifest.shards[0].sha256), Object.values(pack.shards)[0].subarray(0, 5000));
  const fault = (request, response, bytes) => {
    if (!request.headers.range) return false;
    response.writeHead(206, { "Content-Range": `bytes 0-${bytes.length - 1}/${bytes.length}` }).end(bytes);
    return true;
  };
  await readAll(await open(await site(pack, { fault }), { store: kept }), pack);
});

test("without room parts go through memory", async () => {
  const pack = makePack();
  const kept = store({ room: 150_000 });
  await readAll(await open(await site(pack), { store: kept }), pack);
  for (const { sha256 } of pack.manifest.shards) assert.equal(await kept.read(sha256), null);
});

test("a part that another tab is writing goes through memory", async () => {
  const pack = makePack();
  const kept = store();
  const other = await kept.write(pack.manifest.shards[0].sha256);
  await readAll(await open(await site(pack), { store: kept }), pack);
  assert.equal(other.size, 0);
  other.close();
});

// Hostile and broken servers: shard 1 is what they lie about.
const hostile = {
  "a short body": ["network", (response, bytes) => response.writeHead(200).end(bytes.subarray(0, 1000))],
  "a body that is cut again and again": ["network", (response, bytes) => cut(response, bytes, 10)],
  "a long body": ["integrity", (response, bytes) => response.writeHead(200).end(Buffer.concat([bytes, bytes]))],
  "an endless body": [
    "integrity",
    (response, bytes) => {
      response.writeHead(200);
      const more = () => {
        while (!response.destroyed && response.write(bytes));
        if (!response.destroyed) response.once("drain", more);
      };
      more();
    },
  ],
  "other bytes": ["integrity", (response, bytes) => response.writeHead(200).end(Buffer.alloc(bytes.length))],
  silence: ["network", () => {}],
  "half a body and then silence": ["network", (response, bytes) => response.writeHead(200).write(bytes.subarray(9))],
  "an answer of 404": ["network", (response) => response.writeHead(404).end()],
  "an answer of 500": ["network", (response) => response.writeHead(500).end()],
  "an answer of 204": ["network", (response) => response.writeHead(204).end()],
  "an answer of 206 that nobody asked for": [
    "network",
    (response, bytes) => response.writeHead(206, { "Content-Range": "bytes 0-9/10" }).end(bytes.subarray(0, 10)),
  ],
  "no answer": ["network", (response) => response.destroy()],
};
for (const [name, [code, answer]] of Object.entries(hostile)) {
  for (const kept of [true, false]) {
    test(`${name} ends in an error, ${kept ? "with" : "without"} a store`, async () => {
      const pack = makePack();
      const fault = (request, response, bytes) => {
        if (!request.url.includes("model-00001")) return false;
        answer(response, bytes);
        return true;
      };
      const disk = kept ? store() : null;
      const server = await site(pack, { fault });
      const opened = await open(server, { store: disk });
      const error = await refused(collect(opened.stream(FIRST)), code);
      assert.ok(error.message.includes("model-00001-of-00003.safetensors") && error.hint, error.message);
      // What was wrong is not kept: once the server is well, so is the download.
      server.site.fault = () => false;
      await readAll(opened, pack);
    });
  }
}

const manifests = {
  "no JSON": ["<!doctype html>", "expected JSON"],
  "another format": ['{"format":"x"}', "`format`"],
  "another version": [{ version: 2 }, "`version`"],
  "no shards": [{ shards: [] }, "`shards`"],
  "a shard that is nothing": [{ shards: [null] }, "`shards[0].path`"],
  "a path out of the folder": [{ shards: [{ path: "../x", bytes: 1, sha256: "0".repeat(64) }] }, "`shards[0].path`"],
  "another server": [
    { shards: [{ path: "https://example.org/x", bytes: 1, sha256: "0".repeat(64) }] },
    "`shards[0].path`",
  ],
  "an absurd length": [{ shards: [{ path: "x", bytes: 1e15, sha256: "0".repeat(64) }] }, "`shards[0].bytes`"],
  "half a byte": [{ shards: [{ path: "x", bytes: 0.5, sha256: "0".repeat(64) }] }, "`shards[0].bytes`"],
  "no hash": [{ shards: [{ path: "x", bytes: 1 }] }, "`shards[0].sha256`"],
  "another sum": [{ total_bytes: 1 }, "`total_bytes`"],
  "no config": [{ files: [] }, "config.json"],
};
for (const [name, [change, expected]] of Object.entries(manifests)) {
  test(`a manifest with ${name} is refused`, async () => {
    const pack = makePack();
    const text = typeof change === "string" ? change : JSON.stringify({ ...pack.manifest, ...change });
    const fault = (request, response) => response.writeHead(200).end(text);
    const error = await refused(open(await site(pack, { fault })), "format");
    assert.ok(error.message.includes(expected) && error.hint, error.message);
  });
}

test("a manifest without end is refused", async () => {
  const fault = (request, response) => {
    response.writeHead(200);
    const more = () => {
      while (!response.destroyed && response.write(" ".repeat(65536)));
      if (!response.destroyed) response.once("drain", more);
    };
    more();
    return true;
  };
  await refused(open(await site(makePack(), { fault })), "format");
});

test("addresses", async () => {
  const pack = makePack();
  const server = await site(pack);
  for (const url of [server.url, `${server.url}manifest.json`, `${server.url}?x#y`, new URL(server.url)]) {
    assert.equal((await openPack(url, { store: null })).base, server.url);
  }
  await refused(openPack("not an address", { store: null }), "argument");
  const missing = await refused(openPack(`${server.url}elsewhere`, { store: null, patience }), "network");
  assert.match(missing.message, /elsewhere\/manifest\.json: the server answered 404/);
  await server.close();
  await refused(open(server), "network");
});

test("an aborted signal ends everything", async () => {
  const pack = makePack();
  const server = await site(pack);
  await refused(open(server, { signal: AbortSignal.abort() }), "aborted");
  const control = new AbortController();
  const opened = await open(server, { signal: control.signal });
  control.abort();
  await refused(collect(opened.stream(FIRST)), "aborted");
  // While it waits for its next try.
  server.site.fault = (request, response) => response.destroy();
  const waiting = new AbortController();
  const patient = { ...patience, delays: [60_000] };
  server.site.fault = (request, response) => {
    if (request.url.includes("manifest")) return false;
    setTimeout(() => waiting.abort(), 30);
    response.destroy();
    return true;
  };
  const slow = await open(server, { signal: waiting.signal, patience: patient });
  await refused(collect(slow.stream(FIRST)), "aborted");
});

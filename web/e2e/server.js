// A static server of folders, with ranges, and with faults where a test wants them.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const types = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/**
 * Serves `folders`, `{"/prefix/": folder}`. `requests` lists `{path, range}` of what was asked for; `fault(request, response)`
 * may answer itself and say so by returning true. Folders may be added later.
 */
export async function serve(folders) {
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  const site = { folders, requests: [], fault: null };

  async function answer(request, response) {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    site.requests.push({ path, range: request.headers.range ?? null });
    // What the page of `anylora web` is served with.
    response.setHeader("cross-origin-opener-policy", "same-origin");
    response.setHeader("cross-origin-embedder-policy", "require-corp");
    response.setHeader("cache-control", "no-store");
    if (path === "/blank.html") {
      response.setHeader("content-type", "text/html");
      response.end("<!doctype html><title>blank</title>");
      return;
    }
    if (site.fault?.(request, response, path)) {
      return;
    }
    const prefix = Object.keys(site.folders)
      .filter((prefix) => path.startsWith(prefix))
      .sort((a, b) => b.length - a.length)[0];
    const file = prefix && join(site.folders[prefix], normalize(`/${path.slice(prefix.length)}`));
    const size = file && (await stat(file).then((found) => found.isFile() && found.size, () => false));
    if (size === false || size === undefined) {
      response.writeHead(404).end("not found");
      return;
    }
    response.setHeader("content-type", types[extname(file)] ?? "application/octet-stream");
    response.setHeader("accept-ranges", "bytes");
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const start = range ? Number(range[1]) : 0;
    const end = range?.[2] ? Math.min(Number(range[2]), size - 1) : size - 1;
    if (range && start >= size) {
      response.writeHead(416, { "content-range": `bytes */${size}` }).end();
      return;
    }
    if (range) {
      response.setHeader("content-range", `bytes ${start}-${end}/${size}`);
    }
    response.writeHead(range ? 206 : 200, { "content-length": end - start + 1 });
    if (request.method === "HEAD" || size === 0) {
      response.end();
      return;
    }
    createReadStream(file, { start, end }).pipe(response);
  }

  await new Promise((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  site.url = `http://localhost:${server.address().port}`;
  site.close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => {
      server.close(resolve);
    });
  };
  return site;
}

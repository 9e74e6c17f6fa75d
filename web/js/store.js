// Files that stay from visit to visit: the browser's private file system (OPFS). A part of a pack is named by its
// SHA-256, so that two packs share what is equal in them, and a part that changed is another file.

const FOLDER = "anylora";

/**
 * @typedef {Object} Writer
 * @property {number} size Bytes of the file so far.
 * @property {(bytes: Uint8Array) => void} append
 * @property {(bytes: Uint8Array) => void} readInto Reads the file's beginning.
 * @property {() => void} reset Makes the file empty.
 * @property {() => void} close
 *
 * @typedef {Object} Store
 * @property {(name: string) => Promise<Blob | null>} read A file, be it whole or not; null where there is none.
 * @property {(name: string) => Promise<Writer | null>} write The end of a file; null where another tab writes it.
 * @property {(name: string) => Promise<void>} remove
 */

/**
 * The store of this site; null where the browser has none (private windows of some browsers, and pages outside of
 * workers: only workers may write).
 *
 * @returns {Promise<Store | null>}
 */
export async function openStore() {
  let folder;
  try {
    if (typeof FileSystemSyncAccessHandle === "undefined") return null;
    const root = await navigator.storage.getDirectory();
    folder = await root.getDirectoryHandle(FOLDER, { create: true });
  } catch {
    return null;
  }
  return {
    async read(name) {
      try {
        return await (await folder.getFileHandle(name)).getFile();
      } catch {
        return null;
      }
    },
    async write(name) {
      try {
        return writer(await (await folder.getFileHandle(name, { create: true })).createSyncAccessHandle());
      } catch {
        return null;
      }
    },
    async remove(name) {
      // A file that another tab has open stays, and is looked at again next time.
      await folder.removeEntry(name).catch(() => {});
    },
  };
}

/** @returns {Writer} */
function writer(handle) {
  return {
    size: handle.getSize(),
    append(bytes) {
      const written = handle.write(bytes, { at: this.size });
      if (written < bytes.length) {
        handle.truncate(this.size);
        throw new DOMException("the disk is full", "QuotaExceededError");
      }
      this.size += written;
    },
    readInto(bytes) {
      handle.read(bytes, { at: 0 });
    },
    reset() {
      handle.truncate(0);
      this.size = 0;
    },
    close() {
      handle.flush();
      handle.close();
    },
  };
}

/** Bytes of all models that are kept. */
export async function cachedBytes() {
  let bytes = 0;
  try {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle(FOLDER);
    for await (const file of folder.values()) {
      if (file.kind === "file") bytes += (await file.getFile()).size;
    }
  } catch {
    // Without a folder nothing is kept.
  }
  return bytes;
}

/** Deletes all models that are kept. */
export async function clearCache() {
  const root = await navigator.storage.getDirectory();
  await root.removeEntry(FOLDER, { recursive: true }).catch((error) => {
    if (error.name !== "NotFoundError") throw error;
  });
}

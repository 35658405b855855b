// Where results go: the origin private file system (OPFS), memory, or a folder of the user's. Runs in a worker.
//
// A file is written at positions in any order, under a name that is not the final one or into a place that only appears
// when it is whole; `abort` leaves nothing behind.

import { asError, PhiquantError, quotaExceeded } from "../engine/errors.js";

/** The folder in OPFS that belongs to phiquant; each page's results lie in a folder of its own in it. */
export const FOLDER = "phiquant";

/**
 * @typedef {object} SinkFile
 * @property {string} name
 * @property {number} bytes
 * @property {(at: number, bytes: Uint8Array) => void | Promise<void>} write
 * @property {((at: number, into: Uint8Array) => void) | null} read what was written, where that is possible before the end
 */

function storageError(thrown, name) {
  if (thrown instanceof PhiquantError) return thrown;
  if (thrown?.name === "QuotaExceededError") return quotaExceeded(thrown);
  const error = asError(thrown, "storage");
  if (error.code !== "storage") return error;
  return new PhiquantError("storage", `The browser could not write ${name}: ${thrown?.message ?? thrown}.`, {
    file: name,
    cause: thrown,
  });
}

async function storing(name, action) {
  try {
    return await action();
  } catch (thrown) {
    throw storageError(thrown, name);
  }
}

async function checkQuota(bytes) {
  const { quota, usage } = (await navigator.storage?.estimate?.()) ?? {};
  if (quota !== undefined && usage !== undefined && quota - usage < bytes) {
    const error = quotaExceeded(undefined);
    error.message = `${error.message} The result needs ${(bytes / 1e6).toFixed(1)} MB, ${(Math.max(0, quota - usage) / 1e6).toFixed(1)} MB are free.`;
    throw error;
  }
}

/** Files in OPFS, through synchronous handles. */
class OpfsSink {
  static async create(folder) {
    const root = await navigator.storage.getDirectory();
    const own = await root.getDirectoryHandle(FOLDER, { create: true });
    const session = await own.getDirectoryHandle(folder.session, { create: true });
    const directory = await session.getDirectoryHandle(folder.result, { create: true });
    return new OpfsSink(session, directory, folder.result);
  }

  constructor(parent, directory, name) {
    this.parent = parent;
    this.directory = directory;
    this.name = name;
    this.open = [];
  }

  async create({ name, bytes }) {
    const handle = await this.directory.getFileHandle(`${name}.part`, { create: true });
    const access = await /** @type {any} */ (handle).createSyncAccessHandle();
    this.open.push({ name, handle, access });
    // Takes the space at once, so that a full disk is found before the work and not after it.
    access.truncate(bytes);
    return {
      name,
      bytes,
      write(at, data) {
        try {
          const written = access.write(data, { at });
          if (written !== data.length)
            throw quotaExceeded(new Error(`${written} of ${data.length} bytes were written`));
        } catch (thrown) {
          throw storageError(thrown, name);
        }
      },
      read(at, into) {
        access.read(into, { at });
      },
    };
  }

  async finish() {
    const done = [];
    for (const { name, handle, access } of this.open) {
      access.flush();
      access.close();
      await handle.move(name);
      done.push({ name, file: await (await this.directory.getFileHandle(name)).getFile() });
    }
    this.open = [];
    return done;
  }

  async abort() {
    for (const { access } of this.open) access.close();
    this.open = [];
    await this.parent.removeEntry(this.name, { recursive: true }).catch(() => {});
  }
}

/** Files in this worker's memory, in segments: one large buffer may not be had. */
class MemorySink {
  static SEGMENT = 32 << 20;

  constructor() {
    this.files = [];
  }

  async create({ name, bytes }) {
    const { SEGMENT } = MemorySink;
    const segments = [];
    try {
      for (let at = 0; at < bytes; at += SEGMENT) segments.push(new Uint8Array(Math.min(SEGMENT, bytes - at)));
    } catch (cause) {
      throw new PhiquantError("out-of-memory", `There is no memory for ${name}. Save into OPFS or a folder instead.`, {
        file: name,
        cause,
      });
    }
    this.files.push({ name, segments });
    const each = (at, data, action) => {
      for (let done = 0; done < data.length; ) {
        const segment = segments[Math.floor((at + done) / SEGMENT)];
        const offset = (at + done) % SEGMENT;
        const count = Math.min(data.length - done, segment.length - offset);
        action(segment.subarray(offset, offset + count), data.subarray(done, done + count));
        done += count;
      }
    };
    return {
      name,
      bytes,
      write: (at, data) => each(at, data, (segment, part) => segment.set(part)),
      read: (at, into) => each(at, into, (segment, part) => part.set(segment)),
    };
  }

  async finish() {
    const done = this.files.map(({ name, segments }) => ({ name, file: new File(segments, name) }));
    this.files = [];
    return done;
  }

  async abort() {
    this.files = [];
  }
}

/** Files in a folder of the user's: the browser shows them under their names when they are closed. */
class DirectorySink {
  constructor(directory) {
    this.directory = directory;
    this.open = [];
  }

  async create({ name, bytes }) {
    const existed = await this.directory.getFileHandle(name).then(
      () => true,
      () => false,
    );
    const handle = await this.directory.getFileHandle(name, { create: true });
    const writable = await handle.createWritable();
    this.open.push({ name, handle, writable, existed });
    await writable.truncate(bytes);
    return {
      name,
      bytes,
      write: (position, data) => storing(name, () => writable.write({ type: "write", position, data })),
      read: null,
    };
  }

  async finish() {
    const done = [];
    for (const { name, handle, writable } of this.open) {
      await writable.close();
      done.push({ name, file: await handle.getFile() });
    }
    this.open = [];
    return done;
  }

  async abort() {
    for (const { name, writable, existed } of this.open) {
      await writable.abort().catch(() => {});
      if (!existed) await this.directory.removeEntry(name).catch(() => {});
    }
    this.open = [];
  }
}

/**
 * @param {"opfs" | "memory" | FileSystemDirectoryHandle} kind
 * @param {{ session: string, result: string }} folder names of the page's and the result's folders in OPFS
 * @param {{ name: string, bytes: number }[]} files
 * @returns {Promise<{ files: SinkFile[], finish: () => Promise<{ name: string, file: File }[]>, abort: () => Promise<void> }>}
 */
export async function openSink(kind, folder, files) {
  const what = files.map(({ name }) => name).join(", ");
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  let sink;
  if (kind === "opfs") {
    await checkQuota(bytes);
    sink = await storing(what, () => OpfsSink.create(folder));
  } else {
    sink = kind === "memory" ? new MemorySink() : new DirectorySink(kind);
  }
  try {
    const open = [];
    for (const file of files) open.push(await storing(file.name, () => sink.create(file)));
    return {
      files: open,
      finish: () => storing(what, () => sink.finish()),
      abort: () => sink.abort(),
    };
  } catch (error) {
    await sink.abort();
    throw error;
  }
}

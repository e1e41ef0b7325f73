// What this device stores: photos, results and unfinished work, in IndexedDB. None of it is sent anywhere.

/**
 * @typedef {object} Kept
 * @property {string} id
 * @property {string} key the idempotency key of its job, so that a lost answer makes no second one
 * @property {number} created milliseconds since 1970
 * @property {string} batch which drop it came with
 * @property {string} name
 * @property {Blob} blob what was sent
 * @property {Blob | null} [seen] what the service made of it, where this browser cannot open it
 * @property {Blob | null} thumb
 * @property {number} width
 * @property {number} height
 * @property {import("./recipe.js").Recipe} recipe
 * @property {string} phase
 * @property {string | null} imageId
 * @property {string | null} jobId
 * @property {Blob | null} result
 * @property {any} job
 * @property {{code: string, sentence: string} | null} problem
 * @property {Record<string, number>} timings
 */

const STORE = "shots";
const MOST = 60; // pictures; older ones make room

/** @type {Promise<IDBDatabase> | null} */
let opened = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("retouch", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

/**
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} act
 * @returns {Promise<T>}
 */
async function within(mode, act) {
  const store = (await database()).transaction(STORE, mode).objectStore(STORE);
  return new Promise((resolve, reject) => {
    const request = act(store);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Newest first; none where the browser keeps nothing. @returns {Promise<Kept[]>} */
export async function all() {
  /** @type {Kept[]} */
  const kept = await within("readonly", (store) => store.getAll()).catch(() => []);
  return kept.sort((a, b) => b.created - a.created);
}

/** @param {Kept} kept */
export async function put(kept) {
  // A full or forbidden store must not stop processing; the picture is still on the page.
  await within("readwrite", (store) => store.put(kept)).catch(() => undefined);
}

/** @param {string} id */
export const remove = (id) => within("readwrite", (store) => store.delete(id)).catch(() => undefined);

export const clear = () => within("readwrite", (store) => store.clear()).catch(() => undefined);

/** Deletes the oldest entries beyond the limit. */
export async function trim() {
  for (const old of (await all()).slice(MOST)) await remove(old.id);
}

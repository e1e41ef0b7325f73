// What this device stores: photos, results and unfinished work, in IndexedDB. None of it is sent anywhere.

/**
 * @typedef {object} Kept
 * @property {string} id
 * @property {string} key the idempotency key of its job, so that a lost answer makes no second one
 * @property {number} created milliseconds since 1970
 * @property {number} [finished]
 * @property {string} batch which drop it came with
 * @property {string} [origin] the first of those that were made of the same photo
 * @property {string} name
 * @property {Blob} blob what was sent
 * @property {string} [address] from where the service fetches the photo, until it has
 * @property {number} [sentBytes] of the file as it came
 * @property {{width: number, height: number}} [scaledFrom] its size, where the service's limits asked for less
 * @property {Blob | null} [seen] what the service made of it, where this browser cannot open it
 * @property {Blob | null} thumb
 * @property {number} width
 * @property {number} height
 * @property {import("./recipe.js").Recipe} recipe
 * @property {Blob | null} [mask] white where the result replaces the photo
 * @property {number} [maskStrength]
 * @property {string} phase
 * @property {string | null} imageId
 * @property {string | null} jobId
 * @property {Blob | null} result
 * @property {any} job
 * @property {{code: string, sentence: string, language?: string} | null} problem
 * @property {Record<string, number>} timings
 */

const STORE = "shots";
const MOST = 1000; // finished pictures; older ones make room, unfinished ones never do
const AT_REST = ["succeeded", "failed", "canceled"];

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
 * @returns {Promise<T>} of the last request
 */
async function within(mode, act) {
  const store = (await database()).transaction(STORE, mode, { durability: "relaxed" }).objectStore(STORE);
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

/** @param {string} id @returns {Promise<Kept | undefined>} its pictures lie on the disk, not in memory */
export const get = (id) => within("readonly", (store) => store.get(id)).catch(() => undefined);

/** @param {Kept} kept @returns {Promise<boolean>} whether there was room; the picture is on the page in any case */
export const put = (kept) => within("readwrite", (store) => store.put(kept)).then(() => true, () => false);

/** Many at once, which is far quicker than one after the other. @param {Kept[]} many at least one @returns {Promise<boolean>} */
export const putAll = ([first, ...others]) => within("readwrite", (store) => others.reduce((_, kept) => store.put(kept), store.put(first)))
  .then(() => true, () => false);

/** @param {string} id */
export const remove = (id) => within("readwrite", (store) => store.delete(id)).catch(() => undefined);

/** The oldest finished ones beyond the limit. @param {Kept[]} kept newest first @returns {Kept[]} */
export const surplus = (kept) => kept.filter(({ phase, problem }) => AT_REST.includes(phase) && !problem).slice(MOST);

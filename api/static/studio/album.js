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
// Records of their own, so that a change of phase does not write them again. Older rows have them inside.
const PICTURES = /** @type {const} */ (["blob", "seen", "thumb", "mask", "result"]);
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

/** Which pictures have such a record. @type {WeakMap<Kept, Record<string, Blob>>} */
const stored = new WeakMap();

/**
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest | void} act
 * @returns {Promise<any>} its answer, once all is written
 */
async function within(mode, act) {
  const transaction = (await database()).transaction(STORE, mode, { durability: "relaxed" });
  return new Promise((resolve, reject) => {
    const request = act(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** @param {IDBKeyRange} [range] @returns {Promise<Kept[]>} none where the browser keeps nothing */
async function read(range) {
  const records = await within("readonly", (store) => store.getAll(range)).catch(() => []);
  const whole = new Map();
  for (const one of records) if (!one.of) whole.set(one.id, one);
  for (const { of, name, picture } of records) {
    const kept = whole.get(of);
    if (!kept) continue;
    kept[name] = picture;
    stored.set(kept, { ...stored.get(kept), [name]: picture });
  }
  return [...whole.values()].filter(({ blob }) => blob);
}

/** All records of a photo. @param {Kept} kept */
const rangeOf = ({ id }) => IDBKeyRange.bound(id, `${id}/~`);

/** Newest first. */
export const all = async () => (await read()).sort((a, b) => b.created - a.created);

/** What lies on the disk takes the place of what is in memory. @param {Kept} kept @param {() => boolean} isWanted */
export async function lighten(kept, isWanted) {
  const [found] = await read(rangeOf(kept));
  const { blob, result } = (found && stored.get(found)) ?? {};
  if (!result || !isWanted()) return;
  Object.assign(kept, { blob, result });
  stored.set(kept, { ...stored.get(kept), blob, result });
}

/** @param {IDBObjectStore} store @param {Kept} kept */
function write(store, kept) {
  const before = stored.get(kept) ?? {};
  const now = Object.fromEntries(PICTURES.flatMap((name) => (kept[name] ? [[name, kept[name]]] : [])));
  store.put({ ...kept, blob: null, seen: null, thumb: null, mask: null, result: null });
  for (const [name, picture] of Object.entries(now)) {
    if (picture !== before[name]) store.put({ id: `${kept.id}/${name}`, of: kept.id, name, picture });
  }
  stored.set(kept, now);
}

/** Many at once are far quicker than one after the other. @param {Kept[]} many @returns {Promise<boolean>} whether there was room */
export const put = (...many) => within("readwrite", (store) => many.forEach((kept) => write(store, kept))).then(() => true, () => {
  for (const kept of many) stored.delete(kept); // all of it, next time
  return false;
});

/** @param {Kept} kept */
export function remove(kept) {
  stored.delete(kept);
  return within("readwrite", (store) => store.delete(rangeOf(kept))).catch(() => undefined);
}

/** The oldest finished ones beyond the limit. @param {Kept[]} kept newest first @returns {Kept[]} */
export const surplus = (kept) => kept.filter(({ phase, problem }) => AT_REST.includes(phase) && !problem).slice(MOST);

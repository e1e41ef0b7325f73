// The page as an app: its files kept for when the server is away, photos shared with it or opened by it.

const SHARED = "retouch-shared";

/** @param {(files: File[]) => void} take */
export async function install(take) {
  /** @type {any} */ (window).launchQueue?.setConsumer(async (/** @type {any} */ launch) => {
    const files = await Promise.all((launch.files ?? []).map((/** @type {any} */ handle) => handle.getFile()));
    if (files.length) take(files);
  });
  if (location.search === "?shared") await takeShared(take);
  await navigator.serviceWorker?.register("offline-worker.js").catch(() => undefined);
}

/** What the service worker laid down; it is deleted before anything else is done with it. @param {(files: File[]) => void} take */
async function takeShared(take) {
  history.replaceState(null, "", location.pathname + location.hash);
  const cache = await caches.open(SHARED);
  const files = await Promise.all((await cache.keys()).map(async (request) => {
    const answer = /** @type {Response} */ (await cache.match(request));
    const name = decodeURIComponent(answer.headers.get("X-Name") ?? "photo");
    return new File([await answer.blob()], name, { type: answer.headers.get("Content-Type") ?? "" });
  }));
  await caches.delete(SHARED);
  if (files.length) take(files);
}

// Lets the page open without its server: keeps the page's own files, and passes on photos that are shared with it.
// Photos, results and everything else below v1/ are never kept here: they may belong to another key.

const SHELL = "retouch-shell-";
const EXTRA = "retouch-extra"; // super-resolution, whose addresses contain its hash
const SHARED = "retouch-shared";
const PATIENCE_MS = 4000; // for a page that can be opened from here

const scope = self.registration.scope;
/** Pages that were opened from here: their files come from here as well, so that two versions never mix. */
const opened = new Set();

self.addEventListener("install", (event) => event.waitUntil(renewed().then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const path = event.request.url.startsWith(scope) ? event.request.url.slice(scope.length).split(/[?#]/)[0] : null;
  if (path === "share" && event.request.method === "POST") event.respondWith(shared(event.request));
  else if (path === null || event.request.method !== "GET") return;
  else if (event.request.mode === "navigate" && path === "") event.respondWith(page(event));
  else if (path.startsWith("static/extra/")) event.respondWith(extra(event.request));
  else if (path.startsWith("static/") || path === "extras.json" || path === "app.webmanifest") event.respondWith(file(event));
});

/** All files of one version at once, or none. */
async function renewed() {
  const { version, files } = await (await fetch(`${scope}shell.json`, { cache: "no-store" })).json();
  const name = SHELL + version;
  if (await caches.has(name)) return;
  const cache = await caches.open(name);
  try {
    await cache.addAll(files.map((path) => new Request(scope + path, { cache: "no-cache" })));
  } catch (error) {
    await caches.delete(name);
    throw error;
  }
  for (const old of await caches.keys()) if (old.startsWith(SHELL) && old !== name) await caches.delete(old);
}

/** @param {string} url */
async function known(url) {
  const [name] = (await caches.keys()).filter((one) => one.startsWith(SHELL));
  return name ? (await caches.open(name)).match(url, { ignoreSearch: true }) : undefined;
}

/** From the server if it answers in time, and else from here. */
async function page(event) {
  const kept = await known(scope);
  const late = new Promise((_, reject) => { if (kept) setTimeout(() => reject(new Error("late")), PATIENCE_MS); });
  try {
    const answer = await Promise.race([fetch(event.request), late]);
    if (answer.ok) event.waitUntil(renewed().catch(() => undefined));
    return answer.status >= 500 && kept ? fromHere(event, kept) : answer;
  } catch (error) {
    if (!kept) throw error;
    return fromHere(event, kept);
  }
}

function fromHere(event, kept) {
  opened.add(event.resultingClientId);
  return kept;
}

async function file(event) {
  const here = () => known(event.request.url);
  if (opened.has(event.clientId)) return (await here()) ?? fetch(event.request);
  try {
    return await fetch(event.request);
  } catch (error) {
    const kept = await here();
    if (kept) return kept;
    throw error;
  }
}

async function extra(request) {
  const cache = await caches.open(EXTRA);
  const kept = await cache.match(request.url);
  if (kept) return kept;
  const answer = await fetch(request);
  if (answer.ok) await cache.put(request.url, answer.clone());
  return answer;
}

/** Photos from another app: laid down for the page, which takes and deletes them. */
async function shared(request) {
  const form = await request.formData();
  const cache = await caches.open(SHARED);
  for (const [place, photo] of form.getAll("photos").entries()) {
    const headers = { "Content-Type": photo.type, "X-Name": encodeURIComponent(photo.name) };
    await cache.put(`${scope}shared/${Date.now()}-${place}`, new Response(photo, { headers }));
  }
  return Response.redirect(`${scope}?shared`, 303);
}

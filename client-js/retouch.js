// Client of a retouch service: sends one photo, follows its job, and returns the enhanced one.

const blobOf = (file) => (file instanceof Blob ? file : new Blob([file]));
const LAST = new Set(["result", "error"]);
const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });

/** An error of the service, or a job that failed: `code` identifies it, `advice` says what to do. */
export class RetouchError extends Error {
  constructor({ detail, message, advice = "", code = "internal_error", status = 0, retryable = false }) {
    super(detail ?? message ?? code);
    Object.assign(this, { name: "RetouchError", advice, code, status, retryable });
  }
}

async function refusal(response) {
  const kind = response.headers.get("content-type") ?? "";
  const problem = kind.includes("json") ? await response.json().catch(() => ({})) : {};
  return new RetouchError({ message: `HTTP ${response.status}`, status: response.status, ...problem });
}

const worthAnother = (response) => response.status === 429 || response.status === 503;
const waitOf = (response, tries) => 1000 * Number(response?.headers.get("retry-after") ?? 0.5 * 2 ** tries);

/** A service at one address. */
export class Retouch {
  constructor({ url = globalThis.location?.origin, key, language, patience = 60_000 } = {}) {
    if (!url) throw new TypeError("url is missing: the address of a retouch service");
    this.url = String(url).replace(/\/+$/, "");
    this.patience = patience;
    this.headers = { ...(key && { Authorization: `Bearer ${key}` }), ...(language && { "Accept-Language": language }) };
  }

  /** The enhanced picture. Aborting `signal` cancels the job. */
  async enhance(file, { onUpload, onProgress, onPreview, signal, ...fields } = {}) {
    signal?.throwIfAborted();
    const job = await this.#submit(file, fields, onUpload, signal);
    try {
      await this.#follow(job, { onProgress, onPreview, signal });
      return await (await this.#ask(job.links.image, { signal })).blob();
    } catch (error) {
      if (signal?.aborted) await this.#ask(job.links.self, { method: "DELETE" }).catch(() => {});
      throw error;
    }
  }

  async #submit(file, fields, onUpload, signal) {
    const body = new FormData();
    body.append("image", blobOf(file), file.name ?? "photo");
    for (const [name, value] of Object.entries(fields))
      for (const one of [value].flat()) if (one != null) body.append(name, name === "mask" ? blobOf(one) : String(one));
    // The same key for every attempt, so that a repeated request never makes a second job.
    const headers = { "Idempotency-Key": crypto.randomUUID() };
    const send = onUpload && globalThis.XMLHttpRequest ? this.#sendWatched(onUpload) : undefined;
    const response = await this.#ask("/v1/jobs", { method: "POST", body, headers, signal }, send);
    onUpload?.(1);
    return response.json();
  }

  // fetch cannot report how much of a body has been sent.
  #sendWatched(onUpload) {
    return (url, { body, headers, signal }) =>
      new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        request.open("POST", url);
        for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
        request.upload.onprogress = ({ loaded, total }) => onUpload(total ? loaded / total : 0);
        request.onload = () => {
          const lines = request.getAllResponseHeaders().trim().split(/\r\n/).filter(Boolean);
          const known = lines.map((line) => line.split(/: (.*)/s).slice(0, 2));
          resolve(new Response(request.responseText, { status: request.status, headers: known }));
        };
        request.onerror = () => reject(new TypeError("the connection was lost"));
        request.onabort = () => reject(signal.reason);
        signal?.addEventListener("abort", () => request.abort(), { once: true });
        request.send(body);
      });
  }

  // Links of a service below a path begin with that path.
  #at(path) {
    const { origin, pathname } = new URL(this.url);
    return path.startsWith(`${pathname}/`) ? origin + path : this.url + path;
  }

  async #ask(path, { headers, ...options } = {}, send = fetch) {
    const until = Date.now() + this.patience;
    for (let tries = 0; ; tries++) {
      let response;
      try {
        response = await send(this.#at(path), { ...options, headers: { ...this.headers, ...headers } });
      } catch (error) {
        if (options.signal?.aborted || Date.now() > until) throw options.signal?.aborted ? options.signal.reason : error;
      }
      if (response && !worthAnother(response)) {
        if (response.ok) return response;
        throw await refusal(response);
      }
      if (Date.now() > until) throw await refusal(response);
      await pause(Math.min(waitOf(response, tries), 8000), options.signal);
    }
  }

  async #follow(job, { onProgress, onPreview, signal }) {
    let seen, previews = Promise.resolve();
    for (;;) {
      try {
        for await (const { id, event, data } of this.#events(job, seen, signal)) {
          seen = id;
          const state = data.state;
          if (event === "progress" && data.percent < 100) onProgress?.(data);
          // A snapshot does not say whether there is a preview already; if there is none, the answer is 409.
          const preview = event === "preview" ? data.url : data.links?.preview;
          if (preview && onPreview)
            previews = this.#ask(preview, { signal }).then((answer) => answer.blob()).then(onPreview, () => {});
          if (event === "error") throw new RetouchError(data);
          if (state === "failed" && data.error) throw new RetouchError(data.error);
          if (state === "canceled") throw new RetouchError({ code: "canceled", message: "the job was canceled" });
          if (LAST.has(event) || state === "succeeded") {
            onProgress?.({ percent: 100, stage: null });
            return await previews;
          }
        }
      } catch (error) {
        if (error instanceof RetouchError || signal?.aborted) throw error;
      }
      await pause(500, signal); // a lost stream goes on behind the last event that was seen
    }
  }

  async *#events(job, seen, signal) {
    const headers = seen ? { "Last-Event-ID": seen } : {};
    const response = await this.#ask(job.links.events, { headers, signal });
    const decoder = new TextDecoder();
    let text = "";
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
      for (let end; (end = text.search(/\r?\n\r?\n/)) >= 0; ) {
        const fields = {};
        for (const line of text.slice(0, end).split(/\r?\n/)) {
          const [, name, rest] = line.match(/^(\w+): ?(.*)$/s) ?? [];
          if (name) fields[name] = rest;
        }
        text = text.slice(end).replace(/^\r?\n\r?\n/, "");
        if (fields.data) yield { ...fields, data: JSON.parse(fields.data) };
      }
    }
  }
}

/** Enhances one photo by the service at `options.url`; in a page, that page's own service by default. */
export const enhance = (file, { url, key, language, patience, ...options } = {}) =>
  new Retouch({ url, key, language, patience }).enhance(file, options);

// Requests to the service: headers, errors as Problems, uploads with their true percentage.
import { say, served } from "./words.js";

/** An error of the service or an outage. */
export class Problem extends Error {
  /**
   * @param {string} code
   * @param {string} detail what happened, in the service's words
   * @param {number} retryAfter seconds, 0 when the service named none
   */
  constructor(code, detail, retryAfter = 0) {
    super(detail);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** @returns {Record<string, string>} */
export function headers() {
  const key = localStorage.getItem("retouch.key");
  return { "Accept-Language": served(), ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

export const hasKey = () => Boolean(localStorage.getItem("retouch.key"));

/** The message when the service does not answer. */
export const unreachable = () => new Problem("unreachable", say("e_unreachable"), 3);

/**
 * @param {string} url
 * @param {RequestInit} init
 * @returns {Promise<Response>} a good answer; anything else is thrown as a Problem
 */
export async function ask(url, init = {}) {
  let answer;
  try {
    answer = await fetch(url, { ...init, headers: { ...headers(), ...init.headers } });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw unreachable();
  }
  if (answer.ok) return answer;
  throw inWords(answer.status, await answer.text(), Number(answer.headers.get("Retry-After")));
}

/** A picture, of which the browser's cache keeps no copy of its own. @param {string} url */
export const askPicture = async (url) => (await ask(url, { cache: "no-store" })).blob();

/**
 * Sends a picture and reports how much of it has been sent.
 * @param {Blob} picture
 * @param {string} name
 * @param {(percent: number) => void} onPercent
 * @param {AbortSignal} signal
 * @returns {Promise<{id: string, width: number, height: number, warnings: {message: string}[]}>}
 */
export function upload(picture, name, onPercent, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "v1/images");
    for (const [key, value] of Object.entries(headers())) request.setRequestHeader(key, value);
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) onPercent((event.loaded / event.total) * 100);
    };
    request.onload = () => {
      const wait = Number(request.getResponseHeader("Retry-After"));
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(inWords(request.status, request.responseText, wait));
    };
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException("canceled", "AbortError"));
    const stop = () => request.abort();
    signal.addEventListener("abort", stop);
    request.onloadend = () => signal.removeEventListener("abort", stop); // which would keep the picture
    const form = new FormData();
    form.append("image", picture, name);
    request.send(form);
  });
}

/**
 * @param {number} status
 * @param {string} text
 * @param {number} retryAfter
 */
function inWords(status, text, retryAfter) {
  try {
    const body = JSON.parse(text);
    const isOfAddress = body.errors?.[0]?.pointer === "/image_url";
    return new Problem(isOfAddress ? "address" : body.code, body.detail ?? body.title ?? "", retryAfter || 0);
  } catch {
    return status >= 500 ? unreachable() : new Problem("internal_error", say("e_internal_error"));
  }
}

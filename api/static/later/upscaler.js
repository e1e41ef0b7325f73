// Super-resolution in this browser, as a first look: whether it is available, switched on, and fast enough here.
import { byId } from "../studio/dom.js";
import { say } from "../studio/words.js";

const CHOICE = "retouch.superres";
const ENGINE = "retouch.superres.engine"; // one engine alone, for trying things out
const SLOW = "retouch.superres.slow";
const SLOW_MS = 1500; // longer than this is no first look
const LONGEST = { webnn: 512, webgpu: 512, wasm: 320 }; // pixels before enlarging

/** @typedef {import("../upscale/net.js").Engine} Engine */
/** @typedef {{engine: Engine, picture: ImageBitmap, opening: number, working: number}} Enlarged */

/** One web worker for the page; fires `change` when it is switched on or off. */
export class Upscaler extends EventTarget {
  constructor() {
    super();
    /** @type {import("../upscale/net.js").Files | null} */
    this.files = null;
    /** @type {Worker | null} */
    this.worker = null;
    this.isQuick = false;
    this.isBroken = false;
    this.count = 0;
    /** @type {(() => void) | null} */
    this.leave = null;
  }

  /** Offers it if its files are installed. */
  async begin() {
    if (typeof Worker !== "function" || typeof OffscreenCanvas !== "function") return;
    const files = await fetch("extras.json").then((answer) => answer.json()).catch(() => null);
    if (!files) return;
    // The worker's own addresses begin elsewhere than the page's.
    this.files = { ...files, root: new URL(files.root.replace(/^\//, ""), document.baseURI).href };
    this.isQuick = await isQuickHere();
    const box = byId("superres", HTMLInputElement);
    box.addEventListener("change", () => this.choose(box.checked));
    document.addEventListener("retouch:language", () => this.draw());
    byId("superres-row", HTMLElement).hidden = false;
    this.draw();
    this.dispatchEvent(new Event("change"));
  }

  get isOn() {
    const choice = localStorage.getItem(CHOICE);
    return Boolean(this.files) && !this.isBroken && (choice ? choice === "on" : this.isQuick && !localStorage.getItem(SLOW));
  }

  /** @param {boolean} isWanted */
  choose(isWanted) {
    localStorage.setItem(CHOICE, isWanted ? "on" : "off");
    this.isBroken = false;
    this.draw();
    this.dispatchEvent(new Event("change"));
  }

  draw() {
    byId("superres", HTMLInputElement).checked = this.isOn;
    const note = this.isBroken ? "superres_broken" : this.isQuick ? "superres_note" : "superres_slow";
    byId("superres-note", HTMLElement).textContent = say(note);
  }

  /** @param {Blob} blob @returns {Promise<Enlarged | null>} null when it is off, overtaken or not possible here */
  async enlarge(blob) {
    this.leave?.();
    if (!this.isOn) return null;
    const only = /** @type {Engine | null} */ (localStorage.getItem(ENGINE));
    /** @type {Engine[]} */
    const engines = only ? [only] : ["webnn", "webgpu", "wasm"];
    const answer = await this.ordered({ blob, files: this.files, engines, longest: LONGEST });
    return answer && this.judged(answer);
  }

  /** @param {object} order @returns {Promise<any>} */
  ordered(order) {
    this.worker ??= new Worker("static/upscale/upscale-worker.js", { type: "module" });
    const { worker } = this;
    const id = ++this.count;
    return new Promise((resolve) => {
      this.leave = () => resolve(null);
      worker.onmessage = ({ data }) => { if (data.id === id) resolve(data); };
      worker.onerror = () => resolve({ error: "the worker failed" });
      worker.postMessage({ id, ...order });
    });
  }

  /** @param {any} answer @returns {Enlarged | null} */
  judged(answer) {
    if (answer.error) {
      this.isBroken = true;
      this.worker?.terminate();
      this.worker = null;
    } else if (answer.working > SLOW_MS) localStorage.setItem(SLOW, "1");
    else localStorage.removeItem(SLOW);
    this.draw();
    return answer.error ? null : answer;
  }
}

/** Hardware for neural networks, or enough cores; and a connection that is not metered. */
async function isQuickHere() {
  const { ml, gpu, connection, hardwareConcurrency } = /** @type {any} */ (navigator);
  if (connection?.saveData) return false;
  const adapter = await gpu?.requestAdapter().catch(() => null);
  if (ml || (adapter && !adapter.info?.isFallbackAdapter)) return true;
  return self.crossOriginIsolated && hardwareConcurrency >= 8;
}

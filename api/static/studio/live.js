// The live preview: the newest settings win, and a service without the route is left in peace.
import { newId } from "./new-id.js";
import { formFields } from "./recipe.js";
import { ask, Problem } from "./service.js";

const PAUSE_MS = 120;

/** Asks for previews of one page; fires `wait`, `shown` and `quiet`. */
export class LivePreview extends EventTarget {
  constructor() {
    super();
    this.session = newId();
    this.isOffered = true;
    /** @type {Blob | null} */
    this.picture = null;
    this.milliseconds = 0;
    this.stopper = new AbortController();
    this.timer = 0;
  }

  /** @param {string | null} imageId @param {import("./recipe.js").Recipe} recipe @param {number} strength @param {number | null} seed */
  ask(imageId, recipe, strength, seed) {
    this.stop();
    if (!this.isOffered || !imageId) return;
    const lora = formFields(recipe).filter(([name]) => name === "lora").map(([, value]) => value);
    const prompt = recipe.fields.prompt;
    const body = { image_id: imageId, lora, strength, session: this.session, ...(prompt ? { prompt } : {}), ...(seed === null ? {} : { seed }) };
    this.timer = window.setTimeout(() => this.fetch(body), PAUSE_MS);
  }

  stop() {
    clearTimeout(this.timer);
    this.stopper.abort();
    this.stopper = new AbortController();
  }

  /** @param {object} body */
  async fetch(body) {
    const { signal } = this.stopper;
    this.dispatchEvent(new Event("wait"));
    const began = performance.now() - PAUSE_MS;
    const init = { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal };
    try {
      const picture = await (await ask("/v1/previews", init)).blob();
      if (signal.aborted) return;
      this.picture = picture;
      this.milliseconds = Math.round(performance.now() - began);
      this.dispatchEvent(new Event("shown"));
    } catch (error) {
      // Not offered here: never asked for again. Anything else: the full picture will tell.
      if (error instanceof Problem && ["not_found", "method_not_allowed"].includes(error.code)) this.isOffered = false;
      if (!signal.aborted) this.dispatchEvent(new Event("quiet"));
    }
  }
}

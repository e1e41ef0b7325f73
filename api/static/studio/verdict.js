// What was done to a photo and why, and both sizes, in people's words.
import { byId, make } from "./dom.js";
import { bandOf } from "./strength-strip.js";
import { treatments } from "./treatments.js";
import { say, served, size, weight } from "./words.js";

/** @typedef {import("./shot.js").Shot} Shot */

const part = (/** @type {string} */ id) => byId(id, HTMLElement);

/** Whether the service looked and left the photo as it was. @param {Shot} shot */
export function isNothing({ kept }) {
  const { lora_mode, loras } = kept.job?.params ?? {};
  return kept.phase === "succeeded" && lora_mode === "auto" && loras.length === 0;
}

/** @param {Shot} shot a finished one */
export function drawVerdict(shot) {
  const { kept } = shot;
  const { source, result } = kept.job;
  part("verdict").textContent = isNothing(shot) ? nothing(result.upscale ?? 1) : done(shot);
  part("sizes").replaceChildren(...sizes(source ?? kept, kept.sentBytes ?? kept.blob.size, result));
  part("why").textContent = reasons(shot);
  part("why").lang = served() === "zh" ? "zh-CN" : "en";
  part("facts").textContent = facts(shot);
  part("speed").textContent = speed(shot);
}

/** @param {number} factor */
const nothing = (factor) => say("verdict_nothing") + (factor > 1 ? say("only_larger", { n: factor }) : "");

/** @param {Shot} shot */
function done({ kept }) {
  const { params, result } = kept.job;
  const what = params.loras.map((/** @type {any} */ lora) => treatments().doneBy(lora.name));
  const factor = result.upscale ?? 1;
  const parts = [...new Set(what), factor > 1 && say("larger", { n: factor }), !what.length && factor === 1 && say("same_size")];
  return parts.filter(Boolean).join(say("comma"));
}

/** @param {any} before @param {number} beforeBytes @param {any} after */
function sizes(before, beforeBytes, after) {
  const bold = (/** @type {any} */ picture) => make("b", { textContent: size(picture) });
  const whole = (/** @type {string} */ lead, /** @type {any} */ picture, /** @type {number} */ bytes) =>
    make("span", {}, lead, bold(picture), ` ${weight(bytes)}`);
  return [whole("", before, beforeBytes), " ", whole("→ ", after, after.size_bytes)];
}

/** @param {Shot} shot */
function reasons({ kept }) {
  const { params, degraded, source } = kept.job;
  const scaled = kept.scaledFrom && say("why_scaled", { size: size(kept.scaledFrom) });
  const said = [params.lora_reason, params.upscale_reason, ...[...degraded, ...(source?.warnings ?? [])].map((item) => item.message)];
  return [...said.filter(Boolean).map(plainly), scaled, kept.mask && say("masked")].filter(Boolean).join(served() === "zh" ? "" : " ");
}

/** Without the workshop's words: treatments by their titles. @param {string} sentence */
const plainly = (sentence) => sentence
  .replace(/['‘“]([\w.-]+)['’”]/g, (whole, name) => whole.replace(name, treatments().titleOf(name)))
  .replace(/\bLoRAs?\b/g, say("treatment"));

/** What it ran with, for those who want to know. @param {Shot} shot */
function facts({ kept }) {
  const { params } = kept.job;
  return listed([
    params.strength !== null && say("fact_strength", { n: params.strength, band: say(`band_${bandOf(params.strength)}`) }),
    ...params.loras.map((/** @type {any} */ lora) => say("fact_lora", { name: `${lora.name}:${lora.scale}` })),
    say("fact_seed", { n: params.seed }),
  ]);
}

/** How fast it was, as seen from here. @param {Shot} shot */
function speed({ kept }) {
  const { look, preview, full } = kept.timings;
  const { queued_seconds } = kept.job.timings;
  return listed([
    look && say("fact_look", { n: Math.round(look) }),
    preview && say("fact_preview", { n: preview.toFixed(1) }),
    full && say("fact_full", { n: full.toFixed(1) }),
    queued_seconds >= 0.1 && say("fact_queue", { n: queued_seconds.toFixed(1) }),
  ]);
}

/** @param {any[]} parts */
const listed = (parts) => parts.filter(Boolean).join(" · ");

// What was done to a photo and why, and both sizes, in people's words.
import { byId, make } from "./dom.js";
import { bandOf } from "./strength-strip.js";
import { treatments } from "./treatments.js";
import { language, say, served, size, weight } from "./words.js";

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
  // Only details are in another language than the page.
  const isOwn = served() === language();
  part("why").textContent = joined([isOwn && reasons(shot), scaled(shot), shot.kept.mask && say("masked")], language());
  part("facts").replaceChildren(facts(shot), ...(isOwn ? [] : [make("br"), make("span", { lang: served() }, reasons(shot))]));
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

/** @param {any[]} sentences those that there are @param {string} tongue */
const joined = (sentences, tongue) => sentences.filter(Boolean).join(["zh", "ja"].includes(tongue) ? "" : " ");

/** @param {Shot} shot */
const scaled = ({ kept }) => kept.scaledFrom && say("why_scaled", { size: size(kept.scaledFrom) });

/** The service's own sentences. @param {Shot} shot */
function reasons({ kept }) {
  const { params, degraded, source } = kept.job;
  return joined([params.lora_reason, params.upscale_reason, ...[...degraded, ...(source?.warnings ?? [])].map((item) => item.message)].map(plainly), served());
}

/** Without the workshop's words: treatments by their titles. @param {string | null} [sentence] */
const plainly = (sentence) => sentence
  ?.replace(/['‘“]([\w.-]+)['’”]/g, (whole, name) => whole.replace(name, treatments().titleOf(name)))
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

// What each problem means to a person, and the button offered for it. Every code of the service is known here.

/** @typedef {"retry" | "other" | "force" | "smaller" | "auto" | "resend" | "key" | "reset"} Remedy */

/** By code: the button, and the sentence where it is not the code's own. @type {Record<string, [Remedy, string?]>} */
const KNOWN = {
  unreachable: ["retry"], address: ["other"], internal_error: ["retry"], rate_limited: ["retry"], no_worker: ["retry"],
  store_unavailable: ["retry"], storage_full: ["retry"], queue_full: ["retry", "busy"], overloaded: ["retry", "busy"],
  malformed_multipart: ["retry", "request"], malformed_request: ["retry", "request"], not_found: ["retry", "request"],
  method_not_allowed: ["retry", "request"], not_finished: ["retry", "busy"], already_finished: ["retry", "busy"],
  superseded: ["retry", "busy"], idempotency_in_flight: ["retry", "busy"], idempotency_key_reuse: ["retry", "request"],
  unauthenticated: ["key"], forbidden: ["key"],
  payload_too_large: ["smaller"], image_too_large: ["smaller"], out_of_memory: ["smaller"], step_timeout: ["smaller"],
  image_too_blurry: ["force"], image_too_dark: ["force"], image_blank: ["force"],
  unsupported_media_type: ["other"], animated_image: ["other"], invalid_image: ["other"], image_truncated: ["other"],
  image_too_small: ["other"], unsafe_input: ["other"], unsafe_output: ["other"], crashed_too_often: ["other"],
  lora_base_mismatch: ["auto"], lora_not_found: ["auto"], lora_quarantined: ["auto", "lora_broken"],
  lora_corrupt: ["auto", "lora_broken"], watermark_in_output: ["auto"],
  lora_changed: ["retry", "changed"], upscaler_changed: ["retry", "changed"],
  upscaler_not_found: ["reset"], upscaler_corrupt: ["reset", "upscaler"], upscaler_unusable: ["reset", "upscaler"],
  image_not_found: ["resend"], job_not_found: ["resend"], result_expired: ["resend"],
  validation_error: ["reset"],
};

/** @param {string} code */
export const isKnown = (code) => code in KNOWN;

/** @param {string} code @returns {Remedy} */
export const remedyFor = (code) => KNOWN[code]?.[0] ?? "retry";

/** The word of the page that says what a code means. @param {string} code */
export const sentenceFor = (code) => `e_${KNOWN[code]?.[1] ?? (isKnown(code) ? code : "internal_error")}`;

// The advice for these is only to wait, so the page retries by itself.
const PASSING = ["unreachable", "queue_full", "overloaded", "rate_limited", "store_unavailable", "no_worker", "idempotency_in_flight"];

/** @param {string} code */
export const isPassing = (code) => PASSING.includes(code);

/** The next smaller side to try, pixels. @param {number} side the one that was too much */
export const smallerSide = (side) => Math.max(64, Math.floor(side / 2));

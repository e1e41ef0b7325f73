// The button offered for each problem.

/** @typedef {"retry" | "other" | "force" | "smaller" | "auto" | "resend" | "key" | "reset"} Remedy */

/** @type {Record<string, Remedy>} */
const BY_CODE = {
  unauthenticated: "key", forbidden: "key",
  payload_too_large: "smaller", image_too_large: "smaller", out_of_memory: "smaller", step_timeout: "smaller",
  image_too_blurry: "force", image_too_dark: "force", image_one_colour: "force",
  unsupported_media_type: "other", animated_image: "other", invalid_image: "other", image_truncated: "other",
  image_too_small: "other", unsafe_input: "other", unsafe_output: "other", crashed_too_often: "other",
  lora_base_mismatch: "auto", lora_not_found: "auto", lora_quarantined: "auto", lora_corrupt: "auto",
  watermark_in_output: "auto",
  image_not_found: "resend", job_not_found: "resend", result_expired: "resend",
  validation_error: "reset",
};

/** @param {string} code @returns {Remedy} */
export const remedyFor = (code) => BY_CODE[code] ?? "retry";

// The advice for these is only to wait, so the page retries by itself.
const PASSING = ["unreachable", "queue_full", "rate_limited", "store_unavailable", "no_worker", "idempotency_in_flight"];

/** @param {string} code */
export const isPassing = (code) => PASSING.includes(code);

/** The next smaller side to try, pixels. @param {number} side the one that was too much */
export const smallerSide = (side) => Math.max(64, Math.floor(side / 2));

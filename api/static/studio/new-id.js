// A unique id. `crypto.randomUUID` is missing when a phone opens this page over plain HTTP.

/** @returns {string} 32 hexadecimal digits */
export const newId = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

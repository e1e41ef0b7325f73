// A zip without compression: pictures are already compressed.
// Layout: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});
const UTF8_NAMES = 0x0800;

/** @param {Uint8Array} bytes */
function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Little-endian fields. @param {[number, 2 | 4][]} fields @returns {Uint8Array<ArrayBuffer>} */
function packed(fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [, size]) => sum + size, 0)));
  let at = 0;
  for (const [value, size] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

/** A local time as MS-DOS has it, to two seconds: time and day. @param {number} when milliseconds since 1970 */
function moment(when) {
  const at = new Date(when);
  const time = (at.getHours() << 11) | (at.getMinutes() << 5) | (at.getSeconds() >> 1);
  const day = ((Math.max(1980, at.getFullYear()) - 1980) << 9) | ((at.getMonth() + 1) << 5) | at.getDate();
  return [time, day];
}

/** @param {{name: string, blob: Blob, when: number}[]} files with names of their own @returns {Promise<Blob>} */
export async function zipped(files) {
  /** @type {BlobPart[]} */
  const parts = [];
  /** @type {BlobPart[]} */
  const directory = [];
  let offset = 0;
  let directorySize = 0;
  for (const { name, blob, when } of files) {
    const [time, day] = moment(when);
    const title = new TextEncoder().encode(name);
    const crc = crc32(new Uint8Array(await blob.arrayBuffer()));
    /** @type {[number, 2 | 4][]} */
    const common = [[20, 2], [UTF8_NAMES, 2], [0, 2], [time, 2], [day, 2], [crc, 4], [blob.size, 4], [blob.size, 4], [title.length, 2], [0, 2]];
    parts.push(packed([[0x04034b50, 4], ...common]), title, blob);
    directory.push(packed([[0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]), title);
    offset += 30 + title.length + blob.size;
    directorySize += 46 + title.length;
  }
  const count = files.length;
  const end = packed([[0x06054b50, 4], [0, 2], [0, 2], [count, 2], [count, 2], [directorySize, 4], [offset, 4], [0, 2]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** Names without twins: `a.png`, `a-2.png`. @param {string[]} names */
export function apart(names) {
  /** @type {Map<string, number>} */
  const seen = new Map();
  return names.map((name) => {
    const count = (seen.get(name) ?? 0) + 1;
    seen.set(name, count);
    return count === 1 ? name : name.replace(/(\.\w+)?$/, `-${count}$1`);
  });
}

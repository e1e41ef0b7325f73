// Against a running service: RETOUCH_URL, RETOUCH_API_KEY, and PHOTO, a file.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import test from "node:test";

import { enhance, RetouchError } from "../retouch.js";

const url = process.env.RETOUCH_URL;
const key = process.env.RETOUCH_API_KEY;
const photo = new Blob([await readFile(process.env.PHOTO)]);
const white = Uint8Array.from(
  atob("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="),
  (letter) => letter.charCodeAt(0),
);
const options = { url, key, lora: "none" };
const slow = { ...options, steps: 50, strength: 1 };

test("a photo comes back with its percentage, its preview and the upload's share", async () => {
  const percents = [], uploads = [], previews = [];
  const better = await enhance(photo, {
    ...slow,
    onUpload: (share) => uploads.push(share),
    onProgress: ({ percent }) => percents.push(percent),
    onPreview: (preview) => previews.push(preview.type),
  });

  assert.equal(better.type, "image/jpeg");  // as the photo came
  assert.deepEqual(percents, [...percents].sort((a, b) => a - b));
  assert.equal(percents.at(-1), 100);
  assert.ok(percents.length > 2);
  assert.ok(previews.length > 0);
  assert.ok(previews.every((type) => type === "image/webp"));
  assert.equal(uploads.at(-1), 1);
});

test("a refused picture is an error with its code and advice", async () => {
  await assert.rejects(enhance(new Blob(["no picture"]), options), (error) => {
    assert.ok(error instanceof RetouchError);
    assert.equal(error.status, 415);
    assert.ok(error.advice);
    return true;
  });
});

test("a mask is sent as a file, whatever it is given as", async () => {
  for (const mask of [new Blob([white]), white, white.buffer]) {
    const before = await ids();
    await enhance(photo, { ...options, mask });
    const [made] = (await jobs()).filter(({ id }) => !before.includes(id));
    assert.deepEqual(made.mask, { width: 1, height: 1 });
  }
});

test("a signal cancels the job", async () => {
  const leaving = new AbortController();
  const before = await ids();
  const work = enhance(photo, { ...slow, signal: leaving.signal, onProgress: () => leaving.abort() });
  await assert.rejects(work, { name: "AbortError" });
  const made = (await jobs()).filter(({ id }) => !before.includes(id));
  assert.equal(made.length, 1);
  assert.notEqual(made[0].state, "succeeded");
});

test("a stream that is cut goes on, and a repeated request makes no second job", async () => {
  const before = await ids();
  const { address, close, cuts } = await cutting();
  const told = [];
  const better = await enhance(photo, { ...slow, url: address, onProgress: (progress) => told.push(progress) });
  close();

  assert.equal(better.type, "image/jpeg");  // as the photo came
  assert.ok(cuts() >= 2);
  const percents = told.map(({ percent }) => percent);
  assert.deepEqual(percents, [...percents].sort((a, b) => a - b));
  // Two stages may begin at one percentage, but no event comes twice.
  const lines = told.map((progress) => JSON.stringify(progress));
  assert.deepEqual(lines, [...new Set(lines)]);
  assert.equal(percents.filter((percent) => percent === 100).length, 1);
  assert.equal((await jobs()).filter(({ id }) => !before.includes(id)).length, 1);
});

const jobs = async () =>
  (await (await fetch(`${url}/v1/jobs?limit=100`, { headers: { Authorization: `Bearer ${key}` } })).json()).items;
const ids = async () => (await jobs()).map(({ id }) => id);

/** A proxy that loses the first answer to a submission, and cuts the first stream in the middle. */
async function cutting() {
  let cuts = 0, losing = true, cut = true;
  const server = createServer((incoming, outgoing) => {
    const onward = request(url + incoming.url, { method: incoming.method, headers: incoming.headers }, (answer) => {
      if (losing && incoming.method === "POST") {
        losing = false;
        cuts++;
        answer.resume().on("end", () => incoming.socket.destroy());
        return;
      }
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.on("data", (piece) => {
        outgoing.write(piece);
        if (cut && incoming.url.endsWith("/events") && piece.includes("event: progress")) {
          cut = false;
          cuts++;
          setTimeout(() => incoming.socket.destroy(), 20);
        }
      });
      answer.on("end", () => outgoing.end());
    });
    incoming.pipe(onward);
    onward.on("error", () => incoming.socket.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { address: `http://127.0.0.1:${server.address().port}`, close: () => server.close(), cuts: () => cuts };
}

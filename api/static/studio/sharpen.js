// A first look on this device: unsharp mask and local contrast, by WebGL2 or else on a 2D canvas.
import { scaled } from "./photo.js";

const LONGEST = 1024; // pixels; more is not visible in a first look and costs time
const LONGEST_PLAINLY = 768;
const VERTEX = `#version 300 es
in vec2 corner; out vec2 at;
void main() { at = corner * 0.5 + 0.5; gl_Position = vec4(corner.x, -corner.y, 0, 1); }`;
// Two rings of eight samples: the inner one for edges, the outer one for local contrast.
const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D photo; uniform vec2 pixel; in vec2 at; out vec4 colour;
vec3 ring(float radius) {
  vec3 sum = vec3(0);
  for (int i = 0; i < 8; i++) {
    float angle = float(i) * 0.785398;
    sum += texture(photo, at + vec2(cos(angle), sin(angle)) * radius * pixel).rgb;
  }
  return sum / 8.0;
}
void main() {
  vec3 here = texture(photo, at).rgb;
  vec3 near = ring(1.4), far = ring(14.0);
  vec3 edges = clamp(here - near, -0.2, 0.2) * 1.1;
  vec3 local = clamp((near + ring(7.0)) * 0.5 - far, -0.25, 0.25) * 0.25;
  colour = vec4(clamp(here + edges + local, 0.0, 1.0), 1);
}`;

/** @typedef {{before: HTMLCanvasElement, after: HTMLCanvasElement}} Look */

/** @type {{canvas: OffscreenCanvas, gl: WebGL2RenderingContext, program: WebGLProgram} | null | undefined} null: not on this device */
let bench;

/** Everything is compiled before there is a photo: that takes longer than the first look may. */
export function warmUp() {
  firstLook(blank({ width: 512, height: 512 }));
}

/** The photo as it is and sharpened, in the size of a screen. @param {ImageBitmap | HTMLCanvasElement} bitmap @returns {Look} */
export function firstLook(bitmap) {
  const most = bench === null ? LONGEST_PLAINLY : LONGEST;
  const size = scaled(bitmap, Math.min(1, most / Math.max(bitmap.width, bitmap.height)));
  const before = blank(size);
  before.getContext("2d", { willReadFrequently: !bench })?.drawImage(bitmap, 0, 0, size.width, size.height);
  const after = blank(size);
  const drawn = onGpu(before);
  if (drawn) after.getContext("bitmaprenderer")?.transferFromImageBitmap(drawn);
  else drawPlainly(after, before);
  return { before, after };
}

/** @param {{width: number, height: number}} size */
const blank = ({ width, height }) => Object.assign(document.createElement("canvas"), { width, height });

/** @param {HTMLCanvasElement} photo @returns {ImageBitmap | null} */
function onGpu(photo) {
  if (bench === undefined) bench = opened();
  if (!bench) return null;
  Object.assign(bench.canvas, { width: photo.width, height: photo.height });
  if (draw(bench.gl, bench.program, photo)) return bench.canvas.transferToImageBitmap();
  bench = undefined; // a lost context is opened anew for the next photo
  return null;
}

function opened() {
  const canvas = new OffscreenCanvas(8, 8);
  const gl = canvas.getContext("webgl2");
  const program = gl && !isSoftware(gl) && linked(gl);
  if (!gl || !program) return null;
  gl.useProgram(program);
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 3, -1, -1, 3]), gl.STATIC_DRAW);
  const corner = gl.getAttribLocation(program, "corner");
  gl.enableVertexAttribArray(corner);
  gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  return { canvas, gl, program };
}

/** @param {WebGL2RenderingContext} gl @param {WebGLProgram} program @param {HTMLCanvasElement} photo */
function draw(gl, program, photo) {
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, photo);
  const size = [gl.drawingBufferWidth, gl.drawingBufferHeight];
  gl.uniform2f(gl.getUniformLocation(program, "pixel"), 1 / size[0], 1 / size[1]);
  gl.viewport(0, 0, size[0], size[1]);
  gl.drawArrays(gl.TRIANGLES, 0, 3);
  return gl.getError() === gl.NO_ERROR && !gl.isContextLost();
}

/** In software WebGL takes seconds where a 2D canvas takes a tenth of one. @param {WebGL2RenderingContext} gl */
function isSoftware(gl) {
  const names = gl.getExtension("WEBGL_debug_renderer_info");
  return Boolean(names && /swiftshader|llvmpipe|basic render|software/i.test(gl.getParameter(names.UNMASKED_RENDERER_WEBGL)));
}

/** @param {WebGL2RenderingContext} gl */
function linked(gl) {
  const program = gl.createProgram();
  for (const [kind, text] of /** @type {const} */ ([[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]])) {
    const shader = gl.createShader(kind);
    if (!shader) return null;
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  return gl.getProgramParameter(program, gl.LINK_STATUS) ? program : null;
}

/** Unsharp mask on tones alone, against the mean of five by five pixels. @param {HTMLCanvasElement} canvas @param {HTMLCanvasElement} photo */
function drawPlainly(canvas, photo) {
  const { width, height } = canvas;
  const image = photo.getContext("2d")?.getImageData(0, 0, width, height);
  if (!image) return;
  const { data } = image;
  const tones = new Uint8Array(width * height);
  for (let i = 0, at = 0; i < tones.length; i++, at += 4) tones[i] = (77 * data[at] + 150 * data[at + 1] + 29 * data[at + 2]) >> 8;
  const rows = new Uint16Array(tones.length); // sums of five side by side
  for (let i = 2; i < tones.length - 2; i++) rows[i] = tones[i - 2] + tones[i - 1] + tones[i] + tones[i + 1] + tones[i + 2];
  for (let y = 2; y < height - 2; y++) {
    for (let i = y * width + 2, end = (y + 1) * width - 2; i < end; i++) {
      const sum = rows[i - 2 * width] + rows[i - width] + rows[i] + rows[i + width] + rows[i + 2 * width];
      const edge = ((25 * tones[i] - sum) * 45) >> 10; // 1.1 times the difference
      const at = 4 * i;
      data[at] += edge; // clamped
      data[at + 1] += edge;
      data[at + 2] += edge;
    }
  }
  canvas.getContext("2d", { willReadFrequently: true })?.putImageData(image, 0, 0);
}

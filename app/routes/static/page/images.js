// Images for image inputs: a file becomes the tensor of its pixels, or its bytes in base64.

import { make } from "./dom.js";

const MIN_BASE64_CHARACTERS = 60;
// Of a size that the model leaves open: a photo's own size would be many millions of numbers.
const MAX_FREE_PIXELS = 512;
const SCALES = { "0 to 255": (value) => value, "0 to 1": (value) => Number((value / 255).toFixed(4)), "-1 to 1": (value) => Number((value / 127.5 - 1).toFixed(4)) };

export const isBase64 = (text) => text.length >= MIN_BASE64_CHARACTERS && /^[A-Za-z0-9+/]+={0,2}$/.test(text);

// Returns the layout of an input of one image a row, with 1 or 3 channels; null for other inputs, and for INT8, which has
// no value for a bright pixel.
export function imageSpecOf({ datatype, shape }) {
  if (shape?.length !== 4 || !/^(FP|BF|UINT8)/.test(datatype)) return null;
  const isChannels = (size) => size === 1 || size === 3;
  const [, a, b, c] = shape;
  const isLarge = (...sizes) => sizes.every((size) => typeof size !== "number" || size >= 8);
  if (isChannels(a) && isLarge(b, c)) return { isFirst: true, channels: a, height: b, width: c, datatype };
  if (isChannels(c) && isLarge(a, b)) return { isFirst: false, channels: c, height: a, width: b, datatype };
  return null;
}

// A file chooser; with `image` it passes the pixels on, as JSON, without it the file in base64.
export function makeImageChooser(name, image, use) {
  const file = make("input", { type: "file", accept: "image/*", "aria-label": `Image for ${name}` });
  const scale = make("select", { "aria-label": `Values of the pixels of ${name}` }, ...Object.keys(SCALES).map((one) => make("option", {}, one)));
  const problem = make("small", { class: "warning", role: "status" });
  let newest = 0;
  const load = async () => {
    const turn = ++newest;
    problem.textContent = "";
    if (!file.files.length) return;
    try {
      const [text, note] = image ? await pixels(file.files[0], image, SCALES[scale.value]) : [await base64(file.files[0]), ""];
      if (turn !== newest) return;
      problem.textContent = note;
      use(text);
    } catch (error) {
      if (turn === newest) problem.textContent = `Not read: ${error.message}`;
    }
  };
  file.addEventListener("change", load);
  scale.addEventListener("change", load);
  const hasScale = image && !image.datatype.includes("INT");
  return make("div", { class: "row image" }, file, ...(hasScale ? [scale] : []), problem);
}

// Returns the pixels as JSON, and a note if they are fewer than the file's because the model leaves the size open.
async function pixels(file, { isFirst, channels, height, width }, scale) {
  const bitmap = await createImageBitmap(file);
  const free = [typeof width !== "number" && bitmap.width, typeof height !== "number" && bitmap.height];
  const factor = Math.min(1, MAX_FREE_PIXELS / Math.max(...free));
  const canvas = make("canvas");
  canvas.width = free[0] ? Math.max(1, Math.round(free[0] * factor)) : width;
  canvas.height = free[1] ? Math.max(1, Math.round(free[1] * factor)) : height;
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const at = (y, x, channel) => {
    const i = 4 * (y * canvas.width + x);
    return scale(channels === 1 ? Math.round(0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2]) : data[i + channel]);
  };
  const range = (size, of) => Array.from({ length: size }, (_, i) => of(i));
  const [h, w] = [canvas.height, canvas.width];
  const values = isFirst
    ? range(channels, (channel) => range(h, (y) => range(w, (x) => at(y, x, channel))))
    : range(h, (y) => range(w, (x) => range(channels, (channel) => at(y, x, channel))));
  return [JSON.stringify([values]), factor < 1 ? `Scaled from ${bitmap.width} × ${bitmap.height} to ${w} × ${h} pixels` : ""];
}

const base64 = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1]);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });

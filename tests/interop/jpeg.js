// Crops as JPEG, small enough and without what the encoder adds (W10, step 5.1).

import { CONTENT_MAX_BYTES } from "./sealing.js";
import { concat } from "./bytes.js";

/** Take out every APPn but APP0, and comments; all of them stand before the first scan. */
export function stripSegments(jpeg) {
  const kept = [jpeg.subarray(0, 2)];
  let at = 2;
  while (jpeg[at + 1] !== 0xda) {
    const ends = at + 2 + jpeg[at + 2] * 256 + jpeg[at + 3];
    const marker = jpeg[at + 1];
    if (!((marker > 0xe0 && marker <= 0xef) || marker === 0xfe)) kept.push(jpeg.subarray(at, ends));
    at = ends;
  }
  return concat(...kept, jpeg.subarray(at));
}

export async function encodeCrop(canvas, { strip }) {
  for (let quality = 0.85; quality > 0.1; quality -= 0.15) {
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", quality));
    const written = new Uint8Array(await blob.arrayBuffer());
    const jpeg = strip ? stripSegments(written) : written;
    if (jpeg.length <= CONTENT_MAX_BYTES) return jpeg;
  }
  throw new Error("the crop does not fit");
}

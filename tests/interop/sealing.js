// One epoch's setup and its sealed frames (K3 to K5, W1 to W5, S2, S4).

import { aesGcmSeal, base64, concat, hkdfExpand, hmacSha256, sha256, utf8, uuidBytes } from "./bytes.js";
import { sealBase } from "./hpke.js";

export const CODEC_JPEG = 1;
export const CONTENT_MAX_BYTES = 3374;
const SUITE = 1;
const SIZES = [512, 1024, 1536, 2048, 2560, 3072, 3392];
const FRAMES_MAX = 2 ** 20;

export const LIVE = 1;
export const LATE = 2;

export function bigEndian(value, length) {
  const bytes = new Uint8Array(length);
  let rest = BigInt.asUintN(8 * length, BigInt(value));
  for (let at = length - 1; at >= 0; at -= 1, rest >>= 8n) bytes[at] = Number(rest & 255n);
  return bytes;
}

export function sessionInfo({ keyId, session, tenant, receiptSha256, devicePublic, epoch, notAfterUtcUs }) {
  return concat(
    utf8("countenance/1 session"),
    Uint8Array.of(SUITE, keyId.length),
    utf8(keyId),
    uuidBytes(session),
    uuidBytes(tenant),
    receiptSha256,
    devicePublic,
    bigEndian(epoch, 4),
    bigEndian(notAfterUtcUs, 8),
  );
}

export const signedBytes = async (info, blob) =>
  concat(utf8("countenance/1 setup"), await sha256(concat(info, blob)));

export async function frameKeys(secret, info) {
  const prk = await hmacSha256(await sha256(info), secret);
  return {
    prk,
    key: await hkdfExpand(prk, utf8("countenance/1 frame key"), 32),
    salt: await hkdfExpand(prk, utf8("countenance/1 frame salt"), 12),
  };
}

export function frameNonce(salt, counter) {
  const nonce = salt.slice();
  bigEndian(counter, 8).forEach((byte, at) => {
    nonce[4 + at] ^= byte;
  });
  return nonce;
}

export function encodePlaintext(features, content) {
  const needed = 18 + content.length;
  const size = SIZES.find((one) => one >= needed);
  if (size === undefined) throw new Error(`content of ${content.length} bytes is over ${CONTENT_MAX_BYTES}`);
  const plaintext = new Uint8Array(size);
  const { yaw = 0, pitch = 0, roll = 0, quality = 0, score = 0, brightness = 0, sharpness = 0, attention = 0 } = features;
  plaintext.set([1, yaw & 255, pitch & 255, roll & 255, quality, score, brightness, sharpness, attention]);
  plaintext.set(bigEndian(content.length, 2), 16);
  plaintext.set(content, 18);
  return plaintext;
}

export function encodeHeader(fields) {
  return concat(
    Uint8Array.of(1, SUITE, 0, fields.codec),
    uuidBytes(fields.session),
    bigEndian(fields.epoch, 4),
    bigEndian(fields.counter, 8),
    bigEndian(fields.frame, 4),
    bigEndian(fields.mediaTimeUs, 8),
    bigEndian(fields.monotonicUs, 8),
    Uint8Array.of(fields.face, fields.faces, fields.width, fields.height),
    bigEndian(fields.detector, 2),
    bigEndian(fields.segment, 2),
    bigEndian(fields.ciphertextLength, 4),
  );
}

/** Seals the frames of one epoch; its counter lives here alone and never goes back. */
export class Epoch {
  #keys;
  #counter = 0;
  #receiptSha256;

  static async begin({ poolKey, session, tenant, epoch, receipt, device, notAfterUtcUs }) {
    const self = new Epoch();
    self.#receiptSha256 = await sha256(utf8(receipt));
    const info = sessionInfo({
      keyId: poolKey.keyId,
      session,
      tenant,
      receiptSha256: self.#receiptSha256,
      devicePublic: device.publicBytes,
      epoch,
      notAfterUtcUs,
    });
    const secret = crypto.getRandomValues(new Uint8Array(32));
    const blob = await sealBase(poolKey.publicBytes, info, secret);
    self.#keys = await frameKeys(secret, info);
    self.session = session;
    self.epoch = epoch;
    self.setup = {
      session,
      tenant,
      epoch,
      key_id: poolKey.keyId,
      not_after_utc_us: notAfterUtcUs,
      device_public_key: base64(device.publicBytes),
      encapsulated: base64(blob),
      device_signature: base64(await device.sign(await signedBytes(info, blob))),
      receipt,
    };
    return self;
  }

  async seal(fields, content, features = {}) {
    const counter = this.#counter++;
    if (counter >= FRAMES_MAX) throw new Error("the epoch is used up");
    const plaintext = encodePlaintext(features, content);
    const header = encodeHeader({
      ...fields,
      session: this.session,
      epoch: this.epoch,
      counter,
      ciphertextLength: plaintext.length + 16,
    });
    const aad = concat(header, this.#receiptSha256);
    return concat(header, await aesGcmSeal(this.#keys.key, frameNonce(this.#keys.salt, counter), aad, plaintext));
  }
}

export const datagram = (kind, envelope) => concat(Uint8Array.of(kind), envelope);

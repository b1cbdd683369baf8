// HPKE base mode, one message: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM (RFC 9180; rule K3).

import { aesGcmSeal, concat, hkdfExpand, hmacSha256, utf8 } from "./bytes.js";

const VERSION = utf8("HPKE-v1");
const KEM = concat(utf8("KEM"), Uint8Array.of(0, 0x20));
const SUITE = concat(utf8("HPKE"), Uint8Array.of(0, 0x20, 0, 1, 0, 2));
const NOTHING = new Uint8Array(0);

const extract = (suite, salt, label, ikm) =>
  hmacSha256(salt.length ? salt : new Uint8Array(32), concat(VERSION, suite, utf8(label), ikm));

const expand = (suite, prk, label, context, length) =>
  hkdfExpand(prk, concat(Uint8Array.of(length >> 8, length & 255), VERSION, suite, utf8(label), context), length);

/** Give `enc | ciphertext | tag`; `ephemeral` is a WebCrypto key pair, fresh unless a test vector fixes it. */
export async function sealBase(recipient, info, plaintext, ephemeral = null) {
  const pair = ephemeral ?? (await crypto.subtle.generateKey("X25519", false, ["deriveBits"]));
  const enc = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
  const remote = await crypto.subtle.importKey("raw", recipient, "X25519", false, []);
  const dh = new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: remote }, pair.privateKey, 256));
  const eaePrk = await extract(KEM, NOTHING, "eae_prk", dh);
  const shared = await expand(KEM, eaePrk, "shared_secret", concat(enc, recipient), 32);
  const pskId = await extract(SUITE, NOTHING, "psk_id_hash", NOTHING);
  const context = concat(Uint8Array.of(0), pskId, await extract(SUITE, NOTHING, "info_hash", info));
  const secret = await extract(SUITE, shared, "secret", NOTHING);
  const key = await expand(SUITE, secret, "key", context, 32);
  const nonce = await expand(SUITE, secret, "base_nonce", context, 12);
  return concat(enc, await aesGcmSeal(key, nonce, NOTHING, plaintext));
}

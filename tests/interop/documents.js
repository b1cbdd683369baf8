// Signed documents: bundle, receipt, ticket (K2, K6).

import { base64url, hex, sha256, text, unbase64url, utf8 } from "./bytes.js";

export const importVerifier = (raw) => crypto.subtle.importKey("raw", raw, "Ed25519", false, ["verify"]);

/** Verify a compact JWS and give its payload; whatever is not exactly right throws. */
export async function verifyDocument(jws, verifier, typ) {
  const parts = jws.split(".");
  if (parts.length !== 3 || parts[0] !== base64url(utf8(`{"alg":"Ed25519","typ":"${typ}"}`))) {
    throw new Error("the document is malformed, or of another type");
  }
  const [payload, signature] = [unbase64url(parts[1]), unbase64url(parts[2])];
  const isGood = await crypto.subtle.verify("Ed25519", verifier, signature, utf8(`${parts[0]}.${parts[1]}`));
  if (!isGood) throw new Error("the signature does not verify");
  return JSON.parse(text(payload));
}

/** Give the pool key that is valid now and lives longest. */
export async function readBundle(jws, verifier, nowUtcUs) {
  const bundle = await verifyDocument(jws, verifier, "countenance-keys+jws");
  const keys = [];
  for (const key of bundle.keys) {
    const publicBytes = unbase64url(key.public);
    if (publicBytes.length !== 32 || hex(await sha256(publicBytes)).slice(0, 16) !== key.key_id) {
      throw new Error("a pool key's id is not its own");
    }
    if (key.not_before_utc_us <= nowUtcUs && nowUtcUs < key.not_after_utc_us) {
      keys.push({ keyId: key.key_id, publicBytes, notAfterUtcUs: key.not_after_utc_us });
    }
  }
  if (!keys.length) throw new Error("no pool key is valid now");
  return keys.reduce((best, key) => (key.notAfterUtcUs > best.notAfterUtcUs ? key : best));
}

/** Verify a receipt and check that it is for this session, this device and what was chosen (J3). */
export async function readReceipt(jws, verifier, { session, tenant, devicePublic, nowUtcUs }) {
  const receipt = await verifyDocument(jws, verifier, "countenance-receipt+jws");
  const { binding, event, processing } = receipt;
  const isOurs =
    binding.session === session &&
    binding.tenant === tenant &&
    binding.device_public_key === base64url(devicePublic) &&
    nowUtcUs < event.valid_until_utc_us &&
    processing.purposes.includes("capture") &&
    processing.purposes.includes("cloud_scoring");
  if (!isOurs) throw new Error("the receipt does not allow this");
  return receipt;
}

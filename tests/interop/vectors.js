// Check this client against tests/vectors/interop; gives the names of what was checked, throws at the first difference.

import { base64url, canonicalJson, concat, hex, sha256, unhex, utf8 } from "./bytes.js";
import { importVerifier, readBundle, readReceipt, verifyDocument } from "./documents.js";
import { sealBase } from "./hpke.js";
import { stripSegments } from "./jpeg.js";
import { datagram, encodeHeader, encodePlaintext, frameKeys, frameNonce, sessionInfo, signedBytes } from "./sealing.js";
import { aesGcmSeal } from "./bytes.js";

const PKCS8 = { Ed25519: "302e020100300506032b657004220420", X25519: "302e020100300506032b656e04220420" };

const importPrivate = (raw, name, uses) =>
  crypto.subtle.importKey("pkcs8", concat(unhex(PKCS8[name]), unhex(raw)), name, false, uses);

function same(found, expected, what) {
  const text = found instanceof Uint8Array ? hex(found) : found;
  if (text !== expected) throw new Error(`${what}: ${text} is not ${expected}`);
  return what;
}

async function checkEpoch(v) {
  const receiptSha256 = await sha256(utf8(v.receipt));
  const info = sessionInfo({
    keyId: v.key_id,
    session: v.session,
    tenant: v.tenant,
    receiptSha256,
    devicePublic: unhex(v.device_public),
    epoch: v.epoch,
    notAfterUtcUs: v.not_after_utc_us,
  });
  const ephemeral = {
    privateKey: await importPrivate(v.hpke.ephemeral_private, "X25519", ["deriveBits"]),
    publicKey: await crypto.subtle.importKey("raw", unhex(v.hpke.enc), "X25519", true, []),
  };
  const blob = await sealBase(unhex(v.hpke.recipient_public), info, unhex(v.session_secret), ephemeral);
  const signed = await signedBytes(info, blob);
  const device = await importPrivate(v.device_private, "Ed25519", ["sign"]);
  const keys = await frameKeys(unhex(v.session_secret), info);
  return [
    same(receiptSha256, v.receipt_sha256, "receipt digest"),
    same(info, v.info, "info"),
    same(blob, v.hpke.blob, "HPKE blob"),
    same(signed, v.signed, "signed bytes"),
    same(new Uint8Array(await crypto.subtle.sign("Ed25519", device, signed)), v.device_signature, "device signature"),
    same(keys.prk, v.prk, "prk"),
    same(keys.key, v.frame_key, "frame key"),
    same(keys.salt, v.frame_salt, "frame salt"),
  ];
}

async function checkFrame(v, epoch) {
  const { yaw_deg: yaw, pitch_deg: pitch, roll_deg: roll, detector_score: score, ...rest } = v.features;
  const plaintext = encodePlaintext({ yaw, pitch, roll, score, ...rest }, unhex(v.content));
  const { media_time_us: mediaTimeUs, monotonic_us: monotonicUs, ciphertext_length: ciphertextLength, ...plain } = v.fields;
  const header = encodeHeader({ ...plain, mediaTimeUs, monotonicUs, ciphertextLength });
  const nonce = frameNonce(unhex(epoch.frame_salt), v.fields.counter);
  const aad = concat(header, unhex(epoch.receipt_sha256));
  const envelope = concat(header, await aesGcmSeal(unhex(epoch.frame_key), nonce, aad, plaintext));
  const frame = `frame ${v.fields.frame}`;
  return [
    same(plaintext, v.plaintext, `plaintext of ${frame}`),
    same(header, v.header, `header of ${frame}`),
    same(nonce, v.nonce, `nonce of ${frame}`),
    same(aad, v.aad, `AAD of ${frame}`),
    same(envelope, v.envelope, `envelope of ${frame}`),
    same(datagram(v.kind, envelope), v.datagram, `datagram of ${frame}`),
  ];
}

async function checkDocuments(v, epoch) {
  const verifier = await importVerifier(unhex(v.platform_public));
  const done = [];
  for (const { kind, typ, jws } of v.good) {
    await verifyDocument(jws, verifier, typ);
    done.push(kind);
  }
  for (const { typ, jws, why } of v.bad) {
    const isAccepted = await verifyDocument(jws, verifier, typ).then(() => true, () => false);
    done.push(same(String(isAccepted), "false", `refused: ${why}`));
  }
  const bundle = v.good.find(({ kind }) => kind === "bundle");
  const pool = await readBundle(bundle.jws, verifier, v.now_utc_us);
  done.push(same(pool.publicBytes, epoch.hpke.recipient_public, "pool key"));
  await readReceipt(epoch.receipt, verifier, {
    session: epoch.session,
    tenant: epoch.tenant,
    devicePublic: unhex(epoch.device_public),
    nowUtcUs: v.now_utc_us,
  });
  return done;
}

async function checkConsent(v, epoch) {
  const device = await importPrivate(epoch.device_private, "Ed25519", ["sign"]);
  const canonical = canonicalJson(v.body);
  const signature = new Uint8Array(await crypto.subtle.sign("Ed25519", device, utf8(canonical)));
  return [
    same(canonical, v.canonical, "canonical JSON"),
    same(base64url(signature), v.device_signature, "signature of the consent"),
  ];
}

function checkJpeg(cases) {
  const [canvas, plain] = cases.map(({ jpeg }) => unhex(jpeg));
  return [same(stripSegments(canvas), hex(plain), "stripped JPEG")];
}

export async function checkVectors(folder) {
  const load = async (name) => (await fetch(`${folder}/${name}.json`)).json();
  const epoch = await load("epoch");
  const done = await checkEpoch(epoch);
  for (const frame of await load("frames")) done.push(...(await checkFrame(frame, epoch)));
  done.push(...(await checkDocuments(await load("documents"), epoch)));
  done.push(...(await checkConsent(await load("consent"), epoch)));
  done.push(...checkJpeg(await load("jpeg")));
  return done;
}

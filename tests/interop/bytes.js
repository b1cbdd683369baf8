// Bytes and their spellings: hexadecimal, both base64 alphabets, canonical JSON (W13, RFC 8785).

export const utf8 = (text) => new TextEncoder().encode(text);
export const text = (bytes) => new TextDecoder("utf-8", { fatal: true }).decode(bytes);

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export function unhex(digits) {
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

export const uuidBytes = (uuid) => unhex(uuid.replaceAll("-", ""));

export const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));

export const unbase64 = (digits) => Uint8Array.from(atob(digits), (char) => char.charCodeAt(0));

export const base64url = (bytes) => base64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

/** Read base64url; anything but its one accepted spelling throws. */
export function unbase64url(digits) {
  const bytes = unbase64(digits.replaceAll("-", "+").replaceAll("_", "/"));
  if (base64url(bytes) !== digits) throw new Error("base64url is not in its one accepted spelling");
  return bytes;
}

/** RFC 8785 for what the protocol holds: strings, whole numbers, booleans, arrays, objects. */
export function canonicalJson(value) {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const members = Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonicalJson(value[name])}`);
  return `{${members.join(",")}}`;
}

export const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

export async function hmacSha256(key, bytes) {
  const usable = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", usable, bytes));
}

/** HKDF-Expand (RFC 5869) for at most one block, which is all that the protocol asks for. */
export async function hkdfExpand(prk, info, length) {
  return (await hmacSha256(prk, concat(info, Uint8Array.of(1)))).slice(0, length);
}

export async function aesGcmSeal(key, nonce, aad, plaintext) {
  const usable = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["encrypt"]);
  const options = { name: "AES-GCM", iv: nonce, additionalData: aad, tagLength: 128 };
  return new Uint8Array(await crypto.subtle.encrypt(options, usable, plaintext));
}

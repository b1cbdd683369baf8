// From the invitation to a ticket (J1 to J6).

import { base64url, canonicalJson, hex, sha256, unbase64, utf8 } from "./bytes.js";
import { importVerifier, readBundle, readReceipt, verifyDocument } from "./documents.js";

export async function newDevice() {
  const pair = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
  return {
    publicBytes: new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)),
    sign: async (bytes) => new Uint8Array(await crypto.subtle.sign("Ed25519", pair.privateKey, bytes)),
  };
}

/** What an invitation lets a viewer do; the token stays in here. */
export class Invitation {
  #base;
  #token;

  constructor(link) {
    const [base, token] = link.split("#");
    this.#base = base;
    this.#token = token;
  }

  async call(method, path, body) {
    const headers = { Authorization: `Bearer ${this.#token}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const answer = await fetch(this.#base + path, { method, headers, body: body && JSON.stringify(body) });
    const read = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(`${answer.status}: ${read.detail}`), { status: answer.status });
    return read;
  }

  async join() {
    const join = await this.call("GET", "");
    this.clockUs = join.server_utc_us - Date.now() * 1000;
    this.verifier = await importVerifier(unbase64(join.signing_public_key));
    this.poolKey = await readBundle(join.key_bundle, this.verifier, this.nowUtcUs());
    this.session = join.session_id;
    this.tenant = join.tenant_id;
    return join;
  }

  nowUtcUs() {
    return Math.round(Date.now() * 1000 + this.clockUs);
  }

  async consent({ notice, purposes, optedOut, adult, device }) {
    await this.call("POST", "/notice", { sha256: notice.sha256, locale: notice.locale });
    const body = {
      purposes,
      opted_out: optedOut,
      notice_sha256: notice.sha256,
      device_public_key: base64url(device.publicBytes),
      adult,
    };
    const signature = await device.sign(utf8(canonicalJson(body)));
    const answer = await this.call("POST", "/consent", { ...body, device_signature: base64url(signature) });
    const claims = await readReceipt(answer.receipt, this.verifier, {
      session: this.session,
      tenant: this.tenant,
      devicePublic: device.publicBytes,
      nowUtcUs: this.nowUtcUs(),
    });
    return { receipt: answer.receipt, validUntilUtcUs: claims.event.valid_until_utc_us };
  }

  async ticket(receipt) {
    return this.call("POST", "/ticket", { receipt_sha256: hex(await sha256(utf8(receipt))) });
  }

  withdraw() {
    return this.call("POST", "/withdraw", {});
  }

  /** J7: wait for the proof that everything is deleted, and verify it. */
  async deletionReceipt() {
    for (;;) {
      const answer = await this.call("GET", "/deletion-receipt");
      if (answer.receipt) return verifyDocument(answer.receipt, this.verifier, "countenance-deletion+jws");
      await new Promise((done) => setTimeout(done, 500));
    }
  }
}

// A viewer's client in a page: consent, connection, sealed crops, acks. Written from docs/protocol.md and docs/protocol/.

import { encodeCrop } from "./jpeg.js";
import { Invitation, newDevice } from "./joining.js";
import { Link } from "./link.js";
import { CODEC_JPEG, Epoch, LATE, LIVE, datagram } from "./sealing.js";

const SIDE_PX = 96;
const EPOCH_US = 600e6;
const ACK_WAIT_US = 2e6;
const KEEP_US = 10e6;
const DRAIN_US = 3e6;
const BUSY_US = 1e6;
const PATIENCE_US = 15e6;
const CLOCK_FIRST_US = 250e3;
const CLOCK_US = 5e6;
const TICK_MS = 50;

const monotonicUs = () => Math.round(performance.now() * 1000);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** S8: the best of the last eight four-timestamp exchanges. */
class Clock {
  #samples = [];
  #nextUs = 0;
  #told = null;

  take(reply) {
    const t4 = monotonicUs();
    const roundTripUs = t4 - reply.t1_monotonic_us - (reply.t3_utc_us - reply.t2_utc_us);
    const offsetUs = Math.floor((reply.t2_utc_us - reply.t1_monotonic_us + (reply.t3_utc_us - t4)) / 2);
    this.#samples = [...this.#samples, { offsetUs, errorUs: Math.max(0, Math.ceil(roundTripUs / 2)) }].slice(-8);
  }

  due() {
    const messages = [];
    const now = monotonicUs();
    if (now >= this.#nextUs) {
      this.#nextUs = now + (this.#samples.length < 4 ? CLOCK_FIRST_US : CLOCK_US);
      messages.push({ type: "clock", t1_monotonic_us: now });
    }
    const best = this.#samples.reduce((one, other) => (one && one.errorUs <= other.errorUs ? one : other), null);
    if (best && best !== this.#told) {
      this.#told = best;
      messages.push({ type: "clock_offset", offset_us: best.offsetUs, error_us: best.errorUs });
    }
    return messages;
  }
}

/** One session of one epoch: counts frames, repairs what is lost, adds up what comes back. */
class Streaming {
  acked = new Set();
  refused = {};
  revoked = null;
  #clock = new Clock();
  #waiting = new Map();
  #captured = 0;
  #sent = 0;
  #skipped = {};
  #gaps = [];
  #countersUs = 0;

  constructor(startUs) {
    this.startUs = startUs;
  }

  /** S9, S12: frames go over this connection from now on; what was sealed before is repaired over it too. */
  moveTo({ epoch, link }) {
    const before = this.link;
    Object.assign(this, { epoch, link });
    this.#clock = new Clock();
    this.#countersUs = 0;
    this.link.say({ type: "segment", segment: 0, media_time_us: 0, monotonic_us: this.startUs, rate_permille: 1000 });
    before?.close();
  }

  onControl(message) {
    if (message.type === "clock_reply") this.#clock.take(message);
    else if (message.type === "refusals") {
      for (const [reason, count] of Object.entries(message.counts)) this.refused[reason] = (this.refused[reason] ?? 0) + count;
    } else if (message.type === "revoked") this.revoked = message.reason;
    else if (message.type === "ack") {
      for (let bit = 0; bit < 30; bit += 1) {
        if (message.mask & (1 << bit)) {
          this.acked.add(message.bucket * 30 + bit);
          this.#waiting.delete(message.bucket * 30 + bit);
        }
      }
    }
  }

  counters() {
    return { type: "counters", captured: this.#captured, with_face: this.#captured, sent: this.#sent, skipped: { ...this.#skipped } };
  }

  tick() {
    const now = monotonicUs();
    for (const message of [...this.#gaps.splice(0), ...this.#clock.due()]) this.link.say(message);
    if (now >= this.#countersUs) {
      this.#countersUs = now + 1e6;
      this.link.say(this.counters());
    }
    // R3: oldest first, one at a time
    for (const [frame, kept] of this.#waiting) {
      if (now - kept.firstUs > KEEP_US) {
        this.#waiting.delete(frame);
        this.#gap(frame, kept.mediaTimeUs, "lost");
      } else if (now - kept.sentUs > ACK_WAIT_US && this.link.crops.bufferedAmount === 0) {
        kept.sentUs = now;
        this.link.crops.send(datagram(LATE, kept.envelope));
        break;
      }
    }
  }

  async frame(jpeg, capturedUs) {
    const frame = this.#captured++;
    const mediaTimeUs = capturedUs - this.startUs;
    const fields = {
      codec: CODEC_JPEG,
      frame,
      mediaTimeUs,
      monotonicUs: capturedUs,
      face: 0,
      faces: 1,
      width: SIDE_PX,
      height: SIDE_PX,
      detector: 0,
      segment: 0,
    };
    const envelope = await this.epoch.seal(fields, jpeg, { quality: 200, attention: 255 });
    if (!(await this.#hasDrained())) {
      this.#skipped.busy_channel = (this.#skipped.busy_channel ?? 0) + 1;
      this.#gap(frame, mediaTimeUs, "busy_channel");
      return;
    }
    this.link.crops.send(datagram(LIVE, envelope));
    this.#sent += 1;
    const now = monotonicUs();
    this.#waiting.set(frame, { envelope, mediaTimeUs, firstUs: now, sentUs: now });
  }

  async end() {
    this.tick();
    this.link.say(this.counters());
    this.link.say({ type: "bye", last_frame: this.#captured - 1 });
    const since = monotonicUs();
    while (this.#waiting.size && monotonicUs() - since < DRAIN_US && this.revoked === null) {
      this.tick();
      await sleep(TICK_MS);
    }
  }

  /** A drawing can wait for the network, as a camera could not, but no longer than a live crop stays fresh. */
  async #hasDrained() {
    const since = monotonicUs();
    while (this.link.crops.bufferedAmount > 0) {
      if (monotonicUs() - since > BUSY_US) return false;
      await sleep(5);
    }
    return true;
  }

  get report() {
    return { ...this.counters(), acked: this.acked.size, refused: this.refused, revoked: this.revoked };
  }

  #gap(frame, mediaTimeUs, reason) {
    this.#gaps.push({ type: "gap", first_frame: frame, last_frame: frame, segment: 0, media_time_us: mediaTimeUs, reason });
  }
}

/** A drawing that stands for a crop; nobody's face is needed to move bytes. */
function draw(canvas, frame) {
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#c9a58c";
  pen.fillRect(0, 0, SIDE_PX, SIDE_PX);
  pen.fillStyle = "#5a3b2e";
  for (const x of [32, 64]) {
    pen.beginPath();
    pen.arc(x, 38 + Math.sin(frame / 9), 6, 0, 7);
    pen.fill();
  }
  pen.beginPath();
  pen.ellipse(48, 66, 18, 3 + 6 * Math.abs(Math.sin(frame / 15)), 0, 0, 7);
  pen.fill();
}

/**
 * Join, consent, connect, send, and say what came back.
 *
 * `strip` takes out what the canvas adds to a JPEG; `spoil` changes each JPEG before it is sealed; `moveAt` is the frame at
 * which a second epoch takes over; `withdraw` ends with a withdrawal, and waits for the proof of the deletion. Before its
 * goodbye it waits, a quarter of a minute at most, until `isEnough` of the report: a busy machine is no reason to lose a crop.
 */
export async function view({
  invite,
  frames,
  fps,
  strip = false,
  spoil = (jpeg) => jpeg,
  moveAt = -1,
  withdraw = false,
  isEnough = ({ sent, acked }) => acked === sent,
}) {
  const invitation = new Invitation(invite);
  const { notice } = await invitation.join();
  document.body.textContent = notice.text;
  const device = await newDevice();
  const purposes = ["capture", "cloud_scoring"];
  const given = await invitation.consent({ notice, purposes, optedOut: ["disgust"], adult: true, device });
  const streaming = new Streaming(monotonicUs());
  const connect = async (number) => {
    const epoch = await beginEpoch({ invitation, device, given, number });
    const link = await Link.open({
      ticket: await invitation.ticket(given.receipt),
      setup: epoch.setup,
      onControl: (message) => streaming.onControl(message),
      onRevoked: (reason) => {
        streaming.revoked = reason;
      },
    });
    streaming.moveTo({ epoch, link });
  };
  await connect(1);
  const ticking = setInterval(() => streaming.tick(), TICK_MS);
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE_PX, height: SIDE_PX });
  for (let frame = 0; frame < frames && streaming.revoked === null; frame += 1) {
    if (frame === moveAt) await connect(2);
    await sleep(1000 / fps);
    draw(canvas, frame);
    await streaming.frame(spoil(await encodeCrop(canvas, { strip })), monotonicUs());
  }
  const sentUs = monotonicUs();
  while (!withdraw && !isEnough(streaming.report) && monotonicUs() - sentUs < PATIENCE_US) await sleep(TICK_MS);
  clearInterval(ticking);
  let deletion = null;
  if (withdraw) {
    streaming.link.say({ type: "withdraw", monotonic_us: monotonicUs() });
    await invitation.withdraw();
    deletion = await invitation.deletionReceipt();
  } else {
    await streaming.end();
  }
  streaming.link.close();
  return { session: invitation.session, deletion, ...streaming.report };
}

function beginEpoch({ invitation, device, given, number }) {
  return Epoch.begin({
    poolKey: invitation.poolKey,
    session: invitation.session,
    tenant: invitation.tenant,
    epoch: number,
    receipt: given.receipt,
    device,
    notAfterUtcUs: Math.min(invitation.nowUtcUs() + EPOCH_US, invitation.poolKey.notAfterUtcUs, given.validUntilUtcUs),
  });
}

// One connection: websocket, offer, answer, both channels (W14 to W16).

const MINOR = 1;

const within = (promise, ms, what) =>
  Promise.race([promise, new Promise((_, fail) => setTimeout(() => fail(new Error(`no ${what} in ${ms} ms`)), ms))]);

const happens = (target, name) => new Promise((done) => target.addEventListener(name, done, { once: true }));

export class Link {
  static async open({ ticket, setup, onControl, onRevoked }) {
    const self = new Link();
    const iceServers = ticket.ice_servers.map(({ url, username, credential }) => ({ urls: url, username, credential }));
    self.connection = new RTCPeerConnection({ iceServers });
    self.crops = self.connection.createDataChannel("crops", { ordered: false, maxRetransmits: 0 });
    self.ctl = self.connection.createDataChannel("ctl", { ordered: true });
    self.crops.binaryType = "arraybuffer";
    self.ctl.addEventListener("message", ({ data }) => onControl(JSON.parse(data)));
    const areOpen = Promise.all([happens(self.crops, "open"), happens(self.ctl, "open")]);
    await self.connection.setLocalDescription();
    while (self.connection.iceGatheringState !== "complete") {
      await happens(self.connection, "icegatheringstatechange");
    }
    self.socket = new WebSocket(ticket.ingest_url);
    await within(
      Promise.race([happens(self.socket, "open"), happens(self.socket, "error").then(() => Promise.reject(new Error("the websocket was refused")))]),
      10_000,
      "websocket",
    );
    const answered = happens(self.socket, "message");
    const offer = { type: "offer", ticket: ticket.ticket, sdp: self.connection.localDescription.sdp, setup };
    const minor = Math.min(MINOR, ticket.protocol_minor ?? 0);
    self.socket.send(JSON.stringify(minor ? { ...offer, minor } : offer));
    const answer = JSON.parse((await within(answered, 15_000, "answer")).data);
    if (answer.type !== "answer") throw Object.assign(new Error(`${answer.code}: ${answer.reason}`), answer);
    self.socket.addEventListener("message", ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "revoked") onRevoked(message.reason);
    });
    await self.connection.setRemoteDescription({ type: "answer", sdp: answer.sdp });
    await within(areOpen, 10_000, "open channel");
    return self;
  }

  say(message) {
    this.ctl.send(JSON.stringify(message));
  }

  close() {
    this.crops.close();
    this.ctl.close();
    this.connection.close();
    this.socket.close();
  }
}

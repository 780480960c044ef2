import { ApiError, hasOwnAuthority, pageTime } from "./api.js";
import { Asking, Describing, PATIENCE, answerable } from "./asking.js";
import { Camera, CameraProblem } from "./camera.js";
import { Agreed, NOTHING_YET, confirmation } from "./facts.js";
import { Handover } from "./handover.js";
import { Closing, Outage } from "./outage.js";
import { Peer } from "./peer.js";
import { SendStats, SenderControl } from "./sender.js";
import { Session } from "./session.js";
import { ChatSocket } from "./socket.js";

/** @typedef {import("./facts.js").Facts} Facts */
/** @typedef {import("./facts.js").Question} Question */
/** @typedef {import("./messages.d.ts").ServerMessage} ServerMessage */

const TYPING_EVERY = 700;
const HIDDEN_FOR = 4000;
// Both ends drop a connection after 30 s without consent (RFC 7675); ms, a little less.
const CONSENT = 25_000;
// Time (ms) for which a setting the user has just changed overrides an older status from the server.
const SETTLES = 1500;
// Failed attempts to open a socket after which the certificate is suspected.
const REFUSED_AFTER = 2;

/** One visit: connects camera, session, WebRTC and socket. Uses no DOM. */
export class Visit {
  /** @type {Facts} */
  facts = { ...NOTHING_YET };

  #hooks;
  #asking;
  #closing = new Closing();
  #agreed;
  #typedAt = -Infinity;
  #toggledAt = -Infinity;
  #pageHidden = false;
  // The camera is over, and the socket stays until the answers are.
  #finishing = false;
  // A camera of this device was on before the shared screen.
  #cameraBefore = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #hiding;

  /** @param {import("./facts.js").Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#agreed = new Agreed(hooks.agreed);
    this.#asking = new Asking({
      ready: () => !this.socket.doubted && !this.handover.leaving && answerable(this.facts, this.outage.connectedFor),
      send: (message) => {
        this.control.wake();
        return this.socket.send(message);
      },
      onSent: hooks.onSent,
      onUnheard: () => this.outage.unheard(),
    });
    this.camera = new Camera({
      onChange: () => this.#set({ muted: this.camera.muted }),
      onLost: () => void this.#lost(),
    });
    this.session = new Session({
      askCode: hooks.askCode,
      onNew: (first) => this.#sessionChanged(first),
      onIceServers: () => this.peer?.renewRelays(),
    });
    this.control = new SenderControl({ limitRate: (framerate) => this.camera.limitFrameRate(framerate) });
    this.stats = new SendStats((sent) => this.#set({ sent }));
    this.peer = new Peer({
      session: this.session,
      onState: (link, linkError) => {
        // Connected again: get a picture now, not half a second later.
        if (link === "connected" && this.outage.connectedOnce) this.control.wake();
        this.outage.linkChanged(link);
        if (link === "connected") {
          setTimeout(() => this.#asking.flush(), PATIENCE + 50);
          this.socket.hurry();
        }
        this.#set({ link, linkError });
        if (linkError?.code === "cancelled") this.stop();
      },
      onVoice: (voice) => this.#hooks.onVoice?.(voice),
      onSender: (sender, plan) => {
        this.control.attach(sender, plan);
        this.stats.attach(sender);
        this.outage.pulse.attach(sender);
      },
    });
    this.socket = new ChatSocket({
      session: this.session,
      onMessage: (message) => this.#received(message),
      onTrusted: () => {
        this.outage.trusted();
        this.#asking.flush();
      },
      onSilent: () => this.outage.silent(),
      onState: (socket, closeCode, socketError) => this.#socketChanged(socket, closeCode, socketError),
    });
    this.outage = new Outage({ facts: () => this.facts, socket: this.socket, onChange: (cut) => this.#set({ cut }) });
    this.description = new Describing({
      facts: () => this.facts,
      set: (change) => this.#set(change),
      socket: this.socket,
    });
    this.handover = new Handover({
      session: this.session,
      socket: this.socket,
      asking: this.#asking,
      onBroken: hooks.onBroken,
    });
  }

  /** Start camera and connection in parallel. */
  async start() {
    if (!this.facts.active) await this.useDevice();
  }

  /** Use this camera of the device from now on. @param {string} [id] by default as it was chosen before */
  async useDevice(id) {
    if (id !== undefined) this.camera.choose(id);
    if (this.facts.camera === "on") return this.#change(() => this.camera.reopen());
    this.#begin();
    await this.#openCamera();
  }

  /**
   * Let the person share a screen, in place of any camera or of none.
   * @returns {Promise<boolean>} false: they chose none
   * @throws {CameraProblem}
   */
  async share() {
    const { active, camera, screen } = this.facts;
    const before = screen ? this.#cameraBefore : active && camera !== "elsewhere";
    if (!(await this.camera.share())) return false;
    this.#cameraBefore = before;
    this.#begin();
    await this.#streaming();
    return true;
  }

  /** Begin, if it has not. */
  #begin() {
    this.#finishing = false;
    if (this.facts.camera === "elsewhere") this.#watch(false);
    if (this.facts.active) return;
    this.#set({ active: true, closeCode: 0, socketError: null, linkError: null, pairingError: null });
    this.socket.open();
  }

  /** Let another device be the camera: the page closes its own and shows stills. */
  elsewhere() {
    if (this.facts.camera === "elsewhere") return;
    this.#finishing = false;
    // Without a message to the server, whose connection may already be the other device's.
    this.peer.stop({ taken: true });
    this.camera.close();
    this.#hooks.onStream(null);
    this.#set({
      active: true,
      camera: "elsewhere",
      screen: false,
      muted: false,
      closeCode: 0,
      socketError: null,
      linkError: null,
    });
    this.socket.open();
    this.#watch(!this.#pageHidden);
  }

  /** Have a picture of another device's camera every second, or none. @param {boolean} wanted */
  #watch(wanted) {
    this.socket.send({ type: "settings", stills: wanted });
  }

  /** Redeem a one-time code in place of the access code. @param {string} code */
  async pair(code) {
    this.#set({ pairingError: null });
    try {
      await this.session.pair(code);
    } catch (error) {
      // Any other failure may pass: it is retried when the camera starts.
      if (error instanceof ApiError && error.status === 401) this.#set({ pairingError: error });
    }
  }

  /** @param {boolean} [finish] see `#end` */
  stop(finish) {
    clearTimeout(this.#hiding);
    if (this.facts.describing) this.describe(false); // no background work without a viewer
    if (this.facts.held) this.hold(false);
    if (this.facts.camera === "elsewhere") this.#watch(false);
    this.#end("off", { held: false, describing: false }, finish);
  }

  /** Send at the awake rate for a moment, because a question is about to come. */
  wake() {
    this.control.wake();
  }

  /** Wake both sides; the server is notified at most every 700 ms. */
  typing() {
    this.control.wake();
    const now = performance.now();
    if (now - this.#typedAt < TYPING_EVERY) return;
    if (this.socket.send({ type: "typing" })) this.#typedAt = now;
  }

  /**
   * Ask now, or as soon as there is a camera and a connection.
   * @param {string} content @param {Question["detail"]} [detail] @param {Question["route"]} [route]
   * @returns {{id: string, sent: boolean}}
   */
  ask(content, detail = "auto", route = undefined, part = null) {
    const at = pageTime();
    this.control.wake(); // first, so that the frame for the answer is captured as soon as possible
    const asked = this.#asking.ask(content, detail, at, route, part);
    if (!asked.sent) {
      if (!this.facts.active) void this.start();
      else this.retry();
    }
    return asked;
  }

  /** @param {string} id @returns {boolean} true when it had not been sent at all */
  cancel(id) {
    if (this.#asking.drop(id)) return true;
    this.socket.send({ type: "cancel", id });
    return false;
  }

  /** @param {boolean} held @returns {boolean} true when the message was sent */
  hold(held) {
    this.control.wake();
    if (!this.socket.send({ type: held ? "hold" : "release" })) return false;
    // A description is of the live picture.
    if (held && this.facts.describing) this.describe(false);
    this.#toggledAt = performance.now();
    this.#set({ held });
    return true;
  }

  /** @param {boolean} describing @returns {boolean} true when the message was sent */
  describe(describing) {
    if (!this.description.want(describing)) return false;
    if (describing && this.facts.held) this.hold(false);
    this.#toggledAt = performance.now();
    return true;
  }

  /**
   * The other machine that would get what a feature sends, and that the user has not agreed to; "" for none.
   * @param {string} feature of the server, such as "voice_in"
   */
  unagreed(feature) {
    return this.#agreed.missing(this.facts.ready?.features[feature]?.elsewhere ?? "", feature);
  }

  /**
   * Note the user's consent to the machine that gets pictures, or what a feature sends.
   * @param {string} host @param {string} [feature]
   */
  agree(host, feature = "") {
    this.#hooks.onAgreed(this.#agreed.add(host, feature));
    this.socket.send(confirmation(host, feature));
    if (feature || this.facts.disclose !== host) return; // the engine has changed again
    this.#set({ disclose: "" });
    this.description.repeat();
  }

  /** Retry everything at once that waits to be retried. */
  retry() {
    if (!this.facts.active) return;
    this.socket.open();
    this.peer.retry();
  }

  /**
   * Check the connections after the device slept: they may be dead without notice.
   * @param {number} ms duration of the sleep; Infinity after a change of networks, with which all addresses are lost
   */
  woke(ms) {
    if (!this.facts.active) return;
    this.retry();
    this.outage.doubt();
    if (ms > CONSENT) this.peer.renew();
  }

  /** Check the connections: a server on this device, or in a network without internet, may still be reachable. */
  offline() {
    this.outage.doubt();
  }

  /** Count the cameras again, and reopen a camera that was lost and is connected again. */
  async devicesChanged() {
    if (this.facts.camera !== "lost") return this.camera.recount();
    if ((await this.camera.returned()) && this.facts.camera === "lost") await this.start();
  }

  /** @param {boolean} [same] reopen the same one @returns {Promise<void>} */
  async exchangeCamera(same = false) {
    // A screen stays as it is.
    if (this.facts.camera !== "on" || this.facts.screen) return;
    await this.#change(() => (same ? this.camera.reopen() : this.camera.exchange()));
  }

  /** @param {() => Promise<boolean>} open */
  async #change(open) {
    try {
      if (await open()) await this.#streaming();
    } catch (error) {
      this.#cameraFailed(error);
    }
  }

  /** The camera was disconnected; or a screen is shared no more. */
  async #lost() {
    if (!this.facts.screen) return this.#end("lost", {}, true);
    this.#hooks.onUnshared(!this.#cameraBefore);
    if (this.#cameraBefore) await this.useDevice();
    else this.stop(true);
  }

  hidden() {
    this.#pageHidden = true;
    clearTimeout(this.#hiding);
    this.#hiding = setTimeout(() => {
      // While sharing another window, the person looks at that one.
      if (this.facts.screen || this.#hooks.keeps()) return this.hidden();
      if (this.facts.camera === "on") this.#release("resting");
      if (this.facts.camera === "elsewhere") this.#watch(false);
    }, HIDDEN_FOR);
  }

  shown() {
    this.#pageHidden = false;
    clearTimeout(this.#hiding);
    if (!this.facts.active) return;
    this.socket.open();
    if (this.facts.camera === "resting") void this.#openCamera();
    if (this.facts.camera === "elsewhere") this.#watch(true);
  }

  /** Release everything, because the page is closed or put into the back cache. */
  leave() {
    clearTimeout(this.#hiding);
    if (this.facts.screen) this.#set({ active: false }); // only the person can share it again
    if (this.facts.camera !== "elsewhere") this.#release(this.facts.active ? "resting" : "off", true);
    this.socket.close();
  }

  async #openCamera() {
    this.#set({ camera: "asking" });
    await this.#change(() => this.camera.open());
  }

  async #streaming() {
    const track = this.camera.track;
    if (!track || !this.facts.active) return;
    this.#hooks.onStream(this.camera.stream);
    this.#set({ camera: "on", screen: this.camera.screen, muted: this.camera.muted });
    await this.peer.start(track);
    this.control.refresh();
    // Hidden while the camera was opening: start the timer for closing it now.
    if (this.#pageHidden) this.hidden();
  }

  /** @param {unknown} error */
  #cameraFailed(error) {
    const camera = error instanceof CameraProblem ? error.kind : "failed";
    this.#end(camera, {}, true);
  }

  /**
   * End the visit until the user starts it again.
   * @param {Facts["camera"]} camera @param {Partial<Facts>} [change] @param {boolean} [finish] answers under way go on
   */
  #end(camera, change = {}, finish = false) {
    this.#finishing = finish && this.#asking.answering;
    const unsent = this.#asking.dropAny(this.#finishing);
    this.#release(camera);
    if (!this.#finishing && this.facts.socket !== "ended") this.socket.close();
    this.outage.end();
    this.#set({ active: false, status: null, coming: null, untrusted: false, ...change });
    if (unsent) this.#hooks.onUnsent(unsent.id);
  }

  /** @param {Facts["camera"]} camera @param {boolean} [leaving] */
  #release(camera, leaving = false) {
    this.peer.stop({ leaving });
    this.camera.close();
    this.#hooks.onStream(null);
    this.#set({ camera, screen: false, muted: false });
  }

  /** @param {boolean} first */
  #sessionChanged(first) {
    if (first) return;
    // Socket and camera belonged to the old session.
    this.#set({ held: false, status: null, coming: null, ready: null });
    this.socket.close();
    if (this.facts.active) this.socket.open();
    this.peer.reoffer();
    this.#hooks.onNewSession(this.handover.begin());
  }

  /** @param {import("./socket.js").SocketState} socket @param {number} closeCode @param {ApiError|null} socketError */
  #socketChanged(socket, closeCode, socketError) {
    if (this.#finishing && socket === "waiting") return this.#finish();
    const wasOpen = this.facts.socket === "open";
    this.#set(this.#closing.changed(this.facts, socket, closeCode, socketError));
    const again = wasOpen && socket !== "ended" ? this.#asking.again() : "";
    if (wasOpen && socket !== "open") this.#hooks.onBroken(again);
    if (wasOpen && socket === "waiting") this.outage.begin();
    if (socket === "waiting" && this.socket.unopened >= REFUSED_AFTER && !this.facts.untrusted) void this.#findOutWhy();
    if (socket === "open") {
      // Another server may be there now; one that knows of a model says so.
      this.#set({ untrusted: false, coming: null });
      this.outage.trusted();
      this.handover.opened();
      for (const message of this.#agreed.messages) this.socket.send(message);
      // All settings each time: a new session, or one that missed a change, lacks them.
      const stills = this.facts.camera === "elsewhere" && !this.#pageHidden;
      this.socket.send({
        type: "settings",
        thumbnails: true,
        stills,
        screen: this.facts.screen,
        time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
        ...this.description.settings(),
      });
      this.peer.hurry();
    } else if (socket === "ended") {
      this.#end("off"); // without a socket the camera is of no use
    }
  }

  #finish() {
    this.#finishing = false;
    this.socket.close();
  }

  /** Find the reason when tokens are granted but no socket opens. */
  async #findOutWhy() {
    const untrusted = await hasOwnAuthority();
    if (untrusted && this.facts.active && this.socket.unopened > 0) this.#set({ untrusted });
  }

  /** @param {ServerMessage} message */
  #received(message) {
    if (this.handover.receive(message)) return;
    if ("id" in message && message.id) this.#asking.heard(message);
    switch (message.type) {
      case "ready": {
        const before = this.facts.ready;
        const ask = this.#agreed.missing(message.elsewhere);
        this.#set({ ready: message, held: message.held, disclose: ask });
        if (message.engine_state === "ready" || message.engine === "builtin")
          this.#hooks.onEngine(message.engine, message.model);
        if (Boolean(message.features.describe?.on) !== (this.facts.describing && !ask)) this.description.repeat();
        // A restarted server accepts the old token for a new session.
        if (before?.session_id === message.session_id && before.began_at !== message.began_at) {
          // The old connection is dead: the browser would notice in ten seconds.
          if (this.facts.link === "connected" || this.facts.link === "interrupted") this.peer.reoffer();
          this.#hooks.onNewSession(this.handover.begin());
          this.handover.bring();
        }
        break;
      }
      case "status": {
        const now = performance.now();
        const settled = now - this.#toggledAt > SETTLES;
        this.#set({ status: message, ...(settled ? { held: message.held } : {}) });
        const stood = this.facts.link === "connected" || this.facts.link === "interrupted";
        this.outage.cameraStatus(message);
        // Another device has connected with this session's token.
        if (message.source === "whip" && stood && this.facts.camera === "on") return this.elsewhere();
        // The server has closed its end, which this side would notice seconds later.
        const gone = !message.camera || message.camera === "ended";
        if (gone && this.facts.link === "connected" && this.outage.connectedFor > PATIENCE) {
          this.peer.reoffer();
        }
        break;
      }
      case "model_coming":
        this.#set({ coming: message.model ? message : null });
        break;
      case "sender":
        this.control.follow(message);
        break;
      default:
        this.#hooks.onMessage(message);
    }
    if (this.#finishing && !this.#asking.answering) this.#finish();
  }

  /** @param {Partial<Facts>} change */
  #set(change) {
    const { screen } = this.facts;
    this.facts = { ...this.facts, ...change };
    if (this.facts.screen !== screen) this.socket.send({ type: "settings", screen: !screen });
    this.#hooks.onChange(this.facts);
    this.#asking.flush();
  }
}

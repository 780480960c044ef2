import { ApiError, request } from "../../core/live/api.js";
import { farAway } from "../../core/page/words.js";
import { text } from "../../core/words/text.js";
import { CamerasDialog, CamerasStage, OWN, nameOf } from "./view.js";

/** @typedef {import("../../core/live/messages.d.ts").CameraInfo} CameraInfo */

/** Several cameras: invites, names and ends them, and chooses those that questions are about. Loaded when needed. */
export class CamerasPanel {
  #page;
  #visit;
  #dialog;
  #stage;
  /** @type {CameraInfo[]} */
  #cameras = [];
  // The id of the large one
  #shown = OWN;
  // Questions are about all of them.
  #together = false;
  // The last message to the server
  #told = OWN;
  // Called with the next facts that tell whether the server is there
  #settled = () => {};

  /** @param {import("../../core/page.js").Page} page */
  constructor(page) {
    this.#page = page;
    this.#visit = page.visit;
    this.#dialog = new CamerasDialog({
      invite: () => this.#invite(),
      rename: (id, name) => void this.#request("PATCH", `/${id}`, { name }).then(() => this.#draw()),
      end: (id) => void this.#request("DELETE", `/${id}`),
    });
    this.#stage = new CamerasStage(page.stage.video, {
      choose: (id) => {
        this.#shown = id;
        this.#together = false;
        this.#draw();
      },
      manage: (button) => void page.dialogs.showCameras(button),
      all: () => {
        this.#together = !this.#together;
        this.#draw();
      },
    });
  }

  /** The dialog was opened. */
  open() {
    this.#dialog.open(this.#visit.facts.ready?.features.rtsp !== undefined);
    this.#draw();
  }

  /** Revoke what the dialog showed: it was closed. */
  forget() {
    this.#dialog.forget();
  }

  /** @param {CameraInfo[]} cameras */
  receive(cameras) {
    const before = new Map(this.#cameras.map((camera) => [camera.id, camera]));
    this.#cameras = cameras;
    for (const camera of cameras) if (camera.id !== OWN) this.#tell(camera, before.get(camera.id));
    if (!cameras.some(({ id }) => id === this.#shown)) this.#shown = OWN;
    if (cameras.length < 2) this.#together = false;
    this.#told = cameras.filter(({ asked }) => asked).map(({ id }) => id).join();
    this.#draw();
  }

  /** @param {import("../../core/live/messages.d.ts").Still} still of a further camera */
  still({ camera = "", image = "", withheld }) {
    this.#stage.still(camera, withheld ? "" : image);
  }

  /** Forget all: another session has none of them. */
  clear() {
    this.forget();
    this.receive([]);
  }

  /** The state has changed. */
  connected() {
    const { active, socket } = this.#visit.facts;
    if (socket === "open" || !active) this.#settled();
    if (this.#dialog.waits === OWN && farAway(this.#visit.facts)) this.#dialog.close();
    if (this.#cameras.length > 1) this.#draw();
  }

  /**
   * End the other devices, because the user switches all off.
   * @param {boolean} far the session's own camera is one, too
   */
  endAll(far) {
    if (far) void this.#request("DELETE", `/${OWN}`);
    for (const { id } of this.#cameras) if (id !== OWN) void this.#request("DELETE", `/${id}`);
  }

  /** Say that a camera has come or gone. @param {CameraInfo} now @param {CameraInfo|undefined} before */
  #tell(now, before) {
    const name = nameOf(now);
    if (now.state === "live" && before?.state !== "live" && before?.state !== "stalled" && before?.state !== "frozen")
      this.#page.note(text("cameras.here", { name }));
    if (now.state === "ended" && before && before.state !== "ended") this.#page.note(text("cameras.gone", { name }));
  }

  #draw() {
    this.#dialog.render(this.#cameras);
    // One that has never sent anything is neither seen nor asked.
    const seen = this.#cameras.filter(({ id, state }) => id === OWN || state);
    this.#stage.render(seen, this.#shown, this.#together);
    const asked = this.#together ? seen.map(({ id }) => id) : [this.#shown];
    if (this.#cameras.length < 2 || this.#told === asked.join()) return;
    if (this.#visit.socket.send({ type: "settings", cameras: asked })) this.#told = asked.join();
  }

  /** Invite a further camera; or, while this page sends nothing, the session's own. */
  async #invite() {
    const { camera } = this.#visit.facts;
    if (["on", "asking", "resting"].includes(camera) || farAway(this.#visit.facts)) {
      const used = this.#cameras.map(({ id }) => id);
      const number = ["2", "3", "4"].find((id) => !used.includes(id)) ?? "4";
      return this.#request("POST", "", { name: text("page.camera_number", { number }) });
    }
    this.#visit.elsewhere();
    if (!(await this.#there())) {
      // The page shows the reason.
      this.#dialog.close();
      return null;
    }
    return this.#request("POST", "", { own: true });
  }

  /** Wait until the session has begun. @returns {Promise<boolean>} false when it will not */
  async #there() {
    if (this.#visit.facts.socket !== "open") await new Promise((resolve) => (this.#settled = () => resolve(true)));
    return this.#visit.facts.socket === "open";
  }

  /**
   * @param {"POST"|"PATCH"|"DELETE"} method
   * @param {string} path
   * @param {object} [body]
   * @returns {Promise<any>} null when it failed; the dialog says why
   */
  async #request(method, path, body) {
    const { session } = this.#visit;
    this.#dialog.say("");
    try {
      await session.ensure();
      const address = `/api/cameras${path}?session=${encodeURIComponent(session.id ?? "")}`;
      return await request(method, address, { token: session.token, body });
    } catch (error) {
      this.#dialog.say(error instanceof ApiError ? error.message : String(error));
      return null;
    }
  }
}

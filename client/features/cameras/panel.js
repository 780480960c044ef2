import { ApiError, request } from "../../core/live/api.js";
import { text } from "../../core/words/text.js";
import { CamerasDialog, CamerasStage, OWN, nameOf } from "./view.js";

/** @typedef {import("../../core/live/messages.d.ts").CameraInfo} CameraInfo */

/** Several cameras: invites, names and ends them, and chooses those that questions are about. Loaded when needed. */
export class CamerasPanel {
  #visit;
  #note;
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

  /**
   * @param {import("../../core/live/visit.js").Visit} visit
   * @param {{video: HTMLVideoElement, note: (text: string) => void}} hooks note: shows a line among the answers
   */
  constructor(visit, { video, note }) {
    this.#visit = visit;
    this.#note = note;
    this.#dialog = new CamerasDialog({
      add: (name) => void this.#add(name),
      rename: (id, name) => void this.#request("PATCH", `/${id}`, { name }).then(() => this.#draw()),
      end: (id) => void this.#request("DELETE", `/${id}`),
    });
    this.#stage = new CamerasStage(video, {
      choose: (id) => {
        this.#shown = id;
        this.#together = false;
        this.#draw();
      },
      manage: () => this.open(),
      all: () => {
        this.#together = !this.#together;
        this.#draw();
      },
    });
  }

  open() {
    this.#dialog.open();
    this.#draw();
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
    this.receive([]);
  }

  /** The page's own camera was opened or closed. */
  connected() {
    if (this.#cameras.length > 1) this.#draw();
  }

  /** End the further cameras, because the user switches all off. */
  endAll() {
    for (const { id } of this.#cameras) if (id !== OWN) void this.#request("DELETE", `/${id}`);
  }

  /** Say that a camera has come or gone. @param {CameraInfo} now @param {CameraInfo|undefined} before */
  #tell(now, before) {
    const name = nameOf(now);
    if (now.state === "live" && before?.state !== "live" && before?.state !== "stalled" && before?.state !== "frozen") this.#note(text("cameras.here", { name }));
    if (now.state === "ended" && before && before.state !== "ended") this.#note(text("cameras.gone", { name }));
  }

  #draw() {
    this.#dialog.render(this.#cameras);
    this.#stage.render(this.#cameras, this.#shown, this.#together);
    // One that has never sent anything is not asked.
    const asked = this.#together ? this.#cameras.filter(({ id, state }) => id === OWN || state).map(({ id }) => id) : [this.#shown];
    if (this.#cameras.length < 2 || this.#told === asked.join()) return;
    if (this.#visit.socket.send({ type: "settings", cameras: asked })) this.#told = asked.join();
  }

  /** @param {string} name "" for the next number */
  async #add(name) {
    const used = this.#cameras.map(({ id }) => id);
    const number = ["2", "3", "4"].find((id) => !used.includes(id)) ?? "4";
    const invited = await this.#request("POST", "", { name: name || text("page.camera_number", { number }) });
    if (invited) this.#dialog.invite(invited);
  }

  /** @param {"POST"|"PATCH"|"DELETE"} method @param {string} path @param {object} [body] @returns {Promise<any>} null when it failed; the dialog says why */
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

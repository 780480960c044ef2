import { byId, say, show } from "../../core/page/dom.js";
import { cameraName } from "../../core/page/words.js";
import { text } from "../../core/words/text.js";

/** @typedef {import("../../core/live/messages.d.ts").CameraInfo} CameraInfo */

/** The id of the session's own camera */
export const OWN = "1";
// Light modules around a QR code (ISO/IEC 18004, section 6.3.8)
const QUIET = 4;

/** @param {CameraInfo} camera */
export function nameOf({ id, name }) {
  return cameraName(id, name);
}

/** @param {CameraInfo["state"]} state */
function stateWords(state) {
  if (state === undefined) return text("cameras.not_connected");
  if (state === "live") return text("page.live");
  if (state === "starting") return text("page.connecting");
  return state === "ended" ? text("cameras.lost") : text("cameras.no_picture");
}

/** The page has words of its own for the session's own camera. @param {CameraInfo} camera */
function fine({ id, state }) {
  return id === OWN || state === "live";
}

/** Its name, with its state where that is no good one. @param {CameraInfo} camera */
function nameWithState(camera) {
  const name = nameOf(camera);
  return fine(camera) ? name : text("cameras.name_state", { name, state: stateWords(camera.state) });
}

/** @template {Element} T @param {ParentNode} root @param {string} selector @param {new () => T} type @returns {T} */
function part(root, selector, type) {
  const found = root.querySelector(selector);
  if (!(found instanceof type)) throw new Error(`A template of the cameras has no ${selector}.`);
  return found;
}

/** @param {string} id */
function clone(id) {
  return /** @type {DocumentFragment} */ (byId(id, HTMLTemplateElement).content.cloneNode(true));
}

/**
 * The cameras dialog's part for other devices: the cameras' names, and the ways to join another one.
 */
export class CamerasDialog {
  #dialog = byId("camera-dialog", HTMLDialogElement);
  #here;
  #list;
  #invited;
  #access;
  #advanced;
  #hooks;
  #inviting = false;
  // The id of the camera that the shown link is for; "" without one
  #waits = "";

  /**
   * @param {Object} hooks
   * @param {() => Promise<any>} hooks.invite the answer of POST /api/cameras; null when it failed
   * @param {(id: string, name: string) => void} hooks.rename
   * @param {(id: string) => void} hooks.end
   */
  constructor(hooks) {
    this.#hooks = hooks;
    byId("camera-here", HTMLElement).append(clone("several-here-template"));
    byId("camera-rows", HTMLElement).append(clone("several-ways-template"));
    this.#here = byId("several-here", HTMLElement);
    this.#list = byId("several-list", HTMLElement);
    this.#invited = byId("several-invited", HTMLElement);
    this.#access = byId("several-access", HTMLElement);
    this.#advanced = byId("several-advanced", HTMLDetailsElement);
    byId("several-phone", HTMLButtonElement).addEventListener("click", async () => {
      if (await this.#invite()) this.#show(this.#invited);
    });
    byId("several-whip", HTMLButtonElement).addEventListener("click", async () => {
      if (await this.#invite()) this.#show(this.#access);
    });
    for (const id of ["several-link", "several-address", "several-token"])
      byId(`${id}-copy`, HTMLButtonElement).addEventListener(
        "click",
        () => void this.#copy(byId(id, HTMLInputElement)),
      );
  }

  /** The id of the camera that is invited, while that shows; "" without one. */
  get waits() {
    return this.#waits;
  }

  /** @param {boolean} rtsp the server has fixed cameras */
  open(rtsp) {
    show(byId("several-rtsp", HTMLElement), rtsp);
  }

  close() {
    this.#dialog.close();
  }

  /** @param {string} words what happened */
  say(words) {
    say(byId("camera-said", HTMLElement), words);
  }

  /** Invite a camera, once for the phone and for what is advanced. @returns {Promise<boolean>} */
  async #invite() {
    if (this.#waits || this.#inviting) return this.#waits !== "";
    this.#inviting = true;
    const invited = await this.#hooks.invite();
    this.#inviting = false;
    // It is no longer visible.
    if (!invited || !this.#dialog.open) return false;
    const { camera, link, qr, address, token } = invited;
    this.#waits = camera;
    byId("several-link", HTMLInputElement).value = link;
    byId("several-address", HTMLInputElement).value = new URL(address, location.href).href;
    byId("several-token", HTMLInputElement).value = token;
    drawCode(byId("several-code", SVGSVGElement), qr);
    const https = location.protocol === "https:";
    show(byId("several-insecure", HTMLElement), !https);
    for (const id of ["several-scan", "several-code"]) byId(id, Element).toggleAttribute("hidden", !https);
    // Another window of this computer can be the camera at least.
    show(byId("several-joining", HTMLElement), isSecureContext);
    return true;
  }

  /** @param {HTMLElement} way */
  #show(way) {
    show(way, true);
    show(byId("several-whip", HTMLElement), this.#access.hidden);
    way.scrollIntoView({ block: "nearest" });
  }

  /** @param {CameraInfo[]} cameras */
  render(cameras) {
    const waits = cameras.find(({ id }) => id === this.#waits);
    if (this.#waits && this.#waits !== OWN && (!waits || waits.state)) this.forget();
    show(this.#here, cameras.length > 1);
    // A row stays while its camera does: somebody may be typing its name.
    const rows = new Map([...this.#list.querySelectorAll("li")].map((row) => [row.dataset.id, row]));
    for (const [id, row] of rows) if (!cameras.some((camera) => camera.id === id)) row.remove();
    for (const camera of cameras) {
      const row = rows.get(camera.id) ?? this.#list.appendChild(this.#row(camera));
      const name = part(row, ".name", HTMLInputElement);
      if (document.activeElement !== name) name.value = nameOf(camera);
      say(part(row, ".state", HTMLElement), camera.id === OWN && !camera.state ? "" : stateWords(camera.state));
      part(row, ".end", HTMLElement).setAttribute("aria-label", text("cameras.end", { name: nameOf(camera) }));
    }
  }

  /** @param {CameraInfo} camera */
  #row(camera) {
    const row = part(clone("several-row-template"), "li", HTMLElement);
    const name = document.createElement("input");
    Object.assign(name, {
      className: "name",
      maxLength: 40,
      autocomplete: "off",
      dir: "auto",
      ariaLabel: text("cameras.name"),
    });
    row.dataset.id = camera.id;
    row.prepend(name);
    name.addEventListener("change", () => this.#hooks.rename(camera.id, name.value.trim()));
    const end = part(row, ".end", HTMLButtonElement);
    show(end, camera.id !== OWN);
    end.addEventListener("click", () => this.#hooks.end(camera.id));
    return row;
  }

  /** Take the secrets of an invitation away. */
  forget() {
    this.#waits = "";
    this.#advanced.open = false;
    for (const way of [this.#invited, this.#access]) show(way, false);
    show(byId("several-whip", HTMLElement), true);
    for (const id of ["several-link", "several-token"]) byId(id, HTMLInputElement).value = "";
    part(byId("several-code", SVGSVGElement), "path", SVGPathElement).removeAttribute("d");
  }

  /** @param {HTMLInputElement} input */
  async #copy(input) {
    input.select();
    try {
      await navigator.clipboard.writeText(input.value);
      this.say(text("page.copied"));
    } catch {
      this.say(text("page.copy_marked"));
    }
  }
}

/** @param {SVGSVGElement} svg @param {string[]} rows */
function drawCode(svg, rows) {
  const side = rows.length + 2 * QUIET;
  svg.setAttribute("viewBox", `0 0 ${side} ${side}`);
  const dark = rows.flatMap((row, y) =>
    [...row].map((module, x) => (module === "1" ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : "")),
  );
  part(svg, "path", SVGPathElement).setAttribute("d", dark.join(""));
}

/** The cameras on the picture: one large, the others small. */
export class CamerasStage {
  #large;
  #strip;
  #together;
  #own;
  #hooks;
  /** @type {Map<string, string>} the last picture of each further camera, a data URL */
  #stills = new Map();
  #shown = OWN;

  /**
   * @param {HTMLVideoElement} own the page's own picture
   * @param {{choose: (id: string) => void, all: () => void, manage: (button: HTMLElement) => void}} hooks
   */
  constructor(own, hooks) {
    this.#own = own;
    this.#hooks = hooks;
    const added = clone("several-stage-template");
    this.#large = part(added, ".large", HTMLImageElement);
    this.#strip = part(added, ".strip", HTMLElement);
    this.#together = part(added, ".together", HTMLButtonElement);
    this.#together.addEventListener("click", hooks.all);
    const manage = part(added, ".manage", HTMLButtonElement);
    manage.addEventListener("click", () => hooks.manage(manage));
    own.after(this.#large);
    byId("top", HTMLElement).after(this.#strip);
  }

  /** @param {CameraInfo[]} cameras @param {string} shown id of the large one @param {boolean} together all are asked */
  render(cameras, shown, together) {
    this.#shown = shown;
    const several = cameras.length > 1;
    show(this.#strip, several);
    this.#together.setAttribute("aria-pressed", String(together));
    for (const id of this.#stills.keys()) if (!cameras.some((camera) => camera.id === id)) this.#stills.delete(id);
    const large = cameras.find(({ id }) => id === shown);
    if (large) {
      this.#large.alt = text("page.picture_of_camera", { name: nameOf(large) });
      this.#large.toggleAttribute("data-lost", !fine(large));
      say(part(this.#strip, ".shown", HTMLElement), nameWithState(large));
    }
    const small = cameras.filter(({ id }) => id !== shown);
    const ids = small.map(({ id }) => id).join();
    if (this.#strip.dataset.ids !== ids) {
      this.#strip.dataset.ids = ids;
      for (const tile of this.#strip.querySelectorAll(".tile")) tile.remove();
      this.#strip.append(...small.map(({ id }) => this.#tile(id)));
    }
    for (const camera of small) this.#fill(camera);
    this.#showLarge();
  }

  /** @param {string} id @param {string} image a data URL; "" for none */
  still(id, image) {
    this.#stills.set(id, image);
    const tile = this.#strip.querySelector(`[data-id="${CSS.escape(id)}"] > img`);
    if (tile instanceof HTMLImageElement) put(tile, image);
    if (id === this.#shown) this.#showLarge();
  }

  #showLarge() {
    put(this.#large, this.#shown === OWN ? "" : (this.#stills.get(this.#shown) ?? ""));
    // Without a picture its place is dark: another camera's picture would be taken for it.
    show(this.#large, this.#shown !== OWN);
  }

  /** @param {string} id */
  #tile(id) {
    const tile = part(clone("several-tile-template"), ".tile", HTMLElement);
    tile.dataset.id = id;
    tile.addEventListener("click", () => this.#hooks.choose(id));
    return tile;
  }

  /** @param {CameraInfo} camera */
  #fill(camera) {
    const tile = part(this.#strip, `[data-id="${CSS.escape(camera.id)}"]`, HTMLElement);
    const words = nameWithState(camera);
    say(part(tile, "span", HTMLElement), words);
    tile.setAttribute("aria-label", text("cameras.enlarge", { name: words }));
    tile.toggleAttribute("data-lost", !fine(camera));
    const video = part(tile, "video", HTMLVideoElement);
    show(video, camera.id === OWN && this.#own.srcObject !== null);
    if (camera.id === OWN && video.srcObject !== this.#own.srcObject) {
      video.srcObject = this.#own.srcObject;
      void video.play().catch(() => {});
    }
    if (camera.id !== OWN) put(part(tile, "img", HTMLImageElement), this.#stills.get(camera.id) ?? "");
  }
}

/** @param {HTMLImageElement} image @param {string} source only a data URL as in the protocol */
function put(image, source) {
  const fine = source.startsWith("data:image/jpeg;base64,");
  show(image, fine);
  if (!fine) image.removeAttribute("src");
  // Not the same once more: while a page is left the browser takes it for a request.
  else if (image.getAttribute("src") !== source) image.src = source;
}

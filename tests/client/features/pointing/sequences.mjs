/**
 * Small pictures of scenes whose truth is known, from seeds: leaves upon leaves of random size and luma (the "dead leaves"
 * whose edges and spectrum are those of photographs), in front of them an object, and a camera with its noise.
 */

export const WIDTH = 320;
export const HEIGHT = 180;
const WORLD_WIDTH = 720;
const WORLD_HEIGHT = 480;
const SKIN = 128;
const NOISE = 1 << 16;

/** Numbers from 0 to 1 that a seed decides (mulberry32). @param {number} seed */
export function numbers(seed) {
  let a = seed | 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** @param {() => number} random @param {number} width @param {number} height @param {number} leaves @param {number} largest */
function leaves(random, width, height, leaves, largest) {
  const d = new Float32Array(width * height).fill(60 + 120 * random());
  for (let n = 0; n < leaves; n++) {
    // Sizes by the inverse cube, as a photograph's things
    const r = 2.5 / Math.sqrt(random() * (1 - (2.5 / largest) ** 2) + (2.5 / largest) ** 2);
    const cx = random() * width;
    const cy = random() * height;
    const luma = 25 + 205 * random();
    const slope = (random() - 0.5) * 1.2;
    const square = random() < 0.4;
    const turn = random() * Math.PI;
    const c = Math.cos(turn);
    const s = Math.sin(turn);
    const reach = r * 1.5;
    for (let y = Math.max(0, Math.floor(cy - reach)); y < Math.min(height, cy + reach); y++) {
      for (let x = Math.max(0, Math.floor(cx - reach)); x < Math.min(width, cx + reach); x++) {
        const u = (x - cx) * c + (y - cy) * s;
        const v = (y - cy) * c - (x - cx) * s;
        if (square ? Math.abs(u) < r && Math.abs(v) < r * 0.7 : u * u + v * v < r * r) d[y * width + x] = luma + slope * u;
      }
    }
  }
  // A lens
  const soft = new Float32Array(d.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let j = -1; j <= 1; j++) {
        const row = Math.min(height - 1, Math.max(0, y + j)) * width;
        for (let i = -1; i <= 1; i++) sum += d[row + Math.min(width - 1, Math.max(0, x + i))];
      }
      soft[y * width + x] = Math.min(245, Math.max(10, sum / 9));
    }
  }
  return soft;
}

/** @param {Float32Array} d @param {number} w @param {number} h @param {number} x @param {number} y */
function between(d, w, h, x, y) {
  const px = Math.min(w - 1.001, Math.max(0, x));
  const py = Math.min(h - 1.001, Math.max(0, y));
  const xi = px | 0;
  const yi = py | 0;
  const i = yi * w + xi;
  const top = d[i] + (d[i + 1] - d[i]) * (px - xi);
  const bottom = d[i + w] + (d[i + w + 1] - d[i + w]) * (px - xi);
  return top + (bottom - top) * (py - yi);
}

/** A camera over the world: what it looks at, its zoom and its turn. @typedef {{x: number, y: number, zoom: number, turn: number}} Camera */
/** A thing in the world: centre, size, turn, how far it is turned out of the plane (radians). @typedef {{x: number, y: number, w: number, h: number, turn: number, yaw: number}} Thing */

/**
 * @typedef {Object} Scene
 * @property {Camera} camera
 * @property {Thing|null} object null where it was taken away
 * @property {Thing|null} cover what hides it
 * @property {Thing|null} twin another one like it
 * @property {boolean} hidden nothing of the object can be seen
 */

/** @type {Record<string, (random: () => number) => (t: number) => Partial<Camera & {dx: number, dy: number, turned: number, size: number, yaw: number, cover: number, away: boolean, twin: number, hidden: boolean}>>} */
const MOVES = {
  still: () => () => ({}),
  pan: (random) => {
    const [a, b, p, q] = [30 + 30 * random(), 10 + 15 * random(), 4 + 2 * random(), 5 + 2 * random()];
    return (t) => ({ x: a * Math.sin((2 * Math.PI * t) / p), y: b * Math.sin((2 * Math.PI * t) / q) });
  },
  zoom: (random) => {
    const [a, p] = [0.3 + 0.2 * random(), 7 + 3 * random()];
    return (t) => ({ zoom: 1 + a * Math.sin((2 * Math.PI * t) / p) });
  },
  shake: (random) => shaking(random, 4, 0.01),
  dark: (random) => shaking(random, 1.5, 0.003),
  moving: (random) => {
    const [a, b, p, q] = [30 + 20 * random(), 15 + 15 * random(), 5 + 2 * random(), 4 + 2 * random()];
    return (t) => ({
      dx: a * Math.sin((2 * Math.PI * t) / p),
      dy: b * Math.sin((2 * Math.PI * t) / q),
      turned: 0.17 * Math.sin((2 * Math.PI * t) / 6),
      size: 1 + 0.15 * Math.sin((2 * Math.PI * t) / 8),
    });
  },
  blurred: (random) => {
    const [a, p] = [45 + 15 * random(), 2 + random()];
    return (t) => ({ x: a * Math.sin((2 * Math.PI * t) / p) });
  },
  half: (random) => covered(random, 0.45),
  hidden: (random) => covered(random, 1.2),
  taken: (random) => {
    const shake = shaking(random, 1, 0.002);
    return (t) => ({ ...shake(t), away: t >= 4 });
  },
  turning: (random) => {
    const p = 5 + 2 * random();
    return (t) => ({ yaw: 1.1 * Math.sin((2 * Math.PI * t) / p) });
  },
  // One of two that are alike is taken away, a short box beside the other.
  twins: (random) => {
    const [shake, side] = [shaking(random, 1, 0.002), random() < 0.5 ? -1.1 : 1.1];
    return (t) => ({ ...shake(t), twin: side, away: t >= 4 });
  },
};

/** Names of the classes */
export const CLASSES = Object.keys(MOVES);

/** A hand. @param {() => number} random @param {number} pixels @param {number} radians */
function shaking(random, pixels, radians) {
  const parts = [0, 1, 2].map(() => [0.7 + 3 * random(), 6.3 * random(), 6.3 * random(), 6.3 * random()]);
  return (/** @type {number} */ t) => {
    let [x, y, turn] = [0, 0, 0];
    for (const [f, a, b, c] of parts) {
      x += (pixels / 2) * (Math.sin(2 * Math.PI * f * t + a) - Math.sin(a));
      y += (pixels / 2) * (Math.sin(2 * Math.PI * f * t + b) - Math.sin(b));
      turn += (radians / 2) * (Math.sin(2 * Math.PI * f * t + c) - Math.sin(c));
    }
    return { x, y, turn };
  };
}

/** From 4 s to 5.5 s, with a third of a second to come and to go. @param {() => number} random @param {number} share of the object that is covered */
function covered(random, share) {
  const shake = shaking(random, 1, 0.002);
  return (/** @type {number} */ t) => {
    const there = Math.min(1, Math.max(0, Math.min((t - 3.7) / 0.3, (5.8 - t) / 0.3)));
    return { ...shake(t), cover: share * there, hidden: share >= 1 && there * share > 0.85 };
  };
}

/** One sequence of pictures with the object's true box in each. */
export class Sequence {
  /** @param {string} kind one of CLASSES @param {number} seed */
  constructor(kind, seed) {
    const random = numbers(seed * 1000 + CLASSES.indexOf(kind) + 1);
    this.kind = kind;
    this.world = leaves(random, WORLD_WIDTH, WORLD_HEIGHT, 2500, 70);
    this.skin = leaves(random, SKIN, SKIN, 500, 40);
    this.coverSkin = leaves(random, SKIN, SKIN, 200, 60);
    this.width = 40 + 45 * random();
    this.height = 40 + 35 * random();
    this.x = (random() - 0.5) * 60;
    this.y = (random() - 0.5) * 30;
    this.side = random() < 0.5 ? -1 : 1;
    this.move = MOVES[kind](random);
    this.noise = new Float32Array(NOISE);
    for (let k = 0; k < NOISE; k++) this.noise[k] = (random() + random() + random() - 1.5) * 2;
    this.random = random;
    this.buffer = new Float32Array(WIDTH * HEIGHT);
    this.luma = new Uint8Array(WIDTH * HEIGHT);
  }

  /** The scene at a time. @param {number} t seconds */
  scene(t) {
    const { x = 0, y = 0, zoom = 1, turn = 0, dx = 0, dy = 0, turned = 0, size = 1, yaw = 0, cover = 0, away = false, twin = 0, hidden = false } = this.move(t);
    const camera = { x, y, zoom, turn };
    const thing = { x: this.x + dx, y: this.y + dy, w: this.width * size, h: this.height * size, turn: turned, yaw };
    // The cover comes from a side and reaches over the whole height.
    const reach = this.width * 1.4;
    const edge = this.side * (this.width / 2 + reach / 2 - cover * this.width);
    return {
      camera,
      object: away ? null : thing,
      cover: cover > 0 ? { ...thing, x: thing.x + edge, w: reach, h: this.height * 1.5, turn: 0, yaw: 0 } : null,
      twin: twin ? { ...thing, x: thing.x + twin * this.width } : null,
      hidden,
    };
  }

  /** Draw the picture of a time into `luma`. @param {number} t seconds */
  draw(t) {
    const dark = this.kind === "dark";
    const times = this.kind === "blurred" ? [0, 0.008, 0.016, 0.024] : [0];
    const { buffer, luma, noise } = this;
    buffer.fill(0);
    for (const dt of times) this.#add(this.scene(t + dt - times[times.length - 1] / 2), 1 / times.length);
    const gain = dark ? 0.2 : 1;
    const offset = dark ? 8 : 0;
    const strength = dark ? 3 : 2;
    const start = (this.random() * NOISE) | 0;
    for (let k = 0; k < buffer.length; k++) {
      luma[k] = Math.min(255, Math.max(0, Math.round(buffer[k] * gain + offset + strength * noise[(start + k * 7) & (NOISE - 1)])));
    }
    return luma;
  }

  /** The object's true box: left, top, right, bottom as parts of the picture; null where it cannot be seen. @param {number} t */
  truth(t) {
    const { camera, object, hidden } = this.scene(t);
    if (!object || hidden) return null;
    return framed(object, camera);
  }

  /** @param {Scene} scene @param {number} share */
  #add({ camera, object, cover, twin }, share) {
    const c = Math.cos(camera.turn) / camera.zoom;
    const s = Math.sin(camera.turn) / camera.zoom;
    const things = [
      [twin, this.skin],
      [object, this.skin],
      [cover, this.coverSkin],
    ].filter(([thing]) => thing);
    for (let py = 0, k = 0; py < HEIGHT; py++) {
      for (let px = 0; px < WIDTH; px++, k++) {
        const u = px - WIDTH / 2 + 0.5;
        const v = py - HEIGHT / 2 + 0.5;
        const x = c * u - s * v + camera.x;
        const y = s * u + c * v + camera.y;
        this.buffer[k] += share * between(this.world, WORLD_WIDTH, WORLD_HEIGHT, x + WORLD_WIDTH / 2, y + WORLD_HEIGHT / 2);
      }
    }
    for (const [thing, skin] of things) this.#paint(thing, skin, camera, share);
  }

  /** @param {Thing} thing @param {Float32Array} skin @param {Camera} camera @param {number} share */
  #paint(thing, skin, camera, share) {
    const [left, top, right, bottom] = framed(thing, camera);
    const c = Math.cos(camera.turn) / camera.zoom;
    const s = Math.sin(camera.turn) / camera.zoom;
    const tc = Math.cos(thing.turn);
    const ts = Math.sin(thing.turn);
    const narrow = Math.cos(thing.yaw);
    for (let py = Math.max(0, Math.floor(top * HEIGHT)); py < Math.min(HEIGHT, bottom * HEIGHT + 1); py++) {
      for (let px = Math.max(0, Math.floor(left * WIDTH)); px < Math.min(WIDTH, right * WIDTH + 1); px++) {
        const u = px - WIDTH / 2 + 0.5;
        const v = py - HEIGHT / 2 + 0.5;
        const x = c * u - s * v + camera.x - thing.x;
        const y = s * u + c * v + camera.y - thing.y;
        const a = (tc * x + ts * y) / (thing.w * narrow);
        const b = (tc * y - ts * x) / thing.h;
        const alpha = Math.min(1, Math.max(0, (0.5 - Math.abs(a)) * thing.w * narrow + 0.5)) * Math.min(1, Math.max(0, (0.5 - Math.abs(b)) * thing.h + 0.5));
        if (alpha === 0) continue;
        const k = py * WIDTH + px;
        const old = between(this.world, WORLD_WIDTH, WORLD_HEIGHT, x + thing.x + WORLD_WIDTH / 2, y + thing.y + WORLD_HEIGHT / 2);
        const now = between(skin, SKIN, SKIN, (a + 0.5) * SKIN, (b + 0.5) * SKIN);
        // In place of what this part of the exposure has put there
        this.buffer[k] += share * alpha * (now - (share === 1 ? this.buffer[k] : old));
      }
    }
  }
}

/** @param {Thing} thing @param {Camera} camera @returns {[number, number, number, number]} upright, as parts of the picture */
function framed(thing, camera) {
  const c = Math.cos(-camera.turn) * camera.zoom;
  const s = Math.sin(-camera.turn) * camera.zoom;
  const x = c * (thing.x - camera.x) - s * (thing.y - camera.y) + WIDTH / 2;
  const y = s * (thing.x - camera.x) + c * (thing.y - camera.y) + HEIGHT / 2;
  const turn = Math.abs(thing.turn - camera.turn);
  const tw = (thing.w * Math.cos(thing.yaw) * camera.zoom) / 2;
  const th = (thing.h * camera.zoom) / 2;
  const w = tw * Math.cos(turn) + th * Math.sin(turn);
  const h = th * Math.cos(turn) + tw * Math.sin(turn);
  return [(x - w) / WIDTH, (y - h) / HEIGHT, (x + w) / WIDTH, (y + h) / HEIGHT];
}

// The tiles of one image: fetched when they are seen, stretched to grey when they are drawn.

const MOST_TILES = 240; // half a megabyte each, numbers and picture
const AT_ONCE = 4;
const RETRY_MS = 3000;
const NO_DATA = 0xff3a2a26; // ABGR: a dim blue that no grey value has
const STEPS = 1024;

export class Pyramid {
  constructor(which, info, { changed, failed }) {
    this.which = which;
    this.info = info;
    this.changed = changed;
    this.failed = failed;
    this.tiles = new Map();
    this.pending = new Map();
    this.wanted = [];
    this.stretch = { low: 0, high: 1, gamma: 1, version: 0 };
  }

  size(level) {
    return {
      width: Math.max(1, this.info.width >> level),
      height: Math.max(1, this.info.height >> level),
    };
  }

  /** A tile that is here already, or nothing. */
  get(level, column, row) {
    const key = `${level}/${column}/${row}`;
    const tile = this.tiles.get(key);
    if (tile) { // the Map's order is that of use
      this.tiles.delete(key);
      this.tiles.set(key, tile);
    }
    return tile;
  }

  /** Ask for a tile; what is asked for last, and still in this frame, is fetched first. */
  want(level, column, row) {
    this.wanted.push([level, column, row]);
  }

  newFrame() {
    this.wanted = [];
  }

  get loading() {
    return this.pending.size;
  }

  pump() {
    // Coarse tiles first: they give a picture soon.
    this.wanted.sort((a, b) => b[0] - a[0]);
    for (const [level, column, row] of this.wanted) {
      if (this.pending.size >= AT_ONCE) return;
      const key = `${level}/${column}/${row}`;
      if (!this.tiles.has(key) && !this.pending.has(key)) this.load(key);
    }
  }

  async load(key) {
    this.pending.set(key, true);
    try {
      const answer = await fetch(`tile/${this.which}/${key}`);
      if (!answer.ok) throw new Error((await answer.json()).error);
      const values = new Float32Array(await answer.arrayBuffer());
      this.tiles.set(key, { values, canvas: null, version: -1 });
      this.failed(null);
      for (const old of this.tiles.keys()) {
        if (this.tiles.size <= MOST_TILES) break;
        // The coarsest level stands in for all others.
        if (!old.startsWith(`${this.info.levels - 1}/`)) this.tiles.delete(old);
      }
    } catch (error) {
      this.failed(`${this.info[this.which].name}: ${error.message}`);
      await new Promise((done) => setTimeout(done, RETRY_MS));
    } finally {
      this.pending.delete(key);
      this.changed();
    }
  }

  /** A tile's picture in the present stretch. */
  picture(tile) {
    if (tile.version === this.stretch.version) return tile.canvas;
    const side = this.info.tile;
    tile.canvas ??= new OffscreenCanvas(side, side);
    const { low, high, gamma } = this.stretch;
    const shades = new Uint32Array(STEPS + 1);
    for (let step = 0; step <= STEPS; step++) {
      const grey = Math.round(255 * (step / STEPS) ** (1 / gamma));
      shades[step] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    const image = new ImageData(side, side);
    const pixels = new Uint32Array(image.data.buffer);
    const factor = STEPS / (high - low);
    for (let k = 0; k < pixels.length; k++) {
      const value = tile.values[k];
      if (Number.isNaN(value)) { pixels[k] = NO_DATA; continue; }
      const step = Math.round((value - low) * factor);
      pixels[k] = shades[step < 0 ? 0 : step > STEPS ? STEPS : step];
    }
    tile.canvas.getContext("2d").putImageData(image, 0, 0);
    tile.version = this.stretch.version;
    return tile.canvas;
  }

  /** Loaded pixels of a level inside bounds, some ten thousands, in ascending order. */
  sample(level, bounds) {
    const side = this.info.tile;
    const { width, height } = this.size(level);
    const [left, top, right, bottom] = bounds.map((value) => Math.floor((value + 0.5) / 2 ** level));
    const values = [];
    const columns = [Math.max(0, left), Math.min(width - 1, right)];
    const rows = [Math.max(0, top), Math.min(height - 1, bottom)];
    const every = Math.max(1, Math.ceil(Math.max(columns[1] - columns[0], rows[1] - rows[0]) / 400));
    for (let row = rows[0]; row <= rows[1]; row += every) {
      for (let column = columns[0]; column <= columns[1]; column += every) {
        const tile = this.tiles.get(`${level}/${Math.floor(column / side)}/${Math.floor(row / side)}`);
        const value = tile ? tile.values[(row % side) * side + (column % side)] : NaN;
        if (!Number.isNaN(value)) values.push(value);
      }
    }
    return Float32Array.from(values).sort();
  }

  /** Stretch to grey so that a share of a sample is clipped at either end. */
  setStretch(sorted, clipPercent, gamma) {
    if (!sorted.length) return;
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    const low = at(clipPercent / 100);
    const high = Math.max(at(1 - clipPercent / 100), low + 1e-6 * Math.abs(low) + 1e-12);
    this.stretch = { low, high, gamma, version: this.stretch.version + 1 };
  }

  /** The value at a pixel of the finest loaded level. */
  valueAt(x, y) {
    const side = this.info.tile;
    for (let level = 0; level < this.info.levels; level++) {
      const column = Math.floor((x + 0.5) / 2 ** level);
      const row = Math.floor((y + 0.5) / 2 ** level);
      const tile = this.tiles.get(`${level}/${Math.floor(column / side)}/${Math.floor(row / side)}`);
      if (tile && column >= 0 && row >= 0) return tile.values[(row % side) * side + (column % side)];
    }
    return undefined;
  }

  levelFor(scale) {
    const level = Math.floor(Math.log2(1 / scale) + 1e-9);
    return Math.min(Math.max(level, 0), this.info.levels - 1);
  }
}

const scratch = new OffscreenCanvas(1, 1);

/**
 * Draw an image into a rectangle of a canvas.
 *
 * `view` holds the pixel (centres at whole numbers) in the middle of the rectangle and the screen
 * pixels per image pixel. Tiles are first put side by side unscaled, so that no seam shows between
 * them; where one is still on its way its coarser ancestor stands in.
 */
export function drawImage(context, pyramid, view, rect, { smooth, ratio }) {
  const { info } = pyramid;
  const level = pyramid.levelFor(view.scale * ratio);
  const step = 2 ** level;
  const side = info.tile;
  const size = pyramid.size(level);
  const edge = (middle, half) => (middle + half / view.scale + 0.5) / step;
  const left = Math.max(0, Math.floor(edge(view.x, -rect.width / 2)) - 2);
  const top = Math.max(0, Math.floor(edge(view.y, -rect.height / 2)) - 2);
  const right = Math.min(size.width, Math.ceil(edge(view.x, rect.width / 2)) + 2);
  const bottom = Math.min(size.height, Math.ceil(edge(view.y, rect.height / 2)) + 2);
  if (right <= left || bottom <= top) return;
  const width = right - left;
  const height = bottom - top;
  if (scratch.width < width || scratch.height < height) {
    scratch.width = Math.max(scratch.width, width);
    scratch.height = Math.max(scratch.height, height);
  }
  const flat = scratch.getContext("2d");
  flat.clearRect(0, 0, width, height);
  flat.imageSmoothingEnabled = true;
  for (let row = Math.floor(top / side); row * side < bottom; row++) {
    for (let column = Math.floor(left / side); column * side < right; column++) {
      putTile(flat, pyramid, level, column, row, column * side - left, row * side - top);
    }
  }
  context.save();
  context.beginPath();
  context.rect(rect.x, rect.y, rect.width, rect.height);
  context.clip();
  context.imageSmoothingEnabled = smooth || view.scale * ratio < 1;
  context.imageSmoothingQuality = view.scale * ratio * step < 1 ? "medium" : "low";
  const screen = (place, middle, origin, length) =>
    origin + length / 2 + (place * step - 0.5 - middle) * view.scale;
  context.drawImage(
    scratch, 0, 0, width, height,
    screen(left, view.x, rect.x, rect.width), screen(top, view.y, rect.y, rect.height),
    width * step * view.scale, height * step * view.scale,
  );
  context.restore();
}

function putTile(flat, pyramid, level, column, row, x, y) {
  const side = pyramid.info.tile;
  const tile = pyramid.get(level, column, row);
  if (tile) {
    flat.drawImage(pyramid.picture(tile), x, y);
    return;
  }
  pyramid.want(level, column, row);
  for (let up = 1; level + up < pyramid.info.levels; up++) {
    const parts = 2 ** up;
    const parent = pyramid.get(level + up, Math.floor(column / parts), Math.floor(row / parts));
    if (!parent) continue;
    const share = side / parts;
    const picture = pyramid.picture(parent);
    flat.drawImage(picture, (column % parts) * share, (row % parts) * share, share, share, x, y, side, side);
    return;
  }
  pyramid.want(pyramid.info.levels - 1, column >> (pyramid.info.levels - 1 - level), row >> (pyramid.info.levels - 1 - level));
}

/**
 * Draw a few pixels, much magnified, stretched to their own darkest and brightest.
 *
 * Snow and shadow show their texture so, whatever the contrast of the view. Until the finest tiles
 * are here, the coarser ones stand in.
 */
export function drawClose(context, pyramid, view, rect, options) {
  const half = Math.ceil(rect.width / view.scale / 2) + 1;
  const middle = { x: Math.round(view.x), y: Math.round(view.y) };
  const side = 2 * half + 1;
  const pixels = new Float32Array(side * side);
  const known = [];
  let complete = true;
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const value = pixelAt(pyramid, middle.x + x - half, middle.y + y - half);
      if (value === undefined) complete = false;
      pixels[y * side + x] = value;
      if (value !== undefined && !Number.isNaN(value)) known.push(value);
    }
  }
  if (!complete || !known.length) {
    drawImage(context, pyramid, view, rect, options);
    return;
  }
  known.sort((a, b) => a - b);
  const low = known[Math.floor(0.01 * (known.length - 1))];
  const high = known[Math.ceil(0.99 * (known.length - 1))];
  const image = new ImageData(side, side);
  const colours = new Uint32Array(image.data.buffer);
  for (let k = 0; k < pixels.length; k++) {
    const share = high > low ? (pixels[k] - low) / (high - low) : 0.5;
    const grey = Math.round(255 * Math.min(Math.max(share, 0), 1));
    colours[k] = Number.isNaN(pixels[k]) ? NO_DATA : 0xff000000 | (grey << 16) | (grey << 8) | grey;
  }
  lens.width = lens.height = side;
  lens.getContext("2d").putImageData(image, 0, 0);
  context.save();
  context.beginPath();
  context.rect(rect.x, rect.y, rect.width, rect.height);
  context.clip();
  context.imageSmoothingEnabled = options.smooth;
  const screen = (first, centre, origin, length) => origin + length / 2 + (first - 0.5 - centre) * view.scale;
  context.drawImage(
    lens, screen(middle.x - half, view.x, rect.x, rect.width),
    screen(middle.y - half, view.y, rect.y, rect.height), side * view.scale, side * view.scale,
  );
  context.restore();
}

const lens = new OffscreenCanvas(1, 1);

/** A pixel of the finest level: NaN without data or outside, undefined while it is on its way. */
function pixelAt(pyramid, x, y) {
  const { tile, width, height } = pyramid.info;
  if (x < 0 || y < 0 || x >= width || y >= height) return NaN;
  const [column, row] = [Math.floor(x / tile), Math.floor(y / tile)];
  const found = pyramid.tiles.get(`0/${column}/${row}`);
  if (found) return found.values[(y % tile) * tile + (x % tile)];
  if (!pyramid.wanted.some(([level, c, r]) => level === 0 && c === column && r === row)) pyramid.want(0, column, row);
  return undefined;
}

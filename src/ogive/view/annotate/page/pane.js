// One of the two views: where it looks, what the pointer and the keys do in it, what it draws.

import { drawImage } from "./pyramid.js";
import { COLOUR, MARK_RADIUS, drawArrow, drawCross, drawLabel, drawLoupes, drawMark, drawScaleBar } from "./marks.js";

const LARGEST_SCALE = 96;
const CLICK_PX = 4;
const LOUPE_MAGNIFIES = 4;
const LOUPE_LEAST_SCALE = 8;

export class Pane {
  constructor(section, app) {
    this.side = section.dataset.side;
    this.app = app;
    this.section = section;
    this.canvas = section.querySelector("canvas");
    this.badge = section.querySelector(".badge");
    this.readout = section.querySelector(".readout");
    this.context = this.canvas.getContext("2d");
    this.view = { x: 0, y: 0, scale: 1 };
    this.cursor = null; // in pixels of the image
    this.byKeys = false; // the cursor was moved by keys: no pointer shows where it is
    this.held = null;
    this.swapped = false;
    this.listen();
  }

  get shown() {
    if (!this.swapped) return this.side;
    return this.side === "earlier" ? "later" : "earlier";
  }

  get size() {
    return { width: this.canvas.clientWidth, height: this.canvas.clientHeight };
  }

  toScreen({ x, y }) {
    const { width, height } = this.size;
    return { x: width / 2 + (x - this.view.x) * this.view.scale, y: height / 2 + (y - this.view.y) * this.view.scale };
  }

  toImage({ x, y }) {
    const { width, height } = this.size;
    return { x: this.view.x + (x - width / 2) / this.view.scale, y: this.view.y + (y - height / 2) / this.view.scale };
  }

  /** Left, top, right and bottom of what is seen, in pixels of the image. */
  bounds() {
    const { width, height } = this.size;
    const first = this.toImage({ x: 0, y: 0 });
    const last = this.toImage({ x: width, y: height });
    return [first.x, first.y, last.x, last.y];
  }

  fitScale() {
    const { width, height } = this.size;
    return Math.min(width / this.app.info.width, height / this.app.info.height);
  }

  look(view) {
    const { width, height } = this.app.info;
    const scale = Math.min(Math.max(view.scale, this.fitScale() / 2), LARGEST_SCALE);
    this.view = {
      x: Math.min(Math.max(view.x, -0.5), width - 0.5),
      y: Math.min(Math.max(view.y, -0.5), height - 0.5),
      scale,
    };
  }

  fit() {
    this.look({ x: (this.app.info.width - 1) / 2, y: (this.app.info.height - 1) / 2, scale: this.fitScale() });
  }

  /** Zoom so that the place under the cursor, or the middle, stays where it is. */
  zoom(factor) {
    const anchor = this.cursor ?? { x: this.view.x, y: this.view.y };
    const scale = Math.min(Math.max(this.view.scale * factor, this.fitScale() / 2), LARGEST_SCALE);
    const share = this.view.scale / scale;
    this.look({ x: anchor.x + (this.view.x - anchor.x) * share, y: anchor.y + (this.view.y - anchor.y) * share, scale });
    this.app.viewChanged(this);
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", () => { this.held = null; });
    canvas.addEventListener("pointerenter", () => this.app.activate(this));
    canvas.addEventListener("pointerleave", () => {
      this.cursor = null;
      this.app.changed();
    });
    canvas.addEventListener("focus", () => {
      const { cursor } = this.app.other(this);
      this.app.activate(this);
      // A keyboard needs a cursor to move; a pointer brings its own.
      if (canvas.matches(":focus-visible") && !this.cursor) {
        this.cursor = this.app.linked && cursor ? cursor : { x: this.view.x, y: this.view.y };
        this.byKeys = true;
      }
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.cursor = this.at(event);
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 33 : 1;
      this.zoom(1.0018 ** (-event.deltaY * lines));
    }, { passive: false });
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.toImage({ x: event.clientX - box.left, y: event.clientY - box.top });
  }

  press(event) {
    if (event.button !== 0) return;
    this.canvas.focus();
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.at(event);
    const mark = this.app.pending ? null : this.markAt(place);
    this.held = { x: event.clientX, y: event.clientY, view: this.view, moved: false, mark, place };
  }

  move(event) {
    this.cursor = this.at(event);
    this.byKeys = false;
    const { held } = this;
    if (held) {
      const by = { x: event.clientX - held.x, y: event.clientY - held.y };
      held.moved ||= Math.hypot(by.x, by.y) >= CLICK_PX;
      if (held.moved && held.mark) {
        held.to = this.cursor;
      } else if (held.moved) {
        const { view } = held;
        this.look({ x: view.x - by.x / view.scale, y: view.y - by.y / view.scale, scale: view.scale });
        this.cursor = this.at(event);
        this.app.viewChanged(this);
      }
    }
    this.app.changed();
  }

  release(event) {
    const { held } = this;
    this.held = null;
    if (!held) return;
    if (held.moved && held.mark) this.app.moveMark(held.mark, this.shown, this.at(event));
    else if (held.moved) this.app.changed();
    else if (held.mark) this.app.select(held.mark);
    else this.app.pick(this.shown, this.at(event));
  }

  /** The pair whose mark of the shown image lies under a place. */
  markAt(place) {
    let best = null;
    let nearest = (MARK_RADIUS + 2) / this.view.scale;
    for (const point of this.app.picks.points) {
      const mark = markOf(point, this.shown);
      const distance = Math.hypot(mark.x - place.x, mark.y - place.y);
      if (distance <= nearest) [best, nearest] = [point.id, distance];
    }
    return best;
  }

  /** Move the cursor by screen pixels; the view follows it. */
  nudgeCursor(x, y) {
    const from = this.cursor ?? { x: this.view.x, y: this.view.y };
    const { width, height } = this.app.info;
    this.byKeys = true;
    this.cursor = {
      x: Math.min(Math.max(from.x + x / this.view.scale, -0.5), width - 0.5),
      y: Math.min(Math.max(from.y + y / this.view.scale, -0.5), height - 0.5),
    };
    const place = this.toScreen(this.cursor);
    const size = this.size;
    const beyond = (value, length) => (value < 30 ? value - 30 : value > length - 30 ? value - length + 30 : 0);
    this.pan(beyond(place.x, size.width), beyond(place.y, size.height));
  }

  pan(x, y) {
    if (x || y) {
      this.look({ ...this.view, x: this.view.x + x / this.view.scale, y: this.view.y + y / this.view.scale });
    }
    this.app.viewChanged(this);
  }

  draw() {
    const { context, canvas, app } = this;
    const ratio = window.devicePixelRatio || 1;
    const size = this.size;
    const [width, height] = [Math.round(size.width * ratio), Math.round(size.height * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#101317";
    context.fillRect(0, 0, size.width, size.height);
    const rect = { x: 0, y: 0, ...size };
    const options = { smooth: app.smooth, ratio };
    if (app.samples[this.shown]) {
      drawImage(context, app.pyramids[this.shown], this.view, rect, options);
    } else {
      drawLabel(context, { x: size.width / 2 - 60, y: size.height / 2 }, "reading the image …");
    }
    this.drawMarks();
    drawScaleBar(context, size, this.view.scale, app.metresPerPixel);
    this.drawCursor(options);
    this.tell();
  }

  drawMarks() {
    const { context, app, shown } = this;
    for (const given of app.picks.points) {
      const point = this.dragged(given);
      const [from, to] = [this.toScreen(point), this.toScreen({ x: point.x2, y: point.y2 })];
      const style = { chosen: point.id === app.selected, confidence: point.confidence, shown };
      drawArrow(context, from, to, style);
      const [place, far] = shown === "earlier" ? [from, to] : [to, from];
      drawMark(context, place, shown, style);
      drawLabel(context, place, String(point.id), { left: far.x > place.x });
    }
    if (app.pending) {
      const place = this.toScreen(app.pending);
      if (app.pending.side === shown) drawMark(context, place, shown, { pending: true });
      else drawCross(context, place, COLOUR[app.pending.side], { inner: 3, outer: 8 });
    }
  }

  dragged(point) {
    const held = this.held ?? this.app.other(this).held;
    if (!held?.to || held.mark !== point.id) return point;
    const side = this.held ? this.shown : this.app.other(this).shown;
    return side === "earlier" ? { ...point, ...held.to } : { ...point, x2: held.to.x, y2: held.to.y };
  }

  drawCursor(options) {
    const { context, app } = this;
    const elsewhere = app.other(this).cursor;
    if (!this.cursor && elsewhere) drawCross(context, this.toScreen(elsewhere), COLOUR[app.other(this).shown]);
    if (!this.cursor) return;
    const place = this.toScreen(this.cursor);
    if (this.byKeys) drawCross(context, place, COLOUR[this.shown]);
    if (!app.loupe || (this.held?.moved && !this.held.mark)) return;
    const scale = Math.min(Math.max(LOUPE_MAGNIFIES * this.view.scale, LOUPE_LEAST_SCALE), 2 * LARGEST_SCALE);
    const glass = (side, { x, y }, text) => ({ pyramid: app.pyramids[side], side, x, y, scale, text });
    const glasses = [glass(this.shown, this.cursor, `${Number(scale.toPrecision(2))}×`)];
    if (app.pending && app.pending.side !== this.shown) {
      glasses.push(glass(app.pending.side, app.pending, `picked in the ${app.pending.side} image`));
    }
    drawLoupes(context, this.size, place, glasses, options);
  }

  /** Write what is seen into the page, for people and for whoever reads the page's elements. */
  tell() {
    const { app, shown, view } = this;
    const { name, time } = app.info[shown];
    const [day, clock] = time.split("T");
    this.badge.className = `badge ${shown}`;
    this.badge.replaceChildren(`${shown} · ${day}${clock.startsWith("00:00:00") ? "" : ` ${clock.slice(0, 5)}`} `);
    const small = document.createElement("small");
    small.textContent = this.swapped ? `${name} (flicker)` : name;
    this.badge.append(small);
    this.canvas.setAttribute("aria-label", `The ${shown} image, ${name} of ${day}`);
    Object.assign(this.canvas.dataset, { shown, x: view.x, y: view.y, scale: view.scale });
    this.readout.textContent = this.cursor ? app.placeText(shown, this.cursor) : "";
  }
}

export function markOf(point, side) {
  return side === "earlier" ? { x: point.x, y: point.y } : { x: point.x2, y: point.y2 };
}

// The page: two linked views, the pairs picked in them, and the tools.

import { Pane, markOf } from "./pane.js";
import { Picks, Saver } from "./picks.js";
import { Pyramid } from "./pyramid.js";

const element = (id) => document.getElementById(id);
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

class Annotation {
  constructor(info, { revision, points }) {
    this.info = info;
    this.linked = this.loupe = this.smooth = true;
    this.confidence = 2;
    this.pending = null;
    this.selected = null;
    this.dirty = false;
    this.picks = new Picks(points, () => this.pointsChanged());
    this.saver = new Saver(revision, (report) => this.tellSaved(report));
    const told = { changed: () => this.changed(), failed: (why) => this.tellFailed(why) };
    this.pyramids = {
      earlier: new Pyramid("earlier", info, told),
      later: new Pyramid("later", info, told),
    };
    this.samples = {}; // of each image, what its contrast follows
    this.panes = [...document.querySelectorAll(".pane")].map((section) => new Pane(section, this));
    this.active = this.panes[0];
    for (const pane of this.panes) pane.fit();
    new ResizeObserver(() => this.resized()).observe(document.querySelector("main"));
    this.listen();
    this.introduce();
    this.list();
    this.hint();
    this.changed();
  }

  // ---- what is seen

  get metresPerPixel() {
    return this.info.transform ? Math.abs(this.info.transform[0]) : null;
  }

  other(pane) {
    return this.panes[pane === this.panes[0] ? 1 : 0];
  }

  changed() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => {
      this.dirty = false;
      this.frame();
    });
  }

  frame() {
    for (const pyramid of Object.values(this.pyramids)) pyramid.newFrame();
    this.stretchOnce();
    for (const pane of this.panes) pane.draw();
    let loading = 0;
    for (const pyramid of Object.values(this.pyramids)) {
      pyramid.pump();
      loading += pyramid.loading;
    }
    document.body.dataset.loading = loading;
  }

  /** The first contrast, as soon as the whole image is there in its coarsest tiles. */
  stretchOnce() {
    const level = this.info.levels - 1;
    for (const [side, pyramid] of Object.entries(this.pyramids)) {
      if (this.samples[side]) continue;
      const { width, height } = pyramid.size(level);
      let complete = true;
      for (let row = 0; row * this.info.tile < height; row++) {
        for (let column = 0; column * this.info.tile < width; column++) {
          if (pyramid.get(level, column, row)) continue;
          complete = false;
          pyramid.want(level, column, row);
        }
      }
      if (complete) this.stretch([side], level, [-0.5, -0.5, this.info.width, this.info.height]);
    }
  }

  stretch(sides, level, bounds) {
    for (const side of sides) this.samples[side] = this.pyramids[side].sample(level, bounds);
    this.restretch();
  }

  restretch() {
    const [clip, gamma] = ["clip", "gamma"].map((id) => Number(element(id).value));
    for (const [side, sample] of Object.entries(this.samples)) this.pyramids[side].setStretch(sample, clip, gamma);
    this.changed();
  }

  stretchTo(what) {
    const sides = ["earlier", "later"];
    if (what === "image") {
      this.stretch(sides, this.info.levels - 1, [-0.5, -0.5, this.info.width, this.info.height]);
      return;
    }
    const ratio = window.devicePixelRatio || 1;
    const level = this.pyramids.earlier.levelFor(this.active.view.scale * ratio);
    this.stretch(sides, level, this.active.bounds());
  }

  viewChanged(pane) {
    if (this.linked) this.other(pane).look(pane.view);
    this.changed();
  }

  resized() {
    for (const pane of this.panes) pane.look(pane.view);
    this.changed();
  }

  activate(pane) {
    this.active = pane;
    for (const each of this.panes) {
      each.section.classList.toggle("active", each === pane);
      if (each !== pane && !each.canvas.matches(":hover")) each.cursor = null;
    }
    this.pressed("flicker", pane.swapped);
    this.changed();
  }

  flicker() {
    this.active.swapped = !this.active.swapped;
    this.pressed("flicker", this.active.swapped);
    this.hint();
    this.changed();
  }

  toggle(name, button = name) {
    this[name] = !this[name];
    this.pressed(button, this[name]);
    if (name === "linked") this.viewChanged(this.active);
    this.changed();
  }

  pressed(id, on) {
    element(id).setAttribute("aria-pressed", String(on));
  }

  // ---- picking

  inside({ x, y }) {
    return x >= -0.5 && y >= -0.5 && x <= this.info.width - 0.5 && y <= this.info.height - 0.5;
  }

  pick(side, { x, y }) {
    if (!this.inside({ x, y })) {
      this.hint("That is outside of the images.");
      return;
    }
    if (this.pending && this.pending.side !== side) {
      const places = { [this.pending.side]: this.pending, [side]: { x, y } };
      this.complete(places.earlier, places.later);
      return;
    }
    this.pending = { side, x, y };
    this.selected = null;
    this.showSelection();
    this.hint();
    this.changed();
  }

  complete(from, to) {
    const id = this.picks.nextId();
    this.pending = null;
    this.selected = id;
    this.picks.add({
      id, x: from.x, y: from.y, x2: to.x, y2: to.y,
      confidence: this.confidence, picked: new Date().toISOString(),
    });
  }

  moveMark(id, side, { x, y }) {
    this.selected = id;
    if (!this.inside({ x, y })) {
      this.hint("That is outside of the images: the mark stays where it was.");
      this.changed();
      return;
    }
    this.picks.update(id, side === "earlier" ? { x, y } : { x2: x, y2: y });
  }

  select(id, { show = false } = {}) {
    this.selected = id;
    this.pending = null;
    const point = this.picks.find(id);
    if (show && point) {
      const view = { x: (point.x + point.x2) / 2, y: (point.y + point.y2) / 2, scale: this.active.view.scale };
      this.active.look(view);
      this.viewChanged(this.active);
    }
    this.showSelection();
    this.hint();
    this.changed();
  }

  setConfidence(value) {
    this.confidence = value;
    document.querySelector(`input[name="confidence"][value="${value}"]`).checked = true;
    const point = this.pending ? null : this.picks.find(this.selected);
    if (point && point.confidence !== value) this.picks.update(point.id, { confidence: value });
    this.hint();
  }

  remove(id = this.selected) {
    if (this.pending) {
      this.forget();
      return;
    }
    if (!this.picks.find(id)) return;
    const row = this.picks.points.findIndex((point) => point.id === id);
    if (id === this.selected) this.selected = null;
    const inList = element("list").contains(document.activeElement);
    this.picks.remove(id);
    if (inList) (element("list").children[Math.min(row, this.picks.points.length - 1)] ?? this.active.canvas).focus();
  }

  forget() {
    this.pending = null;
    this.hint();
    this.changed();
  }

  undo() {
    if (this.pending) this.forget();
    else this.picks.undo();
  }

  redo() {
    this.picks.redo();
  }

  pointsChanged() {
    if (!this.picks.find(this.selected)) this.selected = null;
    this.saver.save(this.picks.points);
    this.list();
    this.hint();
    this.changed();
  }

  // ---- what is told

  introduce() {
    const { info } = this;
    const days = (new Date(`${info.later.time}Z`) - new Date(`${info.earlier.time}Z`)) / 864e5;
    const place = info.crs ? info.crs.slice(0, 24) : "no map: points are saved in pixels";
    element("about").textContent = `${Number(days.toFixed(2))} days · ${place} · ${info.output}`;
    element("about").title = [info.message, info.crs].filter(Boolean).join("\n");
    element("length-head").textContent = info.transform ? "length m" : "length px";
    document.title = `${info.output} · ogive annotate`;
    this.tellSaved({ state: "opened", count: this.picks.points.length });
  }

  /** Displacement in the coordinates of the map, or in pixels where there is none. */
  displacement(point) {
    const [dx, dy] = [point.x2 - point.x, point.y2 - point.y];
    if (!this.info.transform) return { dx, dy };
    const [a, , e] = this.info.transform;
    return { dx: a * dx, dy: e * dy };
  }

  placeText(side, { x, y }) {
    const value = this.inside({ x, y }) ? this.pyramids[side].valueAt(x, y) : undefined;
    const grey = value === undefined ? "" : Number.isNaN(value) ? "no data" : `value ${Number(value.toPrecision(5))}`;
    const pixel = `col ${x.toFixed(2)} row ${y.toFixed(2)}`;
    if (!this.info.transform) return `${pixel}  ${grey}`;
    const [a, c, e, f] = this.info.transform;
    return `x ${(c + a * (x + 0.5)).toFixed(1)} y ${(f + e * (y + 0.5)).toFixed(1)}  ${pixel}  ${grey}`;
  }

  hint(text) {
    const point = this.picks.find(this.selected);
    if (text) {
      element("hint").textContent = text;
    } else if (this.pending) {
      const other = this.pending.side === "earlier" ? "later" : "earlier";
      element("hint").textContent = `Now the same feature in the ${other} image (Esc forgets it).`;
    } else if (point) {
      const { dx, dy } = this.displacement(point);
      element("hint").textContent =
        `Pair ${point.id}: dx ${dx.toFixed(2)}, dy ${dy.toFixed(2)} ${this.info.unit}, `
        + `${this.info.confidences[point.confidence]}. Keys 1, 2, 3 set the confidence.`;
    } else {
      element("hint").textContent = "Click a feature in either image, then the same feature in the other one.";
    }
    element("undo").disabled = !this.picks.past.length && !this.pending;
    element("redo").disabled = !this.picks.future.length;
    element("delete").disabled = !point && !this.pending;
  }

  list() {
    const { points } = this.picks;
    const focused = document.activeElement?.closest?.("#list tr")?.dataset.id;
    element("count").textContent = points.length;
    element("empty").hidden = points.length > 0;
    element("list").replaceChildren(...points.map((point) => this.row(point)));
    this.showSelection();
    if (focused) document.querySelector(`#list tr[data-id="${focused}"]`)?.focus();
  }

  row(point) {
    const { dx, dy } = this.displacement(point);
    const row = document.createElement("tr");
    row.dataset.id = point.id;
    row.tabIndex = 0;
    const texts = [
      point.id, (point.x2 - point.x).toFixed(2), (point.y2 - point.y).toFixed(2),
      Math.hypot(dx, dy).toFixed(this.info.transform ? 1 : 2), point.confidence,
    ];
    for (const text of texts) row.insertCell().textContent = text;
    const button = document.createElement("button");
    button.textContent = "×";
    button.setAttribute("aria-label", `Delete pair ${point.id}`);
    button.addEventListener("click", (event) => {
      event.stopPropagation();
      this.remove(point.id);
    });
    row.insertCell().append(button);
    row.addEventListener("click", () => this.select(point.id, { show: true }));
    return row;
  }

  showSelection() {
    for (const row of element("list").children) {
      const chosen = Number(row.dataset.id) === this.selected;
      row.setAttribute("aria-selected", String(chosen));
      if (chosen) row.scrollIntoView({ block: "nearest" });
    }
  }

  tellSaved({ state, count, saved, why }) {
    const place = element("saved");
    place.className = state === "failed" ? "bad" : state === "saving" ? "" : "good";
    place.dataset.state = state;
    if (state === "saving") place.textContent = "saving …";
    else if (state === "opened") place.textContent = count ? `pairs taken up: ${count}` : "nothing to save yet";
    else if (state === "saved") place.textContent = `pairs saved: ${count} (${new Date(saved).toLocaleTimeString()})`;
    else place.textContent = `NOT SAVED: ${why}`;
  }

  tellFailed(why) {
    if (why) this.hint(why);
  }

  showKeys(shown = element("keys").hidden) {
    element("keys").hidden = !shown;
    element("help").setAttribute("aria-expanded", String(shown));
    if (shown) element("close-keys").focus();
    else this.active.canvas.focus();
  }

  async finish() {
    if (this.saver.running) await this.saver.running;
    await fetch("finish", { method: "POST" });
    const count = this.picks.points.length;
    element("finished").textContent = `Pairs in ${this.info.output}: ${count}. You can close this page.`;
    element("finished").hidden = false;
    for (const part of document.querySelectorAll("header, main")) part.inert = true;
    this.ended = true;
  }

  // ---- tools and keys

  listen() {
    const click = (id, act) => element(id).addEventListener("click", (event) => {
      act(event);
      // After a mouse click the keys belong to the image again.
      if (event.detail > 0 && element("keys").hidden) this.active.canvas.focus();
    });
    click("fit", () => this.fit());
    click("zoom-in", () => this.active.zoom(1.5));
    click("zoom-out", () => this.active.zoom(1 / 1.5));
    click("link", () => this.toggle("linked", "link"));
    click("flicker", () => this.flicker());
    click("loupe", () => this.toggle("loupe"));
    click("smooth", () => this.toggle("smooth"));
    click("stretch-view", () => this.stretchTo("view"));
    click("stretch-all", () => this.stretchTo("image"));
    click("undo", () => this.undo());
    click("redo", () => this.redo());
    click("delete", () => this.remove());
    click("help", () => this.showKeys());
    click("close-keys", () => this.showKeys(false));
    click("finish", () => this.finish());
    for (const id of ["clip", "gamma"]) {
      element(id).addEventListener("input", () => {
        element("clip-value").textContent = `${element("clip").value} %`;
        element("gamma-value").textContent = element("gamma").value;
        this.restretch();
      });
      element(id).addEventListener("pointerup", () => this.active.canvas.focus());
    }
    for (const radio of document.querySelectorAll('input[name="confidence"]')) {
      radio.addEventListener("pointerup", () => setTimeout(() => this.active.canvas.focus()));
      radio.addEventListener("change", () => this.setConfidence(Number(radio.value)));
    }
    document.addEventListener("keydown", (event) => this.key(event));
    window.addEventListener("beforeunload", (event) => {
      if (this.saver.unsaved && !this.ended) event.preventDefault();
    });
  }

  fit() {
    this.active.fit();
    this.viewChanged(this.active);
  }

  key(event) {
    const { target } = event;
    const inImage = target.matches("canvas") || target === document.body;
    const onControl = target.matches("button, input");
    const row = target.closest("#list tr");
    const control = event.ctrlKey || event.metaKey;
    const does = () => {
      const { key } = event;
      const lower = key.toLowerCase();
      if (control && lower === "z") return event.shiftKey ? () => this.redo() : () => this.undo();
      if (control && lower === "y") return () => this.redo();
      if (key in ARROWS && inImage) return () => this.arrow(event, ...ARROWS[key]);
      if (control || event.altKey) return null;
      if (key === "Escape") return () => this.escape();
      if (key === "Delete" || key === "Backspace") return () => this.remove(row ? Number(row.dataset.id) : undefined);
      if (row && key === "Enter" && !onControl) return () => this.select(Number(row.dataset.id), { show: true });
      if (row && (key === "ArrowDown" || key === "ArrowUp")) {
        return () => (key === "ArrowDown" ? row.nextElementSibling : row.previousElementSibling)?.focus();
      }
      if (key === "Enter" && inImage) return () => this.pickAtCursor();
      if (key === " " && !onControl) return event.repeat ? () => {} : () => this.flicker();
      if (["1", "2", "3"].includes(key)) return () => this.setConfidence(Number(key));
      return {
        "+": () => this.active.zoom(1.5),
        "=": () => this.active.zoom(1.5),
        "-": () => this.active.zoom(1 / 1.5),
        "0": () => this.fit(),
        u: () => this.toggle("linked", "link"),
        l: () => this.toggle("loupe"),
        n: () => this.toggle("smooth"),
        c: () => this.stretchTo(event.shiftKey ? "image" : "view"),
        "?": () => this.showKeys(),
      }[lower] ?? null;
    };
    const act = does();
    if (!act) return;
    event.preventDefault();
    act();
  }

  arrow(event, x, y) {
    const pane = this.active;
    if (event.ctrlKey || event.metaKey) {
      pane.pan((x * pane.size.width) / 4, (y * pane.size.height) / 4);
    } else if (event.altKey) {
      const point = this.picks.find(this.selected);
      if (!point) return;
      const mark = markOf(point, pane.shown);
      const step = 1 / pane.view.scale;
      this.moveMark(point.id, pane.shown, { x: mark.x + x * step, y: mark.y + y * step });
    } else {
      const step = event.shiftKey ? 1 : 10;
      pane.nudgeCursor(x * step, y * step);
    }
  }

  pickAtCursor() {
    const { cursor, view, shown } = this.active;
    this.pick(shown, cursor ?? { x: view.x, y: view.y });
  }

  escape() {
    if (!element("keys").hidden) this.showKeys(false);
    else if (this.pending) this.forget();
    else this.select(null);
  }
}

async function get(path) {
  const answer = await fetch(path);
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

try {
  const [info, points] = await Promise.all([get("pair"), get("points")]);
  new Annotation(info, points);
} catch (error) {
  element("hint").textContent = `The images cannot be shown: ${error.message}`;
}

// What is drawn over an image: marks, arrows, the loupe's cross, the scale bar.

import { drawClose } from "./pyramid.js";

export const COLOUR = { earlier: "#ffb000", later: "#45bdff" };
export const MARK_RADIUS = 7;
const HALO = "rgb(0 0 0 / 75%)";
const ARROW = "#f2f2f2";
const CHOSEN = "#fff04d";
const LOUPE = 172;
const GAP = 22;

function twice(context, width, colour, path) {
  for (const [line, stroke] of [[width + 2.5, HALO], [width, colour]]) {
    context.lineWidth = line;
    context.strokeStyle = stroke;
    context.beginPath();
    path();
    context.stroke();
  }
}

/** A ring that leaves the feature itself free. */
export function drawMark(context, place, side, { chosen, confidence, pending }) {
  const radius = chosen ? MARK_RADIUS + 2 : MARK_RADIUS;
  context.save();
  if (pending) context.setLineDash([3, 3]);
  else if (confidence === 1) context.setLineDash([5, 3.8]);
  twice(context, confidence === 3 ? 2.4 : 1.6, COLOUR[side], () => {
    context.arc(place.x, place.y, radius, 0, 2 * Math.PI);
  });
  context.setLineDash([]);
  if (chosen) twice(context, 1.6, CHOSEN, () => context.arc(place.x, place.y, radius + 4, 0, 2 * Math.PI));
  context.restore();
}

/** An arrow from place to place that stays outside of the ring round the mark that is shown. */
export function drawArrow(context, start, end, { chosen, confidence, shown }) {
  const whole = Math.hypot(end.x - start.x, end.y - start.y);
  const ring = MARK_RADIUS + (chosen ? 7 : 1);
  const length = whole - ring;
  if (length < 3) { // it ends within the ring: a line says which way
    context.save();
    if (whole > 1) twice(context, 1, chosen ? CHOSEN : ARROW, () => {
      context.moveTo(start.x, start.y);
      context.lineTo(end.x, end.y);
    });
    context.restore();
    return;
  }
  const along = { x: (end.x - start.x) / whole, y: (end.y - start.y) / whole };
  const from = shown === "earlier" ? { x: start.x + ring * along.x, y: start.y + ring * along.y } : start;
  const to = shown === "later" ? { x: end.x - ring * along.x, y: end.y - ring * along.y } : end;
  const head = Math.min(10, length * 0.45);
  const wing = (side) => [
    to.x - head * (along.x + 0.45 * side * along.y),
    to.y - head * (along.y - 0.45 * side * along.x),
  ];
  context.save();
  context.lineJoin = "round";
  const path = () => {
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.moveTo(...wing(1));
    context.lineTo(to.x, to.y);
    context.lineTo(...wing(-1));
  };
  twice(context, chosen ? 2.4 : confidence === 3 ? 1.8 : 1.2, chosen ? CHOSEN : ARROW, path);
  context.restore();
}

/** A word beside a mark, on the side that its arrow leaves free. */
export function drawLabel(context, place, text, { left = false } = {}) {
  const x = place.x + (left ? -1 : 1) * (MARK_RADIUS + 4);
  context.save();
  context.font = "600 11px system-ui, 'DejaVu Sans', sans-serif";
  context.textAlign = left ? "right" : "left";
  context.lineWidth = 3;
  context.strokeStyle = HALO;
  context.fillStyle = "#fff";
  context.strokeText(text, x, place.y - MARK_RADIUS);
  context.fillText(text, x, place.y - MARK_RADIUS);
  context.restore();
}

/** A cross with a free middle. */
export function drawCross(context, place, colour, { inner = 4, outer = 13 } = {}) {
  context.save();
  twice(context, 1.5, colour, () => {
    for (const [x, y] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(place.x + inner * x, place.y + inner * y);
      context.lineTo(place.x + outer * x, place.y + outer * y);
    }
  });
  context.restore();
}

/** The magnifier: side by side with the feature that is to be found again, if there is one. */
export function drawLoupes(context, size, cursor, glasses, options) {
  const width = LOUPE * glasses.length + 6 * (glasses.length - 1);
  let left = cursor.x + GAP;
  if (left + width > size.width - 4) left = cursor.x - GAP - width;
  left = Math.min(Math.max(4, left), Math.max(4, size.width - width - 4));
  let top = cursor.y - GAP - LOUPE;
  if (top < 4) top = cursor.y + GAP;
  top = Math.min(top, size.height - LOUPE - 4);
  glasses.forEach((glass, k) => {
    drawLoupe(context, { x: left + k * (LOUPE + 6), y: top, width: LOUPE, height: LOUPE }, glass, options);
  });
}

function drawLoupe(context, rect, glass, options) {
  const view = { x: glass.x, y: glass.y, scale: glass.scale };
  context.save();
  context.fillStyle = "#101317";
  context.fillRect(rect.x, rect.y, rect.width, rect.height);
  drawClose(context, glass.pyramid, view, rect, options);
  context.beginPath();
  context.rect(rect.x, rect.y, rect.width, rect.height);
  context.clip();
  const middle = { x: rect.x + rect.width / 2, y: rect.y + rect.height / 2 };
  drawCross(context, middle, COLOUR[glass.side], { inner: 6, outer: 60 });
  context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
  context.lineWidth = 3;
  context.strokeStyle = HALO;
  context.fillStyle = "#fff";
  context.strokeText(glass.text, rect.x + 6, rect.y + rect.height - 7);
  context.fillText(glass.text, rect.x + 6, rect.y + rect.height - 7);
  context.restore();
  context.save();
  context.lineWidth = 2;
  context.strokeStyle = COLOUR[glass.side];
  context.strokeRect(rect.x, rect.y, rect.width, rect.height);
  context.restore();
}

export function drawScaleBar(context, size, scale, metresPerPixel) {
  const unit = metresPerPixel ?? 1;
  const longest = (size.width / 4 / scale) * unit;
  const power = 10 ** Math.floor(Math.log10(longest));
  const length = [5, 2, 1].map((factor) => factor * power).find((value) => value <= longest);
  const pixels = (length / unit) * scale;
  const text = metresPerPixel === null ? `${round(length)} px`
    : length >= 1000 ? `${round(length / 1000)} km` : `${round(length)} m`;
  const right = size.width - 12;
  const base = size.height - 40; // above the readout
  context.save();
  twice(context, 2, "#fff", () => {
    context.moveTo(right - pixels, base - 5);
    context.lineTo(right - pixels, base);
    context.lineTo(right, base);
    context.lineTo(right, base - 5);
  });
  context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
  context.textAlign = "right";
  context.lineWidth = 3;
  context.strokeStyle = HALO;
  context.fillStyle = "#fff";
  context.strokeText(text, right, base - 9);
  context.fillText(text, right, base - 9);
  context.restore();
}

function round(value) {
  return Number(value.toPrecision(3));
}

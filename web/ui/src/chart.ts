// One chart: uPlot with a crosshair, a tooltip, bands, stacking, drag to zoom.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { fill, h } from "./dom";
import { moment, plain, tick, type Unit } from "./format";
import { align, extent, stack, type Column, type Line } from "./plot";
import { colourOf, colours, dashed, swatch } from "./theme";

export interface Picture {
  lines: Line[];
  from: number;
  to: number;
  step: number; // seconds a point stands for
  unit: Unit;
  stacked?: boolean;
  zero?: boolean; // the value axis begins at zero
}

export interface ChartOptions {
  label: string; // for screen readers
  height: () => number; // CSS pixels
  zoom: (from: number, to: number) => void;
  back: () => void;
  group?: string; // charts of a group share the crosshair
  focused?: (line: number | null) => void; // the line nearest to the pointer
}

const MAX_BANDS = 4; // with more lines, only the focused one shows its band
const TIP_LINES = 8; // lines a tooltip names
const MIN_DRAG = 6; // CSS pixels; less is a click
const NARROW = 480; // CSS pixels
const PER_LINE = 3; // uPlot series a line: high, low, value

const NOTHING: Picture = { lines: [], from: 0, to: 1, step: 10, unit: plain };

/** live holds the charts on the page, for the debug hook. */
export const onPage = new Set<Chart>();

export class Chart {
  readonly element: HTMLElement;
  picture: Picture = NOTHING;
  plot: uPlot | null = null;
  private readonly canvas = h("div", { class: "chart-canvas" });
  private readonly tip = h("div", { class: "tip", hidden: true, "aria-hidden": "true" });
  private readonly hidden = new Set<string>(); // names of lines switched off
  private shape = "";
  private focus: number | null = null;
  private hovered = false;
  private readonly resize = new ResizeObserver(() => this.fit());
  private readonly restyle = () => this.rebuild();

  constructor(private readonly options: ChartOptions) {
    this.element = h("div", { class: "chart", role: "img", tabindex: "0", "aria-label": options.label }, this.canvas, this.tip);
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("blur", () => this.leave());
    this.resize.observe(this.canvas);
    addEventListener("themechange", this.restyle);
    onPage.add(this);
  }

  close(): void {
    removeEventListener("themechange", this.restyle);
    this.resize.disconnect();
    this.plot?.destroy();
    onPage.delete(this);
  }

  set(picture: Picture): void {
    this.picture = picture;
    const shape = JSON.stringify([picture.stacked, picture.lines.map((line) => [line.name, Boolean(line.high)])]);
    if (!this.plot || shape !== this.shape) {
      this.shape = shape;
      this.rebuild();
      return;
    }
    const plot = this.plot;
    plot.batch(() => {
      plot.setData(this.data(), false);
      plot.setScale("x", { min: picture.from, max: picture.to });
    });
  }

  /** toggle shows or hides a line, and says whether it is shown now. */
  toggle(line: number): boolean {
    const name = this.picture.lines[line]?.name ?? "";
    if (!this.hidden.delete(name)) this.hidden.add(name);
    if (this.picture.stacked) this.plot?.setData(this.data(), false);
    this.showAll();
    return !this.hidden.has(name);
  }

  shown(line: number): boolean {
    return !this.hidden.has(this.picture.lines[line]?.name ?? "");
  }

  /** highlight puts one line before the others, or none. */
  highlight(line: number | null): void {
    if (line === this.focus) return;
    this.focus = line;
    this.plot?.setSeries(line === null ? null : PER_LINE * line + PER_LINE, { focus: true }, false);
    this.emphasise();
  }

  /** emphasise lets the band of the focused line come to the front with it. */
  private emphasise(): void {
    const { plot, focus } = this;
    if (!plot) return;
    if (focus !== null) {
      for (let k = 1; k < PER_LINE; k++) (plot.series[PER_LINE * focus + k] as { alpha?: number }).alpha = 1;
    }
    if (this.picture.lines.length > MAX_BANDS) this.showAll();
  }

  private showAll(): void {
    const plot = this.plot;
    if (!plot) return;
    plot.batch(() => this.picture.lines.forEach((_, i) => {
      for (let k = 1; k <= PER_LINE; k++) {
        const show = this.shown(i) && (k === PER_LINE || this.banded(i));
        if (plot.series[PER_LINE * i + k]!.show !== show) plot.setSeries(PER_LINE * i + k, { show }, false);
      }
    }));
  }

  private banded(line: number): boolean {
    return this.picture.lines.length <= MAX_BANDS || line === this.focus;
  }

  private data(): uPlot.AlignedData {
    const { lines, step, stacked } = this.picture;
    const { times, columns } = align(lines, step);
    if (!stacked) return [times, ...columns] as uPlot.AlignedData;
    const values = columns.filter((_, i) => i % PER_LINE === PER_LINE - 1);
    const none: Column = new Array(times.length).fill(undefined);
    const sums = stack(values.map((column, i) => (this.shown(i) ? column : none)));
    return [times, ...columns.map((column, i) => (i % PER_LINE === PER_LINE - 1 ? sums[Math.floor(i / PER_LINE)]! : column))] as uPlot.AlignedData;
  }

  private rebuild(): void {
    this.plot?.destroy();
    this.plot = null;
    const width = this.canvas.clientWidth;
    if (!width) return; // not on the page yet: the resize observer calls again
    this.focus = null;
    this.plot = new uPlot(this.config(width), this.data(), this.canvas);
    this.plot.setScale("x", { min: this.picture.from, max: this.picture.to });
    this.showAll();
    this.touch(this.plot);
  }

  private fit(): void {
    const width = this.canvas.clientWidth;
    if (!this.plot) this.rebuild();
    else if (width) this.plot.setSize({ width, height: this.options.height() });
  }

  private config(width: number): uPlot.Options {
    const { lines, stacked, unit } = this.picture;
    const colour = colours();
    const font = `11.5px ${colour.font}`;
    const axis = { stroke: colour.faint, font, grid: { stroke: colour.grid, width: 1 }, ticks: { show: false } };
    const options: uPlot.Options = {
      width, height: this.options.height(),
      padding: [10, 12, 0, 0],
      legend: { show: false },
      scales: {
        x: { time: true, auto: false, range: (_, min, max) => [min, max] },
        y: { range: (_, low, high) => extent(low, high, Boolean(stacked || this.picture.zero)) },
      },
      axes: [
        { ...axis, space: 72, gap: 6, size: 30, values: (_, splits, __, ___, increment) => splits.map((time) => tick(time, increment)) },
        {
          ...axis, space: 34, gap: 8,
          ...(unit.increments ? { incrs: unit.increments } : {}),
          values: (_, splits) => splits.map((value) => this.picture.unit.format(Math.abs(value) < 1e-12 ? 0 : value)),
          size: (plot, values) => this.axisSize(plot, values, font),
        },
      ],
      series: [{}, ...lines.flatMap((_, i) => this.series(i, Boolean(stacked)))],
      bands: stacked
        ? lines.slice(1).map((_, i) => ({ series: [PER_LINE * (i + 2), PER_LINE * (i + 1)] as [number, number], fill: alpha(colourOf(i + 1), 0.5) }))
        : lines.flatMap((line, i) => line.high
          ? [{ series: [PER_LINE * i + 1, PER_LINE * i + 2] as [number, number], fill: alpha(colourOf(i), 0.2) }] : []),
      focus: { alpha: 0.25 },
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false, dist: MIN_DRAG },
        focus: { prox: stacked || lines.length < 2 ? -1 : 24, dist: (_, i, __, at, pointer) => (i % PER_LINE === 0 ? at - pointer : Infinity) },
        hover: { skip: [undefined], prox: 60 },
        points: { size: 7, show: ((plot: uPlot, i: number) => (i % PER_LINE === 0 ? point(plot, i) : undefined)) as never },
        bind: { dblclick: () => () => { this.options.back(); return null; } },
        ...(this.options.group ? { sync: { key: this.options.group, setSeries: false, filters: { pub: (type: string) => type === "mousemove" || type === "mouseleave" } } } : {}),
      },
      hooks: {
        setCursor: [(plot) => this.describe(plot)],
        setSelect: [(plot) => this.selected(plot)],
        setSeries: [(_, i) => this.nearest(i)],
        ready: [(plot) => {
          plot.over.addEventListener("mouseenter", () => { this.hovered = true; });
          plot.over.addEventListener("mouseleave", () => this.leave());
        }],
      },
    };
    return options;
  }

  /** series is the three uPlot series of a line. */
  private series(line: number, stacked: boolean): uPlot.Series[] {
    const colour = colourOf(line);
    const edge: uPlot.Series = { stroke: "transparent", width: 0, points: { show: false } };
    const value: uPlot.Series = { stroke: colour, width: stacked ? 1 : 1.6, points: { size: 5, fill: colour, width: 0 } };
    if (stacked) value.points = { show: false };
    if (dashed(line)) value.dash = [5, 3];
    if (stacked && line === 0) value.fill = alpha(colour, 0.5);
    return [edge, { ...edge }, value];
  }

  private axisSize(plot: uPlot, values: string[] | null, font: string): number {
    if (!values?.length) return 44;
    plot.ctx.save();
    plot.ctx.font = font;
    const widest = Math.max(...values.map((value) => plot.ctx.measureText(value).width));
    plot.ctx.restore();
    return Math.max(40, Math.ceil(widest) + 16);
  }

  private selected(plot: uPlot): void {
    const { left, width } = plot.select;
    if (width < MIN_DRAG) return;
    const from = plot.posToVal(left, "x"), to = plot.posToVal(left + width, "x");
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.options.zoom(from, to);
  }

  private nearest(series: number | null): void {
    const line = series === null || series % PER_LINE !== 0 ? null : series / PER_LINE - 1;
    if (line === this.focus || !this.hovered) return;
    this.focus = line;
    this.options.focused?.(line);
    queueMicrotask(() => this.emphasise());
  }

  private leave(): void {
    this.hovered = false;
    this.tip.hidden = true;
    this.focus = null;
    this.options.focused?.(null);
    if (this.picture.lines.length > MAX_BANDS) this.showAll();
  }

  // The tooltip.

  private describe(plot: uPlot): void {
    const { left = -1, top = -1, idx } = plot.cursor;
    if (!this.hovered || left < 0 || idx === null || idx === undefined) {
      this.tip.hidden = true;
      return;
    }
    const found = this.under(plot);
    if (!found.length) {
      this.tip.hidden = true;
      return;
    }
    const { unit, step } = this.picture;
    const one = found.length === 1 ? found[0]! : found.find(({ line }) => line === this.focus);
    const details = one && this.details(one.line, one.i);
    const alone = details && this.picture.lines.length === 1; // then its details say everything
    fill(this.tip, h("div", { class: "tip-time" }, moment(found[0]!.time, step)),
      ...(alone ? [] : found.slice(0, TIP_LINES)).map(({ line, i }) =>
        h("div", { class: line === one?.line && found.length > 1 ? "tip-line strong" : "tip-line" },
          swatch(line), h("span", { class: "tip-name" }, this.picture.lines[line]!.name),
          h("span", { class: "tip-value" }, unit.format(this.picture.lines[line]!.values[i])))),
      found.length > TIP_LINES && h("div", { class: "tip-more" }, `and ${found.length - TIP_LINES} more`),
      details);
    this.tip.hidden = false;
    this.place(plot, left, top);
  }

  private details(line: number, i: number): HTMLElement | null {
    const rows = this.picture.lines[line]!.detail?.(i) ?? [];
    return rows.length ? h("dl", { class: "tip-details" }, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])) : null;
  }

  /** under lists the lines that have a point at the crosshair; the focused one first, then the highest. */
  private under(plot: uPlot): { line: number; i: number; time: number }[] {
    const times = plot.data[0];
    const found = this.picture.lines.flatMap((line, k) => {
      const idx = plot.cursor.idxs?.[PER_LINE * k + PER_LINE];
      if (idx === null || idx === undefined || !this.shown(k)) return [];
      const time = times[idx]!;
      const i = search(line.times, time);
      return i < 0 ? [] : [{ line: k, i, time }];
    });
    const value = ({ line, i }: { line: number; i: number }) => this.picture.lines[line]!.values[i] ?? -Infinity;
    if (this.picture.stacked) return found.reverse();
    return found.sort((a, b) => Number(b.line === this.focus) - Number(a.line === this.focus) || value(b) - value(a));
  }

  private place(plot: uPlot, left: number, top: number): void {
    const box = this.element.getBoundingClientRect();
    const over = plot.over.getBoundingClientRect();
    const x = over.left - box.left + left;
    const width = this.tip.offsetWidth;
    const fits = x + 16 + width <= box.width;
    if (box.width < NARROW) { // beside the finger there is no room: take the upper corner across
      this.tip.style.left = `${x > box.width / 2 ? 0 : box.width - width}px`;
      this.tip.style.top = "0px";
      return;
    }
    this.tip.style.left = `${Math.max(0, fits ? x + 16 : x - 16 - width)}px`;
    this.tip.style.top = `${Math.max(0, Math.min(over.top - box.top + top - 20, box.height - this.tip.offsetHeight))}px`;
  }

  // Fingers and keys move the crosshair too.

  private touch(plot: uPlot): void {
    const move = (event: TouchEvent) => {
      const finger = event.touches[0];
      if (!finger) return;
      const box = plot.over.getBoundingClientRect();
      this.hovered = true;
      plot.setCursor({ left: Math.max(0, Math.min(box.width, finger.clientX - box.left)), top: Math.max(0, finger.clientY - box.top - 40) });
    };
    plot.over.addEventListener("touchstart", move, { passive: true });
    plot.over.addEventListener("touchmove", move, { passive: true });
  }

  private key(event: KeyboardEvent): void {
    const plot = this.plot;
    const times = plot?.data[0];
    if (!plot || !times?.length) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.leave();
    if (!step) return;
    event.preventDefault();
    const at = this.hovered ? plot.cursor.idx ?? times.length : times.length;
    const next = times[Math.max(0, Math.min(times.length - 1, at + step))]!;
    this.hovered = true;
    plot.setCursor({ left: plot.valToPos(next, "x"), top: 30 });
  }
}

function alpha(colour: string, opacity: number): string {
  return colour + Math.round(opacity * 255).toString(16).padStart(2, "0");
}

/** point is the dot on a line under the crosshair. */
function point(plot: uPlot, i: number): HTMLElement {
  const dot = h("div", {});
  const stroke = plot.series[i]!.stroke;
  dot.style.background = String(typeof stroke === "function" ? stroke(plot, i) : stroke);
  return dot;
}

/** search is the index of an exact time in a rising list, -1 if it is not there. */
function search(times: number[], time: number): number {
  let low = 0, high = times.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    if (times[middle] === time) return middle;
    if (times[middle]! < time) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

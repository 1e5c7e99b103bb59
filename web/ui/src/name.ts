// The page of one name: its series as lines with their bands, followed live.

import { ApiError, aborted, buckets as fetchBuckets, series as fetchSeries, type Bucket, type BucketSeries, type BucketsAnswer, type Kind, type Labels } from "./api";
import { Chart } from "./chart";
import { empty, failure, fill, h } from "./dom";
import { duration, grouped, plain, unitOf, type Unit } from "./format";
import { common, expression, identity, nameSelector, selector, text } from "./labels";
import { Legend } from "./legend";
import { Live, type Follower } from "./live";
import { Loader, chartHeight, stepFor, type Context, type Page } from "./page";
import type { Line } from "./plot";
import { RANGES, format, resolve, type State } from "./state";
import { words } from "./tree";

const MAX_DRAWN = 20; // series in one chart
const MIN_POINTS = 150; // a line
const MAX_LISTED = 2000; // series asked for, to filter among
const OVERLAP = 3; // buckets read again when following, for what came late
const TYPING_MS = 150; // after the last key, before a filter is applied

export class NamePage implements Page, Follower {
  readonly element: HTMLElement;
  private readonly chart: Chart;
  private readonly legend: Legend;
  private readonly filter = h("input", { class: "filter", type: "search", "aria-label": "Filter series by their labels", placeholder: "Filter series, like mode=user", autocomplete: "off", spellcheck: "false" });
  private readonly note = h("p", { class: "note", role: "status" });
  private readonly message = h("div", {});
  private readonly drawing: HTMLElement;
  private readonly loader = new Loader();
  private live: Live | null = null;
  private state!: State;
  private answer: BucketsAnswer | null = null;
  private chosen: string[] = []; // selectors of what is drawn
  private known: Set<string> | null = null; // identities of what is drawn, null for all of the name
  private found = 0; // series that match
  private changed = false; // the stream told of something not yet drawn
  private typing = 0;

  constructor(private readonly context: Context) {
    this.chart = new Chart({
      label: "Chart", height: chartHeight,
      zoom: (from, to) => context.location.zoom(from, to), back: () => context.location.back(),
      focused: (line) => this.legend.mark(line),
    });
    this.legend = new Legend(this.chart, "series");
    this.filter.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => context.location.set({ filter: this.filter.value }, true), TYPING_MS);
    });
    this.drawing = h("div", { class: "drawing" }, this.chart.element, h("div", { class: "under-chart" }, this.note, this.filter), this.legend.element);
    this.element = h("section", { class: "name-page card" }, this.message, this.drawing);
  }

  close(): void {
    clearTimeout(this.typing);
    this.live?.stop();
    this.loader.stop();
    this.legend.close();
    this.chart.close();
  }

  update(state: State): void {
    const before = this.state as State | undefined;
    this.state = state;
    if (before?.name !== state.name) {
      this.answer = null;
      this.chart.set({ lines: [], from: 0, to: 1, step: 10, unit: plain });
      this.legend.draw();
      this.filter.hidden = true;
      this.note.textContent = "";
      this.title(null, []);
    }
    if (document.activeElement !== this.filter) this.filter.value = state.filter;
    void this.load();
  }

  private async load(): Promise<void> {
    this.live?.stop();
    this.live = null;
    const signal = this.loader.start();
    this.element.setAttribute("aria-busy", "true");
    try {
      const { from, to } = resolve(this.state.range);
      await this.choose(from, to, signal);
      this.answer = this.chosen.length
        ? this.keep(await fetchBuckets(this.chosen, from, to, this.step(to - from), signal))
        : { tier: "", step: 10, columns: [], series: [] };
      fill(this.message);
      this.draw();
      this.follow();
    } catch (error) {
      if (aborted(error)) return;
      this.drawing.hidden = true;
      fill(this.message, failure(error instanceof ApiError ? error.message : String(error), () => void this.load()));
    }
    this.element.removeAttribute("aria-busy");
  }

  /** step gives a bucket two pixels: its band shows what a finer line would only smear. */
  private step(span: number): number {
    return stepFor(span, Math.max(MIN_POINTS, this.element.clientWidth / 2), this.context.pulse.finest);
  }

  /** choose finds the series of the name and picks the first that the filter lets through. */
  private async choose(from: number, to: number, signal: AbortSignal): Promise<void> {
    const sets = await fetchSeries(nameSelector(this.state.name), from, to, MAX_LISTED + 1, signal);
    const wanted = words(this.state.filter);
    const matching = sets
      .map((labels) => ({ labels, label: text(labels) }))
      .filter(({ label }) => wanted.every((word) => label.toLowerCase().includes(word)))
      .sort((a, b) => (a.label < b.label ? -1 : 1));
    this.found = matching.length;
    this.filter.hidden = sets.length < 2 && !this.state.filter;
    if (sets.length <= MAX_DRAWN && !wanted.length) {
      this.chosen = sets.length ? [nameSelector(this.state.name)] : [];
      this.known = null;
      return;
    }
    const drawn = matching.slice(0, MAX_DRAWN).map(({ labels }) => labels);
    this.chosen = drawn.map(selector);
    this.known = new Set(drawn.map(identity));
  }

  /** keep drops series that a selector matched besides the one it was made for, and orders the rest. */
  private keep(answer: BucketsAnswer): BucketsAnswer {
    const seen = new Set<string>();
    const series = answer.series.filter(({ metric }) => {
      const id = identity(metric);
      const wanted = (!this.known || this.known.has(id)) && !seen.has(id);
      seen.add(id);
      return wanted;
    });
    series.sort((a, b) => (text(a.metric) < text(b.metric) ? -1 : 1));
    return { ...answer, series: series.slice(0, MAX_DRAWN) };
  }

  // Following.

  private follow(): void {
    if (!("span" in this.state.range) || !this.answer) return;
    const everyMs = Math.max(1000, Math.min(30_000, this.answer.step * 500));
    this.live = new Live(this.chosen, everyMs, this);
  }

  bucket(metric: Labels, kind: Kind, bucket: Bucket): void {
    const series = this.answer?.series.find((one) => identity(one.metric) === identity(metric));
    const direct = series && this.answer!.step === this.context.pulse.finest && (kind === "gauge" || bucket.rate !== null);
    if (!direct) {
      this.changed = true;
      return;
    }
    mergeBuckets(series.buckets, [bucket], 0);
    this.draw();
  }

  tick(stale: boolean): void {
    if (stale || this.changed) void this.catchUp();
    else this.draw();
  }

  /** catchUp reads the newest buckets again. */
  private async catchUp(): Promise<void> {
    const answer = this.answer;
    if (!answer) return;
    if (!this.chosen.length) return this.load(); // there was nothing: maybe there is now
    const signal = this.loader.start();
    this.changed = false;
    const { from, to } = resolve(this.state.range);
    const newest = Math.max(from, ...answer.series.map(({ buckets }) => buckets.at(-1)?.time ?? 0));
    const start = Math.max(from, newest - OVERLAP * answer.step);
    try {
      const news = this.keep(await fetchBuckets(this.chosen, start, to, answer.step, signal));
      for (const one of news.series) {
        const old = answer.series.find((other) => identity(other.metric) === identity(one.metric));
        if (old) mergeBuckets(old.buckets, one.buckets, from);
        else answer.series.push(one);
      }
      this.draw();
    } catch {
      this.changed = true; // the header says when the server is away; the next tick tries again
    }
  }

  // Drawing.

  private draw(): void {
    const answer = this.answer;
    if (!answer) return;
    const { from, to } = resolve(this.state.range);
    const sets = answer.series.map(({ metric }) => metric);
    const shared = common(sets);
    const kind = answer.series[0]?.kind ?? null;
    const unit = unitOf(this.state.name, kind !== null && kind !== "gauge");
    const lines = answer.series.map((one) => lineOf(one, sets.length > 1 ? text(one.metric, shared) : text(one.metric), unitOf(this.state.name, false), unit));
    const any = lines.some((line) => line.times.length);
    this.title(kind, Object.entries(sets.length > 1 ? shared : {}));
    this.drawing.hidden = !any && !this.state.filter;
    this.chart.element.hidden = !any;
    this.legend.element.hidden = !any;
    fill(this.message, !any && this.nothing());
    this.chart.element.setAttribute("aria-label", `${this.state.name}, ${lines.length} series, ${duration(to - from)}; the table below has its numbers`);
    this.chart.set({ lines, from, to, step: answer.step, unit });
    this.legend.draw();
    this.describe(kind, any);
  }

  private title(kind: Kind | null, labels: [string, string][]): void {
    const name = this.state.name;
    const expr = kind === "counter" ? `rate(${expression(name)}[5m])` : expression(name);
    fill(this.context.heading,
      h("h1", { title: name }, name),
      h("p", { class: "chips" },
        kind && h("span", { class: "chip kind" }, kind),
        ...labels.map(([label, value]) => h("span", { class: "chip" }, `${label}=${value}`)),
        h("a", { class: "quiet-link", href: format({ ...this.state, page: "query", expr }) }, "Open as PromQL")));
  }

  private describe(kind: Kind | null, any: boolean): void {
    if (!any) {
      this.note.textContent = "";
      return;
    }
    const what = kind === "gauge" ? "line: average, band: min to max" : "line: change a second";
    const more = this.found > MAX_DRAWN
      ? `The first ${MAX_DRAWN} of ${this.found > MAX_LISTED ? `more than ${grouped(MAX_LISTED)}` : grouped(this.found)} series are drawn; filter to see others. `
      : "";
    this.note.textContent = `${more}${duration(this.answer!.step)} buckets, ${what}`;
  }

  private nothing(): HTMLElement {
    if (this.state.filter && !this.chosen.length) return empty("No series has these labels", h("p", {}, "Every word of the filter must stand in the series' labels."));
    const range = this.state.range;
    const span = "span" in range ? range.span : range.to - range.from;
    const wider = RANGES.find(([, seconds]) => seconds > span * 2);
    return empty("No data in this range",
      h("p", {}, "The name is known, but nothing arrived in this time."),
      wider ? h("button", { class: "button", type: "button", onclick: () => this.context.location.choose(wider[1]) }, `Look at ${wider[0]}`) : null);
  }
}

/** mergeBuckets puts newer buckets in their places and drops what lies before `from`. */
export function mergeBuckets(into: Bucket[], news: Bucket[], from: number): void {
  for (const bucket of news) {
    let i = into.length;
    while (i > 0 && into[i - 1]!.time > bucket.time) i--;
    if (into[i - 1]?.time === bucket.time) into[i - 1] = bucket;
    else into.splice(i, 0, bucket);
  }
  let gone = 0;
  while (gone < into.length && into[gone]!.time < from) gone++;
  into.splice(0, gone);
}

function lineOf(one: BucketSeries, name: string, valueUnit: Unit, unit: Unit): Line {
  const times = one.buckets.map((bucket) => bucket.time);
  const count = (bucket: Bucket): [string, string] => ["samples", grouped(bucket.count)];
  if (one.kind === "gauge") {
    return {
      name, times,
      values: one.buckets.map((bucket) => bucket.avg),
      low: one.buckets.map((bucket) => bucket.min),
      high: one.buckets.map((bucket) => bucket.max),
      detail: (i) => {
        const bucket = one.buckets[i];
        if (!bucket) return [];
        return [["avg", unit.format(bucket.avg)], ["min", unit.format(bucket.min)], ["max", unit.format(bucket.max)], ["sdev", unit.format(bucket.sdev)], count(bucket)];
      },
    };
  }
  return {
    name, times,
    values: one.buckets.map((bucket) => bucket.rate),
    detail: (i) => {
      const bucket = one.buckets[i];
      if (!bucket) return [];
      const rate: [string, string] = ["rate", unit.format(bucket.rate)];
      if (one.kind === "counter") return [rate, ["value", valueUnit.format(bucket.last)], count(bucket)];
      return [rate, ["sum", valueUnit.format(bucket.sum)], ["min", valueUnit.format(bucket.min)], ["max", valueUnit.format(bucket.max)], count(bucket)];
    },
  };
}

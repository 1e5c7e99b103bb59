// The page of a PromQL expression.

import { ApiError, aborted, queryRange, type RangeAnswer } from "./api";
import { Chart } from "./chart";
import { empty, failure, fill, h } from "./dom";
import { duration, grouped, unitOfExpression } from "./format";
import { common, full, text } from "./labels";
import { Legend } from "./legend";
import { Live, type Follower } from "./live";
import { Loader, chartHeight, stepFor, type Context, type Page } from "./page";
import { resolve, type State } from "./state";

const MAX_DRAWN = 50; // lines in one chart
const POINTS = 400; // a line

export class QueryPage implements Page, Follower {
  readonly element: HTMLElement;
  private readonly chart: Chart;
  private readonly legend: Legend;
  private readonly note = h("p", { class: "note", role: "status" });
  private readonly message = h("div", {});
  private readonly drawing: HTMLElement;
  private readonly loader = new Loader();
  private live: Live | null = null;
  private state!: State;

  constructor(private readonly context: Context) {
    this.chart = new Chart({
      label: "Chart of the query", height: chartHeight,
      zoom: (from, to) => context.location.zoom(from, to), back: () => context.location.back(),
      focused: (line) => this.legend.mark(line),
    });
    this.legend = new Legend(this.chart, "series");
    this.drawing = h("div", { class: "drawing", hidden: true }, this.chart.element, h("div", { class: "under-chart" }, this.note), this.legend.element);
    this.element = h("section", { class: "query-page card" }, this.message, this.drawing);
  }

  close(): void {
    this.context.failQuery(null);
    this.live?.stop();
    this.loader.stop();
    this.legend.close();
    this.chart.close();
  }

  update(state: State): void {
    this.state = state;
    fill(this.context.heading, h("h1", { class: "mono", title: state.expr }, state.expr || "PromQL"));
    this.live?.stop();
    this.live = null;
    if (!state.expr) {
      this.drawing.hidden = true;
      fill(this.message, empty("Ask a question", h("p", {}, "Type a PromQL expression above and press Enter.")));
      return;
    }
    void this.run();
  }

  bucket(): void {}

  tick(): void {
    void this.run();
  }

  private async run(): Promise<void> {
    const signal = this.loader.start();
    const { from, to } = resolve(this.state.range);
    const step = stepFor(to - from, POINTS, this.context.pulse.finest);
    this.element.setAttribute("aria-busy", "true");
    try {
      const answer = await queryRange(this.state.expr, Math.floor(from / step) * step, to, step, signal);
      this.context.failQuery(null);
      this.draw(answer, from, to, step);
      this.follow(step);
    } catch (error) {
      if (aborted(error)) return;
      const message = error instanceof ApiError ? error.message : String(error);
      const ours = error instanceof ApiError && error.status >= 400 && error.status < 500;
      this.context.failQuery(ours ? message : null);
      this.drawing.hidden = true;
      fill(this.message, ours
        ? empty("Nothing to draw", h("p", {}, "Correct the expression and press Enter."))
        : failure(message, () => void this.run()));
    }
    this.element.removeAttribute("aria-busy");
  }

  /** follow asks again now and then: an expression has no selector that the stream could be asked for. */
  private follow(step: number): void {
    if (!this.live && "span" in this.state.range) this.live = new Live([], Math.max(5000, Math.min(60_000, step * 500)), this);
  }

  private draw(answer: RangeAnswer, from: number, to: number, step: number): void {
    const drawn = answer.series.slice(0, MAX_DRAWN);
    const sets = drawn.map(({ metric }) => metric);
    const shared = common(sets);
    const oneName = new Set(sets.map((labels) => labels["__name__"])).size === 1;
    const lines = drawn.map(({ metric, samples }) => ({
      name: sets.length === 1 ? nameOf(full(metric)) : oneName ? text(metric, shared) : full(metric),
      times: samples.map(({ time }) => time),
      values: samples.map(({ value }) => value),
    }));
    this.drawing.hidden = !lines.length;
    fill(this.message, ...answer.warnings.map((warning) => h("p", { class: "warning" }, warning)),
      !lines.length && empty("The answer is empty", h("p", {}, "No series matches, or none has a value in this range.")));
    this.chart.element.setAttribute("aria-label", `${this.state.expr}, ${lines.length} series; the table below has its numbers`);
    this.chart.set({ lines, from, to, step, unit: unitOfExpression(this.state.expr) });
    this.legend.draw();
    const more = answer.series.length > MAX_DRAWN ? `The first ${MAX_DRAWN} of ${grouped(answer.series.length)} series are drawn. ` : "";
    this.note.textContent = `${more}step ${duration(step)}`;
  }
}

function nameOf(full: string): string {
  return full === "{}" ? "value" : full;
}

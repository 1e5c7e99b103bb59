// The first page: this host's numbers, or whatever else there is, or how to begin.

import { ApiError, aborted, labelValues, queryRange } from "./api";
import { Chart } from "./chart";
import { empty, fill, h } from "./dom";
import { plain, unitOf } from "./format";
import { HOST_LABELS, HOST_MATCH, hostPanels, otherNames, type PanelSpec } from "./host";
import { common, expression, nameSelector, text } from "./labels";
import { summary } from "./legend";
import { Live, type Follower } from "./live";
import { Loader, stepFor, type Context, type Page } from "./page";
import type { Line } from "./plot";
import { format, resolve, type State } from "./state";
import { swatch } from "./theme";

const POINTS = 180; // a line
const MAX_LINES = 8; // a panel
const MIN_WINDOW = 60; // seconds over which rates are taken, at least

export class OverviewPage implements Page, Follower {
  readonly element = h("section", { class: "overview" });
  private panels: PanelView[] = [];
  private live: Live | null = null;
  private state!: State;
  private hostLabel = "";
  private hosts: string[] = [];
  private asked = false;
  private made = ""; // what the panels were made from

  constructor(private readonly context: Context) {}

  close(): void {
    this.live?.stop();
    this.panels.forEach((panel) => panel.close());
  }

  update(state: State): void {
    this.state = state;
    if (this.asked) this.show();
    else void this.findHosts();
  }

  /** namesArrived is told when the list of names has changed. */
  namesArrived(): void {
    if (this.state) void this.findHosts();
  }

  private async findHosts(): Promise<void> {
    if (this.context.names()?.some((name) => name.startsWith("host_"))) {
      for (const label of HOST_LABELS) {
        const values = await labelValues(label, HOST_MATCH).catch(() => [] as string[]);
        if (!values.length) continue;
        [this.hostLabel, this.hosts] = [label, values];
        break;
      }
      this.asked = true;
    }
    this.show();
  }

  private host(): string {
    if (this.hosts.includes(this.state.host)) return this.state.host;
    return this.hosts.length > 1 ? this.hosts[0]! : "";
  }

  private show(): void {
    const names = this.context.names();
    this.live?.stop();
    this.live = null;
    this.title();
    if (!names?.length) {
      this.clear();
      fill(this.element, names === null ? h("p", { class: "note" }, "Reading names…") : welcome());
      return;
    }
    const { from, to } = resolve(this.state.range);
    const step = stepFor(to - from, POINTS, this.context.pulse.finest);
    const specs = this.specs(names, `${Math.max(MIN_WINDOW, 2 * step)}s`);
    this.make(specs);
    this.panels.forEach((panel, i) => panel.load(specs[i]!, from, to, step));
    if ("span" in this.state.range) {
      const selectors = specs.flatMap(({ top }) => (top ? [nameSelector(top)] : []));
      this.live = new Live(selectors, Math.max(5000, Math.min(60_000, step * 500)), this);
    }
  }

  private specs(names: string[], window: string): PanelSpec[] {
    const host = this.host();
    const specs = hostPanels(names, window, host ? { [this.hostLabel]: host } : {});
    if (specs.length) return specs;
    return otherNames(names).map((name): PanelSpec => {
      const counter = /_(total|count)$/.test(name);
      return {
        title: name, top: name, unit: unitOf(name, counter),
        queries: [{ expr: counter ? `rate(${expression(name)}[${window}])` : expression(name) }],
      };
    });
  }

  private title(): void {
    const shown = this.host() || (this.hosts.length === 1 ? this.hosts[0]! : "");
    const select = h("select", { class: "host", "aria-label": "Host", onchange: () => this.context.location.set({ host: select.value }) },
      ...this.hosts.map((host) => h("option", { value: host, selected: host === shown }, host)));
    fill(this.context.heading, h("h1", {}, "Overview"),
      this.hosts.length > 1 ? select : shown ? h("p", { class: "chips" }, h("span", { class: "chip" }, shown)) : null);
  }

  private make(specs: PanelSpec[]): void {
    const key = JSON.stringify(specs.map(({ title }) => title));
    if (key === this.made && this.panels.length) return;
    this.clear();
    this.made = key;
    this.panels = specs.map((spec) => new PanelView(spec, this.context, () => this.state));
    fill(this.element, h("div", { class: "panels" }, ...this.panels.map((panel) => panel.element)));
  }

  private clear(): void {
    this.panels.forEach((panel) => panel.close());
    this.panels = [];
    this.made = "";
  }

  // Following: a completed bucket of any panel, or the timer, draws all anew.

  private changed = false;

  bucket(): void {
    this.changed = true;
  }

  tick(stale: boolean): void {
    if (!stale && !this.changed) return;
    this.changed = false;
    const { from, to } = resolve(this.state.range);
    const step = stepFor(to - from, POINTS, this.context.pulse.finest);
    const specs = this.specs(this.context.names() ?? [], `${Math.max(MIN_WINDOW, 2 * step)}s`);
    this.panels.forEach((panel, i) => specs[i] && panel.load(specs[i], from, to, step));
  }
}

/** PanelView is one small chart with its title, its newest numbers and its own troubles. */
class PanelView {
  readonly element: HTMLElement;
  private readonly chart: Chart;
  private readonly keys = h("p", { class: "keys" });
  private readonly message = h("p", { class: "panel-message", role: "status" });
  private readonly link = h("a", {});
  private readonly loader = new Loader();
  private readonly restyle = () => this.drawKeys();
  private lines: Line[] = [];

  constructor(private spec: PanelSpec, context: Context, private readonly state: () => State) {
    this.chart = new Chart({
      label: spec.title, height: () => (innerWidth < 700 ? 150 : 180), group: "overview",
      zoom: (from, to) => context.location.zoom(from, to), back: () => context.location.back(),
    });
    this.link.textContent = spec.title;
    this.element = h("article", { class: "panel card" },
      h("header", {}, h("h2", {}, this.link), this.keys),
      h("div", { class: "panel-body" }, this.chart.element, this.message));
    addEventListener("themechange", this.restyle);
  }

  close(): void {
    removeEventListener("themechange", this.restyle);
    this.loader.stop();
    this.chart.close();
  }

  async load(spec: PanelSpec, from: number, to: number, step: number): Promise<void> {
    this.spec = spec;
    this.link.href = spec.queries.length === 1
      ? format({ ...this.state(), page: "query", expr: spec.queries[0]!.expr })
      : format({ ...this.state(), page: "name", name: spec.top ?? "", filter: "" });
    const signal = this.loader.start();
    try {
      const answers = await Promise.all(spec.queries.map(({ expr }) => queryRange(expr, Math.floor(from / step) * step, to, step, signal)));
      const all = answers.flatMap((answer, i) => {
        const shared = common(answer.series.map(({ metric }) => metric));
        return answer.series.map(({ metric, samples }): Line => ({
          name: spec.queries[i]!.name ?? (answer.series.length > 1 ? bare(text(metric, shared)) : bare(text(metric))),
          times: samples.map(({ time }) => time), values: samples.map(({ value }) => value),
        }));
      });
      this.lines = spec.stacked ? largest(all) : all.slice(0, MAX_LINES);
      this.message.textContent = this.lines.length ? "" : "No data in this range";
      this.chart.set({ lines: this.lines, from, to, step, unit: spec.unit, stacked: spec.stacked ?? false, zero: spec.unit !== plain });
      this.drawKeys();
    } catch (error) {
      if (aborted(error)) return;
      this.message.textContent = error instanceof ApiError ? error.message : String(error);
    }
  }

  private drawKeys(): void {
    fill(this.keys, ...this.lines.slice(0, 5).map((line, i) =>
      h("span", { class: "key" }, swatch(i), line.name, h("b", {}, this.spec.unit.format(summary(line).last)))));
  }
}

/** largest keeps the lines that weigh most: in a stack the others could not be told apart. */
function largest(lines: Line[]): Line[] {
  const weight = (line: Line) => summary(line).avg ?? 0;
  return lines.filter((line) => (summary(line).max ?? 0) > 0).sort((a, b) => weight(b) - weight(a)).slice(0, MAX_LINES);
}

/** bare drops the label's name where there is one label: "mode=user" is "user". */
function bare(label: string): string {
  return /^[^=]+=\S+$/.test(label) ? label.slice(label.indexOf("=") + 1) : label;
}

function welcome(): HTMLElement {
  return h("div", { class: "card welcome" }, empty("Nothing has arrived yet",
    h("p", {}, "Send a number, and it appears on the left within seconds:"),
    h("pre", {}, h("code", {}, 'echo "demo.answer 42" | nc -q1 localhost 8111')),
    h("p", {}, "Or let Prometheus write here:"),
    h("pre", {}, h("code", {}, `remote_write:\n  - url: ${new URL("api/v1/write", document.baseURI).href}`)),
    h("p", {}, "The server's own agent sends this host's numbers every 10 seconds, unless it was switched off.")));
}

// The table under a chart: one row a line, with its numbers over the range. It
// switches lines on and off, and says in text what the canvas shows.

import type { Chart } from "./chart";
import { fill, h } from "./dom";
import type { Unit } from "./format";
import type { Line } from "./plot";
import { swatch } from "./theme";

export class Legend {
  readonly element = h("div", { class: "legend" });
  private readonly restyle = () => this.draw();

  constructor(private readonly chart: Chart, private readonly firstColumn: string) {
    addEventListener("themechange", this.restyle);
  }

  close(): void {
    removeEventListener("themechange", this.restyle);
  }

  /** mark shows which line the pointer is near. */
  mark(line: number | null): void {
    this.element.querySelectorAll("tbody tr").forEach((row, i) => row.classList.toggle("near", i === line));
  }

  draw(): void {
    const { lines, unit } = this.chart.picture;
    if (!lines.length) {
      fill(this.element);
      return;
    }
    const focusedKey = (document.activeElement as HTMLElement | null)?.closest?.<HTMLElement>(".legend tr")?.dataset.line;
    fill(this.element, h("table", {},
      h("thead", {}, h("tr", {},
        h("th", { scope: "col" }, this.firstColumn),
        ...["last", "min", "avg", "max"].map((title) => h("th", { scope: "col", class: `number col-${title}` }, title)))),
      h("tbody", {}, ...lines.map((line, i) => this.row(line, i, unit)))));
    if (focusedKey) this.element.querySelector<HTMLElement>(`tr[data-line="${focusedKey}"] button`)?.focus();
  }

  private row(line: Line, i: number, unit: Unit): HTMLElement {
    const shown = this.chart.shown(i);
    const button = h("button", {
      type: "button", class: "legend-name", "aria-pressed": String(shown), title: shown ? "Hide this line" : "Show this line",
      onclick: () => {
        this.chart.toggle(i);
        this.draw();
      },
    }, swatch(i), h("span", {}, line.name));
    const { last, min, avg, max } = summary(line);
    return h("tr", {
      class: shown ? "" : "off", dataset: { line: String(i) },
      onmouseenter: () => this.chart.highlight(i), onmouseleave: () => this.chart.highlight(null),
    },
      h("td", {}, button),
      ...[["last", last], ["min", min], ["avg", avg], ["max", max]].map(([title, value]) =>
        h("td", { class: `number col-${title}` }, unit.format(value as number | null))));
  }
}

/** summary is a line's numbers over all its points; NaN and infinities count only as the last value. */
export function summary(line: Line): { last: number | null; min: number | null; avg: number | null; max: number | null } {
  let min: number | null = null, max: number | null = null, sum = 0, n = 0;
  line.values.forEach((value, i) => {
    if (value === null || !Number.isFinite(value)) return;
    const low = line.low?.[i] ?? value, high = line.high?.[i] ?? value;
    if (Number.isFinite(low) && (min === null || low < min)) min = low;
    if (Number.isFinite(high) && (max === null || high > max)) max = high;
    sum += value;
    n++;
  });
  return { last: line.values.findLast((value) => value !== null) ?? null, min, avg: n ? sum / n : null, max };
}

// The row of ranges, and the way back from a zoom.

import { fill, h, icon } from "./dom";
import { interval } from "./format";
import { RANGES, type Location, type State } from "./state";

const SPOKEN: Record<string, string> = {
  "5m": "5 minutes", "15m": "15 minutes", "1h": "1 hour", "6h": "6 hours", "1d": "1 day",
  "1w": "1 week", "1M": "1 month", "6M": "6 months", "1y": "1 year", "5y": "5 years",
};

export function drawRanges(element: HTMLElement, state: State, location: Location): void {
  element.hidden = state.page === "health" || state.page === "directory";
  const range = state.range;
  const buttons = RANGES.map(([label, span]) => {
    const chosen = "span" in range && range.span === span;
    return h("button", {
      class: "range", type: "button", "aria-pressed": String(chosen), "aria-label": `Last ${SPOKEN[label]}`,
      dataset: { range: label }, onclick: () => location.choose(span),
    }, label);
  });
  fill(element,
    "span" in range
      ? h("span", { class: "live-mark", title: "Follows the clock; new data appears by itself" }, h("span", { class: "dot", "aria-hidden": "true" }), "Live")
      : h("button", { class: "button back", id: "back", type: "button", title: "Back to the range before (double click on the chart)", onclick: () => location.back() },
        icon("M8 4.5L3.5 9l4.5 4.5M4 9h8a4 4 0 0 1 0 8h-2"), h("span", {}, interval(range.from, range.to))),
    h("div", { class: "range-row", role: "group", "aria-label": "Range" }, ...buttons));
}

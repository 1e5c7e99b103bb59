// What the pages of figures are made of: cards, tiles and tables.

import { fill, h } from "./dom";

export interface Tile { title: string; value: string; more: string; attention?: boolean }

export function card(title: string, ...content: Node[]): HTMLElement {
  return h("section", { class: "card" }, h("h2", {}, title), ...content);
}

export function drawTiles(element: HTMLElement, tiles: Tile[]): void {
  fill(element, ...tiles.map(({ title, value, more, attention }) => h("div", { class: attention ? "tile attention" : "tile" },
    h("p", { class: "tile-title" }, title), h("p", { class: "tile-value" }, value), h("p", { class: "tile-more" }, more))));
}

/** table aligns the first `text` columns as words and the others as numbers, and scrolls where it is too wide. */
export function table(columns: string[], rows: (string | Node)[][], text = 1): HTMLElement {
  return h("div", { class: "table-scroll" }, grid(columns, rows, text));
}

/** grid is table for who scrolls it himself. */
export function grid(columns: string[], rows: (string | Node)[][], text = 1): HTMLElement {
  return h("table", {},
    h("thead", {}, h("tr", {}, ...columns.map((title, i) => h("th", { scope: "col", class: i < text ? null : "number" }, title)))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((cell, i) => h("td", { class: i < text ? null : "number" }, cell))))));
}

/** bar draws a part of 1; one that is not 0 can always be seen. */
export function bar(part: number): HTMLElement {
  const element = h("span", { class: "bar", "aria-hidden": "true" });
  element.style.width = `${part > 0 ? Math.max(1, Math.min(100, 100 * part)) : 0}%`;
  return element;
}

// Light and dark: the system's preference until the toggle says otherwise. Charts
// draw on canvas and cannot use CSS variables, so they ask here for colours.

import { h } from "./dom";

const KEY = "carillon.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

export interface Colours { series: string[]; faint: string; grid: string; font: string }

export function isDark(): boolean {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : dark.matches;
}

/** toggle switches, and forgets the choice where it is what the system prefers anyway. */
export function toggle(): void {
  const theme = isDark() ? "light" : "dark";
  if ((theme === "dark") === dark.matches) {
    delete document.documentElement.dataset.theme;
    store(null);
  } else {
    document.documentElement.dataset.theme = theme;
    store(theme);
  }
  changed();
}

function store(theme: string | null): void {
  try {
    if (theme) localStorage.setItem(KEY, theme);
    else localStorage.removeItem(KEY);
  } catch {
    // Storage may be forbidden: the choice lasts for this visit.
  }
}

/** How many lines have a colour of their own; the next as many are dashed. */
export const COLOURS = 10;

/** colourOf is the colour of the i-th line of a chart. */
export function colourOf(line: number): string {
  return colours().series[line % COLOURS]!;
}

/** swatch is the mark of the i-th line in legends and tooltips. */
export function swatch(line: number): HTMLElement {
  const mark = h("span", { class: dashed(line) ? "swatch dashed" : "swatch", "aria-hidden": "true" });
  mark.style.setProperty("--colour", colourOf(line));
  return mark;
}

export function dashed(line: number): boolean {
  return line % (2 * COLOURS) >= COLOURS;
}

let cached: Colours | null = null;

function changed(): void {
  cached = null;
  dispatchEvent(new Event("themechange"));
}

dark.addEventListener("change", changed);

/** colours reads the present theme's values from style.css. */
export function colours(): Colours {
  if (cached) return cached;
  const style = getComputedStyle(document.documentElement);
  const variable = (name: string) => style.getPropertyValue(name).trim();
  cached = {
    series: Array.from({ length: COLOURS }, (_, i) => variable(`--series-${i}`)),
    faint: variable("--text-faint"),
    grid: variable("--grid"),
    font: variable("--font"),
  };
  return cached;
}

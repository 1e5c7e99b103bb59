// What every page of the main area is, and what it is given.

import type { Location, State } from "./state";
import type { Pulse } from "./pulse";

export interface Page {
  readonly element: HTMLElement;
  /** update shows a state; it is also called when only the range has changed. */
  update(state: State): void;
  close(): void;
}

export interface Context {
  location: Location;
  pulse: Pulse;
  heading: HTMLElement; // the page's title goes here
  names: () => string[] | null; // null until the first answer
  failQuery: (message: string | null) => void; // shows what is wrong with the PromQL input
}

/** Loader runs one request at a time: a newer one aborts the one before. */
export class Loader {
  private controller: AbortController | null = null;

  start(): AbortSignal {
    this.controller?.abort();
    this.controller = new AbortController();
    return this.controller.signal;
  }

  stop(): void {
    this.controller?.abort();
  }
}

const STEPS = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800];

/** stepFor is a round step, in seconds, that draws a span with at most so many points; a multiple of the finest resolution. */
export function stepFor(span: number, points: number, finest: number): number {
  const least = Math.max(span / points, finest);
  return STEPS.find((step) => step >= least && step % finest === 0) ?? Math.ceil(least / finest) * finest;
}

/** chartHeight is that of the one large chart of a page, in CSS pixels. */
export function chartHeight(): number {
  return innerWidth < 700 ? 260 : Math.max(280, Math.min(460, Math.round(innerHeight * 0.48)));
}

// The server's heartbeat: asks for its status every few seconds, keeps the newest
// and a short history of the rate, and shows the outcome in the page's header.

import { ApiError, status as fetchStatus, type Status } from "./api";
import { byId } from "./dom";
import { parseDuration, plain } from "./format";

const EVERY_MS = 3000;
const HISTORY = 100; // answers: five minutes
const FINEST = 10; // seconds, until the server says which resolutions it keeps

export class Pulse {
  status: Status | null = null;
  error: string | null = null;
  readonly rates: { time: number; value: number }[] = [];
  private readonly listeners = new Set<() => void>();

  start(): void {
    void this.ask();
  }

  /** finest is the shortest segment the server keeps, in seconds. */
  get finest(): number {
    return parseDuration(this.status?.tiers?.[0]?.resolution ?? "") || FINEST;
  }

  /** listen calls back after every answer and failure, until the returned function is called. */
  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private async ask(): Promise<void> {
    if (!document.hidden) {
      try {
        this.status = await fetchStatus();
        this.error = null;
        this.rates.push({ time: Date.now() / 1000, value: this.status.pointsPerSecond });
        if (this.rates.length > HISTORY) this.rates.shift();
      } catch (error) {
        this.error = error instanceof ApiError ? error.message : String(error);
      }
      this.draw();
      for (const listener of this.listeners) listener();
    }
    setTimeout(() => void this.ask(), EVERY_MS);
  }

  private draw(): void {
    const pulse = byId("pulse");
    const notices = this.status?.notices?.length ?? 0;
    pulse.dataset.state = this.error ? "bad" : notices ? "warn" : "good";
    byId("pulse-text").textContent = this.error ? "no answer" : `${plain.format(this.status!.pointsPerSecond)} points/s`;
    pulse.title = this.error ?? (notices ? this.status!.notices!.join("\n") : "The server's own health");
  }
}

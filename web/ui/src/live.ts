// Keeps what is shown up to date. The server's stream of completed buckets tells
// of news; where it is missing (an old proxy, a query without a selector) a timer
// does. While the page is hidden both rest: browsers allow six connections to a
// server, and a stream holds one.

import { bucketOf, type Bucket, type Kind, type Labels } from "./api";

const RETRY_MS = 30_000; // after the server refused a stream
const COLUMNS = ["time", "count", "avg", "sdev", "min", "max", "first", "last", "sum", "rate"];

export interface Follower {
  /** A bucket of a followed series was completed. */
  bucket(metric: Labels, kind: Kind, bucket: Bucket): void;
  /** Time to look: `stale` says that the stream cannot be relied on and data must be asked for. */
  tick(stale: boolean): void;
}

export class Live {
  private source: EventSource | null = null;
  private timer = 0;
  private retry = 0;
  private readonly visibility = () => (document.hidden ? this.rest() : this.resume(true));

  /** Follows selectors (none: the timer alone) and ticks every `everyMs`. */
  constructor(
    private readonly selectors: string[],
    private readonly everyMs: number,
    private readonly follower: Follower,
  ) {
    document.addEventListener("visibilitychange", this.visibility);
    if (!document.hidden) this.resume(false);
  }

  get streaming(): boolean {
    return this.source?.readyState === EventSource.OPEN;
  }

  stop(): void {
    document.removeEventListener("visibilitychange", this.visibility);
    this.rest();
  }

  private rest(): void {
    clearInterval(this.timer);
    clearTimeout(this.retry);
    this.source?.close();
    this.source = null;
  }

  private resume(missed: boolean): void {
    this.rest();
    this.timer = setInterval(() => this.follower.tick(!this.streaming), this.everyMs);
    if (this.selectors.length) this.connect();
    if (missed) this.follower.tick(true);
  }

  private connect(): void {
    const query = new URLSearchParams(this.selectors.map((one) => ["match[]", one]));
    const source = new EventSource(`api/v1/live?${query}`);
    this.source = source;
    source.addEventListener("bucket", (event) => {
      const { metric, kind, bucket } = JSON.parse((event as MessageEvent<string>).data);
      this.follower.bucket(metric, kind, bucketOf(COLUMNS, bucket));
    });
    source.addEventListener("lost", () => this.follower.tick(true));
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      this.retry = setTimeout(() => this.connect(), RETRY_MS);
    });
  }
}

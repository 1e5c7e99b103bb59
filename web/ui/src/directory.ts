// The page of the directory: what its caches hold and how much they answer, what
// was changed, and one entry looked up.

import {
  ApiError, aborted, directoryStats as fetchStats,
  type CacheSpace, type DirectoryStats, type FeedStatus, type LocationStats, type SeriesCaches, type TableStats,
} from "./api";
import { bar, card, drawTiles, table } from "./cards";
import { empty, failure, fill, h } from "./dom";
import { EntryFinder } from "./entry";
import { bytes, grouped, percent, share } from "./format";
import { Loader, type Context, type Page } from "./page";
import type { State } from "./state";

/** Row is one cache: its table, and what became of the look-ups it was there to answer. */
interface Row {
  keeps: string;
  table: TableStats;
  bytes: number; // the table, and the entries outside it
  hits: number;
  misses: number; // look-ups with this cache's outcome that the disk had to answer
  evictions: number;
  stale: number;
}

interface Group { title: string; rows: Row[]; refused: number | null }

export class DirectoryPage implements Page {
  readonly element: HTMLElement;
  private readonly notices = h("div", {});
  private readonly tiles = h("div", { class: "tiles", hidden: true });
  private readonly finder: EntryFinder;
  private readonly lookUp: HTMLElement;
  private readonly first = h("section", { class: "card welcome", hidden: true }, welcome());
  // Stays while the table in it is drawn anew, so that it keeps where it was scrolled to.
  private readonly caches = h("div", { class: "table-scroll" });
  private readonly cachesCard: HTMLElement;
  private readonly changes = h("div", {});
  private readonly changesCard: HTMLElement;
  private readonly loader = new Loader();
  private readonly silence: () => void;
  private stats: DirectoryStats | null = null;

  constructor(private readonly context: Context) {
    this.finder = new EntryFinder((entry) => context.location.set({ entry }));
    this.lookUp = card("Look up an entry", this.finder.element);
    this.cachesCard = card("Caches", this.caches, h("p", { class: "note under-table" },
      "Since the server's start. A miss is an answer that had to come from the disk: of what is there for the caches of the present, of what is not for those of the absent."));
    this.changesCard = card("Operations", this.changes);
    for (const one of [this.lookUp, this.cachesCard, this.changesCard]) one.hidden = true;
    this.element = h("section", { class: "cards directory" }, this.notices, this.tiles, this.first, this.lookUp, this.cachesCard, this.changesCard);
    this.silence = context.pulse.listen(() => void this.refresh());
  }

  close(): void {
    this.silence();
    this.loader.stop();
    this.finder.close();
  }

  update(state: State): void {
    fill(this.context.heading, h("h1", {}, "Directory"), h("a", { class: "quiet-link", href: "#/health" }, "Server health"));
    this.finder.show(state.entry);
    void this.refresh();
  }

  private async refresh(): Promise<void> {
    const signal = this.loader.start();
    try {
      this.stats = await fetchStats(signal);
    } catch (error) {
      if (!aborted(error)) this.fail(error instanceof ApiError ? error.message : String(error));
      return;
    }
    const { location, series, feed } = this.stats;
    fill(this.notices, ...noticesOf(this.stats));
    this.tiles.hidden = this.changesCard.hidden = !location;
    this.first.hidden = location?.entries !== 0;
    this.lookUp.hidden = !location?.entries;
    const groups = groupsOf(location, series);
    this.cachesCard.hidden = !groups.length;
    fill(this.caches, cacheTable(groups));
    if (!location) return;
    drawTiles(this.tiles, tilesOf(location, feed, groups));
    fill(this.changes, changeTable(location));
  }

  /** fail keeps the figures there were, below what went wrong. */
  private fail(message: string): void {
    fill(this.notices, this.stats
      ? h("p", { class: "notice bad", role: "alert" }, `${message} Trying again every few seconds.`)
      : h("div", { class: "card" }, failure(message, () => void this.refresh())));
  }
}

function welcome(): HTMLElement {
  return empty("No entries yet",
    h("p", {}, "The directory says which servers hold what, by name and by id. This makes the first entry:"),
    h("pre", {}, "carillon directory put NAME --rw 1 --site server:0"));
}

function noticesOf({ location, series, feed }: DirectoryStats): HTMLElement[] {
  const notice = (text: string, bad = false) => h("p", { class: bad ? "notice bad" : "notice" }, text);
  const found: HTMLElement[] = [];
  if (!location) found.push(notice("This server keeps no directory of locations."));
  if (location?.stopped) found.push(notice(`Changes have stopped: ${location.stopped}`, true));
  const failed = (location?.names.failed ?? 0) + (location?.ids.failed ?? 0) + (series?.disk_failed ?? 0);
  if (failed) found.push(notice(`${grouped(failed)} look-ups failed at the disk; the server's log says why.`, true));
  if (feed?.damaged) found.push(notice(`${grouped(feed.damaged)} damaged messages in the feed were passed over, as on every node.`));
  if (feed && !feed.live) found.push(notice(`The feed of changes is not live${feed.reason ? `: ${feed.reason}` : "."}`));
  if (location?.negatives_off) found.push(notice("Absences are not answered from cache but read from the disk, until the feed is live."));
  return found;
}

/** rate is the part of look-ups that those of the caches which are on answered; "–" before the first. */
function rate(caches: Row[]): string {
  const rows = caches.filter((row) => row.table.slots);
  const hits = rows.reduce((sum, row) => sum + row.hits, 0);
  return share(hits, rows.reduce((sum, row) => sum + row.misses, hits));
}

function tilesOf(location: LocationStats, feed: FeedStatus | null | undefined, groups: Group[]) {
  const { names, ids } = location;
  const [byName, byID] = [rowsOf(names), rowsOf(ids)];
  const [found, absent] = [names.disk_found + ids.disk_found, names.disk_absent + ids.disk_absent];
  const rows = groups.flatMap((group) => group.rows);
  const behind = feed ? Math.max(0, feed.last - location.revision) : 0;
  const live = feed?.live ? (behind ? `feed is live, ${grouped(behind)} behind` : "feed is live") : "feed is not live";
  return [
    { title: "Entries", value: grouped(location.entries), more: `${bytes.format(location.disk_bytes)} on disk` },
    { title: "Servers", value: grouped(location.servers), more: "registered" },
    { title: "Revision", value: grouped(location.revision), more: feed ? live : "no feed", attention: Boolean(feed && !feed.live) },
    { title: "Cache memory", value: bytes.format(rows.reduce((sum, row) => sum + row.bytes, 0)), more: `${rows.filter((row) => row.table.slots).length} caches` },
    { title: "Hit rate by name", value: rate([byName[0]]), more: `${grouped(byName[0].hits)} from cache` },
    { title: "Hit rate by id", value: rate([byID[0]]), more: `${grouped(byID[0].hits)} from cache` },
    { title: "Hit rate of the absent", value: rate([byName[1], byID[1]]), more: `names ${rate([byName[1]])}, ids ${rate([byID[1]])}` },
    { title: "Disk look-ups", value: grouped(found + absent), more: `${grouped(found)} found, ${grouped(absent)} absent` },
  ];
}

/** rowsOf are the caches of the present and of the absent. A hit on an entry that turned out stale went to the disk, so it counts there. */
function rowsOf(space: CacheSpace): [Row, Row] {
  const { positive, negative } = space;
  return [
    {
      keeps: "present", table: positive, bytes: positive.bytes + space.slot_bytes,
      hits: Math.max(0, positive.hits - space.stale_drops), misses: space.disk_found,
      evictions: positive.evictions + space.squeezed, stale: space.stale_drops,
    },
    {
      keeps: "absent", table: negative, bytes: negative.bytes, hits: negative.hits, misses: space.disk_absent,
      evictions: negative.evictions, stale: space.negative_drops,
    },
  ];
}

function groupsOf(location?: LocationStats | null, series?: SeriesCaches | null): Group[] {
  const groups: Group[] = [];
  if (location) {
    groups.push({ title: "Names", rows: rowsOf(location.names), refused: location.names.refused_fills });
    groups.push({ title: "Ids", rows: rowsOf(location.ids), refused: location.ids.refused_fills });
  }
  if (series) {
    const row = (keeps: string, table: TableStats, misses: number): Row =>
      ({ keeps, table, bytes: table.bytes, hits: table.hits, misses, evictions: table.evictions, stale: table.invalidations });
    groups.push({
      title: "Series", refused: null,
      rows: [row("present", series.positive, series.disk_found), row("absent", series.negative, series.disk_absent)],
    });
  }
  return groups;
}

const COLUMNS: [string, string?][] = [
  ["entries"], ["slots"], ["load", "entries of slots"], ["memory"], ["hit rate"], ["hits"], ["misses"], ["evictions", "dropped for want of room"],
  ["stale drops", "dropped because they had changed"], ["refused fills", "lost a race with a change, so they were not cached"],
];

function cacheTable(groups: Group[]): HTMLElement {
  return h("table", { class: "caches" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col", colspan: 2 }, "cache"),
      ...COLUMNS.map(([title, hint]) => h("th", { scope: "col", class: title === "load" ? null : "number", title: hint }, title)))),
    ...groups.map(({ title, rows, refused }) => h("tbody", {}, ...rows.map((row, i) => h("tr", {},
      i === 0 && h("th", { scope: "rowgroup", rowspan: rows.length }, title),
      h("td", {}, row.keeps), ...(row.table.slots ? cellsOf(row) : [h("td", { class: "faint", colspan: COLUMNS.length - 1 }, "off")]),
      i === 0 && h("td", { class: "number", rowspan: rows.length }, grouped(refused)))))));
}

function cellsOf(row: Row): HTMLElement[] {
  const number = (text: string) => h("td", { class: "number" }, text);
  const { entries, slots, load } = row.table;
  const loaded = h("td", {}, h("span", { class: "load" }, h("span", { class: "track" }, bar(load)), h("span", { class: "number" }, loadText(load))));
  return [
    number(grouped(entries)), number(grouped(slots)), loaded, number(bytes.format(row.bytes)), number(rate([row])),
    ...[row.hits, row.misses, row.evictions, row.stale].map((count) => number(grouped(count))),
  ];
}

function loadText(load: number): string {
  return load > 0 && load < 0.01 ? "< 1 %" : percent.format(Math.floor(100 * load));
}

function changeTable(location: LocationStats): HTMLElement {
  const rows = Object.entries(location.changes ?? {}).map(([op, { done, refused }]) => [op, grouped(done), grouped(refused)]);
  rows.push(["list", grouped(location.lists), "–"]);
  if (location.unknown_changes) rows.push(["unknown", "–", grouped(location.unknown_changes)]);
  return table(["operation", "done", "refused"], rows);
}

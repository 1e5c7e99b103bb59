// The box that looks one entry of the directory up, and what it found.

import { ApiError, aborted, directoryEntry, type Entry, type Lock } from "./api";
import { table } from "./cards";
import { empty, failure, fill, h } from "./dom";
import { age, duration } from "./format";
import { Loader } from "./page";

export class EntryFinder {
  readonly element: HTMLElement;
  private readonly input = h("input", {
    id: "entry", class: "filter", type: "search", placeholder: "Name or id", "aria-label": "Name or id of the entry",
    spellcheck: "false", autocomplete: "off", autocapitalize: "off", enterkeyhint: "search",
  });
  private readonly result = h("div", { "aria-live": "polite" });
  private readonly loader = new Loader();

  constructor(choose: (name: string) => void) {
    const submit = (event: Event) => {
      event.preventDefault();
      choose(this.input.value.trim());
    };
    this.element = h("div", {},
      h("form", { class: "finder", role: "search", onsubmit: submit }, this.input, h("button", { class: "button", type: "submit" }, "Look up")), this.result);
  }

  close(): void {
    this.loader.stop();
  }

  /** show looks a name or an id up; an empty one clears the result. */
  show(name: string): void {
    this.input.value = name;
    if (name) void this.load(name);
    else {
      this.loader.stop();
      fill(this.result);
    }
  }

  private async load(name: string): Promise<void> {
    const signal = this.loader.start();
    this.result.setAttribute("aria-busy", "true");
    try {
      const entry = await directoryEntry(name, signal);
      fill(this.result, entry ? drawEntry(entry, name) : notFound(name));
    } catch (error) {
      if (aborted(error)) return;
      const message = error instanceof ApiError ? error.message : String(error);
      const ours = error instanceof ApiError && error.status >= 400 && error.status < 500;
      fill(this.result, ours ? empty("This cannot be looked up", h("p", { class: "failure-text" }, message)) : failure(message, () => void this.load(name)));
    }
    this.result.removeAttribute("aria-busy");
  }
}

function notFound(name: string): HTMLElement {
  const id = /^[0-9]+$/.test(name);
  return empty("Not found", h("p", {}, id ? "No entry has the id " : "No entry has the name ", h("code", {}, name), "."));
}

function drawEntry(entry: Entry, asked: string): HTMLElement {
  const { rw, ro, bk } = entry.ids ?? {};
  const facts: [string, string | HTMLElement][] = [
    ["read-write id", idText(rw, asked)], ["read-only id", idText(ro, asked)], ["backup id", idText(bk, asked)],
    ["flags", flagText(entry.flags)], ["lock", lockText(entry.lock)],
    ["version", String(entry.version ?? "–")], ["modified", entry.modified ? age(entry.modified, Date.now()) : "–"],
  ];
  const sites = (entry.sites ?? []).map((site) => [h("span", { class: "mono" }, site.server), String(site.partition), flagText(site.flags)]);
  return h("div", { class: "entry" },
    h("h3", { class: "mono" }, entry.name),
    h("div", { class: "columns" },
      h("dl", { class: "facts" }, ...facts.flatMap(([title, value]) => [h("dt", {}, title), h("dd", {}, value)])),
      sites.length ? table(["site", "partition", "flags"], sites) : h("p", { class: "note" }, "No site holds it.")));
}

/** idText marks the id that was asked for. */
function idText(id: number | string | undefined, asked: string): string | HTMLElement {
  if (!id) return "–";
  return String(id) === asked ? h("mark", {}, asked) : String(id);
}

function flagText(flags: number | undefined): string {
  return flags ? `0x${flags.toString(16)}` : "none";
}

function lockText(lock: Lock | undefined): string {
  if (!lock?.owner) return "none";
  const left = ((lock.expires ?? 0) - Date.now()) / 1000;
  const until = left > 0 ? `for ${duration(Math.max(1, left))} more` : "expired";
  return `by ${lock.owner}, kind ${lock.kind ?? 0}, ${until}`;
}

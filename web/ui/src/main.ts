// Wires the page: header, names, the page that the address asks for.

import "./style.css";
import { CachePage } from "./cache";
import { onPage } from "./chart";
import { DirectoryPage } from "./directory";
import { byId, fill } from "./dom";
import { HealthPage } from "./health";
import { NamePage } from "./name";
import { OverviewPage } from "./overview";
import type { Context, Page } from "./page";
import { Pulse } from "./pulse";
import { QueryPage } from "./query";
import { drawRanges } from "./ranges";
import { Sidebar } from "./sidebar";
import { Location, type PageName, type State } from "./state";
import { isDark, toggle } from "./theme";

const makers: Record<PageName, (context: Context) => Page> = {
  overview: (context) => new OverviewPage(context),
  name: (context) => new NamePage(context),
  query: (context) => new QueryPage(context),
  health: (context) => new HealthPage(context),
  directory: (context) => new DirectoryPage(context),
  cache: (context) => new CachePage(context),
};

const input = byId<HTMLInputElement>("expr");
const side = byId("side");
const menu = byId("menu");
const scrim = byId("scrim");
const pulse = new Pulse();
const where = new Location(show);
let page: Page | null = null;
let shown: PageName | null = null;

const sidebar = new Sidebar(side,
  (name) => {
    drawer(false);
    where.set({ page: "name", name, filter: "" });
  },
  () => {
    if (page instanceof OverviewPage) page.namesArrived();
  });

const context: Context = { location: where, pulse, heading: byId("heading"), names: () => sidebar.names, failQuery };

function show(state: State): void {
  if (state.page !== shown) {
    page?.close();
    page = makers[state.page](context);
    shown = state.page;
    fill(byId("page"), page.element);
    byId("main").scrollTop = 0;
  }
  drawRanges(byId("ranges"), state, where);
  sidebar.show(state.page === "name" ? state.name : "", state.page);
  if (document.activeElement !== input || state.page === "query") input.value = state.page === "query" ? state.expr : "";
  document.title = {
    overview: "Carillon", name: `${state.name} · Carillon`, query: `${state.expr || "PromQL"} · Carillon`,
    health: "Health · Carillon", directory: "Directory · Carillon", cache: "Cache · Carillon",
  }[state.page];
  byId("pulse").toggleAttribute("aria-current", state.page === "health");
  page!.update(state);
}

function failQuery(message: string | null): void {
  const line = byId("expr-error");
  line.hidden = message === null;
  line.textContent = message ?? "";
  input.toggleAttribute("aria-invalid", message !== null);
}

/** drawer opens or closes the names where the window is too narrow to show them always. */
function drawer(open: boolean): void {
  side.classList.toggle("open", open);
  scrim.hidden = !open;
  menu.setAttribute("aria-expanded", String(open));
}

byId("query").addEventListener("submit", (event) => {
  event.preventDefault();
  const expr = input.value.trim();
  if (expr) where.set({ page: "query", expr });
});
byId("theme").addEventListener("click", toggle);
menu.addEventListener("click", () => {
  drawer(!side.classList.contains("open"));
  if (side.classList.contains("open")) sidebar.focus();
});
scrim.addEventListener("click", () => drawer(false));
side.addEventListener("click", (event) => {
  if ((event.target as Element).closest("a")) drawer(false);
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && side.classList.contains("open")) {
    drawer(false);
    menu.focus();
  }
  const typing = (event.target as Element).closest("input, textarea, select");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (getComputedStyle(menu).display !== "none") drawer(true);
  sidebar.focus();
});

// For tests and for the curious: what the page shows, read only.
Object.defineProperty(window, "carillon", {
  value: {
    state: () => structuredClone(where.state),
    names: () => sidebar.names?.length ?? 0,
    dark: isDark,
    charts: () => [...onPage].map(({ picture, plot }) => ({
      lines: picture.lines.map(({ name, times, values, low, high }) => ({ name, points: times.length, banded: Boolean(low && high), last: values.at(-1) ?? null })),
      from: plot?.scales.x?.min ?? null, to: plot?.scales.x?.max ?? null, step: picture.step,
    })),
  },
});

pulse.listen(() => sidebar.offerCache(pulse.status?.cache ?? false));
show(where.state);
pulse.start();

import { defineConfig } from "vite";

// The build is committed under ../dist and embedded by package web. Relative
// addresses let the page live under any path prefix of a reverse proxy.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../dist",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/api": "http://127.0.0.1:9480" } },
});

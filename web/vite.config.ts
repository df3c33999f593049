import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// Everything is a file of its own: the page's Content-Security-Policy allows no inline script and no data: font.
export default defineConfig({
  plugins: [svelte()],
  build: { outDir: 'dist/next', emptyOutDir: true, cssTarget: ['chrome123', 'firefox121', 'safari17.5'], target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false }, reportCompressedSize: false },
  server: { proxy: { '/api': 'http://127.0.0.1:4180' } },
});

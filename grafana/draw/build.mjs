// Bundles page.jsx with Grafana's parts. What they load but do not draw with is left out.
import esbuild from 'esbuild';

const UNUSED = /^(monaco-editor|react-monaco-editor|@monaco-editor\/react|ol(\/.*)?|@grafana\/faro.*)$/;

await esbuild.build({
  entryPoints: ['page.jsx'],
  outfile: 'out/page.js',
  bundle: true,
  minify: true,
  format: 'iife',
  jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"', 'process.env': '{}', global: 'window' },
  loader: { '.svg': 'dataurl', '.png': 'dataurl', '.woff': 'dataurl', '.woff2': 'dataurl', '.ttf': 'dataurl' },
  mainFields: ['module', 'browser', 'main'],
  conditions: ['import', 'module', 'browser'],
  logLevel: 'warning',
  plugins: [{
    name: 'left out',
    setup(build) {
      build.onResolve({ filter: /^react-custom-scrollbars-2$/ }, () => ({ path: new URL('scroll.js', import.meta.url).pathname }));
      build.onResolve({ filter: UNUSED }, ({ path }) => ({ path, namespace: 'left out' }));
      build.onLoad({ filter: /.*/, namespace: 'left out' }, () => ({
        contents: 'module.exports = new Proxy(function () {}, { get: (_, key) => (key === "__esModule" ? false : function () {}) })',
      }));
    },
  }],
});

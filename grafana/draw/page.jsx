// Draws a Grafana dashboard with Grafana's own published parts, from a real Prometheus behind /prom.
//
// Grafana's code: units, decimals, colours, mappings, overrides, reducers, transformations, legends, plots, tables.
// Ours, small and approximate: variables, the step, answers to data frames, annotations, the bar of variables.
import React from 'react';
import { createRoot } from 'react-dom/client';
import '@fontsource/inter/latin-400.css';
import '@fontsource/inter/latin-500.css';
import {
  createTheme, toDataFrame, FieldType, applyFieldOverrides, transformDataFrame, standardTransformersRegistry,
  standardTransformers, standardFieldConfigEditorRegistry, FieldConfigOptionsRegistry, getFieldDisplayValues,
  getFieldDisplayName, getValueFormats, dateTime, dateMath, identityOverrideProcessor, EventBusSrv, VizOrientation,
} from '@grafana/data';
import {
  TimeSeries, BigValue, Table, PanelChrome, PanelContextProvider, ThemeContext, GlobalStyles, VizRepeater,
} from '@grafana/ui';

const theme = createTheme({ colors: { mode: 'dark' } });
const query = new URLSearchParams(location.search);
const report = { errors: [], panels: {}, variables: {} };
const GRID = 38; // pixels of a row: 30 and a gap of 8

// -- Registries that the Grafana application fills ----------------------------------------------------------------

const plain = (path, isCustom) => ({
  id: isCustom ? `custom.${path}` : path, path, name: path, isCustom, process: identityOverrideProcessor,
  shouldApply: () => true, override: () => null, editor: () => null, settings: {},
});
const STANDARD = [
  'displayName', 'unit', 'min', 'max', 'decimals', 'thresholds', 'mappings', 'links', 'color', 'noValue', 'description',
  'filterable', 'displayNameFromDS', 'fieldMinMax', 'actions',
];
const CUSTOM = [
  'lineWidth', 'fillOpacity', 'drawStyle', 'stacking', 'axisLabel', 'axisPlacement', 'lineInterpolation', 'showPoints',
  'pointSize', 'gradientMode', 'spanNulls', 'hideFrom', 'thresholdsStyle', 'width', 'cellOptions', 'align',
  'scaleDistribution', 'axisSoftMin', 'axisSoftMax', 'lineStyle', 'barAlignment', 'transform', 'fillBelowTo',
];
standardFieldConfigEditorRegistry.setInit(() => STANDARD.map((name) => plain(name, false)));
const fieldConfigRegistry = new FieldConfigOptionsRegistry(() => [
  ...STANDARD.map((name) => plain(name, false)), ...CUSTOM.map((name) => plain(name, true)),
]);
standardTransformersRegistry.setInit(() => {
  const known = Object.values(standardTransformers).filter((each) => each?.id);
  return [...new Map(known.map((each) => [each.id, each])).values()].map((each) => ({
    id: each.id, name: each.name, transformation: each, editor: () => null,
  }));
});

// -- Variables and queries ----------------------------------------------------------------------------------------

async function prom(path, parameters) {
  const answer = await (await fetch(`/prom/api/v1/${path}?${new URLSearchParams(parameters)}`)).json();
  if (answer.status !== 'success') throw new Error(answer.error);
  return answer.data;
}

const to = query.get('to') ? +query.get('to') * 1000 : Date.now();
let from = query.get('from') ? +query.get('from') * 1000 : null;
const variables = {};

function filled(text) {
  return String(text).replace(/\$\{(\w+)(?::\w+)?\}|\$([A-Za-z_]\w*)/g, (whole, braced, bare) => {
    const name = braced ?? bare;
    if (name in variables) return variables[name];
    if (!name.startsWith('__')) report.errors.push(`unknown variable ${whole}`);
    return whole;
  });
}

function setTimes(width) {
  const range = (to - from) / 1000;
  const scrape = +(query.get('scrape') ?? 15);
  const nice = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600];
  const step = Math.max(scrape, nice.find((each) => each >= range / Math.max(width, 100)) ?? 3600);
  Object.assign(variables, {
    __interval: `${step}s`, __interval_ms: step * 1000, __rate_interval: `${Math.max(step + scrape, 4 * scrape)}s`,
    __range: `${Math.round(range)}s`, __range_s: Math.round(range),
  });
  return step;
}

async function setVariables(dashboard) {
  for (const variable of dashboard.templating.list) {
    if (variable.type === 'datasource') variables[variable.name] = 'Prometheus';
    else if (variable.type === 'constant') variables[variable.name] = variable.query;
    else {
      const [, selector, label] = /^label_values\((?:(.+),\s*)?(\w+)\)$/s.exec(variable.query.query);
      const when = { start: from / 1000, end: to / 1000 };
      const values = await prom(`label/${label}/values`, selector ? { 'match[]': filled(selector), ...when } : when);
      report.variables[variable.name] = values;
      variables[variable.name] = variable.includeAll ? variable.allValue : values[0] ?? '';
    }
  }
}

function legend(target, labels, expression) {
  if (target.legendFormat === '__auto') return Object.keys(labels).length ? JSON.stringify(labels) : expression;
  return target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '');
}

function tableFrame(target, result, many) {
  const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))];
  const field = (name, type, values) => ({ name, type, values, config: {} });
  return toDataFrame({
    refId: target.refId,
    fields: [
      field('Time', FieldType.time, result.map(({ value }) => value[0] * 1000)),
      ...labels.map((label) => field(label, FieldType.string, result.map(({ metric }) => metric[label] ?? ''))),
      field(many ? `Value #${target.refId}` : 'Value', FieldType.number, result.map(({ value }) => +value[1])),
    ],
  });
}

function seriesFrame(target, { metric, values }, expression, step) {
  const config = { displayNameFromDS: legend(target, metric, expression), interval: step * 1000 };
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: values.map(([at]) => at * 1000), config: { interval: step * 1000 } },
      { name: 'Value', type: FieldType.number, labels: metric, config, values: values.map(([, value]) => (value === 'NaN' ? null : +value)) },
    ],
  });
}

async function frames(panel, width) {
  const step = setTimes(width);
  const found = [];
  const counts = [];
  for (const target of panel.targets) {
    const expression = filled(target.expr);
    if (target.instant) {
      const { result } = await prom('query', { query: expression, time: to / 1000 });
      counts.push(result.length);
      if (target.format === 'table') {
        if (result.length) found.push(tableFrame(target, result, panel.targets.length > 1));
      } else {
        for (const one of result) found.push(seriesFrame(target, { ...one, values: [one.value] }, expression, step));
      }
    } else {
      const times = { start: Math.ceil(from / 1000 / step) * step, end: to / 1000, step };
      const { result } = await prom('query_range', { query: expression, ...times });
      counts.push(result.length);
      for (const one of result) found.push(seriesFrame(target, one, expression, step));
    }
  }
  const transformed = panel.transformations.length && found.length
    ? await new Promise((done, failed) => {
      transformDataFrame(panel.transformations, found, { interpolate: filled }).subscribe({ next: done, error: failed });
    })
    : found;
  const { defaults, overrides } = panel.fieldConfig;
  const steps = defaults.thresholds?.steps ?? [{ value: null, color: 'green' }];
  const data = applyFieldOverrides({
    data: transformed,
    fieldConfig: {
      defaults: { ...defaults, thresholds: { mode: 'absolute', steps: infinite(steps) } },
      overrides: overrides.map((each) => ({
        ...each,
        properties: each.properties.map((one) => (one.id === 'thresholds'
          ? { ...one, value: { ...one.value, steps: infinite(one.value.steps) } } : one)),
      })),
    },
    replaceVariables: filled, theme, timeZone: 'utc', fieldConfigRegistry,
  });
  return { data, counts };
}

// JSON has no minus infinity; Grafana puts it back when it loads a dashboard.
const infinite = (steps) => steps.map((step, index) => (index === 0 ? { ...step, value: -Infinity } : step));

// What Grafana does with annotations of Prometheus: neighbouring samples become one region.
async function annotations(dashboard) {
  const found = [];
  for (const mark of dashboard.annotations.list) {
    const step = 60;
    const { result } = await prom('query_range', { query: filled(mark.expr), start: from / 1000, end: to / 1000, step });
    for (const { metric, values } of result) {
      const title = mark.titleFormat.replace(/\{\{(\w+)\}\}/g, (_, name) => metric[name] ?? '');
      const color = theme.visualization.getColorByName(mark.iconColor);
      if (mark.useValueForTime) {
        for (const at of new Set(values.map(([, value]) => +value))) found.push({ start: at, end: at, title, color });
        continue;
      }
      let region = null;
      for (const [at] of values) {
        if (region && at * 1000 - region.end <= step * 1000) region.end = at * 1000;
        else found.push(region = { start: at * 1000, end: at * 1000, title, color });
      }
    }
  }
  return found.filter(({ start, end }) => end >= from && start <= to);
}

// -- Drawing ------------------------------------------------------------------------------------------------------

const marked = new WeakSet();

function drawMarks(config, marks) {
  if (marked.has(config)) return null;
  marked.add(config);
  config.addHook('draw', (plot) => {
    const { left, top, width, height } = plot.bbox;
    plot.ctx.save();
    plot.ctx.beginPath();
    plot.ctx.rect(left, top, width, height);
    plot.ctx.clip();
    for (const { start, end, color } of marks) {
      const [a, b] = [start, end].map((at) => plot.valToPos(at, 'x', true));
      plot.ctx.strokeStyle = plot.ctx.fillStyle = color;
      plot.ctx.setLineDash([4, 4]);
      for (const x of new Set([a, b])) {
        plot.ctx.beginPath();
        plot.ctx.moveTo(x, top);
        plot.ctx.lineTo(x, top + height);
        plot.ctx.stroke();
      }
      plot.ctx.globalAlpha = 0.06;
      plot.ctx.fillRect(a, top, b - a, height);
      plot.ctx.globalAlpha = 1;
    }
    plot.ctx.restore();
  });
  return null;
}

function Body({ panel, data, error, width, height, marks }) {
  if (error) return <div style={{ color: theme.colors.error.text, padding: 8 }}>{error}</div>;
  if (!data.length || data.every((frame) => frame.length === 0)) {
    return <div style={{ color: theme.colors.text.secondary, padding: 20 }}>{panel.fieldConfig.defaults.noValue}</div>;
  }
  const { options } = panel;
  if (panel.type === 'timeseries') {
    const range = { from: dateTime(from), to: dateTime(to) };
    return (
      <TimeSeries frames={data} timeRange={{ ...range, raw: range }} timeZone="utc" width={width} height={height}
        legend={options.legend} options={options} structureRev={1}>
        {(config) => drawMarks(config, marks)}
      </TimeSeries>
    );
  }
  if (panel.type === 'stat') {
    const values = () => getFieldDisplayValues({
      fieldConfig: panel.fieldConfig, reduceOptions: options.reduceOptions, replaceVariables: filled, theme, data,
      sparkline: false, timeZone: 'utc',
    });
    report.panels[panel.id].shown = values().map(({ display }) => `${display.title}: ${display.text}${display.suffix ?? ''}`);
    return (
      <VizRepeater getValues={values} source={data} width={width} height={height} renderCounter={0} itemSpacing={4}
        orientation={VizOrientation.Vertical} autoGrid
        renderValue={({ value, width: w, height: h, count }) => (
          <BigValue count={count} value={value.display} width={w} height={h} theme={theme} colorMode={options.colorMode}
            graphMode={options.graphMode} textMode={options.textMode} justifyMode={options.justifyMode}
            wideLayout={options.wideLayout} text={options.text} />
        )} />
    );
  }
  if (panel.type === 'table') {
    return <Table data={data[0]} width={width} height={height} cellHeight={options.cellHeight} fieldConfig={panel.fieldConfig} />;
  }
  return <div>{`a panel of type ${panel.type} cannot be drawn outside Grafana`}</div>;
}

class Guard extends React.Component {
  state = {};

  static getDerivedStateFromError(error) {
    return { error };
  }

  componentDidCatch(error) {
    report.errors.push(`panel ${this.props.id}: ${error.message}`);
  }

  render() {
    return this.state.error ? <div>{this.state.error.message}</div> : this.props.children;
  }
}

function Variables({ dashboard }) {
  const box = { border: `1px solid ${theme.colors.border.medium}`, padding: '3px 10px', borderRadius: 2, fontSize: 13 };
  const shown = dashboard.templating.list.filter(({ hide }) => hide !== 2);
  return (
    <div style={{ display: 'flex', gap: 12, padding: '8px 16px 0', alignItems: 'center', height: 40 }}>
      {shown.map(({ name, label, includeAll }) => (
        <div key={name} style={{ display: 'flex' }}>
          <div style={{ ...box, background: theme.colors.background.primary, fontWeight: 500 }}>{label}</div>
          <div style={box}>{includeAll ? 'All' : variables[name]}</div>
        </div>
      ))}
      {dashboard.annotations.list.map(({ name, iconColor }) => (
        <div key={name} style={{ fontSize: 13, color: theme.visualization.getColorByName(iconColor) }}>{name}</div>
      ))}
      <div style={{ marginLeft: 'auto', fontSize: 13 }}>
        {`${dateTime(from).utc().format('YYYY-MM-DD HH:mm')} to ${dateTime(to).utc().format('HH:mm')} UTC`}
      </div>
    </div>
  );
}

const context = {
  eventBus: new EventBusSrv(), onToggleSeriesVisibility() {}, canAddAnnotations: () => false,
  canEditAnnotations: () => false, canDeleteAnnotations: () => false, instanceState: {}, sync: () => 0,
};

async function main() {
  const dashboard = await (await fetch('dashboard.json')).json();
  from ??= dateMath.parse(dashboard.time.from).valueOf();
  const units = new Set(getValueFormats().flatMap(({ submenu }) => submenu.map(({ value }) => value)));
  setTimes(1000);
  await setVariables(dashboard);
  const marks = await annotations(dashboard);
  const column = (window.innerWidth - 32 + 8) / 24;
  const panels = [];
  for (const panel of dashboard.panels) {
    let data = [];
    let error;
    if (panel.type !== 'row') {
      if (!units.has(panel.fieldConfig.defaults.unit)) report.errors.push(`${panel.title}: no such unit`);
      try {
        const found = await frames(panel, panel.gridPos.w * column);
        data = found.data;
        const names = data.flatMap((frame) => frame.fields.filter(({ type }) => type === FieldType.number)
          .map((field) => getFieldDisplayName(field, frame, data)));
        report.panels[panel.id] = { title: panel.title, series: found.counts, names: names.slice(0, 30) };
      } catch (problem) {
        error = problem.message;
        report.errors.push(`${panel.title}: ${error}`);
        report.panels[panel.id] = { title: panel.title };
      }
    }
    panels.push({ panel, data, error });
  }
  const bottom = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  document.body.style.cssText = `margin:0;background:${theme.colors.background.canvas};color:${theme.colors.text.primary}`;
  createRoot(document.getElementById('root')).render(
    <ThemeContext.Provider value={theme}>
      <PanelContextProvider value={context}>
        <GlobalStyles />
        <Variables dashboard={dashboard} />
        <div style={{ position: 'relative', margin: '8px 16px', height: bottom * GRID }}>
          {panels.map(({ panel, data, error }) => {
            const { x, y, w, h } = panel.gridPos;
            const place = { position: 'absolute', left: x * column, top: y * GRID };
            if (panel.type === 'row') return <h4 key={panel.id} style={{ ...place, margin: '8px 0 0' }}>{panel.title}</h4>;
            return (
              <div key={panel.id} style={place}>
                <Guard id={panel.id}>
                  <PanelChrome title={panel.title} description={panel.description} width={w * column - 8} height={h * GRID - 8}>
                    {(width, height) => <Body {...{ panel, data, error, width, height, marks }} />}
                  </PanelChrome>
                </Guard>
              </div>
            );
          })}
        </div>
      </PanelContextProvider>
    </ThemeContext.Provider>,
  );
  await document.fonts.ready;
  await new Promise((done) => { setTimeout(done, 1500); });
}

main().catch((problem) => report.errors.push(problem.stack)).finally(() => { window.report = report; });
